//! A reply for a client of the Responses API, whole or as a stream.
//!
//! Each block is an item of the output, and the seal of a call is one more: reasoning without a summary. What a stream ends
//! with is the response that the whole would have been.
//!
//! Left open: what a client cannot be told. `completed_at` is null, since nobody here looks at the clock; `service_tier` is
//! what was had, `default`.

use std::io::Write;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::freeform::{self, Freeform};
use super::sealed::{self, Sealed};
use super::tools::{CLIENT, ToolKind, Tools, search_arguments};
use crate::chat::{Block, Event, Open, Reply, Seal, Stop, Usage};
use crate::dialect::{ReplyHead, ReplyWriter, StreamEncoder};
use crate::envelope::{Envelope, field, quoted};
use crate::error::{Error, Kind};
use crate::sse;

/// How one request wants its reply, and what of it the reply repeats.
#[derive(Debug, Clone)]
pub struct Writer {
    tools: Tools,
    repeated: Arc<Repeated>,
    /// Whether reasoning is told.
    wants_summary: bool,
    /// Whether reasoning comes with what the next request brings it back by.
    wants_encrypted: bool,
}

impl Writer {
    /// Reads what a reply repeats of its request, and what it is to tell. What makes no sense is for others to refuse.
    pub fn new(body: &Envelope, tools: Tools) -> Result<Writer, Error> {
        Ok(Writer::of(body, tools))
    }

    fn of(body: &Envelope, tools: Tools) -> Writer {
        let include = body.get::<Vec<String>>("include", "").ok().flatten().unwrap_or_default();
        let summary = summary(body);
        Writer {
            tools,
            repeated: Arc::new(Repeated::of(body)),
            wants_summary: summary.is_some_and(|s| s != r#""none""#),
            wants_encrypted: include.iter().any(|name| name == "reasoning.encrypted_content"),
        }
    }
}

impl ReplyWriter for Writer {
    fn whole(&self, reply: &Reply, head: &ReplyHead) -> Vec<u8> {
        let ended = Status::of(reply.stop);
        let mut items = vec![];
        for (n, block) in reply.blocks.iter().enumerate() {
            let is_last = n + 1 == reply.blocks.len();
            let status = if is_last { ended } else { Status::Completed };
            let (open, said, seal) = match block {
                Block::Text { text, .. } => (Open::Text, &**text, None),
                Block::Reasoning { text, seal } => (Open::Reasoning, &**text, seal.as_ref()),
                Block::ToolCall { id, name, arguments, seal, .. } => {
                    let (id, name) = (id.clone(), name.clone());
                    (Open::ToolCall { id, name }, &**arguments, seal.as_ref())
                }
                Block::ToolResult { .. } | Block::Media { .. } => continue,
            };
            let item = Item::new(&open, items.len(), self, head);
            items.push(item.ended(status, &item.said(said), self.encrypted(&item, said, seal)));
            let sealed = self.sealed(&item, seal, head).filter(|_| status == Status::Completed);
            items.extend(sealed.map(|(_, json)| json));
        }
        let mut out = vec![];
        self.response(head, &End::Stop(reply.stop, reply.usage), &items, &mut out);
        out
    }

    fn stream(&self, head: &ReplyHead) -> Box<dyn StreamEncoder> {
        Box::new(Stream::new(self.clone(), head.clone()))
    }
}

impl Writer {
    /// A response, with the JSON of its items.
    fn response(&self, head: &ReplyHead, end: &End, output: &[String], out: &mut Vec<u8>) {
        let Repeated { limits, settings, ends } = &*self.repeated;
        let (status, error, incomplete, usage) = end.told();
        // Writing into a Vec does not fail.
        let _ = write!(
            out,
            r#"{{"id":{},"object":"response","created_at":{},"status":"{status}","background":false,"completed_at":null,"error":{error},"frequency_penalty":0.0,"incomplete_details":{incomplete},{limits}"model":{},"output":["#,
            quoted(&format!("resp_{}", head.id)),
            head.created,
            quoted(&head.model),
        );
        for (n, item) in output.iter().enumerate() {
            out.extend_from_slice(if n == 0 { b"" } else { b"," });
            out.extend_from_slice(item.as_bytes());
        }
        let _ = write!(out, r#"],{settings}"usage":{usage},{ends}}}"#);
    }

    /// What an item of reasoning comes back by.
    fn encrypted(&self, item: &Item, text: &str, seal: Option<&Seal>) -> Option<String> {
        let is_told = self.wants_encrypted && matches!(item.kind, ItemKind::Reasoning { .. });
        is_told.then(|| {
            let (text, seal) = (text.to_owned(), seal.cloned());
            sealed::pack(&Sealed::Thought { text, seal })
        })
    }

    /// The item behind that of a call which has a seal, and its JSON.
    fn sealed(&self, call: &Item, seal: Option<&Seal>, head: &ReplyHead) -> Option<(Item, String)> {
        let seal = seal.filter(|_| self.wants_encrypted)?.clone();
        let ItemKind::Call { id, .. } = &call.kind else { return None };
        let encrypted = sealed::pack(&Sealed::Call { id: id.clone(), seal });
        let index = call.index + 1;
        let kind = ItemKind::Reasoning { is_told: false };
        let item = Item { index, id: item_id("rs", head, index), kind };
        let json = item.ended(Status::Completed, &quoted(""), Some(encrypted));
        Some((item, json))
    }
}

/// Writes events, each in a frame with its name.
struct Stream {
    writer: Writer,
    head: ReplyHead,
    /// Of the next frame.
    sequence: u64,
    has_begun: bool,
    /// The JSON of the items that are over.
    items: Vec<String>,
    /// Its block may be closed already: whether it was cut off is known when the next one opens, or the reply stops.
    open: Option<Opened>,
    usage: Option<Usage>,
    end: Option<End>,
}

/// An item, and what it says so far.
struct Opened {
    item: Item,
    said: String,
    seal: Option<Seal>,
    freeform: Freeform,
    /// Of a frame with more of it, before what is more and behind.
    before_delta: String,
    behind_delta: String,
}

impl Stream {
    fn new(writer: Writer, head: ReplyHead) -> Stream {
        let (items, open, usage, end) = (vec![], None, None, None);
        Stream { writer, head, sequence: 0, has_begun: false, items, open, usage, end }
    }

    /// What begins a reply is not said before there is something of it: the status may still be an error's.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.tell("response.created", &End::None, out);
            self.tell("response.in_progress", &End::None, out);
        }
    }

    /// A frame with the response as it now is.
    fn tell(&mut self, name: &str, end: &End, out: &mut Vec<u8>) {
        write_frame(out, &mut self.sequence, name, |out| {
            out.extend_from_slice(br#""response":"#);
            self.writer.response(&self.head, end, &self.items, out);
        });
    }

    fn frame(&mut self, name: &str, fields: &str, out: &mut Vec<u8>) {
        write_frame(out, &mut self.sequence, name, |out| out.extend_from_slice(fields.as_bytes()));
    }

    fn open(&mut self, open: &Open, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(Status::Completed, out);
        let item = Item::new(open, self.items.len(), &self.writer, &self.head);
        self.added(&item, out);
        if let ItemKind::Message = item.kind {
            self.part("response.content_part.added", &item, r#""""#, out);
        }
        self.open = Some(Opened::new(item));
    }

    fn added(&mut self, item: &Item, out: &mut Vec<u8>) {
        let fields = format!(r#""item":{},"output_index":{}"#, item.begun(), item.index);
        self.frame("response.output_item.added", &fields, out);
    }

    fn delta(&mut self, text: &str, out: &mut Vec<u8>) {
        let Some(opened) = &mut self.open else { return };
        let is_silent = matches!(opened.item.kind, ItemKind::Reasoning { is_told: false });
        if is_silent && !self.writer.wants_encrypted {
            return;
        }
        let is_first = opened.said.is_empty();
        opened.said.push_str(text);
        let name = match opened.item.kind {
            ItemKind::Message => "response.output_text.delta",
            ItemKind::Reasoning { is_told: false } => return,
            ItemKind::Reasoning { is_told: true } => {
                if is_first {
                    let fields = summary_part(&opened.item, r#""""#);
                    let name = "response.reasoning_summary_part.added";
                    write_frame(out, &mut self.sequence, name, |out| {
                        out.extend_from_slice(fields.as_bytes());
                    });
                }
                "response.reasoning_summary_text.delta"
            }
            ItemKind::Call { tool: ToolKind::Function, .. } => {
                "response.function_call_arguments.delta"
            }
            ItemKind::Call { tool: ToolKind::Custom, .. } => return self.input(text, out),
            // It is told whole.
            ItemKind::Call { tool: ToolKind::Search, .. } => return,
        };
        opened.more(name, text, &mut self.sequence, out);
    }

    /// More of the arguments that hold a text.
    fn input(&mut self, json: &str, out: &mut Vec<u8>) {
        let Some(opened) = &mut self.open else { return };
        let mut text = String::new();
        opened.freeform.push(json, &mut text);
        if !text.is_empty() {
            let name = "response.custom_tool_call_input.delta";
            opened.more(name, &text, &mut self.sequence, out);
        }
    }

    /// The open item is over. Of a call that was cut off that is not said: a client would do what half of it asks for.
    fn close(&mut self, status: Status, out: &mut Vec<u8>) {
        let is_call =
            self.open.as_ref().is_some_and(|o| matches!(o.item.kind, ItemKind::Call { .. }));
        if is_call && status == Status::Incomplete {
            return self.give_up();
        }
        let Some(Opened { item, said, seal, .. }) = self.open.take() else { return };
        let encrypted = self.writer.encrypted(&item, &said, seal.as_ref());
        let is_empty = said.is_empty();
        let said = item.said(&said);
        self.said_all(&item, &said, is_empty, out);
        let json = item.ended(status, &said, encrypted);
        self.done(&item, json, out);
        if let Some((item, json)) = self.writer.sealed(&item, seal.as_ref(), &self.head) {
            self.added(&item, out);
            self.done(&item, json, out);
        }
    }

    /// The open item is listed as it is.
    fn give_up(&mut self) {
        if let Some(Opened { item, said, .. }) = self.open.take() {
            self.items.push(item.ended(Status::Incomplete, &item.said(&said), None));
        }
    }

    /// What all of an item's deltas came to.
    fn said_all(&mut self, item: &Item, said: &str, is_empty: bool, out: &mut Vec<u8>) {
        let Item { index, id, .. } = item;
        match &item.kind {
            ItemKind::Message => {
                let fields = format!(
                    r#""content_index":0,"item_id":{id},"logprobs":[],"output_index":{index},"text":{said}"#
                );
                self.frame("response.output_text.done", &fields, out);
                self.part("response.content_part.done", item, said, out);
            }
            ItemKind::Reasoning { is_told: true } if !is_empty => {
                let fields = format!(
                    r#""item_id":{id},"output_index":{index},"summary_index":0,"text":{said}"#
                );
                self.frame("response.reasoning_summary_text.done", &fields, out);
                let fields = summary_part(item, said);
                self.frame("response.reasoning_summary_part.done", &fields, out);
            }
            ItemKind::Reasoning { .. } => {}
            ItemKind::Call { tool: ToolKind::Function, name, .. } => {
                let name = quoted(name);
                let fields = format!(
                    r#""arguments":{said},"item_id":{id},"name":{name},"output_index":{index}"#
                );
                self.frame("response.function_call_arguments.done", &fields, out);
            }
            ItemKind::Call { tool: ToolKind::Search, .. } => {}
            ItemKind::Call { tool: ToolKind::Custom, .. } => {
                let fields = format!(r#""input":{said},"item_id":{id},"output_index":{index}"#);
                self.frame("response.custom_tool_call_input.done", &fields, out);
            }
        }
    }

    fn part(&mut self, name: &str, item: &Item, text: &str, out: &mut Vec<u8>) {
        let Item { index, id, .. } = item;
        let part = text_part(text);
        let fields =
            format!(r#""content_index":0,"item_id":{id},"output_index":{index},"part":{part}"#);
        self.frame(name, &fields, out);
    }

    fn done(&mut self, item: &Item, json: String, out: &mut Vec<u8>) {
        let fields = format!(r#""item":{json},"output_index":{}"#, item.index);
        self.frame("response.output_item.done", &fields, out);
        self.items.push(json);
    }

    fn stop(&mut self, stop: Stop, out: &mut Vec<u8>) {
        self.begin(out);
        let status = Status::of(stop);
        self.close(status, out);
        let end = End::Stop(stop, self.usage);
        let name = match status {
            Status::Completed => "response.completed",
            Status::Incomplete => "response.incomplete",
        };
        self.tell(name, &end, out);
        self.end = Some(end);
    }
}

impl StreamEncoder for Stream {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { .. } | Event::Close | Event::Failed(_) => {}
            Event::Open(open) => self.open(open, out),
            Event::Delta(text) => self.delta(text, out),
            Event::Seal(seal) => {
                if let Some(opened) = &mut self.open {
                    opened.seal = Some(seal.clone());
                }
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Stop(stop) => self.stop(*stop, out),
        }
    }

    fn failed(&mut self, error: &Error, out: &mut Vec<u8>) {
        if !self.has_begun || self.end.is_some() {
            return;
        }
        self.give_up();
        let end = End::failed(error);
        self.tell("response.failed", &end, out);
        self.end = Some(end);
    }

    fn kept(&mut self) -> Option<Vec<u8>> {
        let end = self.end.as_ref().filter(|end| matches!(end, End::Stop(..)))?;
        let mut out = vec![];
        self.writer.response(&self.head, end, &self.items, &mut out);
        Some(out)
    }
}

/// A stream that failed before it began: all its frames. `id` is that of the request.
pub fn failure(error: &Error, id: &str) -> Vec<u8> {
    let id = id.strip_prefix("req_").unwrap_or(id);
    let id = id.chars().filter(char::is_ascii_alphanumeric).collect();
    // Neither the hour nor the model is known here.
    let head = ReplyHead { id, created: 0, model: String::new() };
    let mut stream = Stream::new(Writer::of(&Envelope::default(), Tools::default()), head);
    let mut out = vec![];
    stream.has_begun = true;
    stream.tell("response.created", &End::None, &mut out);
    stream.failed(error, &mut out);
    out
}

impl Opened {
    fn new(item: Item) -> Opened {
        let Item { index, id, .. } = &item;
        let (before, behind) = match item.kind {
            ItemKind::Message => (
                r#""content_index":0,"delta":"#.to_owned(),
                format!(r#","item_id":{id},"logprobs":[],"output_index":{index}"#),
            ),
            ItemKind::Reasoning { .. } => (
                r#""delta":"#.to_owned(),
                format!(r#","item_id":{id},"output_index":{index},"summary_index":0"#),
            ),
            ItemKind::Call { .. } => {
                (r#""delta":"#.to_owned(), format!(r#","item_id":{id},"output_index":{index}"#))
            }
        };
        let (said, freeform) = (String::new(), Freeform::default());
        Opened { item, said, seal: None, freeform, before_delta: before, behind_delta: behind }
    }

    /// A frame with more of it.
    fn more(&self, name: &str, text: &str, sequence: &mut u64, out: &mut Vec<u8>) {
        write_frame(out, sequence, name, |out| {
            out.extend_from_slice(self.before_delta.as_bytes());
            // Writing a string into a Vec does not fail.
            let _ = serde_json::to_writer(&mut *out, text);
            out.extend_from_slice(self.behind_delta.as_bytes());
        });
    }
}

/// An item of the output.
struct Item {
    index: usize,
    /// A JSON string.
    id: String,
    kind: ItemKind,
}

enum ItemKind {
    Message,
    Reasoning {
        /// In a summary.
        is_told: bool,
    },
    Call {
        id: String,
        name: String,
        namespace: Option<String>,
        tool: ToolKind,
    },
}

/// Of an item that is over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Status {
    Completed,
    Incomplete,
}

impl Status {
    /// Of a reply's last item, and its own.
    fn of(stop: Stop) -> Status {
        match stop {
            Stop::End | Stop::ToolCalls => Status::Completed,
            Stop::Length | Stop::Refusal => Status::Incomplete,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Status::Completed => "completed",
            Status::Incomplete => "incomplete",
        }
    }
}

impl Item {
    fn new(open: &Open, index: usize, writer: &Writer, head: &ReplyHead) -> Item {
        let (prefix, kind) = match open {
            Open::Text => ("msg", ItemKind::Message),
            Open::Reasoning => ("rs", ItemKind::Reasoning { is_told: writer.wants_summary }),
            Open::ToolCall { id, name } => {
                let (id, origin) = (id.clone(), writer.tools.origin(name));
                let tool = origin.map_or(ToolKind::Function, |o| o.kind);
                let namespace = origin.and_then(|o| o.namespace.clone());
                let name = origin.map_or(name, |o| &o.name).clone();
                let prefix = match tool {
                    ToolKind::Function => "fc",
                    ToolKind::Custom => "ctc",
                    ToolKind::Search => "tsc",
                };
                (prefix, ItemKind::Call { id, name, namespace, tool })
            }
        };
        Item { index, id: item_id(prefix, head, index), kind }
    }

    /// What the block said, as the item says it: a JSON string, of a search an object.
    fn said(&self, text: &str) -> String {
        match self.kind {
            ItemKind::Call { tool: ToolKind::Custom, .. } => quoted(&freeform::text(text)),
            ItemKind::Call { tool: ToolKind::Search, .. } => search_arguments(text),
            _ => quoted(text),
        }
    }

    /// Its JSON before anything was said.
    fn begun(&self) -> String {
        self.json("in_progress", None, None)
    }

    /// Its JSON. `said` is that, too.
    fn ended(&self, status: Status, said: &str, encrypted: Option<String>) -> String {
        self.json(status.word(), Some(said), encrypted)
    }

    fn json(&self, status: &str, said: Option<&str>, encrypted: Option<String>) -> String {
        let id = &self.id;
        match &self.kind {
            ItemKind::Message => {
                let content = said.map(text_part).unwrap_or_default();
                format!(
                    r#"{{"id":{id},"type":"message","status":"{status}","content":[{content}],"role":"assistant"}}"#
                )
            }
            ItemKind::Reasoning { is_told } => {
                let text = said.filter(|said| *is_told && *said != r#""""#);
                let summary = text.map(summary_text).unwrap_or_default();
                let encrypted =
                    encrypted.map(|e| format!(r#","encrypted_content":{}"#, quoted(&e)));
                let encrypted = encrypted.unwrap_or_default();
                // OpenAI's have no status otherwise.
                let is_cut = status == Status::Incomplete.word();
                let status = if is_cut { r#""status":"incomplete","# } else { "" };
                format!(
                    r#"{{"id":{id},"type":"reasoning",{status}"summary":[{summary}]{encrypted}}}"#
                )
            }
            ItemKind::Call { id: call, tool: ToolKind::Search, .. } => {
                let (call, said) = (quoted(call), said.unwrap_or("{}"));
                format!(
                    r#"{{"id":{id},"type":"tool_search_call","status":"{status}","arguments":{said},"call_id":{call},"execution":"{CLIENT}"}}"#
                )
            }
            ItemKind::Call { id: call, name, namespace, tool } => {
                let (call, name, said) = (quoted(call), quoted(name), said.unwrap_or(r#""""#));
                let namespace =
                    namespace.as_ref().map(|n| format!(r#","namespace":{}"#, quoted(n)));
                let namespace = namespace.unwrap_or_default();
                let (kind, says) = match tool {
                    ToolKind::Custom => {
                        ("custom_tool_call", format!(r#""call_id":{call},"input":{said}"#))
                    }
                    _ => ("function_call", format!(r#""arguments":{said},"call_id":{call}"#)),
                };
                format!(
                    r#"{{"id":{id},"type":"{kind}","status":"{status}",{says},"name":{name}{namespace}}}"#
                )
            }
        }
    }
}

/// An item's id tells its response.
fn item_id(prefix: &str, head: &ReplyHead, index: usize) -> String {
    quoted(&format!("{prefix}_{}{index:03}", head.id))
}

fn text_part(text: &str) -> String {
    format!(r#"{{"type":"output_text","annotations":[],"logprobs":[],"text":{text}}}"#)
}

fn summary_text(text: &str) -> String {
    format!(r#"{{"type":"summary_text","text":{text}}}"#)
}

fn summary_part(item: &Item, text: &str) -> String {
    let (Item { index, id, .. }, part) = (item, summary_text(text));
    format!(r#""item_id":{id},"output_index":{index},"part":{part},"summary_index":0"#)
}

fn write_frame(
    out: &mut Vec<u8>,
    sequence: &mut u64,
    name: &str,
    fields: impl FnOnce(&mut Vec<u8>),
) {
    sse::write_event(out, name, |out| {
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(br#"","#);
        fields(out);
        // Writing into a Vec does not fail.
        let _ = write!(out, r#","sequence_number":{sequence}}}"#);
    });
    *sequence += 1;
}

/// How a response stands.
#[derive(Debug)]
enum End {
    None,
    Stop(Stop, Option<Usage>),
    /// The JSON of an error.
    Failed(String),
}

impl End {
    fn failed(error: &Error) -> End {
        let (code, message) = (quoted(error_code(error)), quoted(&error.to_string()));
        End::Failed(format!(r#"{{"code":{code},"message":{message}}}"#))
    }

    /// The status, and the JSON of the error, of what is missing and of the usage.
    fn told(&self) -> (&'static str, &str, &'static str, String) {
        let null = "null";
        match self {
            End::None => ("in_progress", null, null, null.to_owned()),
            End::Failed(error) => ("failed", error, null, null.to_owned()),
            End::Stop(stop, usage) => {
                let incomplete = match stop {
                    Stop::End | Stop::ToolCalls => null,
                    Stop::Length => r#"{"reason":"max_output_tokens"}"#,
                    Stop::Refusal => r#"{"reason":"content_filter"}"#,
                };
                let status = Status::of(*stop).word();
                (status, null, incomplete, usage_json(usage.unwrap_or_default()))
            }
        }
    }
}

/// The codes that OpenAI has for a response that failed, and Codex acts on: it waits and tries again, makes the conversation
/// shorter, or gives up.
fn error_code(error: &Error) -> &str {
    const KNOWN: [&str; 6] = [
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_prompt",
        "rate_limit_exceeded",
        "server_error",
        "usage_not_included",
    ];
    if let Some(code) = error.code().filter(|code| KNOWN.contains(code)) {
        return code;
    }
    match error.kind() {
        Kind::RateLimit => "rate_limit_exceeded",
        Kind::Overloaded | Kind::Timeout | Kind::Server => "server_error",
        Kind::InvalidRequest | Kind::Authentication | Kind::Permission | Kind::NotFound => {
            "invalid_prompt"
        }
        Kind::TooLarge => "context_length_exceeded",
    }
}

/// OpenAI counts cached tokens as input, and reasoning as output.
pub fn usage_json(usage: Usage) -> String {
    let Usage { input, cached, cache_written, output, reasoning } = usage;
    let total = input.saturating_add(output);
    format!(
        r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{cache_written}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
    )
}

/// What a response repeats of its request: entries of its JSON, each but the last with its comma.
#[derive(Debug)]
struct Repeated {
    /// Before the model.
    limits: String,
    /// Behind the output.
    settings: String,
    /// Behind the usage.
    ends: String,
}

impl Repeated {
    /// What was given, word for word, otherwise what OpenAI takes for it.
    fn of(body: &Envelope) -> Repeated {
        let given = |key: &str, default: &str| {
            let value = one_line(body.raw(key)).unwrap_or_else(|| default.to_owned());
            format!("\"{key}\":{value},")
        };
        let all = |entries: &[(&str, &str)]| {
            entries.iter().map(|(key, default)| given(key, default)).collect::<String>()
        };
        let within = |key: &str, name: &str| one_line(body.raw(key).and_then(|o| field(o, name)));
        let or = |value: Option<String>, default: &str| value.unwrap_or(default.to_owned());
        let reasoning = format!(
            r#""reasoning":{{"effort":{},"summary":{}}},"#,
            or(within("reasoning", "effort"), "null"),
            or(summary(body), "null"),
        );
        let text = format!(
            r#""text":{{"format":{},"verbosity":{}}},"#,
            or(within("text", "format"), r#"{"type":"text"}"#),
            or(within("text", "verbosity"), r#""medium""#),
        );
        let settings = [
            given("parallel_tool_calls", "true"),
            r#""presence_penalty":0.0,"#.to_owned(),
            all(&[
                ("previous_response_id", "null"),
                ("prompt_cache_key", "null"),
                ("prompt_cache_retention", "null"),
            ]),
            reasoning,
            given("safety_identifier", "null"),
            r#""service_tier":"default","#.to_owned(),
            all(&[("store", "true"), ("temperature", "1.0")]),
            text,
            all(&[
                ("tool_choice", r#""auto""#),
                ("tools", "[]"),
                ("top_logprobs", "0"),
                ("top_p", "1.0"),
                ("truncation", r#""disabled""#),
            ]),
        ];
        let ends = all(&[("user", "null"), ("metadata", "{}")]);
        Repeated {
            limits: all(&[
                ("instructions", "null"),
                ("max_output_tokens", "null"),
                ("max_tool_calls", "null"),
            ]),
            settings: settings.concat(),
            ends: ends.trim_end_matches(',').to_owned(),
        }
    }
}

/// The summary of reasoning that is asked for, by its name or an older one.
fn summary(body: &Envelope) -> Option<String> {
    let reasoning = body.raw("reasoning")?;
    ["summary", "generate_summary"].iter().find_map(|key| one_line(field(reasoning, key)))
}

/// JSON that is not null, as it may stand in a frame. What cannot be read is nothing.
fn one_line(json: Option<&[u8]>) -> Option<String> {
    let json = serde_json::from_slice::<&RawValue>(json?).ok()?.get();
    (json != "null").then(|| json.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::openai_responses::tools::{Origin, SEARCH};

    fn writer(body: &Value) -> Writer {
        Writer::of(&Envelope::parse(body.to_string().into()).unwrap(), Tools::default())
    }

    fn head() -> ReplyHead {
        ReplyHead { id: "7".into(), created: 1, model: "m".into() }
    }

    fn whole(body: &Value, blocks: Vec<Block>, stop: Stop) -> Value {
        let reply = Reply { id: None, blocks, usage: None, stop };
        serde_json::from_slice(&writer(body).whole(&reply, &head())).unwrap()
    }

    #[test]
    fn what_was_asked_is_repeated() {
        // The key, what was given, and what is told.
        let table = [
            ("instructions", json!("a\n"), json!("a\n")),
            (
                "tools",
                json!([{"type": "custom", "name": "x"}]),
                json!([{"type": "custom", "name": "x"}]),
            ),
            ("tools", json!(null), json!([])),
            (
                "tool_choice",
                json!({"type": "function", "name": "x"}),
                json!({"type": "function", "name": "x"}),
            ),
            ("store", json!(false), json!(false)),
            ("store", json!(null), json!(true)),
            ("metadata", json!({"a": "b"}), json!({"a": "b"})),
            ("user", json!("u"), json!("u")),
            ("previous_response_id", json!("resp_1"), json!("resp_1")),
            ("service_tier", json!("flex"), json!("default")),
            ("background", json!(true), json!(false)),
            ("reasoning", json!({"effort": "low"}), json!({"effort": "low", "summary": null})),
            (
                "reasoning",
                json!({"generate_summary": "auto"}),
                json!({"effort": null, "summary": "auto"}),
            ),
            ("reasoning", json!("odd"), json!({"effort": null, "summary": null})),
            (
                "text",
                json!({"verbosity": null}),
                json!({"format": {"type": "text"}, "verbosity": "medium"}),
            ),
            (
                "text",
                json!({"format": {"type": "json_object"}}),
                json!({"format": {"type": "json_object"}, "verbosity": "medium"}),
            ),
        ];
        for (key, given, told) in table {
            let body = json!({ key: given });
            assert_eq!(whole(&body, vec![], Stop::End)[key], told, "{body}");
        }
        let odd = Envelope::parse(
            b"{\"temperature\": 1.10,\"tools\":[\r\n1],\"user\":[tru],\"include\":7}".to_vec(),
        );
        let writer = Writer::of(&odd.unwrap(), Tools::default());
        let Repeated { settings, ends, .. } = &*writer.repeated;
        assert!(
            settings.contains(r#""temperature":1.10,"#) && settings.contains(r#""tools":[  1],"#)
        );
        assert_eq!(ends, r#""user":null,"metadata":{}"#);
    }

    #[test]
    fn reasoning_is_told_as_it_is_asked_for() {
        let seal = || Some(Seal::Claude("s".into()));
        let block = || vec![Block::Reasoning { text: "hm".into(), seal: seal() }];
        let item = |body: Value, stop| whole(&body, block(), stop)["output"].take();
        let plain = json!([{"id": "rs_7000", "type": "reasoning", "summary": []}]);
        assert_eq!(item(json!({}), Stop::End), plain);
        for none in [json!({"summary": "none"}), json!({"summary": null}), json!(7)] {
            assert_eq!(item(json!({ "reasoning": none }), Stop::End), plain);
        }
        let summary = json!([{"type": "summary_text", "text": "hm"}]);
        let told = item(json!({"reasoning": {"summary": "detailed"}}), Stop::Length);
        let expected = json!([{"id": "rs_7000", "type": "reasoning", "status": "incomplete", "summary": summary}]);
        assert_eq!(told, expected);
        let told = item(json!({"include": ["reasoning.encrypted_content"]}), Stop::End);
        let encrypted = sealed::pack(&Sealed::Thought { text: "hm".into(), seal: seal() });
        let expected = json!([{"id": "rs_7000", "type": "reasoning", "summary": [], "encrypted_content": encrypted}]);
        assert_eq!(told, expected);
    }

    #[test]
    fn a_search_for_tools_is_told_whole() {
        let origin = Origin { name: SEARCH.into(), namespace: None, kind: ToolKind::Search };
        let tools = Tools::new(vec![(SEARCH.into(), origin)]);
        let writer = Writer::of(&Envelope::parse(b"{}".to_vec()).unwrap(), tools);
        let mut stream = writer.stream(&head());
        let mut out = vec![];
        let open = Open::ToolCall { id: "c".into(), name: SEARCH.into() };
        for event in [
            Event::Start { id: None },
            Event::Open(open),
            Event::Delta("{\"query\":".into()),
            Event::Delta("\"q\"}".into()),
            Event::Close,
            Event::Stop(Stop::ToolCalls),
        ] {
            stream.event(&event, &mut out);
        }
        let out = String::from_utf8(out).unwrap();
        let kinds: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let items = ["response.output_item.added", "response.output_item.done"];
        assert_eq!(kinds[2..4], items);
        assert_eq!(kinds.len(), 5);
        let item = |status, asked| {
            format!(
                r#""item":{{"id":"tsc_7000","type":"tool_search_call","status":"{status}","arguments":{asked},"call_id":"c","execution":"client"}}"#
            )
        };
        assert!(out.contains(&item("in_progress", "{}")), "{out}");
        assert!(out.contains(&item("completed", r#"{"query":"q"}"#)), "{out}");
    }

    #[test]
    fn the_seal_of_a_call_is_an_item_behind_it() {
        let call = |id: &str, seal| {
            let (id, name, arguments) = (id.to_owned(), "f".to_owned(), "{}".to_owned());
            Block::ToolCall { id, name, arguments, seal, cache: None }
        };
        let seal = || Seal::Gemini("g".into());
        let blocks = || vec![call("a", Some(seal())), call("b", None)];
        let item = |id: &str, call: &str| json!({"id": id, "type": "function_call", "status": "completed", "arguments": "{}", "call_id": call, "name": "f"});
        let told = whole(&json!({}), blocks(), Stop::ToolCalls);
        assert_eq!(told["output"], json!([item("fc_7000", "a"), item("fc_7001", "b")]));
        let body =
            json!({"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}});
        let told = whole(&body, blocks(), Stop::ToolCalls);
        let encrypted = sealed::pack(&Sealed::Call { id: "a".into(), seal: seal() });
        let sealed = json!({"id": "rs_7001", "type": "reasoning", "summary": [], "encrypted_content": encrypted});
        assert_eq!(told["output"], json!([item("fc_7000", "a"), sealed, item("fc_7002", "b")]));
    }

    #[test]
    fn what_failed_has_a_code_that_codex_acts_on() {
        let upstream = |status, code: Option<&str>| Error::Upstream {
            status,
            code: code.map(str::to_owned),
            message: "m".into(),
            param: None,
            retry_after: None,
        };
        let table = [
            (upstream(429, None), "rate_limit_exceeded"),
            (upstream(429, Some("insufficient_quota")), "insufficient_quota"),
            (upstream(400, Some("context_length_exceeded")), "context_length_exceeded"),
            (upstream(400, Some("BadRequest")), "invalid_prompt"),
            (upstream(413, None), "context_length_exceeded"),
            (upstream(500, Some("odd")), "server_error"),
            (upstream(503, None), "server_error"),
            (upstream(401, None), "server_error"),
            (Error::Timeout { what: String::new() }, "server_error"),
            (Error::bad_request("a", "b"), "invalid_prompt"),
            (Error::Unauthorized, "invalid_prompt"),
        ];
        for (error, code) in table {
            assert_eq!(error_code(&error), code, "{error:?}");
        }
    }

    #[test]
    fn nothing_fails_that_has_not_begun_or_is_over() {
        let mut stream = Stream::new(writer(&json!({})), head());
        let mut out = vec![];
        stream.event(&Event::Start { id: None }, &mut out);
        stream.failed(&Error::Internal, &mut out);
        assert_eq!((out.len(), stream.kept()), (0, None));
        stream.event(&Event::Stop(Stop::End), &mut out);
        let length = out.len();
        stream.failed(&Error::Internal, &mut out);
        assert!(out.len() == length && stream.kept().is_some());
    }
}
