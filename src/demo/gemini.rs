//! Gemini on Vertex AI: `generateContent`, streamed or not, and `predict` for embeddings (dossier
//! 5c).
//!
//! A stream is SSE with or without `alt=sse`; the marker word `gemini=array` makes it the JSON
//! array that Vertex itself has without it, `gemini=crlf` ends its lines in CRLF, and
//! `gemini=blocked` blocks the prompt: no candidates then.

mod check;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::http::Framing;
use super::spaced::spaced;
use super::story::{Choice, End, Format, Prompt, Story, Tool, ToolCall, tokens, vector};
use super::{Answer, Call, Deployment, cache};
use check::{google_error, refusal};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    check::query(call.query)?;
    let path = call.suffix.strip_prefix("models/").and_then(|path| path.split_once(':'));
    let embeds = call.deployment.model == EMBEDDING_MODEL;
    match path {
        Some((model, _)) if model != call.deployment.model => {
            let why = format!("Publisher Model `publishers/google/models/{model}` was not found.");
            Err(google_error(404, &why))
        }
        Some((_, "generateContent")) if !embeds => generate(call, false),
        Some((_, "streamGenerateContent")) if !embeds => generate(call, true),
        Some((_, "predict")) if embeds => predict(call),
        _ => Err(google_error(404, "The requested URL was not found on this server.")),
    }
}

pub(super) fn error_body(status: u16) -> Option<String> {
    let message = match status {
        401 | 403 | 413 | 503 | 504 => return None,
        429 => "Resource exhausted. Please try again later.".to_owned(),
        _ => format!("Status {status}, as asked for (demo)."),
    };
    Some(check::error_object(status, &message).to_string())
}

pub(super) fn error_frame(_: &Call<'_>) -> String {
    check::error_object(429, "Resource exhausted. Please try again later.").to_string()
}

fn generate(call: &Call<'_>, streams: bool) -> Result<Answer, Answer> {
    let request = check::generate(call.body, call.deployment)?;
    if call.fault.gemini == "blocked" {
        let blocked = blocked(call, &request);
        let frames = vec![spaced(&blocked)];
        return Ok(if streams { Answer::stream(frames) } else { Answer::json(200, &blocked) });
    }
    let generated = Generated::new(call, &request);
    if !streams {
        return Ok(Answer::json(200, &generated.whole()));
    }
    let frames = generated.frames();
    if call.fault.gemini == "array" {
        let mut answer = Answer::stream(as_array(frames)).with_framing(Framing::NoPrefix);
        answer.headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        return Ok(answer);
    }
    Ok(Answer::stream(frames))
}

fn blocked(call: &Call<'_>, request: &Value) -> Value {
    let prompt = prompt_tokens(request);
    json!({
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": prompt, "totalTokenCount": prompt},
        "modelVersion": call.deployment.answers_as,
    })
}

/// The elements, with what stands between them.
fn as_array(frames: Vec<String>) -> Vec<String> {
    let last = frames.len().saturating_sub(1);
    let element = |(n, frame): (usize, String)| {
        let open = if n == 0 { "[" } else { "," };
        let close = if n == last { "]" } else { "" };
        format!("{open}{frame}{close}")
    };
    frames.into_iter().enumerate().map(element).collect()
}

/// An answer before it is written either way.
struct Generated {
    id: String,
    model: String,
    /// What is shown of the thoughts.
    thought: Option<&'static str>,
    /// Signs texts too.
    signs_text: bool,
    story: Story,
    finish: String,
    count: u64,
    usage: Value,
}

impl Generated {
    fn new(call: &Call<'_>, request: &Value) -> Generated {
        let config = &request["generationConfig"];
        let most = config["maxOutputTokens"].as_u64().unwrap_or(65_536) as usize;
        let thinking = thoughts(call.deployment, config).min(most / 2);
        let story = Story::new(&prompt(request, most - thinking), call.fault);
        let finish = match story.end {
            End::Full => "MAX_TOKENS",
            _ => "STOP",
        };
        let count = config["candidateCount"].as_u64().unwrap_or(1);
        let shown = thinking > 0 && config["thinkingConfig"]["includeThoughts"] == true;
        let spoken = story.tokens() * count as usize;
        Generated {
            id: format!("Demo{:012}", call.number),
            model: call.deployment.answers_as.clone(),
            thought: shown.then_some(THOUGHT),
            signs_text: check::is_third_generation(call.deployment),
            finish: call.fault.stop_reason.clone().unwrap_or(finish.to_owned()),
            story,
            count,
            usage: usage(prompt_tokens(request), spoken, thinking, cached(call, request)),
        }
    }

    fn whole(&self) -> Value {
        let mut parts = Vec::new();
        parts.extend(self.thought.map(thought_part));
        if self.story.calls.is_empty() {
            parts.push(self.last_text(&self.story.text()));
        }
        parts.extend(self.calls());
        let candidates = (0..self.count).map(|n| {
            let mut candidate = self.candidate(n, json!(parts));
            candidate["finishReason"] = json!(self.finish);
            candidate["avgLogprobs"] = json!(-0.02);
            candidate["safetyRatings"] = CATEGORIES.iter().map(|name| rating(name)).collect();
            candidate
        });
        self.message(candidates.collect(), &self.usage)
    }

    fn frames(&self) -> Vec<String> {
        let early = json!({"trafficType": "ON_DEMAND"});
        let mut parts = Vec::new();
        parts.extend(self.thought.map(thought_part));
        parts.extend(self.story.pieces.iter().map(|piece| json!({ "text": piece })));
        if self.story.calls.is_empty() {
            parts.push(self.last_text(""));
        }
        parts.extend(self.calls());
        let last = parts.len() - 1;
        let frames = parts.iter().enumerate().map(|(at, part)| {
            let candidates = (0..self.count).map(|n| {
                let mut candidate = self.candidate(n, json!([part]));
                if at == last {
                    candidate["finishReason"] = json!(self.finish);
                }
                candidate
            });
            let usage = if at == last { &self.usage } else { &early };
            spaced(&self.message(candidates.collect(), usage))
        });
        frames.collect()
    }

    fn message(&self, candidates: Vec<Value>, usage: &Value) -> Value {
        json!({
            "candidates": candidates,
            "usageMetadata": usage,
            "modelVersion": self.model,
            "createTime": "2026-05-01T08:00:00.000000Z",
            "responseId": self.id,
        })
    }

    fn candidate(&self, index: u64, parts: Value) -> Value {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}});
        if self.count > 1 {
            candidate["index"] = json!(index);
        }
        candidate
    }

    fn last_text(&self, text: &str) -> Value {
        let mut part = json!({ "text": text });
        if self.signs_text {
            part["thoughtSignature"] = json!(text_signature());
        }
        part
    }

    /// Only the first of parallel calls is signed.
    fn calls(&self) -> impl Iterator<Item = Value> {
        self.story.calls.iter().enumerate().map(|(n, call)| {
            let args = args(call);
            let mut part = json!({"functionCall": {"name": call.name, "args": args}});
            if n == 0 {
                part["thoughtSignature"] = json!(signature(&call.name, &args));
            }
            part
        })
    }
}

fn args(call: &ToolCall) -> Value {
    serde_json::from_str(&call.arguments).unwrap_or_default()
}

/// What the demo signs this call with, and takes back with it.
fn signature(name: &str, args: &Value) -> String {
    STANDARD.encode(crate::auth::digest(format!("{name} {args}")))
}

fn text_signature() -> String {
    STANDARD.encode(crate::auth::digest("a text"))
}

fn thought_part(thought: &str) -> Value {
    json!({"text": thought, "thought": true})
}

fn rating(category: &str) -> Value {
    json!({
        "category": category,
        "probability": "NEGLIGIBLE",
        "probabilityScore": 0.01,
        "severity": "HARM_SEVERITY_NEGLIGIBLE",
        "severityScore": 0.02,
    })
}

fn usage(prompt: usize, spoken: usize, thinking: usize, cached: usize) -> Value {
    let mut usage = json!({
        "promptTokenCount": prompt,
        "candidatesTokenCount": spoken,
        "totalTokenCount": prompt + spoken + thinking,
        "trafficType": "ON_DEMAND",
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": spoken}],
    });
    if thinking > 0 {
        usage["thoughtsTokenCount"] = json!(thinking);
    }
    if cached > 0 {
        usage["cachedContentTokenCount"] = json!(cached);
    }
    usage
}

/// A conversation that begins as one before it did is cached up to there.
fn cached(call: &Call<'_>, request: &Value) -> usize {
    let start = format!("{} {}", request["systemInstruction"], request["contents"][0]);
    let key = format!("gemini {} {start}", call.deployment.model);
    let is_new = cache::is_new(call, &key);
    if is_new { 0 } else { tokens(start.len()).min(prompt_tokens(request)) }
}

/// How many tokens it thinks for.
fn thoughts(deployment: &Deployment, config: &Value) -> usize {
    let thinking = &config["thinkingConfig"];
    match (thinking["thinkingBudget"].as_i64(), thinking["thinkingLevel"].as_str()) {
        (Some(0), _) => 0,
        (Some(budget), _) if budget > 0 => usize::try_from(budget).unwrap_or(64).min(64),
        (_, Some("LOW" | "MINIMAL" | "low" | "minimal")) => 16,
        _ if deployment.model.contains("flash-lite") => 0,
        _ => 64,
    }
}

fn prompt(request: &Value, most_tokens: usize) -> Prompt {
    let contents = list(&request["contents"]);
    let last = contents.last().unwrap_or(&Value::Null);
    let results = parts(last).filter_map(|part| part.pointer("/functionResponse/response"));
    let user = contents.iter().rev().find(|c| c["role"] == "user" && has_text(c));
    let user = user.unwrap_or(&Value::Null);
    let media = |what: &dyn Fn(&str) -> bool| {
        let kinds = parts(user).filter_map(|part| part.pointer("/inlineData/mimeType")?.as_str());
        kinds.filter(|kind| what(kind)).count()
    };
    let config = &request["generationConfig"];
    Prompt {
        user: text_of(user),
        asks: last["role"] == "user" && has_text(last),
        results: results.map(result_text).collect(),
        images: media(&|kind| kind.starts_with("image/")),
        documents: media(&|kind| kind == "application/pdf"),
        tools: declarations(request).map(tool).collect(),
        choice: choice(&request["toolConfig"]["functionCallingConfig"]),
        format: format(config),
        stops: texts(&config["stopSequences"]),
        most_tokens,
        ..Prompt::default()
    }
}

fn result_text(response: &Value) -> String {
    let only = ["result", "output", "content"].iter().find_map(|key| response.get(key)?.as_str());
    only.map_or_else(|| response.to_string(), str::to_owned)
}

fn tool(declaration: &Value) -> Tool {
    let full = declaration.get("parametersJsonSchema");
    let parameters = full.cloned().or_else(|| declaration.get("parameters").map(lower_types));
    Tool {
        name: declaration["name"].as_str().unwrap_or_default().to_owned(),
        parameters: parameters.unwrap_or_default(),
    }
}

/// The subset's schema with JSON Schema's spelling of types.
fn lower_types(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| match value {
                Value::String(kind) if key == "type" => (key.clone(), json!(kind.to_lowercase())),
                value => (key.clone(), lower_types(value)),
            });
            Value::Object(entries.collect())
        }
        Value::Array(values) => values.iter().map(lower_types).collect(),
        other => other.clone(),
    }
}

fn choice(config: &Value) -> Choice {
    let allowed = texts(&config["allowedFunctionNames"]);
    match (config["mode"].as_str(), allowed.as_slice()) {
        (Some("NONE"), _) => Choice::Never,
        (Some("ANY"), [only]) => Choice::Named(only.clone()),
        (Some("ANY"), _) => Choice::Any,
        _ => Choice::Auto,
    }
}

fn format(config: &Value) -> Format {
    if config["responseMimeType"] != "application/json" {
        return Format::Text;
    }
    match (config.get("responseJsonSchema"), config.get("responseSchema")) {
        (Some(schema), _) => Format::Schema(schema.clone()),
        (None, Some(schema)) => Format::Schema(lower_types(schema)),
        (None, None) => Format::Json,
    }
}

fn declarations(request: &Value) -> impl Iterator<Item = &Value> {
    list(&request["tools"]).iter().flat_map(|tool| list(&tool["functionDeclarations"]))
}

fn parts(content: &Value) -> std::slice::Iter<'_, Value> {
    list(&content["parts"]).iter()
}

fn has_text(content: &Value) -> bool {
    parts(content).any(|part| part.get("text").is_some())
}

fn text_of(content: &Value) -> String {
    let texts = parts(content).filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

fn prompt_tokens(request: &Value) -> usize {
    let of_contents = list(&request["contents"]).iter().flat_map(parts).map(|part| {
        let media = part.get("inlineData").or(part.get("fileData")).is_some();
        if media { 258 } else { tokens(part.to_string().len()) }
    });
    let others = [&request["systemInstruction"], &request["tools"]];
    let of_others = others.iter().filter(|value| !value.is_null());
    of_contents.sum::<usize>() + of_others.map(|v| tokens(v.to_string().len())).sum::<usize>()
}

fn predict(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check::predict(call.body)?;
    let instances = list(&request["instances"]);
    let [instance] = instances else {
        let count = instances.len();
        let why = format!(
            "{count} instance(s) is not allowed for this model: it supports 1 instance per call."
        );
        return Err(refusal(&why));
    };
    let content = instance["content"].as_str().unwrap_or_default();
    let wanted = request["parameters"]["outputDimensionality"].as_u64().unwrap_or(3072) as usize;
    let statistics = json!({"token_count": tokens(content.len()), "truncated": false});
    let embeddings = json!({"values": vector(content, wanted), "statistics": statistics});
    Ok(Answer::json(
        200,
        &json!({
            "predictions": [{"embeddings": embeddings}],
            "metadata": {"billableCharacterCount": content.chars().count()},
        }),
    ))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

const EMBEDDING_MODEL: &str = "gemini-embedding";
const THOUGHT: &str = "Considering the question.";
const CATEGORIES: [&str; 4] = [
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
];
