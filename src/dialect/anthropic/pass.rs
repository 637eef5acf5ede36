//! Replies of Claude's own deployments for clients of the Messages API (dossier 5b.3, 5b.4).
//!
//! Nothing is decoded: the bytes go on as they are, but for `model` (clients get back the name they asked for), the `event:`
//! lines that AI Core leaves out and SDKs go by, and Bedrock's metrics in the last event.

use serde_json::value::RawValue;

use super::upstream::decode::{Counts, Message, Part, data_of, fault_of, unreadable};
use crate::chat::Usage;
use crate::dialect::{Passed, Passing};
use crate::envelope::{Envelope, quoted};
use crate::error::Error;
use crate::sse::{self, Frame};
use crate::upstream_error;

/// A whole reply: with the client's model name, everything else verbatim; and its usage.
pub fn pass_reply(body: Vec<u8>, model: &str) -> Result<(Vec<u8>, Option<Usage>), Error> {
    let (is_reply, usage) = match serde_json::from_slice::<Message<'_>>(&body) {
        Ok(message) => (message.content.is_some(), message.usage.map(Counts::usage)),
        Err(_) => (false, None),
    };
    if !is_reply {
        return Err(unreadable(&body));
    }
    let mut reply = Envelope::parse(body)?;
    reply.set("model", quoted(model));
    Ok((reply.into_bytes(), usage))
}

/// A stream that passes through, event by event; reads usage and whether the reply is complete.
#[derive(Debug)]
pub struct PassStream {
    model_json: String,
    has_begun: bool,
    has_stop_reason: bool,
    counts: Option<Counts>,
}

impl PassStream {
    /// `model` is the name the client used.
    pub fn new(model: &str) -> PassStream {
        PassStream {
            model_json: quoted(model),
            has_begun: false,
            has_stop_reason: false,
            counts: None,
        }
    }
}

impl Passing for PassStream {
    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Passed {
        let data = data_of(frame);
        // Nearly all frames, and nothing in them is for us.
        let is_delta = data.starts_with(DELTA) && data.ends_with(b"}}");
        if is_delta && !frame.is_cut && !has_line_end(data) {
            write(out, "content_block_delta", data);
            return Passed::Content;
        }
        let mut all = Passed::Nothing;
        // More than one where only a line end separates them.
        for event in serde_json::Deserializer::from_slice(data).into_iter::<&RawValue>() {
            let passed = match event {
                Ok(event) => self.event(event.get().as_bytes(), out),
                Err(_) if is_done(data) => Passed::Nothing,
                Err(_) => fault_of(data, frame.is_cut).map_or(Passed::Nothing, Passed::Failed),
            };
            match passed {
                Passed::Nothing => {}
                Passed::Content => all = Passed::Content,
                end => return end,
            }
        }
        all
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Passed {
        if self.has_stop_reason {
            write(out, "message_stop", br#"{"type":"message_stop"}"#);
            return Passed::Done;
        }
        Passed::Failed(Error::BadReply {
            what: "SAP AI Core's stream ended before the reply was complete.".into(),
        })
    }

    fn usage(&self) -> Option<Usage> {
        self.counts.map(Counts::usage)
    }
}

/// How events begin that have more of a block.
const DELTA: &[u8] = br#"{"type":"content_block_delta","#;

impl PassStream {
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) -> Passed {
        let Ok(part) = serde_json::from_slice::<Part<'_>>(data) else {
            return fault_of(data, false).map_or(Passed::Nothing, Passed::Failed);
        };
        match &*part.kind.0 {
            "message_start" => {
                self.has_begun = true;
                let json = part.message.map_or("{}", RawValue::get);
                let message = serde_json::from_str::<Message<'_>>(json).unwrap_or_default();
                self.count(message.usage.map(Counts::of_start));
                return self.edited(data, "message_start", out, |event, model| {
                    event.edit_in("message", |message| message.set("model", model));
                });
            }
            "message_delta" => {
                self.count(part.usage);
                let reason = part.delta.map(|delta| delta.stop_reason.0);
                self.has_stop_reason |= reason.is_some_and(|reason| !reason.is_empty());
                let counts = self.counts.unwrap_or_default();
                if part.usage.is_none_or(|usage| usage.input_tokens.is_none()) {
                    return self.edited(data, "message_delta", out, |event, _| {
                        complete(event, counts);
                    });
                }
            }
            "message_stop" => {
                let counts = self.counts.unwrap_or_default();
                self.count(part.metrics.map(|metrics| metrics.or(counts)));
                self.edited(data, "message_stop", out, |event, _| {
                    event.remove("amazon-bedrock-invocationMetrics");
                });
                return Passed::Done;
            }
            "error" => return Passed::Failed(unreadable(data)),
            // Nothing is said yet: what fails now fails with its status.
            "ping" if !self.has_begun => return Passed::Nothing,
            // AWS's errors have no type.
            "" if part.error.is_some() || part.message.is_some() => {
                return Passed::Failed(unreadable(data));
            }
            "" => return upstream_error::from_event(data).map_or(Passed::Nothing, Passed::Failed),
            // It would break the line that it has to stand in.
            kind if !kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
                return Passed::Nothing;
            }
            _ => {}
        }
        write(out, &part.kind.0, data);
        Passed::Content
    }

    fn edited(
        &self,
        data: &[u8],
        name: &str,
        out: &mut Vec<u8>,
        edit: impl FnOnce(&mut Envelope, &str),
    ) -> Passed {
        match Envelope::parse(data.to_vec()) {
            Ok(mut event) => {
                edit(&mut event, &self.model_json);
                write(out, name, &event.to_bytes());
            }
            Err(_) => write(out, name, data),
        }
        Passed::Content
    }

    /// Counts are cumulative: the last ones hold, but each event may have only some.
    fn count(&mut self, counts: Option<Counts>) {
        let earlier = self.counts.unwrap_or_default();
        self.counts = counts.map(|counts| counts.or(earlier)).or(self.counts);
    }
}

/// Anthropic's own last event has all counts, AI Core's has the output's where the model is older, or none. Some clients look
/// nowhere else, and SDKs look there unasked.
fn complete(event: &mut Envelope, counts: Counts) {
    if !event.raw("usage").is_some_and(|usage| usage.starts_with(b"{")) {
        let output = counts.output_tokens.unwrap_or(0);
        event.set("usage", format!(r#"{{"output_tokens":{output}}}"#));
    }
    event.edit_in("usage", |usage| add_counts(usage, counts));
}

fn add_counts(usage: &mut Envelope, counts: Counts) {
    for (key, count) in [
        ("input_tokens", counts.input_tokens),
        ("cache_creation_input_tokens", counts.cache_creation_input_tokens),
        ("cache_read_input_tokens", counts.cache_read_input_tokens),
    ] {
        if let Some(count) = count.filter(|_| !usage.has(key)) {
            usage.set(key, count.to_string());
        }
    }
}

fn write(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    sse::write_event(out, name, |out| {
        let start = out.len();
        out.extend_from_slice(data);
        // It came in several lines. A line end in JSON is white space, and in a frame it would end the data.
        if has_line_end(data) {
            let is_line_end = |b: &&mut u8| matches!(**b, b'\n' | b'\r');
            out[start..].iter_mut().filter(is_line_end).for_each(|b| *b = b' ');
        }
    });
}

fn has_line_end(data: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', data).is_some()
}

fn is_done(data: &[u8]) -> bool {
    data.trim_ascii_start().starts_with(b"[DONE]")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client gets of these bytes, and what fails.
    fn passed(bytes: &str) -> (String, Option<u16>) {
        let (mut stream, mut frames, mut out) =
            (PassStream::new("m"), sse::Frames::default(), vec![]);
        frames.push(bytes.as_bytes());
        frames.finish();
        while let Some(frame) = frames.next_frame() {
            if let Passed::Failed(error) = stream.frame(&frame, &mut out) {
                return (String::from_utf8(out).unwrap(), Some(error.status()));
            }
        }
        let end = stream.finish(&mut out);
        let status = if let Passed::Failed(error) = end { Some(error.status()) } else { None };
        (String::from_utf8(out).unwrap(), status)
    }

    #[test]
    fn half_an_event_is_not_passed_on() {
        let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\":{}}"}}"#;
        let name = "event: content_block_delta\n";
        let whole = format!("{name}data: {delta}\n\n");
        assert_eq!(passed(&format!("data: {delta}\n\n")), (whole.clone(), Some(502)));
        for end in 0..delta.len() {
            assert_eq!(
                passed(&format!("data: {}", &delta[..end])),
                (String::new(), Some(502)),
                "{end}"
            );
        }
        assert_eq!(passed(&format!("data: {delta}")), (whole, Some(502)));
    }

    /// So it is still told with its status, and another deployment may answer.
    #[test]
    fn a_ping_is_no_beginning_of_a_reply() {
        let overloaded =
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let bytes = format!("event: ping\ndata: {{\"type\": \"ping\"}}\n\ndata: {overloaded}\n\n");
        assert_eq!(passed(&bytes), (String::new(), Some(503)));
    }
}
