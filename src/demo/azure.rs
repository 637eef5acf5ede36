//! Azure OpenAI deployments: chat, streamed or not, embeddings, and [`responses`] (dossier 5a).
//!
//! Frames come in the recorded order: prompt filter, role, contents, finish, usage if asked for,
//! `[DONE]`; keys in the recorded (alphabetical) order, which is that of `serde_json`'s map.

mod check;
mod responses;

use serde_json::{Map, Value, json};

use super::openai::{most_tokens, now, packed, present, prompt, prompt_tokens};
use super::story::{End, Story, ToolCall, thirds, tokens, vector, woven};
use super::{Answer, Call, Deployment, Fault, ai_api_error, pairs, value};
use check::refusal;
pub(super) use responses::{Kept, spoken_before};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    if call.deployment.has_responses() && responses::is_path(call.suffix) {
        return responses::serve(call);
    }
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

/// What a stream says of a rate limit.
pub(super) fn error_frame(_: &Call<'_>) -> String {
    let error = json!({"code": "429", "message": "exceeded token rate limit (demo)"});
    json!({ "error": error }).to_string()
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
    if call.deployment.has_only_responses() {
        return Err(no_chat(call.deployment));
    }
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

fn no_chat(deployment: &Deployment) -> Answer {
    let message = format!(
        "The chatCompletion operation does not work with the specified model, {}. Please choose \
         different model and try again. You can learn more about which models can be used with \
         each operation here: https://go.microsoft.com/fwlink/?linkid=2197993.",
        deployment.model
    );
    let error = json!({"code": "OperationNotSupported", "message": message});
    Answer::json(400, &json!({ "error": error }))
}

/// An answer before it is written either way.
struct Completion<'a> {
    id: String,
    created: u64,
    model: String,
    choices: Vec<Story>,
    fault: &'a Fault,
    /// What the ids of calls begin with.
    call_id: String,
    usage: Value,
    /// How many alternatives each token is to have; `None` without logprobs.
    logprobs: Option<usize>,
}

impl Completion<'_> {
    fn new<'a>(
        call: &'a Call<'_>,
        request: &Map<String, Value>,
        prompt_tokens: usize,
    ) -> Completion<'a> {
        let most = most_tokens(request);
        let thinking = reasoning_tokens(call.deployment, request).min(most / 2);
        let story = Story::new(&prompt(request, most - thinking), call.fault);
        let count = request.get("n").and_then(Value::as_u64).unwrap_or(1);
        let choices = (0..count).map(|_| story.clone()).collect::<Vec<_>>();
        let spoken = choices.iter().map(Story::tokens).sum::<usize>();
        let logprobs = request.get("logprobs") == Some(&json!(true));
        let top = request.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0) as usize;
        Completion {
            id: format!("chatcmpl-Demo{:024}", call.number),
            created: now(),
            model: call.deployment.answers_as.clone(),
            choices,
            fault: call.fault,
            call_id: format!("call_Demo{:018}", call.number),
            usage: usage(prompt_tokens, spoken + thinking, thinking),
            logprobs: logprobs.then_some(top),
        }
    }

    fn whole(&self) -> Value {
        let choices = self.choices.iter().enumerate().map(|(index, choice)| {
            let text = choice.text();
            let mut message = json!({
                "annotations": [],
                "content": text,
                "refusal": null,
                "role": "assistant",
            });
            if !choice.calls.is_empty() {
                message["content"] = Value::Null;
                message["tool_calls"] = self.calls(choice);
            }
            json!({
                "content_filter_results": if choice.calls.is_empty() { safe() } else { json!({}) },
                "finish_reason": self.finish(choice),
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

    fn choice_frames(&self, index: usize, choice: &Story) -> Vec<String> {
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
        let calls = choice.calls.iter().enumerate();
        let calls = calls.map(|(n, call)| self.call_deltas(n, call)).collect();
        for delta in woven(calls, self.fault.interleave) {
            frame(json!({}), delta, Value::Null, Value::Null);
        }
        frame(json!({}), json!({}), json!(self.finish(choice)), Value::Null);
        frames
    }

    fn call_deltas(&self, n: usize, call: &ToolCall) -> Vec<Value> {
        let mut open = json!({"tool_calls": [self.opened(n, call)]});
        if n == 0 {
            open["content"] = Value::Null;
            open["refusal"] = Value::Null;
            open["role"] = json!("assistant");
        }
        let mut deltas = vec![open];
        deltas.extend(thirds(&call.arguments).iter().map(|piece| {
            let delta = json!({"function": {"arguments": piece}, "index": n});
            json!({ "tool_calls": [delta] })
        }));
        deltas
    }

    fn finish(&self, story: &Story) -> &str {
        self.fault.stop_reason.as_deref().unwrap_or(match story.end {
            End::Said | End::Stopped(_) => "stop",
            End::Calls => "tool_calls",
            End::Full => "length",
        })
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

    fn calls(&self, choice: &Story) -> Value {
        let calls = choice.calls.iter().enumerate().map(|(n, call)| {
            let function = json!({"arguments": call.arguments, "name": call.name});
            json!({"function": function, "id": self.id_of_call(n), "type": "function"})
        });
        calls.collect()
    }

    fn opened(&self, n: usize, call: &ToolCall) -> Value {
        let function = json!({"arguments": "", "name": call.name});
        json!({"function": function, "id": self.id_of_call(n), "index": n, "type": "function"})
    }

    fn id_of_call(&self, n: usize) -> String {
        format!("{}{n:02}", self.call_id)
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

fn reasoning_tokens(deployment: &Deployment, request: &Map<String, Value>) -> usize {
    let effort = request.get("reasoning_effort").and_then(Value::as_str);
    match (deployment.is_reasoning(), effort) {
        (false, _) | (true, Some("none")) => 0,
        (true, Some("minimal" | "low")) => 16,
        (true, _) => 64,
    }
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
    let (usual, adjustable) = match deployment.model.as_str() {
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

const FINGERPRINT: &str = "fp_0123456789";
const PROMPT_FILTER_FRAME: &str = concat!(
    r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"#,
    r#""prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"#,
    r#""self_harm":{"filtered":false,"severity":"safe"},"#,
    r#""sexual":{"filtered":false,"severity":"safe"},"#,
    r#""violence":{"filtered":false,"severity":"safe"}}}]}"#,
);
const EMBEDDING_KEYS: &[&str] = &["input", "model", "dimensions", "encoding_format", "user"];
const INPUTS_MAX: usize = 2048;
