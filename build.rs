//! Lists the files under `fixtures/` so that the binary carries them all: a new fixture needs no line of code. Beside
//! each is its outline, so that a start need not read whole files. Compresses the notices that the binary carries.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value};

const NOTICES: &str = "THIRD-PARTY-NOTICES";

/// The members of a file that are read at a start, in `src/fixtures/outline.rs`.
const OUTLINE: [&str; 9] = ["like", "routes", "paths", "single", "actions", "claims", "root", "stays", "part_of"];
/// The member of an action that is read at a start.
const ACTION_OUTLINE: &str = "route";

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    list_fixtures(&out.join("built_in.rs"))?;
    println!("cargo:rerun-if-changed={NOTICES}");
    let mut compressed = GzEncoder::new(fs::File::create(out.join("notices.gz"))?, Compression::best());
    compressed.write_all(&fs::read(NOTICES)?)?;
    compressed.finish()?;
    Ok(())
}

fn list_fixtures(target: &Path) -> io::Result<()> {
    println!("cargo:rerun-if-changed=fixtures");
    let root = fs::canonicalize("fixtures")?;
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&format!("{}/", root.display())).unwrap_or(file).replace('\\', "/");
        let outline = outline(&fs::read_to_string(file)?);
        let _ =
            writeln!(table, "    BuiltIn {{ name: {name:?}, text: include_str!({file:?}), outline: {outline:?} }},");
    }
    table.push(']');
    fs::write(target, table)
}

/// Returns the outline of a file: the members that are read at a start. A text that is no JSON object is its own outline.
fn outline(text: &str) -> String {
    let Ok(mut file) = serde_json::from_str::<Map<String, Value>>(text) else { return text.to_owned() };
    file.retain(|name, _| OUTLINE.contains(&name.as_str()));
    if let Some(Value::Object(actions)) = file.get_mut("actions") {
        let actions = actions.values_mut().filter_map(Value::as_object_mut);
        actions.for_each(|action| action.retain(|name, _| name == ACTION_OUTLINE));
    }
    Value::Object(file).to_string()
}

fn collect(directory: &Path, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "json") {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
