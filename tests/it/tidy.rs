//! The house rules that a compiler does not check.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fake_openai::fixtures::BuiltIn;

/// The layers, the top one first: each is a folder of `src`, and imports from those after it.
const LAYERS: [&str; 11] =
    ["cli", "server", "engine", "config", "fixtures", "resources", "protocol", "model", "traffic", "media", "core"];

/// Who may name what.
const NAMES: &[(&str, &[&str])] = &[
    ("actix_http", &["server", "main"]),
    ("actix_multipart", &["server"]),
    ("actix_web", &["server"]),
    ("governor", &["traffic"]),
    ("mio::", &["server"]),
    ("clap", &["config", "cli"]),
    ("thread::sleep", &["server"]),
    ("time::sleep", &["server"]),
    ("println!", &[]),
    ("static mut", &[]),
    ("lazy_static", &[]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                // Tests inside a module may use what they like.
                let text = fs::read_to_string(&path).unwrap();
                // A module of tests has a file `tests.rs`, or is at the end of its parent's file.
                let text = text.replace("#[cfg(test)]\nmod tests;", "");
                let is_tests = path.ends_with("tests.rs");
                let code = if is_tests { "" } else { text.split("#[cfg(test)]").next().unwrap() }.to_owned();
                found.push((path, code));
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    found
}

/// The module at the root of the crate that a file belongs to.
fn root(path: &Path) -> String {
    let inner = path.strip_prefix("src").unwrap().components().next().unwrap();
    Path::new(inner.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The root modules that a text names as `crate::name`, `crate::{name, …}` or `fake_openai::…`.
fn imports(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let (mut depth, mut name) = (0, String::new());
            for c in list.chars() {
                match c {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut name)),
                    c if depth == 0 && !c.is_whitespace() => name.push(c),
                    _ => {}
                }
            }
            names.push(name);
        } else {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    let first = |name: String| name.split("::").next().unwrap_or("").to_owned();
    names.into_iter().map(first).filter(|name| name.starts_with(|c: char| c.is_lowercase())).collect()
}

#[test]
fn layers_import_downward_only() {
    for (path, text) in sources() {
        let layer = root(&path);
        let Some(own) = LAYERS.iter().position(|known| *known == layer) else {
            assert!(["main", "lib"].contains(&layer.as_str()), "{}: `{layer}` is no layer", path.display());
            continue;
        };
        // Doc comments may point anywhere.
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for import in imports(&code) {
            let below = LAYERS[own..].contains(&import.as_str());
            assert!(below, "{} imports `{import}`, which is not below `{layer}`", path.display());
        }
    }
}

#[test]
fn src_has_a_folder_for_each_layer_and_the_guide_lists_them() {
    let mut entries: Vec<_> =
        fs::read_dir("src").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    entries.sort();
    let mut expected: Vec<_> = LAYERS.iter().copied().chain(["lib.rs", "main.rs"]).collect();
    expected.sort_unstable();
    assert_eq!(entries, expected);
    let guide = fs::read_to_string("src/lib.rs").unwrap();
    let guide: Vec<_> = guide.lines().take_while(|line| line.starts_with("//!")).collect();
    let listed = guide.iter().filter_map(|line| line.strip_prefix("//! ")?.split_whitespace().next());
    let listed: Vec<_> = listed.filter(|word| LAYERS.contains(word)).collect();
    assert_eq!(listed, LAYERS, "the guide lists the layers in their order");
    let guide = guide.iter().skip_while(|line| **line != "//! # For contributors").count();
    assert!((1..=65).contains(&guide), "{guide} lines");
}

#[test]
fn dependencies_are_named_in_their_layers_only() {
    for (path, text) in sources() {
        for (name, allowed) in NAMES {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let used = code.into_iter().any(|line| line.replace("eprintln!", "").contains(name));
            assert!(!used || allowed.contains(&root(&path).as_str()), "{} names {name}", path.display());
        }
        assert!(!text.contains(".unwrap()"), "{} unwraps", path.display());
    }
}

#[test]
fn source_files_have_at_most_400_lines() {
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    for (path, _) in sources().into_iter().filter(|(path, _)| is_rust(path)) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", path.display());
    }
}

#[test]
fn fixture_files_keep_one_layout() {
    for BuiltIn { name, text, .. } in fake_openai::fixtures::BUILT_IN {
        assert!(text.ends_with("}\n") || text.ends_with("]\n"), "{name} ends with one line break");
        assert!(!text.contains('\t') && text.lines().all(|line| line == line.trim_end()), "{name} has stray spaces");
    }
}

#[test]
fn the_docker_image_copies_everything_cargo_reads() {
    let [manifest, dockerfile, ignored] =
        ["Cargo.toml", "Dockerfile", ".dockerignore"].map(|path| fs::read_to_string(path).unwrap());
    // Cargo reads no manifest that names a benchmark which is not there.
    let before = dockerfile.split("cargo build").next().unwrap();
    assert!(manifest.contains("[[bench]]"));
    assert!(before.contains("COPY benches benches") && ignored.lines().any(|line| line == "!benches"));
}

/// First words that leave a doc comment without a subject.
const HEADLESS: [&str; 9] = ["What", "Whether", "Who", "Where", "How", "Of", "Such", "One that", "That"];

/// Words that stand for return, send, report, render or contain in this project's old prose.
const PRIVATE_WORDS: [&str; 12] =
    ["told", "tells", "tell", "said", "says", "spell", "spells", "spelled", "spoken", "speaks", "whoever", "hears"];

#[test]
fn doc_comments_begin_with_their_subject() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let mut before = "";
        for (number, line) in text.lines().map(str::trim).enumerate() {
            let comment = |line| str::strip_prefix(line, "/// ").or_else(|| line.strip_prefix("//! "));
            let begins = comment(line).filter(|_| comment(before).is_none_or(str::is_empty));
            let headless = |text: &str| HEADLESS.iter().any(|word| starts_with_word(text, word));
            if begins.is_some_and(headless) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
            before = line;
        }
    }
    assert!(found.is_empty(), "begin with a noun or a verb in the third person:\n{}", found.join("\n"));
}

#[test]
fn comments_use_the_standard_words() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//").filter(|(code, _)| code.trim().is_empty()) else { continue };
            // Quoted words and code are somebody else's.
            let own: String = comment.split(['`', '"', '“', '”']).step_by(2).collect();
            let private = own.split(|c: char| !c.is_alphanumeric()).find(|word| PRIVATE_WORDS.contains(word));
            if let Some(word) = private {
                found.push(format!("{}:{}: {word}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "say return, send, report, render or contain:\n{}", found.join("\n"));
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '\''))
}
