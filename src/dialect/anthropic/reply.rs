//! A reply for a client of the Messages API, whole or as a stream.
//!
//! Thinking that no Claude signed goes out signed with [`UNSIGNED`]: clients want a signature, and what comes back with it is
//! known not to be Claude's. The signatures of Gemini's calls have no place here; the vault keeps them.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::UNSIGNED;
use crate::chat::{Block, Event, Open, Reply, Seal, Stop, Usage};
use crate::dialect::{ReplyHead, ReplyWriter, StreamEncoder};
use crate::sse;

/// Every request wants its reply alike.
#[derive(Debug, Clone, Copy)]
pub struct Writer;

impl ReplyWriter for Writer {
    fn whole(&self, reply: &Reply, head: &ReplyHead) -> Vec<u8> {
        encode(reply, head)
    }

    fn stream(&self, head: &ReplyHead) -> Box<dyn StreamEncoder> {
        Box::new(Stream::new(head))
    }
}

/// The body of a whole reply.
fn encode(reply: &Reply, head: &ReplyHead) -> Vec<u8> {
    let content = reply.blocks.iter().filter_map(content).collect();
    let stop_reason = Some(stop_reason(reply.stop));
    let usage = reply.usage.unwrap_or_default().into();
    serde_json::to_vec(&Message::new(&id(head), head, content, stop_reason, usage))
        .unwrap_or_default()
}

fn content(block: &Block) -> Option<Content<'_>> {
    Some(match block {
        Block::Text { text, .. } if text.is_empty() => return None,
        Block::Text { text, .. } => Content::Text { text },
        Block::Reasoning { text, seal: Some(Seal::ClaudeRedacted(data)) } if text.is_empty() => {
            Content::RedactedThinking { data }
        }
        Block::Reasoning { text, seal: Some(Seal::Claude(signature)) } => {
            Content::Thinking { thinking: text, signature }
        }
        Block::Reasoning { text, .. } if text.is_empty() => return None,
        Block::Reasoning { text, .. } => Content::Thinking { thinking: text, signature: UNSIGNED },
        Block::ToolCall { id, name, arguments, .. } => {
            Content::ToolUse { id, name, input: input(arguments) }
        }
        Block::ToolResult { .. } | Block::Media { .. } => return None,
    })
}

/// What was cut off is no input.
fn input(arguments: &str) -> Option<&RawValue> {
    let object = serde_json::from_str::<&RawValue>(arguments).ok();
    object.filter(|json| json.get().starts_with('{'))
}

/// Writes events, each in a frame with its name.
#[derive(Debug)]
struct Stream {
    head: ReplyHead,
    has_started: bool,
    /// Of the block that is open or comes next.
    index: u64,
    /// What the open block is, and whether it was begun.
    open: Option<(Open, bool)>,
    is_signed: bool,
    usage: Usage,
}

impl Stream {
    fn new(head: &ReplyHead) -> Stream {
        let (head, usage) = (head.clone(), Usage::default());
        Stream { head, has_started: false, index: 0, open: None, is_signed: false, usage }
    }

    /// What begins a reply is not said before there is something of it: the status may still be an error's.
    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        let id = id(&self.head);
        let message = Message::new(&id, &self.head, vec![], None, Usage::default().into());
        write(out, &Frame::MessageStart { message });
    }

    /// Begins the open block, once.
    fn begin(&mut self, out: &mut Vec<u8>, redacted: Option<&str>) {
        let Some((open, has_begun @ false)) = &mut self.open else { return };
        *has_begun = true;
        let content_block = match (&*open, redacted) {
            (Open::Text, _) => Content::Text { text: "" },
            (Open::Reasoning, None) => Content::Thinking { thinking: "", signature: "" },
            (Open::Reasoning, Some(data)) => Content::RedactedThinking { data },
            (Open::ToolCall { id, name }, _) => Content::ToolUse { id, name, input: None },
        };
        write(out, &Frame::ContentBlockStart { index: self.index, content_block });
    }

    fn open(&mut self, open: &Open, out: &mut Vec<u8>) {
        self.start(out);
        self.open = Some((open.clone(), false));
        self.is_signed = false;
        // Of reasoning it is not known yet whether it can be read.
        if *open != Open::Reasoning {
            self.begin(out, None);
        }
    }

    fn delta(&mut self, text: &str, out: &mut Vec<u8>) {
        self.begin(out, None);
        let delta = match &self.open {
            Some((Open::Text, _)) => Delta::Text { text },
            Some((Open::Reasoning, _)) => Delta::Thinking { thinking: text },
            Some((Open::ToolCall { .. }, _)) => Delta::InputJson { partial_json: text },
            None => return,
        };
        write(out, &Frame::ContentBlockDelta { index: self.index, delta });
    }

    fn seal(&mut self, seal: &Seal, out: &mut Vec<u8>) {
        let Some((Open::Reasoning, has_begun)) = self.open else { return };
        match seal {
            Seal::ClaudeRedacted(data) if !has_begun => {
                self.begin(out, Some(data));
                self.is_signed = true;
            }
            Seal::Claude(signature) => self.sign(signature, out),
            Seal::ClaudeRedacted(_) | Seal::Gemini(_) | Seal::OpenAi { .. } => {}
        }
    }

    fn sign(&mut self, signature: &str, out: &mut Vec<u8>) {
        self.begin(out, None);
        let delta = Delta::Signature { signature };
        write(out, &Frame::ContentBlockDelta { index: self.index, delta });
        self.is_signed = true;
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if matches!(self.open, Some((Open::Reasoning, true))) && !self.is_signed {
            self.sign(UNSIGNED, out);
        }
        if let Some((_, true)) = self.open.take() {
            write(out, &Frame::ContentBlockStop { index: self.index });
            self.index += 1;
        }
    }

    fn stop(&mut self, stop: Stop, out: &mut Vec<u8>) {
        self.start(out);
        let delta = StopDelta { stop_reason: stop_reason(stop), stop_sequence: None };
        write(out, &Frame::MessageDelta { delta, usage: self.usage.into() });
        write(out, &Frame::MessageStop);
    }
}

impl StreamEncoder for Stream {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } | Event::Failed(_) => {}
            Event::Open(open) => self.open(open, out),
            Event::Delta(text) => self.delta(text, out),
            Event::Seal(seal) => self.seal(seal, out),
            Event::Close => self.close(out),
            Event::Usage(usage) => self.usage = *usage,
            Event::Stop(stop) => self.stop(*stop, out),
        }
    }
}

fn write(out: &mut Vec<u8>, frame: &Frame<'_>) {
    sse::write_event(out, frame.name(), |out| {
        // Writing into a Vec does not fail.
        let _ = serde_json::to_writer(out, frame);
    });
}

fn id(head: &ReplyHead) -> String {
    format!("msg_{}", head.id)
}

fn stop_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "end_turn",
        Stop::Length => "max_tokens",
        Stop::ToolCalls => "tool_use",
        Stop::Refusal => "refusal",
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: u64, content_block: Content<'a> },
    ContentBlockDelta { index: u64, delta: Delta<'a> },
    ContentBlockStop { index: u64 },
    MessageDelta { delta: StopDelta, usage: WireUsage },
    MessageStop,
}

impl Frame<'_> {
    fn name(&self) -> &'static str {
        match self {
            Frame::MessageStart { .. } => "message_start",
            Frame::ContentBlockStart { .. } => "content_block_start",
            Frame::ContentBlockDelta { .. } => "content_block_delta",
            Frame::ContentBlockStop { .. } => "content_block_stop",
            Frame::MessageDelta { .. } => "message_delta",
            Frame::MessageStop => "message_stop",
        }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Content<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<()>,
    usage: WireUsage,
}

impl<'a> Message<'a> {
    fn new(
        id: &'a str,
        head: &'a ReplyHead,
        content: Vec<Content<'a>>,
        stop_reason: Option<&'static str>,
        usage: WireUsage,
    ) -> Message<'a> {
        let (r#type, role, model) = ("message", "assistant", head.model.as_str());
        Message { id, r#type, role, model, content, stop_reason, stop_sequence: None, usage }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text {
        text: &'a str,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        #[serde(serialize_with = "or_empty")]
        input: Option<&'a RawValue>,
    },
}

fn or_empty<S: Serializer>(input: &Option<&RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    match input {
        Some(json) => json.serialize(serializer),
        None => serializer.serialize_map(Some(0))?.end(),
    }
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

#[derive(Serialize)]
struct StopDelta {
    stop_reason: &'static str,
    stop_sequence: Option<()>,
}

/// Anthropic counts what was read from a cache, or written to it, apart.
#[derive(Serialize)]
struct WireUsage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> WireUsage {
        let apart = usage.cached.saturating_add(usage.cache_written);
        WireUsage {
            input_tokens: usage.input.saturating_sub(apart),
            cache_creation_input_tokens: usage.cache_written,
            cache_read_input_tokens: usage.cached,
            output_tokens: usage.output,
        }
    }
}
