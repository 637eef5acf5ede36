//! Law 4 for every encoder of requests: what was in a client's request is in the one to AI Core, or
//! named as dropped, or it is refused. And law 6: no request makes a panic, or an error of ours.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::chat::{Block, Event, Open, Request, Seal, Source};
use sap_ai_core_llm_proxy::dialect::openai_chat::upstream::encode::{self, Extras};
use sap_ai_core_llm_proxy::dialect::openai_chat::{ChatCompletions, Orchestration};
use sap_ai_core_llm_proxy::dialect::{Asked, ClientDialect, Dialect, UpstreamDialect};
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::families::Passes;
use sap_ai_core_llm_proxy::vault::{Bounds, Recorder, Vault};
use sap_ai_core_llm_proxy::{healing, media};
use serde_json::{Value, json};

use crate::corpus::{UPSTREAMS, odd_value, replace};
use crate::support::Proxy;
use crate::{check, wild_bytes};

fn decode(body: &Value) -> Result<Asked, Error> {
    ChatCompletions.decode(&Envelope::parse(body.to_string().into_bytes())?)
}

// ── requests ─────────────────────────────────────────────────────────────────────────────────────

/// A client's request. Each `#` in it becomes a number of its own between letters that no writing
/// changes, so that all that was said can be looked for.
fn request() -> impl Strategy<Value = Value> {
    let extras = (select(choices()), select(formats()), vec(select(settings()), 0..5));
    (vec(system(), 0..2), vec(exchange(), 0..5), vec(tool(), 0..4), extras).prop_map(
        |(system, exchanges, tools, (choice, format, settings))| {
            let mut messages = system;
            messages.extend(exchanges.into_iter().flatten());
            if messages.is_empty() {
                messages.push(json!({"role": "user", "content": "#"}));
            }
            let mut body = json!({"messages": messages});
            if !tools.is_empty() {
                body["tools"] = json!(tools);
                body["tool_choice"] = choice;
            }
            body["response_format"] = format;
            settings.into_iter().for_each(|(key, value)| body[key] = value);
            let choice = std::mem::take(&mut body["tool_choice"]);
            number(&mut body, &mut 0);
            // By the name that the tool has now.
            body["tool_choice"] = match choice.as_str() {
                Some("first") => match body["tools"][0].pointer("/function/name") {
                    Some(name) => json!({"type": "function", "function": {"name": name}}),
                    None => Value::Null,
                },
                _ => choice,
            };
            body
        },
    )
}

/// `#` → `m7z`; in base64 where it stands in base64.
pub fn number(value: &mut Value, count: &mut usize) {
    match value {
        Value::String(text) => {
            while let Some(at) = text.find('#') {
                *count += 1;
                let mark = format!("m{count}z");
                let is_text = text.starts_with("data:text");
                let mark = if is_text { STANDARD.encode(mark) } else { mark };
                text.replace_range(at..=at, &mark);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| number(item, count)),
        Value::Object(entries) => {
            for (key, mut value) in std::mem::take(entries) {
                let mut key = json!(key);
                number(&mut key, count);
                number(&mut value, count);
                entries.insert(key.as_str().unwrap().to_owned(), value);
            }
        }
        _ => {}
    }
}

fn system() -> impl Strategy<Value = Value> {
    (select(vec!["system", "developer"]), text_content())
        .prop_map(|(role, content)| json!({"role": role, "content": content}))
}

/// A text, or parts of text only.
fn text_content() -> impl Strategy<Value = Value> {
    select(vec![
        json!("say #"),
        json!("\"é\" 👋 \\ \n #"),
        json!([{"type": "text", "text": "#"}]),
        json!([{"type": "text", "text": " "}, {"type": "text", "text": "# é"}]),
        json!([{"type": "text", "text": "a#", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b#"}]),
    ])
}

fn part() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"type": "text", "text": "#"}),
        json!({"type": "text", "text": ""}),
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo#", "detail": "low"}}),
        json!({"type": "image_url", "image_url": "data:image/jpg;base64,/9j/#"}),
        json!({"type": "image_url", "image_url": {"url": "https://example.org/#.png"}}),
        json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0x#", "filename": "a.pdf"}}),
        json!({"type": "file", "file": {"file_data": "data:text/plain;base64,#"}}),
        json!({"type": "input_audio", "input_audio": {"data": "UklGRg#", "format": "wav"}}),
    ])
}

/// A few messages that belong together, as clients send them, well or badly.
fn exchange() -> impl Strategy<Value = Vec<Value>> {
    let user = prop_oneof![text_content(), vec(part(), 1..4).prop_map(|parts| json!(parts)),]
        .prop_map(|content| vec![json!({"role": "user", "content": content})]);
    let assistant = text_content().prop_map(|content| {
        vec![json!({"role": "assistant", "content": content, "name": "bot", "audio": null})]
    });
    let refusal = Just(vec![json!({"role": "assistant", "content": null, "refusal": "no #"})]);
    let result = select(vec![
        json!("result #"),
        json!(""),
        json!([{"type": "text", "text": "#"}, {"type": "text", "text": "#"}]),
        json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo#"}}]),
        json!({"a": "#"}),
        json!(["#", {"b": 1.10}]),
        json!(null),
    ]);
    let arguments = select(vec![
        json!("{\"city\":\"#\"}"),
        json!("{\"a\":[1.10,{\"#\":null}]}"),
        json!(""),
        json!("{\"cut\":\"#"),
        json!("\"#\""),
        json!({"object": "#"}),
    ]);
    let id = select(vec![
        "call_1",
        "call:2/é",
        "",
        "a_very_long_id_of_a_call_that_no_vendor_takes_as_it_is_0123456789",
    ]);
    let name = select(vec!["get_weather", "my.tool", "no_longer_there"]);
    let call = (id, name, arguments, result, 0..8u8);
    let calls = vec(call, 1..3).prop_map(|calls| {
        let mut made = vec![];
        let mut results = vec![];
        for (n, (id, name, arguments, result, fate)) in calls.into_iter().enumerate() {
            // Of two results of one call the second is left out.
            let id = match (n, fate) {
                (_, 1) => format!("orphan_{n}"),
                (0, _) => id.to_owned(),
                _ => format!("{id}{n}"),
            };
            let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
            let result = json!({"role": "tool", "tool_call_id": id, "content": result});
            match fate {
                0 => made.push(call),
                1 => results.push(result),
                _ => {
                    made.push(call);
                    results.push(result);
                }
            }
        }
        results.reverse();
        let mut messages = vec![];
        if !made.is_empty() {
            messages.push(json!({"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": made}));
        }
        messages.extend(results);
        messages
    });
    prop_oneof![6 => user, 4 => assistant, 6 => calls, 1 => refusal]
}

fn tool() -> impl Strategy<Value = Value> {
    let schema = select(vec![
        Value::Null,
        json!({}),
        json!({"type": "object", "properties": {"p#": {"type": "string", "description": "#"}}, "required": []}),
        json!({"$schema": "x", "properties": {"p#": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"type": ["string", "null"], "description": "#"}}}),
        json!({"type": "object", "properties": {"p#": {"anyOf": [{"const": "#"}, {"enum": ["#", "b"]}]}}, "additionalProperties": false}),
    ]);
    let name = select(vec!["get_#", "#.b c", "ü#", "1#"]);
    let other = json!({"type": "web_search", "search_context_size": "#"});
    let function = (name, schema, any::<bool>()).prop_map(|(name, schema, is_strict)| {
        let mut function = json!({"name": name, "description": "does #", "parameters": schema});
        if is_strict {
            function["strict"] = json!(true);
        }
        json!({"type": "function", "function": function})
    });
    prop_oneof![6 => function, 1 => Just(other)]
}

fn choices() -> Vec<Value> {
    vec![
        json!(null),
        json!("auto"),
        json!("auto"),
        json!("required"),
        json!("none"),
        json!("first"),
    ]
}

fn formats() -> Vec<Value> {
    let schema = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "n", "description": "#", "schema": schema}});
    vec![
        json!(null),
        json!(null),
        json!({"type": "text"}),
        json!({"type": "json_object"}),
        schema(json!({"type": "object", "properties": {"q#": {"type": "string"}}})),
        schema(json!({"type": "array", "items": {"type": "string", "description": "#"}})),
    ]
}

fn settings() -> Vec<(&'static str, Value)> {
    vec![
        ("max_tokens", json!(77)),
        ("max_completion_tokens", json!(9000)),
        ("max_tokens", json!(1)),
        ("max_tokens", json!(10_000_000)),
        ("temperature", json!(0)),
        ("temperature", json!(1.5)),
        ("top_p", json!(1)),
        ("top_p", json!(0)),
        ("frequency_penalty", json!(2)),
        ("frequency_penalty", json!(0)),
        ("seed", json!(i64::MAX)),
        ("reasoning_effort", json!("minimal")),
        ("reasoning_effort", json!("xhigh")),
        ("reasoning", json!({"max_tokens": 100_000})),
        ("reasoning", json!({"enabled": true})),
        ("thinking", json!({"type": "disabled"})),
        ("n", json!(1)),
        ("logprobs", json!(false)),
        ("stop", json!(["a", "b", "c", "d", "e", "S#"])),
        ("top_p", json!(0.5)),
        ("stop", json!("S#")),
        ("stop", json!(["S#", "\n"])),
        ("seed", json!(7)),
        ("presence_penalty", json!(-0.5)),
        ("reasoning_effort", json!("high")),
        ("reasoning_effort", json!("none")),
        ("thinking", json!({"type": "enabled", "budget_tokens": 2000})),
        ("parallel_tool_calls", json!(false)),
        ("stream", json!(true)),
        ("user", json!("u")),
        ("prediction", json!({"type": "content"})),
    ]
}

/// The marks in a value, each with the path of what it stands in.
fn marks(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    let mut of = |text: &str| {
        let decoded = text.strip_prefix("data:text/plain;base64,").map(|b| STANDARD.decode(b));
        let text = decoded.map_or(text.to_owned(), |b| String::from_utf8(b.unwrap()).unwrap());
        let bytes = text.as_bytes();
        for start in (0..bytes.len()).filter(|n| bytes[*n] == b'm') {
            let digits = bytes[start + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits > 0 && bytes.get(start + 1 + digits) == Some(&b'z') {
                found.push((text[start..start + digits + 2].to_owned(), path.to_owned()));
            }
        }
    };
    match value {
        Value::String(text) => of(text),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| marks(v, &format!("{path}[{i}]"), found));
        }
        Value::Object(entries) => {
            for key in entries.keys() {
                of(key);
            }
            for (key, value) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                marks(value, &format!("{path}{dot}{key}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn what_was_said_arrives_or_is_named() {
    let reached = RefCell::new(BTreeMap::<&str, [usize; 3]>::new());
    check(800, &(request(), any::<Index>()), |(body, at)| {
        let asked = decode(&body).map_err(|e| TestCaseError::fail(format!("{e}: {body}")))?;
        arrives_or_is_named(Dialect::OpenAi, &body, &asked, &at, &reached)?;
        Ok(())
    });
    for (family, counts) in reached.into_inner() {
        // It takes no tools.
        let most = if family == "perplexity" { 500 } else { 1000 };
        assert!(counts[0] > 150 && counts[2] > most, "{family}: too little of it {counts:?}");
    }
}

/// By family: how many requests were written, how many refused, and how many marks arrived.
pub type Reached = RefCell<BTreeMap<&'static str, [usize; 3]>>;

/// Law 4, for this request and a model of each family.
pub fn arrives_or_is_named(
    dialect: Dialect,
    body: &Value,
    asked: &Asked,
    at: &Index,
    reached: &Reached,
) -> Result<(), TestCaseError> {
    let mut all = vec![];
    marks(body, "", &mut all);
    for upstream in UPSTREAMS.iter() {
        let model = &upstream.models[at.index(upstream.models.len())];
        let mut request = asked.request.clone();
        // What the relay does where URLs are not taken.
        let named = |url: &str, _: &str| {
            let mark = url.trim_start_matches("https://example.org/").trim_end_matches(".png");
            let data = format!("iVBORw0KGgo{mark}");
            Ok(Source::Base64 { media_type: "image/png".into(), data })
        };
        if !upstream.dialect.takes_urls() {
            request.each_url(&mut { named }).unwrap();
        }
        let mut reached = reached.borrow_mut();
        let counts = reached.entry(upstream.family).or_default();
        let out = match upstream.body(&mut request, model, asked.is_stream) {
            Ok((out, _)) => String::from_utf8(out).unwrap(),
            Err(error) => {
                let path = dialect.field(error.param().unwrap_or_default());
                prop_assert_eq!(error.status(), 400, "{} {}: {}", model, error, body);
                prop_assert!(is_in(body, &path), "{model} {path}: {error} {body}");
                counts[1] += 1;
                continue;
            }
        };
        counts[0] += 1;
        let json = serde_json::from_str::<Value>(&out);
        prop_assert!(json.as_ref().is_ok_and(Value::is_object), "{model}: {out}");
        for (mark, path) in &all {
            let is_named =
                request.dropped.iter().map(|d| dialect.field(d)).any(|d| {
                    path.starts_with(&*d) || names(&d, path) || names_typed(&d, path, body)
                });
            let is_there = out.contains(mark) || out.contains(&STANDARD.encode(mark));
            // What may not be called does not have to be described.
            let choice = &body["tool_choice"];
            let choice = choice["type"].as_str().or(choice.as_str()).unwrap_or_default();
            let is_idle =
                ["none", "function", "tool"].contains(&choice) && path.starts_with("tools");
            prop_assert!(
                is_there || is_named || is_idle,
                "{model}: {mark} of {path} is lost, dropped {:?}\n{body}\n{out}",
                request.dropped
            );
            counts[2] += usize::from(is_there);
        }
    }
    Ok(())
}

/// Whether what is called dropped is a tool or a block of this one's type.
fn names_typed(dropped: &str, path: &str, body: &Value) -> bool {
    let Some((list, kind)) = dropped.split_once("[] of type ") else { return false };
    if !path.starts_with(list.split('[').next().unwrap()) {
        return false;
    }
    let mut at = body;
    path.replace('[', ".").replace(']', "").split('.').any(|step| {
        at = match at {
            Value::Array(items) => &items[step.parse::<usize>().unwrap()],
            other => &other[step],
        };
        at["type"] == kind
    })
}

/// Whether what is called dropped is this, by a name without a place: `cache_control`, `strict`.
fn names(dropped: &str, path: &str) -> bool {
    let last = dropped.rsplit(['.', ']']).next().unwrap_or(dropped);
    path.split(['.', '[']).any(|part| part == last)
}

/// Whether a path such as `messages[0].content[1].image_url` is in the request.
pub fn is_in(body: &Value, path: &str) -> bool {
    let path = path.replace('[', ".").replace(']', "");
    let mut at = body;
    for step in path.split('.') {
        let next = match at {
            Value::Array(items) => step.parse::<usize>().ok().and_then(|n| items.get(n)),
            other => other.get(step),
        };
        match next {
            Some(next) => at = next,
            None => return false,
        }
    }
    !path.is_empty()
}

/// The simulated AI Core refuses what the real one is known to refuse: nothing that is written for it is refused, so
/// that nothing has to be healed either.
#[test]
fn what_is_written_is_taken() {
    let proxy = Proxy::start();
    let reached = RefCell::new(BTreeMap::<&str, [usize; 2]>::new());
    check(250, &(request(), any::<Index>(), any::<bool>()), |(mut body, at, is_stream)| {
        tame(&mut body);
        body["stream"] = json!(is_stream);
        for upstream in UPSTREAMS
            .iter()
            .filter(|u| matches!(u.grammar.passes, Passes::Nothing | Passes::Responses { .. }))
        {
            let model = &upstream.models[at.index(upstream.models.len())];
            body["model"] = json!(model);
            let reply = proxy.chat(&body);
            let mut reached = reached.borrow_mut();
            let counts = reached.entry(upstream.family).or_default();
            counts[usize::from(reply.status == 200)] += 1;
            let (error, has_param) = match reply.status {
                200 => (Value::Null, true),
                _ => (reply.json()["error"].clone(), reply.json()["error"]["param"].is_string()),
            };
            // What is refused here has a path of the client's request.
            let path = error["param"].as_str().unwrap_or_default();
            prop_assert!(
                reply.status == 200 || (reply.status == 400 && has_param && is_in(&body, path)),
                "{model}: {error}\n{body}\n{}",
                String::from_utf8_lossy(&proxy.last().body)
            );
        }
        Ok(())
    });
    let refused = proxy.inferences().iter().filter(|seen| seen.status == 400).count();
    assert_eq!(refused, 0, "healed, where it should not have been ill");
    for (family, counts) in reached.into_inner() {
        assert!(counts[1] > 50, "{family}: too little of it {counts:?}");
    }
}

/// Files that are what they seem, and no URLs.
fn tame(value: &mut Value) {
    const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
    match value {
        Value::String(text) if text.starts_with("data:image") => *text = PNG.to_owned(),
        Value::String(text) if text.starts_with("https://") => *text = PNG.to_owned(),
        Value::String(text) if text.starts_with("data:application") => {
            *text = "data:application/pdf;base64,JVBERi0xLjQ=".to_owned();
        }
        Value::String(text) if text.starts_with("UklGRg") => *text = "UklGRg==".to_owned(),
        Value::Array(items) => items.iter_mut().for_each(tame),
        Value::Object(entries) => {
            // A strict function of a schema that is not is the client's own fault.
            if entries.contains_key("parameters") {
                entries.remove("strict");
            }
            entries.values_mut().for_each(tame);
        }
        _ => {}
    }
}

/// OpenAI's grammar has both halves here: what is written is what was read.
#[test]
fn what_is_written_for_openai_is_read_as_it_was() {
    let fit = Orchestration.fit();
    check(800, &request(), |body| {
        let mut read = decode(&body).unwrap().request;
        fit.apply(&mut read);
        let extras = Extras { caches: true, reasoning: false, strict: false };
        let Ok(messages) = encode::messages(&read, extras) else { return Ok(()) };
        let tools = encode::tools(&read, extras).unwrap();
        let written = json!({
            "messages": messages,
            "tools": (!read.tools.is_empty()).then_some(tools),
            "response_format": encode::response_format(&read.format).unwrap(),
        });
        let mut again = decode(&written).map_err(|e| TestCaseError::fail(e.to_string()))?.request;
        fit.apply(&mut again);
        prop_assert_eq!(sketch(&again), sketch(&read), "{}", written);
        prop_assert_eq!(&again.format, &read.format, "{}", written);
        Ok(())
    });
}

/// What a request says, without what is not written or in another way: where media stood, marks for a cache, and how a
/// text is divided.
fn sketch(request: &Request) -> Vec<String> {
    let joined = |blocks: &[Block]| {
        let texts = blocks.iter().filter_map(|b| match b {
            Block::Text { text, .. } => Some(&**text),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n\n")
    };
    let mut sketch = vec![format!("system {}", joined(&request.system))];
    for turn in &request.turns {
        sketch.push(format!("{:?} {}", turn.role, joined(&turn.blocks)));
        for block in &turn.blocks {
            match block {
                Block::ToolCall { id, name, arguments, .. } => {
                    sketch.push(format!("{id} {name} {arguments}"));
                }
                Block::ToolResult { id, content, .. } => {
                    let text = joined(content);
                    let text = text.trim_start_matches("Error: ").replace("(empty)", "");
                    sketch.push(format!("{id} {text}"));
                }
                Block::Media { kind, source, .. } => sketch.push(format!("{kind:?} {source:?}")),
                _ => {}
            }
        }
    }
    for tool in &request.tools {
        let schema = tool.schema.as_deref().map(|s| serde_json::from_str::<Value>(s).unwrap());
        let nothing = [json!({"type": "object", "properties": {}}), json!({})];
        let schema = schema.filter(|schema| !nothing.contains(schema));
        sketch.push(format!("{} {:?} {schema:?}", tool.name, tool.description));
    }
    sketch
}

// ── unknown fields ───────────────────────────────────────────────────────────────────────────────

#[test]
fn unknown_fields_change_nothing_at_any_depth() {
    let depths = RefCell::new([0; 7]);
    let inputs = (request(), vec((any::<Index>(), odd_value()), 1..4));
    check(800, &inputs, |(body, fields)| {
        let mut sprinkled = body.clone();
        for (at, value) in fields {
            let mut places = vec![];
            objects(&sprinkled, String::new(), &mut places);
            let place = &places[at.index(places.len())];
            let object = sprinkled.pointer_mut(place).and_then(Value::as_object_mut).unwrap();
            object.insert("brand_new".into(), value);
            let depth = place.matches('/').count();
            depths.borrow_mut()[depth.min(6)] += 1;
        }
        let on_top = usize::from(!sprinkled["brand_new"].is_null());
        let (plain, sprinkled) = (decode(&body).unwrap().request, decode(&sprinkled));
        let mut sprinkled = sprinkled.map_err(|e| TestCaseError::fail(e.to_string()))?.request;
        let before = sprinkled.dropped.len();
        sprinkled.dropped.retain(|d| d != "brand_new");
        prop_assert_eq!(before - sprinkled.dropped.len(), on_top);
        prop_assert_eq!(sprinkled, plain);
        Ok(())
    });
    let depths = depths.into_inner();
    assert!(depths[0] > 50 && depths[2] > 200 && depths[4] > 100 && depths[5] > 20, "{depths:?}");
}

/// The objects whose keys the API knows: not those that are the client's own from end to end.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            let is_result = path.contains("/content") && !entries.contains_key("type");
            if is_result && !path.ends_with("image_url") && !path.ends_with("file") {
                return;
            }
            found.push(path.clone());
            for (key, value) in entries {
                if !["parameters", "schema", "arguments"].contains(&key.as_str()) {
                    objects(value, format!("{path}/{key}"), found);
                }
            }
        }
        Value::Array(items) => {
            // A list of anything that a tool gave.
            if path.ends_with("/content") && items.iter().any(|i| i.get("type").is_none()) {
                return;
            }
            let each = items.iter().enumerate();
            each.for_each(|(i, item)| objects(item, format!("{path}/{i}"), found));
        }
        _ => {}
    }
}

// ── law 6: no panic ──────────────────────────────────────────────────────────────────────────────

#[test]
fn no_request_is_an_error_of_ours() {
    none_is_an_error_of_ours(&ChatCompletions, request(), b"{\"messages\":");
}

/// Law 6, for requests with something odd in them, and for any bytes, alone and behind the start of a body.
pub fn none_is_an_error_of_ours(
    client: &dyn ClientDialect,
    requests: impl Strategy<Value = Value>,
    start: &[u8],
) {
    let decode = |bytes: Vec<u8>| client.decode(&Envelope::parse(bytes)?);
    let reached = RefCell::new([0; 3]);
    let change = (any::<Index>(), prop::option::weighted(0.8, odd_value()));
    let inputs = (requests, vec(change, 1..4), any::<Index>());
    check(1500, &inputs, |(mut body, changes, at)| {
        changes.into_iter().for_each(|(at, with)| replace(&mut body, at, with));
        match decode(body.to_string().into_bytes()) {
            Ok(asked) => is_no_error_of_ours(&body, &asked, &at, &reached),
            Err(error) => {
                // What is referred to need not be there.
                prop_assert!(matches!(error.status(), 400 | 404), "{} {}", error, body);
                reached.borrow_mut()[0] += 1;
                Ok(())
            }
        }
    });
    let reached = reached.into_inner();
    assert!(reached.iter().all(|n| *n > 100), "the generator reached too little: {reached:?}");
    check(2000, &wild_bytes(), |bytes| {
        let body = [start, &*bytes, b"}"].concat();
        for text in [bytes, body] {
            let _ = decode(text);
        }
        Ok(())
    });
}

/// For this request and a model of each family; counted are the second and third of `reached`.
fn is_no_error_of_ours(
    body: &Value,
    asked: &Asked,
    at: &Index,
    reached: &RefCell<[usize; 3]>,
) -> Result<(), TestCaseError> {
    for upstream in UPSTREAMS.iter() {
        let model = &upstream.models[at.index(upstream.models.len())];
        let mut request = asked.request.clone();
        match upstream.body(&mut request, model, asked.is_stream) {
            Ok((out, _)) => {
                let json = serde_json::from_slice::<Value>(&out);
                prop_assert!(json.is_ok_and(|j| j.is_object()), "{body}");
                reached.borrow_mut()[1] += 1;
            }
            Err(error) => {
                prop_assert_eq!(error.status(), 400, "{} {}: {}", model, error, body);
                reached.borrow_mut()[2] += 1;
            }
        }
    }
    Ok(())
}

#[test]
fn nothing_is_healed_away_that_a_request_means() {
    let words = vec![
        "messages",
        "messages.0.content.1.cache_control.scope",
        "tools.0.custom.input_schema",
        "system_instruction",
        "generation_config",
        "tool_config",
        "inline_data",
        "function_call",
        "contents",
        "max_tokens",
        "thinking",
        "temperature",
        "a",
        "0",
        ".",
        "[0]",
        " ",
        "'",
        "\"",
        ": Extra inputs are not permitted",
        "Unknown name \"",
        "\" at '",
        "': Cannot find field.",
        "Unsupported parameter: '",
        "Unrecognized request argument supplied: ",
        "extra_forbidden",
        "'loc': ('body', '",
        "'), 'msg'",
        "Unknown parameter: '",
        "invalid beta flag",
        "é",
        "👋",
        "The following tools are not allowed for model 'x': ",
        "function",
        " and ",
        "web_search",
    ];
    let body = json!({
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"scope": 1}}]}],
        "contents": [{"role": "user", "parts": [{"text": "a"}, {"inlineData": {"data": "a"}}, {"functionCall": {"name": "f"}}]}],
        "systemInstruction": {"parts": [{"text": "a"}]},
        "generationConfig": {"maxOutputTokens": 5}, "toolConfig": {},
        "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}],
        "max_tokens": 5, "temperature": 1.0, "thinking": {"type": "enabled"}, "a": {"a": [{"a": 1}]},
    });
    let text = vec(select(words), 0..7).prop_map(|words| words.concat());
    let other = prop::option::of(select(vec!["unsupported_parameter", "unknown_parameter", "x"]));
    let param = prop::option::of(select(vec!["messages", "max_tokens", "a", "tools[0].name", "é"]));
    let healed = RefCell::new(0);
    check(6000, &(prop_oneof![4 => text, 1 => "\\PC*"], other, param), |(message, code, param)| {
        let (code, param) = (code.map(str::to_owned), param.map(str::to_owned));
        let error = Error::Upstream { status: 400, code, message, param, retry_after: None };
        let sent = body.to_string();
        let Some(cure) = healing::cure(&error, sent.as_bytes()) else { return Ok(()) };
        let Some(better) = cure.apply(sent.as_bytes()) else { return Ok(()) };
        let better: Value = serde_json::from_slice(&better).unwrap();
        *healed.borrow_mut() += 1;
        for kept in [
            "/messages/0/role",
            "/messages/0/content/0/text",
            "/contents/0/parts/0/text",
            "/contents/0/parts/1/inlineData/data",
            "/contents/0/parts/2/functionCall/name",
            "/systemInstruction/parts/0/text",
            "/generationConfig",
            "/tools/0/name",
        ] {
            prop_assert!(better.pointer(kept).is_some(), "{kept}: {error:?} {cure:?}");
        }
        Ok(())
    });
    assert!(healed.into_inner() > 100);
}

#[test]
fn no_file_and_no_vault_makes_a_panic() {
    let url = vec(
        select(vec!["data:", "image/png", ";base64", ",", ";", "é", "iVBORw0KGgo", "=", "%", "/w"]),
        0..6,
    );
    let url = prop_oneof![url.prop_map(|parts| parts.concat()), "\\PC*"];
    let bounds = Bounds { entries_max: 3, bytes_max: 2_000, age_max: Duration::from_secs(1) };
    let vault = Vault::new(bounds);
    let event = prop_oneof![
        Just(Event::Open(Open::Reasoning)),
        Just(Event::Open(Open::Text)),
        select(vec!["", "a", "b"])
            .prop_map(|id| { Event::Open(Open::ToolCall { id: id.to_owned(), name: "f".into() }) }),
        Just(Event::Delta("d".repeat(99))),
        Just(Event::Seal(Seal::Claude("s".into()))),
        Just(Event::Seal(Seal::Gemini("g".into()))),
        Just(Event::Close),
    ];
    check(2000, &(url, vec(event, 0..20), request()), |(url, events, body)| {
        let _ = media::data_url(&url);
        let _ = media::sniff_base64(&url);
        let _ = media::text(&url);
        let mut recorder = Recorder::default();
        events.iter().for_each(|event| recorder.event(event, &vault));
        let mut request: Request = decode(&body).unwrap().request;
        let calls = |r: &Request| format!("{:?}", r.turns).matches("ToolCall").count();
        let before = calls(&request);
        vault.restore(&mut request, Instant::now());
        prop_assert_eq!(calls(&request), before);
        Ok(())
    });
}
