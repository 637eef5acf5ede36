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
mod openai;
mod orchestration;
mod perplexity;

use std::borrow::Cow;

use crate::chat::fit::Undo;
use crate::chat::{Format, Request};
use crate::dialect::openai_chat::Quirks;
use crate::dialect::openai_responses::Tools;
use crate::dialect::{Target, UpstreamDialect, anthropic, embeddings};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::estimate::Vocabulary;

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
    /// `None`: they do not chat.
    pub grammar: Option<Grammar>,
    pub responses: Option<Responses>,
}

/// OpenAI's Responses API, where deployments have it beside the other.
#[derive(Debug, Clone, Copy)]
pub struct Responses {
    pub path: &'static str,
    pub grammar: Grammar,
    /// Whether the model of this name has it.
    pub is_there: fn(&str) -> bool,
    /// Whether the model of this name needs it for this request of another API.
    pub is_needed: fn(&str, &Envelope) -> bool,
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
pub struct Grammar {
    pub dialect: &'static dyn UpstreamDialect,
    /// Makes a request that fits the grammar one that the model of this name takes.
    adapt: fn(&mut Request, &str) -> Result<(), Error>,
    /// Marks what should be cached in requests that mark nothing, before they are adapted. `None` where the vendor caches
    /// unasked, or not at all.
    cache_points: Option<fn(&mut Request, &str)>,
    /// Whose bytes are not converted.
    pub passes: Passes,
}

/// What a request lost, and how the model is told of its tools.
pub type WithTools = (Dropped, Tools);

/// Clients whose bytes go on as they are, but for what `edit` changes. It gives the names of what it had to drop.
#[derive(Debug, Clone, Copy)]
pub enum Passes {
    /// None: all are converted.
    Nothing,
    /// Those that speak OpenAI's chat completions. What is converted for these deployments is edited too.
    OpenAi {
        edit: fn(&mut Envelope, &str) -> Result<Dropped, Error>,
        /// What is put right in their replies.
        quirks: Quirks,
    },
    /// Those that speak OpenAI's Responses. Gives how their tools are called upstream, too.
    Responses { edit: fn(&mut Envelope, &str) -> Result<WithTools, Error> },
    /// Those that speak Anthropic's Messages.
    Anthropic { edit: fn(&mut Envelope, &claude::pass::Asked<'_>) -> Result<Dropped, Error> },
}

impl Grammar {
    /// The body that asks for what `request` does, and what has to be undone in the reply. What is lost is named in the
    /// request.
    pub fn body(
        &self,
        request: &mut Request,
        target: &Target<'_>,
        adds_cache_points: bool,
    ) -> Result<(Vec<u8>, Undo), Error> {
        let undo = self.dialect.fit().apply(request);
        if let Some(add) = self.cache_points.filter(|_| adds_cache_points) {
            add(request, target.model);
        }
        (self.adapt)(request, target.model)?;
        let body = self.dialect.encode(request, target)?;
        let Passes::OpenAi { edit, .. } = self.passes else { return Ok((body, undo)) };
        let mut body = Envelope::parse(body)?;
        edit(&mut body, target.model)?.into_iter().for_each(|name| request.drop_field(name));
        Ok((body.into_bytes(), undo))
    }
}

#[rustfmt::skip]
pub const TABLE: &[Family] = &[
    Family { name: "openai",        owner: "openai",        prefixes: &["gpt-", "chatgpt-", "o1", "o3", "o4"],                      service: Some(openai::SERVICE) },
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

/// Left open: 3.7 is documented for `/converse` only; `/invoke` is tried all the same (dossier 5b.1).
const CLAUDE: Service = Service {
    chat_path: "/invoke",
    stream_path: "/invoke-with-response-stream",
    other_path: None,
    embeddings: None,
    rerank_path: None,
    grammar: Some(Grammar {
        dialect: &anthropic::Invoke,
        adapt: claude::adapt,
        cache_points: Some(claude::add_cache_points),
        passes: Passes::Anthropic { edit: claude::pass::pass },
    }),
    responses: None,
};

/// The family that a model's name tells, if it tells one.
pub fn told(name: &str) -> Option<&'static Family> {
    let length = |f: &Family| {
        f.prefixes.iter().filter(|p| name.starts_with(*p)).map(|p| p.len()).max().unwrap_or(0)
    };
    TABLE.iter().filter(|f| length(f) > 0).max_by_key(|f| length(f))
}

/// The family that a model's name tells, or most likely has. Left open: a name that tells nothing is taken for an OpenAI model:
/// most own names are given to GPT deployments, unknown vendors mostly speak OpenAI's grammar, and `families` corrects the rest.
pub fn of_model(name: &str) -> &'static Family {
    let claude = || claude::Version::named(name).and_then(|_| by_name("claude"));
    told(name).or_else(claude).unwrap_or(&TABLE[0])
}

/// Whether both names mean the same model: with or without `anthropic--`, or one version of Claude in two of its spellings.
pub fn is_same(a: &str, b: &str) -> bool {
    const PREFIX: &str = "anthropic--";
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let version = claude::Version::named;
    bare(a) == bare(b) || version(a).is_some_and(|a| version(b) == Some(a))
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

/// Whose words a model counts in.
pub fn vocabulary(model: &str) -> Vocabulary {
    match of_model(deployed_name(model)).name {
        "claude" if claude::Version::of(model).is_from(4, 7) => Vocabulary::ClaudeFrom4_7,
        "claude" => Vocabulary::Claude,
        "openai" => Vocabulary::OpenAi,
        "gemini" => Vocabulary::Gemini,
        _ => Vocabulary::Other,
    }
}

/// For models that are given the schema of an answer and no word beside it.
fn settle_description(request: &mut Request) {
    if let Format::Schema { description, .. } = &mut request.format
        && description.take().is_some()
    {
        request.drop_field("response_format.json_schema.description");
    }
}

/// For models that only know their own.
fn drop_sampling(request: &mut Request) {
    let all = [
        (&mut request.temperature, "temperature"),
        (&mut request.top_p, "top_p"),
        (&mut request.presence_penalty, "presence_penalty"),
        (&mut request.frequency_penalty, "frequency_penalty"),
    ];
    let names: Vec<_> = all.into_iter().filter_map(|(v, name)| v.take().map(|_| name)).collect();
    names.into_iter().for_each(|name| request.drop_field(name));
}

fn drop_thinking(request: &mut Request) {
    if request.thinking.take().is_some() {
        request.drop_field("reasoning_effort");
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
            ("4.5-sonnet", "claude"),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude"),
            ("our-own-name", "openai"),
        ];
        for (model, family) in table {
            assert_eq!(of_model(model).name, family, "{model}");
        }
    }
}
