//! A response before it is written either way. Events come in the recorded order (dossier 5a).

use serde_json::{Value, json};

use super::super::super::literal::ordered;
use super::super::super::openai::{now, present};
use super::super::super::story::{End, Story, ToolCall, thirds, woven};
use super::super::super::{Call, Fault};
use super::Object;
use super::prompt::prompt;
use super::seal::sealed;

pub(super) struct Reply<'a> {
    /// In progress, without any output.
    begun: Value,
    story: Story,
    /// The reasoning; `None` without effort.
    thought: Option<Value>,
    usage: Value,
    fault: &'a Fault,
    number: u64,
    /// Deltas have a filler.
    obfuscated: bool,
}

impl Reply<'_> {
    pub fn new<'a>(
        call: &'a Call<'_>,
        request: &Object,
        context: &[Value],
        input_tokens: usize,
    ) -> Reply<'a> {
        let most = present(request, "max_output_tokens").and_then(Value::as_u64);
        let most = most.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let thinking = reasoning_tokens(request).min(most / 2);
        let story = Story::new(&prompt(request, context, most - thinking), call.fault);
        let obfuscation = request.get("stream_options").and_then(|o| o.get("include_obfuscation"));
        Reply {
            begun: begun(call, request),
            usage: usage(input_tokens, story.tokens() + thinking, thinking),
            thought: (thinking > 0).then(|| thought(call, request)),
            story,
            fault: call.fault,
            number: call.number,
            obfuscated: obfuscation != Some(&json!(false)),
        }
    }

    pub fn id(&self) -> String {
        self.begun["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Without any output.
    pub fn begun(&self, status: &str) -> Value {
        let mut response = self.begun.clone();
        response["status"] = json!(status);
        response
    }

    pub fn whole(&self) -> Value {
        let mut output = self.thought.iter().cloned().collect::<Vec<_>>();
        match self.story.calls.as_slice() {
            [] => output.push(self.message()),
            calls => output.extend(calls.iter().enumerate().map(|(n, call)| self.call(n, call))),
        }
        let mut response = self.begun(self.status());
        response["output"] = json!(output);
        response["usage"] = self.usage.clone();
        if response["service_tier"] == "auto" {
            response["service_tier"] = json!("default");
        }
        match self.cut() {
            Some(reason) => response["incomplete_details"] = json!({ "reason": reason }),
            None => response["completed_at"] = json!(now()),
        }
        response
    }

    pub fn frames(&self) -> Vec<String> {
        let first = usize::from(self.thought.is_some());
        let mut events = vec![
            json!({"type": "response.created", "response": self.begun}),
            json!({"type": "response.in_progress", "response": self.begun}),
        ];
        events.extend(self.thought.iter().flat_map(|thought| self.thought_events(thought)));
        if self.story.calls.is_empty() {
            events.extend(self.message_events(first));
        }
        let calls = self.story.calls.iter().enumerate();
        let calls = calls.map(|(n, call)| self.call_events(first, n, call)).collect();
        events.extend(woven(calls, self.fault.interleave));
        let end = format!("response.{}", self.status());
        events.push(json!({"type": end, "response": self.whole()}));
        numbered(events, 0)
    }

    /// What a stream says of a rate limit, in two events. It has begun before.
    pub fn throttled(&self) -> Vec<String> {
        let error = json!({
            "type": "too_many_requests",
            "code": "too_many_requests",
            "message": "Too Many Requests (demo)",
            "param": null,
        });
        let first = self.fault.error_after.unwrap_or(0);
        let mut events = vec![
            json!({"type": "response.failed", "response": self.begun("failed")}),
            json!({"type": "error", "error": error}),
        ];
        if first == 0 {
            events.insert(0, json!({"type": "response.created", "response": self.begun}));
        }
        numbered(events, first)
    }

    fn status(&self) -> &'static str {
        if self.cut().is_some() { "incomplete" } else { "completed" }
    }

    /// Why it is incomplete.
    fn cut(&self) -> Option<&'static str> {
        match self.fault.stop_reason.as_deref() {
            Some("length" | "max_output_tokens") => Some("max_output_tokens"),
            Some("content_filter") => Some("content_filter"),
            _ => (self.story.end == End::Full).then_some("max_output_tokens"),
        }
    }

    fn message(&self) -> Value {
        json!({
            "id": self.message_id(),
            "type": "message",
            "status": self.status(),
            "content": [text_part(&self.story.text())],
            "role": "assistant",
        })
    }

    fn message_id(&self) -> String {
        format!("msg_Demo{:024}", self.number)
    }

    fn call(&self, n: usize, call: &ToolCall) -> Value {
        json!({
            "id": format!("fc_Demo{:024}{n:02}", self.number),
            "type": "function_call",
            "status": "completed",
            "arguments": call.arguments,
            "call_id": format!("call_Demo{:018}{n:02}", self.number),
            "name": call.name,
        })
    }

    fn thought_events(&self, thought: &Value) -> Vec<Value> {
        let opened = json!({"id": thought["id"], "type": "reasoning", "summary": []});
        let event = |kind: &str, mut more: Value| {
            more["type"] = json!(format!("response.reasoning_{kind}"));
            more["item_id"] = thought["id"].clone();
            more["output_index"] = json!(0);
            more["summary_index"] = json!(0);
            more
        };
        let mut events = vec![output_item("added", opened, 0)];
        if let Some(part) = thought.pointer("/summary/0") {
            let text = part["text"].as_str().unwrap_or_default();
            let empty = json!({"type": "summary_text", "text": ""});
            events.push(event("summary_part.added", json!({ "part": empty })));
            events.extend(
                thirds(text).iter().map(|piece| event("summary_text.delta", self.delta(piece))),
            );
            events.push(event("summary_text.done", json!({ "text": text })));
            events.push(event("summary_part.done", json!({ "part": part })));
        }
        events.push(output_item("done", thought.clone(), 0));
        events
    }

    fn message_events(&self, index: usize) -> Vec<Value> {
        let id = self.message_id();
        let event = |kind: &str, mut more: Value| {
            more["type"] = json!(format!("response.{kind}"));
            more["item_id"] = json!(id);
            more["output_index"] = json!(index);
            more["content_index"] = json!(0);
            more
        };
        let opened = json!({
            "id": id, "type": "message", "status": "in_progress", "content": [],
            "role": "assistant",
        });
        let text = self.story.text();
        let mut events = vec![
            output_item("added", opened, index),
            event("content_part.added", json!({"part": text_part("")})),
        ];
        events.extend(self.story.pieces.iter().map(|piece| {
            let mut delta = self.delta(piece);
            delta["logprobs"] = json!([]);
            event("output_text.delta", delta)
        }));
        events.push(event("output_text.done", json!({"text": text, "logprobs": []})));
        events.push(event("content_part.done", json!({"part": text_part(&text)})));
        events.push(output_item("done", self.message(), index));
        events
    }

    fn call_events(&self, first: usize, n: usize, call: &ToolCall) -> Vec<Value> {
        let item = self.call(n, call);
        let event = |kind: &str, mut more: Value| {
            more["type"] = json!(format!("response.function_call_arguments.{kind}"));
            more["item_id"] = item["id"].clone();
            more["output_index"] = json!(first + n);
            more
        };
        let mut opened = item.clone();
        opened["status"] = json!("in_progress");
        opened["arguments"] = json!("");
        let mut events = vec![output_item("added", opened, first + n)];
        let pieces = thirds(&call.arguments);
        events.extend(pieces.iter().map(|piece| event("delta", self.delta(piece))));
        events.push(event("done", json!({"arguments": call.arguments})));
        events.push(output_item("done", item, first + n));
        events
    }

    fn delta(&self, piece: &str) -> Value {
        let mut delta = json!({ "delta": piece });
        if self.obfuscated {
            let digest = crate::auth::digest(piece);
            let filler = digest.iter().map(|byte| char::from(b'a' + byte % 26));
            delta["obfuscation"] = json!(filler.take(16 - piece.len() % 16).collect::<String>());
        }
        delta
    }
}

fn output_item(kind: &str, item: Value, index: usize) -> Value {
    let kind = format!("response.output_item.{kind}");
    json!({"type": kind, "item": item, "output_index": index})
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

fn numbered(events: Vec<Value>, first: usize) -> Vec<String> {
    let numbered = events.into_iter().enumerate().map(|(n, mut event)| {
        event["sequence_number"] = json!(first + n);
        ordered(&event)
    });
    numbered.collect()
}

/// With what the request asked for, or what goes without asking.
fn begun(call: &Call<'_>, request: &Object) -> Value {
    let asked = |key: &str, usual: Value| present(request, key).cloned().unwrap_or(usual);
    let inside = |key: &str, name: &str, usual: Value| {
        let value = request.get(key).and_then(|object| object.get(name));
        value.filter(|value| !value.is_null()).cloned().unwrap_or(usual)
    };
    let summary = match inside("reasoning", "summary", Value::Null) {
        auto if auto == "auto" => json!("detailed"),
        summary => summary,
    };
    json!({
        "id": format!("resp_Demo{:024}", call.number),
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": asked("background", json!(false)),
        "completed_at": null,
        "content_filters": null,
        "error": null,
        "frequency_penalty": 0.0,
        "incomplete_details": null,
        "instructions": asked("instructions", Value::Null),
        "max_output_tokens": asked("max_output_tokens", Value::Null),
        "max_tool_calls": asked("max_tool_calls", Value::Null),
        "model": call.deployment.answers_as,
        "output": [],
        "parallel_tool_calls": asked("parallel_tool_calls", json!(true)),
        "presence_penalty": 0.0,
        "previous_response_id": asked("previous_response_id", Value::Null),
        "prompt_cache_key": asked("prompt_cache_key", Value::Null),
        "prompt_cache_retention": asked("prompt_cache_retention", Value::Null),
        "reasoning": {
            "effort": inside("reasoning", "effort", json!("medium")),
            "summary": summary,
        },
        "safety_identifier": asked("safety_identifier", Value::Null),
        "service_tier": asked("service_tier", json!("auto")),
        "store": asked("store", json!(true)),
        "temperature": 1.0,
        "text": {
            "format": inside("text", "format", json!({"type": "text"})),
            "verbosity": inside("text", "verbosity", json!("medium")),
        },
        "tool_choice": asked("tool_choice", json!("auto")),
        "tools": tools_asked(request),
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": asked("truncation", json!("disabled")),
        "usage": null,
        "user": asked("user", Value::Null),
        "metadata": asked("metadata", json!({})),
    })
}

/// A function is a strict one unless it says otherwise.
fn tools_asked(request: &Object) -> Value {
    let tools = request.get("tools").and_then(Value::as_array).into_iter().flatten();
    let whole = tools.map(|tool| {
        let mut tool = tool.clone();
        for (key, usual) in
            [("description", Value::Null), ("parameters", Value::Null), ("strict", json!(true))]
        {
            if tool.get(key).is_none_or(Value::is_null) {
                tool[key] = usual;
            }
        }
        tool
    });
    whole.collect()
}

fn thought(call: &Call<'_>, request: &Object) -> Value {
    let id = format!("rs_Demo{:024}", call.number);
    let reasoning = request.get("reasoning");
    let asked = |key: &str| reasoning.and_then(|r| r.get(key)).is_some_and(|v| !v.is_null());
    let mut summary = json!([]);
    if asked("summary") || asked("generate_summary") {
        summary = json!([{"type": "summary_text", "text": SUMMARY}]);
    }
    let mut thought = json!({"id": id, "type": "reasoning", "summary": summary});
    let include = request.get("include").and_then(Value::as_array);
    if include.is_some_and(|all| all.contains(&json!("reasoning.encrypted_content"))) {
        thought["encrypted_content"] = json!(sealed(call.deployment, &id, SUMMARY));
    }
    thought
}

fn reasoning_tokens(request: &Object) -> usize {
    let effort = request.get("reasoning").and_then(|reasoning| reasoning.get("effort")?.as_str());
    match effort {
        Some("none") => 0,
        Some("minimal" | "low") => 16,
        _ => 64,
    }
}

pub(super) fn usage(input: usize, output: usize, reasoning: usize) -> Value {
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input + output,
    })
}

const SUMMARY: &str = "**Reading the question**\n\nThe demo thinks of what to say.";
