//! What the laws are tried on: every upstream half of a grammar, and replies of every upstream. The
//! replies are those under `tests/wire`, and what the simulated AI Core says to a few requests.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::chat::fit::Undo;
use sap_ai_core_llm_proxy::chat::{Brackets, Event, Request};
use sap_ai_core_llm_proxy::demo::Demo;
use sap_ai_core_llm_proxy::dialect::openai_chat::ChatCompletions;
use sap_ai_core_llm_proxy::dialect::{ClientDialect, Target, UpstreamDialect};
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::families::{self, Grammar, Passes};
use sap_ai_core_llm_proxy::sse::Frames;
use serde_json::{Value, json};

use crate::support::{Client, quick};
use crate::wild_bytes;

/// A family whose requests and replies are converted.
pub struct Upstream {
    pub family: &'static str,
    pub dialect: &'static dyn UpstreamDialect,
    pub grammar: &'static Grammar,
    /// Those that the demo serves.
    pub models: Vec<String>,
}

pub static UPSTREAMS: LazyLock<Vec<Upstream>> = LazyLock::new(|| {
    let converted = families::TABLE.iter().filter_map(|family| {
        let service = family.service.as_ref()?;
        let grammar = service.grammar.as_ref()?;
        let models = RECORDED.1.iter().filter(|m| families::of_model(m).name == family.name);
        let mut models: Vec<String> = models.cloned().collect();
        if models.is_empty() {
            models.push(family.name.to_owned());
        }
        Some(Upstream { family: family.name, dialect: grammar.dialect, grammar, models })
    });
    converted.chain([responses()]).collect()
});

/// OpenAI's, where it is asked by its other API.
fn responses() -> Upstream {
    let service = families::of_model(RESPONSES).service.as_ref().unwrap();
    let grammar = &service.responses.as_ref().unwrap().grammar;
    let models = RECORDED.1.iter().filter(|model| is_of_responses(model)).cloned().collect();
    Upstream { family: RESPONSES, dialect: grammar.dialect, grammar, models }
}

const RESPONSES: &str = "gpt-5-codex";

/// Whether all requests for it go there.
fn is_of_responses(model: &str) -> bool {
    let service = families::of_model(model).service.as_ref();
    let nothing = Envelope::parse(b"{}".to_vec()).unwrap();
    let responses = service.and_then(|service| service.responses);
    responses.is_some_and(|responses| (responses.is_needed)(model, &nothing))
}

impl Upstream {
    /// The body for AI Core, as the relay has it made.
    pub fn body(
        &self,
        request: &mut Request,
        model: &str,
        is_stream: bool,
    ) -> Result<(Vec<u8>, Undo), Error> {
        let model = families::deployed_name(model);
        self.grammar.body(request, &Target { model, is_stream }, true)
    }

    /// What is said of a whole reply.
    pub fn whole(&self, body: &[u8]) -> Vec<Event> {
        let mut out = Brackets::new("s");
        self.dialect.decode(body, &mut out);
        out.end();
        out.drain().collect()
    }

    /// What is said of a stream.
    pub fn streamed<'a>(&self, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let mut frames = Frames::default();
        let mut out = Brackets::new("s");
        let mut decoder = self.dialect.stream_decoder();
        for chunk in chunks {
            frames.push(chunk);
            while let Some(frame) = frames.next_frame() {
                decoder.frame(&frame, &mut out);
            }
        }
        frames.finish();
        while let Some(frame) = frames.next_frame() {
            decoder.frame(&frame, &mut out);
        }
        decoder.finish(&mut out);
        out.end();
        out.drain().collect()
    }
}

/// A reply of some upstream.
#[derive(Debug)]
pub struct Reply {
    pub from: String,
    /// Of whose replies it is one: a family's, a folder's.
    group: String,
    pub is_stream: bool,
    pub bytes: Vec<u8>,
}

pub static REPLIES: LazyLock<Vec<&Reply>> = LazyLock::new(|| {
    static FILES: LazyLock<Vec<Reply>> = LazyLock::new(files);
    FILES.iter().chain(&RECORDED.0).collect()
});

fn files() -> Vec<Reply> {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut folders: Vec<PathBuf> = vec![wire.join("upstream"), wire.join("reply")];
    let mut found = vec![];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let kind = path.extension().unwrap_or_default().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if kind == "sse" || kind == "json" {
                let bytes = fs::read(&path).unwrap();
                let from = path.display().to_string();
                let group = folder.display().to_string();
                found.push(Reply { from, group, is_stream: kind == "sse", bytes });
            }
        }
    }
    found.sort_by(|a, b| a.from.cmp(&b.from));
    assert!(found.len() > 30);
    found
}

/// What the demo says, and the models it serves.
static RECORDED: LazyLock<(Vec<Reply>, Vec<String>)> = LazyLock::new(|| {
    let demo = Demo::start(quick()).unwrap();
    let config = demo.config_json();
    let address: SocketAddr = demo.url().trim_start_matches("http://").parse().unwrap();
    let headers = credentials(address, &config["service_key_json"]);
    let mut replies = vec![];
    let models = config["deployment_models"].as_object().unwrap();
    for (model, url) in models {
        let url = url.as_str().or_else(|| url[0].as_str()).unwrap();
        let path = url.strip_prefix(&demo.url()).unwrap();
        for (what, body) in asked() {
            for is_stream in [true, false] {
                let Some((suffix, body)) = question(model, &body, is_stream) else { continue };
                let target = format!("{path}{suffix}");
                let reply = post(address, &target, &headers, &body);
                if reply.status == 200 {
                    let from = format!("{model} {what} {is_stream}");
                    let family = families::of_model(model).name;
                    let group = if is_of_responses(model) { RESPONSES } else { family }.to_owned();
                    replies.push(Reply { from, group, is_stream, bytes: reply.body });
                }
            }
        }
    }
    (replies, models.keys().cloned().collect())
});

fn credentials(address: SocketAddr, key: &Value) -> String {
    let of = |name: &str| {
        let bytes = key[name].as_str().unwrap().bytes();
        bytes.map(|byte| format!("%{byte:02X}")).collect::<String>()
    };
    let (id, secret) = (of("clientid"), of("clientsecret"));
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let kind = "content-type: application/x-www-form-urlencoded\r\n";
    let reply = post(address, "/oauth/token", kind, form.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let given = reply.json()["access_token"].as_str().unwrap().to_owned();
    format!(
        "authorization: Bearer {given}\r\nai-resource-group: default\r\n\
         content-type: application/json\r\n"
    )
}

fn post(address: SocketAddr, target: &str, headers: &str, body: &[u8]) -> crate::support::Reply {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n"
    );
    let mut client = Client::to(address);
    client.write(&[head.as_bytes(), body].concat());
    client.reply(false)
}

/// Requests that make replies of every kind.
fn asked() -> Vec<(&'static str, Value)> {
    let city =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool =
        |name: &str| json!({"type": "function", "function": {"name": name, "parameters": city}});
    let said = |text: &str| json!([{"role": "user", "content": text}]);
    let tools = json!([tool("get_weather"), tool("get_time")]);
    let both = said("get_weather and get_time, é 👋");
    let format = json!({"type": "json_schema", "json_schema": {"name": "place", "schema": city}});
    vec![
        ("plain", json!({"messages": said("hello \"é\" 👋 \\ \n")})),
        ("tools", json!({"messages": both, "tools": tools})),
        (
            "thought",
            json!({"messages": both, "tools": tools, "reasoning_effort": "high", "max_completion_tokens": 30_000}),
        ),
        ("length", json!({"messages": said("a long story"), "max_tokens": 3})),
        ("schema", json!({"messages": said("answer"), "response_format": format})),
    ]
}

/// The path and body by which this model is asked.
fn question(model: &str, body: &Value, is_stream: bool) -> Option<(String, Vec<u8>)> {
    let service = families::of_model(model).service.as_ref()?;
    let name = families::deployed_name(model);
    let suffix = if is_stream { service.stream_path } else { service.chat_path };
    let suffix = suffix.replace("{model}", name).replace("{version}", "2025-04-01-preview");
    let mut body = body.clone();
    body["stream"] = json!(is_stream);
    let (suffix, grammar) = match &service.responses {
        Some(responses) if is_of_responses(model) => {
            (responses.path.to_owned(), &responses.grammar)
        }
        _ => (suffix, service.grammar.as_ref()?),
    };
    if let Passes::OpenAi { edit, .. } = grammar.passes {
        let mut envelope = Envelope::parse(body.to_string().into_bytes()).unwrap();
        edit(&mut envelope, name).ok()?;
        return Some((suffix, envelope.into_bytes()));
    }
    let envelope = Envelope::parse(body.to_string().into_bytes()).unwrap();
    let mut request = ChatCompletions.decode(&envelope).unwrap().request;
    let target = Target { model: name, is_stream };
    Some((suffix, grammar.body(&mut request, &target, false).ok()?.0))
}

/// Replies as they are, nearly as they are, and nothing like them. Streams, if so asked.
pub fn reply(is_stream: bool) -> impl Strategy<Value = Vec<u8>> {
    let mut groups: BTreeMap<&str, Vec<&Reply>> = BTreeMap::new();
    for reply in REPLIES.iter().filter(|reply| reply.is_stream == is_stream) {
        groups.entry(&reply.group).or_default().push(reply);
    }
    let groups: Vec<_> = groups.into_values().collect();
    let known = (select(groups), any::<Index>());
    let known = known.prop_map(|(group, at)| group[at.index(group.len())].bytes.clone()).boxed();
    let changes = prop::collection::vec(change(), 1..4);
    let changed = (known.clone(), changes)
        .prop_map(|(bytes, changes)| changes.iter().fold(bytes, |bytes, c| c.applied(bytes)));
    prop_oneof![3 => known, 6 => changed, 1 => wild_bytes()]
}

/// Something done to a reply.
#[derive(Debug, Clone)]
enum Change {
    /// Another value in the JSON of a frame.
    Value {
        frame: Index,
        at: Index,
        value: Value,
    },
    /// Without this key or item.
    Without {
        frame: Index,
        at: Index,
    },
    Swapped(Index, Index),
    Twice(Index),
    Left(Index),
    CutAt(Index),
    Byte(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let i = any::<Index>;
    let value =
        (i(), i(), odd_value()).prop_map(|(frame, at, value)| Change::Value { frame, at, value });
    prop_oneof![
        5 => value,
        3 => (i(), i()).prop_map(|(frame, at)| Change::Without { frame, at }),
        2 => (i(), i()).prop_map(|(a, b)| Change::Swapped(a, b)),
        1 => i().prop_map(Change::Twice),
        1 => i().prop_map(Change::Left),
        1 => i().prop_map(Change::CutAt),
        1 => (i(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ]
}

/// What nobody expects in the place of something else.
pub fn odd_value() -> impl Strategy<Value = Value> {
    select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!(" "),
        json!("a"),
        json!("é👋\n\u{0}"),
        json!("0"),
        json!("{}"),
        json!("{\"a\":"),
        json!("data:;base64,"),
        json!("data:image/png;base64,%%%"),
        json!("tool_use"),
        json!("function"),
        json!([]),
        json!([null]),
        json!([[]]),
        json!([{}]),
        json!(["a", 1]),
        json!({}),
        json!({"a": 1}),
        json!({"type": "text", "text": "a"}),
        json!({"type": "x"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
        json!({"text": null, "content": [], "name": "", "id": ""}),
    ])
}

impl Change {
    fn applied(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        match self {
            Change::CutAt(at) => {
                bytes.truncate(at.index(bytes.len()));
                return bytes;
            }
            Change::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
                return bytes;
            }
            _ => {}
        }
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        let mut frames: Vec<String> = text.split("\n\n").map(str::to_owned).collect();
        let count = frames.len();
        match self {
            Change::Value { frame, at, value } => {
                let frame = &mut frames[frame.index(count)];
                edit_json(frame, |json| replace(json, *at, Some(value.clone())));
            }
            Change::Without { frame, at } => {
                let frame = &mut frames[frame.index(count)];
                edit_json(frame, |json| replace(json, *at, None));
            }
            Change::Swapped(a, b) => frames.swap(a.index(count), b.index(count)),
            Change::Twice(at) => frames.insert(at.index(count), frames[at.index(count)].clone()),
            Change::Left(at) => drop(frames.remove(at.index(count))),
            Change::CutAt(_) | Change::Byte(..) => {}
        }
        frames.join("\n\n").into_bytes()
    }
}

/// The JSON of a frame, or of a whole body.
fn edit_json(frame: &mut String, edit: impl FnOnce(&mut Value)) {
    let Some(start) = frame.find('{') else { return };
    let Ok(mut json) = serde_json::from_str::<Value>(&frame[start..]) else { return };
    edit(&mut json);
    frame.truncate(start);
    frame.push_str(&json.to_string());
}

/// Another value, or none, in one of the places that a value has. How deep it was.
pub fn replace(json: &mut Value, at: Index, with: Option<Value>) {
    let mut places = vec![];
    collect(json, &mut String::new(), &mut places);
    if places.is_empty() {
        return;
    }
    let place = &places[at.index(places.len())];
    match (with, json.pointer_mut(place)) {
        (Some(value), Some(old)) => *old = value,
        (None, _) => {
            let (parent, key) = place.rsplit_once('/').unwrap();
            match json.pointer_mut(parent) {
                Some(Value::Object(entries)) => {
                    entries.remove(&key.replace("~1", "/").replace("~0", "~"));
                }
                Some(Value::Array(items)) => drop(items.remove(key.parse().unwrap())),
                _ => {}
            }
        }
        _ => {}
    }
}

fn collect(value: &Value, path: &mut String, places: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(entries) => {
            entries.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => vec![],
    };
    for (key, value) in inner {
        let length = path.len();
        path.push('/');
        path.push_str(&key);
        places.push(path.clone());
        collect(value, path, places);
        path.truncate(length);
    }
}
