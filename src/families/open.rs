//! Open models, which AI Core hosts with vLLM (dossier 5d): Mistral, Llama, Qwen, DeepSeek, Granite. The grammar is OpenAI's.

use super::{Dropped, Grammar, Passes, Service, messages, mistral};
use crate::dialect::openai_chat::{Chat, Quirks};
use crate::envelope::Envelope;
use crate::error::Error;

pub const SERVICE: Service = Service {
    chat_path: "/chat/completions",
    stream_path: "/chat/completions",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: Some(Grammar {
        dialect: &Chat(Quirks::Vllm),
        // What is converted is edited too.
        adapt: |request, _| messages::refuse_files(request),
        cache_points: None,
        passes: Passes::OpenAi { edit, quirks: Quirks::Vllm },
    }),
    responses: None,
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

fn edit(body: &mut Envelope, model: &str) -> Result<Dropped, Error> {
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
    messages::settle_effort(body);
    messages::drop_cache_control(body, &mut dropped);
    settle_tools(body);
    // Most chat templates know no developer.
    if messages::mention(body, br#""developer""#) {
        body.edit_each("messages", messages::developer_to_system);
    }
    if is_mistral(model) {
        mistral::adapt(body);
    }
    Ok(dropped)
}

/// vLLM takes no word on tools where there are none, and calls only with arguments.
fn settle_tools(body: &mut Envelope) {
    if !messages::is_given(body, "tools")
        || body.list("tools").is_some_and(|tools| tools.is_empty())
    {
        ["tools", "tool_choice", "parallel_tool_calls"].iter().for_each(|key| {
            body.remove(key);
        });
    }
    let is_empty = |json: &[u8]| messages::mention(body, json);
    if is_empty(br#""arguments":"""#) || is_empty(br#""arguments": """#) {
        body.edit_each("messages", |message| {
            message.edit_each("tool_calls", |call| {
                call.edit_in("function", fill_arguments);
            });
        });
    }
}

fn fill_arguments(function: &mut Envelope) {
    if function.raw("arguments") == Some(br#""""#) {
        function.set("arguments", r#""{}""#);
    }
}

/// Whether it can be told how much to reason.
pub fn reasons(model: &str) -> bool {
    REASONING.iter().any(|part| model.contains(part))
}

pub fn is_mistral(model: &str) -> bool {
    model.starts_with("mistralai--")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Block, MediaKind, Request, Role, Source, Turn};

    const LLAMA: &str = "meta--llama3.1-70b-instruct";
    const MISTRAL: &str = "mistralai--mistral-medium-instruct";

    fn adapted(body: &str, model: &str) -> Result<(String, String), Error> {
        let mut envelope = Envelope::parse(body.as_bytes().to_vec())?;
        let dropped = edit(&mut envelope, model)?;
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
            (
                "qwen3-max",
                r#"{"model":"qwen3-max","tools": [ ],"tool_choice":"auto","parallel_tool_calls":true}"#,
                r#"{"model":"qwen3-max"}"#,
                "",
            ),
            (
                "qwen3-max",
                r#"{"model":"qwen3-max","reasoning_effort":"max","tool_choice":"none"}"#,
                r#"{"model":"qwen3-max","reasoning_effort":"high"}"#,
                "",
            ),
            (
                "qwen3-max",
                r#"{"model":"qwen3-max","messages":[{"tool_calls":[{"function":{"arguments": ""}}]},{"x" : 1}]}"#,
                r#"{"model":"qwen3-max","messages":[{"tool_calls":[{"function":{"arguments":"{}"}}]},{"x" : 1}]}"#,
                "",
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
    fn files_are_refused_where_they_stand() {
        let block = |kind| Block::Media {
            kind,
            source: Source::Base64 {
                media_type: "application/pdf".into(),
                data: "JVBERg==".into(),
            },
            name: None,
            cache: None,
            path: "messages[0].content[1].source".into(),
        };
        for service in [&SERVICE, &super::super::perplexity::SERVICE] {
            let adapt = service.grammar.as_ref().unwrap().adapt;
            let adapted = |kind| {
                let turns = vec![Turn { role: Role::User, blocks: vec![block(kind)] }];
                adapt(&mut Request { turns, ..Request::default() }, LLAMA)
            };
            assert_eq!(adapted(MediaKind::Image), Ok(()));
            let error = adapted(MediaKind::File).unwrap_err();
            assert_eq!(error.param(), Some("messages[0].content[1].source"));
        }
    }

    #[test]
    fn only_mistral_gets_other_ids() {
        let body = |model: &str| {
            format!(
                r#"{{"model":"{model}","messages":[{{"role":"tool","tool_call_id":"call_1"}}]}}"#
            )
        };
        assert_eq!(adapted(&body(LLAMA), LLAMA).unwrap().0, body(LLAMA));
        assert_ne!(adapted(&body(MISTRAL), MISTRAL).unwrap().0, body(MISTRAL));
    }
}
