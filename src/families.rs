//! How each family of models is served by AI Core: under which path, and what its deployments want changed in a request.
//!
//! The family is told from the model's name (dossier 4.4: recorded deployments carry no executable id), or from `families`
//! in the configuration. Rules go by family and version, so that next month's model works without a release.

mod chatless;
pub mod claude;
mod cohere;
mod gemini;
mod messages;
mod mistral;
mod nova;
mod open;
mod orchestration;
mod perplexity;

use std::borrow::Cow;

use crate::chat::{Format, Request};
use crate::dialect::openai_chat::Quirks;
use crate::dialect::{UpstreamDialect, anthropic, embeddings};
use crate::envelope::Envelope;
use crate::error::Error;

/// Models that AI Core serves the same way.
#[derive(Debug)]
pub struct Family {
    /// The word for `families` in the configuration.
    pub name: &'static str,
    /// How names of such models begin; the longest beginning counts.
    prefixes: &'static [&'static str],
    /// `owned_by` in lists of models.
    pub owner: &'static str,
    /// How it is served; `None` where it is not yet.
    pub service: Option<Service>,
}

/// How a family is served. In paths, which follow the deployment URL, `{model}` stands for the deployed model's name and
/// `{version}` for the api-version.
#[derive(Debug)]
pub struct Service {
    pub chat_path: &'static str,
    /// Where a stream is asked for; most families have one path for both.
    pub stream_path: &'static str,
    /// Where a deployment answers that has no `chat_path`.
    pub other_path: Option<&'static str>,
    pub embeddings: Option<Embeddings>,
    pub rerank_path: Option<&'static str>,
    pub grammar: Grammar,
    /// Marks what should be cached in requests that mark nothing, before they are adapted to the model of this name. `None` where the vendor caches
    /// unasked, or not at all.
    pub cache_points: Option<fn(&mut Request, &str)>,
}

/// How a family's deployments are asked for embeddings.
#[derive(Debug)]
pub struct Embeddings {
    pub path: &'static str,
    /// Where a deployment answers that has no `path`.
    pub other_path: Option<&'static str>,
    /// `None`: as OpenAI has it, so a client's bytes go on as they are.
    pub shape: Option<&'static embeddings::Shape>,
}

/// JSON paths of what a request lost.
pub type Dropped = Vec<Cow<'static, str>>;

/// What the family's deployments speak.
#[derive(Debug, Clone, Copy)]
pub enum Grammar {
    /// OpenAI's chat completions: a client's bytes go on as they are, but for what `adapt` changes. It gives the names of
    /// what it had to drop.
    OpenAi {
        adapt: fn(&mut Envelope, &str) -> Result<Dropped, Error>,
        /// What is put right in their replies.
        quirks: Quirks,
    },
    /// Another one: decoded, made to fit, adapted to the model of this name, encoded.
    Other {
        dialect: &'static dyn UpstreamDialect,
        adapt: fn(&mut Request, &str) -> Result<(), Error>,
    },
    /// None: they do not chat.
    None,
}

#[rustfmt::skip]
pub const TABLE: &[Family] = &[
    Family { name: "openai",        owner: "openai",        prefixes: &["gpt-", "chatgpt-", "o1", "o3", "o4"],                      service: Some(AZURE) },
    Family { name: "openai-embedding", owner: "openai",     prefixes: &["text-embedding-"],                                       service: Some(chatless::OPENAI_EMBEDDING) },
    Family { name: "claude",        owner: "anthropic",     prefixes: &["anthropic--", "claude-"],                                service: Some(CLAUDE) },
    Family { name: "gemini-embedding", owner: "google",     prefixes: &["gemini-embedding"],                                      service: Some(chatless::GEMINI_EMBEDDING) },
    Family { name: "gemini",        owner: "google",        prefixes: &["gemini-"],                                               service: Some(gemini::SERVICE) },
    Family { name: "nova",          owner: "amazon",        prefixes: &["amazon--nova"],                                          service: Some(nova::SERVICE) },
    Family { name: "titan",         owner: "amazon",        prefixes: &["amazon--titan"],                                         service: Some(chatless::TITAN) },
    Family { name: "nvidia",        owner: "nvidia",        prefixes: &["nvidia--"],                                              service: Some(chatless::NVIDIA) },
    Family { name: "open",          owner: "open",          prefixes: &["mistralai--", "meta--", "ibm--", "deepseek-ai--", "qwen", "alephalpha-", "gpt-oss"], service: Some(open::SERVICE) },
    Family { name: "perplexity",    owner: "perplexity",    prefixes: &["sonar"],                                                 service: Some(perplexity::SERVICE) },
    Family { name: "cohere-rerank", owner: "cohere",        prefixes: &["cohere-rerank", "cohere--rerank"],                       service: Some(chatless::COHERE_RERANK) },
    Family { name: "cohere",        owner: "cohere",        prefixes: &["cohere--", "cohere-"],                                   service: Some(cohere::SERVICE) },
    Family { name: "orchestration", owner: "sap",           prefixes: &[ORCHESTRATION],                                           service: Some(orchestration::SERVICE) },
];

/// Says that a model of any vendor is reached by the one orchestration deployment.
const ORCHESTRATION: &str = "orchestration/";

/// A name of one's own may be of either kind.
const AZURE_EMBEDDINGS: Embeddings =
    Embeddings { path: "/embeddings?api-version={version}", other_path: None, shape: None };

const AZURE: Service = Service {
    chat_path: "/chat/completions?api-version={version}",
    stream_path: "/chat/completions?api-version={version}",
    other_path: None,
    embeddings: Some(AZURE_EMBEDDINGS),
    rerank_path: None,
    grammar: Grammar::OpenAi { adapt: adapt_azure_chat, quirks: Quirks::None },
    cache_points: None,
};

/// Left open: 3.7 is documented for `/converse` only; `/invoke` is tried all the same (dossier 5b.1).
const CLAUDE: Service = Service {
    chat_path: "/invoke",
    stream_path: "/invoke-with-response-stream",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: Grammar::Other { dialect: &anthropic::Invoke, adapt: claude::adapt },
    cache_points: Some(claude::add_cache_points),
};

/// The family that a model's name tells, if it tells one.
pub fn told(name: &str) -> Option<&'static Family> {
    let length = |f: &Family| {
        f.prefixes.iter().filter(|p| name.starts_with(*p)).map(|p| p.len()).max().unwrap_or(0)
    };
    TABLE.iter().filter(|f| length(f) > 0).max_by_key(|f| length(f))
}

/// The family that a model's name tells. Left open: a name that tells nothing is taken for an OpenAI model: most own names are
/// given to GPT deployments, unknown vendors mostly speak OpenAI's grammar, and `families` corrects the rest.
pub fn of_model(name: &str) -> &'static Family {
    told(name).unwrap_or(&TABLE[0])
}

/// The name by which AI Core knows a model: without the prefix that only says that it is reached by orchestration.
pub fn deployed_name(name: &str) -> &str {
    name.strip_prefix(ORCHESTRATION).unwrap_or(name)
}

/// The family of this name.
pub fn by_name(name: &str) -> Option<&'static Family> {
    TABLE.iter().find(|f| f.name == name)
}

/// The names for `families`, for error messages.
pub fn names() -> String {
    TABLE.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
}

/// For models that are given the schema of an answer and no word beside it.
fn settle_description(request: &mut Request) {
    if let Format::Schema { description, .. } = &mut request.format
        && description.take().is_some()
    {
        request.drop_field("response_format.json_schema.description");
    }
}

/// Azure OpenAI behind AI Core (dossier 5a). `model` stays: it is ignored there. `stream_options` is the relay's.
///
/// Left open by the dossier: whether gpt-5 takes `max_tokens` (one sample of SAP's documentation shows it, every client
/// renames it): renamed, since both names are never wrong for a reasoning model under the new one.
fn adapt_azure_chat(body: &mut Envelope, model: &str) -> Result<Dropped, Error> {
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
    fn the_name_tells_the_family() {
        let table = [
            ("gpt-4o", "openai"),
            ("o3-mini", "openai"),
            ("text-embedding-3-small", "openai-embedding"),
            ("anthropic--claude-4.5-sonnet", "claude"),
            ("gemini-2.5-pro", "gemini"),
            ("gemini-embedding", "gemini-embedding"),
            ("amazon--nova-pro", "nova"),
            ("amazon--titan-embed-text", "titan"),
            ("mistralai--mistral-large-instruct", "open"),
            ("gpt-oss-120b", "open"),
            ("nvidia--llama-3.2-nv-embedqa-1b", "nvidia"),
            ("sonar-pro", "perplexity"),
            ("cohere--command-a-reasoning", "cohere"),
            ("cohere-reranker-35", "cohere-rerank"),
            ("orchestration/gemini-embedding", "orchestration"),
            ("our-own-name", "openai"),
        ];
        for (model, family) in table {
            assert_eq!(of_model(model).name, family, "{model}");
        }
    }

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
            assert_eq!(adapt_azure_chat(&mut envelope, model).unwrap(), *dropped, "{model} {body}");
            assert_eq!(String::from_utf8_lossy(&envelope.to_bytes()), *expected, "{model}");
        }
    }
}
