//! Perplexity's Sonar (dossier 5d): OpenAI's grammar without tools, for conversations in which the person and the model
//! strictly take turns.

use std::borrow::Cow;

use serde::Deserialize;

use super::messages::{self, join, message, refused, result_as_text, role, texts};
use super::{Dropped, Grammar, Passes, Service};
use crate::dialect::openai_chat::{Chat, Quirks};
use crate::envelope::{Envelope, quoted};
use crate::error::Error;

pub const SERVICE: Service = Service {
    chat_path: "/chat/completions",
    stream_path: "/chat/completions",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: Some(Grammar {
        dialect: &Chat(Quirks::Perplexity),
        // What is converted is edited too.
        adapt: |request, _| messages::refuse_files(request),
        cache_points: None,
        passes: Passes::OpenAi { edit, quirks: Quirks::Perplexity },
    }),
    responses: None,
};

/// What its documentation does not name. Left open by the dossier: whether it refuses them.
const UNKNOWN: &[&str] = &[
    "audio",
    "cache_control",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "metadata",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "service_tier",
    "store",
    "tool_choice",
    "tools",
    "top_logprobs",
    "user",
    "verbosity",
];

/// Parts of the names of models that reason as much as they are told to.
const REASONING: &[&str] = &["reasoning", "deep-research"];

fn edit(body: &mut Envelope, model: &str) -> Result<Dropped, Error> {
    messages::refuse_speech(body)?;
    refuse_what_matters(body)?;
    let mut dropped = vec![];
    messages::set_model(body, model);
    if messages::is_given(body, "max_completion_tokens") {
        dropped.extend(body.remove("max_tokens").then_some("max_tokens".into()));
        body.rename("max_completion_tokens", "max_tokens");
    }
    body.remove("max_completion_tokens");
    messages::drop_fields(body, UNKNOWN, &mut dropped);
    // One reply, and no tools: what was asked for is what comes.
    dropped.retain(|name| !matches!(&**name, "n" | "tools" | "functions" | "modalities"));
    if !reasons(model) {
        messages::drop_fields(body, &["reasoning_effort"], &mut dropped);
    }
    messages::settle_effort(body);
    messages::drop_cache_control(body, &mut dropped);
    settle_values(body);
    body.edit_each("messages", |message| {
        message.edit_each("content", |part| {
            part.edit_in("image_url", |image| {
                // How closely to look: nothing that the reply hangs on.
                image.remove("detail");
            });
        });
    });
    body.edit_each("messages", |message| settle_message(message, &mut dropped));
    take_turns(body);
    Ok(dropped)
}

/// Whether it can be told how much to reason.
pub fn reasons(model: &str) -> bool {
    REASONING.iter().any(|part| model.contains(part))
}

/// The highest temperature that is taken; the vendor wants less than 2.
const TEMPERATURE_MAX: f64 = 1.99;
/// Any object, which there is no shorter word for.
const ANY_OBJECT: &str =
    r#"{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}"#;

fn settle_values(body: &mut Envelope) {
    body.remove("stop");
    let temperature = body.get::<f64>("temperature", "a number").ok().flatten();
    if temperature.is_some_and(|t| t > TEMPERATURE_MAX) {
        body.set("temperature", TEMPERATURE_MAX.to_string());
    }
    let format = body.raw("response_format").and_then(|raw| Envelope::parse(raw.to_vec()).ok());
    if format.is_some_and(|format| format.raw("type") == Some(br#""json_object""#)) {
        body.set("response_format", ANY_OBJECT);
    }
}

/// A message has a role and a content. SDKs give back whole messages of replies, with what is empty in them.
fn settle_message(message: &mut Envelope, dropped: &mut Dropped) {
    tools_to_text(message);
    refusal_to_text(message);
    let keys: Vec<String> = message.keys().filter(|k| k != "role" && k != "content").collect();
    for key in keys {
        let says = !matches!(message.raw(&key), Some(b"null" | b"[]" | b"{}" | b"\"\""));
        message.remove(&key);
        let name = Cow::Owned(format!("messages[].{key}"));
        if says && !dropped.contains(&name) {
            dropped.push(name);
        }
    }
}

/// That the model refused is what it said.
fn refusal_to_text(message: &mut Envelope) {
    message.edit_each("content", |part| {
        if part.raw("type") == Some(br#""refusal""#) {
            part.set("type", "\"text\"");
            part.rename("refusal", "text");
        }
    });
    if let Ok(Some(refusal)) = message.get::<String>("refusal", "a string") {
        let texts = [texts(message), vec![refusal]].concat();
        message.set("content", quoted(&texts.join("\n\n")));
        message.remove("refusal");
    }
}

/// What the model said without a word.
fn is_silent(message: &Envelope) -> bool {
    role(message) == "assistant" && texts(message).iter().all(|text| text.trim().is_empty())
}

fn refuse_what_matters(body: &Envelope) -> Result<(), Error> {
    for key in ["tools", "functions"] {
        if messages::is_given(body, key) && body.list(key).is_none_or(|tools| !tools.is_empty()) {
            return Err(refused(key, "Perplexity's models cannot call tools; leave it out."));
        }
    }
    if body.get::<u64>("n", "a whole number")?.is_some_and(|n| n > 1) {
        return Err(refused("n", "Perplexity's models give one reply; leave it out."));
    }
    // Its documentation names none. An empty list asks for nothing.
    if messages::is_given(body, "stop") && body.raw("stop") != Some(b"[]") {
        return Err(refused("stop", "Perplexity's models know no stop sequences; leave it out."));
    }
    Ok(())
}

/// System messages first, then the person and the model by turns, the person first and last.
fn take_turns(body: &mut Envelope) {
    let Some(messages) = body.list("messages") else { return };
    if messages.is_empty() || is_by_turns(&messages) {
        return;
    }
    let (mut systems, mut turns) = (vec![], Vec::<Envelope>::new());
    for mut message in messages.into_iter().filter(|message| !is_silent(message)) {
        messages::developer_to_system(&mut message);
        match turns.last_mut() {
            _ if role(&message) == "system" => systems.push(message),
            Some(last) if role(last) == role(&message) => join(last, &message),
            _ => turns.push(message),
        }
    }
    // Instructions alone are what the person says.
    if turns.is_empty() {
        for mut system in std::mem::take(&mut systems) {
            system.set("role", "\"user\"");
            match turns.last_mut() {
                Some(last) => join(last, &system),
                None => turns.push(system),
            }
        }
    }
    if turns.first().is_none_or(|first| role(first) != "user") {
        turns.insert(0, message("user", "Begin."));
    }
    if turns.last().is_some_and(|last| role(last) != "user") {
        turns.push(message("user", "Continue."));
    }
    systems.append(&mut turns);
    body.set_list("messages", &systems);
}

fn is_by_turns(messages: &[Envelope]) -> bool {
    let mut turns = messages.iter().skip_while(|m| role(m) == "system").peekable();
    let mut wanted = "user";
    while let Some(turn) = turns.next() {
        if role(turn) != wanted || is_silent(turn) {
            return false;
        }
        if turns.peek().is_none() {
            return wanted == "user";
        }
        wanted = if wanted == "user" { "assistant" } else { "user" };
    }
    false
}

/// Calls and their results from before the conversation came to this model.
fn tools_to_text(message: &mut Envelope) {
    if matches!(&*role(message), "tool" | "function") {
        *message = result_as_text(message);
        return;
    }
    let calls = message.list("tool_calls").unwrap_or_default();
    let function = message.raw("function_call").and_then(|raw| serde_json::from_slice(raw).ok());
    message.remove("tool_calls");
    message.remove("function_call");
    let calls: Vec<Function> = calls.iter().filter_map(function_of).chain(function).collect();
    if !calls.is_empty() {
        let calls: Vec<_> = calls.iter().map(Function::as_text).collect();
        let mut texts = texts(message);
        texts.extend(calls);
        message.set("content", quoted(&texts.join("\n\n")));
    }
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

impl Function {
    fn as_text(&self) -> String {
        format!("(Called the tool {} with {}.)", self.name, self.arguments)
    }
}

fn function_of(call: &Envelope) -> Option<Function> {
    call.get("function", "an object").ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(body: &str, model: &str) -> Result<(String, String), Error> {
        let mut envelope = Envelope::parse(body.as_bytes().to_vec())?;
        let dropped = edit(&mut envelope, model)?;
        Ok((String::from_utf8(envelope.into_bytes()).unwrap(), dropped.join(", ")))
    }

    #[test]
    fn perplexity_gets_what_it_takes() {
        let table = [
            (
                r#"{"model":"sonar", "n" : 1,"tools":[],"max_completion_tokens":5,"max_tokens":6,"user":"u"}"#,
                r#"{"model":"sonar","max_tokens":5}"#,
                "max_tokens, user",
            ),
            (
                r#"{"model":"alias","reasoning_effort":"low","tool_choice":"auto","store":false,"top_k":7}"#,
                r#"{"model":"sonar","top_k":7}"#,
                "tool_choice, reasoning_effort",
            ),
            (
                r#"{"model":"sonar","max_completion_tokens":null,"max_tokens":6,"search_mode":"web"}"#,
                r#"{"model":"sonar","max_tokens":6,"search_mode":"web"}"#,
                "",
            ),
            (
                r#"{"model":"sonar","temperature":2,"response_format":{"type":"json_object"}}"#,
                concat!(
                    r#"{"model":"sonar","temperature":1.99,"response_format":{"type":"json_schema","#,
                    r#""json_schema":{"name":"answer","schema":{"type":"object"}}}}"#
                ),
                "",
            ),
            (
                concat!(
                    r#"{"model":"sonar","messages":[{"role":"user","content" : "a","name":"Ann"},"#,
                    r#"{"role":"assistant","content":null,"refusal":"No.","annotations":[]},"#,
                    r#"{"role":"user","content" : "b"}]}"#
                ),
                concat!(
                    r#"{"model":"sonar","messages":[{"role":"user","content":"a"},"#,
                    r#"{"role":"assistant","content":"No."},{"role":"user","content" : "b"}]}"#
                ),
                "messages[].name",
            ),
            (
                concat!(
                    r#"{"model":"sonar","messages":[{"role":"user","content":"a"},"#,
                    r#"{"role":"assistant","content":[{"type":"refusal","refusal":"No."}]},"#,
                    r#"{"role":"user","content":"b"}]}"#
                ),
                concat!(
                    r#"{"model":"sonar","messages":[{"role":"user","content":"a"},"#,
                    r#"{"role":"assistant","content":[{"type":"text","text":"No."}]},"#,
                    r#"{"role":"user","content":"b"}]}"#
                ),
                "",
            ),
        ];
        for (body, expected, dropped) in table {
            assert_eq!(adapted(body, "sonar").unwrap(), (expected.into(), dropped.into()));
        }
        let body = r#"{"model":"sonar-reasoning-pro","reasoning_effort":"low"}"#;
        assert_eq!(adapted(body, "sonar-reasoning-pro").unwrap(), (body.into(), String::new()));
    }

    #[test]
    fn what_it_cannot_do_is_refused() {
        let table = [
            (r#"{"tools":[{"type":"function"}]}"#, "tools"),
            (r#"{"functions":[1]}"#, "functions"),
            (r#"{"n":2}"#, "n"),
            (r#"{"n":"many"}"#, "n"),
            (r#"{"modalities":["text","audio"]}"#, "modalities"),
        ];
        for (body, path) in table {
            assert_eq!(adapted(body, "sonar").unwrap_err().param(), Some(path), "{body}");
        }
    }

    /// Messages are written `role:content`.
    #[test]
    fn they_take_turns() {
        let table: &[(&[&str], &[&str])] = &[
            (&["system:s", "user:a", "assistant:b", "user:c"], &[]),
            (&["user:a"], &[]),
            (&["user:a", "assistant:", "user:b"], &["user:a\n\nb"]),
            (&["developer:s", "user:a"], &["system:s", "user:a"]),
            (&["user:a", "user:b"], &["user:a\n\nb"]),
            (&["user:a", "system:s", "user:b"], &["system:s", "user:a\n\nb"]),
            (&["assistant:a", "user:b"], &["user:Begin.", "assistant:a", "user:b"]),
            (&["user:a", "assistant:b"], &["user:a", "assistant:b", "user:Continue."]),
            (&["system:s", "system:t"], &["user:s\n\nt"]),
            (
                &["user:a", "tool:42", "assistant:b", "assistant:c"],
                &[
                    "user:a\n\nResult of an earlier tool call: 42",
                    "assistant:b\n\nc",
                    "user:Continue.",
                ],
            ),
        ];
        for (before, after) in table {
            let json = |texts: &[&str]| {
                let message = |text: &&str| {
                    let (role, content) = text.split_once(':').unwrap();
                    format!(r#"{{"role":{},"content":{}}}"#, quoted(role), quoted(content))
                };
                let messages: Vec<_> = texts.iter().map(message).collect();
                format!(r#"{{"model":"sonar","messages":[{}]}}"#, messages.join(","))
            };
            let expected = if after.is_empty() { before } else { after };
            assert_eq!(adapted(&json(before), "sonar").unwrap().0, json(expected), "{before:?}");
        }
    }

    #[test]
    fn parts_are_joined_and_calls_are_told() {
        let body = concat!(
            r#"{"model":"sonar","messages":[{"role":"user","content":[{"type":"image_url", "x":1.10}]},"#,
            r#"{"role":"user","content":"hi"},"#,
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","#,
            r#""function":{"name":"f","arguments":"{\"a\":1}"}}]},"#,
            r#"{"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"42"}]}]}"#
        );
        let expected = concat!(
            r#"{"model":"sonar","messages":[{"role":"user","content":[{"type":"image_url", "x":1.10},"#,
            r#"{"type":"text","text":"hi"}]},"#,
            r#"{"role":"assistant","content":"(Called the tool f with {\"a\":1}.)"},"#,
            r#"{"role":"user","content":"Result of an earlier tool call: 42"}]}"#
        );
        assert_eq!(adapted(body, "sonar").unwrap().0, expected);
    }
}
