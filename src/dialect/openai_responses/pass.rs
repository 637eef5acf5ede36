//! Replies of AI Core's own `/responses` (dossier 5a), on their way to a client of the Responses API.
//!
//! Nothing is decoded: the bytes go on as they are, but for the `event:` lines that AI Core leaves out and SDKs go by, and
//! for what [`Shown`] says otherwise.
//!
//! What a stream begins with says nothing yet, so it is kept back until more comes: AI Core tells that it is throttled by
//! `response.created`, a `response.failed` without a reason, and the reason as an `error`. That is an answer of status 429 as
//! long as nothing was sent.
//!
//! Left open by the dossier: a stream that ends without its last event is broken; a failure that comes before anything else
//! is told by its status where another deployment may do better, and in the stream's own words otherwise.

mod shown;

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::json;

use self::shown::Shown;
use super::freeform::{self, Freeform};
use super::tools::{ToolKind, Tools};
use crate::chat::Usage;
use crate::dialect::{Passed, Passing};
use crate::envelope::{Envelope, field, quoted};
use crate::error::{Error, Kind};
use crate::sse::{self, Frame};
use crate::upstream_error;

/// Makes a request one to make a conversation shorter, which takes less than others: what it does not take is taken out and
/// given. Codex sends what it sends with every request.
pub fn settle_compact(body: &mut Envelope) -> Vec<Cow<'static, str>> {
    const TAKEN: &[&str] = &[
        "model",
        "input",
        "instructions",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
    ];
    let mut dropped = body.names_beyond(TAKEN);
    // What says how the answer is to come, which is never a stream.
    dropped.retain(|key| key != "stream");
    body.retain(|key, _| TAKEN.contains(&key));
    dropped.into_iter().map(Cow::Owned).collect()
}

/// A complete reply, or any answer about a kept response: the client's model name, marked ids, the client's own tools.
pub fn pass_reply(
    body: Vec<u8>,
    model: &str,
    tools: &Tools,
    mark: &str,
) -> Result<(Vec<u8>, Option<Usage>), Error> {
    let mut reply = Envelope::parse(body).map_err(|e| Error::BadReply {
        what: format!("SAP AI Core's answer cannot be read: {e}."),
    })?;
    // A response that failed has its error, and is an answer.
    let is_response = reply.raw("object") == Some(br#""response""#);
    if !is_response && is_given(reply.raw("error")) {
        return Err(fault_of(&reply.to_bytes()));
    }
    let usage = usage_of(&reply);
    Shown::new(model, tools, mark).edit(&mut reply);
    Ok((reply.into_bytes(), usage))
}

/// A stream that passes through, event by event.
#[derive(Debug)]
pub struct PassStream {
    shown: Shown,
    /// What the stream began with, kept back; `None` since something else came.
    beginning: Option<Vec<u8>>,
    /// The response as it was last told.
    response: Option<Vec<u8>>,
    /// It failed, and the reason is to come.
    has_failed: bool,
    /// The calls that are being told of tools that take a text.
    calls: Vec<Call>,
    /// The `sequence_number` of the next event.
    next: u64,
    usage: Option<Usage>,
}

#[derive(Debug)]
struct Call {
    /// `output_index`, as JSON.
    place: Vec<u8>,
    kind: ToolKind,
    text: Freeform,
}

impl PassStream {
    /// `model` is the name the client used, `tools` how its tools are called by the model, `mark` the deployment's.
    pub fn new(model: &str, tools: &Tools, mark: &str) -> PassStream {
        PassStream {
            shown: Shown::new(model, tools, mark),
            beginning: Some(vec![]),
            response: None,
            has_failed: false,
            calls: vec![],
            next: 0,
            usage: None,
        }
    }
}

impl Passing for PassStream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Passed {
        if let Cow::Borrowed(data) = &frame.data
            && let Some(kind) = delta_of(data).filter(|_| !frame.is_cut)
            && (kind != ARGUMENTS_DELTA || self.calls.is_empty())
            && !self.has_failed
        {
            self.delta(kind, data, out);
            return Passed::Content;
        }
        let mut all = Passed::Nothing;
        for data in values(frame) {
            match self.event(data, frame.is_cut, out) {
                Passed::Nothing => {}
                Passed::Content => all = Passed::Content,
                end => return end,
            }
        }
        all
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Passed {
        if self.has_failed {
            return Passed::Failed(unexplained());
        }
        Passed::Failed(Error::BadReply {
            what: "SAP AI Core's stream ended before the response was complete.".into(),
        })
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The response as it was last told, as one that failed. One that runs in the background goes on without its stream, and
    /// can be asked for; of one that is asked for from its middle on nothing is known.
    fn failed(&mut self, error: &Error, out: &mut Vec<u8>) {
        let response = self.response.take().and_then(|json| Envelope::parse(json).ok());
        let Some(mut response) = response.filter(|r| r.raw("background") != Some(b"true")) else {
            return self.fault(error, out);
        };
        let reason = json!({"code": code(error), "message": error.to_string()});
        response.set("status", "\"failed\"");
        response.set("error", reason.to_string());
        sse::write_event(out, "response.failed", |out| {
            out.extend_from_slice(br#"{"type":"response.failed","response":"#);
            out.extend_from_slice(&response.to_bytes());
            out.extend_from_slice(format!(r#","sequence_number":{}}}"#, self.next).as_bytes());
        });
    }
}

const ARGUMENTS_DELTA: &str = "response.function_call_arguments.delta";
const ARGUMENTS_DONE: &str = "response.function_call_arguments.done";

impl PassStream {
    /// That the stream failed, and not its response.
    fn fault(&self, error: &Error, out: &mut Vec<u8>) {
        let event = json!({
            "type": "error",
            "code": code(error),
            "message": error.to_string(),
            "param": error.param(),
            "sequence_number": self.next,
        });
        sse::write_event(out, "error", |out| out.extend_from_slice(event.to_string().as_bytes()));
    }

    /// Nearly all events: more of a text, in which only the item's id is another.
    fn delta(&mut self, kind: &str, data: &[u8], out: &mut Vec<u8>) {
        self.begin(out);
        self.count(number_in(data));
        sse::write_event(out, kind, |out| self.shown.write_item_id(data, out));
    }

    fn event(&mut self, data: &[u8], is_cut: bool, out: &mut Vec<u8>) -> Passed {
        if data == b"[DONE]" {
            return Passed::Nothing;
        }
        let Ok(mut event) = Envelope::parse(data.to_vec()) else {
            // Half an event is left to `finish`.
            return if is_cut { Passed::Nothing } else { Passed::Failed(fault_of(data)) };
        };
        let kind: String = event.get("type", "a string").ok().flatten().unwrap_or_default();
        match kind.as_str() {
            "error" => return Passed::Failed(fault_of(data)),
            "" if is_given(event.raw("error")) || event.has("message") => {
                return Passed::Failed(fault_of(data));
            }
            // It would break the line that it has to stand in.
            kind if kind.is_empty() || !is_kind(kind.as_bytes()) => return Passed::Nothing,
            _ if self.has_failed => return Passed::Nothing,
            _ => {}
        }
        self.tap(&event);
        let number = event.get("sequence_number", "a number").ok().flatten();
        let Some(kind) = self.edit(&mut event, kind) else {
            self.count(number);
            return Passed::Content;
        };
        let is_begun = self.beginning.is_none();
        match kind.as_ref() {
            "response.created" | "response.queued" | "response.in_progress"
                if !is_begun && !is_in_background(&event) =>
            {
                let mut beginning = self.beginning.take().unwrap_or_default();
                write(&kind, &event, &mut beginning);
                self.beginning = Some(beginning);
                self.count(event.get("sequence_number", "a number").ok().flatten());
                return Passed::Nothing;
            }
            "response.failed" => {
                let error = event.raw("response").and_then(|response| field(response, "error"));
                let Some(error) = error.filter(|error| is_given(Some(error))) else {
                    self.has_failed = true;
                    return Passed::Nothing;
                };
                let error = fault_of(&[br#"{"error":"#, error, b"}"].concat());
                if !is_begun && is_of_the_deployment(&error) {
                    return Passed::Failed(error);
                }
            }
            _ => {}
        }
        self.begin(out);
        self.count(event.get("sequence_number", "a number").ok().flatten());
        write(&kind, &event, out);
        match kind.as_ref() {
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => Passed::Done,
            _ => Passed::Content,
        }
    }

    /// What was kept back goes first.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(beginning) = self.beginning.take() {
            out.extend_from_slice(&beginning);
        }
    }

    fn count(&mut self, number: Option<u64>) {
        self.next = number.unwrap_or(self.next).saturating_add(1);
    }

    /// Reads usage; it may fail alone.
    fn tap(&mut self, event: &Envelope) {
        let response = event.raw("response").filter(|json| field(json, "usage").is_some());
        let response = response.and_then(|json| Envelope::parse(json.to_vec()).ok());
        self.usage = response.as_ref().and_then(usage_of).or(self.usage);
    }

    /// Makes the event what the client is to see. Gives its type, which may be another one; `None` for what it is not to see.
    fn edit(&mut self, event: &mut Envelope, kind: String) -> Option<Cow<'static, str>> {
        event.edit_in("response", |response| self.shown.edit(response));
        if let Some(response) = event.raw("response").filter(|json| json.starts_with(b"{")) {
            self.response = Some(response.to_vec());
        }
        match kind.as_str() {
            "response.output_item.added" => self.open(event),
            "response.output_item.done" => {
                let place = event.raw("output_index").unwrap_or_default();
                self.calls.retain(|call| call.place != place);
            }
            ARGUMENTS_DELTA | ARGUMENTS_DONE => {
                let place = event.raw("output_index").unwrap_or_default();
                match self.calls.iter().find(|call| call.place == place).map(|call| call.kind) {
                    Some(ToolKind::Custom) => return self.input(event, &kind).map(Into::into),
                    // It is told whole.
                    Some(ToolKind::Search) => return None,
                    Some(ToolKind::Function) | None => {}
                }
            }
            _ => {}
        }
        event.edit_in("item", |item| self.shown.edit_item(item));
        self.shown.edit_id(event, "item_id");
        Some(kind.into())
    }

    /// An item begins: perhaps a call of another tool than a function.
    fn open(&mut self, event: &Envelope) {
        const CALLS_MAX: usize = 1000;
        let Some(kind) = event.raw("item").map(|item| self.shown.kind(item)) else { return };
        let place = event.raw("output_index").filter(|_| kind != ToolKind::Function);
        if let Some(place) = place.filter(|_| self.calls.len() < CALLS_MAX) {
            self.calls.push(Call { place: place.to_vec(), kind, text: Freeform::default() });
        }
    }

    /// More of a call's arguments, or all of them, as the text that the tool takes. Gives the event's new type.
    fn input(&mut self, event: &mut Envelope, kind: &str) -> Option<&'static str> {
        let place = event.raw("output_index")?.to_vec();
        let call = self.calls.iter_mut().find(|call| call.place == place)?;
        let json = |event: &Envelope, key| event.get::<String>(key, "a string").ok().flatten();
        let kind = if kind == ARGUMENTS_DELTA {
            let mut text = String::new();
            call.text.push(&json(event, "delta").unwrap_or_default(), &mut text);
            event.set("delta", quoted(&text));
            "response.custom_tool_call_input.delta"
        } else {
            let arguments = json(event, "arguments").unwrap_or_default();
            event.rename("arguments", "input");
            event.set("input", quoted(&freeform::text(&arguments)));
            event.remove("name");
            "response.custom_tool_call_input.done"
        };
        event.set("type", quoted(kind));
        self.shown.edit_id(event, "item_id");
        self.shown.rename_id(event, "item_id", "ctc_");
        Some(kind)
    }
}

/// The type of an event that says no more than a piece of a text, as such are written by AI Core.
fn delta_of(data: &[u8]) -> Option<&str> {
    let rest = data.strip_prefix(br#"{"type":""#)?;
    let kind = &rest[..memchr::memchr(b'"', rest)?];
    let is_delta = kind.ends_with(b".delta") && is_kind(kind) && data.ends_with(b"}");
    let is_line = is_delta && memchr::memchr(b'\r', data).is_none();
    std::str::from_utf8(kind).ok().filter(|_| is_line)
}

/// Whether it can be the name of an event.
fn is_kind(kind: &[u8]) -> bool {
    kind.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.'))
}

fn number_in(data: &[u8]) -> Option<u64> {
    static NUMBER: LazyLock<Finder<'static>> =
        LazyLock::new(|| Finder::new(br#""sequence_number":"#));
    let digits = &data[NUMBER.find(data)? + NUMBER.needle().len()..];
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The events in a frame. Some gateways leave `data:` away.
pub(super) fn values<'a>(frame: &'a Frame<'_>) -> impl Iterator<Item = &'a [u8]> {
    let is_bare = frame.data.is_empty() && matches!(frame.raw.first(), Some(b'{' | b'['));
    is_bare.then_some(frame.raw).into_iter().chain(frame.values())
}

pub(super) fn is_given(json: Option<&[u8]>) -> bool {
    json.is_some_and(|json| json != b"null")
}

/// Whoever asks for one of these wants its id at once.
fn is_in_background(event: &Envelope) -> bool {
    event.raw("response").and_then(|response| field(response, "background")) == Some(b"true")
}

/// The error that this is instead of a reply or an event.
pub(super) fn fault_of(data: &[u8]) -> Error {
    upstream_error::from_event(data).unwrap_or_else(|| Error::BadReply {
        what: "SAP AI Core sent something that cannot be read as a response.".into(),
    })
}

pub(super) fn unexplained() -> Error {
    Error::BadReply { what: "SAP AI Core says that the response failed, and not why.".into() }
}

/// Whether another deployment may do better, or this one later.
fn is_of_the_deployment(error: &Error) -> bool {
    let is_known = error.code().is_some_and(|code| code.contains("server_error"));
    matches!(error.status(), 429 | 502..=504) || is_known
}

/// How a failed response, or stream, calls this.
fn code(error: &Error) -> &str {
    match (error.code(), error.kind()) {
        (Some(code), _) => code,
        (None, Kind::RateLimit) => "rate_limit_exceeded",
        (None, _) => "server_error",
    }
}

fn write(kind: &str, event: &Envelope, out: &mut Vec<u8>) {
    sse::write_event(out, kind, |out| {
        let start = out.len();
        out.extend_from_slice(&event.to_bytes());
        // It came in several lines. A line end in JSON is white space, and in a frame it would end the data.
        let is_line_end = |b: &&mut u8| matches!(**b, b'\n' | b'\r');
        out[start..].iter_mut().filter(is_line_end).for_each(|b| *b = b' ');
    });
}

pub(super) fn usage_of(response: &Envelope) -> Option<Usage> {
    response.get::<WireUsage>("usage", "usage").ok().flatten().map(Usage::from)
}

#[derive(Debug, Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Usage {
        Usage {
            input: wire.input_tokens,
            cached: wire.input_tokens_details.and_then(|d| d.cached_tokens).unwrap_or(0),
            cache_written: 0,
            output: wire.output_tokens,
            reasoning: wire.output_tokens_details.and_then(|d| d.reasoning_tokens).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_responses::tools::{Origin, SEARCH};

    #[test]
    fn a_conversation_is_made_shorter_with_little_said() {
        let body = r#"{"model": "m", "input": [ 1.10 ], "tools": [], "stream": false, "text": {}, "store": null}"#;
        let mut body = Envelope::parse(body.into()).unwrap();
        assert_eq!(settle_compact(&mut body), ["tools", "text"]);
        assert_eq!(body.to_bytes(), &br#"{"model":"m","input":[ 1.10 ]}"#[..]);
        let mut body = Envelope::parse(br#"{ "model": "m" }"#.to_vec()).unwrap();
        assert!(settle_compact(&mut body).is_empty() && !body.is_edited());
    }

    /// What the client gets of these events, and the status of what fails.
    fn passed(events: &[&str]) -> (String, Option<u16>) {
        passed_with(&Tools::default(), events)
    }

    fn passed_with(tools: &Tools, events: &[&str]) -> (String, Option<u16>) {
        let (mut stream, mut frames, mut out) =
            (PassStream::new("m", tools, "0a1b2c3d"), sse::Frames::default(), vec![]);
        events.iter().for_each(|event| frames.push(format!("data: {event}\n\n").as_bytes()));
        frames.finish();
        let mut end = Passed::Nothing;
        while let Some(frame) = frames.next_frame() {
            end = stream.frame(&frame, &mut out);
            if matches!(end, Passed::Done | Passed::Failed(_)) {
                break;
            }
        }
        let status = if let Passed::Failed(error) = end { Some(error.status()) } else { None };
        (String::from_utf8(out).unwrap(), status)
    }

    const CREATED: &str = r#"{"type":"response.created","response":{"id":"resp_1"}}"#;
    const DELTA: &str = r#"{"type":"response.output_text.delta","item_id":"msg_1","delta":"a"}"#;
    const FAILED: &str = r#"{"type":"response.failed","response":{"id":"resp_1","error":null}}"#;
    const SLOW: &str = r#"{"type":"error","error":{"code":"too_many_requests","message":"m"}}"#;

    #[test]
    fn a_search_for_tools_is_told_whole() {
        let origin = Origin { name: SEARCH.into(), namespace: None, kind: ToolKind::Search };
        let tools = Tools::new(vec![(SEARCH.into(), origin)]);
        let item = |arguments: &str| {
            format!(
                r#"{{"id":"fc_1","type":"function_call","arguments":{arguments},"call_id":"c","name":"tool_search"}}"#
            )
        };
        let event = |kind: &str, more: &str| {
            format!(r#"{{"type":"response.{kind}","output_index":1,"item_id":"fc_1",{more}}}"#)
        };
        let asked = r#""{\"query\":\"q\"}""#;
        let (out, status) = passed_with(
            &tools,
            &[
                CREATED,
                &event("output_item.added", &format!(r#""item":{}"#, item("\"\""))),
                &event("function_call_arguments.delta", r#""delta":"{\"query\":""#),
                &event("function_call_arguments.done", &format!(r#""arguments":{asked}"#)),
                &event("output_item.done", &format!(r#""item":{}"#, item(asked))),
                DELTA,
            ],
        );
        let kinds: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let wanted = ["created", "output_item.added", "output_item.done", "output_text.delta"];
        assert_eq!(
            (kinds, status),
            (wanted.map(|kind| format!("response.{kind}")).iter().map(|k| &**k).collect(), None)
        );
        for asked in ["{}", r#"{"query":"q"}"#] {
            let item = format!(
                r#"{{"id":"tsc_0a1b2c3d_1","type":"tool_search_call","arguments":{asked},"call_id":"c","execution":"client"}}"#
            );
            assert!(out.contains(&item), "{out}");
        }
    }

    /// So it is still told with its status, and another deployment may answer.
    #[test]
    fn a_beginning_alone_is_no_answer() {
        assert_eq!(passed(&[CREATED, SLOW]), (String::new(), Some(429)));
        assert_eq!(passed(&[CREATED, FAILED, DELTA, SLOW]), (String::new(), Some(429)));
        let in_background =
            r#"{"type":"response.queued","response":{"id":"resp_1","background":true}}"#;
        let (out, status) = passed(&[CREATED, in_background]);
        assert_eq!((out.matches("event: ").count(), status), (2, None));
    }

    /// What the client is told where the stream breaks off behind these.
    fn told(events: &[&str]) -> String {
        let mut stream = PassStream::new("m", &Tools::default(), "0a1b2c3d");
        let (mut frames, mut out) = (sse::Frames::default(), vec![]);
        events.iter().for_each(|event| frames.push(format!("data: {event}\n\n").as_bytes()));
        while let Some(frame) = frames.next_frame() {
            stream.frame(&frame, &mut out);
        }
        out.clear();
        stream.failed(&Error::BadReply { what: "cut".into() }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_response_fails_with_its_stream_unless_it_runs_in_the_background() {
        assert_eq!(
            told(&[CREATED, DELTA]),
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"resp_0a1b2c3d_1\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"cut\"}},\"sequence_number\":2}\n\n"
        );
        let queued = r#"{"type":"response.queued","response":{"id":"resp_1","background":true},"sequence_number":0}"#;
        let delta = r#"{"type":"response.output_text.delta","item_id":"msg_1","delta":"a","sequence_number":7}"#;
        for (events, number) in [(vec![queued], 1), (vec![queued, delta], 8), (vec![delta], 8)] {
            let expected = json!({"type": "error", "code": "server_error", "message": "cut", "param": null, "sequence_number": number});
            let told = told(&events);
            let data =
                told.strip_prefix("event: error\ndata: ").unwrap_or_else(|| panic!("{told}"));
            assert_eq!(serde_json::from_str::<serde_json::Value>(data).unwrap(), expected);
        }
    }

    #[test]
    fn nothing_follows_a_failure() {
        let (before, _) = passed(&[CREATED, DELTA]);
        assert_eq!(passed(&[CREATED, DELTA, FAILED, DELTA, SLOW]), (before.clone(), Some(429)));
        assert_eq!(passed(&[CREATED, DELTA, FAILED, CREATED, "[DONE]"]), (before, None));
    }
}
