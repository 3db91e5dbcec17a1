//! Frames of AWS's event stream (`application/vnd.amazon.eventstream`): big-endian, with a checksum of the prelude and
//! one of the whole frame.
//!
//! ```text
//! u32 length of the frame | u32 length of its headers | u32 CRC of these 8 bytes
//! headers: u8 length of the name, the name, u8 type (7 is a string), u16 length of the value, the value
//! payload | u32 CRC of all before it
//! ```

use bytes::Bytes;
use flate2::Crc;
use serde_json::{Map, Value};

/// Number of bytes of the two lengths.
const LENGTHS: usize = 8;
/// Number of bytes of the prelude: the lengths and their checksum.
const PRELUDE: usize = LENGTHS + 4;
/// The type of a header whose value is a string.
const STRING: u8 = 7;
/// The member of an exception's body with its name, which moves to the headers.
const EXCEPTION: &str = ":exception-type";
/// The default name of an exception.
const UNNAMED: &str = "internalServerException";

/// Renders a frame. The names of the headers have at most 255 bytes.
fn frame(headers: [(&str, &str); 3], payload: &[u8]) -> Bytes {
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let length = PRELUDE + size + payload.len() + 4;
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.extend_from_slice(&(size as u32).to_be_bytes());
    put_checksum(&mut out);
    for (name, value) in headers {
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.push(STRING);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(payload);
    put_checksum(&mut out);
    out.into()
}

/// Appends the CRC-32 (IEEE 802.3) of the bytes so far.
fn put_checksum(out: &mut Vec<u8>) {
    let mut crc = Crc::new();
    crc.update(out);
    out.extend_from_slice(&crc.sum().to_be_bytes());
}

/// Renders an event. Its type goes into the headers.
pub fn event(kind: &str, content_type: &str, payload: &[u8]) -> Bytes {
    frame([(":event-type", kind), (":content-type", content_type), (":message-type", "event")], payload)
}

/// Renders an exception from a JSON object. Its member `:exception-type` moves from the payload to the headers.
pub fn exception(body: &[u8]) -> Bytes {
    let mut body: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let name = body.shift_remove(EXCEPTION);
    let name = name.as_ref().and_then(Value::as_str).unwrap_or(UNNAMED);
    let headers = [(EXCEPTION, name), (":content-type", "application/json"), (":message-type", "exception")];
    frame(headers, Value::Object(body).to_string().as_bytes())
}

/// Truncates the payload of an event to three quarters, with correct framing.
pub fn broken_off(event: &[u8]) -> Bytes {
    let Some((headers, payload)) = parts(event) else { return Bytes::copy_from_slice(event) };
    let payload = &payload[..payload.len() * 3 / 4];
    let mut out = Vec::with_capacity(event.len());
    out.extend_from_slice(&((PRELUDE + headers.len() + payload.len() + 4) as u32).to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    put_checksum(&mut out);
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    put_checksum(&mut out);
    out.into()
}

/// Returns the headers and the payload of a frame; `None` if it is not a frame.
fn parts(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let size = u32::from_be_bytes(frame.get(4..LENGTHS)?.try_into().ok()?) as usize;
    let inside = frame.get(PRELUDE..frame.len().checked_sub(4)?)?;
    (size <= inside.len()).then(|| inside.split_at(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Recorded, and checked by botocore.
    #[test]
    fn known_vectors() {
        let start = event("messageStart", "application/json", br#"{"p":"abcd","role":"assistant"}"#);
        assert_eq!(
            hex(&start),
            concat!(
                "00000081000000526cc176930b3a6576656e742d7479706507000c6d65737361676553746172740d3a636f6e74656e742d747970",
                "650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b2270223a2261626364",
                "222c22726f6c65223a22617373697374616e74227df512a005"
            )
        );
        let body = br#"{":exception-type":"throttlingException","message":"Too many requests, please wait before trying again."}"#;
        assert_eq!(
            hex(&exception(body)),
            concat!(
                "000000b2000000613590d5d30f3a657863657074696f6e2d747970650700137468726f74746c696e67457863657074696f6e0d3a",
                "636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d7479706507000965786365",
                "7074696f6e7b226d657373616765223a22546f6f206d616e792072657175657374732c20706c656173652077616974206265666f",
                "726520747279696e6720616761696e2e227de8ffb26a"
            )
        );
    }

    #[test]
    fn a_truncated_event_is_a_valid_frame() {
        let whole = event("chunk", "application/json", br#"{"bytes":"AAAA"}"#);
        let broken = broken_off(&whole);
        assert_eq!(broken.len(), u32::from_be_bytes(broken[..4].try_into().unwrap()) as usize);
        assert_eq!(parts(&broken).unwrap().1, br#"{"bytes":"AA"#);
        let mut crc = Crc::new();
        crc.update(&broken[..broken.len() - 4]);
        assert_eq!(broken[broken.len() - 4..], crc.sum().to_be_bytes());
    }

    #[test]
    fn bytes_that_are_no_frame_stay_and_an_exception_needs_no_name() {
        for bytes in [&b""[..], b"1234567", b"\xff\xff\xff\xff\xff\xff\xff\xff12345678"] {
            assert_eq!(parts(bytes), None);
            assert_eq!(broken_off(bytes), bytes);
        }
        assert_eq!(parts(&exception(b"[")).unwrap().1, b"{}");
    }
}
