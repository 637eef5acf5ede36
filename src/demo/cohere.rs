//! Cohere: chat in the shape of its second version, and rerank (dossier 5d).
//!
//! Where the chat is nobody knows for sure: under `/chat`, or with the marker word `cohere=v2`
//! under `/v2/chat`; the other path is not there.

mod check;

use serde_json::{Map, Value, json};

use super::http::Framing;
use super::openai::{messages, prompt, prompt_tokens};
use super::story::{
    Choice, End, Format, Prompt, Story, ToolCall, thirds, tokens, vector, words, woven,
};
use super::{Answer, Call};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    let ranks = call.deployment.model.contains("rerank");
    let chat_path = if call.fault.cohere_v2 { "v2/chat" } else { "chat" };
    match call.suffix {
        "rerank" if ranks => rerank(call),
        path if path == chat_path && !ranks => chat(call),
        _ => Err(check::cohere_error(404, "page not found")),
    }
}

pub(super) fn error_body(status: u16) -> Option<String> {
    let message = match status {
        401 | 403 | 413 | 503 | 504 => return None,
        429 => RATE_LIMITED,
        _ => "internal server error, as asked for (demo)",
    };
    Some(json!({ "message": message }).to_string())
}

/// A stream that fails ends in a `message-end` that says so. Left open: a rate limit there, which is
/// taken to be told in the words of the status.
pub(super) fn error_frame(call: &Call<'_>) -> String {
    let why = match call.fault.error_after {
        Some(0) => RATE_LIMITED,
        _ => "the model failed (demo)",
    };
    let delta = json!({"error": why, "finish_reason": "ERROR"});
    json!({"type": "message-end", "delta": delta}).to_string()
}

fn chat(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check::chat(call.body, call.deployment)?;
    let chat = Chat::new(call, &request);
    if request.get("stream") == Some(&json!(true)) {
        return Ok(Answer::stream(chat.frames()).with_framing(Framing::Named));
    }
    Ok(Answer::json(200, &chat.whole()))
}

/// An answer before it is written either way.
struct Chat {
    id: String,
    number: u64,
    thought: Option<&'static str>,
    story: Story,
    /// The pieces of calls take turns.
    interleave: bool,
    finish: String,
    usage: Value,
}

impl Chat {
    fn new(call: &Call<'_>, request: &Map<String, Value>) -> Chat {
        let most = request.get("max_tokens").and_then(Value::as_u64).unwrap_or(8192) as usize;
        let off = request.get("thinking").is_some_and(|t| t["type"] == "disabled");
        let thought = (!off && tokens(THOUGHT.len()) < most).then_some(THOUGHT);
        let thinking = thought.map_or(0, |thought| tokens(thought.len()));
        let story = Story::new(&prompt_of(request, most - thinking), call.fault);
        let finish = match story.end {
            End::Said => "COMPLETE",
            End::Calls => "TOOL_CALL",
            End::Stopped(_) => "STOP_SEQUENCE",
            End::Full => "MAX_TOKENS",
        };
        Chat {
            id: format!("00000000-0000-4000-8000-{:012x}", call.number),
            number: call.number,
            thought,
            interleave: call.fault.interleave,
            finish: call.fault.stop_reason.clone().unwrap_or(finish.to_owned()),
            usage: usage(prompt_tokens(request), story.tokens() + thinking),
            story,
        }
    }

    fn whole(&self) -> Value {
        let mut content = Vec::new();
        content.extend(self.thought.map(|t| json!({"type": "thinking", "thinking": t})));
        let mut message = json!({"role": "assistant"});
        if self.story.calls.is_empty() {
            content.push(json!({"type": "text", "text": self.story.text()}));
        } else {
            let calls = self.story.calls.iter().enumerate();
            let calls = calls.map(|(n, call)| self.call(n, &call.name, &call.arguments));
            message["tool_plan"] = json!(PLAN);
            message["tool_calls"] = calls.collect();
        }
        if !content.is_empty() {
            message["content"] = json!(content);
        }
        json!({
            "id": self.id,
            "finish_reason": self.finish,
            "message": message,
            "usage": self.usage,
        })
    }

    fn frames(&self) -> Vec<String> {
        let start = json!({
            "role": "assistant",
            "content": [],
            "tool_plan": "",
            "tool_calls": [],
            "citations": [],
        });
        let mut frames =
            vec![json!({"id": self.id, "type": "message-start", "delta": {"message": start}})];
        let mut index = 0;
        if let Some(thought) = self.thought {
            frames.extend(block(index, "thinking", &words(thought)));
            index += 1;
        }
        if self.story.calls.is_empty() {
            frames.extend(block(index, "text", &self.story.pieces));
        } else {
            frames.extend(words(PLAN).iter().map(|piece| {
                json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}})
            }));
        }
        let calls = self.story.calls.iter().enumerate();
        let calls = calls.map(|(n, call)| self.call_events(n, call)).collect();
        frames.extend(woven(calls, self.interleave));
        let delta = json!({"finish_reason": self.finish, "usage": self.usage});
        frames.push(json!({"type": "message-end", "id": self.id, "delta": delta}));
        frames.iter().map(Value::to_string).collect()
    }

    fn call_events(&self, n: usize, call: &ToolCall) -> Vec<Value> {
        let opened = self.call(n, &call.name, "");
        let mut events = vec![event("tool-call-start", n, "tool_calls", opened)];
        events.extend(thirds(&call.arguments).iter().map(|piece| {
            let function = json!({"function": {"arguments": piece}});
            event("tool-call-delta", n, "tool_calls", function)
        }));
        events.push(json!({"type": "tool-call-end", "index": n}));
        events
    }

    fn call(&self, n: usize, name: &str, arguments: &str) -> Value {
        json!({
            "id": format!("{name}_demo{:08x}{n:02}", self.number),
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        })
    }
}

/// A block of content, from its start to its end.
fn block(index: usize, kind: &str, pieces: &[String]) -> Vec<Value> {
    let start = json!({"type": kind, kind: ""});
    let mut events = vec![event("content-start", index, "content", start)];
    let deltas = pieces.iter().map(|piece| json!({ kind: piece }));
    events.extend(deltas.map(|delta| event("content-delta", index, "content", delta)));
    events.push(json!({"type": "content-end", "index": index}));
    events
}

fn event(kind: &str, index: usize, field: &str, value: Value) -> Value {
    json!({"type": kind, "index": index, "delta": {"message": {field: value}}})
}

fn usage(prompt: usize, spoken: usize) -> Value {
    json!({
        "billed_units": {"input_tokens": prompt, "output_tokens": spoken},
        "tokens": {"input_tokens": prompt + 64, "output_tokens": spoken},
    })
}

fn prompt_of(request: &Map<String, Value>, most_tokens: usize) -> Prompt {
    let mut prompt = prompt(request, most_tokens);
    let last = messages(request).iter().rev().take_while(|message| message["role"] == "tool");
    let mut results = last.map(result_text).collect::<Vec<_>>();
    results.reverse();
    prompt.results = results;
    prompt.choice = match request.get("tool_choice").and_then(Value::as_str) {
        Some("REQUIRED") => Choice::Any,
        Some("NONE") => Choice::Never,
        _ => Choice::Auto,
    };
    let format = request.get("response_format").filter(|f| f["type"] == "json_object");
    prompt.format = match format.map(|f| f.get("json_schema")) {
        Some(Some(schema)) => Format::Schema(schema.clone()),
        Some(None) => Format::Json,
        None => Format::Text,
    };
    let stops = request.get("stop_sequences").and_then(Value::as_array);
    prompt.stops =
        stops.into_iter().flatten().filter_map(|s| s.as_str().map(str::to_owned)).collect();
    prompt
}

/// A string, or the texts and data of documents.
fn result_text(message: &Value) -> String {
    let Some(parts) = message["content"].as_array() else {
        return message["content"].as_str().unwrap_or_default().to_owned();
    };
    let texts = parts.iter().map(|part| {
        let text = part.get("text").or_else(|| part.pointer("/document/data"));
        let text = text.unwrap_or(&Value::Null);
        text.as_str().map_or_else(|| text.to_string(), str::to_owned)
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn rerank(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check::rerank(call.body, call.deployment)?;
    let texts = request["documents"].as_array().into_iter().flatten();
    let scores = texts.map(|text| score(&request["query"], text)).enumerate();
    let mut scores = scores.collect::<Vec<_>>();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    let most = request.get("top_n").and_then(Value::as_u64).unwrap_or(u64::MAX);
    scores.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    let results =
        scores.iter().map(|(index, score)| json!({"index": index, "relevance_score": score}));
    let results = results.collect::<Vec<_>>();
    Ok(Answer::json(
        200,
        &json!({
            "id": format!("00000000-0000-4000-8000-{:012x}", call.number),
            "results": results,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        }),
    ))
}

/// Up to a half for words in common, and a little of the document's own, from 0 to 1.
fn score(query: &Value, document: &Value) -> f64 {
    let words = |text: &Value| {
        let text = text.as_str().unwrap_or_default().to_lowercase();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (query, text) = (words(query), words(document));
    let shared = query.iter().filter(|word| text.contains(word)).count();
    let own = vector(document.as_str().unwrap_or_default(), 2);
    let own = own.first().map_or(0.0, |x| f64::from(x.abs()));
    0.5 * shared as f64 / query.len().max(1) as f64 + 0.4 * own
}

const THOUGHT: &str = "I am asked something, and I know what a demo says.";
const PLAN: &str = "I will use the tools I was given.";

const RATE_LIMITED: &str =
    "You are past the per minute request limit, please wait and try again later.";
