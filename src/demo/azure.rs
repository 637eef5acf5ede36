//! Azure OpenAI deployments: chat, streamed or not, and embeddings (dossier 5a).
//!
//! Frames come in the recorded order: prompt filter, role, contents, finish, usage if asked for,
//! `[DONE]`; keys in the recorded (alphabetical) order, which is that of `serde_json`'s map.

mod check;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::fault::without_markers;
use super::{Answer, Call, Deployment, Fault, ai_api_error, pairs, schema, value};
use check::{present, refusal};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    let embeds = call.deployment.model.starts_with("text-embedding-");
    let version = value(&pairs(call.query), "api-version");
    match (call.suffix, version.filter(|version| is_api_version(version))) {
        ("chat/completions", Some(_)) if !embeds => chat(call),
        ("embeddings", Some(_)) if embeds => embeddings(call),
        _ => {
            let target = format!("{}?{}", call.suffix, call.query);
            Err(ai_api_error(404, "01020404", "No such path in this deployment", &target))
        }
    }
}

/// `2024-10-21` or `2025-04-01-preview`.
fn is_api_version(version: &str) -> bool {
    let date = version.strip_suffix("-preview").unwrap_or(version);
    let digits = date.bytes().enumerate().all(|(n, byte)| match n {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    date.len() == 10 && digits
}

fn chat(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check::object(call.body)?;
    let prompt_tokens = prompt_tokens(&request);
    check::chat(&request, call.deployment, prompt_tokens)?;
    let completion = Completion::new(call, &request, prompt_tokens);
    if request.get("stream") == Some(&json!(true)) {
        let usage = request.get("stream_options").and_then(|o| o.get("include_usage"));
        return Ok(Answer::stream(completion.frames(usage == Some(&json!(true)))));
    }
    Ok(Answer::json(200, &completion.whole()))
}

/// An answer before it is written either way.
struct Completion {
    id: String,
    created: u64,
    model: &'static str,
    choices: Vec<Choice>,
    usage: Value,
    /// How many alternatives each token is to have; `None` without logprobs.
    logprobs: Option<usize>,
}

#[derive(Clone)]
struct Choice {
    /// The text's pieces, one a frame.
    pieces: Vec<String>,
    calls: Vec<ToolCall>,
    finish: &'static str,
}

#[derive(Clone)]
struct ToolCall {
    id: String,
    name: String,
    arguments: String,
}

impl Completion {
    fn new(call: &Call<'_>, request: &Map<String, Value>, prompt_tokens: usize) -> Completion {
        let most = ["max_completion_tokens", "max_tokens"]
            .into_iter()
            .find_map(|key| present(request, key)?.as_u64())
            .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let thinking = reasoning_tokens(call.deployment, request).min(most / 2);
        let choice = choice(call, request, most - thinking);
        let count = request.get("n").and_then(Value::as_u64).unwrap_or(1);
        let choices = (0..count).map(|_| choice.clone()).collect::<Vec<_>>();
        let spoken = choices.iter().map(Choice::tokens).sum::<usize>();
        let logprobs = request.get("logprobs") == Some(&json!(true));
        let top = request.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0) as usize;
        Completion {
            id: format!("chatcmpl-Demo{:024}", call.number),
            created: now(),
            model: call.deployment.answers_as,
            choices,
            usage: usage(prompt_tokens, spoken + thinking, thinking),
            logprobs: logprobs.then_some(top),
        }
    }

    fn whole(&self) -> Value {
        let choices = self.choices.iter().enumerate().map(|(index, choice)| {
            let text = choice.pieces.concat();
            let mut message = json!({
                "annotations": [],
                "content": text,
                "refusal": null,
                "role": "assistant",
            });
            if !choice.calls.is_empty() {
                message["content"] = Value::Null;
                message["tool_calls"] = choice.calls.iter().map(ToolCall::whole).collect();
            }
            json!({
                "content_filter_results": if choice.calls.is_empty() { safe() } else { json!({}) },
                "finish_reason": choice.finish,
                "index": index,
                "logprobs": self.logprobs(choice.pieces.iter()),
                "message": message,
            })
        });
        let choices = choices.collect::<Vec<_>>();
        json!({
            "choices": choices,
            "created": self.created,
            "id": self.id,
            "model": self.model,
            "object": "chat.completion",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": safe()}],
            "system_fingerprint": FINGERPRINT,
            "usage": self.usage,
        })
    }

    fn frames(&self, include_usage: bool) -> Vec<String> {
        let mut of_choices = Vec::new();
        for (index, choice) in self.choices.iter().enumerate() {
            of_choices.push(self.choice_frames(index, choice).into_iter());
        }
        let mut frames = vec![PROMPT_FILTER_FRAME.to_owned()];
        while let Some(first) = of_choices.iter().position(|rest| rest.len() > 0) {
            frames.extend(of_choices[first..].iter_mut().filter_map(Iterator::next));
        }
        if include_usage {
            frames.push(self.frame(json!([]), &self.usage));
        }
        frames.push("[DONE]".to_owned());
        frames
    }

    fn choice_frames(&self, index: usize, choice: &Choice) -> Vec<String> {
        let mut frames = Vec::new();
        let mut frame = |filter: Value, delta: Value, finish: Value, logprobs: Value| {
            let choice = json!({
                "content_filter_results": filter,
                "delta": delta,
                "finish_reason": finish,
                "index": index,
                "logprobs": logprobs,
            });
            frames.push(self.frame(json!([choice]), &Value::Null));
        };
        if choice.calls.is_empty() {
            let role = json!({"content": "", "refusal": null, "role": "assistant"});
            frame(json!({}), role, Value::Null, Value::Null);
        }
        for piece in &choice.pieces {
            let logprobs = self.logprobs(std::iter::once(piece));
            frame(safe(), json!({ "content": piece }), Value::Null, logprobs);
        }
        for (n, call) in choice.calls.iter().enumerate() {
            let mut open = json!({"tool_calls": [call.opened(n)]});
            if n == 0 {
                open["content"] = Value::Null;
                open["refusal"] = Value::Null;
                open["role"] = json!("assistant");
            }
            frame(json!({}), open, Value::Null, Value::Null);
            for piece in thirds(&call.arguments) {
                let delta = json!({"function": {"arguments": piece}, "index": n});
                frame(json!({}), json!({ "tool_calls": [delta] }), Value::Null, Value::Null);
            }
        }
        frame(json!({}), json!({}), json!(choice.finish), Value::Null);
        frames
    }

    fn frame(&self, choices: Value, usage: &Value) -> String {
        json!({
            "choices": choices,
            "created": self.created,
            "id": self.id,
            "model": self.model,
            "object": "chat.completion.chunk",
            "system_fingerprint": FINGERPRINT,
            "usage": usage,
        })
        .to_string()
    }

    fn logprobs<'a>(&self, pieces: impl Iterator<Item = &'a String>) -> Value {
        let Some(top) = self.logprobs else { return Value::Null };
        let token = |piece: &String, n: usize| {
            let logprob = -0.25 - n as f64;
            json!({"bytes": piece.as_bytes(), "logprob": logprob, "token": piece})
        };
        let content = pieces.map(|piece| {
            let mut chosen = token(piece, 0);
            chosen["top_logprobs"] = (0..top).map(|n| token(piece, n)).collect();
            chosen
        });
        json!({"content": content.collect::<Vec<_>>(), "refusal": null})
    }
}

impl Choice {
    fn tokens(&self) -> usize {
        let spoken = self.pieces.iter().map(String::len).sum::<usize>();
        let called = self.calls.iter().map(|c| c.name.len() + c.arguments.len()).sum::<usize>();
        tokens(spoken + called)
    }
}

impl ToolCall {
    fn whole(&self) -> Value {
        let function = json!({"arguments": self.arguments, "name": self.name});
        json!({"function": function, "id": self.id, "type": "function"})
    }

    fn opened(&self, index: usize) -> Value {
        let function = json!({"arguments": "", "name": self.name});
        json!({"function": function, "id": self.id, "index": index, "type": "function"})
    }
}

/// Tool calls, an instance of the wanted schema, or a sentence.
fn choice(call: &Call<'_>, request: &Map<String, Value>, most_tokens: usize) -> Choice {
    let calls = tool_calls(call, request);
    if !calls.is_empty() {
        return Choice { pieces: Vec::new(), calls, finish: "tool_calls" };
    }
    if let Some(count) = call.fault.frames {
        let pieces = (1..=count).map(|n| format!("word{n} ")).collect();
        return Choice { pieces, calls, finish: "stop" };
    }
    let said = said(request);
    let format = request.get("response_format");
    let text = match format.and_then(|f| f.get("type")?.as_str()) {
        Some("json_object") => json!({ "answer": said }).to_string(),
        Some("json_schema") => {
            let wanted = format.and_then(|f| f.pointer("/json_schema/schema"));
            schema::instance(wanted.unwrap_or(&Value::Null)).to_string()
        }
        _ => said,
    };
    let (text, finish) = shortened(text, request, most_tokens);
    Choice { pieces: words(&text), calls, finish }
}

/// The text up to the first stop sequence or the last token allowed, and why it ends there.
fn shortened(
    mut text: String,
    request: &Map<String, Value>,
    most: usize,
) -> (String, &'static str) {
    let stops = match request.get("stop") {
        Some(Value::String(stop)) => vec![stop.as_str()],
        Some(Value::Array(stops)) => stops.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let stops = stops.iter().filter(|stop| !stop.is_empty());
    if let Some(end) = stops.filter_map(|stop| text.find(stop)).min() {
        text.truncate(end);
    }
    if tokens(text.len()) <= most {
        return (text, "stop");
    }
    let mut end = most.saturating_mul(BYTES_PER_TOKEN).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    (text, "length")
}

/// What a person would read: their own words or a tool's, and what it is that answers.
fn said(request: &Map<String, Value>) -> String {
    let messages = messages(request);
    let results = messages.iter().rev().take_while(|m| m["role"] == "tool").collect::<Vec<_>>();
    if !results.is_empty() {
        let texts = results.iter().rev().map(|m| text_of(m)).collect::<Vec<_>>();
        return format!("The tool says: {} — {SIGNATURE}", texts.join(" · "));
    }
    let user = messages.iter().rev().find(|m| m["role"] == "user").unwrap_or(&Value::Null);
    let seen = match parts(user).filter(|part| part["type"] == "image_url").count() {
        0 => String::new(),
        1 => " I see 1 image.".to_owned(),
        n => format!(" I see {n} images."),
    };
    format!("You said: \"{}\".{seen} {SIGNATURE}", without_markers(&text_of(user)))
}

/// The calls that the marker, `tool_choice` or the user's words ask for.
fn tool_calls(call: &Call<'_>, request: &Map<String, Value>) -> Vec<ToolCall> {
    let tools = present(request, "tools").and_then(Value::as_array);
    let functions = tools.into_iter().flatten().filter_map(|tool| tool.get("function"));
    let functions = functions.collect::<Vec<_>>();
    let mut wanted = wanted_tools(call.fault, request, &functions);
    if request.get("parallel_tool_calls") == Some(&json!(false)) {
        wanted.truncate(1);
    }
    let made = wanted.iter().enumerate().map(|(n, function)| {
        let parameters = function.get("parameters").unwrap_or(&Value::Null);
        let arguments = match parameters {
            Value::Null => json!({}),
            parameters => schema::instance(parameters),
        };
        ToolCall {
            id: format!("call_Demo{:018}{n:02}", call.number),
            name: function["name"].as_str().unwrap_or_default().to_owned(),
            arguments: arguments.to_string(),
        }
    });
    made.collect()
}

fn wanted_tools<'a>(
    fault: &Fault,
    request: &Map<String, Value>,
    functions: &[&'a Value],
) -> Vec<&'a Value> {
    let named = |names: &dyn Fn(&str) -> bool| {
        let known = functions.iter().filter(|f| f["name"].as_str().is_some_and(names));
        known.copied().collect::<Vec<_>>()
    };
    let last = messages(request).last().unwrap_or(&Value::Null);
    let from_user = last["role"] == "user";
    let words = without_markers(&text_of(last));
    let mentioned = || named(&|name| from_user && mentions(&words, name));
    match request.get("tool_choice") {
        Some(Value::String(choice)) if choice == "none" => Vec::new(),
        Some(Value::String(choice)) if choice == "required" => {
            let mentioned = mentioned();
            let first = functions.first().copied().into_iter().collect();
            if mentioned.is_empty() { first } else { mentioned }
        }
        Some(choice @ Value::Object(_)) => {
            let name = choice.pointer("/function/name").and_then(Value::as_str);
            named(&|known| name == Some(known))
        }
        _ if from_user && !fault.tools.is_empty() => {
            named(&|name| fault.tools.iter().any(|wanted| wanted == name))
        }
        _ => mentioned(),
    }
}

/// The name as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

/// Pieces that end after a space; a long text has longer ones, so that no answer takes for ever.
fn words(text: &str) -> Vec<String> {
    let words = text.split_inclusive(' ').collect::<Vec<_>>();
    let size = words.len().div_ceil(PIECES_MAX).max(1);
    words.chunks(size).map(<[&str]>::concat).collect()
}

fn thirds(text: &str) -> Vec<String> {
    let chars = text.chars().collect::<Vec<_>>();
    chars.chunks(chars.len().div_ceil(3).max(1)).map(|c| c.iter().collect()).collect()
}

fn messages(request: &Map<String, Value>) -> &[Value] {
    request.get("messages").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn parts(message: &Value) -> impl Iterator<Item = &Value> {
    message.get("content").and_then(Value::as_array).into_iter().flatten()
}

fn text_of(message: &Value) -> String {
    if let Some(text) = message.get("content").and_then(Value::as_str) {
        return text.to_owned();
    }
    let texts = parts(message).filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

fn prompt_tokens(request: &Map<String, Value>) -> usize {
    let of_messages = messages(request).iter().map(|message| {
        let images = parts(message).filter(|part| part["type"] == "image_url").count();
        let calls = message.get("tool_calls").map_or(0, |calls| calls.to_string().len());
        4 + tokens(text_of(message).len() + calls) + images * 85
    });
    let of_tools = request.get("tools").map_or(0, |tools| tokens(tools.to_string().len()));
    3 + of_messages.sum::<usize>() + of_tools
}

fn reasoning_tokens(deployment: &Deployment, request: &Map<String, Value>) -> usize {
    let effort = request.get("reasoning_effort").and_then(Value::as_str);
    match (deployment.is_reasoning(), effort) {
        (false, _) | (true, Some("none")) => 0,
        (true, Some("minimal" | "low")) => 16,
        (true, _) => 64,
    }
}

fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

fn usage(prompt: usize, completion: usize, reasoning: usize) -> Value {
    json!({
        "completion_tokens": completion,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0,
            "audio_tokens": 0,
            "reasoning_tokens": reasoning,
            "rejected_prediction_tokens": 0,
        },
        "prompt_tokens": prompt,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
        "total_tokens": prompt + completion,
    })
}

fn safe() -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe})
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn embeddings(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check::object(call.body)?;
    check::known_keys(&request, EMBEDDING_KEYS)?;
    let inputs = inputs(&request)?;
    let dimensions = dimensions(&request, call.deployment)?;
    let base64 = match present(&request, "encoding_format").map(|format| format.as_str()) {
        None | Some(Some("float")) => false,
        Some(Some("base64")) => true,
        _ => {
            let why = "Invalid value for 'encoding_format'. Supported: 'float', 'base64'.";
            return Err(refusal(why, json!("encoding_format"), json!("invalid_value")));
        }
    };
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = vector(&input.text, dimensions);
        let embedding = if base64 { json!(packed(&vector)) } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data = data.collect::<Vec<_>>();
    let prompt = inputs.iter().map(|input| input.tokens).sum::<usize>();
    Ok(Answer::json(
        200,
        &json!({
            "object": "list",
            "data": data,
            "model": call.deployment.answers_as,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
        }),
    ))
}

/// One text to embed; of token ids, their JSON.
struct Input {
    text: String,
    tokens: usize,
}

fn inputs(request: &Map<String, Value>) -> Result<Vec<Input>, Answer> {
    let one = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => {
            Some(Input { text: text.clone(), tokens: tokens(text.len()) })
        }
        Value::Array(ids) if !ids.is_empty() && ids.iter().all(Value::is_u64) => {
            Some(Input { text: value.to_string(), tokens: ids.len() })
        }
        _ => None,
    };
    let input = present(request, "input").unwrap_or(&Value::Null);
    let inputs = match (one(input), input) {
        (Some(input), _) => Some(vec![input]),
        (None, Value::Array(all)) if (1..=INPUTS_MAX).contains(&all.len()) => {
            all.iter().map(one).collect()
        }
        _ => None,
    };
    inputs.ok_or_else(|| {
        let why = "'$.input' is invalid. Please check the API reference: \
                   https://platform.openai.com/docs/api-reference.";
        refusal(why, Value::Null, Value::Null)
    })
}

fn dimensions(request: &Map<String, Value>, deployment: &Deployment) -> Result<usize, Answer> {
    let (usual, adjustable) = match deployment.model {
        "text-embedding-3-large" => (3072, true),
        model => (1536, model.starts_with("text-embedding-3")),
    };
    let Some(given) = present(request, "dimensions") else { return Ok(usual) };
    if !adjustable {
        let why = "This model does not support specifying dimensions.";
        return Err(refusal(why, Value::Null, Value::Null));
    }
    let given = given.as_u64().and_then(|n| usize::try_from(n).ok());
    given.filter(|n| (1..=usual).contains(n)).ok_or_else(|| {
        let why = format!("Invalid value for 'dimensions': expected an integer from 1 to {usual}.");
        refusal(&why, json!("dimensions"), json!("invalid_value"))
    })
}

/// A vector of length 1, the same for the same text.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let digest = crate::auth::digest(text);
    let mut seed = digest.iter().take(8).fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
    let mut next = || {
        // The constants are Knuth's MMIX generator.
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let raw = (0..dimensions).map(|_| next()).collect::<Vec<_>>();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.iter().map(|x| x / length).collect()
}

fn packed(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

const SIGNATURE: &str = "This is the demo of sap-ai-core-llm-proxy: a simulated SAP AI Core \
                         answers, no model is involved — enjoy 👋";
const FINGERPRINT: &str = "fp_0123456789";
const PROMPT_FILTER_FRAME: &str = concat!(
    r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"#,
    r#""prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"#,
    r#""self_harm":{"filtered":false,"severity":"safe"},"#,
    r#""sexual":{"filtered":false,"severity":"safe"},"#,
    r#""violence":{"filtered":false,"severity":"safe"}}}]}"#,
);
const EMBEDDING_KEYS: &[&str] = &["input", "model", "dimensions", "encoding_format", "user"];
const BYTES_PER_TOKEN: usize = 4;
const PIECES_MAX: usize = 80;
const INPUTS_MAX: usize = 2048;
