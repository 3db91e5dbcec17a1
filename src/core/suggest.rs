//! "Did you mean": the known name that is nearest to an unknown one.

/// Names longer than this get no suggestion: the comparison takes time proportional to the product of the lengths.
const LONGEST_NAME: usize = 100;

/// The shortest name that is taken for the beginning of a longer one.
const SHORTEST_BEGINNING: usize = 4;

/// Returns the candidate that is nearest to `name`, or `None` if none is near.
///
/// A candidate is near if at most a third of its letters differ (see [`distance`]), or if one of the two begins with the
/// other. Letter case does not count, and `-` equals `_`. Of two that are equally near, the first is returned.
///
/// A prefix that all candidates share, such as `FAKE_OPENAI_`, makes every candidate look near: strip it before.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = normalized(name)?;
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let Some(known) = normalized(candidate) else { continue };
        let longer = wanted.len().max(known.len());
        let distance = distance(&wanted, &known);
        let is_near = distance <= longer / 3 || is_beginning(&wanted, &known) || is_beginning(&known, &wanted);
        if is_near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Returns the sentence `did you mean ...?` with the nearest of the candidates in backticks, or `None` if none is near.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, candidates).map(|near| format!("did you mean `{near}`?"))
}

/// Adds a suggestion to serde's message of an unknown field or variant, where a known name is near; returns every other
/// message unchanged.
///
/// The list of the known names gives way to the suggestion. A position at the end, such as `at line 1 column 9`, stays.
pub fn suggest_in(message: String) -> String {
    suggestion_for(&message).unwrap_or(message)
}

/// Returns the message with a suggestion in place of the names that were expected.
fn suggestion_for(message: &str) -> Option<String> {
    let start =
        ["unknown field `", "unknown variant `"].iter().find_map(|kind| Some(message.find(kind)? + kind.len()))?;
    let name_end = start + message[start..].find("`, expected ")?;
    let list = &message[name_end + 1..];
    let list_end = list.rfind('`')? + 1;
    let known = list[..list_end].split('`').skip(1).step_by(2);
    let suggestion = did_you_mean(&message[start..name_end], known)?;
    Some(format!("{}`{}; {suggestion}", &message[..name_end], &list[list_end..]))
}

/// Returns the number of letters to insert, delete, replace or swap with their neighbour to make one text of the other
/// (optimal string alignment). Takes time proportional to the product of the lengths.
pub fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut before_last = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut row = vec![0; other.len() + 1];
    for (i, a) in one.iter().enumerate() {
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last[other.len()]
}

/// Returns the name as it is compared; `None` if it is empty or too long.
fn normalized(name: &str) -> Option<Vec<u8>> {
    let same = |letter: u8| if letter == b'-' { b'_' } else { letter.to_ascii_lowercase() };
    (1..=LONGEST_NAME).contains(&name.len()).then(|| name.bytes().map(same).collect())
}

fn is_beginning(short: &[u8], long: &[u8]) -> bool {
    short.len() >= SHORTEST_BEGINNING && long.starts_with(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let names = ["rpm", "tpm", "text", "tool_calls", "finish_reason", "reasoning", "reasoning_tokens", "api-key"];
        let cases = [
            ("rmp", "rpm"),
            ("RPM", "rpm"),
            ("txt", "text"),
            ("toolcalls", "tool_calls"),
            ("tool-call", "tool_calls"),
            ("finish", "finish_reason"),
            ("reasonning", "reasoning"),
            ("API_KEY", "api-key"),
        ];
        for (name, near) in cases {
            assert_eq!(nearest(name, names), Some(near), "{name}");
        }
    }

    #[test]
    fn no_name_is_suggested_where_none_is_near() {
        for name in ["", "x", "delay", "model_names", &"text".repeat(1000)] {
            assert_eq!(nearest(name, ["rpm", "reply", "text_to_speech", "models"]), None, "{name}");
        }
        assert_eq!(nearest("text", []), None);
    }

    #[test]
    fn a_message_of_serde_gets_a_suggestion() {
        for (message, expected) in [
            ("unknown field `txt`, expected one of `when`, `text`, `per`", "unknown field `txt`; did you mean `text`?"),
            (
                "at `a`: unknown field `txt`, expected `text` at line 1 column 9",
                "at `a`: unknown field `txt` at line 1 column 9; did you mean `text`?",
            ),
            ("unknown variant `cal`, expected `call` or `conversation`", "unknown variant `cal`; did you mean `call`?"),
        ] {
            assert_eq!(suggest_in(message.to_owned()), expected);
        }
        for message in ["unknown field `x`, expected `text`", "unknown field `x`, there are no fields", "EOF", ""] {
            assert_eq!(suggest_in(message.to_owned()), message);
        }
    }

    #[test]
    fn swapped_neighbours_count_once() {
        let cases = [("", "", 0), ("ab", "", 2), ("rmp", "rpm", 1), ("kitten", "sitting", 3), ("ca", "abc", 3)];
        for (one, other, expected) in cases {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
            assert_eq!(distance(other.as_bytes(), one.as_bytes()), expected, "{other} {one}");
        }
    }
}
