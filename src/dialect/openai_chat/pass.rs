//! Replies of an upstream that speaks this grammar too: Azure OpenAI (dossier 5a), the open models and Perplexity (5d).
//!
//! Nothing is decoded: the bytes go on as they are, but for `model` (Azure says a dated name such as `gpt-4o-2024-08-06`;
//! clients get back the name they asked for), the leading event without choices, and the usage event where nobody asked
//! for it. What vLLM and Perplexity say otherwise is put right, value by value ([`Quirks`]).
//!
//! Left open by the dossier: whether a client may see the event without choices (some SDKs index `choices[0]`): no. A stream
//! that ends without `[DONE]`: complete if a finish reason came, otherwise an error.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::mend::{Mend, Quirks};
use super::{WireUsage, data_of};
use crate::chat::Usage;
use crate::dialect::{Passed, Passing};
use crate::envelope::{Envelope, quoted};
use crate::error::Error;
use crate::{sse, upstream_error};

/// A complete reply: with the client's model name, everything else verbatim; and its usage. Works for embeddings as well.
pub fn pass_reply(
    body: Vec<u8>,
    model: &str,
    quirks: Quirks,
) -> Result<(Vec<u8>, Option<Usage>), Error> {
    let mut reply = Envelope::parse(body).map_err(|e| Error::BadReply {
        what: format!("SAP AI Core's answer cannot be read: {e}."),
    })?;
    let is_error = reply.raw("error").is_some_and(|error| error != b"null")
        || reply.raw("object") == Some(b"\"error\"");
    if is_error && let Some(error) = error_in(&reply.to_bytes()) {
        return Err(error);
    }
    // The tap may fail alone.
    let usage = reply.get::<WireUsage>("usage", "usage").ok().flatten().map(Usage::from);
    if reply.has("model") {
        reply.set("model", quoted(model));
    }
    quirks.mend_reply(&mut reply);
    Ok((reply.into_bytes(), usage))
}

/// An error in place of a reply or an event. vLLM's has nothing around it, and its status as `code`.
fn error_in(json: &[u8]) -> Option<Error> {
    #[derive(Deserialize)]
    struct Bare {
        object: String,
        code: u16,
    }
    match serde_json::from_slice(json) {
        Ok(Bare { object, code: code @ 400..600 }) if object == "error" => {
            Some(upstream_error::from_response(code, json, None))
        }
        _ => upstream_error::from_event(json),
    }
}

/// A stream that passes through, event by event; reads usage and whether the reply is complete.
#[derive(Debug)]
pub struct PassStream {
    model_json: String,
    wants_usage: bool,
    has_finish_reason: bool,
    usage: Option<Usage>,
    mend: Option<Mend>,
}

impl PassStream {
    /// `model` is the name the client used; `wants_usage` whether it asked for the usage event.
    pub fn new(model: &str, wants_usage: bool, quirks: Quirks) -> PassStream {
        PassStream {
            model_json: quoted(model),
            wants_usage,
            has_finish_reason: false,
            usage: None,
            mend: Mend::new(quirks),
        }
    }
}

impl Passing for PassStream {
    fn usage(&self) -> Option<Usage> {
        self.usage.or(self.mend.as_ref().and_then(|mend| mend.usage))
    }

    fn frame(&mut self, frame: &sse::Frame<'_>, out: &mut Vec<u8>) -> Passed {
        match &frame.data {
            Cow::Borrowed(data) => self.event(data.trim_ascii(), frame, out),
            Cow::Owned(_) => self.events(frame, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Passed {
        if self.has_finish_reason || self.mend.as_ref().is_some_and(|mend| mend.has_finish_reason) {
            return self.done(out);
        }
        Passed::Failed(Error::BadReply {
            what: "SAP AI Core's stream ended before the reply was complete.".into(),
        })
    }
}

impl PassStream {
    /// Several lines: an event that is written on them, or an event in each.
    fn events(&mut self, frame: &sse::Frame<'_>, out: &mut Vec<u8>) -> Passed {
        let mut all = Passed::Nothing;
        for data in frame.values() {
            match self.event(data, frame, out) {
                Passed::Nothing => {}
                Passed::Content => all = Passed::Content,
                end => return end,
            }
        }
        all
    }

    fn event(&mut self, data: &[u8], frame: &sse::Frame<'_>, out: &mut Vec<u8>) -> Passed {
        if data == b"[DONE]" {
            return self.done(out);
        }
        let mended = self.mend.as_mut().and_then(|mend| mend.chunk(data));
        let data = mended.as_deref().unwrap_or(data);
        // Nearly all frames: a choice, and no usage in it. Every quote inside a JSON string is escaped, so these byte
        // strings can only be keys.
        if KEYS.choice.find(data).is_some() && KEYS.usage.find(data).is_none() && !frame.is_cut {
            self.has_finish_reason |= KEYS.finish_reason.find(data).is_some();
            self.write(data, out);
            return Passed::Content;
        }
        self.unusual_frame(frame, data, out)
    }

    fn done(&mut self, out: &mut Vec<u8>) -> Passed {
        if let Some(chunk) = self.mend.as_mut().and_then(Mend::usage_chunk)
            && self.wants_usage
        {
            self.write(&chunk, out);
        }
        sse::write_data(out, b"[DONE]");
        Passed::Done
    }

    /// Usage, prompt filter results, comments, errors, and spacing that the fast path does not expect.
    fn unusual_frame(&mut self, frame: &sse::Frame<'_>, data: &[u8], out: &mut Vec<u8>) -> Passed {
        #[derive(Deserialize)]
        struct Chunk {
            choices: Option<Vec<Choice>>,
            usage: Option<WireUsage>,
        }
        #[derive(Deserialize)]
        struct Choice {
            finish_reason: Option<String>,
        }
        let data = if data.is_empty() { data_of(frame) } else { data };
        if data.is_empty() {
            return Passed::Nothing;
        }
        if let Some(error) = error_in(data) {
            return Passed::Failed(error);
        }
        let chunk = match serde_json::from_slice::<Chunk>(data) {
            Ok(chunk) => chunk,
            // Half an event is left to `finish`: the reply may have been complete before it.
            Err(error) if frame.is_cut && !error.is_data() => return Passed::Nothing,
            Err(_) => {
                return Passed::Failed(Error::BadReply {
                    what: "SAP AI Core sent an event that is not a chat completion chunk.".into(),
                });
            }
        };
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.into());
        }
        let choices = chunk.choices.unwrap_or_default();
        self.has_finish_reason |= choices.iter().any(|c| c.finish_reason.is_some());
        // Without choices it is the usage event, or Azure's prompt filter results, on which SDKs that read choices[0] fail.
        if choices.is_empty() && !(self.wants_usage && self.usage.is_some()) {
            return Passed::Nothing;
        }
        self.write(data, out);
        Passed::Content
    }

    /// The frame, with the client's model name.
    fn write(&self, data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        let start = out.len();
        match string_value(data, &KEYS.model) {
            Some(range) => {
                out.extend_from_slice(&data[..range.start]);
                out.extend_from_slice(self.model_json.as_bytes());
                out.extend_from_slice(&data[range.end..]);
            }
            None => out.extend_from_slice(data),
        }
        // It came in several lines. A line end in JSON is white space, and in a frame it would end the data.
        if memchr::memchr2(b'\n', b'\r', data).is_some() {
            let is_line_end = |b: &&mut u8| matches!(**b, b'\n' | b'\r');
            out[start..].iter_mut().filter(is_line_end).for_each(|b| *b = b' ');
        }
        out.extend_from_slice(b"\n\n");
    }
}

/// What is looked for in each frame. Preparing a search costs more than searching a frame.
struct Keys {
    choice: Finder<'static>,
    usage: Finder<'static>,
    finish_reason: Finder<'static>,
    model: Finder<'static>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    choice: Finder::new(br#""choices":[{"#),
    usage: Finder::new(br#""usage":{"#),
    finish_reason: Finder::new(br#""finish_reason":""#),
    model: Finder::new(br#""model":"#),
});

/// Where the string after `key` lies, its quotes included, where `key` occurs just once.
fn string_value(data: &[u8], key: &Finder<'_>) -> Option<std::ops::Range<usize>> {
    let mut start = key.find(data)? + key.needle().len();
    if key.find(&data[start..]).is_some() {
        return None;
    }
    while data.get(start) == Some(&b' ') {
        start += 1;
    }
    let inner = data.get(start..)?.strip_prefix(b"\"")?;
    let length = memchr::memchr2(b'"', b'\\', inner)?;
    (inner[length] == b'"').then(|| start..start + length + 2)
}
