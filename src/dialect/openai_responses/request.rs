//! A client's request for a response, understood.

use super::{Responses, Writer};
use crate::chat::Request;
use crate::dialect::Asked;
use crate::dialect::openai_responses::tools::Tools;
use crate::envelope::Envelope;
use crate::error::Error;

/// Reads a request.
pub fn decode(body: &Envelope, _memory: &Responses<'_>) -> Result<Asked, Error> {
    let request = Request::default();
    let writer = Box::new(Writer::new(body, Tools::default())?);
    Ok(Asked { request, is_stream: false, writer })
}

/// What is refused of requests that are not decoded, too.
pub fn check(_body: &Envelope) -> Result<(), Error> {
    Ok(())
}
