//! The house rules that a compiler does not check.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::program::run;

/// The floor of every module at the root of the crate: a module imports from its own floor's words or from below.
const FLOORS: &[(usize, &[&str])] = &[
    (0, &["request", "prompt", "answer", "reply", "error", "standing", "facts", "glob", "random", "clock"]),
    (1, &["template", "schema", "tokens", "vector", "audio", "image", "latency", "resource"]),
    (2, &["access", "capacity", "fault", "limit", "progress", "require", "when", "model", "dialect"]),
    (3, &["config", "fixtures", "memory", "rule"]),
    (4, &["engine"]),
    (5, &["server", "http"]),
    (6, &["main", "cli", "lib"]),
];

/// Who may name what.
const NAMES: &[(&str, &[&str])] = &[
    ("actix_http", &["server", "http", "main"]),
    ("actix_multipart", &["http"]),
    ("actix_web", &["server", "http"]),
    ("governor", &["limit"]),
    ("clap", &["config", "cli"]),
    ("thread::sleep", &["server"]),
    ("time::sleep", &["server", "http"]),
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
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
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

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().find(|(_, modules)| modules.contains(&module));
    found.unwrap_or_else(|| panic!("{module} has no floor: give it one here and in the crate guide")).0
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
fn imports_go_down_only() {
    for (path, text) in sources() {
        let module = root(&path);
        // Doc comments may point anywhere.
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for import in imports(&code) {
            let allowed = import == module
                || floor(&import) < floor(&module)
                || (floor(&module), floor(&import)) == (0, 0)
                || floor(&module) >= 3 && floor(&import) == floor(&module);
            assert!(allowed, "{} imports {import}, which is not below it", path.display());
        }
    }
}

#[test]
fn the_guide_draws_the_floors_that_hold() {
    let guide = fs::read_to_string("src/lib.rs").unwrap();
    for (number, modules) in FLOORS {
        let line =
            guide.lines().find(|line| line.starts_with(&format!("//! {number} "))).expect("a line for each floor");
        for module in modules.iter().filter(|module| **module != "lib") {
            assert!(line.split_whitespace().any(|word| word == *module), "floor {number} of the guide lacks {module}");
        }
    }
    assert!(guide.lines().count() <= 90);
}

#[test]
fn names_stay_where_they_belong() {
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
fn files_are_short() {
    for (path, _) in sources() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_readme_shows_the_help_the_routes_and_the_faults() {
    let readme = fs::read_to_string("README.md").unwrap();
    for args in [&["--help"][..], &["routes"], &["faults"]] {
        let output = String::from_utf8(run(args).stdout).unwrap();
        assert!(
            readme.contains(output.trim_end()),
            "README.md lacks what `fake-openai {}` prints:\n{output}",
            args.join(" ")
        );
    }
}

#[test]
fn fixtures_keep_one_layout() {
    for (name, text) in fake_openai::fixtures::BUILT_IN {
        assert!(text.ends_with("}\n") || text.ends_with("]\n"), "{name} ends with one line break");
        assert!(!text.contains('\t') && text.lines().all(|line| line == line.trim_end()), "{name} has stray spaces");
    }
}

#[test]
fn the_image_has_all_that_cargo_wants_to_see() {
    let [manifest, dockerfile, ignored] =
        ["Cargo.toml", "Dockerfile", ".dockerignore"].map(|path| fs::read_to_string(path).unwrap());
    // Cargo reads no manifest that names a benchmark which is not there.
    let before = dockerfile.split("cargo build").next().unwrap();
    assert!(manifest.contains("[[bench]]"));
    assert!(before.contains("COPY benches benches") && ignored.lines().any(|line| line == "!benches"));
}
