//! The table of `docs/bounds.md` against the source: every bound is listed, with its value.

use std::{fs, path::Path};

use crate::program::run;

/// Maxima that do not bound what clients send: of settings, of the command line, of single computations.
const OTHERS: [&str; 44] = [
    "body::MAX_PREALLOCATED",
    "check::MAX_WORKERS",
    "client::MAX_RESPONSE",
    "collection::MAX_STEPS",
    "computed::MAX_SLOTS",
    "connections::MAX_REQUESTS",
    "distribution::MAX_NANOS",
    "embedding::MOST_WORDS",
    "encoding::MAX_SPACE_BYTES",
    "histogram::MAX",
    "http1::MAX_LINE",
    "inputs::MAX_TOKENS",
    "json_error::MAX_DEPTH",
    "key::MAX_RETRIES",
    "lateness::LONGEST",
    "latency::MAX_CONCURRENCY",
    "listen::MAX_RACES",
    "load::LONGEST",
    "metrics::LONGEST",
    "mismatch::LONGEST_VALUE",
    "mismatch::MOST_LISTED",
    "nearest::MOST_SEGMENTS",
    "number::MOST_PLACES",
    "outbox::MAX_BATCH",
    "parse::MAX_LENGTH",
    "parse::MAX_MERGED",
    "parse::MAX_PER_EVENT",
    "parse::MAX_QUANTILES",
    "parse::MAX_REASONING",
    "print::LONGEST_LINE",
    "pydantic::MAX_INPUT",
    "pydantic::MAX_VIOLATIONS",
    "records::MAX_ENTRIES",
    "rules::LONGEST_TOKEN",
    "rules::MAX_LOGPROBS",
    "schema_rules::MAX_VIOLATIONS",
    "socket::MAX_FRAME_HEAD",
    "span::MAX_DIGITS",
    "speakers::MAX_NAME",
    "suggest::LONGEST_NAME",
    "text::MAX_RESERVED_WORDS",
    "tokens::LONGEST_PIECE",
    "verification::MAX_POLL",
    "wait::LONGEST_WAIT",
];

/// A constant of the source: `module::NAME` and its expression.
struct Constant {
    name: String,
    value: String,
}

fn constants(directory: &Path, found: &mut Vec<Constant>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            constants(&path, found);
            continue;
        }
        let module = if path.ends_with("mod.rs") { path.parent().unwrap().file_name() } else { path.file_stem() };
        let module = module.unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some((_, rest)) = line.trim().split_once("const ") else { continue };
            let Some((name, value)) = rest.split_once(": ") else { continue };
            let Some((_, value)) = value.split_once(" = ") else { continue };
            let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit());
            if is_name && !line.trim().starts_with("//") {
                found.push(Constant { name: format!("{module}::{name}"), value: value.trim_end_matches(';').into() });
            }
        }
    }
}

/// Evaluates an expression of numbers, `*`, `<<` and durations, the latter in milliseconds.
fn evaluated(text: &str) -> Option<u64> {
    if let Some(rest) = text.strip_prefix("Duration::from_") {
        let (unit, number) = rest.trim_end_matches(')').split_once('(')?;
        return Some(evaluated(number)? * if unit == "secs" { 1000 } else { 1 });
    }
    if let Some((number, shift)) = text.split_once(" << ") {
        return Some(evaluated(number)? << evaluated(shift)?);
    }
    text.split(" * ").map(|factor| factor.replace('_', "").parse::<u64>().ok()).try_fold(1, |a, b| Some(a * b?))
}

/// The numbers in a cell, with their units: `96, 128 KiB` are two.
fn numbers(cell: &str) -> Vec<u64> {
    let words: Vec<_> = cell.split([' ']).collect();
    let mut found = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let Ok(number) = word.trim_end_matches(',').replace(',', "").parse::<u64>() else { continue };
        let factor = match words.get(n + 1).map(|unit| unit.trim_end_matches(',')) {
            Some("KiB") => 1 << 10,
            Some("MiB") => 1 << 20,
            Some("s") => 1000,
            _ => 1,
        };
        found.push(number * factor);
    }
    found
}

/// The rows of the page: the bound, and the names in backticks that set it.
fn rows() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string("docs/bounds.md").unwrap();
    let cells = page.lines().filter(|line| line.starts_with('|')).map(|line| line.split('|').map(str::trim).collect());
    let rows = cells.filter_map(|cells: Vec<&str>| {
        let names = cells.get(3)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some(((*cells.get(2)?).to_owned(), names))
    });
    rows.collect()
}

#[test]
fn the_bounds_in_the_docs_are_those_of_the_source() {
    let mut constants_found = Vec::new();
    constants(Path::new("src"), &mut constants_found);
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let mut checked = 0;
    for (bound, names) in rows() {
        for name in names {
            if let Some(flag) = name.strip_prefix("--") {
                let line =
                    help.lines().find(|line| line.contains(&format!("--{flag} "))).unwrap_or_else(|| panic!("{name}"));
                if let Some((_, default)) = line.split_once("[default: ") {
                    let (default, bound) = (default.trim_end_matches(']'), bound.replace(' ', ""));
                    assert!(
                        default == bound
                            || default.starts_with("a quarter")
                            || default == "no limit" && bound == "none",
                        "{name}: {default} is listed as {bound}"
                    );
                }
                continue;
            }
            if name.starts_with("ulimit") {
                continue;
            }
            let same: Vec<_> = constants_found.iter().filter(|constant| constant.name == name).collect();
            let [constant] = same[..] else { panic!("{name}: {} constants have this name", same.len()) };
            let value = evaluated(&constant.value).unwrap_or_else(|| panic!("{name}: {}", constant.value));
            assert!(numbers(&bound).contains(&value), "{name} is {value}; docs/bounds.md lists `{bound}`");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} constants are listed");
}

#[test]
fn every_maximum_of_the_source_is_in_the_docs() {
    let listed: Vec<_> = rows().into_iter().flat_map(|(_, names)| names).collect();
    let mut found = Vec::new();
    constants(Path::new("src"), &mut found);
    for Constant { name, .. } in &found {
        let own = name.split("::").nth(1).unwrap();
        let is_maximum = ["MAX", "MOST", "LONGEST"].iter().any(|word| own.split('_').next() == Some(word));
        if is_maximum && !OTHERS.contains(&name.as_str()) {
            assert!(listed.contains(name), "docs/bounds.md lacks `{name}`; add it with what happens beyond it");
        }
    }
    for name in OTHERS {
        assert!(found.iter().any(|constant| constant.name == name), "there is no {name}");
    }
}
