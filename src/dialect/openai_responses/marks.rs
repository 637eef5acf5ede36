//! Marks of deployments in ids. What AI Core keeps (responses, their items, the key to encrypted reasoning) is known to the
//! deployment alone that made it. So every such id goes out with that deployment's mark, `resp_` + mark + `_` + rest, and
//! comes back with it: no table.

use std::borrow::Cow;

use crate::envelope::Envelope;

/// Who has to answer a request, or better had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub mark: String,
    /// No other can: the request builds on a response that is kept there.
    pub is_bound: bool,
}

/// The deployment whose ids a request holds.
pub fn owner(_body: &Envelope) -> Option<Owner> {
    None
}

/// The mark and AI Core's own id; `None` for an id without a mark.
pub fn unmarked(_id: &str) -> Option<(&str, String)> {
    None
}

/// AI Core's id with a mark.
pub fn marked(id: &str, _mark: &str) -> String {
    id.to_owned()
}

/// A body for one deployment: its marks are taken off, and what belongs to another is left out and named.
pub fn body_for<'a>(body: &'a [u8], _mark: &str) -> (Cow<'a, [u8]>, Vec<Cow<'static, str>>) {
    (body.into(), vec![])
}
