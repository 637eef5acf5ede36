//! Gemini's reply, whole or as a stream of its parts, each of the same shape.
//!
//! A stream comes as server-sent events, or, from a Gemini that was not asked for them, as one JSON array. Signatures on
//! texts are not kept: only those on calls have to be given back.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::elements::{Elements, NoElement};
use crate::chat::{Brackets, Seal, Stop, Usage};
use crate::dialect::StreamDecoder;
use crate::error::Error;
use crate::sse::Frame;
use crate::upstream_error;

/// Before a tool's name, by a model that took its tools for a module's functions.
const NAMESPACE: &str = "default_api:";

/// Reads a whole reply.
pub fn decode(body: &[u8], out: &mut Brackets) {
    let mut reader = Reader::default();
    reader.message(body, false, out);
    reader.end(out);
}

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Stream {
    reader: Reader,
    /// Where there are no events.
    elements: Elements,
}

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Brackets) {
        match &*frame.data {
            b"" if self.elements.has_begun()
                || matches!(frame.raw.trim_ascii_start(), [b'{' | b'[', ..]) =>
            {
                self.bare(frame.raw, out);
            }
            b"" if frame.is_cut || frame.raw.split(|b| *b == b'\n').all(is_noise) => {}
            b"" => fail(out, "a line of its stream is neither an event nor JSON"),
            _ => {
                let values = frame.values().filter(|value| *value != b"[DONE]");
                values.for_each(|value| self.reader.message(value, frame.is_cut, out));
            }
        }
    }

    fn finish(&mut self, out: &mut Brackets) {
        // If the reply was complete before that part, nothing is missing.
        if self.elements.is_within() && !out.has_stop() {
            fail(out, "its stream ended within a part");
        }
        self.reader.end(out);
    }
}

impl Stream {
    /// Bytes of JSON that is not in events. The empty line that cut them is white space of theirs.
    fn bare(&mut self, bytes: &[u8], out: &mut Brackets) {
        let Stream { reader, elements } = self;
        if let Err(NoElement) = elements.push(bytes, |element| reader.part(element, false, out)) {
            fail(out, "a line of its stream is neither an event nor JSON");
        }
    }
}

/// What was read of one reply so far.
#[derive(Debug, Default)]
struct Reader {
    call_count: u64,
    /// A text or a call has come.
    has_content: bool,
    has_image: bool,
}

impl Reader {
    /// A part of a reply, or several in an array. Half of one, where the bytes are cut, is left to the end: the reply may
    /// have been complete before it.
    fn message(&mut self, json: &[u8], is_cut: bool, out: &mut Brackets) {
        if json.trim_ascii_start().first() != Some(&b'[') {
            return self.part(json, is_cut, out);
        }
        match serde_json::from_slice::<Vec<&RawValue>>(json) {
            Ok(parts) => parts.iter().for_each(|part| self.part(part.get().as_bytes(), false, out)),
            Err(error) if is_cut && !error.is_data() => {}
            Err(error) => fail_to_read(out, &error),
        }
    }

    fn part(&mut self, json: &[u8], is_cut: bool, out: &mut Brackets) {
        if out.has_ended() {
            return;
        }
        let message = match serde_json::from_slice::<Message<'_>>(json) {
            Ok(message) => message,
            Err(error) if is_cut && !error.is_data() => return,
            Err(error) => return fail_to_read(out, &error),
        };
        if message.error.is_some() {
            let unsaid = || Error::BadReply { what: "Gemini reported an error.".into() };
            return out.fail(upstream_error::from_event(json).unwrap_or_else(unsaid));
        }
        if !message.is_known() {
            return fail(out, "its reply has neither candidates nor counts");
        }
        out.start(message.response_id.as_ref().map(|id| &*id.0));
        match message.candidates.unwrap_or_default().into_iter().next() {
            Some(candidate) => self.candidate(candidate, json, out),
            // A prompt that was blocked has no candidates.
            None if message.prompt_feedback.is_some_and(|f| f.block_reason.is_some()) => {
                out.stop(Stop::Refusal);
            }
            None => {}
        }
        if let Some(usage) = message.usage_metadata.and_then(|u| u.usage()) {
            out.usage(usage);
        }
    }

    fn candidate(&mut self, candidate: Candidate<'_>, json: &[u8], out: &mut Brackets) {
        let parts = candidate.content.and_then(|c| c.parts).unwrap_or_default();
        for (index, part) in parts.into_iter().enumerate() {
            self.content(part, index, json, out);
        }
        if let Some(reason) = candidate.finish_reason {
            self.finish(&reason.0, out);
        }
    }

    fn content(&mut self, part: Part<'_>, index: usize, json: &[u8], out: &mut Brackets) {
        match part {
            Part { function_call: Some(call), thought_signature, .. } => {
                self.call(call, thought_signature, out);
            }
            Part { text: Some(text), thought: Some(true), .. } => out.reasoning(&text.0),
            Part { text: Some(text), .. } => {
                self.has_content |= !text.0.is_empty();
                out.text(&text.0);
            }
            // Beside texts and calls it is left away.
            Part { inline_data: Some(_), .. } => self.has_image = true,
            // The signature of what came before.
            Part { thought_signature: Some(_), .. } => {}
            _ => {
                let keys = keys_of_part(json, index);
                if !keys.is_empty() {
                    fail(out, &format!("a part of its reply is no text and no call, but {keys}"));
                }
            }
        }
    }

    fn call(&mut self, call: FunctionCall<'_>, signature: Option<Text<'_>>, out: &mut Brackets) {
        let name = call.name.as_ref().map_or("", |name| &*name.0);
        let name = name.strip_prefix(NAMESPACE).unwrap_or(name);
        if name.is_empty() {
            return fail(out, "a call of a tool without the tool's name");
        }
        let key = self.call_count;
        self.call_count += 1;
        self.has_content = true;
        out.call(key, None, Some(name));
        out.arguments(key, call.args.map_or("{}", RawValue::get));
        if let Some(signature) = signature {
            out.seal_call(key, Seal::Gemini(signature.0.into_owned()));
        }
        out.close_call(key);
    }

    fn end(&self, out: &mut Brackets) {
        if self.has_image && !self.has_content {
            let what = "The model answered with an image, which chat completions cannot carry.";
            out.fail(Error::BadReply { what: what.into() });
        }
        out.end();
    }

    /// Left open by the dossier: what a client should see of a reply that Gemini broke off. What there is of it, as its
    /// end; nothing at all is an error.
    fn finish(&mut self, reason: &str, out: &mut Brackets) {
        match reason {
            "" | "FINISH_REASON_UNSPECIFIED" => {}
            "STOP" => out.stop(Stop::End),
            "MAX_TOKENS" => out.stop(Stop::Length),
            "SAFETY" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII" | "RECITATION" | "LANGUAGE"
            | "MODEL_ARMOR" => out.stop(Stop::Refusal),
            _ if reason.starts_with("IMAGE_") => out.stop(Stop::Refusal),
            _ if self.has_content => out.stop(Stop::End),
            // MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, OTHER, and what is not known yet.
            _ => {
                let reason: String = reason.chars().take(60).collect();
                let what = format!("Gemini broke off before it said anything: {reason}.");
                out.fail(Error::BadReply { what });
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    prompt_feedback: Option<PromptFeedback>,
    usage_metadata: Option<UsageMetadata>,
    #[serde(borrow)]
    response_id: Option<Text<'a>>,
    model_version: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    thought: Option<bool>,
    #[serde(borrow)]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow)]
    thought_signature: Option<Text<'a>>,
    inline_data: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
}

/// A string that is borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Message<'_> {
    fn is_known(&self) -> bool {
        self.candidates.is_some()
            || self.prompt_feedback.is_some()
            || self.usage_metadata.is_some()
            || self.response_id.is_some()
            || self.model_version.is_some()
    }
}

impl UsageMetadata {
    /// Some parts of a stream only say what kind of traffic it is.
    fn usage(&self) -> Option<Usage> {
        self.prompt_token_count.or(self.candidates_token_count)?;
        let reasoning = self.thoughts_token_count.unwrap_or(0);
        Some(Usage {
            input: self.prompt_token_count.unwrap_or(0),
            cached: self.cached_content_token_count.unwrap_or(0),
            cache_written: 0,
            output: self.candidates_token_count.unwrap_or(0).saturating_add(reasoning),
            reasoning,
        })
    }
}

/// The names in a part that holds nothing that is known.
fn keys_of_part(json: &[u8], index: usize) -> String {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    let keys = value["candidates"][0]["content"]["parts"][index].as_object().map(|o| o.keys());
    let keys = keys.into_iter().flatten().filter(|key| *key != "thought").take(5);
    keys.map(|key| key.chars().take(50).collect()).collect::<Vec<String>>().join(", ")
}

/// A line of an event without data, or a comment.
fn is_noise(line: &[u8]) -> bool {
    let is_field = |name: &[u8]| {
        line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
    };
    let line_is_empty = line.trim_ascii().is_empty();
    let names: [&[u8]; 4] = [b"event", b"id", b"retry", b"data"];
    line_is_empty || line.starts_with(b":") || names.into_iter().any(is_field)
}

fn fail_to_read(out: &mut Brackets, error: &serde_json::Error) {
    // Not the parser's words: they may quote the reply.
    let (line, column) = (error.line(), error.column());
    let what = if error.is_eof() {
        "it broke off within JSON".to_owned()
    } else {
        format!("it is no JSON of Gemini's at line {line}, column {column}")
    };
    fail(out, &what);
}

fn fail(out: &mut Brackets, what: &str) {
    out.fail(Error::BadReply { what: format!("SAP AI Core's reply cannot be read: {what}.") });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Event;

    /// How a reply ends that says `text` and this reason.
    fn end(text: &str, reason: &str) -> Option<Event> {
        let content = serde_json::json!({"parts": [{"text": text}]});
        let candidate = serde_json::json!({"content": content, "finishReason": reason});
        let mut out = Brackets::new("s");
        decode(serde_json::json!({"candidates": [candidate]}).to_string().as_bytes(), &mut out);
        out.drain().next_back()
    }

    #[test]
    fn every_reason_is_an_end() {
        let table = [
            ("STOP", Some(Stop::End), Some(Stop::End)),
            ("MAX_TOKENS", Some(Stop::Length), Some(Stop::Length)),
            ("SAFETY", Some(Stop::Refusal), Some(Stop::Refusal)),
            ("RECITATION", Some(Stop::Refusal), Some(Stop::Refusal)),
            ("IMAGE_SAFETY", Some(Stop::Refusal), Some(Stop::Refusal)),
            ("MALFORMED_FUNCTION_CALL", Some(Stop::End), None),
            ("OTHER", Some(Stop::End), None),
            ("NEW", Some(Stop::End), None),
            ("", None, None),
        ];
        for (reason, after_text, alone) in table {
            for (text, expected) in [("hi", after_text), ("", alone)] {
                match expected {
                    Some(stop) => {
                        assert_eq!(end(text, reason), Some(Event::Stop(stop)), "{reason}")
                    }
                    None => {
                        assert!(matches!(end(text, reason), Some(Event::Failed(_))), "{reason}")
                    }
                }
            }
        }
    }

    #[test]
    fn lines_that_mean_nothing() {
        for line in ["", ": x", "event: ping", "id", "retry:5", "data:", "\r"] {
            assert!(is_noise(line.as_bytes()), "{line:?}");
        }
        for line in ["upstream error", "identity: x", "database"] {
            assert!(!is_noise(line.as_bytes()), "{line:?}");
        }
    }
}
