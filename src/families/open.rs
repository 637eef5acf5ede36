//! Open models, which AI Core hosts with vLLM (dossier 5d): Mistral, Llama, Qwen, DeepSeek, Granite. The grammar is OpenAI's.

use super::{Dropped, Grammar, Service, messages};
use crate::dialect::openai_chat::Quirks;
use crate::envelope::{Envelope, quoted};
use crate::error::Error;

pub const SERVICE: Service = Service {
    chat_path: "/chat/completions",
    stream_path: "/chat/completions",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: Grammar::OpenAi { adapt, quirks: Quirks::Vllm },
    cache_points: None,
};

/// What vLLM does not know. Left open by the dossier: older versions refuse such fields, newer ones ignore them.
const UNKNOWN: &[&str] = &[
    "audio",
    "cache_control",
    "metadata",
    "modalities",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "verbosity",
    "web_search_options",
];

/// Parts of the names of models that reason as much as they are told to.
const REASONING: &[&str] = &["gpt-oss", "deepseek", "qwen3", "magistral"];

fn adapt(body: &mut Envelope, model: &str) -> Result<Dropped, Error> {
    messages::refuse_speech(body)?;
    messages::refuse_functions(body)?;
    let mut dropped = vec![];
    messages::set_model(body, model);
    if messages::is_given(body, "max_completion_tokens") && body.remove("max_tokens") {
        dropped.push("max_tokens".into());
    }
    messages::drop_fields(body, UNKNOWN, &mut dropped);
    // Left open by the dossier: of the others, some refuse it and none reads it.
    if !reasons(model) {
        messages::drop_fields(body, &["reasoning_effort"], &mut dropped);
    }
    messages::drop_cache_control(body, &mut dropped);
    // Most chat templates know no developer.
    if messages::mention(body, br#""developer""#) {
        body.edit_each("messages", messages::developer_to_system);
    }
    if is_mistral(model) && messages::mention(body, br#""tool_call_id""#) {
        adapt_to_mistral(body);
    }
    Ok(dropped)
}

/// Whether it can be told how much to reason.
pub fn reasons(model: &str) -> bool {
    REASONING.iter().any(|part| model.contains(part))
}

pub fn is_mistral(model: &str) -> bool {
    model.starts_with("mistralai--")
}

/// Mistral refuses ids of calls that are not nine letters and digits, and a person who speaks right after a tool.
/// Left open by the dossier: whether it does so on AI Core; it is the vendor's rule.
fn adapt_to_mistral(body: &mut Envelope) {
    body.edit_each("messages", |message| {
        set_nine(message, "tool_call_id");
        message.edit_each("tool_calls", |call| set_nine(call, "id"));
    });
    let Some(messages) = body.list("messages") else { return };
    let mut with_answers = Vec::with_capacity(messages.len());
    let mut was_tool = false;
    for message in messages {
        let role = messages::role(&message);
        if was_tool && role == "user" {
            with_answers.push(messages::message("assistant", "Understood."));
        }
        was_tool = role == "tool";
        with_answers.push(message);
    }
    if with_answers.len() > body.list("messages").map_or(0, |m| m.len()) {
        body.set_list("messages", &with_answers);
    }
}

fn set_nine(object: &mut Envelope, key: &str) {
    if let Ok(Some(id)) = object.get::<String>(key, "a string")
        && !is_nine(&id)
    {
        object.set(key, quoted(&nine(&id)));
    }
}

fn is_nine(id: &str) -> bool {
    id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// An id as Mistral takes them: itself if it is one, otherwise always the same one.
pub fn nine(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if is_nine(id) {
        return id.to_owned();
    }
    // FNV-1a: the same on every machine and in every version.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut rest = id.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mut digit = || {
        let digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
        char::from(digit)
    };
    (0..9).map(|_| digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: &str = "meta--llama3.1-70b-instruct";
    const MISTRAL: &str = "mistralai--mistral-medium-instruct";

    fn adapted(body: &str, model: &str) -> Result<(String, String), Error> {
        let mut envelope = Envelope::parse(body.as_bytes().to_vec())?;
        let dropped = adapt(&mut envelope, model)?;
        Ok((String::from_utf8(envelope.into_bytes()).unwrap(), dropped.join(", ")))
    }

    #[test]
    fn vllm_gets_what_it_takes() {
        let table = [
            (
                LLAMA,
                r#"{"model":"a", "max_tokens":5,"max_completion_tokens":6,"top_k": 7.10}"#,
                r#"{"model":"meta--llama3.1-70b-instruct","max_completion_tokens":6,"top_k":7.10}"#,
                "max_tokens",
            ),
            (
                LLAMA,
                r#"{"model":"a","store":true,"metadata":null,"modalities":["text"],"reasoning_effort":"low"}"#,
                r#"{"model":"meta--llama3.1-70b-instruct"}"#,
                "modalities, store, reasoning_effort",
            ),
            (
                "qwen3-max",
                r#"{ "model": "qwen3-max", "reasoning_effort":"low", "user": "\"developer\"" }"#,
                r#"{ "model": "qwen3-max", "reasoning_effort":"low", "user": "\"developer\"" }"#,
                "",
            ),
            (
                "qwen3-max",
                r#"{"model":"qwen3-max","messages":[{"role":"developer","content":"x"},{"role" : "user"}]}"#,
                r#"{"model":"qwen3-max","messages":[{"role":"system","content":"x"},{"role" : "user"}]}"#,
                "",
            ),
            (
                "qwen3-max",
                concat!(
                    r#"{"model":"qwen3-max","messages":[{"role":"user","content":[{"type":"text","#,
                    r#""cache_control":{"type":"ephemeral"},"text":"x"}]}],"#,
                    r#""tools":[{"type":"function","function":{"name":"f"},"cache_control":{}}]}"#
                ),
                concat!(
                    r#"{"model":"qwen3-max","messages":[{"role":"user","content":[{"type":"text","#,
                    r#""text":"x"}]}],"tools":[{"type":"function","function":{"name":"f"}}]}"#
                ),
                "cache_control",
            ),
        ];
        for (model, body, expected, dropped) in table {
            assert_eq!(adapted(body, model).unwrap(), (expected.into(), dropped.into()));
        }
        for (body, path) in
            [(r#"{"functions":[{}]}"#, "functions"), (r#"{"modalities":["audio"]}"#, "modalities")]
        {
            assert_eq!(adapted(body, LLAMA).unwrap_err().param(), Some(path), "{body}");
        }
    }

    #[test]
    fn mistral_gets_ids_of_nine_and_an_answer_after_results() {
        let body = |model: &str, id: &str, between: &str| {
            format!(
                "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":\
                 [{{\"id\":\"{id}\",\"function\":{{\"x\" : 1.10}}}}]}},{{\"role\":\"tool\",\"tool_call_id\":\
                 \"{id}\",\"content\":\"42\"}},{between}{{\"role\":\"user\",\"content\":\"and\"}}]}}"
            )
        };
        let given = body(LLAMA, "call_1", "");
        assert_eq!(adapted(&given, LLAMA).unwrap().0, given);
        let answer = r#"{"role":"assistant","content":"Understood."},"#;
        let expected = body(MISTRAL, &nine("call_1"), answer);
        assert_eq!(adapted(&body(MISTRAL, "call_1", ""), MISTRAL).unwrap().0, expected);
        assert_eq!(adapted(&expected, MISTRAL).unwrap().0, expected);
    }

    #[test]
    fn ids_are_nine_letters_and_digits_and_always_the_same() {
        assert_eq!(nine("aB3dE6gH9"), "aB3dE6gH9");
        let table = ["", "call_1", "call_2", "toolu_bdrk_01Invented", "aB3dE6gH-"];
        let made: Vec<_> = table.iter().map(|id| nine(id)).collect();
        assert!(made.iter().all(|id| is_nine(id)), "{made:?}");
        assert!((1..made.len()).all(|i| !made[..i].contains(&made[i])), "{made:?}");
        assert_eq!(nine("call_1"), "9gD2Dimct");
    }
}
