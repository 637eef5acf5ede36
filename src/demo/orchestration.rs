//! The orchestration service: one deployment for every model of a list (dossier 6).
//!
//! The reply is OpenAI's, wrapped; a stream begins with a frame that only tells what the template
//! became. Reasoning comes in the older spelling, where what is not there is an empty string.

mod check;
mod template;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::openai::{most_tokens, now, present, prompt, prompt_tokens};
use super::spaced::spaced;
use super::story::{End, Story, ToolCall, thirds, tokens, vector, words, woven};
use super::{Answer, Call, cache};
use check::{Asked, Trouble};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    match call.suffix {
        "v2/completion" => completion(call),
        "v2/embeddings" => embeddings(call),
        _ => Err(Answer::text(404, "Not Found")),
    }
}

pub(super) fn error_body(status: u16) -> Option<String> {
    let message = match status {
        401 | 403 | 413 | 503 | 504 => return None,
        429 => "429 - LLM Module: rate limited (demo)".to_owned(),
        _ => "Internal Server Error".to_owned(),
    };
    Some(Trouble::new(status, &message, check::LLM).body().to_string())
}

pub(super) fn error_frame(_: &Call<'_>) -> String {
    let trouble = Trouble::new(429, "429 - LLM Module: rate limited (demo)", check::LLM);
    spaced(&trouble.body())
}

fn completion(call: &Call<'_>) -> Result<Answer, Answer> {
    let asked = check::completion(call)?;
    let completion = Completion::new(call, &asked);
    if asked.streams {
        return Ok(Answer::stream(completion.frames()));
    }
    Ok(Answer::json(200, &completion.whole()))
}

/// An answer before it is written either way.
struct Completion<'a> {
    asked: &'a Asked,
    id: String,
    created: u64,
    thought: Option<&'static str>,
    story: Story,
    /// What the ids of calls begin with.
    call_id: String,
    /// The pieces of calls take turns.
    interleave: bool,
    finish: String,
    usage: Value,
}

impl Completion<'_> {
    fn new<'a>(call: &Call<'_>, asked: &'a Asked) -> Completion<'a> {
        let most = most_tokens(&asked.request);
        let thought = reasons(&asked.request).then_some(THOUGHT);
        let thought = thought.filter(|thought| tokens(thought.len()) < most);
        let thinking = thought.map_or(0, |thought| tokens(thought.len()));
        let story = Story::new(&prompt(&asked.request, most - thinking), call.fault);
        let finish = match story.end {
            End::Said | End::Stopped(_) => "stop",
            End::Calls => "tool_calls",
            End::Full => "length",
        };
        let (id, call_id) = if asked.is_anthropic() {
            ("msg_bdrk_01Demo", "toolu_bdrk_01Demo")
        } else {
            ("chatcmpl-Demo", "call_Demo")
        };
        Completion {
            asked,
            id: format!("{id}{:020}", call.number),
            created: now(),
            thought,
            call_id: format!("{call_id}{:018}", call.number),
            interleave: call.fault.interleave,
            finish: call.fault.stop_reason.clone().unwrap_or(finish.to_owned()),
            usage: usage(call, asked, story.tokens() + thinking),
            story,
        }
    }

    fn whole(&self) -> Value {
        let mut message = json!({"role": "assistant", "content": self.story.text()});
        if !self.story.calls.is_empty() {
            let calls = self.story.calls.iter().enumerate().map(|(n, call)| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": self.id_of_call(n), "type": "function", "function": function})
            });
            message["tool_calls"] = calls.collect();
        }
        if let Some(thought) = self.thought {
            message["reasoning_content"] =
                json!([{"content": thought, "signature": signature(thought)}]);
        }
        let choice = json!({"index": 0, "message": message, "finish_reason": self.finish});
        let mut result = self.result("chat.completion", choice);
        result["usage"] = self.usage.clone();
        let templating = &self.asked.templated;
        let mut whole = json!({
            "request_id": check::REQUEST_ID,
            "intermediate_results": {"templating": templating, "llm": result},
            "final_result": result,
        });
        if !self.asked.failures.is_empty() {
            whole["intermediate_failures"] = json!(self.asked.failures);
        }
        whole
    }

    /// As in a stream, but for the usage.
    fn result(&self, object: &str, choice: Value) -> Value {
        let mut result = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.asked.answers_as,
            "choices": [choice],
        });
        if !self.asked.is_anthropic() {
            result["system_fingerprint"] = json!("fp_0123456789");
        }
        result
    }

    fn frames(&self) -> Vec<String> {
        let mut frames = vec![spaced(&self.first())];
        for delta in self.deltas() {
            frames.push(self.frame(delta, false));
        }
        frames.push(self.frame(json!({"role": "assistant", "content": ""}), true));
        frames.push("[DONE]".to_owned());
        frames
    }

    /// The template's frame, which is not for clients.
    fn first(&self) -> Value {
        let mut choice = json!({"index": 0, "delta": {"content": ""}});
        if self.is_older() {
            choice["delta"]["role"] = json!("");
            choice["finish_reason"] = json!("");
        }
        json!({
            "request_id": check::REQUEST_ID,
            "intermediate_results": {"templating": self.asked.templated},
            "final_result": {
                "id": "",
                "object": "",
                "created": 0,
                "model": "",
                "system_fingerprint": "",
                "choices": [choice],
            },
        })
    }

    fn is_older(&self) -> bool {
        self.thought.is_some()
    }

    fn deltas(&self) -> Vec<Value> {
        let mut deltas = Vec::new();
        let mut delta = |key: &str, value: Value| {
            let mut delta = json!({"role": "assistant", "content": ""});
            delta[key] = value;
            deltas.push(delta);
        };
        if let Some(thought) = self.thought {
            for piece in words(thought) {
                delta("reasoning_content", json!([{"content": piece, "signature": ""}]));
            }
            let signature = signature(thought);
            delta("reasoning_content", json!([{"content": "", "signature": signature}]));
        }
        for piece in rechunked(&self.story.text(), self.asked.chunk_size) {
            delta("content", json!(piece));
        }
        let calls = self.story.calls.iter().enumerate();
        let calls = calls.map(|(n, call)| self.call_pieces(n, call)).collect();
        for piece in woven(calls, self.interleave) {
            delta("tool_calls", json!([piece]));
        }
        deltas
    }

    fn call_pieces(&self, n: usize, call: &ToolCall) -> Vec<Value> {
        let mut pieces = vec![self.opened(n, call)];
        let of_arguments = thirds(&call.arguments).into_iter();
        pieces.extend(
            of_arguments.map(|piece| json!({"index": n, "function": {"arguments": piece}})),
        );
        pieces
    }

    fn opened(&self, n: usize, call: &ToolCall) -> Value {
        let function = json!({"name": call.name, "arguments": ""});
        json!({"index": n, "id": self.id_of_call(n), "type": "function", "function": function})
    }

    fn id_of_call(&self, n: usize) -> String {
        format!("{}{n:02}", self.call_id)
    }

    fn frame(&self, delta: Value, is_last: bool) -> String {
        let mut choice = json!({"index": 0, "delta": delta});
        if is_last {
            choice["finish_reason"] = json!(self.finish);
        } else if self.is_older() {
            choice["finish_reason"] = json!("");
        }
        let mut result = self.result("chat.completion.chunk", choice);
        if is_last {
            result["usage"] = self.usage.clone();
        }
        spaced(&json!({
            "request_id": check::REQUEST_ID,
            "intermediate_results": {"llm": result},
            "final_result": result,
        }))
    }
}

/// Reasoning is shown where the request asks for it.
fn reasons(request: &Map<String, Value>) -> bool {
    let effort = present(request, "reasoning_effort").is_some_and(|effort| effort != "none");
    let thinks = |thinking: &Value| ["enabled", "adaptive"].iter().any(|k| thinking["type"] == *k);
    effort || present(request, "thinking").is_some_and(thinks)
}

pub(super) fn signature(thought: &str) -> String {
    STANDARD.encode(crate::auth::digest(format!("thought {thought}")))
}

fn rechunked(text: &str, size: usize) -> Vec<String> {
    let chars = text.chars().collect::<Vec<_>>();
    chars.chunks(size.max(1)).map(|chunk| chunk.iter().collect()).collect()
}

/// Of Claude, `prompt_tokens` is what no cache held.
fn usage(call: &Call<'_>, asked: &Asked, spoken: usize) -> Value {
    let prompt = prompt_tokens(&asked.request);
    let mut usage = json!({
        "completion_tokens": spoken,
        "prompt_tokens": prompt,
        "total_tokens": prompt + spoken,
    });
    if asked.is_anthropic() {
        let key = format!("orchestration {} {}", asked.answers_as, asked.cache_prefix);
        let part = if asked.cache_prefix.is_empty() { 0 } else { prompt / 2 };
        let is_new = part > 0 && cache::is_new(call, &key);
        let (read, written) = if is_new { (0, part) } else { (part, 0) };
        usage["prompt_tokens"] = json!(prompt - part);
        usage["prompt_tokens_details"] = json!({
            "cached_tokens": read,
            "cache_creation_tokens": written,
            "cache_creation_token_details": {
                "ephemeral_5m_input_tokens": written,
                "ephemeral_1h_input_tokens": 0,
            },
        });
    }
    usage
}

fn embeddings(call: &Call<'_>) -> Result<Answer, Answer> {
    let asked = check::embeddings(call.body)?;
    let data = asked.texts.iter().enumerate().map(|(index, text)| {
        let vector = vector(text, asked.dimensions);
        let packs = asked.packs.then(|| super::openai::packed(&vector));
        let embedding = packs.map_or_else(|| json!(vector), Value::from);
        json!({"object": "embedding", "embedding": embedding, "index": index})
    });
    let data = data.collect::<Vec<_>>();
    let prompt = asked.texts.iter().map(|text| tokens(text.len())).sum::<usize>();
    let result = json!({
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
    });
    Ok(Answer::json(200, &json!({"request_id": check::REQUEST_ID, "final_result": result})))
}

const THOUGHT: &str = "Let me think. I am a demo.";
