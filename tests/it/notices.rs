//! The licences of the software in the binary: the notices, the rules, and the list of components in the image.
//!
//! After a change of dependencies, CONTRIBUTING.md shows how to make `THIRD-PARTY-NOTICES` again.
//! `SNAPSHOTS=overwrite cargo test --test it -- notices` rewrites the list of components.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::Command,
    str::Split,
};

use serde_json::{Value, json};

use crate::program::run;

const NOTICES: &str = "THIRD-PARTY-NOTICES";
const SBOM: &str = "notices/sbom.cdx.json";

/// Crates of Windows programs alone. A build on another system does not download them, so `cargo tree` cannot list them.
const WINDOWS: [&str; 4] = ["anstyle-wincon", "once_cell_polyfill", "windows-link", "windows-sys"];

/// The program itself, and the crates that it is built from on Linux.
struct Tree {
    /// Licences by name and version, the program first.
    crates: BTreeMap<Crate, String>,
    /// The crates that each one depends on.
    edges: BTreeMap<Crate, BTreeSet<Crate>>,
    root: Crate,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
}

impl Crate {
    fn new(name: &str, version: &str) -> Crate {
        Crate { name: name.to_owned(), version: version.to_owned() }
    }

    fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// An expression with single spaces.
fn spaced(licence: &str) -> String {
    licence.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The output of cargo, which needs no network.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).args(["--offline", "--locked"]).output().unwrap();
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Tree {
    /// The tree of normal dependencies. Its lines are the depth, the crate, and the licence.
    fn read() -> Tree {
        let target = ["--target", "x86_64-unknown-linux-gnu", "--edges", "normal"];
        let printed = cargo(&[&["tree", "--prefix", "depth", "--format", "|{p}|{l}|"], &target[..]].concat());
        let (mut crates, mut edges) = (BTreeMap::new(), BTreeMap::<Crate, BTreeSet<Crate>>::new());
        let mut path: Vec<Crate> = Vec::new();
        for line in printed.lines() {
            let mut fields = line.split('|');
            let mut field = || fields.next().unwrap_or_else(|| panic!("{line}"));
            let depth: usize = field().parse().unwrap();
            let (name, rest) = field().split_once(" v").unwrap();
            let this = Crate::new(name, rest.split(' ').next().unwrap());
            crates.insert(this.clone(), spaced(&field().replace('/', " OR ")));
            path.truncate(depth);
            if let Some(parent) = path.last() {
                edges.entry(parent.clone()).or_default().insert(this.clone());
            }
            path.push(this);
        }
        let root = path.swap_remove(0);
        Tree { crates, edges, root }
    }

    /// The crates of others.
    fn foreign(&self) -> impl Iterator<Item = (&Crate, &String)> {
        self.crates.iter().filter(|(this, _)| **this != self.root)
    }
}

/// The checksums of `Cargo.lock`; empty for the program itself.
fn locked() -> BTreeMap<Crate, String> {
    let lock = fs::read_to_string("Cargo.lock").unwrap();
    let value = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let packages = lock.split("[[package]]").skip(1);
    packages
        .map(|block| (Crate::new(&value(block, "name"), &value(block, "version")), value(block, "checksum")))
        .collect()
}

#[test]
fn notices_list_every_crate_of_the_binary_and_no_other() {
    let text = fs::read_to_string(NOTICES).unwrap();
    let (_, list) = text.split_once("\nCRATES\n\n").unwrap();
    let (list, texts) = list.split_once("\n\n").unwrap();
    let listed: BTreeMap<Crate, String> = list
        .lines()
        .map(|line| {
            let (this, rest) = line.split_once(" | ").unwrap();
            let (name, version) = this.split_once(' ').unwrap();
            (Crate::new(name, version), spaced(rest.split(" | ").next().unwrap()))
        })
        .collect();
    let (tree, locked) = (Tree::read(), locked());
    for (this, licence) in tree.foreign() {
        assert_eq!(listed.get(this), Some(licence), "{this:?}: CONTRIBUTING.md shows how to make {NOTICES} again");
    }
    for this in listed.keys().filter(|this| !tree.crates.contains_key(this)) {
        assert!(WINDOWS.contains(&this.name.as_str()), "{NOTICES} lists {this:?}, which is not in the binary");
        assert!(locked.contains_key(this), "{NOTICES} lists {this:?}, and Cargo.lock has another version");
    }
    for this in listed.keys() {
        let user = format!("\n    {} {}\n", this.name, this.version);
        assert!(texts.contains(&user), "{this:?} has no text");
    }
    assert!(texts.contains("cl100k_base and o200k_base | MIT"), "the vocabularies are data of others");
}

#[test]
fn the_program_prints_its_licence_and_the_notices() {
    let output = run(&["--licenses"]);
    assert!(output.status.success());
    let [own, others] = ["LICENSE", NOTICES].map(|path| fs::read_to_string(path).unwrap());
    assert!(output.stdout == format!("{own}\n\n{others}").into_bytes(), "the program prints {NOTICES} as it is");
    // A mistake elsewhere is no reason to withhold them.
    let mut broken = crate::program::command(&["--licenses"]);
    assert!(broken.env("FAKE_OPENAI_RPM", "many").output().unwrap().status.success());
}

/// The tokens of a licence expression.
struct Expression<'a> {
    tokens: std::iter::Peekable<Split<'a, char>>,
    allowed: &'a [String],
}

impl Expression<'_> {
    fn is_allowed(text: &str, allowed: &[String]) -> bool {
        let spaced = text.replace('(', "( ").replace(')', " )");
        let mut expression = Expression { tokens: spaced.split(' ').peekable(), allowed };
        let is_allowed = expression.either();
        assert_eq!(expression.tokens.next(), None, "{text}");
        is_allowed
    }

    fn takes(&mut self, token: &str) -> bool {
        self.tokens.next_if_eq(&token).is_some()
    }

    fn either(&mut self) -> bool {
        let mut is_allowed = self.all();
        while self.takes("OR") {
            is_allowed |= self.all();
        }
        is_allowed
    }

    fn all(&mut self) -> bool {
        let mut is_allowed = self.one();
        while self.takes("AND") {
            is_allowed &= self.one();
        }
        is_allowed
    }

    fn one(&mut self) -> bool {
        if self.takes("(") {
            let is_allowed = self.either();
            assert!(self.takes(")"));
            return is_allowed;
        }
        let name = self.tokens.next().unwrap();
        let exception = self.takes("WITH").then(|| self.tokens.next().unwrap());
        let name = exception.map_or_else(|| name.to_owned(), |exception| format!("{name} WITH {exception}"));
        self.allowed.contains(&name)
    }
}

/// The strings of a list in a TOML file.
fn list(path: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("\n{name} = [")).unwrap();
    let list = rest.split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn licence_expressions_are_evaluated() {
    let allowed = ["MIT", "Zlib"].map(str::to_owned);
    for (text, expected) in [
        ("MIT", true),
        ("MPL-2.0", false),
        ("MPL-2.0 OR MIT", true),
        ("MIT AND MPL-2.0", false),
        ("(MPL-2.0 OR MIT) AND Zlib", true),
        ("MPL-2.0 OR MIT AND Zlib", true),
        ("MIT WITH LLVM-exception", false),
    ] {
        assert_eq!(Expression::is_allowed(text, &allowed), expected, "{text}");
    }
}

#[test]
fn every_licence_is_allowed_by_the_rules() {
    let allowed = list("deny.toml", "allow");
    let accepted = list("notices/about.toml", "accepted");
    assert_eq!(allowed.iter().collect::<BTreeSet<_>>(), accepted.iter().collect(), "deny.toml and notices/about.toml");
    for (this, licence) in Tree::read().foreign() {
        assert!(
            Expression::is_allowed(licence, &allowed),
            "{this:?} is under {licence}, which deny.toml does not allow"
        );
    }
}

/// The list of components in the format of CycloneDX 1.6. It has no time and no serial number: the same dependencies
/// give the same file.
fn components(tree: &Tree) -> Value {
    let locked = locked();
    let component = |this: &Crate, kind: &str| {
        let mut component = json!({
            "type": kind,
            "bom-ref": this.url(),
            "name": this.name,
            "version": this.version,
            "licenses": [{"expression": tree.crates[this]}],
            "purl": this.url(),
        });
        if let Some(checksum) = locked.get(this).filter(|checksum| !checksum.is_empty()) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    };
    let urls = |edges: &BTreeSet<Crate>| edges.iter().map(Crate::url).collect::<Vec<_>>();
    let none = BTreeSet::new();
    let dependencies = tree.crates.keys().map(|this| {
        let edges = tree.edges.get(this).unwrap_or(&none);
        json!({"ref": this.url(), "dependsOn": urls(edges)})
    });
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(&tree.root, "application")},
        "components": tree.foreign().map(|(this, _)| component(this, "library")).collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    })
}

#[test]
fn the_list_of_components_matches_the_dependencies() {
    let tree = Tree::read();
    assert!(tree.crates.len() > 100 && tree.edges[&tree.root].len() > 20, "cargo lists the tree");
    let fresh = serde_json::to_string_pretty(&components(&tree)).unwrap() + "\n";
    if env::var("SNAPSHOTS").is_ok_and(|action| action == "overwrite") {
        fs::write(SBOM, &fresh).unwrap();
    }
    let written = fs::read_to_string(SBOM).unwrap();
    assert!(written == fresh, "{SBOM} is old: run `SNAPSHOTS=overwrite cargo test --test it -- notices`");
}

#[test]
fn notices_are_in_the_package_and_in_the_image() {
    let packaged = cargo(&["package", "--list", "--allow-dirty"]);
    let [dockerfile, ignored] = ["Dockerfile", ".dockerignore"].map(|path| fs::read_to_string(path).unwrap());
    let (_, image) = dockerfile.split_once("FROM scratch").unwrap();
    for path in ["LICENSE", NOTICES, SBOM] {
        assert!(packaged.lines().any(|line| line == path), "the package lacks {path}");
        let top = format!("!{}", path.split('/').next().unwrap());
        assert!(ignored.lines().any(|line| line == top), ".dockerignore hides {path}");
    }
    // The program in the image prints the other two.
    assert!(image.contains(SBOM));
}
