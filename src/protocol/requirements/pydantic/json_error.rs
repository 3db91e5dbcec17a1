//! The first error in a text that is not JSON, as Python's `json` reports it.

/// Maximum depth of values that are searched.
const MAX_DEPTH: usize = 200;

/// An error: its position in characters, and its message.
type Found = (usize, &'static str);

const VALUE: &str = "Expecting value";

/// Returns the position, in characters, and the message of the first error; `None` if there is none.
pub(super) fn json_error(text: &[u8]) -> Option<(usize, &'static str)> {
    let text: Vec<char> = String::from_utf8_lossy(text).chars().collect();
    let mut reader = Reader { text: &text, at: 0 };
    reader.skip_space();
    let found = reader.value(0).and_then(|()| {
        reader.skip_space();
        if reader.at < text.len() { Err((reader.at, "Extra data")) } else { Ok(()) }
    });
    found.err()
}

struct Reader<'t> {
    text: &'t [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Found> {
        match self.peek() {
            Some(_) if depth > MAX_DEPTH => Err((self.at, VALUE)),
            Some('"') => self.string(),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('-' | '0'..='9') => self.number(),
            _ => {
                let words = ["null", "true", "false", "NaN", "Infinity"];
                let known = words.into_iter().find(|word| {
                    let rest = &self.text[self.at..];
                    word.chars().count() <= rest.len() && word.chars().zip(rest).all(|(a, b)| a == *b)
                });
                self.at += known.ok_or((self.at, VALUE))?.len();
                Ok(())
            }
        }
    }

    fn number(&mut self) -> Result<(), Found> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while matches!(reader.peek(), Some('0'..='9')) {
                reader.at += 1;
            }
            reader.at > from
        };
        if self.peek() == Some('-') {
            self.at += 1;
        }
        match self.peek() {
            Some('0') => self.at += 1,
            Some('1'..='9') => _ = digits(self),
            _ => return Err((start, VALUE)),
        }
        // A fraction or an exponent that is not complete is no part of the number.
        let whole = self.at;
        if self.peek() == Some('.') {
            self.at += 1;
            if !digits(self) {
                self.at = whole;
                return Ok(());
            }
        }
        let fraction = self.at;
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            if !digits(self) {
                self.at = fraction;
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Found> {
        let start = self.at;
        let unterminated = Err((start, "Unterminated string starting at"));
        self.at += 1;
        loop {
            let Some(c) = self.peek() else { return unterminated };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                '\0'..='\x1f' => return Err((self.at, "Invalid control character at")),
                '\\' => match self.text.get(self.at + 1) {
                    None => return unterminated,
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => self.at += 2,
                    Some('u') => {
                        let digits = self.text.get(self.at + 2..self.at + 6);
                        if !digits.is_some_and(|digits| digits.iter().all(char::is_ascii_hexdigit)) {
                            return Err((self.at + 1, "Invalid \\uXXXX escape"));
                        }
                        self.at += 6;
                    }
                    Some(_) => return Err((self.at, "Invalid \\escape")),
                },
                _ => self.at += 1,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Found> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some('"') {
                return Err((self.at, "Expecting property name enclosed in double quotes"));
            }
            self.string()?;
            self.skip_space();
            if self.peek() != Some(':') {
                return Err((self.at, "Expecting ':' delimiter"));
            }
            self.at += 1;
            self.skip_space();
            self.value(depth + 1)?;
            if self.ends_with('}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Found> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.ends_with(']')? {
                return Ok(());
            }
        }
    }

    /// Reads what follows an item. Returns true if it is the end, and false if it is a comma.
    fn ends_with(&mut self, end: char) -> Result<bool, Found> {
        self.skip_space();
        let is_end = match self.peek() {
            Some(c) if c == end => true,
            Some(',') => false,
            _ => return Err((self.at, "Expecting ',' delimiter")),
        };
        self.at += 1;
        self.skip_space();
        Ok(is_end)
    }
}
