//! A whole reply, and a stream of one.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chat::{Brackets, Stop, Usage};
use crate::dialect::StreamDecoder;
use crate::error::Error;
use crate::sse::Frame;
use crate::upstream_error;

pub fn whole(body: &[u8], out: &mut Brackets) {
    let Ok(Reply { id, message: Some(message), finish_reason, usage }) =
        serde_json::from_slice::<Reply<'_>>(body)
    else {
        return out.fail(failure(body));
    };
    out.start(id.as_deref());
    for part in message.content.unwrap_or_default() {
        said(&part, out);
        out.close();
    }
    out.reasoning(&message.tool_plan.unwrap_or_default());
    for (call, key) in message.tool_calls.unwrap_or_default().into_iter().zip(0..) {
        begin(key, call, out);
        out.close_call(key);
    }
    count(usage, out);
    stop(finish_reason.as_deref(), None, out);
    out.end();
}

/// Reads a stream. All that is to be remembered is in the brackets.
#[derive(Debug)]
pub struct Stream;

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets) {
        let data: &[u8] = match &frame.data {
            data if data.is_empty() && frame.raw.starts_with(b"{") => frame.raw,
            data => data.trim_ascii(),
        };
        if data.is_empty() || data == b"[DONE]" || out.has_ended() {
            return;
        }
        match serde_json::from_slice(data) {
            Ok(read) => event(read, frame.event, data, out),
            // Half an event is left to `finish`.
            Err(error) if frame.is_cut && !error.is_data() => {}
            Err(_) => out.fail(failure(data)),
        }
    }

    fn finish(&mut self, out: &mut Brackets) {
        out.end();
    }
}

/// Its kind is in the data, or else only beside it.
fn event(event: Event<'_>, named: Option<&[u8]>, data: &[u8], out: &mut Brackets) {
    let kind = event.kind.as_deref().map_or(named.unwrap_or(b""), str::as_bytes);
    match kind {
        b"message-start" => out.start(event.id.as_deref()),
        b"content-end" => out.close(),
        b"tool-call-end" => out.close_call(event.index),
        b"content-start" | b"content-delta" | b"tool-plan-delta" | b"tool-call-start"
        | b"tool-call-delta" | b"message-end" => {
            match serde_json::from_str(event.delta.map_or("{}", RawValue::get)) {
                Ok(read) => delta(kind, event.index, read, out),
                Err(_) => out.fail(failure(data)),
            }
        }
        b"" | b"error" => {
            if let Some(error) = upstream_error::from_event(data) {
                out.fail(error);
            }
        }
        // Citations, debug, and what is yet to come.
        _ => {}
    }
}

fn delta(kind: &[u8], index: u64, delta: Delta<'_>, out: &mut Brackets) {
    let message = delta.message.unwrap_or_default();
    match kind {
        b"content-start" => {
            out.close();
            said(&message.content.unwrap_or_default(), out);
        }
        b"content-delta" => said(&message.content.unwrap_or_default(), out),
        b"tool-plan-delta" => out.reasoning(&message.tool_plan.unwrap_or_default()),
        b"tool-call-start" => begin(index, message.tool_calls.unwrap_or_default(), out),
        b"tool-call-delta" => {
            let function = message.tool_calls.and_then(|call| call.function).unwrap_or_default();
            out.arguments(index, &function.arguments.unwrap_or_default());
        }
        _ => {
            count(delta.usage, out);
            stop(delta.finish_reason.as_deref(), delta.error.as_deref(), out);
            out.end();
        }
    }
}

fn said(part: &Part<'_>, out: &mut Brackets) {
    out.reasoning(part.thinking.as_deref().unwrap_or(""));
    out.text(part.text.as_deref().unwrap_or(""));
}

fn begin(key: u64, call: Call<'_>, out: &mut Brackets) {
    let function = call.function.unwrap_or_default();
    out.call(key, call.id.as_deref(), function.name.as_deref());
    out.arguments(key, &function.arguments.unwrap_or_default());
}

fn count(usage: Option<Counted>, out: &mut Brackets) {
    let Some(usage) = usage else { return };
    let Some(counts) = usage.tokens.or(usage.billed_units) else { return };
    out.usage(Usage {
        input: counts.input_tokens.unwrap_or(0.0) as u64,
        cached: usage.cached_tokens.unwrap_or(0.0) as u64,
        cache_written: 0,
        output: counts.output_tokens.unwrap_or(0.0) as u64,
        reasoning: 0,
    });
}

/// One that we do not know is an end all the same.
fn stop(reason: Option<&str>, error: Option<&str>, out: &mut Brackets) {
    let failed = |status, message: &str| Error::Upstream {
        status,
        code: None,
        message: error.filter(|e| !e.is_empty()).unwrap_or(message).to_owned(),
        param: None,
        retry_after: None,
    };
    let stop = match reason {
        None if error.is_some() => return out.fail(failed(500, "")),
        None => return,
        Some("TOOL_CALL") => Stop::ToolCalls,
        Some("MAX_TOKENS" | "ERROR_LIMIT") => Stop::Length,
        Some("ERROR_TOXIC") => Stop::Refusal,
        Some("TIMEOUT") => return out.fail(failed(504, "Cohere did not finish in time.")),
        Some("ERROR") => return out.fail(failed(500, "Cohere failed to finish the reply.")),
        Some(_) => Stop::End,
    };
    out.stop(stop);
}

/// The error that this is instead of a reply.
fn failure(data: &[u8]) -> Error {
    upstream_error::from_event(data).unwrap_or_else(|| Error::BadReply {
        what: "SAP AI Core sent something that cannot be read as a reply of Cohere's.".into(),
    })
}

/// An event of a stream, all kinds in one.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    index: u64,
    /// The first one's has other shapes, and says nothing.
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    message: Option<MessageDelta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    usage: Option<Counted>,
}

#[derive(Default, Deserialize)]
struct MessageDelta<'a> {
    #[serde(borrow)]
    content: Option<Part<'a>>,
    #[serde(borrow)]
    tool_plan: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_calls: Option<Call<'a>>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    tool_plan: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Default, Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    thinking: Option<Cow<'a, str>>,
}

/// In deltas, with more of its arguments only.
#[derive(Default, Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Default, Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Counted {
    tokens: Option<Counts>,
    billed_units: Option<Counts>,
    cached_tokens: Option<f64>,
}

/// The vendor's reference has them as numbers, not as whole ones.
#[derive(Deserialize)]
struct Counts {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
}
