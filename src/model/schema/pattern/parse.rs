//! The parser of patterns.

use super::{Kind, Node};

/// Maximum nesting depth of a pattern. Patterns written by people are less deep.
const DEEPEST: usize = 50;

const DIGITS: &[(u32, u32)] = &[(0x30, 0x39)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
const SPACE: &[(u32, u32)] = &[
    (0x20, 0x20),
    (0x09, 0x0d),
    (0xa0, 0xa0),
    (0x1680, 0x1680),
    (0x2000, 0x200a),
    (0x2028, 0x2029),
    (0x202f, 0x202f),
    (0x205f, 0x205f),
    (0x3000, 0x3000),
    (0xfeff, 0xfeff),
];
/// The emoji block of faces, which stands for all emoji.
const FACES: &[(u32, u32)] = &[(0x1f600, 0x1f64f)];
const LINE_ENDS: &[(u32, u32)] = &[(0x0a, 0x0a), (0x0d, 0x0d), (0x2028, 0x2029)];

/// Parses a pattern. `None` if it is invalid or not supported.
pub(super) fn parse(text: &str) -> Option<Node> {
    let mut parser = Parser { rest: text, depth: 0 };
    parser.choice().filter(|_| parser.rest.is_empty())
}

struct Parser<'p> {
    rest: &'p str,
    depth: usize,
}

/// The meaning of an escape: one character, or any of some ranges.
enum Escape {
    One(u32),
    Any(Vec<(u32, u32)>),
}

impl Parser<'_> {
    fn eat(&mut self, prefix: &str) -> bool {
        self.rest.strip_prefix(prefix).map(|rest| self.rest = rest).is_some()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn choice(&mut self) -> Option<Node> {
        let mut nodes = vec![self.sequence()?];
        while self.eat("|") {
            nodes.push(self.sequence()?);
        }
        Some(if nodes.len() == 1 { nodes.remove(0) } else { Node::new(Kind::Choice(nodes)) })
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut nodes = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let node = self.atom()?;
            nodes.push(match self.repeats() {
                None => node,
                Some((least, most)) if least <= most => Node::new(Kind::Repeat { node: Box::new(node), least, most }),
                Some(_) => return None,
            });
        }
        Some(Node::new(Kind::Sequence(nodes)))
    }

    fn repeats(&mut self) -> Option<(usize, usize)> {
        let repeats = if self.eat("*") {
            (0, usize::MAX)
        } else if self.eat("+") {
            (1, usize::MAX)
        } else if self.eat("?") {
            (0, 1)
        } else {
            let (inside, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
            let (least, most) = inside
                .split_once(',')
                .map_or((inside, Some(inside)), |(least, most)| (least, Some(most).filter(|most| !most.is_empty())));
            let number = |text: &str| {
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                digits.then(|| text.parse().unwrap_or(usize::MAX))
            };
            let repeats = (number(least)?, most.map_or(Some(usize::MAX), number)?);
            self.rest = rest;
            repeats
        };
        self.eat("?");
        Some(repeats)
    }

    fn atom(&mut self) -> Option<Node> {
        match self.next()? {
            '^' => Some(Node::new(Kind::Start)),
            '$' => Some(Node::new(Kind::End)),
            '.' => Some(Node::set(complement(LINE_ENDS))),
            '[' => self.class(),
            '(' => self.group(),
            '*' | '+' | '?' => None,
            '\\' => match self.rest.chars().next()? {
                'b' | 'B' => Some(Node::new(Kind::Boundary { wanted: self.next()? == 'b' })),
                'A' => self.next().map(|_| Node::new(Kind::Start)),
                'z' | 'Z' => self.next().map(|_| Node::new(Kind::End)),
                _ => match self.escape()? {
                    Escape::One(c) => Some(Node::set(vec![(c, c)])),
                    Escape::Any(ranges) => Some(Node::set(ranges)),
                },
            },
            c => Some(Node::set(vec![(c.into(), c.into())])),
        }
    }

    fn group(&mut self) -> Option<Node> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let look = [("?=", false, true), ("?!", false, false), ("?<=", true, true), ("?<!", true, false)]
            .into_iter()
            .find(|(opening, ..)| self.eat(opening));
        if look.is_none() && !self.eat("?:") && (self.eat("?P<") || self.eat("?<")) {
            self.rest = self.rest.split_once('>')?.1;
        }
        let node = self.choice()?;
        self.depth -= 1;
        self.eat(")").then(|| match look {
            None => node,
            Some((_, behind, wanted)) => Node::new(Kind::Look { node: Box::new(node), behind, wanted }),
        })
    }

    fn class(&mut self) -> Option<Node> {
        let negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            let low = match self.class_atom()? {
                Escape::Any(any) => {
                    ranges.extend(any);
                    continue;
                }
                Escape::One(low) => low,
            };
            if !self.rest.starts_with('-') || self.rest.starts_with("-]") {
                ranges.push((low, low));
                continue;
            }
            self.next();
            match self.class_atom()? {
                Escape::One(high) if low <= high => ranges.push((low, high)),
                Escape::One(_) => return None,
                Escape::Any(any) => {
                    ranges.extend([(low, low), ('-'.into(), '-'.into())]);
                    ranges.extend(any);
                }
            }
        }
        Some(Node::set(if negated { complement(&ranges) } else { ranges }))
    }

    fn class_atom(&mut self) -> Option<Escape> {
        match self.next()? {
            '\\' if self.eat("b") => Some(Escape::One(8)),
            '\\' => self.escape(),
            c => Some(Escape::One(c.into())),
        }
    }

    fn escape(&mut self) -> Option<Escape> {
        let any = |ranges: &[(u32, u32)]| Some(Escape::Any(ranges.to_vec()));
        match self.next()? {
            'd' => any(DIGITS),
            'D' => any(&complement(DIGITS)),
            'w' => any(WORD),
            'W' => any(&complement(WORD)),
            's' => any(SPACE),
            'S' => any(&complement(SPACE)),
            'p' => {
                let (name, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
                self.rest = rest;
                match name {
                    "L" | "Letter" | "Alphabetic" => any(&[(0x41, 0x5a), (0x61, 0x7a), (0xc0, 0x24f)]),
                    "Lu" | "Uppercase_Letter" => any(&[(0x41, 0x5a)]),
                    "Ll" | "Lowercase_Letter" => any(&[(0x61, 0x7a)]),
                    "N" | "Nd" | "Number" => any(DIGITS),
                    "Emoji" | "Extended_Pictographic" | "Emoji_Component" | "Regional_Indicator" => any(FACES),
                    _ => None,
                }
            }
            'n' => Some(Escape::One(0x0a)),
            'r' => Some(Escape::One(0x0d)),
            't' => Some(Escape::One(0x09)),
            'v' => Some(Escape::One(0x0b)),
            'f' => Some(Escape::One(0x0c)),
            '0' => Some(Escape::One(0)),
            'c' => self.next().map(|c| Escape::One(u32::from(c) % 32)),
            'x' => self.hex(2),
            'u' if self.rest.starts_with('{') => {
                let (digits, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
                self.rest = rest;
                u32::from_str_radix(digits, 16).ok().map(Escape::One)
            }
            'u' => self.hex(4),
            'P' | 'k' | '1'..='9' => None,
            c => Some(Escape::One(c.into())),
        }
    }

    fn hex(&mut self, digits: usize) -> Option<Escape> {
        let (hex, rest) = self.rest.split_at_checked(digits)?;
        self.rest = rest;
        u32::from_str_radix(hex, 16).ok().map(Escape::One)
    }
}

fn complement(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut rest = Vec::new();
    let mut next = 0;
    for (low, high) in sorted {
        if low > next {
            rest.push((next, low - 1));
        }
        next = next.max(high.saturating_add(1));
    }
    if next <= u32::from(char::MAX) {
        rest.push((next, char::MAX.into()));
    }
    rest
}
