//! What AI Core's `/responses` wants otherwise than OpenAI's own (dossier 5a).

mod pass;

use crate::chat::{Effort, Request, Thinking};
use crate::dialect::openai_responses::Create;
use crate::envelope::{Envelope, field, first_item};
use crate::error::Error;
use crate::families::{Grammar, Passes, Responses};

use super::{Reasoning, settle_effort, settle_output_max, settle_sampling};

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
/// with an effort (dossier 5a, one probe). What only chat completions can say stays there, and loses its effort.
fn is_needed(model: &str, body: &Envelope) -> bool {
    let is_only = is_there(model) && model.contains("-codex");
    let may_be = || Reasoning::of(model).is_from((5, 5)) && has_tools(body) && is_common(body);
    is_only || may_be() && wants_effort(body)
}

fn has_tools(body: &Envelope) -> bool {
    body.raw("tools").and_then(first_item).is_some()
}

/// Whether it is said in a way that both have.
fn is_common(body: &Envelope) -> bool {
    let is_one_of = |key: &str, usual: &[&[u8]]| body.raw(key).is_none_or(|v| usual.contains(&v));
    let is_custom = |key: &str, item: &Envelope| {
        let kind = item.get::<String>("type", "a string").ok().flatten();
        kind.is_some_and(|kind| kind == "allowed_tools" || item.has(key) && kind == "custom")
    };
    let choice = body.raw("tool_choice").and_then(|raw| Envelope::parse(raw.to_vec()).ok());
    let tools = body.list("tools").unwrap_or_default();
    is_one_of("n", &[b"null", b"1"])
        && is_one_of("logprobs", &[b"null", b"false"])
        && is_one_of("top_logprobs", &[b"null", b"0"])
        && is_one_of("functions", &[b"null", b"[]"])
        && is_one_of("function_call", &[b"null"])
        && is_one_of("modalities", &[b"null", br#"["text"]"#])
        && !choice.is_some_and(|choice| is_custom("custom", &choice))
        && !tools.iter().any(|tool| is_custom("custom", tool))
}

/// As chat completions, this API or Anthropic's say it.
fn wants_effort(body: &Envelope) -> bool {
    let inside = |key: &str, name| body.raw(key).and_then(|object| field(object, name));
    let is_some = |word: &[u8]| word.starts_with(b"\"") && word != br#""none""#;
    let thinking = inside("thinking", "type");
    let is_thinking =
        thinking.is_some_and(|kind| matches!(kind, br#""enabled""# | br#""adaptive""#));
    body.raw("reasoning_effort").is_some_and(is_some)
        || inside("reasoning", "effort").is_some_and(is_some)
        || is_thinking
        || thinking.is_none() && inside("output_config", "effort").is_some_and(is_some)
}

/// Of a request in words of our own, what these models refuse, and what this API has no word for.
///
/// Left open by the dossier: what the highest effort is called, and since when: `xhigh`, from gpt-5.2 on, as the vendor's
/// documentation has it; and whether those for code alone can do without reasoning: they are taken not to.
fn adapt(request: &mut Request, model: &str) -> Result<(), Error> {
    let reasoning = Reasoning::of(model);
    settle_output_max(request, model, reasoning);
    settle_effort(request, reasoning);
    let is_for_code = model.contains("-codex");
    request.thinking = match request.thinking {
        Some(Thinking::Off | Thinking::Effort(Effort::Minimal)) if is_for_code => {
            Some(Thinking::Effort(Effort::Low))
        }
        Some(Thinking::Effort(Effort::Highest | Effort::Max)) if !reasoning.is_from((5, 2)) => {
            Some(Thinking::Effort(Effort::High))
        }
        other => other,
    };
    settle_sampling(request, reasoning);
    let mut unknown = vec![];
    unknown.extend(request.frequency_penalty.take().map(|_| "frequency_penalty"));
    unknown.extend(request.presence_penalty.take().map(|_| "presence_penalty"));
    unknown.extend(request.seed.take().map(|_| "seed"));
    unknown.extend((!std::mem::take(&mut request.stop).is_empty()).then_some("stop"));
    unknown.into_iter().for_each(|name| request.drop_field(name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::Tool;

    #[test]
    fn who_needs_it() {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let custom = json!({"type": "custom", "custom": {"name": "f"}});
        let named = json!({"type": "function", "function": {"name": "f"}});
        let with = |mut body: serde_json::Value| {
            body["tools"] = json!([tool]);
            body
        };
        let low = || with(json!({"reasoning_effort": "low"}));
        let also = |key: &str, value| {
            let mut body = low();
            body[key] = value;
            body
        };
        let table = [
            ("gpt-5.3-codex", json!({}), true),
            ("gpt-5-codex", json!({"n": 2}), true),
            ("gpt-4-codex", json!({}), false),
            ("gpt-5.5", with(json!({})), false),
            ("gpt-5.5", json!({"reasoning_effort": "low"}), false),
            ("gpt-5.5", json!({"reasoning_effort": "low", "tools": []}), false),
            ("gpt-5.5", low(), true),
            ("gpt-6", low(), true),
            ("gpt-5.5-chat", low(), false),
            ("gpt-5.4", low(), false),
            ("o3", low(), false),
            ("gpt-5.5", with(json!({"reasoning_effort": "none"})), false),
            ("gpt-5.5", with(json!({"reasoning_effort": null})), false),
            ("gpt-5.5", with(json!({"reasoning": {"effort": "high"}})), true),
            ("gpt-5.5", with(json!({"reasoning": {"effort": "none"}})), false),
            ("gpt-5.5", with(json!({"reasoning": null})), false),
            // Anthropic's.
            ("gpt-5.5", with(json!({"thinking": {"type": "enabled", "budget_tokens": 9}})), true),
            ("gpt-5.5", with(json!({"thinking": {"type": "adaptive"}})), true),
            ("gpt-5.5", with(json!({"thinking": {"type": "disabled"}})), false),
            ("gpt-5.5", with(json!({"output_config": {"effort": "low"}})), true),
            (
                "gpt-5.5",
                with(json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}})),
                false,
            ),
            // What only chat completions can say.
            ("gpt-5.5", also("n", json!(1)), true),
            ("gpt-5.5", also("n", json!(2)), false),
            ("gpt-5.5", also("logprobs", json!(false)), true),
            ("gpt-5.5", also("logprobs", json!(true)), false),
            ("gpt-5.5", also("top_logprobs", json!(2)), false),
            ("gpt-5.5", also("functions", json!([{}])), false),
            ("gpt-5.5", also("modalities", json!(["text"])), true),
            ("gpt-5.5", also("modalities", json!(["text", "audio"])), false),
            ("gpt-5.5", also("tools", json!([tool, custom])), false),
            (
                "gpt-5.5",
                also("tools", json!([{"type": "custom", "name": "f", "input_schema": {}}])),
                true,
            ),
            ("gpt-5.5", also("tool_choice", named), true),
            ("gpt-5.5", also("tool_choice", json!("auto")), true),
            ("gpt-5.5", also("tool_choice", custom.clone()), false),
            ("gpt-5.5", also("tool_choice", json!({"type": "allowed_tools"})), false),
        ];
        for (model, body, expected) in table {
            let envelope = Envelope::parse(body.to_string().into_bytes()).unwrap();
            assert_eq!(is_needed(model, &envelope), expected, "{model} {body}");
        }
    }

    #[test]
    fn requests_are_made_to_fit() {
        let effort = |effort| Some(Thinking::Effort(effort));
        let table = [
            ("gpt-5.3-codex", None, None),
            ("gpt-5.3-codex", Some(Thinking::Off), effort(Effort::Low)),
            ("gpt-5.3-codex", effort(Effort::Minimal), effort(Effort::Low)),
            ("gpt-5.3-codex", effort(Effort::Max), effort(Effort::Max)),
            ("gpt-5-codex", effort(Effort::Minimal), effort(Effort::Low)),
            ("gpt-5-codex", effort(Effort::Highest), effort(Effort::High)),
            ("gpt-5.5", Some(Thinking::Off), Some(Thinking::Off)),
            ("gpt-5.5", effort(Effort::Minimal), effort(Effort::Low)),
            ("gpt-5.5", Some(Thinking::Budget(9000)), Some(Thinking::Budget(9000))),
        ];
        for (model, thinking, expected) in table {
            let tool = Tool {
                name: "f".into(),
                description: None,
                schema: None,
                cache: None,
                is_strict: false,
            };
            let mut request = Request {
                thinking,
                tools: vec![tool],
                output_max: Some(200_000),
                temperature: Some(0.5),
                top_p: Some(0.5),
                presence_penalty: Some(0.1),
                frequency_penalty: Some(0.1),
                seed: Some(1),
                stop: vec!["a".into(), "b".into()],
                ..Request::default()
            };
            adapt(&mut request, model).unwrap();
            assert_eq!(request.thinking, expected, "{model}");
            assert_eq!(request.output_max, Some(128_000));
            let is_off = expected == Some(Thinking::Off);
            assert_eq!(request.temperature.is_some(), is_off, "{model}");
            let mut dropped = request.dropped.clone();
            dropped.sort();
            let mut all =
                vec!["frequency_penalty", "max_tokens", "presence_penalty", "seed", "stop"];
            all.extend(["temperature", "top_p"].iter().filter(|_| !is_off));
            assert_eq!(dropped, all, "{model}");
        }
    }
}
