//! Perplexity: chat with citations, without tools (dossier 5d).
//!
//! Each frame of a stream repeats the whole message so far beside its delta.

use serde_json::{Map, Value, json};

use super::openai::{messages, most_tokens, now, present, prompt, prompt_tokens};
use super::shape::{ANY_OBJECT, Field, Misfit, Shape, Step, TEXTS, Why, may, must};
use super::story::{End, Story};
use super::{Answer, Call, Deployment, pairs};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    if call.suffix != "chat/completions" {
        return Err(Answer::text(404, "Not Found"));
    }
    if let Some((name, _)) = pairs(call.query).first() {
        return Err(refusal(&format!("Unexpected query parameter: {name}"), "bad_request"));
    }
    let request = checked(call.body, call.deployment)?;
    let completion = Completion::new(call, &request);
    if request.get("stream") == Some(&json!(true)) {
        return Ok(Answer::stream(completion.frames()));
    }
    Ok(Answer::json(200, &completion.whole()))
}

pub(super) fn error_body(status: u16) -> Option<String> {
    let (message, kind) = match status {
        401 | 403 | 413 | 503 | 504 => return None,
        429 => ("Request rate limit exceeded, please try again later.", "rate_limit_exceeded"),
        _ => ("Something went wrong, as asked for (demo).", "internal_server_error"),
    };
    Some(json!({"error": {"message": message, "type": kind, "code": status}}).to_string())
}

pub(super) fn error_frame(_: &Call<'_>) -> String {
    error_body(429).unwrap_or_default()
}

/// An answer before it is written either way.
struct Completion {
    id: String,
    created: u64,
    model: String,
    story: Story,
    finish: String,
    prompt_tokens: usize,
}

impl Completion {
    fn new(call: &Call<'_>, request: &Map<String, Value>) -> Completion {
        let story = Story::new(&prompt(request, most_tokens(request)), call.fault);
        let finish = if story.end == End::Full { "length" } else { "stop" };
        Completion {
            id: format!("00000000-0000-4000-8000-{:012x}", call.number),
            created: now(),
            model: call.deployment.model.clone(),
            finish: call.fault.stop_reason.clone().unwrap_or(finish.to_owned()),
            story,
            prompt_tokens: prompt_tokens(request),
        }
    }

    fn whole(&self) -> Value {
        let mut whole = self.part(&self.story.text(), "", json!(self.finish));
        whole["object"] = json!("chat.completion");
        whole["usage"] = self.usage(self.story.tokens());
        whole
    }

    fn frames(&self) -> Vec<String> {
        let mut said = String::new();
        let pieces = self.story.pieces.iter().map(|piece| {
            said.push_str(piece);
            self.part(&said, piece, Value::Null).to_string()
        });
        let mut frames = pieces.collect::<Vec<_>>();
        let mut last = self.part(&said, "", json!(self.finish));
        last["usage"] = self.usage(self.story.tokens());
        frames.push(last.to_string());
        frames.push("[DONE]".to_owned());
        frames
    }

    fn part(&self, said: &str, piece: &str, finish: Value) -> Value {
        let choice = json!({
            "index": 0,
            "finish_reason": finish,
            "message": {"role": "assistant", "content": said},
            "delta": {"role": "assistant", "content": piece},
        });
        json!({
            "id": self.id,
            "model": self.model,
            "created": self.created,
            "object": "chat.completion.chunk",
            "citations": [SOURCE],
            "search_results": [{"title": "The demo", "url": SOURCE, "date": "2026-01-01"}],
            "choices": [choice],
        })
    }

    fn usage(&self, spoken: usize) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": spoken,
            "total_tokens": self.prompt_tokens + spoken,
            "search_context_size": "low",
        })
    }
}

fn checked(body: &[u8], deployment: &Deployment) -> Result<Map<String, Value>, Answer> {
    let why = "[\"At body: JSON decode error\"]";
    let request = serde_json::from_slice::<Map<String, Value>>(body);
    let request = request.map_err(|_| refusal(why, "bad_request"))?;
    if ["tools", "tool_choice"].iter().any(|key| present(&request, key).is_some()) {
        let why = "Tool calling is not supported for this model";
        return Err(refusal(why, "tool_calling_not_supported"));
    }
    let request = Value::Object(request);
    REQUEST.check(&request).map_err(|misfit| misfit_refusal(&misfit))?;
    let Value::Object(request) = request else { return Err(refusal(why, "bad_request")) };
    let model = request["model"].as_str().unwrap_or_default();
    if model != deployment.model {
        let why = format!("Model '{model}' is not allowed, supported model: {}.", deployment.model);
        return Err(refusal(&why, "invalid_request_error"));
    }
    turns(messages(&request))?;
    Ok(request)
}

/// System messages first, then user and assistant in turn, and the last is not the assistant's.
fn turns(messages: &[Value]) -> Result<(), Answer> {
    let roles = messages.iter().map(|message| message["role"].as_str().unwrap_or_default());
    let mut turns = roles.skip_while(|role| *role == "system");
    let mut last = "";
    for (n, role) in turns.by_ref().enumerate() {
        let is_in_turn = (role == "assistant") == (n % 2 == 1) && role != "system";
        if !is_in_turn {
            let why = "After the (optional) system message(s), user or tool message(s) should \
                       alternate with assistant message(s).";
            return Err(refusal(why, "invalid_message"));
        }
        last = role;
    }
    if ["user", "tool"].contains(&last) {
        return Ok(());
    }
    Err(refusal("Last message must have role `user` or `tool`.", "invalid_message"))
}

fn refusal(message: &str, kind: &str) -> Answer {
    let error = json!({"message": message, "type": kind, "code": 400});
    Answer::json(400, &json!({ "error": error }))
}

fn misfit_refusal(misfit: &Misfit) -> Answer {
    let mut place = vec!["body".to_owned()];
    place.extend(misfit.path.iter().map(|step| match step {
        Step::Index(n) => n.to_string(),
        Step::Name(name) | Step::Entry(_, name) => name.clone(),
    }));
    let what = match &misfit.why {
        Why::Unknown(name) => {
            place.push(name.clone());
            "Extra inputs are not permitted".to_owned()
        }
        Why::Missing(name) => {
            place.push((*name).to_owned());
            "Field required".to_owned()
        }
        Why::Wrong(wanted) => format!("Input should be a valid {wanted}"),
    };
    refusal(&format!("[\"At {}: {what}\"]", place.join(" -> ")), "bad_request")
}

const SOURCE: &str = "https://example.com/demo";

static REQUEST: Shape = Shape::Object(&[
    must("model", &Shape::Text),
    must("messages", &Shape::List(&MESSAGE)),
    may("max_tokens", &Shape::Whole(1, 128_000)),
    may("temperature", &Shape::Number(0.0, 1.999)),
    may("top_p", &Shape::Number(0.0, 1.0)),
    may("top_k", &Shape::Whole(0, 2048)),
    may("presence_penalty", &Shape::Number(-2.0, 2.0)),
    may("frequency_penalty", &Shape::Number(-2.0, 2.0)),
    may("stream", &Shape::Bool),
    may("response_format", &Shape::Tagged("type", FORMATS)),
    may("reasoning_effort", &Shape::Word(&["minimal", "low", "medium", "high"])),
    may("search_mode", &Shape::Word(&["web", "academic", "sec"])),
    may("search_domain_filter", &TEXTS),
    may("search_recency_filter", &Shape::Text),
    may("search_after_date_filter", &Shape::Text),
    may("search_before_date_filter", &Shape::Text),
    may("return_images", &Shape::Bool),
    may("return_related_questions", &Shape::Bool),
    may("disable_search", &Shape::Bool),
    may("web_search_options", &ANY_OBJECT),
]);
const MESSAGE: Shape = Shape::Object(&[
    must("role", &Shape::Word(&["system", "user", "assistant", "tool"])),
    must("content", &Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", PARTS))])),
]);
const PARTS: &[(&str, &[Field])] = &[
    ("text", &[must("text", &Shape::Text)]),
    ("image_url", &[must("image_url", &Shape::Object(&[must("url", &Shape::Text)]))]),
];
const FORMATS: &[(&str, &[Field])] =
    &[("text", &[]), ("json_schema", &[must("json_schema", &JSON_SCHEMA)])];
const JSON_SCHEMA: Shape = Shape::Object(&[
    must("schema", &ANY_OBJECT),
    may("name", &Shape::Text),
    may("description", &Shape::Text),
    may("strict", &Shape::Bool),
]);
