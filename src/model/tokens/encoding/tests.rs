//! Tests of the encodings, against the crate and recorded counts.

use proptest::prelude::*;

use super::{
    Encoding::{Cl100k, O200k},
    *,
};

fn pieces(encoding: Encoding, text: &str) -> Vec<&str> {
    let mut from = 0;
    let ends = encoding.cut(text).ends.into_iter();
    ends.map(|end| &text[std::mem::replace(&mut from, end)..end]).collect()
}

#[test]
fn models_have_their_encodings() {
    for model in [
        "gpt-4",
        "gpt-4-turbo",
        "gpt-4-0613",
        "gpt-4-32k",
        "gpt-4-vision-preview",
        "gpt-3.5",
        "gpt-3.5-turbo",
        "gpt-3.5-turbo-0125",
        "gpt-3.5-turbo-instruct",
        "gpt-35-turbo-16k",
        "text-embedding-3-small",
        "text-embedding-3-large",
        "text-embedding-ada-002",
        "davinci-002",
        "ft:gpt-4:org::id",
        "ft:gpt-3.5-turbo-0125:org:name:id",
    ] {
        assert_eq!(Encoding::of_model(model), Cl100k, "{model}");
    }
    for model in [
        "gpt-4o",
        "gpt-4o-mini-2024-07-18",
        "gpt-4.1",
        "gpt-4.1-nano",
        "gpt-4.5-preview",
        "gpt-5",
        "gpt-5.2-chat-latest",
        "o1",
        "o3-mini",
        "o4-mini",
        "chatgpt-4o-latest",
        "gpt-oss-120b",
        "ft:gpt-4o-mini-2024-07-18:org::id",
        "ft:gpt-4.1-2025-04-14:org::id",
        "my-model",
        "",
    ] {
        assert_eq!(Encoding::of_model(model), O200k, "{model}");
    }
}

/// The counts are from tiktoken 0.14 for Python: o200k, cl100k.
#[test]
fn counts_are_those_of_tiktoken() {
    for (text, o200k, cl100k) in [
        ("", 0, 0),
        ("Say this is a test", 5, 5),
        ("What is the capital of Mexico?", 7, 7),
        ("<|endoftext|>", 7, 7),
        ("\n\n \n   ", 2, 3),
        ("it'ſ", 3, 4),
        ("antidisestablishmentarianism", 6, 6),
    ] {
        assert_eq!((O200k.count(text), Cl100k.count(text)), (o200k, cl100k), "{text:?}");
    }
}

/// Recorded from gpt-4o: a message costs its role, its content and 3; the start of the reply costs 3.
#[test]
fn prompts_cost_the_recorded_numbers() {
    let cost = |content| 3 + O200k.count("user") + O200k.count(content) + 3;
    assert_eq!(cost("Say this is a test"), 12);
    assert_eq!(cost("What is the capital of Mexico?"), 14);
}

#[test]
fn pieces_are_tokens() {
    assert_eq!(pieces(O200k, "Hello there, friend!\n\n42"), ["Hello", " there", ",", " friend", "!\n\n", "42"]);
    assert_eq!(O200k.cut(""), Cut::default());
}

#[test]
fn a_character_of_many_tokens_is_one_piece() {
    let text = "a🦤🜏b";
    assert_eq!(pieces(Cl100k, text), ["a", "🦤", "🜏", "b"]);
    assert!(Cl100k.cut(text).tokens > 4);
}

#[test]
fn tokens_decode_to_their_text() {
    assert_eq!(Cl100k.text(&[15339, 1917]), "hello world");
    assert_eq!(Cl100k.text(&[u32::MAX, 15339, 100_277, 99_999_999]), "hello");
    assert_eq!(Cl100k.text(&[100_264, 882, 100_266]), "<|im_start|>user<|im_sep|>");
    assert_eq!(O200k.text(&[199_999, 200_018, 200_019]), "<|endoftext|><|endofprompt|>");
    // The first bytes of an incomplete character.
    assert!(Cl100k.text(&[9468, 99]).contains(char::REPLACEMENT_CHARACTER));
    assert_eq!(O200k.text(&[]), "");
}

#[test]
fn a_prefix_has_whole_characters() {
    let text = "a🦤b";
    let prefixes: Vec<_> = (0..=6).map(|most| &text[..Cl100k.prefix(text, most)]).collect();
    assert_eq!(Cl100k.count(text), 5);
    assert_eq!(prefixes, ["", "a", "a", "a", "a🦤", "a🦤b", "a🦤b"]);
}

#[test]
fn every_length_is_that_of_its_token() {
    for encoding in [O200k, Cl100k] {
        let Coder { bpe, lengths, .. } = encoding.coder();
        assert_eq!(lengths.len(), encoding.ordinary() as usize);
        assert!((0..).zip(lengths).all(|(token, length)| {
            let bytes = bpe.decode(&[token]).len();
            bytes > 0 && bytes == usize::from(*length)
        }));
    }
}

#[test]
fn long_runs_do_not_take_quadratic_time() {
    let begin = std::time::Instant::now();
    for run in ["a", " ", "\n", "é", "汉", "!"] {
        let text = run.repeat(100_000);
        assert_eq!(O200k.cut(&text).tokens, O200k.count(&text));
    }
    assert!(begin.elapsed().as_secs() < 60, "quadratic time would be hours");
}

#[test]
fn numbers_are_those_of_tiktoken_and_decode_to_the_text() {
    assert_eq!(Cl100k.numbers("Hello there"), [9906, 1070]);
    assert_eq!(Cl100k.text(&[9906, 1070, u32::MAX]), "Hello there");
    for text in ["", "a🦤b", "\n\n \n"] {
        assert_eq!(O200k.text(&O200k.numbers(text)), text);
    }
}

fn check(encoding: Encoding, text: &str) -> Result<(), TestCaseError> {
    let cut = encoding.cut(text);
    let pieces = pieces(encoding, text);
    prop_assert_eq!(pieces.concat(), text);
    prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
    prop_assert_eq!(cut.tokens, encoding.count(text));
    prop_assert!(cut.ends.len() <= cut.tokens);
    prop_assert_eq!(encoding.prefix(text, cut.tokens), text.len());
    Ok(())
}

/// Checks that the tokens are those of the crate.
fn check_pieces(text: &str) -> Result<(), TestCaseError> {
    for encoding in [O200k, Cl100k] {
        let coder = encoding.coder();
        prop_assert_eq!(coder.encode_pieces(text), coder.bpe.encode(text));
    }
    Ok(())
}

#[test]
fn rare_characters_do_not_take_long() {
    let mut random = fastrand::Rng::with_seed(1);
    let text: String = (0..10_000).map(|_| random.char(..)).collect();
    assert!(is_rare(&text));
    assert!(
        ["Hello 汉字", "L'œuvre est déçue mais l'âme plutôt naïve, rêva de crapaüter ", "Η αλεπού"]
            .iter()
            .all(|usual| !is_rare(&usual.repeat(1000)))
    );
    for encoding in [O200k, Cl100k] {
        assert_eq!(encoding.numbers(&text), encoding.coder().bpe.encode(&text));
        assert_eq!(encoding.count(&text), encoding.numbers(&text).len());
    }
}

#[test]
fn spaces_outside_ascii_do_not_take_quadratic_time() {
    for run in ["\u{3000}1", "hello \u{a0}x "] {
        let text = run.repeat(3000);
        assert_eq!(O200k.coder().encode_pieces(&text), O200k.coder().bpe.encode(&text));
        let text = run.repeat(30_000);
        assert!(is_rare(&text));
        assert_eq!(O200k.count(&text), O200k.cut(&text).tokens);
    }
}

proptest! {
    #[test]
    fn tokens_are_those_of_the_crate(text: String, repeated in 1..20_usize) {
        check_pieces(&text.repeat(repeated))?;
    }

    #[test]
    fn tokens_of_mixed_classes_are_those_of_the_crate(
        text in r"[ \n\t\r\u{3000}\u{a0}'/.,!aBsStTrelLvVmd\u{17f}12²é汉ʰǅÉ\u{301}\u{200d}🦤]{0,60}",
    ) {
        check_pieces(&text)?;
    }

    #[test]
    fn pieces_join_to_the_text(text: String) {
        check(O200k, &text)?;
        check(Cl100k, &text)?;
    }

    #[test]
    fn pieces_join_to_a_text_of_spaces_and_quotes(text in r"[ \n\t\r\u{3000}'/.aBsſ1é汉\u{301}\u{200d}🦤]{0,40}") {
        check(O200k, &text)?;
        check(Cl100k, &text)?;
    }
}
