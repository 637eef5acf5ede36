//! A reply for a client of chat completions, whole or as a stream.
//!
//! Reasoning goes out as `reasoning_content`, beside the text and never in it: what DeepSeek began and clients read.
//! Gemini's thought signatures go out where Google's own endpoint puts them, `extra_content.google.thought_signature`.

use serde::Serialize;
use serde_json::json;

use crate::chat::{Block, Event, Open, Reply, Seal, Stop, Usage};
use crate::dialect::{ReplyHead, ReplyWriter, StreamEncoder};
use crate::envelope::quoted;
use crate::sse;

/// How one request wants its reply.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// Whether a stream is to tell its usage.
    pub wants_usage: bool,
}

impl ReplyWriter for Writer {
    fn whole(&self, reply: &Reply, head: &ReplyHead) -> Vec<u8> {
        encode(reply, head)
    }

    fn stream(&self, head: &ReplyHead) -> Box<dyn StreamEncoder> {
        Box::new(Stream::new(head, self.wants_usage))
    }
}

/// The body of a whole reply.
fn encode(reply: &Reply, head: &ReplyHead) -> Vec<u8> {
    let mut text: Option<String> = None;
    let mut reasoning = String::new();
    let mut calls = vec![];
    for block in &reply.blocks {
        match block {
            Block::Text { text: more, .. } => text.get_or_insert_default().push_str(more),
            Block::Reasoning { text: more, .. } => reasoning.push_str(more),
            Block::ToolCall { id, name, arguments, seal, .. } => {
                calls.push(ToolCall::whole(id, name, arguments, seal.as_ref()));
            }
            Block::ToolResult { .. } | Block::Media { .. } => {}
        }
    }
    // Null beside calls only: many clients concatenate it.
    let content = text.filter(|t| !t.is_empty()).or(calls.is_empty().then(String::new));
    let id = id(head);
    let body = Whole {
        id: &id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        choices: [Choice {
            index: 0,
            message: Message {
                role: "assistant",
                content: content.as_deref(),
                refusal: None,
                reasoning_content: Some(reasoning.as_str()).filter(|r| !r.is_empty()),
                tool_calls: calls,
            },
            logprobs: None,
            finish_reason: finish_reason(reply.stop),
        }],
        usage: reply.usage.map(usage),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Writes chunks, each in one frame.
#[derive(Debug)]
struct Stream {
    /// Of every chunk, up to its choices.
    start: String,
    wants_usage: bool,
    usage: Option<Usage>,
    has_role: bool,
    has_text: bool,
    open: Option<Opened>,
    calls: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    Text,
    Reasoning,
    ToolCall,
}

impl Stream {
    fn new(head: &ReplyHead, wants_usage: bool) -> Stream {
        let start = format!(
            r#"{{"id":{},"object":"chat.completion.chunk","created":{},"model":{},"choices":["#,
            quoted(&id(head)),
            head.created,
            quoted(&head.model),
        );
        let (usage, open, has_role, has_text) = (None, None, false, false);
        Stream { start, wants_usage, usage, has_role, has_text, open, calls: 0 }
    }

    /// A chunk with what `delta` writes between the braces of its delta.
    fn chunk(
        &mut self,
        out: &mut Vec<u8>,
        finish_reason: Option<&str>,
        delta: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(self.start.as_bytes());
        out.extend_from_slice(br#"{"index":0,"delta":{"#);
        if !self.has_role {
            self.has_role = true;
            out.extend_from_slice(br#""role":"assistant","#);
        }
        delta(out);
        if out.ends_with(b",") {
            out.pop();
        }
        out.extend_from_slice(br#"},"logprobs":null,"finish_reason":"#);
        match finish_reason {
            Some(reason) => write_string(out, reason),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}]");
        if self.wants_usage {
            out.extend_from_slice(br#","usage":null"#);
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn open(&mut self, open: &Open, out: &mut Vec<u8>) {
        self.open = Some(match open {
            Open::Text => Opened::Text,
            Open::Reasoning => Opened::Reasoning,
            Open::ToolCall { .. } => Opened::ToolCall,
        });
        let Open::ToolCall { id, name } = open else { return };
        let index = self.calls;
        self.calls += 1;
        let call = json!([{
            "index": index,
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }]);
        let is_first = !self.has_role;
        self.chunk(out, None, |out| {
            if is_first {
                out.extend_from_slice(br#""content":null,"#);
            }
            out.extend_from_slice(br#""tool_calls":"#);
            out.extend_from_slice(call.to_string().as_bytes());
        });
    }

    fn delta(&mut self, text: &str, out: &mut Vec<u8>) {
        let index = self.calls.saturating_sub(1);
        let open = self.open;
        self.has_text |= open == Some(Opened::Text);
        self.chunk(out, None, |out| match open {
            Some(Opened::ToolCall) => {
                let start = format!(r#""tool_calls":[{{"index":{index},"function":{{"arguments":"#);
                out.extend_from_slice(start.as_bytes());
                write_string(out, text);
                out.extend_from_slice(b"}}]");
            }
            Some(Opened::Reasoning) => {
                out.extend_from_slice(br#""reasoning_content":"#);
                write_string(out, text);
            }
            _ => {
                out.extend_from_slice(br#""content":"#);
                write_string(out, text);
            }
        });
    }

    fn seal(&mut self, seal: &Seal, out: &mut Vec<u8>) {
        let (Some(Opened::ToolCall), Some(extra)) = (self.open, extra_content(seal)) else {
            return;
        };
        // The Vercel AI SDK takes no call without a function.
        let call = json!([{
            "index": self.calls.saturating_sub(1),
            "function": {"arguments": ""},
            "extra_content": extra,
        }]);
        self.chunk(out, None, |out| {
            out.extend_from_slice(br#""tool_calls":"#);
            out.extend_from_slice(call.to_string().as_bytes());
        });
    }

    fn stop(&mut self, stop: Stop, out: &mut Vec<u8>) {
        // A message has a content, if an empty one, or calls: SDKs put together what was sent.
        let is_empty = !self.has_text && self.calls == 0;
        self.chunk(out, Some(finish_reason(stop)), |out| {
            if is_empty {
                out.extend_from_slice(br#""content":"""#);
            }
        });
        if self.wants_usage {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(self.start.as_bytes());
            out.extend_from_slice(br#"],"usage":"#);
            let usage = json!(usage(self.usage.unwrap_or_default()));
            out.extend_from_slice(usage.to_string().as_bytes());
            out.extend_from_slice(b"}\n\n");
        }
        sse::write_data(out, b"[DONE]");
    }
}

impl StreamEncoder for Stream {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            // What begins a reply is not said before there is something of it: the status may still be an error's.
            Event::Start { .. } | Event::Close | Event::Failed(_) => {}
            Event::Open(open) => self.open(open, out),
            Event::Delta(text) => self.delta(text, out),
            Event::Seal(seal) => self.seal(seal, out),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Stop(stop) => self.stop(*stop, out),
        }
    }
}

fn id(head: &ReplyHead) -> String {
    format!("chatcmpl-{}", head.id)
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into a Vec does not fail.
    let _ = serde_json::to_writer(out, text);
}

fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "stop",
        Stop::Length => "length",
        Stop::ToolCalls => "tool_calls",
        Stop::Refusal => "content_filter",
    }
}

/// OpenAI counts cached tokens as prompt tokens, and reasoning as completion tokens.
fn usage(usage: Usage) -> WireUsage {
    WireUsage {
        prompt_tokens: usage.input,
        completion_tokens: usage.output,
        total_tokens: usage.input.saturating_add(usage.output),
        prompt_tokens_details: PromptDetails { cached_tokens: usage.cached },
        completion_tokens_details: CompletionDetails { reasoning_tokens: usage.reasoning },
    }
}

fn extra_content(seal: &Seal) -> Option<serde_json::Value> {
    match seal {
        Seal::Gemini(signature) => Some(json!({"google": {"thought_signature": signature}})),
        Seal::Claude(_) | Seal::ClaudeRedacted(_) | Seal::OpenAi { .. } => None,
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<WireUsage>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u64,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> ToolCall<'a> {
    fn whole(id: &'a str, name: &'a str, arguments: &'a str, seal: Option<&Seal>) -> ToolCall<'a> {
        let extra_content = seal.and_then(extra_content);
        ToolCall { id, r#type: "function", function: Function { name, arguments }, extra_content }
    }
}

#[derive(Serialize)]
struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}
