//! The reader behind [`Document`](super::Document): JSON's structure, without its contents.

use memchr::memchr;

use super::{MAX_DEPTH, Malformed, Node};

/// Bytes of a string that are looked at one by one.
const NEAR: usize = 24;

/// Reads `text` from `at` on.
pub(super) struct Reader<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    /// What was found.
    pub(super) nodes: Vec<Node>,
    /// Whether any key is written with an escape.
    pub(super) escaped_keys: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    pub(super) fn object(&mut self, depth: usize) -> Result<(), Malformed> {
        self.list(b'{', b'}', depth, |reader| {
            let from = reader.at + 1;
            reader.string()?;
            let key = (from as u32, reader.at as u32 - 1);
            reader.escaped_keys |= reader.text[from..reader.at].contains(&b'\\');
            reader.skip_space();
            reader.expect(b':')?;
            reader.skip_space();
            reader.node(key, depth + 1)
        })
    }

    fn array(&mut self, depth: usize) -> Result<(), Malformed> {
        self.list(b'[', b']', depth, |reader| match reader.peek() {
            Some(b'{' | b'[') => reader.node((0, 0), depth + 1),
            _ => reader.scalar(),
        })
    }

    /// Reads a value, and writes down where it is.
    fn node(&mut self, key: (u32, u32), depth: usize) -> Result<(), Malformed> {
        let (number, from) = (self.nodes.len(), self.at as u32);
        self.nodes.push(Node { key, value: (from, from), span: 1 });
        match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            _ => self.scalar()?,
        }
        let span = (self.nodes.len() - number) as u32;
        self.nodes[number] = Node { key, value: (from, self.at as u32), span };
        Ok(())
    }

    /// Reads `open entry , entry … close`.
    fn list(
        &mut self,
        open: u8,
        close: u8,
        depth: usize,
        mut entry: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        if depth >= MAX_DEPTH {
            return Err(self.malformed());
        }
        self.expect(open)?;
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            entry(self)?;
            self.skip_space();
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',')?;
            self.skip_space();
        }
    }

    /// Reads a value that has none inside it.
    pub(super) fn scalar(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => self.number(),
        }
    }

    #[inline]
    fn string(&mut self) -> Result<(), Malformed> {
        self.expect(b'"')?;
        // Most keys and many values are over before a search for their end would have begun.
        for _ in 0..NEAR {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.malformed()),
            }
        }
        self.far_end()
    }

    /// Reads on to behind the end of a string that is longer than most. What was read of it does not end in half an escape.
    #[inline(never)]
    fn far_end(&mut self) -> Result<(), Malformed> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(length) = memchr(b'"', rest) else { return Err(self.malformed()) };
            self.at += length + 1;
            // A quote is escaped when the run of backslashes before it is odd. No run goes back beyond the quote before.
            let mut escapes = 0;
            while escapes < length && rest[length - 1 - escapes] == b'\\' {
                escapes += 1;
            }
            if escapes % 2 == 0 {
                return Ok(());
            }
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Malformed> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(self.malformed()) }
    }
}
