//! Models of any vendor by SAP's orchestration service (dossier 6).

use super::{
    Embeddings, Grammar, Passes, Service, drop_thinking, mistral, of_model, open, perplexity,
};
use crate::chat::{Block, Effort, Request, Role, Thinking, Turn};
use crate::dialect::embeddings;
use crate::dialect::openai_chat::Orchestration;
use crate::error::Error;

pub const SERVICE: Service = Service {
    chat_path: "/v2/completion",
    stream_path: "/v2/completion",
    other_path: None,
    embeddings: Some(Embeddings {
        path: "/v2/embeddings",
        other_path: None,
        shape: Some(&embeddings::ORCHESTRATION),
    }),
    rerank_path: None,
    grammar: Some(Grammar {
        dialect: &Orchestration,
        adapt,
        cache_points: None,
        passes: Passes::Nothing,
    }),
    responses: None,
};

/// What a vendor's models refuse, they refuse here too. Left open by the dossier: what of it the service hides; it passes
/// parameters on.
fn adapt(request: &mut Request, model: &str) -> Result<(), Error> {
    let vendor = of_model(model);
    let grammar = vendor.service.as_ref().and_then(|service| service.grammar);
    if let Some(grammar) = grammar.filter(|_| vendor.name != "orchestration") {
        (grammar.adapt)(request, model)?;
    }
    match vendor.name {
        "open" => adapt_to_open(request, model),
        "gemini" => adapt_to_gemini(request),
        "perplexity" => {
            drop_seed(request);
            if !perplexity::reasons(model) {
                drop_thinking(request);
            }
        }
        "titan" => {
            drop_seed(request);
            drop_thinking(request);
        }
        _ => {}
    }
    drop_cache_points(request, vendor.name == "claude");
    request.turns.iter_mut().for_each(say_something);
    Ok(())
}

/// Left open: whether the service has a word for not thinking; `low` is known to all that think.
fn adapt_to_gemini(request: &mut Request) {
    if request.thinking == Some(Thinking::Off) {
        request.thinking = Some(Thinking::Effort(Effort::Low));
        request.drop_field("reasoning_effort");
    }
}

fn drop_seed(request: &mut Request) {
    if request.seed.take().is_some() {
        request.drop_field("seed");
    }
}

fn adapt_to_open(request: &mut Request, model: &str) {
    if !open::reasons(model) {
        drop_thinking(request);
    }
    if open::is_mistral(model) {
        for block in request.turns.iter_mut().flat_map(|turn| &mut turn.blocks) {
            if let Block::ToolCall { id, .. } | Block::ToolResult { id, .. } = block {
                *id = mistral::nine(id);
            }
        }
    }
}

/// Points are known in texts of the person and the system, and on tools, and only Claude has them.
fn drop_cache_points(request: &mut Request, is_claude: bool) {
    let mut found = false;
    let mut drop = |block: &mut Block| {
        found |= block.cache().is_some_and(|cache| cache.take().is_some());
    };
    for turn in &mut request.turns {
        let keeps =
            |b: &Block| is_claude && turn.role == Role::User && matches!(b, Block::Text { .. });
        turn.blocks.iter_mut().filter(|b| !keeps(b)).for_each(&mut drop);
    }
    if !is_claude {
        request.system.iter_mut().for_each(drop);
        let tools = request.tools.iter_mut().map(|tool| tool.cache.take());
        found |= tools.filter(Option::is_some).count() > 0;
    }
    if found {
        request.drop_field("cache_control");
    }
}

/// A turn of the model's with neither text nor call is refused.
fn say_something(turn: &mut Turn) {
    let says = |b: &Block| matches!(b, Block::Text { .. } | Block::ToolCall { .. });
    if turn.role == Role::Assistant && !turn.blocks.iter().any(says) {
        turn.blocks.push(Block::text("."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{CachePoint, Seal, Tool};

    fn request() -> Request {
        let cached =
            |text: &str| Block::Text { text: text.into(), cache: Some(CachePoint::FiveMinutes) };
        let reasoning =
            Block::Reasoning { text: "hm".into(), seal: Some(Seal::Claude("x".into())) };
        let call = Block::ToolCall {
            id: "call_1".into(),
            name: "f".into(),
            arguments: "{}".into(),
            seal: None,
            cache: None,
        };
        Request {
            system: vec![cached("s")],
            turns: vec![
                Turn { role: Role::User, blocks: vec![cached("a")] },
                Turn { role: Role::Assistant, blocks: vec![reasoning] },
                Turn { role: Role::Assistant, blocks: vec![call] },
            ],
            temperature: Some(0.5),
            seed: Some(1),
            thinking: Some(Thinking::Off),
            ..Request::default()
        }
    }

    #[test]
    fn what_models_refuse_is_left_out() {
        let effort = |e| Some(Thinking::Effort(e));
        type Row = (&'static str, Option<f64>, Option<Thinking>, &'static [&'static str]);
        let table: &[Row] = &[
            ("gpt-4o", Some(0.5), None, &["reasoning_effort", "cache_control"]),
            ("gpt-5", None, effort(Effort::Minimal), &["temperature", "cache_control"]),
            ("o3-mini", None, effort(Effort::Low), &["temperature", "cache_control"]),
            ("gpt-5.1", Some(0.5), Some(Thinking::Off), &["cache_control"]),
            ("qwen3-max", Some(0.5), Some(Thinking::Off), &["cache_control"]),
            ("mistralai--mistral-small", Some(0.5), None, &["reasoning_effort", "cache_control"]),
            ("sonar", Some(0.5), None, &["seed", "reasoning_effort", "cache_control"]),
            ("sonar-reasoning", Some(0.5), Some(Thinking::Off), &["seed", "cache_control"]),
            (
                "amazon--titan-text-lite",
                Some(0.5),
                None,
                &["seed", "reasoning_effort", "cache_control"],
            ),
            ("amazon--nova-pro", Some(0.5), None, &["seed", "cache_control"]),
            (
                "gemini-2.5-pro",
                Some(0.5),
                effort(Effort::Low),
                &["reasoning_effort", "cache_control"],
            ),
            ("gemini-2.0-flash", Some(0.5), None, &["cache_control"]),
        ];
        for (model, temperature, thinking, dropped) in table {
            let mut request = request();
            adapt(&mut request, model).unwrap();
            assert_eq!(request.temperature, *temperature, "{model}");
            assert_eq!(request.thinking, *thinking, "{model}");
            assert_eq!(request.dropped, *dropped, "{model}");
            assert_eq!(request.turns[1].blocks[1], Block::text("."), "{model}");
            let Block::ToolCall { id, .. } = &request.turns[2].blocks[0] else { panic!() };
            let is_mistral = model.starts_with("mistralai");
            assert_eq!(*id, if is_mistral { mistral::nine("call_1") } else { "call_1".into() });
        }
        let mut request = request();
        request.tools = vec![Tool {
            name: "f".into(),
            description: None,
            schema: None,
            cache: None,
            is_strict: false,
        }];
        request.thinking = effort(Effort::High);
        adapt(&mut request, "gpt-5.5").unwrap();
        assert_eq!(request.thinking, None);
    }

    #[test]
    fn a_name_that_names_the_service_twice_ends() {
        adapt(&mut request(), "orchestration/gpt-4o").unwrap();
    }
}
