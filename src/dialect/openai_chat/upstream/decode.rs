//! Whole replies and streams, into events.
//!
//! Tolerated, since one or another deployment sends it (dossier 5d, 6, 9): `""` for null, names of calls that come late, in
//! each part or never, all calls under index 0, arguments that are an object, reasoning under three names, reasons to stop
//! that change their mind, and streams that end without `[DONE]`.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::{WireUsage, data_of};
use crate::chat::{Brackets, Seal, Stop, Usage};
use crate::dialect::StreamDecoder;
use crate::error::Error;
use crate::sse::Frame;
use crate::upstream_error;

/// Finds the completion in the JSON of a reply or an event, or the error.
pub type Unwrap = fn(&[u8]) -> Result<Completion, Error>;

/// Where nothing is around the completion.
pub fn bare(json: &[u8]) -> Result<Completion, Error> {
    match serde_json::from_slice::<Completion>(json) {
        Ok(completion) if completion.error.is_none() => Ok(completion),
        _ => Err(failure(json)),
    }
}

/// The error that is there in place of a completion.
pub fn failure(json: &[u8]) -> Error {
    upstream_error::from_event(json).unwrap_or_else(|| Error::BadReply {
        what: "SAP AI Core sent something that is not a chat completion.".into(),
    })
}

/// Reads a whole reply.
pub fn whole(body: &[u8], unwrap: Unwrap, out: &mut Brackets) {
    let completion = match unwrap(body) {
        Ok(completion) => completion,
        Err(error) => return out.fail(error),
    };
    if completion.choices.is_empty() {
        return out.fail(Error::BadReply { what: "SAP AI Core's answer is empty.".into() });
    }
    Reader { is_whole: true, ..Reader::default() }.read(completion, out);
    if !out.has_stop() {
        out.stop(Stop::End);
    }
    out.end();
}

/// Reads a stream.
#[derive(Debug)]
pub struct Stream {
    unwrap: Unwrap,
    reader: Reader,
}

impl Stream {
    pub fn new(unwrap: Unwrap) -> Stream {
        Stream { unwrap, reader: Reader::default() }
    }
}

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets) {
        values(frame).for_each(|data| self.event(data, frame.is_cut, out));
    }

    fn finish(&mut self, out: &mut Brackets) {
        out.end();
    }
}

/// The events in a frame.
pub fn values<'a>(frame: &'a Frame<'_>) -> impl Iterator<Item = &'a [u8]> {
    let bare = frame.data.is_empty().then(|| data_of(frame));
    bare.into_iter().chain(frame.values())
}

impl Stream {
    pub fn event(&mut self, data: &[u8], is_cut: bool, out: &mut Brackets) {
        match data {
            b"" => {}
            b"[DONE]" => out.end(),
            json => match (self.unwrap)(json) {
                Ok(completion) => self.reader.read(completion, out),
                // Half an event is left to `finish`: the reply may have been complete before it.
                Err(_) if is_cut && serde_json::from_slice::<IgnoredAny>(json).is_err() => {}
                Err(error) => out.fail(error),
            },
        }
    }
}

/// A reply, or a chunk of one.
#[derive(Debug, Default, Deserialize)]
pub struct Completion {
    error: Option<IgnoredAny>,
    id: Option<String>,
    model: Option<String>,
    #[serde(default, deserialize_with = "or_empty")]
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    index: Option<u64>,
    message: Option<Message>,
    delta: Option<Message>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    reasoning_content: Option<Text>,
    reasoning: Option<Text>,
    content: Option<Text>,
    refusal: Option<Text>,
    #[serde(default, deserialize_with = "or_empty")]
    tool_calls: Vec<Call>,
}

#[derive(Debug, Deserialize)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Parts(Vec<Part>),
    Other(IgnoredAny),
}

/// A text, or a thought with its maker's signature.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(alias = "content")]
    text: Option<String>,
    signature: Option<String>,
}

/// What has to be remembered from chunk to chunk.
#[derive(Debug, Default)]
struct Reader {
    is_whole: bool,
    /// The calls so far; a call's key is its place here.
    calls: Vec<Seen>,
    has_refused: bool,
}

#[derive(Debug)]
struct Seen {
    index: Option<u64>,
    id: String,
}

impl Reader {
    fn read(&mut self, completion: Completion, out: &mut Brackets) {
        let is_claude = completion.is_claude();
        if completion.id.as_deref().is_some_and(|id| !id.is_empty()) {
            out.start(completion.id.as_deref());
        }
        if let Some(usage) = completion.usage {
            out.usage(counted(usage, is_claude));
        }
        // Only one was asked for.
        for choice in completion.choices.into_iter().filter(|c| c.index.unwrap_or(0) == 0) {
            if let Some(message) = choice.delta.or(choice.message) {
                self.message(message, is_claude, out);
            }
            self.stop(choice.finish_reason.as_deref().unwrap_or(""), out);
        }
    }

    fn message(&mut self, message: Message, is_claude: bool, out: &mut Brackets) {
        let reasoning = message.reasoning_content.filter(Text::says).or(message.reasoning);
        for part in reasoning.map(Text::parts).unwrap_or_default() {
            out.reasoning(part.text.as_deref().unwrap_or(""));
            let signature = part.signature.filter(|s| is_claude && !s.is_empty());
            if let Some(signature) = signature {
                out.seal_reasoning(Seal::Claude(signature));
            }
        }
        for part in message.content.map(Text::parts).unwrap_or_default() {
            out.text(part.text.as_deref().unwrap_or(""));
        }
        for part in message.refusal.map(Text::parts).unwrap_or_default() {
            let text = part.text.unwrap_or_default();
            self.has_refused |= !text.is_empty();
            out.text(&text);
        }
        for (at, call) in message.tool_calls.into_iter().enumerate() {
            self.call(at, call, out);
        }
    }

    fn call(&mut self, at: usize, call: Call, out: &mut Brackets) {
        let function = call.function.unwrap_or(Function { name: None, arguments: None });
        let name = function.name.as_deref().filter(|name| !name.is_empty());
        let id = call.id.as_deref().filter(|id| !id.is_empty());
        let index = if self.is_whole { Some(at as u64) } else { call.index };
        let (key, is_new) = self.key(index, id, name.is_some());
        if is_new || name.is_some() || id.is_some() {
            out.call(key, id, name);
        }
        if let Some(arguments) = function.arguments {
            out.arguments(key, &text_of(&arguments));
        }
        if self.is_whole {
            out.close_call(key);
        }
    }

    /// The key of the call that is meant, and whether it is a new one.
    fn key(&mut self, index: Option<u64>, id: Option<&str>, has_name: bool) -> (u64, bool) {
        let is_same = |seen: &Seen| match (index, id) {
            // Some count all calls as the first; another id with a name is another call.
            (_, Some(id)) if seen.id == id => index.is_none() || seen.index == index,
            (Some(_), Some(_)) => seen.index == index && (seen.id.is_empty() || !has_name),
            (Some(_), None) => seen.index == index,
            (None, Some(_)) => false,
            (None, None) => !has_name,
        };
        if let Some(key) = self.calls.iter().rposition(is_same) {
            if let (true, Some(id)) = (self.calls[key].id.is_empty(), id) {
                self.calls[key].id.push_str(id);
            }
            return (key as u64, false);
        }
        self.calls.push(Seen { index, id: id.unwrap_or("").to_owned() });
        (self.calls.len() as u64 - 1, true)
    }

    /// A refusal stays one, whatever reason is given.
    fn stop(&self, reason: &str, out: &mut Brackets) {
        let stop = match reason {
            "" => return,
            _ if self.has_refused => Stop::Refusal,
            "length" => Stop::Length,
            "tool_calls" | "function_call" => Stop::ToolCalls,
            "content_filter" => Stop::Refusal,
            _ => Stop::End,
        };
        out.stop(stop);
    }
}

impl Completion {
    fn is_claude(&self) -> bool {
        self.model.as_deref().is_some_and(|name| name.contains("claude"))
    }
}

impl Text {
    fn says(&self) -> bool {
        match self {
            Text::Plain(text) => !text.is_empty(),
            Text::Parts(parts) => !parts.is_empty(),
            Text::Other(_) => false,
        }
    }

    fn parts(self) -> Vec<Part> {
        match self {
            Text::Plain(text) => vec![Part { text: Some(text), signature: None }],
            Text::Parts(parts) => parts,
            Text::Other(_) => vec![],
        }
    }
}

/// Claude counts what it reads from its cache and writes to it apart (dossier 6, one probe).
fn counted(wire: WireUsage, is_claude: bool) -> Usage {
    let details = wire.prompt_tokens_details.as_ref().filter(|_| is_claude);
    let apart = details.map_or(0, |d| {
        d.cached_tokens.unwrap_or(0).saturating_add(d.cache_creation_tokens.unwrap_or(0))
    });
    let usage = Usage::from(wire);
    Usage { input: usage.input.saturating_add(apart), ..usage }
}

/// Arguments are a string that holds JSON; from some they are the JSON.
fn text_of(arguments: &RawValue) -> String {
    match arguments.get() {
        "null" => String::new(),
        json if json.starts_with('"') => serde_json::from_str(json).unwrap_or_default(),
        json => json.to_owned(),
    }
}

/// null is an empty list.
fn or_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
