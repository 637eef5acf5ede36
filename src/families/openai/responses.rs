//! What AI Core's `/responses` wants otherwise than OpenAI's own (dossier 5a).

mod pass;

use crate::chat::Request;
use crate::dialect::openai_responses::Create;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::families::{Grammar, Passes, Responses};

use super::Reasoning;

pub const RESPONSES: Responses = Responses {
    path: "/responses",
    grammar: Grammar {
        dialect: &Create,
        adapt,
        cache_points: None,
        passes: Passes::Responses { edit: pass::edit },
    },
    is_there,
    is_needed,
};

/// Documented from gpt-5 on.
fn is_there(model: &str) -> bool {
    Reasoning::of(model).is_from((5, 0))
}

/// Whether a request of another API can be answered there only: the model has nothing else, or wants it for tools together
/// with an effort.
fn is_needed(model: &str, _body: &Envelope) -> bool {
    is_there(model) && model.contains("-codex")
}

/// Of a request in words of our own, what these models refuse.
fn adapt(_request: &mut Request, _model: &str) -> Result<(), Error> {
    Ok(())
}
