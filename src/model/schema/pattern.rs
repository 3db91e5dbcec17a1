//! Patterns: the subset of ECMA-262's regular expressions that schemas use. A pattern can draw strings and match them.
//!
//! Back-references, flags and most of `\p{…}` are not supported: parsing such a pattern fails.

mod parse;

use std::collections::BTreeSet;

use super::{Random, below};
use parse::parse;

/// A regular expression.
pub struct Pattern(Node);

/// The options for drawing a string.
#[derive(Clone, Copy)]
pub struct Style {
    /// Maximum number of characters beyond [`Pattern::shortest`].
    pub slack: usize,
    /// True if all of `slack` is used: by the first repetition, and then by letters around the match.
    pub greedy: bool,
    /// True if a set that contains all lowercase letters gives only those.
    pub plain: bool,
}

struct Node {
    kind: Kind,
    /// Minimum number of characters.
    width: usize,
}

enum Kind {
    Set(Set),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat { node: Box<Node>, least: usize, most: usize },
    Start,
    End,
    Boundary { wanted: bool },
    Look { node: Box<Node>, behind: bool, wanted: bool },
}

struct Set {
    ranges: Vec<(u32, u32)>,
    /// The characters to draw from: letters and digits, or else other printable characters.
    pool: Vec<char>,
}

/// Maximum length of a pattern, and of its shortest match. Patterns written by people are shorter.
const LONGEST: usize = 10_000;

impl Pattern {
    /// Parses a pattern. `None` if it is invalid or not supported.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        parse(text).filter(|node| node.width <= LONGEST).map(Pattern)
    }

    /// Returns the length of the shortest string that can be drawn, in characters.
    pub fn shortest(&self) -> usize {
        self.0.width
    }

    /// Draws a string. Assertions are ignored, so a pattern with `(?=…)`, `\b` or an inner `^` may not match it; if
    /// `greedy`, nor may one with any `^` or `$`. `fuel` is the remaining number of steps.
    pub fn draw(&self, random: &mut Random, style: Style, fuel: &mut usize) -> String {
        let mut draw = Draw { random, style, fuel, text: String::new() };
        draw.node(&self.0);
        let left = if style.greedy { "a".repeat(draw.style.slack) } else { String::new() };
        if style.plain { draw.text + &left } else { left + &draw.text }
    }

    /// Returns true if the pattern matches anywhere in `text`, as JSON Schema defines it; false if `fuel` runs out.
    pub fn matches(&self, text: &str, fuel: &mut usize) -> bool {
        let text: Vec<char> = text.chars().collect();
        !self.0.ends(&text, &(0..=text.len()).collect(), fuel).is_empty()
    }
}

impl Node {
    fn new(kind: Kind) -> Self {
        let width = match &kind {
            Kind::Set(_) => 1,
            Kind::Sequence(nodes) => nodes.iter().fold(0, |sum, node| node.width.saturating_add(sum)),
            Kind::Choice(nodes) => nodes.iter().map(|node| node.width).min().unwrap_or(0),
            Kind::Repeat { node, least, .. } => node.width.saturating_mul(*least),
            Kind::Start | Kind::End | Kind::Boundary { .. } | Kind::Look { .. } => 0,
        };
        Node { kind, width }
    }

    fn set(ranges: Vec<(u32, u32)>) -> Self {
        let within = |c: &char| ranges.iter().any(|(low, high)| (*low..=*high).contains(&u32::from(*c)));
        let mut pool: Vec<char> = (' '..='~').filter(char::is_ascii_alphanumeric).filter(within).collect();
        if pool.is_empty() {
            pool = (' '..='~').filter(within).collect();
        }
        if pool.is_empty() {
            pool.extend(ranges.iter().find_map(|(low, high)| (*low..=*high).find_map(char::from_u32)));
        }
        Node::new(Kind::Set(Set { ranges, pool }))
    }

    /// Returns the positions at which a match can end that starts at one of `from`. Sets of positions avoid
    /// backtracking, which could take exponential time, and recursion that depends on the length of the text.
    fn ends(&self, text: &[char], from: &BTreeSet<usize>, fuel: &mut usize) -> BTreeSet<usize> {
        *fuel = fuel.saturating_sub(1 + from.len());
        if *fuel == 0 || from.is_empty() {
            return BTreeSet::new();
        }
        match &self.kind {
            Kind::Set(set) => {
                from.iter().filter(|at| text.get(**at).is_some_and(|c| set.has(*c))).map(|at| at + 1).collect()
            }
            Kind::Sequence(nodes) => nodes.iter().fold(from.clone(), |from, node| node.ends(text, &from, fuel)),
            Kind::Choice(nodes) => nodes.iter().flat_map(|node| node.ends(text, from, fuel)).collect(),
            Kind::Repeat { node, least, most } => {
                let mut last = from.clone();
                for _ in 0..*least {
                    let next = node.ends(text, &last, fuel);
                    if next == last {
                        break;
                    }
                    last = next;
                }
                let mut all = last.clone();
                for _ in *least..*most {
                    last = node.ends(text, &last, fuel).difference(&all).copied().collect();
                    if last.is_empty() {
                        break;
                    }
                    all.extend(&last);
                }
                all
            }
            Kind::Start => from.iter().copied().filter(|at| *at == 0).collect(),
            Kind::End => from.iter().copied().filter(|at| *at == text.len()).collect(),
            Kind::Boundary { wanted } => {
                let word = |at: Option<usize>| {
                    at.and_then(|at| text.get(at)).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
                };
                from.iter().copied().filter(|at| (word(at.checked_sub(1)) != word(Some(*at))) == *wanted).collect()
            }
            Kind::Look { node, behind, wanted } => {
                let mut found = |at: usize| match behind {
                    false => !node.ends(text, &BTreeSet::from([at]), fuel).is_empty(),
                    true => node.ends(text, &(0..=at).collect(), fuel).contains(&at),
                };
                from.iter().copied().filter(|at| found(*at) == *wanted).collect()
            }
        }
    }
}

impl Set {
    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&u32::from(c)))
    }
}

struct Draw<'r> {
    random: &'r mut Random,
    style: Style,
    fuel: &'r mut usize,
    text: String,
}

impl Draw<'_> {
    fn node(&mut self, node: &Node) {
        *self.fuel = self.fuel.saturating_sub(1);
        if *self.fuel == 0 {
            return;
        }
        match &node.kind {
            Kind::Set(set) => {
                let small: Vec<char> = set.pool.iter().copied().filter(char::is_ascii_lowercase).collect();
                let pool = if self.style.plain && small.len() == 26 { &small } else { &set.pool };
                self.text.extend(pool.get(below(self.random, pool.len())));
            }
            Kind::Sequence(nodes) => nodes.iter().for_each(|node| self.node(node)),
            Kind::Choice(nodes) => {
                let within = |one: &&Node| one.width - node.width <= self.style.slack;
                let nodes: Vec<&Node> = nodes.iter().filter(within).collect();
                if let Some(one) = nodes.get(below(self.random, nodes.len())) {
                    self.style.slack -= one.width - node.width;
                    self.node(one);
                }
            }
            // A node that may be empty is repeated at most once: repetitions would take time and use none of the slack.
            Kind::Repeat { node, most, .. } if node.width == 0 => {
                if *most > 0 {
                    self.node(node);
                }
            }
            Kind::Repeat { node, least, most } => {
                let room = (self.style.slack / node.width).min(most.saturating_sub(*least));
                let more = if self.style.greedy { room } else { below(self.random, room.min(8) + 1) };
                self.style.slack -= more * node.width;
                (0..least + more).for_each(|_| self.node(node));
            }
            Kind::Start | Kind::End | Kind::Boundary { .. } | Kind::Look { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(pattern: &Pattern, seed: u64) -> String {
        let style = Style { slack: 20, greedy: false, plain: seed.is_multiple_of(2) };
        pattern.draw(&mut Random::seeded(seed), style, &mut 100_000)
    }

    #[test]
    fn drawn_strings_match() {
        let patterns = [
            r"^[a-zA-Z0-9_-]+$",
            r"^[a-zA-Z0-9_-]{1,64}$",
            r"^\d{3}-\d{2}-\d{4}$",
            r"^\+?[1-9]\d{1,14}$",
            r"^[A-Z]{2}\d{6}$",
            r"^#(?:[0-9a-fA-F]{3}){1,2}$",
            r"^[^\s@]+@[^\s@]+\.[^\s@]+$",
            r"^https?://[\w.-]+(?::\d+)?(?:/[\w./-]*)?$",
            r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$",
            r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?$",
            r"^(\d{1,3}\.){3}\d{1,3}$",
            r"^v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
            r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
            r"^(red|green|blue)$",
            r"^\$\d{1,3}(,\d{3})*(\.\d{2})?$",
            r"^[\w.%+-]+@[\w.-]+\.[A-Za-z]{2,}$",
            r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$",
            r"^\S.*\S$",
            r"^(?P<year>\d{4})/(?P<rest>.*)$",
            r"^[A-Z][a-z]*(\s[A-Z][a-z]*)*$",
            r"\bword\b",
            r"foo",
            r"^$|^a{2,}?$",
            r"^[^a-z]{5}\t\x41\u0042$",
            r"^-?\d+(\.\d+)?([eE][+-]?\d+)?$",
            r"^[\[\]\\^-]+$",
            r"^\p{L}+\.\p{Lu}$",
            r"^(a|b(c|d){2}|)*e$",
            r"^[é-ü]{3}☃$",
            r"^a{3}b{2,}c{0,4}\{x$",
            r"",
        ];
        for text in patterns {
            let pattern = Pattern::parse(text).unwrap();
            let oracle = regex::Regex::new(text).unwrap();
            for seed in 0..100 {
                let drawn = draw(&pattern, seed);
                assert!(oracle.is_match(&drawn), "{text}: {drawn:?}");
                assert!(pattern.matches(&drawn, &mut 100_000), "{text}: {drawn:?}");
                assert!(drawn.chars().count() <= pattern.shortest() + 20);
            }
        }
    }

    #[test]
    fn matching_agrees_with_the_regex_crate() {
        let pairs = [
            (r"^(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
            (r"^(a|ab)(c|bcd)$", "abcd"),
            (r"b{2,3}$", "abbbb"),
            (r"^b{2,3}$", "bbbb"),
            (r"^(a?){3}b$", "aab"),
            (r"^\w\W\s\S\d\D$", "a- b1c"),
            (r"\Bb", "ab"),
            (r"\bb", "ab"),
            (r"^[^a]$", "a"),
            (r"^.$", "\n"),
        ];
        for (text, example) in pairs {
            let expected = regex::Regex::new(text).unwrap().is_match(example);
            assert_eq!(Pattern::parse(text).unwrap().matches(example, &mut 100_000), expected, "{text} {example}");
        }
        let looks = [
            (r"^(?=.*\d)(?=.*[A-Z]).{4,}$", "abC1", "abc1"),
            (r"^(?!admin$)\w+$", "admins", "admin"),
            (r"(?<=a)b", "ab", "cb"),
            (r"(?<!a)b", "cb", "ab"),
            (r"^(?=[\s\S]*[\p{Extended_Pictographic}\u20E3])\p{Emoji}+$", "😀", "a"),
        ];
        for (text, yes, no) in looks {
            let pattern = Pattern::parse(text).unwrap();
            assert!(pattern.matches(yes, &mut 100_000) && !pattern.matches(no, &mut 100_000), "{text}");
        }
    }

    #[test]
    fn unsupported_patterns_are_not_parsed() {
        for text in [r"(a)\1", "(?i)a", "(", ")", "[a", "a**", r"\p{Greek}", "b{3,2}", "[z-a]", "\\", "a{99999999999}"]
        {
            assert!(Pattern::parse(text).is_none(), "{text}");
        }
        assert!(Pattern::parse(&"(".repeat(9_000)).is_none());
    }
}
