//! The input: what its items may look like, and what they need of each other and of what came
//! before.

use serde_json::{Value, json};

use super::super::super::openai::present;
use super::super::super::shape::{Field, Shape, may, must};
use super::super::super::{Answer, Call, Deployment, lock};
use super::super::check::{invalid_type, refusal};
use super::check::{fits, invalid_value, well_named};
use super::kept::Kept;
use super::{Object, seal};

/// What a response is made of.
pub(super) struct Context {
    /// All of it.
    pub items: Vec<Value>,
    /// Without what came of the previous response.
    pub input: Vec<Value>,
}

pub(super) fn context(call: &Call<'_>, request: &Object) -> Result<Context, Answer> {
    let kept = lock(call.kept);
    let before = before(&kept, call.deployment, request)?;
    let input = match present(request, "input") {
        Some(Value::String(text)) => vec![said_by_user(text)],
        Some(Value::Array(items)) => {
            let items = items.iter().enumerate();
            let read = |(n, item)| one_item(item, &format!("input[{n}]"), call.deployment, &kept);
            items.map(read).collect::<Result<Vec<_>, _>>()?
        }
        Some(other) => return Err(invalid_type("input", "one of a string or an array", other)),
        None => Vec::new(),
    };
    if input.is_empty() && before.is_empty() {
        let why = "One of \"input\" or \"previous_response_id\" must be provided.";
        return Err(refusal(why, json!("input"), json!("missing_required_parameter")));
    }
    let items = [before, input].concat();
    single(&items)?;
    answered(&items)?;
    reasoned(&items, call.deployment, &kept)?;
    let first_of_input = items.len() - request_items(request);
    let items = items.into_iter().enumerate().map(|(n, item)| named(item, n, call));
    let items = items.collect::<Vec<_>>();
    Ok(Context { input: items[first_of_input..].to_vec(), items })
}

fn request_items(request: &Object) -> usize {
    match request.get("input") {
        Some(Value::Array(items)) => items.len(),
        Some(Value::String(_)) => 1,
        _ => 0,
    }
}

/// What the previous response was made of, and its output.
fn before(kept: &Kept, deployment: &Deployment, request: &Object) -> Result<Vec<Value>, Answer> {
    let id = present(request, "previous_response_id").and_then(Value::as_str);
    let Some(id) = id else { return Ok(Vec::new()) };
    if !id.starts_with("resp") {
        let why = format!(
            "Invalid 'previous_response_id': '{id}'. Expected an ID that begins with 'resp'."
        );
        return Err(refusal(&why, json!("previous_response_id"), json!("invalid_value")));
    }
    kept.conversation(deployment, id).ok_or_else(|| {
        let why = format!("Previous response with id '{id}' not found.");
        refusal(&why, json!("previous_response_id"), json!("previous_response_not_found"))
    })
}

fn said_by_user(text: &str) -> Value {
    let part = json!({"type": "input_text", "text": text});
    json!({"type": "message", "status": "completed", "content": [part], "role": "user"})
}

/// An item of the input as it is kept: a reference is what it refers to.
fn one_item(
    item: &Value,
    path: &str,
    deployment: &Deployment,
    kept: &Kept,
) -> Result<Value, Answer> {
    let Some(object) = item.as_object() else {
        return Err(invalid_type(path, "an object", item));
    };
    let kind = match present(object, "type") {
        Some(kind) => kind.as_str().unwrap_or_default(),
        None if object.contains_key("role") => "message",
        None => "item_reference",
    };
    let Some(kinds) = KINDS.iter().find(|known| known.name == kind) else {
        let words = KINDS.iter().map(|known| known.name.to_owned()).collect::<Vec<_>>();
        return Err(invalid_value(kind, &words, path));
    };
    fits(&Shape::Object(kinds.fields), item, path)?;
    let id = present(object, "id").and_then(Value::as_str);
    if let Some(id) = id {
        well_begun(id, kinds.id, &format!("{path}.id"))?;
    }
    match kind {
        "message" => message(item, path),
        "function_call" | "function_call_output" => called(item, path),
        "reasoning" => reasoning(item, id, deployment, kept),
        "compaction" => {
            let given = item["encrypted_content"].as_str().unwrap_or_default();
            seal::verify(deployment, id, given).map(|_| item.clone())
        }
        _ => held(id.unwrap_or_default(), deployment, kept),
    }
}

fn well_begun(id: &str, begins: &str, path: &str) -> Result<(), Answer> {
    let invalid = |why: String, code: &str| {
        Err(refusal(&format!("Invalid '{path}': {why}"), json!(path), json!(code)))
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.starts_with(begins) {
        return invalid(
            format!("'{id}'. Expected an ID that begins with '{begins}'."),
            "invalid_value",
        );
    }
    if !id.chars().all(is_plain) {
        let why = format!(
            "'{id}'. Expected an ID that contains letters, numbers, underscores, or dashes, but \
             this value contained additional characters."
        );
        return invalid(why, "invalid_value");
    }
    short(id, path)
}

fn short(text: &str, path: &str) -> Result<(), Answer> {
    let length = text.chars().count();
    if (1..=ID_CHARS_MAX).contains(&length) {
        return Ok(());
    }
    let (side, bound) = if length == 0 { ("short", 1) } else { ("long", ID_CHARS_MAX) };
    let (what, code) = match length {
        0 => ("minimum", "string_below_min_length"),
        _ => ("maximum", "string_above_max_length"),
    };
    let why = format!(
        "Invalid '{path}': string too {side}. Expected a string with {what} length {bound}, but \
         got a string with length {length} instead."
    );
    Err(refusal(&why, json!(path), json!(code)))
}

/// With its content as parts.
fn message(item: &Value, path: &str) -> Result<Value, Answer> {
    let is_models = item["role"] == "assistant";
    let shape = if is_models { &OUTPUT_CONTENT } else { &INPUT_CONTENT };
    let content = item.get("content").unwrap_or(&Value::Null);
    fits(shape, content, &format!("{path}.content"))?;
    images(content, &format!("{path}.content"))?;
    let mut item = item.clone();
    item["type"] = json!("message");
    item["status"] = json!("completed");
    if let Value::String(text) = content {
        item["content"] = match is_models {
            true => json!([{"type": "output_text", "text": text, "annotations": []}]),
            false => json!([{"type": "input_text", "text": text}]),
        };
    }
    Ok(item)
}

fn images(content: &Value, path: &str) -> Result<(), Answer> {
    for (n, part) in content.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{n}]");
        let url = part.get("image_url").and_then(Value::as_str);
        let Some(url) = url else {
            let lacks = part["type"] == "input_image" && part.get("file_id").is_none();
            if lacks {
                let why = format!("Missing required parameter: '{path}.image_url'.");
                let place = json!(format!("{path}.image_url"));
                return Err(refusal(&why, place, json!("missing_required_parameter")));
            }
            continue;
        };
        let inline = url.strip_prefix("data:image/").is_some_and(|rest| rest.contains(";base64,"));
        if !(inline || url.starts_with("https://") || url.starts_with("http://")) {
            let why = format!(
                "Invalid '{path}.image_url'. Expected a valid URL or a base64-encoded data URL of \
                 an image."
            );
            return Err(refusal(&why, json!(format!("{path}.image_url")), json!("invalid_value")));
        }
    }
    Ok(())
}

fn called(item: &Value, path: &str) -> Result<Value, Answer> {
    let call_id = item["call_id"].as_str().unwrap_or_default();
    short(call_id, &format!("{path}.call_id"))?;
    if let Some(name) = item.get("name").and_then(Value::as_str) {
        well_named(name, &format!("{path}.name"))?;
    }
    if let Some(output) = item.get("output") {
        images(output, &format!("{path}.output"))?;
    }
    let mut item = item.clone();
    item["status"] = json!("completed");
    Ok(item)
}

/// Encrypted by this deployment, or kept by it.
fn reasoning(
    item: &Value,
    id: Option<&str>,
    deployment: &Deployment,
    kept: &Kept,
) -> Result<Value, Answer> {
    match item.get("encrypted_content").and_then(Value::as_str) {
        Some(given) => {
            let mut item = item.clone();
            item["id"] = json!(seal::verify(deployment, id, given)?);
            Ok(item)
        }
        None => held(id.unwrap_or_default(), deployment, kept),
    }
}

/// Something that this deployment keeps.
fn held(id: &str, deployment: &Deployment, kept: &Kept) -> Result<Value, Answer> {
    kept.item(deployment, id).cloned().ok_or_else(|| {
        let why = format!(
            "Item with id '{id}' not found. Items are not persisted when `store` is set to false. \
             Try again with `store` set to true, or remove this item from your input."
        );
        let error = json!({
            "message": why, "type": "invalid_request_error", "param": "input", "code": null,
        });
        Answer::json(404, &json!({ "error": error }))
    })
}

/// No id stands twice.
fn single(items: &[Value]) -> Result<(), Answer> {
    let mut ids = items.iter().filter_map(|item| item["id"].as_str()).collect::<Vec<_>>();
    ids.sort_unstable();
    let twice = ids.windows(2).find(|pair| pair[0] == pair[1]);
    twice.map_or(Ok(()), |pair| {
        let why = format!(
            "Duplicate item found with id {}. Remove duplicate items from your input and try \
             again.",
            pair[0]
        );
        Err(refusal(&why, json!("input"), Value::Null))
    })
}

/// Every call has its output behind it, and every output its call before it.
fn answered(items: &[Value]) -> Result<(), Answer> {
    let mut open = Vec::new();
    for item in items {
        let call_id = item["call_id"].as_str().unwrap_or_default();
        match item["type"].as_str() {
            Some("function_call") => open.push(call_id),
            Some("function_call_output") => {
                let Some(at) = open.iter().position(|open| *open == call_id) else {
                    let why = format!(
                        "No tool call found for function call output with call_id {call_id}."
                    );
                    return Err(refusal(&why, json!("input"), Value::Null));
                };
                open.remove(at);
            }
            _ => {}
        }
    }
    open.first().map_or(Ok(()), |call_id| {
        let why = format!("No tool output found for function call {call_id}.");
        Err(refusal(&why, json!("input"), Value::Null))
    })
}

/// A thought stands before what came of it; and what came of a thought that is kept, behind that.
fn reasoned(items: &[Value], deployment: &Deployment, kept: &Kept) -> Result<(), Answer> {
    let is_of_model = |item: &&Value| {
        item["type"] == "function_call"
            || item["type"] == "reasoning"
            || item["role"] == "assistant"
    };
    for (n, item) in items.iter().enumerate() {
        let id = item["id"].as_str().unwrap_or_default();
        if item["type"] == "reasoning" && items.get(n + 1).filter(is_of_model).is_none() {
            let why = format!(
                "Item '{id}' of type 'reasoning' was provided without its required following item."
            );
            return Err(refusal(&why, json!("input"), Value::Null));
        }
        let Some(thought) = kept.reasoning_of(deployment, id) else { continue };
        if !items[..n].iter().any(|before| before["id"] == thought.as_str()) {
            let why = format!(
                "Item '{id}' of type '{}' was provided without its required 'reasoning' item: \
                 '{thought}'.",
                item["type"].as_str().unwrap_or_default()
            );
            return Err(refusal(&why, json!("input"), Value::Null));
        }
    }
    Ok(())
}

/// With an id, for the list.
fn named(mut item: Value, n: usize, call: &Call<'_>) -> Value {
    if item["id"].is_null() {
        let begins = match item["type"].as_str() {
            Some("function_call") => "fc",
            Some("function_call_output") => "fco",
            Some("reasoning") => "rs",
            Some("compaction") => "cmp",
            _ => "msg",
        };
        item["id"] = json!(format!("{begins}_In{:020}{n:06}", call.number));
    }
    item
}

pub(super) fn parts(item: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["content", "output", "summary"].into_iter().filter_map(|key| item.get(key));
    lists.filter_map(Value::as_array).flatten()
}

pub(super) fn text_of(item: &Value) -> String {
    if let Some(text) = item.get("output").and_then(Value::as_str) {
        return text.to_owned();
    }
    let texts = parts(item).filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

/// A type of items.
struct Kind {
    name: &'static str,
    /// What its ids begin with.
    id: &'static str,
    fields: &'static [Field],
}

const KINDS: &[Kind] = &[
    Kind {
        name: "message",
        id: "msg",
        fields: &[
            TYPE,
            must("role", &Shape::Word(&["assistant", "system", "developer", "user"])),
            must("content", &Shape::Any),
            may("id", &Shape::Text),
            may("status", &STATUS),
            may("phase", &Shape::Word(&["commentary", "final_answer"])),
        ],
    },
    Kind {
        name: "function_call",
        id: "fc",
        fields: &[
            TYPE,
            must("arguments", &Shape::Text),
            must("call_id", &Shape::Text),
            must("name", &Shape::Text),
            may("id", &Shape::Text),
            may("status", &STATUS),
        ],
    },
    Kind {
        name: "function_call_output",
        id: "fc",
        fields: &[
            TYPE,
            must("call_id", &Shape::Text),
            must("output", &INPUT_CONTENT),
            may("id", &Shape::Text),
            may("status", &STATUS),
        ],
    },
    Kind {
        name: "reasoning",
        id: "rs",
        fields: &[
            TYPE,
            must("summary", &SUMMARY),
            may("id", &Shape::Text),
            may("content", &REASONING_CONTENT),
            may("encrypted_content", &Shape::Text),
            may("status", &STATUS),
        ],
    },
    Kind { name: "item_reference", id: "", fields: &[TYPE, must("id", &Shape::Text)] },
    Kind {
        name: "compaction",
        id: "cmp",
        fields: &[TYPE, must("encrypted_content", &Shape::Text), may("id", &Shape::Text)],
    },
];
const TYPE: Field = may("type", &Shape::Text);
static STATUS: Shape = Shape::Word(&["in_progress", "completed", "incomplete"]);
static SUMMARY: Shape =
    Shape::List(&Shape::Tagged("type", &[("summary_text", &[must("text", &Shape::Text)])]));
static REASONING_CONTENT: Shape =
    Shape::List(&Shape::Tagged("type", &[("reasoning_text", &[must("text", &Shape::Text)])]));
static INPUT_CONTENT: Shape = Shape::Either(&[
    Shape::Text,
    Shape::List(&Shape::Tagged(
        "type",
        &[
            ("input_text", &[must("text", &Shape::Text)]),
            (
                "input_image",
                &[
                    may("image_url", &Shape::Text),
                    may("file_id", &Shape::Text),
                    may("detail", &Shape::Word(&["low", "high", "auto", "original"])),
                ],
            ),
            (
                "input_file",
                &[
                    may("file_data", &Shape::Text),
                    may("file_id", &Shape::Text),
                    may("file_url", &Shape::Text),
                    may("filename", &Shape::Text),
                    may("detail", &Shape::Word(&["low", "high", "auto"])),
                ],
            ),
        ],
    )),
]);
static OUTPUT_CONTENT: Shape = Shape::Either(&[
    Shape::Text,
    Shape::List(&Shape::Tagged(
        "type",
        &[
            (
                "output_text",
                &[
                    must("text", &Shape::Text),
                    may("annotations", &Shape::List(&Shape::Any)),
                    may("logprobs", &Shape::List(&Shape::Any)),
                ],
            ),
            ("refusal", &[must("refusal", &Shape::Text)]),
        ],
    )),
]);
const ID_CHARS_MAX: usize = 64;
