//! OpenAI's models on Azure (dossier 5a).

mod responses;

use std::borrow::Cow;

use super::{AZURE_EMBEDDINGS, Dropped, Grammar, Passes, Service, drop_sampling, drop_thinking};
use crate::chat::{Effort, Request, Thinking};
use crate::dialect::openai_chat::{Chat, Quirks};
use crate::envelope::Envelope;
use crate::error::Error;

pub const SERVICE: Service = Service {
    chat_path: "/chat/completions?api-version={version}",
    stream_path: "/chat/completions?api-version={version}",
    other_path: None,
    embeddings: Some(AZURE_EMBEDDINGS),
    rerank_path: None,
    grammar: Some(Grammar {
        dialect: &Chat(Quirks::None),
        adapt,
        cache_points: None,
        passes: Passes::OpenAi { edit, quirks: Quirks::None },
    }),
    responses: Some(responses::RESPONSES),
};

/// Of a request in words of our own, what these models refuse; `edit` does the rest.
pub fn adapt(request: &mut Request, model: &str) -> Result<(), Error> {
    let reasoning = Reasoning::of(model);
    settle_output_max(request, model, reasoning);
    settle_stops(request);
    if !reasoning.is_on() {
        drop_thinking(request);
        return Ok(());
    }
    if reasoning.is_from((5, 5)) && !request.tools.is_empty() {
        drop_thinking(request);
    }
    settle_effort(request, reasoning);
    settle_sampling(request, reasoning);
    Ok(())
}

/// Not to reason, or hardly, is another word for each of them.
fn settle_effort(request: &mut Request, reasoning: Reasoning) {
    request.thinking = match request.thinking {
        Some(Thinking::Off) if reasoning.is_from((5, 1)) => Some(Thinking::Off),
        Some(Thinking::Off | Thinking::Effort(Effort::Minimal)) => {
            let is_first_gpt = reasoning == Reasoning::Gpt(5, 0);
            Some(Thinking::Effort(if is_first_gpt { Effort::Minimal } else { Effort::Low }))
        }
        other => other,
    };
}

fn settle_sampling(request: &mut Request, reasoning: Reasoning) {
    if !(reasoning.is_from((5, 1)) && request.thinking == Some(Thinking::Off)) {
        drop_sampling(request);
    }
}

/// Agents of other vendors ask for more than some models give; more is refused.
fn settle_output_max(request: &mut Request, model: &str, reasoning: Reasoning) {
    let most = output_max(model, reasoning);
    if request.output_max.is_some_and(|max| max > most) {
        request.output_max = Some(most);
        request.drop_field("max_tokens");
    }
}

/// The most stop sequences.
const STOPS_MAX: usize = 4;

fn settle_stops(request: &mut Request) {
    for index in STOPS_MAX..request.stop.len() {
        request.drop_field(format!("stop[{index}]"));
    }
    request.stop.truncate(STOPS_MAX);
}

/// The most tokens of a reply (dossier 8; the vendor's documentation for gpt-4 and before). Of unknown models nothing is
/// taken away; where that is too much, the refusal is healed.
fn output_max(model: &str, reasoning: Reasoning) -> u64 {
    let is_of = |name: &str| model.starts_with(name);
    match reasoning {
        Reasoning::O => 100_000,
        Reasoning::Gpt(..) => 128_000,
        Reasoning::No if is_of("gpt-4.1") => 32_768,
        Reasoning::No if is_of("gpt-4o") || is_of("gpt-5") => 16_384,
        Reasoning::No if is_of("gpt-4") => 4_096,
        Reasoning::No => u64::MAX,
    }
}

/// Azure OpenAI behind AI Core (dossier 5a). `model` stays: it is ignored there. `stream_options` is the relay's.
///
/// Left open by the dossier: whether gpt-5 takes `max_tokens` (one sample of SAP's documentation shows it, every client
/// renames it): renamed, since both names are never wrong for a reasoning model under the new one.
fn edit(body: &mut Envelope, model: &str) -> Result<Dropped, Error> {
    let mut dropped: Dropped = vec![];
    let reasoning = Reasoning::of(model);
    if body.raw("max_completion_tokens").is_some_and(|value| value != b"null") {
        // Both are given by some clients; OpenAI refuses that, the newer name is what is meant.
        dropped.extend(body.remove("max_tokens").then_some("max_tokens".into()));
    } else if reasoning.is_on() && body.has("max_tokens") {
        body.remove("max_completion_tokens");
        body.rename("max_tokens", "max_completion_tokens");
    }
    // Left open: gpt-5.1 and later take sampling parameters while they do not reason, by the vendor's rule.
    let is_thinking =
        !(reasoning.is_from((5, 1)) && body.raw("reasoning_effort") == Some(b"\"none\""));
    if reasoning.is_on() && is_thinking {
        let removed = SAMPLING.iter().filter(|key| body.remove(key));
        dropped.extend(removed.map(|key| Cow::Borrowed(*key)));
    }
    // Left open: gpt-5.5 refuses tools together with an effort on this path (dossier 5a, one probe).
    if reasoning.is_from((5, 5)) && body.has("tools") && body.remove("reasoning_effort") {
        dropped.push("reasoning_effort".into());
    }
    Ok(dropped)
}

/// What reasoning models refuse, or take only at its default.
const SAMPLING: &[&str] =
    &["temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"];

/// Whether a name means one of OpenAI's reasoning models, and of which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reasoning {
    No,
    /// `o1`, `o3-mini`, `o4-mini`, …
    O,
    /// `gpt-5`, `gpt-5.5-mini`, `gpt-6`, …
    Gpt(u32, u32),
}

impl Reasoning {
    fn of(model: &str) -> Reasoning {
        let o_series = model.strip_prefix('o').and_then(|rest| rest.chars().next());
        if o_series.is_some_and(|c| c.is_ascii_digit()) {
            return Reasoning::O;
        }
        let Some(rest) = model.strip_prefix("gpt-") else { return Reasoning::No };
        let version = rest.split('-').next().unwrap_or(rest);
        let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
        match (major.parse(), minor.parse()) {
            // gpt-35 is 3.5 in Azure's spelling; gpt-5-chat is the one that does not reason.
            (Ok(major), Ok(minor)) if (5..30).contains(&major) && !rest.contains("-chat") => {
                Reasoning::Gpt(major, minor)
            }
            _ => Reasoning::No,
        }
    }

    fn is_on(self) -> bool {
        self != Reasoning::No
    }

    fn is_from(self, version: (u32, u32)) -> bool {
        matches!(self, Reasoning::Gpt(major, minor) if (major, minor) >= version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        let table = [
            ("gpt-4o", Reasoning::No),
            ("gpt-4.1-mini", Reasoning::No),
            ("gpt-35-turbo", Reasoning::No),
            ("gpt-5", Reasoning::Gpt(5, 0)),
            ("gpt-5-chat", Reasoning::No),
            ("gpt-5.6-terra", Reasoning::Gpt(5, 6)),
            ("gpt-6.1", Reasoning::Gpt(6, 1)),
            ("o1", Reasoning::O),
            ("o4-mini", Reasoning::O),
            ("omni", Reasoning::No),
        ];
        for (model, expected) in table {
            assert_eq!(Reasoning::of(model), expected, "{model}");
        }
    }

    #[test]
    fn azure_gets_what_it_takes() {
        let table: &[(&str, &str, &str, &[&str])] = &[
            (
                "gpt-4o",
                r#"{"max_tokens":5,"temperature":0.1}"#,
                r#"{"max_tokens":5,"temperature":0.1}"#,
                &[],
            ),
            (
                "gpt-4o",
                r#"{"max_tokens":5,"max_completion_tokens":6}"#,
                r#"{"max_completion_tokens":6}"#,
                &["max_tokens"],
            ),
            (
                "gpt-5",
                r#"{"max_tokens":5,"temperature":0.1,"seed":1}"#,
                r#"{"max_completion_tokens":5,"seed":1}"#,
                &["temperature"],
            ),
            (
                "gpt-5",
                r#"{"reasoning_effort":"none","top_p":0.5}"#,
                r#"{"reasoning_effort":"none"}"#,
                &["top_p"],
            ),
            (
                "gpt-5.1",
                r#"{"reasoning_effort":"none","top_p":0.5}"#,
                r#"{"reasoning_effort":"none","top_p":0.5}"#,
                &[],
            ),
            (
                "gpt-5.4",
                r#"{"reasoning_effort":"low","tools":[]}"#,
                r#"{"reasoning_effort":"low","tools":[]}"#,
                &[],
            ),
            (
                "gpt-5.5",
                r#"{"reasoning_effort":"low","tools":[]}"#,
                r#"{"tools":[]}"#,
                &["reasoning_effort"],
            ),
            ("o3-mini", r#"{"logprobs":true}"#, r#"{}"#, &["logprobs"]),
        ];
        for (model, body, expected, dropped) in table {
            let mut envelope = Envelope::parse(body.as_bytes().to_vec()).unwrap();
            assert_eq!(edit(&mut envelope, model).unwrap(), *dropped, "{model} {body}");
            assert_eq!(String::from_utf8_lossy(&envelope.to_bytes()), *expected, "{model}");
        }
    }
}
