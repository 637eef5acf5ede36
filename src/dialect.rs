//! The JSON grammars that clients and AI Core speak. Pure: bytes and values in, bytes and values out.

pub mod anthropic;
pub mod openai_chat;

use crate::error::Error;

/// The grammar a client speaks, told by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's APIs: chat completions, embeddings, models.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
}

impl Dialect {
    /// The body of an error response.
    pub fn error_body(self, error: &Error, request_id: &str) -> String {
        match self {
            Dialect::OpenAi => openai_chat::error_body(error),
            Dialect::Anthropic => anthropic::error_body(error, request_id),
        }
    }
}
