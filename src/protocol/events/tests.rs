//! Tests of the lists of events.

use super::*;
use crate::core::random::Random;

fn list(time: RenderTime, name: &'static str, text: &Text) -> EventList<String> {
    let mut list = EventList::new(time);
    list.push(format!("{name} starts"));
    list.push_pieces(text, move |piece| format!("{name} {}:{}", piece.index, piece.text));
    list.push(format!("{name} ends {}", text.whole().len()));
    list
}

fn all(lists: Vec<EventList<String>>) -> Vec<String> {
    let mut events = Events::new(&lists.into());
    std::iter::from_fn(|| events.next().map(|next| next.event.into_owned())).collect()
}

#[test]
fn the_time_of_rendering_does_not_change_the_events() {
    let (long, short) = (Text::filler(9, Random::seeded(1)), Text::filler(2, Random::seeded(2)));
    let of = |time| all(vec![list(time, "a", &short), list(time, "b", &long), list(time, "c", &Text::default())]);
    let (now, late) = (of(RenderTime::Now), of(RenderTime::Late));
    assert_eq!(now, late);
    assert_eq!(now.len(), 6 + 2 + 9);
    let first: Vec<_> = now[..6].iter().map(|event| event.split(':').next().unwrap()).collect();
    assert_eq!(first, ["a starts", "b starts", "c starts", "a 0", "b 0", "c ends 0"]);
    assert!(now[6].starts_with("a 1") && now[7].starts_with("b 1") && now[8].starts_with("a ends"));
    assert!(now.last().unwrap().starts_with("b ends"), "the longest list goes on by itself");
    assert!(all(Vec::new()).is_empty());
}

#[derive(Clone)]
struct Line(String);

impl GapEvent for Line {
    fn text(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn without(mut self, part: Range<usize>) -> Option<Self> {
        self.0.replace_range(part, "");
        Some(self)
    }

    fn tokens(&self) -> u32 {
        1
    }
}

/// The lines of a text's pieces, rendered at `time`, each with the piece `times` times.
fn lines(time: RenderTime, text: &Text, times: usize) -> String {
    let mut list = EventList::new(time);
    list.push_gaps(text, move |piece| {
        Line(format!("[{}]\n", vec![serde_json::json!(piece).to_string(); times].join(",")))
    });
    list.push_gaps_with_last(text, |piece, is_last| Line(format!("{is_last} {}\n", serde_json::json!(piece))));
    assert_eq!(list.len(), 2 * text.piece_count());
    let (mut events, mut out) = (Events::new(&[list].into()), BytesMut::new());
    while let Some(next) = events.next() {
        next.put(&mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn events_with_a_gap_are_the_same_as_events_rendered_one_by_one() {
    let written = "a \"b\" \\ \u{1}\n é\u{f8ff}\u{7f}";
    let ends = (1..=written.len()).filter(|end| written.is_char_boundary(*end)).collect();
    let written = Text::written(written.to_owned(), ends, 1);
    for text in [written, Text::filler(40, Random::seeded(3)), Text::filler(1, Random::seeded(4)), Text::default()] {
        for times in [0, 1, 2] {
            assert_eq!(lines(RenderTime::Late, &text, times), lines(RenderTime::Now, &text, times), "{times} times");
        }
    }
    let last = lines(RenderTime::Late, &Text::filler(3, Random::seeded(3)), 1);
    assert_eq!(last.lines().filter(|line| line.starts_with("true")).count(), 1);
    assert!(last.trim_end().rsplit('\n').next().is_some_and(|line| line.starts_with("true")));
}
