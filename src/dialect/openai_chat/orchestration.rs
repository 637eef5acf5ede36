//! SAP's orchestration service, version 2 (dossier 6): one deployment for the models of all vendors, in OpenAI's grammar with
//! an envelope of its own.
//!
//! The service renders `template` as a template, so `{{` in a text would break the request. Neither `messages_history` nor
//! the values of placeholders are rendered, but the template may not be empty. So the last message is the template, whatever
//! its role, each of its texts a placeholder; all messages before it are the history.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::upstream::decode::{self, Completion, failure};
use super::upstream::encode::{self, Content, Extras, Message, Params, Part, ResponseFormat, Tool};
use crate::chat::fit::{Fit, FormatFit, plain};
use crate::chat::{Brackets, Effort, Request, Seal, Thinking};
use crate::dialect::to_json;
use crate::dialect::{StreamDecoder, Target, UpstreamDialect};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::upstream_error;

#[derive(Debug)]
pub struct Orchestration;

/// Characters of an event; the service gathers text until it has as many. Left open by the dossier: its default, 100, makes
/// text come in jerks.
const CHUNK_CHARS: u32 = 50;

static FIT: Fit = Fit {
    name_takes: plain,
    name_max: 64,
    // OpenAI's limit, the narrowest of them.
    id_max: 40,
    format: FormatFit::Native,
    takes_prefill: false,
    takes_media_in_results: false,
    needs_tools_for_calls: true,
    takes_single_call: true,
    takes_seal: |seal| matches!(seal, Seal::Claude(_)),
};

/// Left open by the dossier: which vendors' models may be given an image by its URL; its content is right for all, so URLs
/// are not taken.
impl UpstreamDialect for Orchestration {
    fn fit(&self) -> &'static Fit {
        &FIT
    }

    fn encode(&self, request: &Request, target: &Target<'_>) -> Result<Vec<u8>, Error> {
        let is_claude = is_claude(target.model);
        let extras = Extras { caches: is_claude, reasoning: is_claude, strict: false };
        let mut messages = encode::messages(request, extras)?;
        let mut values = BTreeMap::new();
        let last = messages.pop().map(|last| placeheld(last, &mut values));
        let prompt = Prompt {
            template: last.into_iter().collect(),
            tools: encode::tools(request, extras)?,
            response_format: encode::response_format(&request.format)?,
        };
        let model =
            Model { name: target.model, version: "latest", params: params(request, target.model) };
        let stream = target.is_stream.then_some(Stream { enabled: true, chunk_size: CHUNK_CHARS });
        let modules = Modules { prompt_templating: PromptTemplating { prompt, model } };
        let body = Body {
            config: Config { modules, stream },
            messages_history: messages,
            placeholder_values: values,
        };
        to_json(&body, request)
    }

    /// Some models behind orchestration do not stream (dossier 9.26).
    fn unstreamed(&self, body: &[u8], refusal: &Error) -> Option<Vec<u8>> {
        if !refusal.to_string().contains("Streaming is not supported") {
            return None;
        }
        let mut body = Envelope::parse(body.to_vec()).ok()?;
        let has_changed = body.edit_in("config", |config| {
            config.remove("stream");
        });
        has_changed.then(|| body.into_bytes())
    }

    fn decode(&self, body: &[u8], out: &mut Brackets) {
        decode::whole(body, final_result, out);
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(decode::Stream::new(event_result))
    }
}

#[derive(Serialize)]
struct Body<'a> {
    config: Config<'a>,
    messages_history: Vec<Message<'a>>,
    placeholder_values: BTreeMap<String, Cow<'a, str>>,
}

#[derive(Serialize)]
struct Config<'a> {
    modules: Modules<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Stream>,
}

#[derive(Serialize)]
struct Modules<'a> {
    prompt_templating: PromptTemplating<'a>,
}

#[derive(Serialize)]
struct PromptTemplating<'a> {
    prompt: Prompt<'a>,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Prompt<'a> {
    template: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    version: &'static str,
    params: ModelParams<'a>,
}

#[derive(Serialize)]
struct ModelParams<'a> {
    #[serde(flatten)]
    params: Params<'a>,
    /// Claude's own, as the two below say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ClaudeThinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClaudeThinking {
    Disabled,
    Enabled { budget_tokens: u64 },
    Adaptive,
}

#[derive(Serialize)]
struct OutputConfig {
    effort: &'static str,
}

#[derive(Serialize)]
struct Stream {
    enabled: bool,
    chunk_size: u32,
}

/// The message with a placeholder for each of its texts. What else could hold a brace is made not to.
fn placeheld<'a>(
    mut message: Message<'a>,
    values: &mut BTreeMap<String, Cow<'a, str>>,
) -> Message<'a> {
    match &mut message.content {
        Content::Text(text) => *text = placeholder(std::mem::take(text), values),
        Content::Parts(parts) => {
            for part in parts {
                match part {
                    Part::Text { text, .. } => *text = placeholder(std::mem::take(text), values),
                    Part::ImageUrl { image_url } if image_url.url.contains('{') => {
                        image_url.url = image_url.url.replace('{', "%7B").into();
                    }
                    Part::File { file } if file.filename.contains('{') => {
                        file.filename = file.filename.replace('{', "(").into();
                    }
                    _ => {}
                }
            }
        }
    }
    message
}

fn placeholder<'a>(
    text: Cow<'a, str>,
    values: &mut BTreeMap<String, Cow<'a, str>>,
) -> Cow<'a, str> {
    let name = match values.len() {
        0 => "current".to_owned(),
        n => format!("current_{n}"),
    };
    let placeholder = format!("{{{{?{name}}}}}");
    values.insert(name, text);
    placeholder.into()
}

fn params<'a>(request: &'a Request, model: &str) -> ModelParams<'a> {
    // Left open by the dossier: whether its models are told who asks.
    let mut params = Params { user: None, ..encode::params(request) };
    if takes_newer_limit(model) {
        params.max_completion_tokens = params.max_tokens.take();
    }
    let (mut thinking, mut output_config) = (None, None);
    if is_claude(model) {
        params.reasoning_effort = None;
        (thinking, output_config) = claude_thinking(request.thinking);
    }
    ModelParams { params, thinking, output_config }
}

fn claude_thinking(thinking: Option<Thinking>) -> (Option<ClaudeThinking>, Option<OutputConfig>) {
    match thinking {
        None => (None, None),
        Some(Thinking::Off) => (Some(ClaudeThinking::Disabled), None),
        Some(Thinking::Budget(budget_tokens)) => {
            (Some(ClaudeThinking::Enabled { budget_tokens }), None)
        }
        Some(Thinking::Adaptive) => (Some(ClaudeThinking::Adaptive), None),
        Some(Thinking::Effort(effort)) => {
            let effort = match effort {
                Effort::Minimal | Effort::Low => "low",
                Effort::Medium => "medium",
                Effort::High => "high",
                Effort::Highest => "xhigh",
                Effort::Max => "max",
            };
            (Some(ClaudeThinking::Adaptive), Some(OutputConfig { effort }))
        }
    }
}

fn is_claude(model: &str) -> bool {
    model.starts_with("anthropic--")
}

/// OpenAI's reasoning models: `o1`, `gpt-5` and later.
fn takes_newer_limit(model: &str) -> bool {
    let number = |rest: &str| rest.split(['-', '.']).next().and_then(|n| n.parse::<u32>().ok());
    match (model.strip_prefix("gpt-"), model.strip_prefix('o')) {
        // gpt-35 is 3.5 in Azure's spelling.
        (Some(rest), _) => number(rest).is_some_and(|n| (5..30).contains(&n)),
        (_, Some(rest)) => number(rest).is_some(),
        _ => false,
    }
}

/// As [`final_result`]; but events need nothing besides their `request_id`.
fn event_result(json: &[u8]) -> Result<Completion, Error> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "request_id")]
        _request_id: String,
        #[serde(alias = "orchestration_result")]
        final_result: Option<IgnoredAny>,
        code: Option<IgnoredAny>,
    }
    match serde_json::from_slice(json) {
        Ok(Event { final_result: None, code: None, .. })
            if upstream_error::from_event(json).is_none() =>
        {
            Ok(Completion::default())
        }
        _ => final_result(json),
    }
}

/// The completion within the service's envelope, in the words of version 2 or 1.
fn final_result(json: &[u8]) -> Result<Completion, Error> {
    #[derive(Default, Deserialize)]
    struct Event {
        error: Option<IgnoredAny>,
        #[serde(alias = "orchestration_result")]
        final_result: Option<Completion>,
        code: Option<u16>,
    }
    match serde_json::from_slice(json).unwrap_or_default() {
        Event { error: None, final_result: Some(completion), .. } => Ok(completion),
        // An error as older versions have it: nothing around it.
        Event { error: None, code: Some(code @ 400..600), .. } => {
            Err(upstream_error::from_response(code, json, None))
        }
        _ => Err(failure(json)),
    }
}
