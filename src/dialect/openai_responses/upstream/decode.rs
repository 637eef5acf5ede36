//! A whole reply, and a stream of one.
//!
//! What a stream begins with says nothing yet, and is told when more comes: a limit that follows it is an answer of status
//! 429 (see the stream that passes). What is told in pieces counts; what is told once more when it is done counts for items
//! of which no piece came.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::pass::{fault_of, is_given, unexplained, usage_of, values};
use crate::chat::{Brackets, Seal, Stop};
use crate::dialect::StreamDecoder;
use crate::envelope::{Envelope, field, items};
use crate::error::Error;
use crate::sse::Frame;

/// Reads a whole reply.
pub fn whole(body: &[u8], out: &mut Brackets) {
    let response = Envelope::parse(body.to_vec()).ok();
    let is_response = |r: &Envelope| r.raw("output").is_some_and(|o| o.starts_with(b"["));
    match response.filter(|r| is_response(r) || text(r, "status") == "failed") {
        Some(response) => Reader::default().end(&response, &text(&response, "status"), out),
        None => out.fail(fault_of(body)),
    }
}

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Stream {
    reader: Reader,
    /// The response failed, and the reason is to come.
    has_failed: bool,
}

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets) {
        for data in values(frame) {
            if out.has_ended() {
                return;
            }
            self.event(data, frame.is_cut, out);
        }
    }

    fn finish(&mut self, out: &mut Brackets) {
        match self.has_failed {
            true => out.fail(unexplained()),
            false => out.end(),
        }
    }
}

impl Stream {
    fn event(&mut self, data: &[u8], is_cut: bool, out: &mut Brackets) {
        if let Ok(delta) = serde_json::from_slice::<Delta<'_>>(data)
            && !self.has_failed
            && self.reader.delta(&delta, out)
        {
            return;
        }
        if data == b"[DONE]" {
            return;
        }
        let Ok(event) = Envelope::parse(data.to_vec()) else {
            // Half an event is left to `finish`: the reply may have been complete before it.
            if !is_cut {
                out.fail(fault_of(data));
            }
            return;
        };
        match text(&event, "type").as_str() {
            "error" => out.fail(fault_of(data)),
            "" if is_given(event.raw("error")) || event.has("message") => out.fail(fault_of(data)),
            _ if self.has_failed => {}
            "response.created" | "response.queued" | "response.in_progress" => {
                let id = event.raw("response").and_then(|response| field(response, "id"));
                self.reader.id = id.and_then(|id| serde_json::from_slice(id).ok());
            }
            "response.output_item.added" => self.item(&event, Reader::begin, out),
            "response.output_item.done" => self.item(&event, Reader::whole, out),
            "response.completed" => self.end(&event, "completed", out),
            "response.incomplete" => self.end(&event, "incomplete", out),
            "response.failed" => self.end(&event, "failed", out),
            "response.cancelled" => self.end(&event, "cancelled", out),
            _ => {}
        }
    }

    fn item(
        &mut self,
        event: &Envelope,
        read: fn(&mut Reader, usize, &Envelope, &mut Brackets),
        out: &mut Brackets,
    ) {
        let item = event.raw("item").and_then(|item| Envelope::parse(item.to_vec()).ok());
        let place = event.get("output_index", "a number").ok().flatten();
        if let Some(item) = item {
            let at = self.reader.at(place, &text(&item, "id"));
            read(&mut self.reader, at, &item, out);
        }
    }

    fn end(&mut self, event: &Envelope, end: &str, out: &mut Brackets) {
        let response = event.raw("response").and_then(|r| Envelope::parse(r.to_vec()).ok());
        let response = response.unwrap_or_default();
        if end == "failed" && !is_given(response.raw("error")) {
            self.has_failed = true;
            return;
        }
        self.reader.end(&response, end, out);
    }
}

/// More of a text: nearly all events.
#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    delta: Cow<'a, str>,
    output_index: Option<u64>,
    #[serde(borrow)]
    item_id: Option<Cow<'a, str>>,
    summary_index: Option<u64>,
}

/// What has to be remembered from event to event.
#[derive(Debug, Default)]
struct Reader {
    id: Option<String>,
    /// The items so far; a call's key is its place here.
    items: Vec<Seen>,
    has_refused: bool,
}

#[derive(Debug, Default)]
struct Seen {
    /// Its place among the items of the response.
    place: Option<u64>,
    id: String,
    /// Some of its text was told.
    is_told: bool,
    /// It is a call that has begun.
    is_called: bool,
    is_named: bool,
    is_done: bool,
    /// The part of a summary that is being told.
    part: Option<u64>,
}

impl Reader {
    /// Whether it is one that is known.
    fn delta(&mut self, delta: &Delta<'_>, out: &mut Brackets) -> bool {
        let kind = match &*delta.kind {
            "response.output_text.delta" => Said::Text,
            "response.refusal.delta" => Said::Refusal,
            "response.reasoning_summary_text.delta" => Said::Summary,
            "response.function_call_arguments.delta" => Said::Arguments,
            _ => return false,
        };
        if delta.delta.is_empty() {
            return true;
        }
        let at = self.at(delta.output_index, delta.item_id.as_deref().unwrap_or(""));
        if kind == Said::Summary {
            let part = delta.summary_index.or(self.items[at].part);
            let is_next = self.items[at].is_told && part != self.items[at].part;
            self.items[at].part = part;
            if is_next {
                self.say(at, kind, PARTS_BETWEEN, out);
            }
        }
        self.say(at, kind, &delta.delta, out);
        true
    }

    fn say(&mut self, at: usize, said: Said, more: &str, out: &mut Brackets) {
        if more.is_empty() || self.items[at].is_done {
            return;
        }
        self.items[at].is_told = true;
        self.start(out);
        match said {
            Said::Text => out.text(more),
            Said::Refusal => {
                self.has_refused = true;
                out.text(more);
            }
            Said::Summary => out.reasoning(more),
            Said::Arguments => {
                // Its beginning may not have come.
                if !std::mem::replace(&mut self.items[at].is_called, true) {
                    out.call(at as u64, None, None);
                }
                out.arguments(at as u64, more);
            }
        }
    }

    /// An item begins. What it says already, it says again.
    fn begin(&mut self, at: usize, item: &Envelope, out: &mut Brackets) {
        self.start(out);
        if Kind::of(item) == Kind::Call && !self.items[at].is_done {
            self.call(at, item, out);
        }
    }

    /// An item with all that it says.
    fn whole(&mut self, at: usize, item: &Envelope, out: &mut Brackets) {
        if self.items[at].is_done {
            return;
        }
        self.start(out);
        match Kind::of(item) {
            Kind::Message => {
                self.texts(at, item, out);
                out.close();
            }
            Kind::Reasoning => self.thought(at, item, out),
            Kind::Call => {
                self.call(at, item, out);
                if !self.items[at].is_told {
                    self.say(at, Said::Arguments, &text(item, "arguments"), out);
                }
                out.close_call(at as u64);
            }
            Kind::Other => {}
        }
        self.items[at].is_done = true;
    }

    /// Once: it may be over when it is told again.
    fn call(&mut self, at: usize, item: &Envelope, out: &mut Brackets) {
        let (id, name) = (text(item, "call_id"), text(item, "name"));
        let seen = &mut self.items[at];
        if !seen.is_named {
            (seen.is_called, seen.is_named) = (true, !name.is_empty());
            out.call(at as u64, Some(&id), Some(&name));
        }
    }

    fn texts(&mut self, at: usize, item: &Envelope, out: &mut Brackets) {
        let parts = item.list("content").unwrap_or_default();
        self.has_refused |= parts.iter().any(|part| !text(part, "refusal").is_empty());
        if self.items[at].is_told {
            return;
        }
        for part in &parts {
            self.say(at, Said::Text, &text(part, "text"), out);
            self.say(at, Said::Refusal, &text(part, "refusal"), out);
        }
    }

    /// Without its id or its content it could not be given back.
    fn thought(&mut self, at: usize, item: &Envelope, out: &mut Brackets) {
        if !self.items[at].is_told {
            let parts = item.list("summary").unwrap_or_default();
            let mut parts: Vec<_> = parts.iter().map(|part| text(part, "text")).collect();
            parts.retain(|part| !part.is_empty());
            self.say(at, Said::Summary, &parts.join(PARTS_BETWEEN), out);
        }
        let (id, encrypted) = (text(item, "id"), text(item, "encrypted_content"));
        match id.is_empty() || encrypted.is_empty() {
            true => out.close(),
            false => out.seal_reasoning(Seal::OpenAi { id, encrypted }),
        }
    }

    /// The response as it is in the end, with this status.
    fn end(&mut self, response: &Envelope, status: &str, out: &mut Brackets) {
        let id = Some(text(response, "id")).filter(|id| !id.is_empty());
        self.id = self.id.take().or(id);
        let error = response.raw("error").filter(|error| is_given(Some(error)));
        if let Some(error) = error {
            return out.fail(fault_of(&[br#"{"error":"#, error, b"}"].concat()));
        }
        self.start(out);
        let output = response.raw("output").and_then(items).unwrap_or_default();
        for (item, place) in output.into_iter().zip(0..) {
            let Ok(item) = Envelope::parse(item.to_vec()) else { continue };
            let id = text(&item, "id");
            let known = self.items.iter().rposition(|seen| !id.is_empty() && seen.id == id);
            let at = known.unwrap_or_else(|| self.at(Some(place), &id));
            self.whole(at, &item, out);
        }
        usage_of(response).into_iter().for_each(|usage| out.usage(usage));
        let details = response.raw("incomplete_details").and_then(|d| field(d, "reason"));
        let stop = match (status, details) {
            ("failed", _) => return out.fail(unexplained()),
            ("cancelled", _) => return out.fail(unfinished("was cancelled")),
            ("queued" | "in_progress", _) => return out.fail(unfinished("is not complete")),
            (_, Some(br#""content_filter""#)) => Stop::Refusal,
            _ if self.has_refused => Stop::Refusal,
            ("incomplete", _) => Stop::Length,
            _ => Stop::End,
        };
        out.stop(stop);
        out.end();
    }

    fn start(&self, out: &mut Brackets) {
        out.start(self.id.as_deref());
    }

    /// Where an item is that is meant by its place, or by its id where that is not told: it may be a new one. Some gateways
    /// give an item another id each time.
    fn at(&mut self, place: Option<u64>, id: &str) -> usize {
        let is_it = |seen: &Seen| match (place, id) {
            (Some(_), _) if seen.place.is_some() => seen.place == place,
            // Of nothing that is told, it is the last.
            (None, "") => true,
            _ => !id.is_empty() && seen.id == id,
        };
        if let Some(at) = self.items.iter().rposition(is_it) {
            return at;
        }
        self.items.push(Seen { place, id: id.to_owned(), ..Seen::default() });
        self.items.len() - 1
    }
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Text,
    Refusal,
    Summary,
    Arguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    Call,
    Other,
}

impl Kind {
    fn of(item: &Envelope) -> Kind {
        match text(item, "type").as_str() {
            "message" => Kind::Message,
            "reasoning" => Kind::Reasoning,
            "function_call" => Kind::Call,
            "" if item.has("arguments") => Kind::Call,
            "" if item.has("content") => Kind::Message,
            "" if item.has("summary") => Kind::Reasoning,
            _ => Kind::Other,
        }
    }
}

/// Between the parts of a summary.
const PARTS_BETWEEN: &str = "\n\n";

/// The string at a key, or an empty one.
fn text(object: &Envelope, key: &str) -> String {
    object.get(key, "a string").ok().flatten().unwrap_or_default()
}

fn unfinished(what: &str) -> Error {
    Error::BadReply { what: format!("SAP AI Core says that the response {what}.") }
}
