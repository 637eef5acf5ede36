//! What the orchestration service refuses (dossier 6), in its words as far as they are known.

use serde_json::{Map, Value, json};

use super::super::shape::{ANY_OBJECT, Field, Misfit, Shape, TEXTS, Why, may, must};
use super::super::{Answer, Call, catalogue};
use super::signature;
use super::template::Template;

type Object = Map<String, Value>;

pub(super) const REQUEST_ID: &str = "00000000-1111-4222-8333-444444444444";
pub(super) const LLM: &str = "LLM Module";
const BODY: &str = "request body";
const TEMPLATING: &str = "Templating Module";

/// What a completion is asked for.
pub(super) struct Asked {
    /// In OpenAI's shape: the rendered conversation, the tools and the model's parameters.
    pub request: Object,
    pub model: String,
    pub answers_as: &'static str,
    pub templated: Value,
    pub streams: bool,
    pub chunk_size: usize,
    /// Why the modules before the one that answers could not.
    pub failures: Vec<Value>,
    /// Up to where the request wants it cached; empty for not at all.
    pub cache_prefix: String,
}

impl Asked {
    pub fn is_anthropic(&self) -> bool {
        self.model.starts_with("anthropic--")
    }
}

/// What an embedding is asked for.
pub(super) struct AskedVectors {
    pub texts: Vec<String>,
    pub model: String,
    pub dimensions: usize,
    pub packs: bool,
}

/// An error as the service words it.
#[derive(Clone)]
pub(super) struct Trouble {
    status: u16,
    object: Value,
}

impl Trouble {
    pub fn new(status: u16, message: &str, location: &str) -> Trouble {
        let object = json!({
            "request_id": REQUEST_ID,
            "code": status,
            "message": message,
            "location": location,
        });
        Trouble { status, object }
    }

    fn body_fault(message: &str) -> Trouble {
        Trouble::new(400, message, BODY)
    }

    fn with_templated(mut self, templated: &Value) -> Trouble {
        self.object["intermediate_results"] = json!({ "templating": templated });
        self
    }

    pub fn body(&self) -> Value {
        json!({ "error": self.object })
    }

    fn answer(&self) -> Answer {
        Answer::json(self.status, &self.body())
    }
}

pub(super) fn completion(call: &Call<'_>) -> Result<Asked, Answer> {
    let request = read(call.body, &REQUEST)?;
    let stream = &request["config"]["stream"];
    let streams = stream["enabled"] == true;
    if streams && call.fault.no_stream {
        let why = "Streaming is not supported for this model";
        return Err(Trouble::new(400, why, LLM).answer());
    }
    let modules = &request["config"]["modules"];
    let mut failures = Vec::new();
    for module in modules.as_array().unwrap_or(&vec![modules.clone()]) {
        match asked(&request, &module["prompt_templating"]) {
            Ok(mut asked) => {
                asked.streams = streams;
                asked.chunk_size = stream["chunk_size"].as_u64().unwrap_or(100) as usize;
                asked.failures = failures.into_iter().map(|t: Trouble| t.object).collect();
                return Ok(asked);
            }
            Err(trouble) => failures.push(trouble),
        }
    }
    Err(all_failed(&failures, modules.is_array()))
}

/// Of several modules, one error each.
fn all_failed(failures: &[Trouble], is_list: bool) -> Answer {
    let Some(first) = failures.first() else {
        return Trouble::body_fault("[] should be non-empty").answer();
    };
    if !is_list {
        return first.answer();
    }
    let all = failures.iter().map(|trouble| &trouble.object).collect::<Vec<_>>();
    Answer::json(first.status, &json!({ "error": all }))
}

fn asked(request: &Value, module: &Value) -> Result<Asked, Trouble> {
    let prompt = &module["prompt"];
    let templated = templated(request, prompt)?;
    let model = module["model"]["name"].as_str().unwrap_or_default();
    let version = module["model"]["version"].as_str().unwrap_or("latest");
    let known = catalogue::orchestrated(model);
    let Some(answers_as) = known.filter(|_| version == "latest") else {
        let why = format!("400 - LLM Module: Model {model} in version {version} not found.");
        return Err(Trouble::new(400, &why, LLM).with_templated(&templated));
    };
    let history = request["messages_history"].as_array().cloned().unwrap_or_default();
    let of_template = templated.as_array().cloned().unwrap_or_default();
    let messages = Value::Array([history, of_template].concat());
    each_message(&messages, model).map_err(|trouble| trouble.with_templated(&templated))?;
    tools(&prompt["tools"])?;
    let cache_prefix = cache_prefix(&messages, &prompt["tools"]);
    let mut inner = module["model"]["params"].as_object().cloned().unwrap_or_default();
    inner.insert("messages".to_owned(), messages);
    for key in ["tools", "response_format"] {
        if !prompt[key].is_null() {
            inner.insert(key.to_owned(), prompt[key].clone());
        }
    }
    Ok(Asked {
        request: inner,
        model: model.to_owned(),
        answers_as,
        templated,
        streams: false,
        chunk_size: 100,
        failures: Vec::new(),
        cache_prefix,
    })
}

fn templated(request: &Value, prompt: &Value) -> Result<Value, Trouble> {
    let template = &prompt["template"];
    if template.as_array().is_none_or(Vec::is_empty) {
        let why = "Either a prompt template or messages must be defined.";
        return Err(Trouble::new(400, why, TEMPLATING));
    }
    let none = Map::new();
    let values = request["placeholder_values"].as_object().unwrap_or(&none);
    let defaults = prompt["defaults"].as_object().unwrap_or(&none);
    let mut filled = Template::new(values, defaults);
    let rendered = filled.render(template);
    let rendered = rendered.and_then(|rendered| filled.end().map(|()| rendered));
    rendered
        .map_err(|why| Trouble::new(400, &format!("400 - Templating Module: {why}"), TEMPLATING))
}

fn each_message(messages: &Value, model: &str) -> Result<(), Trouble> {
    let fail = |why: &str| Err(Trouble::new(400, why, LLM));
    let is_anthropic = model.starts_with("anthropic--");
    for message in messages.as_array().into_iter().flatten() {
        let content = &message["content"];
        let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
        match message["role"].as_str() {
            Some("assistant") if content.is_null() => {
                return fail("Assistant Message content field is not provided.");
            }
            Some("assistant") if is_anthropic && content == "" && calls.is_empty() => {
                return fail("Assistant message has neither text nor tool_use blocks");
            }
            Some("tool") if is_anthropic && !content.is_string() => {
                return fail(
                    "Tool message content must be a string for Anthropic harmonization. \
                     Received: list.",
                );
            }
            _ => {}
        }
        let arguments = calls.iter().filter_map(|call| call["function"]["arguments"].as_str());
        for arguments in arguments {
            if serde_json::from_str::<Value>(arguments).is_err() {
                return Err(Trouble::new(500, "Internal Server Error", LLM));
            }
        }
        signatures(&message["reasoning_content"])?;
    }
    Ok(())
}

fn signatures(reasoning: &Value) -> Result<(), Trouble> {
    for block in reasoning.as_array().into_iter().flatten() {
        let wanted = signature(block["content"].as_str().unwrap_or_default());
        if block["signature"] != json!(wanted) {
            let why = "400 - LLM Module: Invalid `signature` in `thinking` block";
            return Err(Trouble::new(400, why, LLM));
        }
    }
    Ok(())
}

fn tools(tools: &Value) -> Result<(), Trouble> {
    let mut names = Vec::new();
    for tool in tools.as_array().into_iter().flatten() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !name.bytes().all(fits) || name.is_empty() {
            let why = format!("'{name}' does not match '^[a-zA-Z0-9-_]+$'");
            return Err(Trouble::body_fault(&why));
        }
        if name.len() > 64 {
            return Err(Trouble::body_fault(&format!("'{name}' is too long")));
        }
        if names.contains(&name) {
            return Err(Trouble::new(400, "tools: Tool names must be unique.", LLM));
        }
        names.push(name);
    }
    Ok(())
}

/// All up to the last `cache_control`.
fn cache_prefix(messages: &Value, tools: &Value) -> String {
    let all = format!("{tools} {messages}");
    all.rfind("\"cache_control\"").map_or(String::new(), |at| all[..at].to_owned())
}

pub(super) fn embeddings(body: &[u8]) -> Result<AskedVectors, Answer> {
    let request = read(body, &VECTORS)?;
    let model = &request["config"]["modules"]["embeddings"]["model"];
    let (name, params) = (model["name"].as_str().unwrap_or_default(), &model["params"]);
    let Some((_, usual)) = EMBEDDING_MODELS.iter().find(|(known, _)| *known == name) else {
        let why = format!("400 - Embeddings Module: Model {name} in version latest not found.");
        return Err(Trouble::new(400, &why, "Embeddings Module").answer());
    };
    let input = &request["input"];
    if name.starts_with("nvidia--") && input["type"].is_null() {
        let why = "400 - Embeddings Module: 'type' is required for this model.";
        return Err(Trouble::new(400, why, "Embeddings Module").answer());
    }
    let texts = match &input["text"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        one => vec![one.as_str().unwrap_or_default().to_owned()],
    };
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(Trouble::body_fault("'input.text' should be non-empty").answer());
    }
    let dimensions = params["dimensions"].as_u64().map_or(*usual, |n| n as usize);
    Ok(AskedVectors {
        texts,
        model: name.to_owned(),
        dimensions: dimensions.min(*usual),
        packs: params["encoding_format"] == "base64",
    })
}

fn read(body: &[u8], shape: &Shape) -> Result<Value, Answer> {
    let request = serde_json::from_slice::<Value>(body)
        .map_err(|_| Trouble::body_fault("The request body is not valid JSON").answer())?;
    shape.check(&request).map_err(|misfit| misfit_trouble(&misfit).answer())?;
    Ok(request)
}

/// As a JSON schema's validator in Python words it.
fn misfit_trouble(misfit: &Misfit) -> Trouble {
    let (place, given) = (misfit.place(), &misfit.given);
    let at = if place.is_empty() { String::new() } else { format!(" at {place}") };
    Trouble::body_fault(&match &misfit.why {
        Why::Unknown(name) => {
            format!("Additional properties are not allowed ('{name}' was unexpected){at}")
        }
        Why::Missing(name) => format!("'{name}' is a required property{at}"),
        Why::Wrong(wanted) => format!("{given} is not of type {wanted}{at}"),
    })
}

/// With their dimensions.
const EMBEDDING_MODELS: &[(&str, usize)] = &[
    ("text-embedding-3-small", 1536),
    ("text-embedding-3-large", 3072),
    ("amazon--titan-embed-text", 1024),
    ("nvidia--llama-3.2-nv-embedqa-1b", 2048),
    ("gemini-embedding", 3072),
];

static REQUEST: Shape = Shape::Object(&[
    must("config", &CONFIG),
    may("placeholder_values", &Shape::Map(&Shape::Text)),
    may("messages_history", &MESSAGES),
]);
const CONFIG: Shape = Shape::Object(&[
    must("modules", &Shape::Either(&[Shape::List(&MODULES), MODULES])),
    may("stream", &STREAM),
]);
const STREAM: Shape = Shape::Object(&[
    may("enabled", &Shape::Bool),
    may("chunk_size", &Shape::Whole(1, 10_000)),
    may("delimiters", &TEXTS),
]);
const MODULES: Shape = Shape::Object(&[
    must("prompt_templating", &PROMPT_TEMPLATING),
    may("filtering", &ANY_OBJECT),
    may("masking", &ANY_OBJECT),
    may("grounding", &ANY_OBJECT),
    may("translation", &ANY_OBJECT),
]);
const PROMPT_TEMPLATING: Shape = Shape::Object(&[must("prompt", &PROMPT), must("model", &MODEL)]);
const PROMPT: Shape = Shape::Object(&[
    may("template", &MESSAGES),
    may("defaults", &Shape::Map(&Shape::Text)),
    may("tools", &Shape::List(&TOOL)),
    may("response_format", &Shape::Tagged("type", FORMATS)),
]);
const MODEL: Shape = Shape::Object(&[
    must("name", &Shape::Text),
    may("version", &Shape::Text),
    may("params", &ANY_OBJECT),
    may("timeout", &Shape::Whole(1, 600)),
    may("max_retries", &Shape::Whole(0, 5)),
]);
const MESSAGES: Shape = Shape::List(&Shape::Tagged("role", ROLES));
const ROLES: &[(&str, &[Field])] = &[
    ("system", &[must("content", &CONTENT)]),
    ("developer", &[must("content", &CONTENT)]),
    ("user", &[must("content", &USER_CONTENT)]),
    (
        "assistant",
        &[
            may("content", &CONTENT),
            may("refusal", &Shape::Text),
            may("tool_calls", &Shape::List(&CALL)),
            may("reasoning_content", &Shape::List(&REASONING)),
        ],
    ),
    ("tool", &[must("content", &CONTENT), must("tool_call_id", &Shape::Text)]),
];
const CONTENT: Shape =
    Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", TEXT_PARTS))]);
const USER_CONTENT: Shape =
    Shape::Either(&[Shape::Text, Shape::List(&Shape::Tagged("type", USER_PARTS))]);
const TEXT_PARTS: &[(&str, &[Field])] = &[("text", TEXT_PART)];
const TEXT_PART: &[Field] = &[must("text", &Shape::Text), may("cache_control", &CACHE_CONTROL)];
const USER_PARTS: &[(&str, &[Field])] = &[
    ("text", TEXT_PART),
    ("image_url", &[must("image_url", &IMAGE)]),
    ("file", &[must("file", &FILE)]),
];
const IMAGE: Shape = Shape::Object(&[
    must("url", &Shape::Text),
    may("detail", &Shape::Word(&["auto", "low", "high"])),
]);
const FILE: Shape =
    Shape::Object(&[must("file_data", &Shape::Text), may("filename", &Shape::Text)]);
const CACHE_CONTROL: Shape = Shape::Object(&[
    must("type", &Shape::Word(&["ephemeral"])),
    may("ttl", &Shape::Word(&["5m", "1h"])),
]);
const REASONING: Shape =
    Shape::Object(&[must("content", &Shape::Text), may("signature", &Shape::Text)]);
const CALL: Shape = Shape::Object(&[
    must("id", &Shape::Text),
    must("type", &Shape::Word(&["function"])),
    must(
        "function",
        &Shape::Object(&[must("name", &Shape::Text), must("arguments", &Shape::Text)]),
    ),
]);
const TOOL: Shape = Shape::Object(&[
    must("type", &Shape::Word(&["function"])),
    must("function", &FUNCTION),
    may("cache_control", &CACHE_CONTROL),
]);
const FUNCTION: Shape = Shape::Object(&[
    must("name", &Shape::Text),
    may("description", &Shape::Text),
    may("parameters", &ANY_OBJECT),
    may("strict", &Shape::Bool),
]);
const FORMATS: &[(&str, &[Field])] =
    &[("text", &[]), ("json_object", &[]), ("json_schema", &[must("json_schema", &JSON_SCHEMA)])];
const JSON_SCHEMA: Shape = Shape::Object(&[
    must("name", &Shape::Text),
    may("description", &Shape::Text),
    may("schema", &ANY_OBJECT),
    may("strict", &Shape::Bool),
]);

static VECTORS: Shape = Shape::Object(&[
    must("config", &Shape::Object(&[must("modules", &VECTOR_MODULES)])),
    must("input", &INPUT),
]);
const VECTOR_MODULES: Shape = Shape::Object(&[
    must("embeddings", &Shape::Object(&[must("model", &VECTOR_MODEL)])),
    may("masking", &ANY_OBJECT),
]);
const VECTOR_MODEL: Shape = Shape::Object(&[
    must("name", &Shape::Text),
    may("version", &Shape::Text),
    may("params", &VECTOR_PARAMS),
    may("timeout", &Shape::Whole(1, 600)),
    may("max_retries", &Shape::Whole(0, 5)),
]);
const VECTOR_PARAMS: Shape = Shape::Object(&[
    may("dimensions", &Shape::Whole(1, 3072)),
    may("encoding_format", &Shape::Word(&["float", "base64"])),
    may("normalize", &Shape::Bool),
]);
const INPUT: Shape = Shape::Object(&[
    must("text", &Shape::Either(&[Shape::Text, TEXTS])),
    may("type", &Shape::Word(&["text", "document", "query"])),
]);
