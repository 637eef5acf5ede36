//! What Gemini refuses (dossier 5c), in Google's words as far as they are known.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};

use super::super::shape::{
    ANY_OBJECT, Field, INTEGER, Misfit, REAL, Shape, Step, TEXTS, Why, may, must,
};
use super::super::{Answer, Deployment, pairs};
use super::{declarations, has_text, list, parts, signature, text_signature};

pub(super) fn refusal(message: &str) -> Answer {
    google_error(400, message)
}

pub(super) fn google_error(status: u16, message: &str) -> Answer {
    Answer::json(status, &error_object(status, message))
}

pub(super) fn error_object(status: u16, message: &str) -> Value {
    let name = match status {
        400 => "INVALID_ARGUMENT",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": message, "status": name}})
}

pub(super) fn query(query: &str) -> Result<(), Answer> {
    let unknown = pairs(query).into_iter().find(|(name, _)| name != "alt");
    unknown.map_or(Ok(()), |(name, _)| {
        Err(refusal(&format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. \
             Field '{name}' could not be found in request message."
        )))
    })
}

/// The request with all its names in camel case.
pub(super) fn generate(body: &[u8], deployment: &Deployment) -> Result<Value, Answer> {
    let request = read(body, &REQUEST)?;
    contents(list(&request["contents"]))?;
    if !request["systemInstruction"].is_null() {
        content(&request["systemInstruction"], "system_instruction")?;
    }
    signatures(list(&request["contents"]), deployment)?;
    tools(&request)?;
    config(&request, deployment)?;
    Ok(request)
}

pub(super) fn predict(body: &[u8]) -> Result<Value, Answer> {
    let request = read(body, &PREDICTION)?;
    let empty = |instance: &Value| instance["content"].as_str().is_none_or(str::is_empty);
    if list(&request["instances"]).iter().any(empty) {
        return Err(refusal("The text content is empty."));
    }
    Ok(request)
}

fn read(body: &[u8], shape: &Shape) -> Result<Value, Answer> {
    let why = "Invalid JSON payload received. Expected an object.";
    let given = serde_json::from_slice::<Map<String, Value>>(body).map_err(|_| refusal(why))?;
    let request = camel(Value::Object(given), shape);
    shape.check(&request).map_err(|misfit| misfit_refusal(&misfit))?;
    Ok(request)
}

/// With the names that the shape knows in its own spelling, and single things where it has lists of
/// them: protocol buffers take both.
fn camel(value: Value, shape: &Shape) -> Value {
    match (shape, value) {
        (Shape::Object(fields), Value::Object(object)) => {
            let entries = object.into_iter().map(|(name, value)| {
                match fields.iter().find(|f| f.name == name || snake(f.name) == name) {
                    Some(field) => (field.name.to_owned(), camel(value, field.shape)),
                    None => (name, value),
                }
            });
            Value::Object(entries.filter(|(_, value)| !value.is_null()).collect())
        }
        (Shape::List(of), Value::Array(values)) => {
            values.into_iter().map(|value| camel(value, of)).collect()
        }
        (Shape::List(of @ Shape::Object(_)), value @ Value::Object(_)) => {
            json!([camel(value, of)])
        }
        (Shape::Map(of), Value::Object(object)) => {
            object.into_iter().map(|(name, value)| (name, camel(value, of))).collect()
        }
        (_, value) => value,
    }
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn misfit_refusal(misfit: &Misfit) -> Answer {
    let place = place(misfit);
    let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
    match &misfit.why {
        Why::Unknown(name) => unknown(name, &place, &at),
        Why::Missing(name) => {
            let dot = if place.is_empty() { "" } else { "." };
            refusal(&format!(
                "* GenerateContentRequest.{place}{dot}{}: required field is not set",
                snake(name)
            ))
        }
        Why::Wrong(_) if misfit.given.is_array() => refusal(&format!(
            "Invalid JSON payload received. Unknown name \"{}\"{at}: Proto field is not \
             repeating, cannot start list.",
            place.rsplit('.').next().unwrap_or_default()
        )),
        Why::Wrong(wanted) => {
            let kind = if wanted == "string" { "TYPE_STRING" } else { wanted };
            refusal(&format!("Invalid value{at} ({kind}), {}", misfit.given))
        }
    }
}

fn unknown(name: &str, place: &str, at: &str) -> Answer {
    let message =
        format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
    let mut error = error_object(400, &message);
    let description = format!("Unknown name \"{name}\"");
    error["error"]["details"] = json!([{
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": place, "description": description}],
    }]);
    Answer::json(400, &error)
}

/// As protocol buffers name it: in snake case, and the entries of maps as `[n].value`.
fn place(misfit: &Misfit) -> String {
    let mut place = String::new();
    for step in &misfit.path {
        let _ = match step {
            Step::Name(name) if place.is_empty() => write!(place, "{}", snake(name)),
            Step::Name(name) => write!(place, ".{}", snake(name)),
            Step::Index(n) => write!(place, "[{n}]"),
            Step::Entry(n, _) => write!(place, "[{n}].value"),
        };
    }
    place
}

fn contents(contents: &[Value]) -> Result<(), Answer> {
    let roles = contents.iter().map(|content| content["role"].as_str());
    if roles.clone().any(|role| !matches!(role, Some("user" | "model"))) {
        return Err(refusal("Please use a valid role: user, model."));
    }
    match contents.first() {
        None => {
            return Err(refusal("* GenerateContentRequest.contents: contents is not specified"));
        }
        Some(first) if first["role"] != "user" => {
            return Err(refusal("Please ensure that the conversation begins with a user turn."));
        }
        Some(_) => {}
    }
    for (n, one) in contents.iter().enumerate() {
        content(one, &format!("contents[{n}]"))?;
    }
    turns(contents)
}

/// Every turn of calls is followed by as many results, and no result comes otherwise.
fn turns(contents: &[Value]) -> Result<(), Answer> {
    let none = Value::Null;
    let mut before = &none;
    for content in contents.iter().chain([&none]) {
        let (calls, results) = (names(before, "functionCall"), names(content, "functionResponse"));
        if calls.is_empty() && !results.is_empty() {
            return Err(refusal(
                "Please ensure that function response turn comes immediately after a function \
                 call turn.",
            ));
        }
        if calls.len() != results.len() {
            return Err(refusal(
                "Please ensure that the number of function response parts is equal to the number \
                 of function call parts of the function call turn.",
            ));
        }
        if calls != results {
            return Err(refusal(
                "Please ensure that the function response parts are in the order of the function \
                 call parts of the function call turn.",
            ));
        }
        before = content;
    }
    Ok(())
}

fn names<'a>(content: &'a Value, kind: &str) -> Vec<&'a str> {
    let of_kind = parts(content).filter_map(|part| part.get(kind));
    of_kind.map(|call| call["name"].as_str().unwrap_or_default()).collect()
}

fn content(content: &Value, path: &str) -> Result<(), Answer> {
    let all = list(&content["parts"]);
    let says = |part: &Value| part["text"] != "" || part.get("thoughtSignature").is_some();
    if !all.iter().any(says) {
        return Err(refusal(&format!("* GenerateContentRequest.{path}.parts must not be empty")));
    }
    for (n, one) in all.iter().enumerate() {
        part(one, &content["role"], &format!("{path}.parts[{n}]"))?;
    }
    Ok(())
}

fn part(part: &Value, role: &Value, path: &str) -> Result<(), Answer> {
    let data = DATA.iter().filter(|name| part.get(**name).is_some()).collect::<Vec<_>>();
    match data.as_slice() {
        [] => {
            let why = format!(
                "* GenerateContentRequest.{path}.data: required oneof field 'data' must have one \
                 initialized field"
            );
            return Err(refusal(&why));
        }
        [_] => {}
        [.., second] => {
            let why = format!(
                "Invalid value at '{path}' (oneof), oneof field 'data' is already set. Cannot set \
                 '{}'",
                snake(second)
            );
            return Err(refusal(&why));
        }
    }
    if part.get("functionCall").is_some() && role != "model" {
        return Err(refusal("Please ensure that function call parts are of the role model."));
    }
    if part.get("functionResponse").is_some() && role != "user" {
        return Err(refusal("Please ensure that function response parts are of the role user."));
    }
    for kind in ["functionCall", "functionResponse"] {
        if part.get(kind).is_some_and(|call| call["name"] == "") {
            let why = format!(
                "* GenerateContentRequest.{path}.{}.name: Name cannot be empty.",
                snake(kind)
            );
            return Err(refusal(&why));
        }
    }
    part.get("inlineData").map_or(Ok(()), |data| inline_data(data, path))
}

fn inline_data(data: &Value, path: &str) -> Result<(), Answer> {
    let text = data["data"].as_str().unwrap_or_default();
    if text.is_empty() || !is_base64(text) {
        let why = format!(
            "Invalid value at '{path}.inline_data.data' (TYPE_BYTES), Base64 decoding failed for \
             \"{}\"",
            text.chars().take(40).collect::<String>()
        );
        return Err(refusal(&why));
    }
    let kind = data["mimeType"].as_str().unwrap_or_default();
    let known = ["image/", "audio/", "video/"].iter().any(|prefix| kind.starts_with(prefix));
    if known || ["application/pdf", "text/plain"].contains(&kind) {
        return Ok(());
    }
    Err(refusal(&format!(
        "Unable to submit request because it has a mimeType parameter with value {kind}, which is \
         not supported. Update the mimeType and try again."
    )))
}

/// Both alphabets are taken.
fn is_base64(text: &str) -> bool {
    STANDARD.decode(text).is_ok() || URL_SAFE.decode(text).is_ok()
}

/// A signature that is there must be right, and from the third generation on the first call of each
/// step of the current turn must have one.
fn signatures(contents: &[Value], deployment: &Deployment) -> Result<(), Answer> {
    let asked = |content: &Value| content["role"] == "user" && has_text(content);
    let current = contents.iter().rposition(asked).unwrap_or(0);
    for (n, content) in contents.iter().enumerate() {
        for part in parts(content) {
            signature_of(part)?;
        }
        let first = parts(content).find(|part| part.get("functionCall").is_some());
        let Some(first) = first.filter(|_| n > current && is_third_generation(deployment)) else {
            continue;
        };
        if first.get("thoughtSignature").is_none() {
            let name = first["functionCall"]["name"].as_str().unwrap_or_default();
            let block = n + 1;
            return Err(refusal(&format!(
                "Function call `{name}` in the {block}. content block is missing a \
                 `thought_signature`. Learn more: \
                 https://ai.google.dev/gemini-api/docs/thought-signatures"
            )));
        }
    }
    Ok(())
}

fn signature_of(part: &Value) -> Result<(), Answer> {
    let Some(given) = part["thoughtSignature"].as_str() else { return Ok(()) };
    if given == "skip_thought_signature_validator" {
        return Ok(());
    }
    let wanted = part.get("functionCall").map_or_else(text_signature, |call| {
        let args = call.get("args").cloned().unwrap_or(json!({}));
        signature(call["name"].as_str().unwrap_or_default(), &args)
    });
    if given == wanted { Ok(()) } else { Err(refusal("Corrupted thought signature.")) }
}

pub(super) fn is_third_generation(deployment: &Deployment) -> bool {
    deployment.model.starts_with("gemini-3")
}

fn tools(request: &Value) -> Result<(), Answer> {
    let mut names = Vec::new();
    for (t, tool) in list(&request["tools"]).iter().enumerate() {
        for (n, one) in list(&tool["functionDeclarations"]).iter().enumerate() {
            let path = format!("tools[{t}].function_declarations[{n}]");
            names.push(declaration(one, &path)?);
        }
        if tool.as_object().is_some_and(Map::is_empty) {
            let why = format!(
                "* GenerateContentRequest.tools[{t}].tool_type: required one_of 'tool_type' must \
                 have one initialized field"
            );
            return Err(refusal(&why));
        }
    }
    let twice = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name));
    if let Some((_, name)) = twice {
        return Err(refusal(&format!("Duplicate function declaration found: {name}")));
    }
    calling(&request["toolConfig"]["functionCallingConfig"], &names)
}

fn declaration<'a>(declaration: &'a Value, path: &str) -> Result<&'a str, Answer> {
    let name = declaration["name"].as_str().unwrap_or_default();
    if !is_function_name(name) {
        let why = format!(
            "* GenerateContentRequest.{path}.name: Invalid function name. Must start with a letter \
             or an underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), \
             colons (:), or dashes (-), with a maximum length of 64."
        );
        return Err(refusal(&why));
    }
    either(declaration, path, "parameters", "parametersJsonSchema")?;
    either(declaration, path, "response", "responseJsonSchema")?;
    if let Some(schema) = declaration.get("parameters") {
        subset(schema, &format!("{path}.parameters"))?;
        if !schema["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("object")) {
            let why = format!(
                "* GenerateContentRequest.{path}.parameters: schema should be of type OBJECT"
            );
            return Err(refusal(&why));
        }
    }
    Ok(name)
}

fn either(object: &Value, path: &str, one: &str, other: &str) -> Result<(), Answer> {
    if object.get(one).is_none() || object.get(other).is_none() {
        return Ok(());
    }
    Err(refusal(&format!(
        "* GenerateContentRequest.{path}: only one of {} and {} may be set",
        snake(one),
        snake(other)
    )))
}

/// What the shape of the OpenAPI subset does not say.
fn subset(schema: &Value, path: &str) -> Result<(), Answer> {
    let fail = |what: &str| Err(refusal(&format!("* GenerateContentRequest.{path}{what}")));
    let is = |kind: &str| schema["type"].as_str().is_some_and(|t| t.eq_ignore_ascii_case(kind));
    if is("array") && schema.get("items").is_none() {
        return fail(".items: missing field.");
    }
    if schema.get("enum").is_some() && !is("string") {
        return fail(".enum: only allowed for STRING type");
    }
    let required = list(&schema["required"]).iter().filter_map(Value::as_str);
    for (n, name) in required.enumerate() {
        if schema["properties"].get(name).is_none() {
            return fail(&format!(".required[{n}]: property is not defined"));
        }
    }
    let properties = schema["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        subset(property, &format!("{path}.properties[{name}]"))?;
    }
    for (n, one) in list(&schema["anyOf"]).iter().enumerate() {
        subset(one, &format!("{path}.any_of[{n}]"))?;
    }
    schema.get("items").map_or(Ok(()), |items| subset(items, &format!("{path}.items")))
}

fn calling(config: &Value, names: &[&str]) -> Result<(), Answer> {
    if config.is_null() {
        return Ok(());
    }
    if names.is_empty() {
        return Err(refusal("Function calling config is set without function_declarations."));
    }
    let allowed = list(&config["allowedFunctionNames"]);
    if !allowed.is_empty() && config["mode"] != "ANY" {
        return Err(refusal(
            "Please set allowed_function_names only when function calling mode is ANY.",
        ));
    }
    let unknown = allowed.iter().find(|name| !name.as_str().is_some_and(|n| names.contains(&n)));
    unknown.map_or(Ok(()), |name| {
        Err(refusal(&format!(
            "Function calling config allowed_function_names contains a name that is not declared: \
             {name}"
        )))
    })
}

fn config(request: &Value, deployment: &Deployment) -> Result<(), Answer> {
    let config = &request["generationConfig"];
    for (name, least, most) in RANGES {
        let given = config[name].as_f64();
        if let Some(given) = given.filter(|given| !(*least..=*most).contains(given)) {
            let why = format!(
                "Unable to submit request because it has a {name} value of {given} but the \
                 supported range is from {least} (inclusive) to {most} (inclusive). Update the \
                 value and try again."
            );
            return Err(refusal(&why));
        }
    }
    let stops = list(&config["stopSequences"]);
    if stops.len() > 5 || stops.iter().any(|stop| stop == "") {
        return Err(refusal(
            "Unable to submit request because it must have at most 5 stopSequences, none of them \
             empty. Update the value and try again.",
        ));
    }
    response_format(request, deployment)?;
    thinking(&config["thinkingConfig"], deployment)
}

fn response_format(request: &Value, deployment: &Deployment) -> Result<(), Answer> {
    let config = &request["generationConfig"];
    let json_wanted = config["responseMimeType"] == "application/json";
    let has_schema =
        ["responseSchema", "responseJsonSchema"].iter().any(|key| config.get(key).is_some());
    either(config, "generation_config", "responseSchema", "responseJsonSchema")?;
    if has_schema && !json_wanted && config["responseMimeType"] != "text/x.enum" {
        return Err(refusal(
            "Unable to submit request because response_schema needs response_mime_type \
             application/json. Update the response_mime_type and try again.",
        ));
    }
    if let Some(schema) = config.get("responseSchema") {
        subset(schema, "generation_config.response_schema")?;
    }
    if json_wanted && declarations(request).next().is_some() && !is_third_generation(deployment) {
        return Err(refusal(
            "Function calling with a response mime type: 'application/json' is unsupported",
        ));
    }
    Ok(())
}

fn thinking(config: &Value, deployment: &Deployment) -> Result<(), Answer> {
    let (budget, level) = (config["thinkingBudget"].as_i64(), config.get("thinkingLevel"));
    if level.is_some() && !is_third_generation(deployment) {
        return Err(refusal("Thinking level is not supported for this model."));
    }
    if budget.is_some() && level.is_some() {
        return Err(refusal("You can only set only one of thinking budget and thinking level."));
    }
    let is_pro = deployment.model.contains("-pro");
    let (least, most) = if is_pro { (128, 32_768) } else { (0, 24_576) };
    match budget {
        Some(0) if is_pro => {
            Err(refusal("Budget 0 is invalid. This model only works in thinking mode."))
        }
        Some(0) if config["includeThoughts"] == true => Err(refusal(
            "Unable to submit request because thinking_config.include_thoughts is only enabled \
             when thinking is enabled.",
        )),
        Some(n) if n != -1 && !(least..=most).contains(&n) => Err(refusal(&format!(
            "The thinking budget {n} is invalid. Please choose a value between {least} and {most}."
        ))),
        _ => Ok(()),
    }
}

fn is_function_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts && name.len() <= 64 && name.bytes().all(fits)
}

/// The members of a part's `data`.
const DATA: [&str; 7] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
];
const RANGES: &[(&str, f64, f64)] = &[
    ("temperature", 0.0, 2.0),
    ("topP", 0.0, 1.0),
    ("topK", 1.0, 64.0),
    ("candidateCount", 1.0, 8.0),
    ("maxOutputTokens", 1.0, 65_536.0),
    ("presencePenalty", -2.0, 2.0),
    ("frequencyPenalty", -2.0, 2.0),
    ("logprobs", 1.0, 20.0),
];

static REQUEST: Shape = Shape::Object(&[
    must("contents", &Shape::List(&CONTENT)),
    may("systemInstruction", &CONTENT),
    may("tools", &Shape::List(&Shape::Object(TOOL))),
    may("toolConfig", &TOOL_CONFIG),
    may("generationConfig", &Shape::Object(GENERATION)),
    may("safetySettings", &Shape::List(&SAFETY)),
    may("cachedContent", &Shape::Text),
    may("labels", &Shape::Map(&Shape::Text)),
]);
static CONTENT: Shape =
    Shape::Object(&[may("role", &Shape::Text), must("parts", &Shape::List(&Shape::Object(PART)))]);
const PART: &[Field] = &[
    may("text", &Shape::Text),
    may("thought", &Shape::Bool),
    may("thoughtSignature", &Shape::Text),
    may("inlineData", &INLINE),
    may("fileData", &FILE),
    may("functionCall", &Shape::Object(&[must("name", &Shape::Text), may("args", &ANY_OBJECT)])),
    may(
        "functionResponse",
        &Shape::Object(&[must("name", &Shape::Text), must("response", &ANY_OBJECT)]),
    ),
    may("executableCode", &ANY_OBJECT),
    may("codeExecutionResult", &ANY_OBJECT),
    may("videoMetadata", &ANY_OBJECT),
];
const INLINE: Shape = Shape::Object(&[
    must("mimeType", &Shape::Text),
    must("data", &Shape::Text),
    may("displayName", &Shape::Text),
]);
const FILE: Shape = Shape::Object(&[must("mimeType", &Shape::Text), must("fileUri", &Shape::Text)]);
const TOOL: &[Field] = &[
    may("functionDeclarations", &Shape::List(&Shape::Object(DECLARATION))),
    may("googleSearch", &ANY_OBJECT),
    may("codeExecution", &ANY_OBJECT),
    may("urlContext", &ANY_OBJECT),
];
const DECLARATION: &[Field] = &[
    must("name", &Shape::Text),
    may("description", &Shape::Text),
    may("parameters", &SCHEMA),
    may("parametersJsonSchema", &ANY_OBJECT),
    may("response", &SCHEMA),
    may("responseJsonSchema", &ANY_OBJECT),
];
/// The OpenAPI subset.
static SCHEMA: Shape = Shape::Object(&[
    may("type", &TYPE),
    may("format", &Shape::Text),
    may("title", &Shape::Text),
    may("description", &Shape::Text),
    may("nullable", &Shape::Bool),
    may("enum", &TEXTS),
    may("items", &SCHEMA),
    may("minItems", &INTEGER),
    may("maxItems", &INTEGER),
    may("properties", &Shape::Map(&SCHEMA)),
    may("required", &TEXTS),
    may("propertyOrdering", &TEXTS),
    may("minProperties", &INTEGER),
    may("maxProperties", &INTEGER),
    may("minimum", &REAL),
    may("maximum", &REAL),
    may("minLength", &INTEGER),
    may("maxLength", &INTEGER),
    may("pattern", &Shape::Text),
    may("example", &Shape::Any),
    may("anyOf", &Shape::List(&SCHEMA)),
]);
#[rustfmt::skip]
const TYPE: Shape = Shape::Word(&[
    "string", "number", "integer", "boolean", "array", "object",
    "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT",
]);
const TOOL_CONFIG: Shape = Shape::Object(&[may(
    "functionCallingConfig",
    &Shape::Object(&[
        may("mode", &Shape::Word(&["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"])),
        may("allowedFunctionNames", &TEXTS),
    ]),
)]);
const GENERATION: &[Field] = &[
    may("temperature", &REAL),
    may("topP", &REAL),
    may("topK", &REAL),
    may("candidateCount", &INTEGER),
    may("maxOutputTokens", &INTEGER),
    may("stopSequences", &TEXTS),
    may("presencePenalty", &REAL),
    may("frequencyPenalty", &REAL),
    may("seed", &INTEGER),
    may("responseLogprobs", &Shape::Bool),
    may("logprobs", &INTEGER),
    may("responseMimeType", &Shape::Word(&["text/plain", "application/json", "text/x.enum"])),
    may("responseSchema", &SCHEMA),
    may("responseJsonSchema", &ANY_OBJECT),
    may("responseModalities", &TEXTS),
    may("mediaResolution", &Shape::Text),
    may("audioTimestamp", &Shape::Bool),
    may("thinkingConfig", &Shape::Object(THINKING)),
];
const THINKING: &[Field] = &[
    may("includeThoughts", &Shape::Bool),
    may("thinkingBudget", &INTEGER),
    may("thinkingLevel", &Shape::Word(LEVELS)),
];
const LEVELS: &[&str] = &["MINIMAL", "LOW", "MEDIUM", "HIGH", "minimal", "low", "medium", "high"];
const SAFETY: Shape = Shape::Object(&[
    must("category", &Shape::Text),
    must("threshold", &Shape::Word(THRESHOLDS)),
    may("method", &Shape::Text),
]);
const THRESHOLDS: &[&str] =
    &["BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"];
static PREDICTION: Shape = Shape::Object(&[
    must("instances", &Shape::List(&Shape::Object(INSTANCE))),
    may("parameters", &Shape::Object(PREDICTION_PARAMETERS)),
]);
const INSTANCE: &[Field] =
    &[must("content", &Shape::Text), may("task_type", &Shape::Text), may("title", &Shape::Text)];
const PREDICTION_PARAMETERS: &[Field] =
    &[may("outputDimensionality", &Shape::Whole(1, 3072)), may("autoTruncate", &Shape::Bool)];
