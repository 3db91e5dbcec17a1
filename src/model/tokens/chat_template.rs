//! The chat template of the fake model. A message costs its text, its role and 3 tokens, and the start of the reply 3, as
//! in the usage that is reported with an exact count.

use super::encoding::{Encoding, Mark};
use crate::core::prompt::Prompt;

/// Returns the numbers of a prompt's tokens. Texts outside of a conversation have no template.
pub fn prompt_tokens(prompt: &Prompt) -> Vec<u32> {
    let encoding = Encoding::of_model(&prompt.model);
    if prompt.is_texts() {
        return prompt.turns.iter().flat_map(|turn| encoding.numbers(&turn.text)).collect();
    }
    let start = |role: &str| {
        let mut tokens = vec![encoding.mark(Mark::Start)];
        tokens.extend(encoding.numbers(role));
        tokens.push(encoding.mark(Mark::Content));
        tokens
    };
    let mut tokens = Vec::new();
    for turn in &prompt.turns {
        tokens.extend(start(turn.role.name()));
        tokens.extend(encoding.numbers(&turn.text));
        tokens.push(encoding.mark(Mark::End));
    }
    tokens.extend(start("assistant"));
    tokens
}

/// Returns the text of a prompt.
pub fn prompt_text(prompt: &Prompt) -> String {
    if prompt.is_texts() {
        return prompt.turns.iter().map(|turn| turn.text.as_str()).collect();
    }
    let [start, content, end] = marks(Encoding::of_model(&prompt.model));
    let turns = prompt.turns.iter().map(|turn| [&start, turn.role.name(), &content, &turn.text, &end].concat());
    turns.collect::<String>() + &start + "assistant" + &content
}

/// Returns the template in the language of Hugging Face's templates.
pub fn jinja(encoding: Encoding) -> String {
    let [start, content, end] = marks(encoding);
    let roles =
        "{'system': 'system', 'developer': 'system', 'assistant': 'assistant', 'tool': 'tool', 'function': 'tool'}";
    [
        "{% for message in messages %}",
        &format!("{{{{ '{start}' + {roles}.get(message['role'], 'user') + '{content}' }}}}"),
        "{% if message['content'] is string %}{{ message['content'] }}",
        "{% elif message['content'] %}",
        "{{ message['content'] | selectattr('text', 'defined') | map(attribute='text') | join('\\n') }}",
        "{% endif %}",
        &format!("{{{{ '{end}' }}}}"),
        "{% endfor %}",
        &format!("{{% if add_generation_prompt %}}{{{{ '{start}assistant{content}' }}}}{{% endif %}}"),
    ]
    .concat()
}

/// Returns the names of the special tokens of a message.
fn marks(encoding: Encoding) -> [String; 3] {
    [Mark::Start, Mark::Content, Mark::End].map(|mark| encoding.text(&[encoding.mark(mark)]))
}
