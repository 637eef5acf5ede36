//! A whole reply, and a stream of one: JSON, or else Python's literals.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::python;
use crate::chat::{Brackets, Seal, Stop, Usage};
use crate::dialect::StreamDecoder;
use crate::error::Error;
use crate::sse::Frame;
use crate::upstream_error;

pub fn whole(body: &[u8], out: &mut Brackets) {
    let text = String::from_utf8_lossy(body);
    let translated;
    let mut json: &str = &text;
    let mut reply = serde_json::from_str::<Reply<'_>>(json);
    if reply.is_err()
        && let Ok(literal) = python::to_json(&text)
    {
        translated = literal;
        json = &translated;
        reply = serde_json::from_str(json);
    }
    let Ok(Reply { output: Some(Output { message: Message { content } }), stop_reason, usage }) =
        reply
    else {
        return out.fail(failure(body, json));
    };
    out.start(None);
    for (block, key) in content.into_iter().zip(0..) {
        part(block, key, out);
    }
    if let Some(counts) = usage {
        out.usage(counts.usage());
    }
    stop(stop_reason.as_deref(), out);
    out.end();
}

/// A block of a whole reply.
fn part(block: Content<'_>, key: u64, out: &mut Brackets) {
    if let Some(text) = block.text {
        out.text(&text);
    }
    if let Some(thought) = block.reasoning_content {
        reasoning(thought.reasoning_text.unwrap_or_default(), out);
        reasoning(
            Thought { redacted_content: thought.redacted_content, ..Thought::default() },
            out,
        );
    }
    if let Some(call) = block.tool_use {
        out.call(key, call.tool_use_id.as_deref(), call.name.as_deref());
        out.arguments(key, call.input.map_or("", RawValue::get));
    }
    close(key, out);
}

/// Reads a stream. All that is to be remembered is in the brackets.
#[derive(Debug)]
pub struct Stream;

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets) {
        let text = String::from_utf8_lossy(frame.raw);
        let lines: Vec<&str> = text.lines().filter_map(content).collect();
        for (i, text) in lines.iter().enumerate() {
            if out.has_ended() {
                return;
            }
            // Mostly a line is an event. If this one is none, an event may stand on several.
            if !line(text, out) {
                let rest = lines[i..].join("\n");
                let is_read = lines.len() > i + 1 && line(&rest, out);
                let is_left = frame.is_cut && is_half(&rest);
                if !is_read && !is_left {
                    out.fail(failure(frame.raw, &rest));
                }
                return;
            }
        }
    }

    fn finish(&mut self, out: &mut Brackets) {
        // Usage comes after the reason to stop, and may be missing.
        out.end();
    }
}

/// What a line says: `data:` is left away by some gateways.
fn content(line: &str) -> Option<&str> {
    let line = line.trim();
    let content = line.strip_prefix("data:").map_or(line, str::trim_start);
    let is_other = [":", "event:", "id:", "retry:"].iter().any(|field| line.starts_with(field));
    (!content.is_empty() && content != "[DONE]" && !is_other).then_some(content)
}

/// Reads an event; `false` where it is none.
fn line(text: &str, out: &mut Brackets) -> bool {
    if let Ok(read) = serde_json::from_str(text) {
        event(read, text, out);
        return true;
    }
    let Ok(json) = python::to_json(text) else { return false };
    let Ok(read) = serde_json::from_str(&json) else { return false };
    event(read, &json, out);
    true
}

fn event(event: Event<'_>, json: &str, out: &mut Brackets) {
    if let Some(part) = event.content_block_delta {
        delta(part, out);
    } else if let Some(part) = event.content_block_start {
        let call = part.start.and_then(|start| start.tool_use);
        if let Some(call) = call {
            let key = part.content_block_index;
            out.call(key, call.tool_use_id.as_deref(), call.name.as_deref());
        }
    } else if let Some(part) = event.content_block_stop {
        close(part.content_block_index, out);
    } else if event.message_start.is_some() {
        out.start(None);
    } else if let Some(end) = event.message_stop {
        stop(end.stop_reason.as_deref(), out);
    } else if let Some(end) = event.metadata {
        if let Some(counts) = end.usage {
            out.usage(counts.usage());
        }
        // It is the last one. Should it ever come earlier, the end is still to come.
        if out.has_stop() {
            out.end();
        }
    } else if let Some(error) = exception(json) {
        out.fail(error);
    }
}

fn delta(part: BlockDelta<'_>, out: &mut Brackets) {
    let Some(delta) = part.delta else { return };
    if let Some(text) = delta.text {
        out.text(&text);
    }
    if let Some(input) = delta.tool_use.and_then(|call| call.input) {
        out.arguments(part.content_block_index, &input);
    }
    if let Some(thought) = delta.reasoning_content {
        reasoning(thought, out);
    }
}

fn reasoning(thought: Thought<'_>, out: &mut Brackets) {
    if let Some(text) = thought.text {
        out.reasoning(&text);
    }
    if let Some(signature) = thought.signature.filter(|s| !s.is_empty()) {
        out.seal_reasoning(Seal::Claude(signature.into_owned()));
    }
    if let Some(data) = thought.redacted_content {
        out.close();
        out.seal_reasoning(Seal::ClaudeRedacted(data.into_owned()));
    }
}

fn close(key: u64, out: &mut Brackets) {
    out.close();
    out.close_call(key);
}

/// One that we do not know is an end all the same. A call that the model wrote wrong is no reply: another try may get one.
fn stop(reason: Option<&str>, out: &mut Brackets) {
    let stop = match reason {
        None => return,
        Some("tool_use") => Stop::ToolCalls,
        Some("max_tokens" | "model_context_window_exceeded") => Stop::Length,
        Some("content_filtered" | "guardrail_intervened") => Stop::Refusal,
        Some(malformed @ ("malformed_model_output" | "malformed_tool_use")) => {
            return out.fail(Error::BadReply {
                what: format!(
                    "The model's reply cannot be read by Bedrock ({malformed}). Try again."
                ),
            });
        }
        Some(_) => Stop::End,
    };
    out.stop(stop);
}

/// Neither JSON nor Python's literal, nor AWS's binary. Where the bytes are cut it is left to `finish`: the reply may have been
/// complete before it.
fn is_half(text: &str) -> bool {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    !is_json && !text.starts_with('\0') && python::to_json(text).is_err()
}

/// The error that this is instead of a reply or an event.
fn failure(bytes: &[u8], json: &str) -> Error {
    if bytes.first() == Some(&0) {
        return Error::BadReply {
            what: "SAP AI Core sent AWS's binary event stream, which is not read here.".into(),
        };
    }
    let is_json = serde_json::from_str::<IgnoredAny>(json).is_ok();
    let fault = if is_json { None } else { python::to_json(json).err() };
    let why = fault.map_or(String::new(), |fault| format!(": {fault}"));
    exception(json).unwrap_or_else(|| Error::BadReply {
        what: format!(
            "SAP AI Core sent something that cannot be read as a reply of Bedrock's{why}."
        ),
    })
}

/// `{"throttlingException": {"message": …}}` and the shapes that all of AI Core's errors have.
fn exception(json: &str) -> Option<Error> {
    let value: Value = serde_json::from_str(json).ok()?;
    let named = value.as_object().and_then(|object| {
        object.iter().find(|(key, _)| key.ends_with("Exception") || key.ends_with("Error"))
    });
    let Some((key, inner)) = named else { return upstream_error::from_event(json.as_bytes()) };
    let status = EXCEPTIONS.iter().find(|(name, _)| key.eq_ignore_ascii_case(name));
    let message = inner.get("message").or_else(|| inner.get("Message")).unwrap_or(inner);
    Some(Error::Upstream {
        status: status.map_or(500, |(_, status)| *status),
        code: Some(key.clone()),
        message: message.as_str().unwrap_or(key).to_owned(),
        param: None,
        retry_after: None,
    })
}

/// The statuses that these would have had as answers (dossier 5b.8).
const EXCEPTIONS: &[(&str, u16)] = &[
    ("throttlingException", 429),
    ("modelNotReadyException", 429),
    ("validationException", 400),
    ("accessDeniedException", 403),
    ("resourceNotFoundException", 404),
    ("modelTimeoutException", 408),
    ("modelErrorException", 424),
    ("modelStreamErrorException", 424),
    ("serviceUnavailableException", 503),
];

/// One of these it is; others are ignored, whatever they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    content_block_delta: Option<BlockDelta<'a>>,
    #[serde(borrow)]
    content_block_start: Option<BlockStart<'a>>,
    content_block_stop: Option<BlockStop>,
    message_start: Option<IgnoredAny>,
    message_stop: Option<MessageStop>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    #[serde(borrow)]
    start: Option<Start<'a>>,
    #[serde(default)]
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_use: Option<Input<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Thought<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    input: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStop {
    #[serde(default)]
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Vec<Content<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Reasoning<'a>>,
}

/// In streams, without its input.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow)]
    reasoning_text: Option<Thought<'a>>,
    #[serde(borrow)]
    redacted_content: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thought<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    redacted_content: Option<Cow<'a, str>>,
}

/// `inputTokens` is what no cache was asked for. What caches did has two spellings, and may have both.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_write_input_token_count: Option<u64>,
}

impl Counts {
    fn usage(&self) -> Usage {
        let read = self.cache_read_input_tokens.or(self.cache_read_input_token_count).unwrap_or(0);
        let written =
            self.cache_write_input_tokens.or(self.cache_write_input_token_count).unwrap_or(0);
        let fresh = self.input_tokens.unwrap_or(0);
        Usage {
            input: fresh.saturating_add(read).saturating_add(written),
            cached: read,
            cache_written: written,
            output: self.output_tokens.unwrap_or(0),
            reasoning: 0,
        }
    }
}
