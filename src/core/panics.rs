//! Panics: a defect ends one request or one task, never the server.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::Poll,
};

/// Maximum length of a message, in bytes.
const MAX_MESSAGE: usize = 400;
/// The words before the text that the standard library quotes in its messages about slices of text. That text may come
/// from a client, and may be a key.
const QUOTES: [&str; 2] = [" of `", " slicing `"];

thread_local! {
    /// True while this thread runs work whose panics are caught.
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    /// The place of the last caught panic.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// File, line and column; `None` without [`install_hook`].
    place: Option<String>,
    /// The message as one line, without text that the standard library quotes.
    message: String,
}

impl Panic {
    fn new(place: Option<String>, payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Panic { place, message: shown(text.unwrap_or("no message")) }
    }

    /// Replaces a secret in the message by `…`.
    pub fn without(self, secret: Option<&str>) -> Self {
        match secret.filter(|secret| !secret.is_empty()) {
            Some(secret) => Panic { message: self.message.replace(secret, "…"), ..self },
            None => self,
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_deref().unwrap_or("an unknown place");
        write!(f, "panic at {place}: {}; this is a defect of fake-openai, please report it", self.message)
    }
}

/// Returns a message as one line without quoted text.
fn shown(message: &str) -> String {
    let quote = QUOTES.iter().filter_map(|words| Some(message.find(words)? + words.len())).min();
    let mut end = quote.unwrap_or(message.len()).min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown = message[..end].replace(char::is_control, " ");
    if end < message.len() {
        shown.push('…');
    }
    shown
}

/// Runs `work` and catches its panic. Values that `work` leaves behind must be dropped, or valid at every step.
///
/// # Errors
/// The panic.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    let outer = IS_CAUGHT.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(outer);
    result.map_err(|payload| Panic::new(PLACE.take(), &*payload))
}

/// Runs a future and catches its panic. It is borrowed, because moving a large future takes time, and must not be polled
/// again.
///
/// # Errors
/// The panic.
pub async fn catch_async<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Panic> {
    // The output goes into a slot: it may be large, and each layer around it would move it once more.
    let mut output = None;
    let panic = poll_fn(|context| match catch(|| future.as_mut().poll(context).map(|done| output = Some(done))) {
        Ok(polled) => polled.map(|()| None),
        Err(panic) => Poll::Ready(Some(panic)),
    });
    let panic = panic.await;
    output.ok_or_else(|| panic.unwrap_or_else(|| Panic::new(None, &"no output")))
}

/// Replaces the hook that prints panics, for the whole process: a caught panic is reported by who catches it, any other
/// is logged as one line.
pub fn install_hook() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        if IS_CAUGHT.get() {
            PLACE.set(place);
        } else {
            log::error!("{}", Panic::new(place, info.payload()));
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn the_message_is_one_line_without_quoted_text() {
        let quoted = |text: &str, at: usize| catch(|| text[at..].len()).unwrap_err().message;
        for message in [quoted("ключ-s3cret", 1), quoted("s3cret", 99)] {
            assert!(!message.contains("s3cret") && message.ends_with("`…"), "{message}");
        }
        assert_eq!(catch(|| panic!("a\nb {}", 1)).unwrap_err().message, "a b 1");
        let long = catch(|| panic!("{}", "é".repeat(MAX_MESSAGE))).unwrap_err();
        assert_eq!(long.message.chars().count(), MAX_MESSAGE / 2 + 1);
        let payload = catch(|| panic::panic_any(7)).unwrap_err();
        assert_eq!(payload.message, "no message");
        let shown = Panic { place: Some("a.rs:1:2".to_owned()), message: "key sk-1 is bad".to_owned() };
        assert_eq!(
            shown.without(Some("sk-1")).to_string(),
            "panic at a.rs:1:2: key … is bad; this is a defect of fake-openai, please report it"
        );
    }

    #[tokio::test]
    async fn a_future_returns_its_output_or_its_panic() {
        assert_eq!(catch_async(pin!(async { 7 })).await, Ok(7));
        let mut late = pin!(async {
            tokio::task::yield_now().await;
            panic!("late")
        });
        let late = catch_async(late.as_mut());
        assert_eq!(late.await.map(|(): ()| ()).unwrap_err().message, "late");
        assert!(!IS_CAUGHT.get(), "a panic after it is not caught");
    }
}
