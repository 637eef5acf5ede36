//! Bedrock's Converse, for Nova and for Claude (dossier 5b.5). A stream is what Python's `repr()`
//! makes of each event, unless the marker says otherwise (5b.4, V3).

mod check;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::bedrock::{Block, Object, Reply, items, too_long};
use super::cache::{Counts, Life, Part, counts};
use super::http::Framing;
use super::literal::{object, python, quoted};
use super::story::{Choice, Prompt, Tool, thirds, tokens, woven};
use super::{Answer, Call};

pub(super) fn serve(call: &Call<'_>, streamed: bool) -> Result<Answer, Answer> {
    let request = check::object(call.body)?;
    check::request(&request, call)?;
    let parts = parts(&request);
    if parts.iter().map(|part| part.tokens).sum::<usize>() > call.deployment.context_tokens {
        return Err(too_long());
    }
    let thinks = check::thinks(&request);
    let message = Message {
        call,
        reply: Reply::new(call, prompt(&request, call), thinks, "tooluse_"),
        counts: counts(call, &parts),
    };
    if !streamed {
        return Ok(Answer::json(200, &message.whole()));
    }
    let framing = match call.fault.converse.as_str() {
        "noprefix" => Framing::NoPrefix,
        "single_newline" => Framing::SingleNewline,
        _ => Framing::Sse,
    };
    Ok(Answer::stream(message.frames()).with_framing(framing))
}

/// A rate limit before all else, else the model's failure.
pub(super) fn error_frame(call: &Call<'_>) -> String {
    let (kind, message) = match call.fault.error_after {
        Some(0) => ("throttlingException", "Too many requests, please wait before trying again."),
        _ => ("modelStreamErrorException", "The model's stream ended early (demo)."),
    };
    written(call, &object(&[(kind, object(&[("message", quoted(message))]))]))
}

fn written(call: &Call<'_>, json: &str) -> String {
    if call.fault.converse == "json" { json.to_owned() } else { python(json) }
}

/// An answer before it is written either way.
struct Message<'a> {
    call: &'a Call<'a>,
    reply: Reply,
    counts: Counts,
}

impl Message<'_> {
    fn whole(&self) -> Value {
        let content = self.reply.blocks.iter().map(whole_block).collect::<Vec<_>>();
        json!({
            "metrics": {"latencyMs": 1480},
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": self.reply.stop_reason(self.call),
            "usage": {
                "cacheReadInputTokens": self.counts.read,
                "cacheWriteInputTokens": self.counts.written(),
                "inputTokens": self.counts.fresh,
                "outputTokens": self.reply.output_tokens,
                "totalTokens": self.counts.total() + self.reply.output_tokens,
            },
        })
    }

    fn frames(&self) -> Vec<String> {
        let start = object(&[("role", quoted("assistant"))]);
        let mut frames = vec![object(&[("messageStart", start)])];
        let mut calls = Vec::new();
        for (index, block) in self.reply.blocks.iter().enumerate() {
            let of_block = block_frames(index, block);
            match block {
                Block::ToolUse { .. } => calls.push(of_block),
                _ => frames.extend(of_block),
            }
        }
        let has_calls = !calls.is_empty();
        frames.extend(woven(calls, self.call.fault.interleave));
        frames.push(self.stop(has_calls));
        frames.push(self.metadata(has_calls));
        frames.iter().map(|frame| self.with_bytes(written(self.call, frame))).collect()
    }

    fn stop(&self, has_calls: bool) -> String {
        let mut stop = vec![("stopReason", quoted(self.reply.stop_reason(self.call)))];
        if has_calls {
            stop.push(("additionalModelResponseFields", "null".to_owned()));
        }
        object(&[("messageStop", object(&stop))])
    }

    /// Beside calls stand all the literals that Python has and JSON has not.
    fn metadata(&self, has_calls: bool) -> String {
        let usage = object(&[
            ("inputTokens", self.counts.fresh.to_string()),
            ("outputTokens", self.reply.output_tokens.to_string()),
            ("totalTokens", (self.counts.total() + self.reply.output_tokens).to_string()),
            ("cacheReadInputTokens", self.counts.read.to_string()),
            ("cacheWriteInputTokens", self.counts.written().to_string()),
        ]);
        let metrics = object(&[("latencyMs", "1480".to_owned())]);
        let mut metadata = vec![("usage", usage), ("metrics", metrics)];
        if has_calls {
            let latency = object(&[("latency", quoted("standard"))]);
            metadata.push(("performanceConfig", latency));
            metadata.push(("trace", "null".to_owned()));
            metadata.push(("x-invented-flag", "true".to_owned()));
        }
        object(&[("metadata", object(&metadata))])
    }

    /// Python has the encrypted thoughts as bytes.
    fn with_bytes(&self, frame: String) -> String {
        let redacted = self.reply.blocks.iter().find_map(|block| match block {
            Block::Redacted(data) => Some(data),
            _ => None,
        });
        let Some(data) = redacted else { return frame };
        let bytes = STANDARD.decode(data).unwrap_or_default();
        frame.replace(&format!("'{data}'"), &format!("b'{}'", bytes.escape_ascii()))
    }
}

fn whole_block(block: &Block) -> Value {
    match block {
        Block::Redacted(data) => json!({"reasoningContent": {"redactedContent": data}}),
        Block::Thinking { pieces, signature } => {
            let text = json!({"text": pieces.concat(), "signature": signature});
            json!({"reasoningContent": {"reasoningText": text}})
        }
        Block::Text(pieces) => json!({"text": pieces.concat()}),
        Block::ToolUse { id, call } => {
            let input = serde_json::from_str::<Value>(&call.arguments).unwrap_or_default();
            json!({"toolUse": {"toolUseId": id, "name": call.name, "input": input}})
        }
    }
}

/// Only tool calls are opened; all blocks are closed.
fn block_frames(index: usize, block: &Block) -> Vec<String> {
    let at = ("contentBlockIndex", index.to_string());
    let delta =
        |delta: String| object(&[("contentBlockDelta", object(&[("delta", delta), at.clone()]))]);
    let reasoning = |field: &str, value: &str| {
        delta(object(&[("reasoningContent", object(&[(field, quoted(value))]))]))
    };
    let mut frames = Vec::new();
    match block {
        Block::Redacted(data) => frames.push(reasoning("redactedContent", data)),
        Block::Thinking { pieces, signature } => {
            frames.extend(pieces.iter().map(|piece| reasoning("text", piece)));
            frames.push(reasoning("signature", signature));
        }
        Block::Text(pieces) => {
            frames.extend(pieces.iter().map(|piece| delta(object(&[("text", quoted(piece))]))));
        }
        Block::ToolUse { id, call } => {
            let tool = object(&[("toolUseId", quoted(id)), ("name", quoted(&call.name))]);
            let start = object(&[("start", object(&[("toolUse", tool)])), at.clone()]);
            frames.push(object(&[("contentBlockStart", start)]));
            let pieces = std::iter::once(String::new()).chain(thirds(&call.arguments));
            frames.extend(
                pieces.map(|piece| {
                    delta(object(&[("toolUse", object(&[("input", quoted(&piece))]))]))
                }),
            );
        }
    }
    frames.push(object(&[("contentBlockStop", object(&[at]))]));
    frames
}

fn prompt(request: &Object, call: &Call<'_>) -> Prompt {
    let messages = items(&request["messages"]);
    let user = messages.iter().rev().find(|m| m["role"] == "user").unwrap_or(&Value::Null);
    let blocks = items(&user["content"]);
    let count = |key: &str| blocks.iter().filter(|block| block.get(key).is_some()).count();
    let results = blocks.iter().filter_map(|block| block.get("toolResult"));
    let results = results.map(|result| text_of(&result["content"])).collect::<Vec<_>>();
    let tools = request.get("toolConfig").map_or(&[] as &[Value], |config| items(&config["tools"]));
    let specs = tools.iter().filter_map(|tool| tool.get("toolSpec"));
    let inference = request.get("inferenceConfig").unwrap_or(&Value::Null);
    let stops = items(&inference["stopSequences"]).iter().filter_map(Value::as_str);
    Prompt {
        user: text_of(&user["content"]),
        asks: results.is_empty(),
        results,
        images: count("image"),
        documents: count("document"),
        tools: specs.map(tool).collect(),
        choice: tool_choice(request),
        stops: stops.map(str::to_owned).collect(),
        most_tokens: match inference["maxTokens"].as_u64() {
            Some(most) => most as usize,
            None => check::output_tokens_max(call) as usize,
        },
        ..Prompt::default()
    }
}

fn tool(spec: &Value) -> Tool {
    Tool {
        name: spec["name"].as_str().unwrap_or_default().to_owned(),
        parameters: spec["inputSchema"]["json"].clone(),
    }
}

fn tool_choice(request: &Object) -> Choice {
    let choice = request.get("toolConfig").map_or(&Value::Null, |config| &config["toolChoice"]);
    match choice["tool"]["name"].as_str() {
        Some(name) => Choice::Named(name.to_owned()),
        None if choice.get("any").is_some() => Choice::Any,
        None => Choice::Auto,
    }
}

/// Texts, and what JSON there is.
fn text_of(content: &Value) -> String {
    let texts = items(content).iter().filter_map(|block| match (&block["text"], &block["json"]) {
        (Value::String(text), _) => Some(text.clone()),
        (_, Value::Null) => None,
        (_, json) => Some(json.to_string()),
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// The prompt in the order it is cached in: tools, system, messages.
fn parts(request: &Object) -> Vec<Part> {
    let null = Value::Null;
    let tools = request.get("toolConfig").map_or(&null, |config| &config["tools"]);
    let system = request.get("system").unwrap_or(&null);
    let mut parts: Vec<Part> = Vec::new();
    let messages = items(&request["messages"]).iter().flat_map(|m| items(&m["content"]));
    for block in items(tools).iter().chain(items(system)).chain(messages) {
        if block.get("cachePoint").is_some() {
            parts.last_mut().map(|part| part.point.replace(Life::Minutes));
            continue;
        }
        let text = block.to_string();
        let tokens = match (block.get("image"), block.get("document")) {
            (Some(_), _) => 85,
            (_, Some(_)) => 300,
            _ => tokens(text.len()),
        };
        parts.push(Part { text, tokens, point: None });
    }
    parts.push(Part { text: String::new(), tokens: 3, point: None });
    parts
}
