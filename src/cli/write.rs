//! Commands that write a directory: `eject` and `tokenizer`.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use fake_openai::{
    fixtures::BUILT_IN,
    model::tokens::{Encoding, hugging_face},
};

use super::Failure;

/// Writes the built-in fixtures.
///
/// # Errors
/// A file exists, or cannot be written.
pub(super) fn eject(directory: &Path) -> Result<String, Failure> {
    let files: Vec<_> = BUILT_IN.iter().map(|file| (file.name, file.text)).collect();
    write(directory, &files)?;
    let (count, dir) = (files.len(), directory.display());
    Ok(format!(
        "wrote {count} files to {dir}\n\
         Edit some, delete the others, then run: fake-openai --fixtures {dir}\n"
    ))
}

/// Writes the tokenizer of a model.
///
/// # Errors
/// A file exists, or cannot be written.
pub(super) fn tokenizer(directory: &Path, model: &str) -> Result<String, Failure> {
    let files = hugging_face::files(Encoding::of_model(model));
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    write(directory, &files)?;
    let (count, dir) = (files.len(), directory.display());
    Ok(format!(
        "wrote {count} files to {dir}\n\
         Give {dir} to the load tool as its tokenizer, then run: fake-openai --content lorem --usage exact\n"
    ))
}

/// Writes files under a directory. Either all are new, or none is written.
fn write(directory: &Path, files: &[(&str, &str)]) -> Result<(), Failure> {
    let targets = || files.iter().map(|(name, text)| (directory.join(name), text));
    if let Some((taken, _)) = targets().find(|(path, _)| fs::symlink_metadata(path).is_ok()) {
        return Err(Failure::User(format!("{}: the file exists; give an empty directory", taken.display())));
    }
    for (path, text) in targets() {
        let write = || -> io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            // Never through a link, which `write` would follow.
            fs::File::create_new(&path)?.write_all(text.as_bytes())
        };
        write().map_err(|error| {
            let path = path.display();
            Failure::Machine(format!("{path}: the file cannot be written: {error}; give a directory that can be"))
        })?;
    }
    Ok(())
}
