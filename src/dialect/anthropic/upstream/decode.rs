//! A whole reply, and a stream of one. Each frame is read once, and borrowed where it can be.

use std::borrow::Cow;
use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::chat::{Brackets, Seal, Stop, Usage};
use crate::dialect::StreamDecoder;
use crate::error::Error;
use crate::sse::Frame;
use crate::upstream_error;

pub fn whole(body: &[u8], out: &mut Brackets) {
    let reply: Message<'_> = match serde_json::from_slice(body) {
        Ok(reply) => reply,
        Err(_) => return out.fail(unreadable(body)),
    };
    if reply.content.is_none() {
        return out.fail(unreadable(body));
    }
    out.start(Some(&reply.id.0));
    for (block, key) in reply.content.into_iter().flatten().zip(0..) {
        let opened = open(&block, key, out);
        close(key, opened.signature, out);
    }
    if let Some(counts) = reply.usage {
        out.usage(counts.usage());
    }
    if let Some(stop) = stop(&reply.stop_reason.0) {
        out.stop(stop);
    }
    out.end();
}

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Stream {
    counts: Counts,
    /// The open block's.
    opened: Opened,
}

/// What is to be remembered of a block until it ends.
#[derive(Debug, Default)]
struct Opened {
    /// Of thinking: more of it may follow its signature.
    signature: Option<String>,
    /// The call's input came whole when it began.
    has_input: bool,
}

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets) {
        let data = data_of(frame);
        if data.is_empty() || data == b"[DONE]" || out.has_ended() {
            return;
        }
        // More than one where only a line end separates them.
        for part in serde_json::Deserializer::from_slice(data).into_iter::<Part<'_>>() {
            match part {
                Ok(part) => self.part(part, data, out),
                Err(_) => return odd(data, frame.is_cut, out),
            }
        }
    }

    fn finish(&mut self, out: &mut Brackets) {
        self.settle(out);
        out.end();
    }
}

impl Stream {
    fn part(&mut self, part: Part<'_>, data: &[u8], out: &mut Brackets) {
        match &*part.kind.0 {
            "content_block_delta" => self.delta(part, out),
            "content_block_start" => {
                if let Some(block) = part.content_block {
                    self.settle(out);
                    self.opened = open(&block, part.index, out);
                }
            }
            "content_block_stop" => {
                close(part.index, std::mem::take(&mut self.opened).signature, out);
            }
            "message_start" => self.start(part.message, out),
            "message_delta" => {
                self.settle(out);
                self.count(part.usage.unwrap_or_default(), out);
                if let Some(stop) = stop(&part.delta.unwrap_or_default().stop_reason.0) {
                    out.stop(stop);
                }
            }
            "message_stop" => {
                self.settle(out);
                self.count(part.metrics.unwrap_or_default().or(self.counts), out);
                out.end();
            }
            "error" => out.fail(unreadable(data)),
            // AWS's errors have no type.
            "" if part.error.is_some() || part.message.is_some() => out.fail(unreadable(data)),
            "" => upstream_error::from_event(data).into_iter().for_each(|error| out.fail(error)),
            _ => {}
        }
    }

    fn start(&mut self, message: Option<&RawValue>, out: &mut Brackets) {
        let json = message.map_or("{}", RawValue::get);
        let message: Message<'_> = serde_json::from_str(json).unwrap_or_default();
        out.start(Some(&message.id.0));
        self.count(message.usage.unwrap_or_default().of_start(), out);
    }

    fn delta(&mut self, part: Part<'_>, out: &mut Brackets) {
        let Some(delta) = part.delta else { return };
        match &*delta.kind.0 {
            "text_delta" => out.text(&delta.text.0),
            "thinking_delta" => out.reasoning(&delta.thinking.0),
            "input_json_delta" if !self.opened.has_input => {
                out.arguments(part.index, &delta.partial_json.0);
            }
            "signature_delta" => self.opened.signature = Some(delta.signature.0.into_owned()),
            _ => {}
        }
    }

    /// Counts are cumulative: the last ones hold, but each event may have only some.
    fn count(&mut self, counts: Counts, out: &mut Brackets) {
        self.counts = counts.or(self.counts);
        if self.counts.input_tokens.is_some() || self.counts.output_tokens.is_some() {
            out.usage(self.counts.usage());
        }
    }

    /// For blocks that were never stopped.
    fn settle(&mut self, out: &mut Brackets) {
        if let Some(signature) = std::mem::take(&mut self.opened).signature {
            seal(signature, out);
        }
    }
}

/// What a frame says.
pub fn data_of<'a>(frame: &'a Frame<'_>) -> &'a [u8] {
    match &frame.data {
        // Some gateways leave `data:` away (dossier 5b.4).
        data if data.is_empty() && frame.raw.starts_with(b"{") => frame.raw,
        data if data.is_empty() && frame.raw.starts_with(b"[") => frame.raw,
        data => data.trim_ascii(),
    }
}

fn odd(data: &[u8], is_cut: bool, out: &mut Brackets) {
    fault_of(data, is_cut).into_iter().for_each(|error| out.fail(error));
}

/// What is wrong with data that is no event as we know them. Half a frame is left to `finish`: if the reply was complete
/// before, nothing is missing.
pub fn fault_of(data: &[u8], is_cut: bool) -> Option<Error> {
    if let Some(error) = upstream_error::from_event(data) {
        return Some(error);
    }
    let head = serde_json::from_slice::<Head<'_>>(data);
    let is_ours = head.as_ref().map_or(true, |head| KINDS.contains(&&*head.kind.0));
    (is_ours && !(is_cut && head.is_err())).then(|| unreadable(data))
}

/// What is read of events; others are ignored, whatever they are.
const KINDS: &[&str] = &[
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
];

/// The error that this is instead of a reply.
pub fn unreadable(data: &[u8]) -> Error {
    upstream_error::from_event(data).unwrap_or_else(|| Error::BadReply {
        what: "SAP AI Core sent something that cannot be read as a reply of Claude's.".into(),
    })
}

/// Begins a block with what came with it; all of it, in a whole reply. Tools that run at the vendor are not the client's.
fn open(block: &Content<'_>, key: u64, out: &mut Brackets) -> Opened {
    let mut opened = Opened::default();
    match &*block.kind.0 {
        "text" => out.text(&block.text.0),
        "thinking" => {
            out.reasoning(&block.thinking.0);
            opened.signature = Some(block.signature.0.to_string());
        }
        "redacted_thinking" => {
            out.close();
            out.seal_reasoning(Seal::ClaudeRedacted(block.data.0.to_string()));
        }
        "tool_use" => {
            out.call(key, Some(&block.id.0), Some(&block.name.0));
            let input = block.input.map_or("{}", RawValue::get);
            opened.has_input = input.starts_with('{') && !input[1..].trim_start().starts_with('}');
            if opened.has_input {
                out.arguments(key, input);
            }
        }
        _ => {}
    }
    opened
}

fn close(key: u64, signature: Option<String>, out: &mut Brackets) {
    if let Some(signature) = signature {
        seal(signature, out);
    }
    out.close();
    out.close_call(key);
}

fn seal(signature: String, out: &mut Brackets) {
    if !signature.is_empty() {
        out.seal_reasoning(Seal::Claude(signature));
    }
}

/// `None` where none is said yet. One that we do not know is an end all the same.
fn stop(reason: &str) -> Option<Stop> {
    Some(match reason {
        "" => return None,
        "max_tokens" | "model_context_window_exceeded" => Stop::Length,
        "tool_use" => Stop::ToolCalls,
        "refusal" => Stop::Refusal,
        _ => Stop::End,
    })
}

/// An event of a stream, all kinds in one.
#[derive(Deserialize)]
pub struct Part<'a> {
    #[serde(borrow, default, rename = "type")]
    pub kind: Text<'a>,
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    pub delta: Option<Delta<'a>>,
    #[serde(borrow)]
    content_block: Option<Content<'a>>,
    /// The beginning of the reply; in errors, a text.
    #[serde(borrow)]
    pub message: Option<&'a RawValue>,
    pub usage: Option<Counts>,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    pub metrics: Option<Metrics>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    partial_json: Text<'a>,
    #[serde(borrow)]
    pub stop_reason: Text<'a>,
}

/// A block, all kinds in one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Content<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    data: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// A reply, whole or at its beginning.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Message<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    pub content: Option<Vec<Content<'a>>>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    pub usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
}

/// Anthropic's counts: `input_tokens` is what no cache was asked for.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Counts {
    pub input_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub cache_creation_input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct OutputDetails {
    thinking_tokens: Option<u64>,
}

/// Bedrock's own counts.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metrics {
    input_token_count: Option<u64>,
    output_token_count: Option<u64>,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_token_count: Option<u64>,
}

impl Counts {
    /// Of a reply's beginning: its count of the output is a beginning only.
    pub fn of_start(self) -> Counts {
        Counts { output_tokens: None, ..self }
    }

    pub fn or(self, earlier: Counts) -> Counts {
        Counts {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            cache_read_input_tokens: self
                .cache_read_input_tokens
                .or(earlier.cache_read_input_tokens),
            cache_creation_input_tokens: self
                .cache_creation_input_tokens
                .or(earlier.cache_creation_input_tokens),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
            output_tokens_details: self.output_tokens_details.or(earlier.output_tokens_details),
        }
    }

    pub fn usage(self) -> Usage {
        let count = |count: Option<u64>| count.unwrap_or(0);
        let cached = count(self.cache_read_input_tokens);
        let written = count(self.cache_creation_input_tokens);
        Usage {
            input: count(self.input_tokens).saturating_add(cached).saturating_add(written),
            cached,
            cache_written: written,
            output: count(self.output_tokens),
            reasoning: count(self.output_tokens_details.unwrap_or_default().thinking_tokens),
        }
    }
}

impl Metrics {
    /// Only for what Anthropic's counts do not say.
    pub fn or(self, counts: Counts) -> Counts {
        counts.or(Counts {
            input_tokens: self.input_token_count,
            cache_read_input_tokens: self.cache_read_input_token_count,
            cache_creation_input_tokens: self.cache_write_input_token_count,
            output_tokens: self.output_token_count,
            output_tokens_details: None,
        })
    }
}

/// A string, borrowed unless it has escapes; `null` is an empty one.
#[derive(Default)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(""))
    }
}
