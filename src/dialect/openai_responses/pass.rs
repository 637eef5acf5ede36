//! Replies of AI Core's own `/responses` (dossier 5a), on their way to a client of the Responses API.

use super::tools::Tools;
use crate::chat::Usage;
use crate::dialect::{Passed, Passing};
use crate::error::Error;
use crate::sse::Frame;

/// A complete reply, or any answer about a kept response: the client's model name, marked ids, the client's own tools.
pub fn pass_reply(
    body: Vec<u8>,
    _model: &str,
    _tools: &Tools,
    _mark: &str,
) -> Result<(Vec<u8>, Option<Usage>), Error> {
    Ok((body, None))
}

/// A stream that passes through, event by event.
#[derive(Debug)]
pub struct PassStream {}

impl PassStream {
    pub fn new(_model: &str, _tools: &Tools, _mark: &str) -> PassStream {
        PassStream {}
    }
}

impl Passing for PassStream {
    fn frame(&mut self, _frame: &Frame<'_>, _out: &mut Vec<u8>) -> Passed {
        Passed::Nothing
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Passed {
        Passed::Failed(Error::Internal)
    }

    fn usage(&self) -> Option<Usage> {
        None
    }
}
