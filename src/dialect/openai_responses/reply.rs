//! A reply for a client of the Responses API, whole or as a stream.

use super::tools::Tools;
use crate::chat::{Event, Reply};
use crate::dialect::{ReplyHead, ReplyWriter, StreamEncoder};
use crate::envelope::Envelope;
use crate::error::Error;

/// How one request wants its reply, and what of it the reply repeats.
#[derive(Debug, Clone)]
pub struct Writer {
    pub tools: Tools,
}

impl Writer {
    /// Reads what a reply repeats of its request, and what it is to tell.
    pub fn new(_body: &Envelope, tools: Tools) -> Result<Writer, Error> {
        Ok(Writer { tools })
    }
}

impl ReplyWriter for Writer {
    fn whole(&self, _reply: &Reply, _head: &ReplyHead) -> Vec<u8> {
        vec![]
    }

    fn stream(&self, _head: &ReplyHead) -> Box<dyn StreamEncoder> {
        Box::new(Stream {})
    }
}

#[derive(Debug)]
struct Stream {}

impl StreamEncoder for Stream {
    fn event(&mut self, _event: &Event, _out: &mut Vec<u8>) {}
}

/// A stream that failed before it began: all its frames. `id` is that of the request.
pub fn failure(_error: &Error, _id: &str) -> Vec<u8> {
    vec![]
}
