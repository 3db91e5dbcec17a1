//! The files of a tokenizer as Hugging Face's `tokenizers` and `transformers` read them.

use serde_json::{Map, Value, json};

use super::{
    chat_template,
    encoding::{Encoding, Mark},
};

/// Returns the names and texts of the files of a tokenizer's folder. A text has the tokens that the encoding counts, and
/// no others at its start or end.
pub fn files(encoding: Encoding) -> Vec<(&'static str, String)> {
    let end = encoding.text(&[encoding.mark(Mark::End)]);
    let special = json!({"eos_token": end, "pad_token": "<|endoftext|>"});
    let special_flags = |content: &str| {
        json!({
            "content": content,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": true,
        })
    };
    let decoder: Map<_, _> =
        encoding.specials().map(|(number, name)| (number.to_string(), special_flags(&name))).collect();
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": decoder,
        "chat_template": chat_template::jinja(encoding),
        "clean_up_tokenization_spaces": false,
        "eos_token": end,
        "pad_token": "<|endoftext|>",
        "model_input_names": ["input_ids", "attention_mask"],
    });
    let added = encoding.specials().map(|(number, name)| {
        let mut token = special_flags(&name);
        token["id"] = number.into();
        token
    });
    let pattern = json!({"Regex": encoding.pattern()});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let vocabulary: Map<_, _> =
        (0_u32..).zip(encoding.vocabulary()).map(|(number, token)| (token, number.into())).collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Value>(),
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false},
                byte_level,
            ],
        },
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": true,
            "vocab": vocabulary,
            "merges": encoding.merges().map(Value::from_iter).collect::<Value>(),
        },
    });
    [("tokenizer.json", tokenizer), ("tokenizer_config.json", config), ("special_tokens_map.json", special)]
        .map(|(name, value)| (name, value.to_string() + "\n"))
        .into()
}
