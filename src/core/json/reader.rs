//! The reader of a [`Document`](super::Document): it parses JSON's structure without decoding values.

use memchr::memchr;

use super::{KeyFilter, Kind, MAX_DEPTH, Malformed, Node, Nodes};

/// Number of bytes of a string that are scanned eight at a time, before `memchr` searches for its end.
const NEAR: usize = 32;

/// A reader of `text`, at the byte `at`.
pub(super) struct Reader<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    /// The nodes so far.
    pub(super) nodes: Nodes,
    /// True if any key contains an escape.
    pub(super) escaped_keys: bool,
    /// The names of the members of the outermost object.
    pub(super) names: KeyFilter,
}

impl<'a> Reader<'a> {
    /// Reads a whole text as one object. Empty text counts as `{}`.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::inside(text, 0);
        reader.skip_space();
        if reader.at < text.len() {
            reader.names = reader.object(0)?;
            reader.skip_space();
        }
        if reader.at == text.len() { Ok(reader) } else { Err(reader.malformed()) }
    }

    /// Creates a reader of a text at the byte `at`.
    pub(super) fn inside(text: &'a [u8], at: usize) -> Self {
        Reader { text, at, nodes: Nodes::new(), escaped_keys: false, names: KeyFilter::default() }
    }

    /// Returns true if the next value is an object or array, which has a node in arrays.
    #[inline]
    pub(super) fn is_at_node(&self) -> bool {
        matches!(self.peek(), Some(b'{' | b'['))
    }

    fn malformed(&self) -> Malformed {
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

    /// Reads an object, and returns the names of its members.
    fn object(&mut self, depth: usize) -> Result<KeyFilter, Malformed> {
        let mut names = KeyFilter::default();
        self.list(b'{', b'}', depth, |reader| {
            let from = reader.at + 1;
            let is_plain = reader.string()?;
            reader.escaped_keys |= !is_plain && reader.text[from..reader.at].contains(&b'\\');
            let key = (from as u32, reader.at as u32 - 1);
            names = names.and(&reader.text[from..reader.at - 1]);
            reader.skip_space();
            reader.expect(b':')?;
            reader.skip_space();
            reader.node(key, depth + 1)
        })?;
        Ok(names)
    }

    /// Reads an array. Returns true if each of its items is a node.
    fn array(&mut self, depth: usize) -> Result<bool, Malformed> {
        let mut dense = true;
        self.list(b'[', b']', depth, |reader| {
            if reader.is_at_node() {
                return reader.node((0, 0), depth + 1);
            }
            dense = false;
            reader.scalar().map(|_| ())
        })?;
        Ok(dense)
    }

    /// Reads a value, and records its position.
    fn node(&mut self, key: (u32, u32), depth: usize) -> Result<(), Malformed> {
        let (number, from) = (self.nodes.len(), self.at as u32);
        let mut node =
            Node { key, value: (from, from), span: 1, kind: Kind::Null, dense: false, names: KeyFilter::default() };
        match self.peek() {
            Some(b'{') => {
                self.nodes.push(node);
                (node.kind, node.names) = (Kind::Object, self.object(depth)?);
            }
            Some(b'[') => {
                self.nodes.push(node);
                (node.kind, node.dense) = (Kind::Array, self.array(depth)?);
            }
            _ => {
                node.kind = self.scalar()?;
                node.value.1 = self.at as u32;
                self.nodes.push(node);
                return Ok(());
            }
        }
        (node.value.1, node.span) = (self.at as u32, (self.nodes.len() - number) as u32);
        self.nodes[number] = node;
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

    /// Reads a string, number or literal.
    pub(super) fn scalar(&mut self) -> Result<Kind, Malformed> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| Kind::String),
            Some(b't') => self.literal(b"true", Kind::Boolean),
            Some(b'f') => self.literal(b"false", Kind::Boolean),
            Some(b'n') => self.literal(b"null", Kind::Null),
            _ => self.number(),
        }
    }

    /// Reads a string. Returns true if it is known to contain no escape.
    #[inline]
    pub(super) fn string(&mut self) -> Result<bool, Malformed> {
        self.expect(b'"')?;
        // Most keys and many values end before a `memchr` search would pay off.
        let mut is_plain = true;
        let near = self.at + NEAR;
        while let Some(eight) = self.text.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let ends = first_of(*eight, b'"').min(first_of(*eight, b'\\'));
            self.at += ends;
            match eight.get(ends) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(is_plain);
                }
                Some(_) => (self.at, is_plain) = (self.at + 2, false),
                None if self.at >= near => break,
                None => {}
            }
        }
        self.far_end()?;
        Ok(false)
    }

    /// Skips to after the end of a string. The part that was read before must not end within an escape.
    #[inline(never)]
    fn far_end(&mut self) -> Result<(), Malformed> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(length) = memchr(b'"', rest) else { return Err(self.malformed()) };
            self.at += length + 1;
            // A quote is escaped if an odd number of backslashes precedes it. No run of them spans the previous quote.
            let mut escapes = 0;
            while escapes < length && rest[length - 1 - escapes] == b'\\' {
                escapes += 1;
            }
            if escapes % 2 == 0 {
                return Ok(());
            }
        }
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<Kind, Malformed> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(kind)
        } else {
            Err(self.malformed())
        }
    }

    fn number(&mut self) -> Result<Kind, Malformed> {
        let mut kind = Kind::Integer;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            (self.at, kind) = (self.at + 1, Kind::Decimal);
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            (self.at, kind) = (self.at + 1, Kind::Decimal);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(kind)
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(self.malformed()) }
    }
}

/// Returns the index of a byte among eight; 8 if it is absent.
#[inline]
fn first_of(eight: [u8; 8], byte: u8) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let differs = u64::from_le_bytes(eight) ^ (ONES * u64::from(byte));
    // The lowest zero byte borrows first: its highest bit is set, and no bit below it.
    let zero = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
    zero.trailing_zeros() as usize / 8
}
