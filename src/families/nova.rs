//! Amazon's Nova, by Bedrock's Converse (dossier 5b.5, 5b.9, 8; AWS's documentation for what the dossier does not say).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::claude::{cache_points, hoist_cache_point};
use super::{Grammar, Passes, Service};
use crate::chat::{Request, Thinking, Tool};
use crate::dialect::converse::Converse;
use crate::error::Error;

pub const SERVICE: Service = Service {
    chat_path: "/converse",
    stream_path: "/converse-stream",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: Some(Grammar {
        dialect: &Converse,
        adapt,
        // The vendor caches texts unasked.
        cache_points: None,
        passes: Passes::Nothing,
    }),
    responses: None,
};

/// The most tokens of a reply.
const OUTPUT_MAX: u64 = 10_000;
const STOP_MAX: usize = 4;
/// The most cache points of a request.
const CACHE_POINTS_MAX: usize = 4;

/// Makes a request one that Nova takes.
pub fn adapt(request: &mut Request, _model: &str) -> Result<(), Error> {
    request.output_max = Some(request.output_max.unwrap_or(OUTPUT_MAX).clamp(1, OUTPUT_MAX));
    settle_sampling(request);
    settle_cache_points(request);
    settle_schemas(request)
}

fn settle_sampling(request: &mut Request) {
    // Others count to 2; what they mean by more than 1 is as much as there is.
    request.temperature = request.temperature.map(|t| t.clamp(0.0, 1.0));
    request.top_p = request.top_p.map(|p| p.clamp(0.0, 1.0));
    let stop_count = request.stop.len();
    request.stop.retain(|sequence| !sequence.is_empty());
    request.stop.truncate(STOP_MAX);
    let is_thinking = request.thinking.take().is_some_and(|t| t != Thinking::Off);
    let is_lost = [
        ("reasoning_effort", is_thinking),
        ("seed", request.seed.take().is_some()),
        ("frequency_penalty", request.frequency_penalty.take().is_some()),
        ("presence_penalty", request.presence_penalty.take().is_some()),
        ("stop", request.stop.len() < stop_count),
    ];
    is_lost.into_iter().filter(|(_, lost)| *lost).for_each(|(name, _)| request.drop_field(name));
}

/// At most so many, none of them on tools; the last ones reach farthest. That one is to live for an hour cannot be said.
fn settle_cache_points(request: &mut Request) {
    let on_tools = request.tools.iter_mut().filter_map(|tool| tool.cache.take()).count();
    request.turns.iter_mut().flat_map(|t| &mut t.blocks).for_each(hoist_cache_point);
    let mut set: Vec<_> = cache_points(request).into_iter().filter(|p| p.is_some()).collect();
    let excess = set.len().saturating_sub(CACHE_POINTS_MAX);
    set.iter_mut().take(excess).for_each(|point| **point = None);
    if on_tools + excess > 0 {
        request.drop_field("cache_control");
    }
}

fn settle_schemas(request: &mut Request) -> Result<(), Error> {
    let mut lost: Vec<String> = vec![];
    for tool in &mut request.tools {
        settle_schema(tool, &mut lost)?;
    }
    lost.into_iter().for_each(|key| request.drop_field(format!("tools.parameters.{key}")));
    Ok(())
}

/// What a schema may have at its top, by AWS's documentation; and the definitions that its parts refer to.
const TOP: &[&str] = &["type", "properties", "required", "$defs", "definitions"];
/// What says nothing that a model acts on.
const SILENT: &[&str] = &["$schema", "$id", "title", "additionalProperties"];

fn settle_schema(tool: &mut Tool, lost: &mut Vec<String>) -> Result<(), Error> {
    let Some(schema) = &tool.schema else { return Ok(()) };
    let refused = |what: &str| Error::Refused {
        path: "tools".into(),
        what: format!("the parameters of `{}` are not {what}.", tool.name),
    };
    let mut top: BTreeMap<String, &RawValue> =
        serde_json::from_str(schema).map_err(|_| refused("a JSON schema, which is an object"))?;
    if top.get("type").is_some_and(|kind| kind.get() != r#""object""#) {
        return Err(refused("of the type `object`; Nova takes no other"));
    }
    let object: &RawValue = serde_json::from_str(r#""object""#).map_err(|_| Error::Internal)?;
    let no_properties: &RawValue = serde_json::from_str("{}").map_err(|_| Error::Internal)?;
    top.entry("type".into()).or_insert(object);
    top.entry("properties".into()).or_insert(no_properties);
    top.retain(|key, _| {
        let is_kept = TOP.contains(&key.as_str());
        if !is_kept && !SILENT.contains(&key.as_str()) {
            lost.push(key.clone());
        }
        is_kept
    });
    tool.schema = Some(serde_json::to_string(&top).map_err(|_| Error::Internal)?);
    Ok(())
}
