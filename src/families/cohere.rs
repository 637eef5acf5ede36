//! Cohere's chat (dossier 5d, 8; the vendor's reference for what the dossier does not say).

use super::{Grammar, Passes, Service, settle_description};
use crate::chat::{Request, Thinking};
use crate::dialect::cohere::Cohere;
use crate::error::Error;

/// Left open: under which path the chat is. Two clients of SAP's say the first, SAP's documentation the second.
pub const SERVICE: Service = Service {
    chat_path: "/chat",
    stream_path: "/chat",
    other_path: Some("/v2/chat"),
    embeddings: None,
    rerank_path: None,
    grammar: Some(Grammar { dialect: &Cohere, adapt, cache_points: None, passes: Passes::Nothing }),
    responses: None,
};

/// The most tokens of a reply.
const OUTPUT_MAX: u64 = 8_192;
const STOP_MAX: usize = 5;

/// Makes a request one that this model takes.
pub fn adapt(request: &mut Request, model: &str) -> Result<(), Error> {
    request.output_max = request.output_max.map(|max| max.clamp(1, OUTPUT_MAX));
    // Others count to 2; what they mean by more than 1 is as much as there is.
    request.temperature = request.temperature.map(|t| t.clamp(0.0, 1.0));
    request.top_p = request.top_p.map(|p| p.clamp(0.01, 0.99));
    request.frequency_penalty = request.frequency_penalty.map(|p| p.clamp(0.0, 1.0));
    request.presence_penalty = request.presence_penalty.map(|p| p.clamp(0.0, 1.0));
    settle_what_is_lost(request, model);
    settle_description(request);
    Ok(())
}

fn settle_what_is_lost(request: &mut Request, model: &str) {
    let stop_count = request.stop.len();
    request.stop.truncate(STOP_MAX);
    let thinking = if thinks(model) { None } else { request.thinking.take() };
    let seed = request.seed;
    request.seed = seed.filter(|seed| *seed >= 0);
    let is_lost = [
        ("reasoning_effort", thinking.is_some_and(|t| t != Thinking::Off)),
        ("seed", seed != request.seed),
        ("stop", request.stop.len() < stop_count),
    ];
    is_lost.into_iter().filter(|(_, lost)| *lost).for_each(|(name, _)| request.drop_field(name));
}

/// The vendor's other models refuse to be told.
fn thinks(model: &str) -> bool {
    model.contains("reasoning")
}
