//! A client's Messages request, understood.

use crate::dialect::Asked;
use crate::envelope::Envelope;
use crate::error::Error;

/// Reads a request.
pub fn decode(_body: &Envelope) -> Result<Asked, Error> {
    let what = "this model is not served by the Messages API yet; ask it by /v1/chat/completions.";
    Err(Error::Refused { path: "model".into(), what: what.into() })
}
