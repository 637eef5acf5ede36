//! What a request may say besides its input, in OpenAI's words as far as they are known.

use serde_json::{Value, json};

use super::super::super::openai::present;
use super::super::super::shape::{ANY_OBJECT, Misfit, Shape, Step, Why, may, must};
use super::super::super::{Answer, Deployment};
use super::super::check::{invalid_type, is_tool_name, refusal, strict_schema, string};
use super::Object;
use super::items;

pub(super) fn create(request: &Object, deployment: &Deployment) -> Result<(), Answer> {
    fits(&CREATE, &Value::Object(request.clone()), "")?;
    sampling(request)?;
    together(request)?;
    metadata(request)?;
    let names = tools(request, deployment)?;
    tool_choice(request, &names)?;
    format(request)
}

pub(super) fn compact(request: &Object) -> Result<(), Answer> {
    fits(&COMPACT, &Value::Object(request.clone()), "")
}

/// A JSON object without a schema has to be spoken of.
pub(super) fn json_is_asked_for(request: &Object, context: &[Value]) -> Result<(), Answer> {
    let kind = request.get("text").and_then(|text| text.pointer("/format/type"));
    let said = || context.iter().map(items::text_of).collect::<String>().to_lowercase();
    if kind != Some(&json!("json_object")) || said().contains("json") {
        return Ok(());
    }
    let why = "Response input messages must contain the word 'json' in some form to use \
               'text.format' of type 'json_object'.";
    Err(refusal(why, json!("input"), Value::Null))
}

/// Checks a value that stands at `path`.
pub(super) fn fits(shape: &Shape, value: &Value, path: &str) -> Result<(), Answer> {
    shape.check(value).map_err(|misfit| misfitting(&misfit, path))
}

fn misfitting(misfit: &Misfit, path: &str) -> Answer {
    let place = joined(path, &misfit.full_place());
    match &misfit.why {
        Why::Unknown(_) => {
            let why = format!("Unknown parameter: '{place}'.");
            refusal(&why, json!(place), json!("unknown_parameter"))
        }
        Why::Missing(_) => {
            let why = format!("Missing required parameter: '{place}'.");
            refusal(&why, json!(place), json!("missing_required_parameter"))
        }
        Why::Wrong(wanted) => wrong(misfit, &place, wanted),
    }
}

fn wrong(misfit: &Misfit, place: &str, wanted: &str) -> Answer {
    let given = &misfit.given;
    if let (Some(words), Value::String(word)) = (words_of(wanted), given) {
        // An item or a part of a type that is not known is named itself.
        let inside = place.starts_with("input") && misfit.path.last() == Some(&type_step());
        let place = if inside { place.trim_end_matches(".type") } else { place };
        return invalid_value(word, &words, place);
    }
    if let Some(bounds) = bounds_of(wanted).filter(|_| given.is_number()) {
        return out_of_bounds(&bounds, given, place);
    }
    let kinds = wanted.split(" or ").map(kind_of).collect::<Vec<_>>();
    let wanted = match kinds.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("one of {}", several.join(" or ")),
    };
    invalid_type(place, &wanted, given)
}

fn type_step() -> Step {
    Step::Name("type".to_owned())
}

pub(super) fn invalid_value(word: &str, words: &[String], place: &str) -> Answer {
    let quoted = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>();
    let listed = match quoted.as_slice() {
        [one] => one.clone(),
        [one, other] => format!("{one} and {other}"),
        [most @ .., last] => format!("{}, and {last}", most.join(", ")),
        [] => String::new(),
    };
    let why = format!("Invalid value: '{word}'. Supported values are: {listed}.");
    refusal(&why, json!(place), json!("invalid_value"))
}

/// As [`Shape::Word`] names them.
fn words_of(wanted: &str) -> Option<Vec<String>> {
    serde_json::from_str(wanted.strip_prefix("one of ")?).ok()
}

/// `integer` or `decimal`, the least and the most.
type Bounds = (&'static str, f64, f64);

/// As [`Shape::Whole`] and [`Shape::Number`] name them.
fn bounds_of(wanted: &str) -> Option<Bounds> {
    let integer = wanted.strip_prefix("integer from ").map(|rest| ("integer", rest));
    let decimal = || wanted.strip_prefix("number from ").map(|rest| ("decimal", rest));
    let (kind, bounds) = integer.or_else(decimal)?;
    let (least, most) = bounds.split_once(" to ")?;
    Some((kind, least.parse().ok()?, most.parse().ok()?))
}

fn out_of_bounds((kind, least, most): &Bounds, given: &Value, place: &str) -> Answer {
    if *kind == "integer" && !given.is_i64() {
        return invalid_type(place, "an integer", given);
    }
    let (side, code, wanted) = match given.as_f64() < Some(*least) {
        true => ("below minimum", "below_min", format!(">= {least}")),
        false => ("above maximum", "above_max", format!("<= {most}")),
    };
    let why = format!(
        "Invalid '{place}': {kind} {side} value. Expected a value {wanted}, but got {given} \
         instead."
    );
    refusal(&why, json!(place), json!(format!("{kind}_{code}_value")))
}

fn kind_of(wanted: &str) -> &str {
    match wanted.split(' ').next() {
        Some("string" | "one") => "a string",
        Some("boolean") => "a boolean",
        Some("array") => "an array",
        Some("object") => "an object",
        Some("integer") => "an integer",
        Some("number") => "a decimal",
        _ => wanted,
    }
}

/// `path` and what follows in it.
fn joined(path: &str, rest: &str) -> String {
    let dot = if path.is_empty() || rest.is_empty() || rest.starts_with('[') { "" } else { "." };
    format!("{path}{dot}{rest}")
}

/// What reasoning models know only at its default: all that have Responses reason.
fn sampling(request: &Object) -> Result<(), Answer> {
    for (key, default) in [("temperature", 1.0), ("top_p", 1.0), ("top_logprobs", 0.0)] {
        if present(request, key).is_some_and(|given| given.as_f64() != Some(default)) {
            let why = format!("Unsupported parameter: '{key}' is not supported with this model.");
            return Err(refusal(&why, json!(key), Value::Null));
        }
    }
    let include = present(request, "include").and_then(Value::as_array);
    if include.is_some_and(|include| include.contains(&json!("message.output_text.logprobs"))) {
        let why = "logprobs are not supported with reasoning models.";
        return Err(refusal(why, json!("include"), Value::Null));
    }
    Ok(())
}

/// What goes only with something else.
fn together(request: &Object) -> Result<(), Answer> {
    let is = |key: &str, wanted: bool| request.get(key) == Some(&json!(wanted));
    if present(request, "stream_options").is_some() && !is("stream", true) {
        let why = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(refusal(why, json!("stream_options"), Value::Null));
    }
    if is("background", true) && is("store", false) {
        let why = "Background mode requires 'store' to be true.";
        return Err(refusal(why, json!("background"), Value::Null));
    }
    Ok(())
}

fn metadata(request: &Object) -> Result<(), Answer> {
    let metadata = present(request, "metadata").and_then(Value::as_object);
    let Some(metadata) = metadata else { return Ok(()) };
    let is_long = |(key, value): (&String, &Value)| {
        key.len() > 64 || value.as_str().is_some_and(|value| value.len() > 512)
    };
    if metadata.len() <= 16 && !metadata.iter().any(is_long) {
        return Ok(());
    }
    let why = "Invalid 'metadata': expected at most 16 pairs, of keys of at most 64 characters and \
               values of at most 512.";
    Err(refusal(why, json!("metadata"), json!("invalid_value")))
}

/// The names of the tools.
fn tools<'a>(request: &'a Object, deployment: &Deployment) -> Result<Vec<&'a str>, Answer> {
    let Some(tools) = present(request, "tools") else { return Ok(Vec::new()) };
    let Some(tools) = tools.as_array() else {
        return Err(invalid_type("tools", "an array of objects", tools));
    };
    only_functions(tools, deployment)?;
    let tools = tools.iter().enumerate();
    tools.map(|(n, tool)| one_tool(tool, &format!("tools[{n}]"))).collect()
}

/// In the recorded words (dossier 5a, a probe of 2026).
fn only_functions(tools: &[Value], deployment: &Deployment) -> Result<(), Answer> {
    let kinds = tools.iter().filter_map(|tool| tool.get("type")?.as_str());
    let mut others = kinds.filter(|kind| *kind != "function").collect::<Vec<_>>();
    others.sort_unstable();
    others.dedup();
    let listed = match others.as_slice() {
        [] => return Ok(()),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    };
    let model = &deployment.model;
    let why = format!("The following tools are not allowed for model '{model}': {listed}.");
    Err(refusal(&why, json!("tools"), Value::Null))
}

fn one_tool<'a>(tool: &'a Value, path: &str) -> Result<&'a str, Answer> {
    let missing = ["type", "name"].into_iter().find(|key| tool.get(key).is_none());
    if let Some(key) = missing.filter(|_| tool.is_object()) {
        let why = format!("Missing required parameter: '{path}.{key}'.");
        let place = json!(format!("{path}.{key}"));
        return Err(refusal(&why, place, json!("missing_required_parameter")));
    }
    fits(&TOOL, tool, path)?;
    let name = tool["name"].as_str().unwrap_or_default();
    well_named(name, &format!("{path}.name"))?;
    if tool["strict"] == json!(true) {
        let parameters = tool.get("parameters").unwrap_or(&Value::Null);
        strict_schema(parameters).map_err(|what| {
            let why = format!("Invalid schema for function '{name}': In context=(), {what}");
            let place = json!(format!("{path}.parameters"));
            refusal(&why, place, json!("invalid_function_parameters"))
        })?;
    }
    Ok(name)
}

pub(super) fn well_named(name: &str, place: &str) -> Result<(), Answer> {
    if is_tool_name(name) {
        return Ok(());
    }
    let why = format!(
        "Invalid '{place}': string does not match pattern. Expected a string that matches the \
         pattern '^[a-zA-Z0-9_-]{{1,64}}$'."
    );
    Err(refusal(&why, json!(place), json!("invalid_value")))
}

fn tool_choice(request: &Object, names: &[&str]) -> Result<(), Answer> {
    let missing = |kind: &str| {
        let why = format!("Tool choice '{kind}' not found in 'tools' parameter.");
        Err(refusal(&why, json!("tool_choice"), Value::Null))
    };
    let is_there = |tool: &Value| {
        tool["type"] == "function" && tool["name"].as_str().is_some_and(|n| names.contains(&n))
    };
    let Some(choice) = present(request, "tool_choice") else { return Ok(()) };
    let shape = if choice.is_string() { &CHOICE_WORD } else { &CHOICE_OBJECT };
    fits(shape, choice, "tool_choice")?;
    match choice.get("type").and_then(Value::as_str) {
        None if choice == "required" && names.is_empty() => {
            let why = "Tool choice 'required' must be specified with 'tools' parameter.";
            Err(refusal(why, json!("tool_choice"), Value::Null))
        }
        None => Ok(()),
        Some("function") if is_there(choice) => Ok(()),
        Some("allowed_tools") => {
            let mut allowed = choice["tools"].as_array().into_iter().flatten();
            if allowed.all(is_there) { Ok(()) } else { missing("allowed_tools") }
        }
        Some(kind) => missing(kind),
    }
}

fn format(request: &Object) -> Result<(), Answer> {
    let format = request.get("text").and_then(|text| text.get("format"));
    let Some(format) = format.and_then(Value::as_object) else { return Ok(()) };
    if string(format, "type") != "json_schema" {
        return Ok(());
    }
    let name = string(format, "name");
    well_named(name, "text.format.name")?;
    if format.get("strict") != Some(&json!(true)) {
        return Ok(());
    }
    strict_schema(format.get("schema").unwrap_or(&Value::Null)).map_err(|what| {
        let why = format!("Invalid schema for response_format '{name}': In context=(), {what}");
        refusal(&why, json!("text.format.schema"), json!("invalid_json_schema"))
    })
}

static CREATE: Shape = Shape::Object(&[
    must("model", &Shape::Text),
    may("input", &Shape::Any),
    may("background", &Shape::Bool),
    may("include", &Shape::List(&Shape::Word(INCLUDES))),
    may("instructions", &Shape::Text),
    may("max_output_tokens", &Shape::Whole(16, 128_000)),
    may("max_tool_calls", &Shape::Whole(1, 1_000_000)),
    may("metadata", &Shape::Map(&Shape::Text)),
    may("parallel_tool_calls", &Shape::Bool),
    may("previous_response_id", &Shape::Text),
    may("prompt_cache_key", &Shape::Text),
    may("prompt_cache_retention", &Shape::Word(RETENTIONS)),
    may("reasoning", &REASONING),
    may("safety_identifier", &Shape::Text),
    may("service_tier", &Shape::Word(TIERS)),
    may("store", &Shape::Bool),
    may("stream", &Shape::Bool),
    may("stream_options", &Shape::Object(&[may("include_obfuscation", &Shape::Bool)])),
    may("temperature", &Shape::Number(0.0, 2.0)),
    may("text", &TEXT),
    may("tool_choice", &Shape::Any),
    may("tools", &Shape::Any),
    may("top_logprobs", &Shape::Whole(0, 20)),
    may("top_p", &Shape::Number(0.0, 1.0)),
    may("truncation", &Shape::Word(&["auto", "disabled"])),
    may("user", &Shape::Text),
]);
static COMPACT: Shape = Shape::Object(&[
    must("model", &Shape::Text),
    may("input", &Shape::Any),
    may("instructions", &Shape::Text),
    may("previous_response_id", &Shape::Text),
    may("prompt_cache_key", &Shape::Text),
    may("prompt_cache_retention", &Shape::Word(RETENTIONS)),
    may("service_tier", &Shape::Word(TIERS)),
]);
static REASONING: Shape = Shape::Object(&[
    may("effort", &Shape::Word(&super::super::check::EFFORTS)),
    may("generate_summary", &Shape::Word(SUMMARIES)),
    may("summary", &Shape::Word(SUMMARIES)),
]);
static TEXT: Shape = Shape::Object(&[
    may(
        "format",
        &Shape::Tagged(
            "type",
            &[
                ("text", &[]),
                ("json_object", &[]),
                (
                    "json_schema",
                    &[
                        must("name", &Shape::Text),
                        must("schema", &ANY_OBJECT),
                        may("description", &Shape::Text),
                        may("strict", &Shape::Bool),
                    ],
                ),
            ],
        ),
    ),
    may("verbosity", &Shape::Word(&["low", "medium", "high"])),
]);
static TOOL: Shape = Shape::Object(&[
    must("type", &Shape::Word(&["function"])),
    must("name", &Shape::Text),
    may("description", &Shape::Text),
    may("parameters", &ANY_OBJECT),
    may("strict", &Shape::Bool),
]);
static CHOICE_WORD: Shape = Shape::Word(&["none", "auto", "required"]);
static CHOICE_OBJECT: Shape = Shape::Tagged(
    "type",
    &[
        ("function", &[must("name", &Shape::Text)]),
        (
            "allowed_tools",
            &[
                must("mode", &Shape::Word(&["auto", "required"])),
                must("tools", &Shape::List(&ANY_OBJECT)),
            ],
        ),
        ("custom", &[must("name", &Shape::Text)]),
        ("web_search", &[]),
    ],
);
const INCLUDES: &[&str] = &[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
];
const RETENTIONS: &[&str] = &["in_memory", "in-memory", "24h"];
const SUMMARIES: &[&str] = &["auto", "concise", "detailed"];
const TIERS: &[&str] = &["auto", "default", "flex", "scale", "priority"];
