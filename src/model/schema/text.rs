//! Strings for schemas: of a format, of a pattern, or else of words.

use serde_json::Value;

use super::{
    LONGEST, Layer, Random, all, below, least, most,
    pattern::{Pattern, Style},
};

const WORDS: [&str; 24] = [
    "lorem", "ipsum", "dolor", "amet", "tempor", "magna", "aliqua", "minim", "veniam", "nostrud", "laboris", "nisi",
    "commodo", "aute", "irure", "velit", "esse", "cillum", "fugiat", "nulla", "sint", "culpa", "mollit", "anim",
];

/// Returns a random word.
pub fn word(random: &mut Random) -> &'static str {
    WORDS[below(random, WORDS.len())]
}

/// Makes a string that is valid for the layers' `format`, `pattern`, `minLength` and `maxLength`. A known format is
/// tried first, then each pattern: a string must match all patterns. `fuel` is the remaining number of steps.
pub fn text(layers: &[&Layer], room: usize, random: &mut Random, fuel: &mut usize) -> String {
    let (least, most) = (least(layers, "minLength").min(room).min(LONGEST), most(layers, "maxLength").min(LONGEST));
    let sources = all(layers, "pattern").filter_map(Value::as_str);
    let patterns: Vec<Pattern> = sources
        .take_while(|source| {
            *fuel = fuel.saturating_sub(source.len());
            *fuel > 0
        })
        .filter_map(Pattern::parse)
        .collect();
    let fits = |text: &str, fuel: &mut usize| {
        (least..=most).contains(&text.chars().count()) && patterns.iter().all(|pattern| pattern.matches(text, fuel))
    };

    let format = all(layers, "format").filter_map(Value::as_str).find_map(|format| formatted(format, random));
    if let Some(text) = format.as_ref().filter(|text| fits(text, fuel)) {
        return text.clone();
    }
    let drawable: Vec<&Pattern> = patterns.iter().filter(|pattern| pattern.shortest() <= room).collect();
    let mut first = None;
    for attempt in (0..24).take_while(|_| !drawable.is_empty()) {
        // Four of six attempts draw short strings, the others exactly the minimum length.
        let style = |pattern: &Pattern| {
            let missing = least.saturating_sub(pattern.shortest());
            let spare = most.min(room).saturating_sub(pattern.shortest());
            let greedy = attempt % 6 >= 4;
            let slack = if greedy { missing } else { missing + 12 }.min(spare);
            Style { slack, greedy, plain: attempt % 2 == 0 }
        };
        let mut joined = String::new();
        for pattern in &drawable {
            let text = pattern.draw(random, style(pattern), fuel);
            if fits(&text, fuel) {
                return text;
            }
            joined.push_str(&text);
            first.get_or_insert(text);
        }
        // A string that starts like one pattern and ends like another.
        if drawable.len() > 1 && fits(&joined, fuel) {
            return joined;
        }
        if *fuel == 0 {
            break;
        }
    }
    first.or(format).unwrap_or_else(|| words(least, most.min(room), random))
}

fn words(least: usize, most: usize, random: &mut Random) -> String {
    let mut text = word(random).to_owned();
    let wanted = below(random, 3);
    let mut count = 0;
    while count < wanted || text.len() < least {
        text.push(' ');
        text.push_str(word(random));
        count += 1;
    }
    // Words are ASCII: any byte is a character boundary. A client that trims would drop a space at the end.
    text.truncate(most.max(least));
    if text.len() == least && text.ends_with(' ') {
        text.pop();
        text.push('a');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Makes a string of a known format.
fn formatted(format: &str, random: &mut Random) -> Option<String> {
    let date = |random: &mut Random| {
        format!("20{}-{:02}-{:02}", 10 + below(random, 20), 1 + below(random, 12), 1 + below(random, 28))
    };
    let time =
        |random: &mut Random| format!("{:02}:{:02}:{:02}Z", below(random, 24), below(random, 60), below(random, 60));
    Some(match format {
        "date-time" => format!("{}T{}", date(random), time(random)),
        "date" => date(random),
        "time" => time(random),
        "duration" => format!("PT{}M", 1 + below(random, 59)),
        "email" | "idn-email" => format!("{}@example.com", word(random)),
        "hostname" | "idn-hostname" => format!("{}.example.com", word(random)),
        "ipv4" => format!("192.0.2.{}", 1 + below(random, 254)),
        "ipv6" => format!("2001:db8::{:x}", 1 + below(random, 0xfffe)),
        "uri" | "uri-reference" | "url" | "iri" | "iri-reference" => format!("https://example.com/{}", word(random)),
        "json-pointer" => format!("/{}", word(random)),
        "regex" => format!("^{}$", word(random)),
        "byte" | "base64" => ["bG9yZW0=", "aXBzdW0=", "ZG9sb3I=", "bWFnbmE="][below(random, 4)].to_owned(),
        // pydantic appends the version: `uuid4`.
        _ => {
            let version = match format.strip_prefix("uuid")? {
                "" => 4,
                version => version.parse().ok().filter(|version| (1..=8).contains(version))?,
            };
            let mut hex = |below_what| below(random, below_what);
            let (a, b, c, d) = (hex(1 << 16), hex(1 << 16), hex(1 << 16), hex(1 << 12));
            let (e, f, g, h) = (0x8000 + hex(1 << 14), hex(1 << 16), hex(1 << 16), hex(1 << 16));
            format!("{a:04x}{b:04x}-{c:04x}-{version}{d:03x}-{e:04x}-{f:04x}{g:04x}{h:04x}")
        }
    })
}
