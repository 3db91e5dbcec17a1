//! `fake-openai tokenizer`: its files count as the server does.

use std::{collections::HashMap, fs};

use fake_openai::Settings;
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    program::{Directory, run},
    vllm::{observed, send, served},
};

/// A tokenizer read from its files, as far as they use what `tokenizers` can do.
struct Tokenizer {
    pattern: Regex,
    vocabulary: HashMap<String, u32>,
    merges: HashMap<[String; 2], usize>,
    special: HashMap<String, u32>,
    template: String,
}

impl Tokenizer {
    fn read(directory: &str) -> Tokenizer {
        let read = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(format!("{directory}/{name}")).unwrap()).unwrap()
        };
        let (file, config) = (read("tokenizer.json"), read("tokenizer_config.json"));
        assert_eq!(config["eos_token"], read("special_tokens_map.json")["eos_token"]);
        assert_eq!((&file["normalizer"], &file["post_processor"]), (&Value::Null, &Value::Null));
        let pattern = file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].as_str().unwrap();
        // This crate has no lookahead: `pieces` does its work.
        let pattern = pattern.strip_suffix(r"|\s+(?!\S)|\s+").unwrap().to_owned() + r"|\s+";
        let number = |(token, number): (&String, &Value)| (token.clone(), number.as_u64().unwrap() as u32);
        let vocabulary = file["model"]["vocab"].as_object().unwrap().iter().map(number).collect();
        let pair = |pair: &Value| [0, 1].map(|at| pair[at].as_str().unwrap().to_owned());
        let merges = file["model"]["merges"].as_array().unwrap().iter().map(pair);
        let special = file["added_tokens"].as_array().unwrap().iter();
        Tokenizer {
            pattern: Regex::new(&pattern).unwrap(),
            vocabulary,
            merges: merges.enumerate().map(|(rank, pair)| (pair, rank)).collect(),
            special: special
                .map(|token| (token["content"].as_str().unwrap().to_owned(), token["id"].as_u64().unwrap() as u32))
                .collect(),
            template: config["chat_template"].as_str().unwrap().to_owned(),
        }
    }

    fn pieces<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let (mut rest, mut pieces) = (text, Vec::new());
        while let Some(found) = self.pattern.find(rest) {
            assert_eq!(found.start(), 0, "the pattern leaves nothing out of {rest:?}");
            let spaces = found.as_str().chars().all(char::is_whitespace) && !found.as_str().ends_with(['\r', '\n']);
            let last = found.as_str().chars().next_back().map_or(0, char::len_utf8);
            let shorter = spaces && found.len() > last && found.end() < rest.len();
            let (piece, after) = rest.split_at(if shorter { found.end() - last } else { found.end() });
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    /// The numbers of a text's tokens.
    fn numbers(&self, text: &str) -> Vec<u32> {
        let mut numbers = Vec::new();
        for piece in self.pieces(text) {
            let mut parts: Vec<String> = piece.bytes().map(|byte| shown(byte).to_string()).collect();
            if self.vocabulary.contains_key(&parts.concat()) {
                parts = vec![parts.concat()];
            }
            let rank = |pair: &[String]| self.merges.get(pair).copied();
            while let Some(at) =
                (1..parts.len()).filter_map(|at| Some((rank(&parts[at - 1..=at])?, at))).min().map(|(_, at)| at)
            {
                let second = parts.remove(at);
                parts[at - 1].push_str(&second);
            }
            numbers.extend(parts.iter().map(|part| self.vocabulary[part]));
        }
        numbers
    }

    /// The numbers of a chat's tokens.
    fn chat(&self, messages: &[(&str, &str)]) -> Vec<u32> {
        let named = |name: &str| {
            assert!(self.template.contains(name), "{}", self.template);
            self.special[name]
        };
        let head = |role: &str| [vec![named("<|start|>")], self.numbers(role), vec![named("<|message|>")]].concat();
        let message = |(role, text): &(&str, &str)| [head(role), self.numbers(text), vec![named("<|end|>")]].concat();
        let mut numbers: Vec<u32> = messages.iter().flat_map(message).collect();
        numbers.extend(head("assistant"));
        numbers
    }
}

/// The character of a byte in byte-level vocabularies.
fn shown(byte: u8) -> char {
    let is_shown = |byte: u8| matches!(char::from(byte), '!'..='~' | '¡'..='¬' | '®'..='ÿ');
    if is_shown(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_shown(*byte)).count() as u32;
    char::from_u32(256 + before).unwrap()
}

const TEXTS: [&str; 9] = [
    "hello sky",
    " two  spaces   and\ttabs\u{a0}\u{3000}x ",
    "\r\n\n  fn main() {\n    println!(\"{}\", 12345 + 6);\n}\n",
    "it's IT'LL we'Re x'ſ 'd",
    "汉字かな 한국어 नमस्ते สวัสดี",
    "👩‍👩‍👧🦤🜏 ²³ ǅ ʰ é e\u{301}",
    "HTTPServerError XMLHttpRequest/path//\n",
    "\u{0}\u{7f}\u{ad}\u{10ffff}",
    "antidisestablishmentarianism <|not special|>",
];

#[test]
fn the_written_tokenizer_counts_as_the_usage_does() {
    let directory = Directory::new();
    let path = directory.file("tokenizer");
    let output = run(&["tokenizer", &path]);
    assert!(output.status.success(), "{output:?}");
    let tokenizer = Tokenizer::read(&path);
    let lorem = Settings { content: Some("lorem".parse().unwrap()), lorem_tokens: Some("50..50".into()), ..observed() };
    let (_server, mut connection) = served(Settings { usage: Some("exact".parse().unwrap()), ..lorem });

    for text in TEXTS {
        let counted =
            send(&mut connection, "POST /tokenize", &json!({"prompt": text, "return_token_strs": true})).json();
        assert_eq!(counted["tokens"], json!(tokenizer.numbers(text)), "{text:?}");
        let strings = counted["token_strs"].as_array().unwrap().iter().map(|token| token.as_str().unwrap());
        assert!(
            strings.map(|token| json!(tokenizer.vocabulary[token])).eq(counted["tokens"].as_array().unwrap().clone())
        );
        let back = send(&mut connection, "POST /detokenize", &json!({"tokens": counted["tokens"]})).json();
        assert_eq!(back["prompt"], text);
    }

    let messages = [("system", "Be brief."), ("user", TEXTS[4]), ("assistant", ""), ("user", TEXTS[2])];
    let expected = tokenizer.chat(&messages);
    let sent: Value = messages.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    let counted = send(&mut connection, "POST /tokenize", &json!({"messages": sent})).json();
    assert_eq!(counted["tokens"], json!(expected));
    let body = json!({"messages": sent, "return_token_ids": true});
    let chat = send(&mut connection, "POST /v1/chat/completions", &body).json();
    assert_eq!(
        (&chat["prompt_token_ids"], &chat["usage"]["prompt_tokens"]),
        (&json!(expected), &json!(expected.len()))
    );
    let text = chat["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(chat["choices"][0]["token_ids"], json!(tokenizer.numbers(text)));
    assert_eq!((tokenizer.numbers(text).len(), &chat["usage"]["completion_tokens"]), (50, &json!(50)));
    let body = json!({"prompt": TEXTS[3], "max_tokens": 50});
    let completion = send(&mut connection, "POST /v1/completions", &body).json();
    assert_eq!(completion["usage"]["prompt_tokens"], tokenizer.numbers(TEXTS[3]).len());
    let text = completion["choices"][0]["text"].as_str().unwrap();
    assert_eq!((tokenizer.numbers(text).len(), &completion["usage"]["completion_tokens"]), (50, &json!(50)));
}

#[test]
fn the_tokenizer_of_gpt_4_has_other_tokens_and_no_file_is_overwritten() {
    let directory = Directory::new();
    let path = directory.file("tokenizer");
    let output = run(&["tokenizer", &path, "--model", "gpt-4"]);
    assert!(output.status.success(), "{output:?}");
    let tokenizer = Tokenizer::read(&path);
    let models = Settings { models: Some(vec!["gpt-4".to_owned()]), ..observed() };
    let (_server, mut connection) = served(models);
    for text in TEXTS {
        let counted = send(&mut connection, "POST /tokenize", &json!({"model": "gpt-4", "prompt": text})).json();
        assert_eq!(counted["tokens"], json!(tokenizer.numbers(text)), "{text:?}");
    }
    let again = run(&["tokenizer", &path]);
    assert_eq!(again.status.code(), Some(2));
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(error.contains("tokenizer.json: the file exists; give an empty directory"), "{error}");
}
