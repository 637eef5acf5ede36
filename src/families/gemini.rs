//! Gemini behind AI Core (dossier 5c).

use super::{Grammar, Passes, Service, settle_description};
use crate::chat::{Effort, Request, Thinking};
use crate::dialect::gemini::{Gemini, Model};
use crate::error::Error;

/// Clients that leave `alt=sse` out get events too; it is there because Google's own service would send an array.
pub const SERVICE: Service = Service {
    chat_path: "/models/{model}:generateContent",
    stream_path: "/models/{model}:streamGenerateContent?alt=sse",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: Some(Grammar {
        dialect: &Gemini,
        adapt,
        // It caches by itself.
        cache_points: None,
        passes: Passes::Nothing,
    }),
    responses: None,
};

const OUTPUT_MAX: u64 = 65_536;
const STOPS_MAX: usize = 5;
/// The range ends just before 2.
const PENALTY_MAX: f64 = 1.99;

/// Without `output_max` the model's own maximum holds, so none is invented.
fn adapt(request: &mut Request, model: &str) -> Result<(), Error> {
    adapt_thinking(request, Model::of(model));
    settle_description(request);
    request.output_max = request.output_max.map(|max| max.min(OUTPUT_MAX));
    request.temperature = request.temperature.map(|t| t.clamp(0.0, 2.0));
    for index in STOPS_MAX..request.stop.len() {
        request.drop_field(format!("stop[{index}]"));
    }
    request.stop.truncate(STOPS_MAX);
    // It has 32 bits there; one number stands for another as well.
    request.seed = request.seed.map(|seed| i64::from(seed as i32));
    // Some models refuse any penalty, and many clients send 0.
    let penalty = |p: Option<f64>| p.filter(|p| *p != 0.0).map(|p| p.clamp(-2.0, PENALTY_MAX));
    request.frequency_penalty = penalty(request.frequency_penalty);
    request.presence_penalty = penalty(request.presence_penalty);
    Ok(())
}

/// What the model is told: until 2.5 nothing, for 2.5 a budget, since 3 a level. `Off` stays, as near as the model can.
///
/// Left open by the dossier: what an effort means in tokens; the numbers are Google's own for its OpenAI endpoint, but for
/// the lowest and the highest.
fn adapt_thinking(request: &mut Request, model: Model) {
    let Some(thinking) = request.thinking else { return };
    if !model.thinks() {
        request.thinking = None;
        if thinking != Thinking::Off {
            request.drop_field("reasoning_effort");
        }
        return;
    }
    request.thinking = Some(match thinking {
        Thinking::Off | Thinking::Budget(0) => Thinking::Off,
        Thinking::Adaptive => Thinking::Adaptive,
        Thinking::Effort(effort) if model.takes_levels() => Thinking::Effort(model.level(effort)),
        Thinking::Budget(budget) if model.takes_levels() => {
            Thinking::Effort(model.level(effort_of(budget)))
        }
        Thinking::Effort(effort) => Thinking::Budget(fitting(budget_of(effort, model), model)),
        Thinking::Budget(budget) => Thinking::Budget(fitting(budget, model)),
    });
}

fn fitting(budget: u64, model: Model) -> u64 {
    budget.clamp(*model.budgets().start(), *model.budgets().end())
}

/// Of models that cannot but think, the lowest is the least they can.
fn budget_of(effort: Effort, model: Model) -> u64 {
    match effort {
        Effort::Minimal if model.budget_min() > 0 => model.budget_min(),
        Effort::Minimal => 512,
        Effort::Low => 1_024,
        Effort::Medium => 8_192,
        Effort::High => 24_576,
        Effort::Highest | Effort::Max => u64::MAX,
    }
}

fn effort_of(budget: u64) -> Effort {
    match budget {
        ..1_024 => Effort::Minimal,
        1_024..8_192 => Effort::Low,
        8_192..24_576 => Effort::Medium,
        24_576.. => Effort::High,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_goes_by_version() {
        use crate::chat::Effort::*;
        use crate::chat::Thinking::{Adaptive, Budget, Effort, Off};
        let table = [
            ("gemini-2.5-pro", Effort(Minimal), Some(Budget(128))),
            ("gemini-2.5-flash", Effort(Minimal), Some(Budget(512))),
            ("gemini-2.5-flash", Effort(Low), Some(Budget(1_024))),
            ("gemini-2.5-pro", Effort(High), Some(Budget(24_576))),
            ("gemini-2.5-pro", Effort(Highest), Some(Budget(32_768))),
            ("gemini-2.5-flash", Effort(Highest), Some(Budget(24_576))),
            ("gemini-2.5-flash", Effort(Max), Some(Budget(24_576))),
            ("gemini-3.5-flash", Effort(Max), Some(Effort(High))),
            ("gemini-2.5-flash-lite", Budget(7), Some(Budget(512))),
            ("gemini-2.5-flash", Budget(0), Some(Off)),
            ("gemini-2.5-pro", Off, Some(Off)),
            ("gemini-2.5-pro", Adaptive, Some(Adaptive)),
            ("gemini-3.5-flash", Effort(Minimal), Some(Effort(Minimal))),
            ("gemini-3.8-flash", Effort(Minimal), Some(Effort(Low))),
            ("gemini-3.1-pro", Effort(Highest), Some(Effort(High))),
            ("gemini-3.1-pro", Effort(Medium), Some(Effort(Medium))),
            ("gemini-3-pro-preview", Effort(Medium), Some(Effort(High))),
            ("gemini-3-pro-preview", Budget(9_000), Some(Effort(High))),
            ("gemini-3-pro-preview", Effort(Low), Some(Effort(Low))),
            ("gemini-2.5-flash-image", Off, None),
            ("gemini-3.5-flash", Budget(10_000), Some(Effort(Medium))),
            ("gemini-3.5-flash", Off, Some(Off)),
            ("gemini-2.0-flash", Off, None),
        ];
        for (model, thinking, expected) in table {
            let mut request = Request { thinking: Some(thinking), ..Request::default() };
            adapt(&mut request, model).unwrap();
            assert_eq!(request.thinking, expected, "{model} {thinking:?}");
            assert_eq!(request.dropped, [""; 0], "{model} {thinking:?}");
        }
        let mut request = Request { thinking: Some(Effort(Low)), ..Request::default() };
        adapt(&mut request, "gemini-2.0-flash").unwrap();
        assert_eq!((request.thinking, &*request.dropped), (None, &["reasoning_effort".into()][..]));
    }

    #[test]
    fn what_there_is_no_place_for_is_named() {
        let mut request = Request {
            stop: (0..7).map(|n| n.to_string()).collect(),
            output_max: Some(100_000),
            seed: Some(1 << 32 | 7),
            frequency_penalty: Some(0.0),
            presence_penalty: Some(2.0),
            ..Request::default()
        };
        adapt(&mut request, "gemini-2.5-pro").unwrap();
        assert_eq!(request.dropped, ["stop[5]", "stop[6]"]);
        assert_eq!((request.stop.len(), request.output_max), (5, Some(OUTPUT_MAX)));
        let penalties = (request.frequency_penalty, request.presence_penalty);
        assert_eq!((request.seed, penalties), (Some(7), (None, Some(PENALTY_MAX))));
    }
}
