//! `--licenses`: the licence of the program, and those of the software in it.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::Failure;

const OWN: &str = include_str!("../../LICENSE");

/// `THIRD-PARTY-NOTICES`, compressed by the build script: it is 300 KB long, and rarely read.
const THIRD_PARTY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/notices.gz"));

/// Returns the texts.
///
/// # Errors
/// The program's own bytes are damaged.
pub(super) fn text() -> Result<String, Failure> {
    let mut text = format!("{OWN}\n\n");
    let damaged =
        |error| Failure::Machine(format!("the notices in this program cannot be read: {error}; install it again"));
    GzDecoder::new(THIRD_PARTY).read_to_string(&mut text).map_err(damaged)?;
    Ok(text)
}
