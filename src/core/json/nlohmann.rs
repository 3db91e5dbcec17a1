//! The first mistake in a text, in the words of nlohmann's JSON parser, which llama.cpp uses. A text that is nested too
//! deep is reported as ending there.

use super::MAX_DEPTH;

/// Returns the description of the first mistake in a text that is no JSON object.
pub fn nlohmann_problem(text: &[u8]) -> String {
    let mut parser = Parser::new(text);
    match parser.document() {
        Ok(()) => "[json.exception.type_error.305] cannot use operator[] with a string argument with a value that is \
                   no object"
            .to_owned(),
        Err(Mistake { context, problem }) => {
            let (line, column) = (parser.line, parser.column);
            format!(
                "[json.exception.parse_error.101] parse error at line {line}, column {column}: syntax error while \
                 parsing {context} - {problem}"
            )
        }
    }
}

/// Returns the place at which a parser finds the first mistake in a text, in bytes; 0 if there is none.
pub fn mistake_at(text: &[u8]) -> usize {
    let mut parser = Parser::new(text);
    parser.document().err().map_or(0, |_| parser.at.saturating_sub(1))
}

struct Mistake {
    context: &'static str,
    problem: String,
}

/// A token, by the name that messages use.
#[derive(Clone, PartialEq, Eq)]
enum Token {
    Named(&'static str),
    /// No token: the reason.
    Invalid(&'static str),
}

const STRING: &str = "string literal";
const END: &str = "end of input";

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    /// Number of bytes read in this line. The end of the input counts as one.
    column: usize,
    /// The start of the current token.
    start: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a [u8]) -> Self {
        Parser { text, at: 0, line: 1, column: 0, start: 0, depth: 0 }
    }

    fn read(&mut self) -> Option<u8> {
        self.column += 1;
        let byte = self.text.get(self.at).copied();
        if byte.is_some() {
            self.at += 1;
        }
        if byte == Some(b'\n') {
            (self.line, self.column) = (self.line + 1, 0);
        }
        byte
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn token(&mut self) -> Token {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.read();
        }
        self.start = self.at;
        let Some(first) = self.read() else { return Token::Named(END) };
        match first {
            b'[' => Token::Named("'['"),
            b']' => Token::Named("']'"),
            b'{' => Token::Named("'{'"),
            b'}' => Token::Named("'}'"),
            b':' => Token::Named("':'"),
            b',' => Token::Named("','"),
            b't' => self.literal(b"rue", "true literal"),
            b'f' => self.literal(b"alse", "false literal"),
            b'n' => self.literal(b"ull", "null literal"),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(first),
            _ => Token::Invalid("invalid literal"),
        }
    }

    fn literal(&mut self, rest: &[u8], name: &'static str) -> Token {
        let is_whole = rest.iter().all(|byte| self.read() == Some(*byte));
        if is_whole { Token::Named(name) } else { Token::Invalid("invalid literal") }
    }

    fn string(&mut self) -> Token {
        loop {
            match self.read() {
                None => return Token::Invalid("invalid string: missing closing quote"),
                Some(b'"') => return Token::Named(STRING),
                Some(b'\\') => match self.read() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u') => {}
                    _ => return Token::Invalid("invalid string: forbidden character after backslash"),
                },
                Some(0..0x20) => return Token::Invalid("invalid string: control character must be escaped"),
                Some(_) => {}
            }
        }
    }

    fn number(&mut self, first: u8) -> Token {
        if first == b'-' && !matches!(self.read(), Some(b'0'..=b'9')) {
            return Token::Invalid("invalid number; expected digit after '-'");
        }
        while matches!(self.peek(), Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
            self.read();
        }
        Token::Named("number literal")
    }

    fn document(&mut self) -> Result<(), Mistake> {
        let first = self.token();
        self.value(first)?;
        match self.token() {
            Token::Named(END) => Ok(()),
            token => Err(self.mistake("value", token, Some(END))),
        }
    }

    fn value(&mut self, first: Token) -> Result<(), Mistake> {
        self.depth += 1;
        let result = match first {
            _ if self.depth > MAX_DEPTH => Err(self.mistake("value", Token::Named(END), None)),
            Token::Named("'{'") => self.object(),
            Token::Named("'['") => self.array(),
            Token::Named(STRING | "number literal" | "true literal" | "false literal" | "null literal") => Ok(()),
            Token::Invalid(_) => Err(self.mistake("value", first, None)),
            token => Err(self.mistake("value", token, Some("'[', '{', or a literal"))),
        };
        self.depth -= 1;
        result
    }

    fn object(&mut self) -> Result<(), Mistake> {
        let mut token = self.token();
        if token == Token::Named("'}'") {
            return Ok(());
        }
        loop {
            if token != Token::Named(STRING) {
                return Err(self.mistake("object key", token, Some(STRING)));
            }
            let separator = self.token();
            if separator != Token::Named("':'") {
                return Err(self.mistake("object separator", separator, Some("':'")));
            }
            let first = self.token();
            self.value(first)?;
            match self.token() {
                Token::Named("','") => token = self.token(),
                Token::Named("'}'") => return Ok(()),
                token => return Err(self.mistake("object", token, Some("'}'"))),
            }
        }
    }

    fn array(&mut self) -> Result<(), Mistake> {
        let mut token = self.token();
        if token == Token::Named("']'") {
            return Ok(());
        }
        loop {
            self.value(token)?;
            match self.token() {
                Token::Named("','") => token = self.token(),
                Token::Named("']'") => return Ok(()),
                token => return Err(self.mistake("array", token, Some("']'"))),
            }
        }
    }

    fn mistake(&self, context: &'static str, token: Token, expected: Option<&str>) -> Mistake {
        let found = match token {
            Token::Named(name) => format!("unexpected {name}"),
            Token::Invalid(reason) => {
                let read = String::from_utf8_lossy(&self.text[self.start..self.at]);
                format!("{reason}; last read: '{read}'")
            }
        };
        let expected = expected.map_or_else(String::new, |expected| format!("; expected {expected}"));
        Mistake { context, problem: found + &expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_described_with_place_and_reason() {
        for (text, problem) in [
            ("nonsense", "line 1, column 2: syntax error while parsing value - invalid literal; last read: 'no'"),
            (
                "{",
                "line 1, column 2: syntax error while parsing object key - unexpected end of input; expected string literal",
            ),
            (
                "{\n\"a\": }",
                "line 2, column 6: syntax error while parsing value - unexpected '}'; expected '[', '{', or a literal",
            ),
            (
                "{\"a\" 1}",
                "column 6: syntax error while parsing object separator - unexpected number literal; expected ':'",
            ),
            ("[1 2]", "column 4: syntax error while parsing array - unexpected number literal; expected ']'"),
            ("{\"a\":1]", "column 7: syntax error while parsing object - unexpected ']'; expected '}'"),
            (
                "\"ab",
                "column 4: syntax error while parsing value - invalid string: missing closing quote; last read: '\"ab'",
            ),
            (
                "{} x",
                "column 4: syntax error while parsing value - invalid literal; last read: 'x'; expected end of input",
            ),
        ] {
            let described = nlohmann_problem(text.as_bytes());
            assert!(described.starts_with("[json.exception.parse_error.101] parse error at line "), "{described}");
            assert!(described.ends_with(problem), "{text}: {described}");
        }
        assert_eq!([&b"nonsense"[..], b"x", b"{\"a\":x}", b"{}"].map(mistake_at), [1, 0, 5, 0]);
        assert!(nlohmann_problem(b"[1]").starts_with("[json.exception.type_error.305]"));
        assert!(nlohmann_problem("[".repeat(1_000_000).as_bytes()).contains("parse error"));
    }
}
