//! Lists the files under `fixtures/` so that the binary carries them all: a new fixture needs no line of code. Compresses
//! the notices that the binary carries.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

const NOTICES: &str = "THIRD-PARTY-NOTICES";

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
        let _ = writeln!(table, "    ({name:?}, include_str!({file:?})),");
    }
    table.push(']');
    fs::write(target, table)
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
