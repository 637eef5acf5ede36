//! Claude by invoke: Anthropic's Messages, as Bedrock has them (dossier 5b.2 to 5b.4, 5b.6 to
//! 5b.8).

pub(super) mod check;
mod messages;
mod tools;

use serde_json::Value;

use super::bedrock::{Block, Object, Reply, items, present, too_long};
use super::cache::{Counts, Life, Part, counts};
use super::literal::{list, object, quoted};
use super::story::{Choice, End, Format, Prompt, Tool, thirds, tokens, woven};
use super::{Answer, Call};
use check::Model;

pub(super) fn serve(call: &Call<'_>, streamed: bool) -> Result<Answer, Answer> {
    let request = check::object(call.body)?;
    check::request(&request, call)?;
    let parts = parts(&request);
    let prompt_tokens = parts.iter().map(|part| part.tokens).sum::<usize>();
    if prompt_tokens > context_tokens(call, &request) {
        return Err(too_long());
    }
    let thinks = check::thinks(&request);
    let message = Message {
        call,
        reply: Reply::new(call, prompt(&request), thinks, "toolu_bdrk_01"),
        counts: counts(call, &parts),
    };
    Ok(match streamed {
        true => Answer::stream(message.frames()),
        false => Answer::guess(200, message.whole()),
    })
}

/// A rate limit before all else, else an overload.
pub(super) fn error_frame(call: &Call<'_>) -> String {
    match call.fault.error_after {
        Some(0) => THROTTLED_FRAME.to_owned(),
        _ => OVERLOADED_FRAME.to_owned(),
    }
}

/// An answer before it is written either way.
struct Message<'a> {
    call: &'a Call<'a>,
    reply: Reply,
    counts: Counts,
}

impl Message<'_> {
    fn whole(&self) -> String {
        let content = self.reply.blocks.iter().map(whole_block).collect::<Vec<_>>();
        let (reason, sequence) = self.stop();
        self.message(&list(&content), &reason, &sequence, self.reply.output_tokens)
    }

    fn frames(&self) -> Vec<String> {
        let start = self.message("[]", "null", "null", 1);
        let mut frames = vec![object(&[("type", quoted("message_start")), ("message", start)])];
        let mut calls = Vec::new();
        for (index, block) in self.reply.blocks.iter().enumerate() {
            let of_block = block_frames(index, block);
            match block {
                Block::ToolUse { .. } => calls.push(of_block),
                _ => frames.extend(of_block),
            }
        }
        frames.extend(woven(calls, self.call.fault.interleave));
        let (reason, sequence) = self.stop();
        frames.push(object(&[
            ("type", quoted("message_delta")),
            ("delta", object(&[("stop_reason", reason), ("stop_sequence", sequence)])),
            ("usage", self.last_usage()),
        ]));
        frames.push(object(&[
            ("type", quoted("message_stop")),
            ("amazon-bedrock-invocationMetrics", self.metrics()),
        ]));
        frames
    }

    fn message(&self, content: &str, reason: &str, sequence: &str, output: usize) -> String {
        object(&[
            ("model", quoted(&self.call.deployment.answers_as)),
            ("id", quoted(&format!("msg_bdrk_01Demo{:020}", self.call.number))),
            ("type", quoted("message")),
            ("role", quoted("assistant")),
            ("content", content.to_owned()),
            ("stop_reason", reason.to_owned()),
            ("stop_sequence", sequence.to_owned()),
            ("usage", self.usage(output)),
        ])
    }

    fn stop(&self) -> (String, String) {
        let sequence = match &self.reply.end {
            End::Stopped(sequence) => quoted(sequence),
            _ => "null".to_owned(),
        };
        (quoted(self.reply.stop_reason(self.call)), sequence)
    }

    fn usage(&self, output: usize) -> String {
        let counts = &self.counts;
        let written = object(&[
            ("ephemeral_5m_input_tokens", counts.written_5m.to_string()),
            ("ephemeral_1h_input_tokens", counts.written_1h.to_string()),
        ]);
        object(&[
            ("input_tokens", counts.fresh.to_string()),
            ("cache_creation_input_tokens", counts.written().to_string()),
            ("cache_read_input_tokens", counts.read.to_string()),
            ("cache_creation", written),
            ("output_tokens", output.to_string()),
        ])
    }

    /// Newer models say all of it once more.
    fn last_usage(&self) -> String {
        let output = self.reply.output_tokens.to_string();
        if Model::of(self.call.deployment).version < (4, 6) {
            return object(&[("output_tokens", output)]);
        }
        object(&[
            ("input_tokens", self.counts.fresh.to_string()),
            ("cache_creation_input_tokens", self.counts.written().to_string()),
            ("cache_read_input_tokens", self.counts.read.to_string()),
            ("output_tokens", output),
        ])
    }

    fn metrics(&self) -> String {
        let mut metrics = vec![
            ("inputTokenCount", self.counts.fresh.to_string()),
            ("outputTokenCount", self.reply.output_tokens.to_string()),
            ("invocationLatency", "1480".to_owned()),
            ("firstByteLatency", "810".to_owned()),
        ];
        if self.counts.read + self.counts.written() > 0 {
            metrics.push(("cacheReadInputTokenCount", self.counts.read.to_string()));
            metrics.push(("cacheWriteInputTokenCount", self.counts.written().to_string()));
        }
        object(&metrics)
    }
}

fn whole_block(block: &Block) -> String {
    match block {
        Block::Redacted(data) => {
            object(&[("type", quoted("redacted_thinking")), ("data", quoted(data))])
        }
        Block::Thinking { pieces, signature } => object(&[
            ("type", quoted("thinking")),
            ("thinking", quoted(&pieces.concat())),
            ("signature", quoted(signature)),
        ]),
        Block::Text(pieces) => {
            object(&[("type", quoted("text")), ("text", quoted(&pieces.concat()))])
        }
        Block::ToolUse { id, call } => tool_use(id, &call.name, &call.arguments),
    }
}

fn tool_use(id: &str, name: &str, input: &str) -> String {
    object(&[
        ("type", quoted("tool_use")),
        ("id", quoted(id)),
        ("name", quoted(name)),
        ("input", input.to_owned()),
    ])
}

fn block_frames(index: usize, block: &Block) -> Vec<String> {
    let frame = |kind: &str, more: &[(&str, String)]| {
        let mut pairs = vec![("type", quoted(kind)), ("index", index.to_string())];
        pairs.extend_from_slice(more);
        object(&pairs)
    };
    let start = |block: String| frame("content_block_start", &[("content_block", block)]);
    let delta = |kind: &str, field: &str, piece: &str| {
        let delta = object(&[("type", quoted(kind)), (field, quoted(piece))]);
        frame("content_block_delta", &[("delta", delta)])
    };
    let mut frames = Vec::new();
    match block {
        Block::Redacted(_) => frames.push(start(whole_block(block))),
        Block::Thinking { pieces, signature } => {
            let empty = Block::Thinking { pieces: Vec::new(), signature: String::new() };
            frames.push(start(whole_block(&empty)));
            frames.extend(pieces.iter().map(|piece| delta("thinking_delta", "thinking", piece)));
            frames.push(delta("signature_delta", "signature", signature));
        }
        Block::Text(pieces) => {
            frames.push(start(whole_block(&Block::Text(Vec::new()))));
            frames.extend(pieces.iter().map(|piece| delta("text_delta", "text", piece)));
        }
        Block::ToolUse { id, call } => {
            frames.push(start(tool_use(id, &call.name, "{}")));
            let pieces = std::iter::once(String::new()).chain(thirds(&call.arguments));
            frames.extend(pieces.map(|piece| delta("input_json_delta", "partial_json", &piece)));
        }
    }
    frames.push(frame("content_block_stop", &[]));
    frames
}

fn prompt(request: &Object) -> Prompt {
    let messages = items(&request["messages"]);
    let user = messages.iter().rev().find(|m| m["role"] == "user").unwrap_or(&Value::Null);
    let count = |kind: &str| items(&user["content"]).iter().filter(|b| b["type"] == kind).count();
    let results = items(&user["content"]).iter().filter(|block| block["type"] == "tool_result");
    let results = results.map(|block| text_of(&block["content"])).collect::<Vec<_>>();
    let choice = request.get("tool_choice").unwrap_or(&Value::Null);
    let stops = request.get("stop_sequences").map_or(&[] as &[Value], items);
    let format = request.get("output_config").and_then(|config| config.get("format"));
    Prompt {
        user: text_of(&user["content"]),
        asks: results.is_empty(),
        results,
        images: count("image"),
        documents: count("document"),
        tools: request.get("tools").map_or(&[] as &[Value], items).iter().map(tool).collect(),
        choice: match choice["type"].as_str() {
            Some("none") => Choice::Never,
            Some("any") => Choice::Any,
            Some("tool") => Choice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
            _ => Choice::Auto,
        },
        parallel: choice["disable_parallel_tool_use"] != true,
        format: match format {
            Some(format) => Format::Schema(format["schema"].clone()),
            None => Format::Text,
        },
        stops: stops.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        most_tokens: request["max_tokens"].as_u64().map_or(usize::MAX, |n| n as usize),
    }
}

fn tool(tool: &Value) -> Tool {
    Tool {
        name: tool["name"].as_str().unwrap_or_default().to_owned(),
        parameters: tool["input_schema"].clone(),
    }
}

fn text_of(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let texts = items(content).iter().filter_map(|block| block.get("text")?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

/// The prompt in the order it is cached in: tools, system, messages.
fn parts(request: &Object) -> Vec<Part> {
    let listed = |key: &str| {
        request.get(key).into_iter().flat_map(|value| match value {
            Value::Array(all) => all.iter().collect::<Vec<_>>(),
            other => vec![other],
        })
    };
    let mut parts = listed("tools").chain(listed("system")).map(part).collect::<Vec<_>>();
    for message in items(&request["messages"]) {
        match &message["content"] {
            Value::Array(blocks) => parts.extend(blocks.iter().map(part)),
            text => parts.push(part(text)),
        }
    }
    parts.push(Part { text: String::new(), tokens: 3, point: None });
    parts
}

fn part(block: &Value) -> Part {
    let mut bare = block.clone();
    let mut control = without_control(&mut bare);
    for inner in bare.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        control = without_control(inner).or(control);
    }
    let text = bare.to_string();
    let tokens = match block["type"].as_str() {
        Some("image") => 85,
        Some("document") => 300,
        _ => tokens(text.len()),
    };
    let point = control.map(|control| match control["ttl"].as_str() {
        Some("1h") => Life::Hour,
        _ => Life::Minutes,
    });
    Part { text, tokens, point }
}

fn without_control(block: &mut Value) -> Option<Value> {
    let control = block.as_object_mut()?.remove("cache_control")?;
    control.is_object().then_some(control)
}

fn context_tokens(call: &Call<'_>, request: &Object) -> usize {
    let betas = present(request, "anthropic_beta").map_or(&[] as &[Value], items);
    let is_long = betas.iter().any(|flag| flag == "context-1m-2025-08-07");
    let takes_long = matches!(Model::of(call.deployment).version, (4, 0 | 5));
    if is_long && takes_long { 1_000_000 } else { call.deployment.context_tokens }
}

const OVERLOADED_FRAME: &str =
    r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
const THROTTLED_FRAME: &str = concat!(
    r#"{"type":"error","message":"ThrottlingException: Too many requests, "#,
    r#"please wait before trying again."}"#,
);
