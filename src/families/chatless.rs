//! Models that do not chat: they make embeddings, or rank documents (dossier 5b.9, 5c, 5d).

use super::{AZURE_EMBEDDINGS, Embeddings, Service};
use crate::dialect::embeddings;

/// Of models that do not chat.
const CHATLESS: Service = Service {
    chat_path: "",
    stream_path: "",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: None,
    responses: None,
};

pub const OPENAI_EMBEDDING: Service = Service { embeddings: Some(AZURE_EMBEDDINGS), ..CHATLESS };

pub const TITAN: Service = Service {
    embeddings: Some(Embeddings {
        path: "/invoke",
        other_path: None,
        shape: Some(&embeddings::TITAN),
    }),
    ..CHATLESS
};

/// Left open: whether the path has the deployed name, as the documentation has it, or Google's own, to which SAP's Python
/// client changes it (dossier 5c). The one, then the other.
pub const GEMINI_EMBEDDING: Service = Service {
    embeddings: Some(Embeddings {
        path: "/models/{model}:predict",
        other_path: Some("/models/gemini-embedding-001:predict"),
        shape: Some(&embeddings::GEMINI),
    }),
    ..CHATLESS
};

pub const NVIDIA: Service = Service {
    embeddings: Some(Embeddings {
        path: "/embeddings",
        other_path: None,
        shape: Some(&embeddings::NVIDIA),
    }),
    ..CHATLESS
};

pub const COHERE_RERANK: Service = Service { rerank_path: Some("/rerank"), ..CHATLESS };
