//! The port file, by which other programs learn the port of the server.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The port file of a server. Dropping it removes the file, unless another server has written its own since.
pub(super) struct PortFile {
    path: PathBuf,
    text: String,
}

impl PortFile {
    /// Writes the port and a line break atomically: a reader sees all of it or no file.
    pub(super) fn write(path: &Path, port: u16) -> io::Result<Self> {
        let text = format!("{port}\n");
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}", std::process::id()));
        let written = fs::write(&partial, &text).and_then(|()| fs::rename(&partial, path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written.map(|()| PortFile { path: path.to_owned(), text })
    }
}

impl Drop for PortFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
