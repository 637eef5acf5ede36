//! Open models behind vLLM: Mistral, Llama, DeepSeek, Qwen, and NVIDIA's embeddings (dossier 5d).
//!
//! As vLLM has it: no api-version, the deployed name as `model`, `tool_calls: []` with plain
//! answers, `stop` as the reason also where tools are called.

mod check;

use serde_json::{Map, Value, json};

use super::openai::{most_tokens, now, packed, prompt, prompt_tokens};
use super::story::{End, Story, ToolCall, thirds, tokens, vector, words, woven};
use super::{Answer, Call};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    let embeds = call.deployment.executable == "aicore-nvidia";
    match call.suffix {
        "chat/completions" if !embeds => chat(call),
        "embeddings" if embeds => embeddings(call),
        _ => Err(Answer::json(404, &json!({"detail": "Not Found"}))),
    }
}

pub(super) fn error_body(status: u16) -> Option<String> {
    let (message, kind) = match status {
        401 | 403 | 413 | 503 | 504 => return None,
        429 => (RATE_LIMITED, "RateLimitError"),
        _ => ("Something went wrong, as asked for (demo).", "InternalServerError"),
    };
    Some(check::error_object(status, message, kind).to_string())
}

/// Amid a stream vLLM puts the object under `error`. Left open: a rate limit there, which is taken to
/// be the same.
pub(super) fn error_frame(call: &Call<'_>) -> String {
    let error = match call.fault.error_after {
        Some(0) => check::error_object(429, RATE_LIMITED, "RateLimitError"),
        _ => check::error_object(500, "The engine died (demo).", "InternalServerError"),
    };
    json!({ "error": error }).to_string()
}

fn chat(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check::chat(call.body, call.deployment)?;
    let completion = Completion::new(call, &request);
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
    model: String,
    thought: Option<&'static str>,
    story: Story,
    /// The id of the n-th call.
    call_id: fn(u64, usize) -> String,
    number: u64,
    /// The pieces of calls take turns.
    interleave: bool,
    finish: String,
    count: u64,
    prompt_tokens: usize,
    spoken_tokens: usize,
}

impl Completion {
    fn new(call: &Call<'_>, request: &Map<String, Value>) -> Completion {
        let most = most_tokens(request);
        let thinks = call.deployment.model.contains("deepseek-r1");
        let thought = thinks.then_some(THOUGHT).filter(|thought| tokens(thought.len()) < most);
        let thinking = thought.map_or(0, |thought| tokens(thought.len()));
        let story = Story::new(&prompt(request, most - thinking), call.fault);
        let finish = if story.end == End::Full { "length" } else { "stop" };
        let count = request.get("n").and_then(Value::as_u64).unwrap_or(1);
        let is_mistral = check::is_mistral(call.deployment);
        Completion {
            id: format!("chatcmpl-{:032x}", call.number),
            created: now(),
            model: call.deployment.model.clone(),
            thought,
            call_id: if is_mistral { mistral_call_id } else { call_id },
            number: call.number,
            interleave: call.fault.interleave,
            finish: call.fault.stop_reason.clone().unwrap_or(finish.to_owned()),
            count,
            prompt_tokens: prompt_tokens(request),
            spoken_tokens: (story.tokens() + thinking) * count as usize,
            story,
        }
    }

    fn whole(&self) -> Value {
        let calls = self.story.calls.iter().enumerate().map(|(n, call)| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": (self.call_id)(self.number, n), "type": "function", "function": function})
        });
        let calls = calls.collect::<Vec<_>>();
        let content = if calls.is_empty() { json!(self.story.text()) } else { Value::Null };
        let message = json!({
            "role": "assistant",
            "reasoning_content": self.thought,
            "content": content,
            "tool_calls": calls,
        });
        let choices = (0..self.count).map(|index| {
            json!({
                "index": index,
                "message": message,
                "logprobs": null,
                "finish_reason": self.finish,
                "stop_reason": self.stop_reason(),
            })
        });
        let mut usage = self.usage();
        usage["prompt_tokens_details"] = Value::Null;
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": choices.collect::<Vec<_>>(),
            "usage": usage,
            "prompt_logprobs": null,
        })
    }

    /// The stop sequence that ended it; vLLM's own field.
    fn stop_reason(&self) -> Value {
        match &self.story.end {
            End::Stopped(stop) => json!(stop),
            _ => Value::Null,
        }
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.spoken_tokens,
            "completion_tokens": self.spoken_tokens,
        })
    }

    fn frames(&self, include_usage: bool) -> Vec<String> {
        let mut frames = Vec::new();
        for index in 0..self.count {
            let deltas = self.deltas();
            frames.extend(deltas.into_iter().map(|delta| self.frame(index, delta, false)));
            frames.push(self.frame(index, json!({"content": ""}), true));
        }
        if include_usage {
            let mut last = self.chunk(json!([]));
            last["usage"] = self.usage();
            frames.push(last.to_string());
        }
        frames.push("[DONE]".to_owned());
        frames
    }

    fn deltas(&self) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": ""})];
        let thoughts = self.thought.map(words).unwrap_or_default();
        deltas.extend(thoughts.iter().map(|piece| json!({ "reasoning_content": piece })));
        deltas.extend(self.story.pieces.iter().map(|piece| json!({ "content": piece })));
        let calls = self.story.calls.iter().enumerate();
        let calls = calls.map(|(n, call)| self.call_deltas(n, call)).collect();
        deltas.extend(woven(calls, self.interleave));
        deltas
    }

    fn call_deltas(&self, n: usize, call: &ToolCall) -> Vec<Value> {
        let mut deltas = vec![json!({"tool_calls": [self.opened(n, call)]})];
        deltas.extend(
            thirds(&call.arguments).iter().map(
                |piece| json!({"tool_calls": [{"index": n, "function": {"arguments": piece}}]}),
            ),
        );
        deltas
    }

    fn opened(&self, n: usize, call: &ToolCall) -> Value {
        let function = json!({"name": call.name, "arguments": ""});
        let id = (self.call_id)(self.number, n);
        json!({"id": id, "type": "function", "index": n, "function": function})
    }

    fn frame(&self, index: u64, delta: Value, is_last: bool) -> String {
        let mut choice =
            json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
        if is_last {
            choice["finish_reason"] = json!(self.finish);
            choice["stop_reason"] = self.stop_reason();
        }
        self.chunk(json!([choice])).to_string()
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn call_id(number: u64, n: usize) -> String {
    format!("chatcmpl-tool-{number:030x}{n:02x}")
}

/// Nine letters and digits, as Mistral's templates want them.
fn mistral_call_id(number: u64, n: usize) -> String {
    format!("aB{:05}{:02}", number % 100_000, n % 100)
}

fn embeddings(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check::embeddings(call.body, call.deployment)?;
    let inputs = match &request["input"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => vec![one.as_str().unwrap_or_default()],
    };
    let packs = request.get("encoding_format") == Some(&json!("base64"));
    let dimensions = request.get("dimensions").and_then(Value::as_u64).unwrap_or(2048) as usize;
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = vector(input, dimensions);
        let embedding = if packs { json!(packed(&vector)) } else { json!(vector) };
        json!({"index": index, "embedding": embedding, "object": "embedding"})
    });
    let data = data.collect::<Vec<_>>();
    let prompt = inputs.iter().map(|input| tokens(input.len())).sum::<usize>();
    Ok(Answer::json(
        200,
        &json!({
            "object": "list",
            "data": data,
            "model": call.deployment.model,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
        }),
    ))
}

const THOUGHT: &str = "The user wants an answer. I am a demo, so I say what I always say.";

const RATE_LIMITED: &str = "Rate limit is exceeded. Try again later.";
