//! The status line: one line at the bottom of a terminal, drawn anew each second.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use env_logger::{Builder, Target, WriteStyle};
use fake_openai::{Activity, ActivitySource, Config, core::digits::grouped};

/// Moves to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";
/// Cuts what does not fit into the line, instead of wrapping it.
const NO_WRAP: &str = "\x1b[?7l";
/// Wraps lines again.
const WRAP: &str = "\x1b[?7h";

/// The status line of a terminal. A clone is another handle on the same line.
#[derive(Clone, Default)]
pub struct StatusLine(Arc<Mutex<Shown>>);

/// The text that the terminal shows.
#[derive(Default)]
struct Shown {
    line: String,
    has_ended: bool,
}

impl StatusLine {
    /// Returns a status line if standard error is a terminal and the settings want one.
    pub fn on_terminal(config: &Config) -> Option<Self> {
        let can_clear = cfg!(unix) && env::var_os("TERM").is_some_and(|terminal| terminal != "dumb");
        (config.status_line && can_clear && io::stderr().is_terminal()).then(StatusLine::default)
    }

    /// Makes a logger clear the line before each of its own lines, and draw it again below.
    pub fn make_room_for(&self, logger: &mut Builder) {
        // A pipe has no colors by itself.
        let is_plain = env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        if !is_plain && env::var_os("RUST_LOG_STYLE").is_none() {
            logger.write_style(WriteStyle::Always);
        }
        logger.target(Target::Pipe(Box::new(LogAbove(self.clone()))));
    }

    /// Draws the line each second. Nothing is drawn before the first request.
    pub async fn run(self, mut source: ActivitySource) {
        loop {
            let activity = source.next().await;
            if activity.received > 0 {
                self.draw(text(&activity));
            }
        }
    }

    /// Removes the line for good.
    pub fn end(&self) {
        let mut shown = self.shown();
        shown.has_ended = true;
        if !std::mem::take(&mut shown.line).is_empty() {
            write(CLEAR.as_bytes());
        }
    }

    fn draw(&self, line: String) {
        let mut shown = self.shown();
        if !shown.has_ended {
            shown.line = line;
            write(drawn(&shown.line).as_bytes());
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // The text is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drawn(line: &str) -> String {
    format!("{CLEAR}{NO_WRAP}{line}{WRAP}")
}

/// Writes to standard error in one piece. A closed terminal is not an error.
fn write(bytes: &[u8]) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
}

/// Writes log lines above the status line.
struct LogAbove(StatusLine);

impl Write for LogAbove {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shown = self.0.shown();
        if shown.line.is_empty() {
            write(bytes);
        } else {
            write(&[CLEAR.as_bytes(), bytes, drawn(&shown.line).as_bytes()].concat());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the text of the line.
fn text(activity: &Activity) -> String {
    let rate: u64 = activity.ended.iter().sum();
    let mut text = format!("{} req/s", grouped(rate));
    for (n, (class, count)) in activity.classes().enumerate() {
        let separator = if n == 0 { " ·" } else { "" };
        let _ = write!(text, "{separator} {} {:.1}%", class.name(), count as f64 * 100.0 / rate as f64);
    }
    let plural = if activity.open_streams == 1 { "" } else { "s" };
    let _ = write!(text, " · {} stream{plural}", grouped(activity.open_streams));
    if let Some((actual, intended)) = activity.first_token {
        let _ = write!(text, " · ttft p99 {} ms ({} intended)", millis(actual), millis(intended));
    }
    text
}

/// Returns a time in milliseconds, with a digit after the point if it is short.
fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis == 0.0 || millis >= 10.0 { grouped(millis.round() as u64) } else { format!("{millis:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_rate_classes_streams_and_times() {
        let mut activity = Activity { received: 9, ended: [1181, 0, 0, 23, 0, 0], ..Activity::default() };
        assert_eq!(text(&activity), "1,204 req/s · 2xx 98.1% 429 1.9% · 0 streams");
        activity.open_streams = 1;
        assert!(text(&activity).ends_with(" · 1 stream"));
        activity.open_streams = 1_234_567;
        activity.first_token = Some((Duration::from_millis(310), Duration::from_millis(300)));
        assert_eq!(
            text(&activity),
            "1,204 req/s · 2xx 98.1% 429 1.9% · 1,234,567 streams · ttft p99 310 ms (300 intended)"
        );
        let idle = Activity { first_token: Some((Duration::from_micros(240), Duration::ZERO)), ..Activity::default() };
        assert_eq!(text(&idle), "0 req/s · 0 streams · ttft p99 0.2 ms (0 intended)");
    }
}
