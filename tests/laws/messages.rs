//! Laws 4 and 6 for the requests of Anthropic's clients: what was said arrives at every family, or is named as dropped, or is
//! refused; and none is an error of ours.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::dialect::anthropic::{Messages, UNSIGNED};
use sap_ai_core_llm_proxy::dialect::{Asked, ClientDialect, Dialect};
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::families::Passes;
use serde_json::{Value, json};

use crate::check;
use crate::corpus::{UPSTREAMS, odd_value};
use crate::requests::{Reached, arrives_or_is_named, is_in, none_is_an_error_of_ours, number};
use crate::support::{KEY, Proxy};

fn decode(body: &Value) -> Result<Asked, Error> {
    Messages.decode(&Envelope::parse(body.to_string().into_bytes())?)
}

// ── requests ─────────────────────────────────────────────────────────────────────────────────────

/// A client's request. Each `#` in it becomes a number of its own between letters.
fn request() -> impl Strategy<Value = Value> {
    let extras = (select(choices()), vec(select(settings()), 0..5));
    (system(), vec(exchange(), 1..5), vec(tool(), 0..4), extras).prop_map(
        |(system, exchanges, tools, (choice, settings))| {
            let messages: Vec<Value> = exchanges.into_iter().flatten().collect();
            let mut body = json!({"max_tokens": 5000, "system": system, "messages": messages});
            if !tools.is_empty() {
                body["tools"] = json!(tools);
            }
            settings.into_iter().for_each(|(key, value)| body[key] = value);
            number(&mut body, &mut 0);
            // By the name that the tool has now.
            let first = body["tools"].as_array().into_iter().flatten();
            let first = first.filter(|tool| tool["type"].is_null()).map(|t| t["name"].clone());
            match (choice.as_str(), first.into_iter().next()) {
                (Some("first"), Some(name)) => {
                    body["tool_choice"] = json!({"type": "tool", "name": name});
                }
                (Some(_), _) => {}
                (None, _) => body["tool_choice"] = choice,
            }
            body
        },
    )
}

fn system() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 3 => text_content()]
}

/// A text, or blocks of text only.
fn text_content() -> impl Strategy<Value = Value> {
    select(vec![
        json!("say #"),
        json!("\"é\" 👋 \\ \n #"),
        json!([{"type": "text", "text": "#"}]),
        json!([{"type": "text", "text": " "}, {"type": "text", "text": "# é"}, "#"]),
        json!([{"type": "text", "text": "a#", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"type": "text", "text": "b#"}]),
    ])
}

/// What the user or a tool gives to read.
fn part() -> impl Strategy<Value = Value> {
    let png = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo#"});
    select(vec![
        json!({"type": "text", "text": "#", "citations": []}),
        json!({"type": "text", "text": ""}),
        json!({"type": "image", "source": png, "cache_control": {"type": "ephemeral"}}),
        json!({"type": "image", "source": {"type": "url", "url": "https://example.org/#.png"}}),
        json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x#"}, "title": "a.pdf", "context": "c#"}),
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "#"}, "title": "t#", "context": "c#", "citations": {"enabled": true}}),
        json!({"type": "document", "source": {"type": "content", "content": "#"}}),
        json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "#"}, {"type": "image", "source": png}]}, "title": "t#"}),
        json!({"type": "search_result", "source": "https://example.org/#", "title": "t#", "content": [{"type": "text", "text": "#"}, {"type": "text", "text": "#"}]}),
    ])
}

/// A few messages that belong together, as clients send them, well or badly.
fn exchange() -> impl Strategy<Value = Vec<Value>> {
    let upload = json!({"type": "container_upload", "file_id": "#"});
    let parts = (vec(part(), 1..4), prop::option::weighted(0.2, Just(upload)));
    let parts = parts.prop_map(|(mut parts, upload)| {
        parts.extend(upload);
        json!(parts)
    });
    let user = prop_oneof![text_content(), parts];
    let user = user.prop_map(|content| vec![json!({"role": "user", "content": content})]);
    let assistant =
        text_content().prop_map(|content| vec![json!({"role": "assistant", "content": content})]);
    let system =
        text_content().prop_map(|content| vec![json!({"role": "system", "content": content})]);
    let searched = Just(vec![json!({"role": "assistant", "content": [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "#"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "url": "#", "title": "#"}]},
        {"type": "text", "text": "#", "citations": [{"type": "web_search_result_location", "url": "u"}]},
    ]})]);
    prop_oneof![6 => user, 3 => assistant, 1 => system, 1 => searched, 6 => calls()]
}

fn calls() -> impl Strategy<Value = Vec<Value>> {
    let result = prop_oneof![
        2 => select(vec![json!("result #"), json!(""), json!(null), json!([])]),
        1 => vec(part(), 1..3).prop_map(|parts| json!(parts)),
        1 => Just(json!([{"type": "tool_reference", "tool_name": "t#"}])),
    ];
    let input = select(vec![
        json!({"city": "#"}),
        json!({"a": [1.5, {"#": null}]}),
        json!({}),
        json!("{\"object\":\"#\"}"),
    ]);
    let id = select(vec![
        "toolu_1",
        "call:2/é",
        "",
        "a_very_long_id_of_a_call_that_no_vendor_takes_as_it_is_0123456789",
    ]);
    let name = select(vec!["get_weather", "my.tool", "no_longer_there"]);
    let call = (id, name, input, result, 0..8u8, any::<bool>());
    let thought = select(vec![
        json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"}),
        json!({"type": "thinking", "thinking": "hm", "signature": UNSIGNED}),
        json!({"type": "redacted_thinking", "data": "eA=="}),
    ]);
    (vec(call, 1..3), prop::option::of(thought)).prop_map(|(calls, thought)| {
        let mut made: Vec<Value> = thought.into_iter().collect();
        let mut results = vec![];
        for (n, (id, name, input, content, fate, is_error)) in calls.into_iter().enumerate() {
            // Of two results of one call the second is left out.
            let id = match (n, fate) {
                (_, 1) => format!("orphan_{n}"),
                (0, _) => id.to_owned(),
                _ => format!("{id}{n}"),
            };
            if fate != 1 {
                made.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
            }
            if fate != 0 {
                results.push(json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error}));
            }
        }
        results.reverse();
        results.push(json!({"type": "text", "text": "#"}));
        vec![
            json!({"role": "assistant", "content": made}),
            json!({"role": "user", "content": results}),
        ]
    })
}

fn tool() -> impl Strategy<Value = Value> {
    let schema = select(vec![
        json!({"type": "object"}),
        json!({"$schema": "x", "type": "object", "properties": {"p#": {"type": "string", "description": "#"}}, "additionalProperties": false}),
        json!({"type": "object", "properties": {"p#": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"type": ["string", "null"], "description": "#"}}}),
    ]);
    let name = select(vec!["get_#", "#.b c", "ü#", "1#"]);
    let other =
        json!({"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["#"]});
    let function = (name, schema, any::<bool>()).prop_map(|(name, schema, has_more)| {
        let mut tool = json!({"name": name, "description": "does #", "input_schema": schema});
        if has_more {
            tool["cache_control"] = json!({"type": "ephemeral"});
            tool["input_examples"] = json!([{"a": "#"}]);
        }
        tool
    });
    prop_oneof![6 => function, 1 => Just(other)]
}

fn choices() -> Vec<Value> {
    vec![
        json!(null),
        json!({"type": "auto", "disable_parallel_tool_use": true}),
        json!({"type": "any"}),
        json!({"type": "none"}),
        json!("first"),
    ]
}

fn settings() -> Vec<(&'static str, Value)> {
    let schema = json!({"type": "json_schema", "schema": {"type": "object", "properties": {"q#": {"type": "string"}}}});
    vec![
        ("max_tokens", json!(1)),
        ("max_tokens", json!(10_000_000)),
        ("temperature", json!(0)),
        ("temperature", json!(0.7)),
        ("top_p", json!(0.5)),
        ("top_k", json!(5)),
        ("stop_sequences", json!(["a", "b", "c", "d", "e", "S#"])),
        ("stop_sequences", json!(["S#", "\n"])),
        ("thinking", json!({"type": "disabled"})),
        ("thinking", json!({"type": "adaptive"})),
        ("thinking", json!({"type": "enabled", "budget_tokens": 31_999})),
        ("output_config", json!({"effort": "low"})),
        ("output_config", json!({"effort": "max", "format": schema})),
        ("output_config", json!({"format": schema})),
        ("metadata", json!({"user_id": "u"})),
        ("stream", json!(true)),
        ("context_management", json!({"edits": []})),
        ("mcp_servers", json!([{"url": "https://example.org/#"}])),
    ]
}

// ── laws ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_was_said_arrives_or_is_named() {
    let reached = Reached::default();
    check(800, &(request(), any::<Index>()), |(body, at)| {
        let asked = decode(&body).map_err(|e| TestCaseError::fail(format!("{e}: {body}")))?;
        arrives_or_is_named(Dialect::Anthropic, &body, &asked, &at, &reached)
    });
    for (family, counts) in reached.into_inner() {
        // It takes neither tools nor files.
        let (least, most) = if family == "perplexity" { (100, 500) } else { (150, 1000) };
        assert!(counts[0] > least && counts[2] > most, "{family}: too little of it {counts:?}");
    }
}

/// The simulated AI Core takes what is written for it, and nothing has to be healed.
#[test]
fn what_is_written_is_taken() {
    let proxy = Proxy::start();
    let reached = RefCell::new(BTreeMap::<&str, [usize; 2]>::new());
    check(150, &(request(), any::<Index>(), any::<bool>()), |(mut body, at, is_stream)| {
        tame(&mut body);
        body["stream"] = json!(is_stream);
        // More than there is goes to those who tell so.
        body["max_tokens"] = json!(body["max_tokens"].as_u64().unwrap().min(5000));
        let converted = UPSTREAMS
            .iter()
            .filter(|u| matches!(u.grammar.passes, Passes::Nothing | Passes::Responses { .. }));
        for upstream in converted {
            let model = &upstream.models[at.index(upstream.models.len())];
            body["model"] = json!(model);
            let text = body.to_string();
            let reply = proxy.client().send("POST", "/v1/messages", KEY, text.as_bytes());
            let mut reached = reached.borrow_mut();
            let counts = reached.entry(upstream.family).or_default();
            counts[usize::from(reply.status == 200)] += 1;
            // What is refused here begins with a path of the client's request.
            let error = match reply.status {
                200 => Value::Null,
                _ => reply.json()["error"]["message"].clone(),
            };
            let path = error.as_str().and_then(|text| text.split(':').next()).unwrap_or_default();
            prop_assert!(
                reply.status == 200 || (reply.status == 400 && is_in(&body, path)),
                "{model}: {error}\n{body}\n{}",
                String::from_utf8_lossy(&proxy.last().body)
            );
        }
        Ok(())
    });
    let refused = proxy.inferences().iter().filter(|seen| seen.status == 400).count();
    assert_eq!(refused, 0, "healed, where it should not have been ill");
    for (family, counts) in reached.into_inner() {
        assert!(counts[1] > 30, "{family}: too little of it {counts:?}");
    }
}

/// Files that are what they seem, no URLs, and no signatures that no Claude has made.
fn tame(value: &mut Value) {
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";
    match value {
        Value::String(text) if text.starts_with("iVBORw0KGgo") => *text = PNG.to_owned(),
        Value::String(text) if text == "c2ln" => *text = UNSIGNED.to_owned(),
        Value::String(text) if text.starts_with("JVBERi0x") => *text = "JVBERi0xLjQ=".to_owned(),
        Value::String(text) if text.starts_with("https://") => {
            *text = format!("data:image/png;base64,{PNG}");
        }
        Value::Array(items) => items.iter_mut().for_each(tame),
        Value::Object(entries) => entries.values_mut().for_each(tame),
        _ => {}
    }
}

#[test]
fn unknown_fields_change_nothing_at_any_depth() {
    let depths = RefCell::new([0; 7]);
    let inputs = (request(), vec((any::<Index>(), odd_value()), 1..4));
    check(800, &inputs, |(body, fields)| {
        let mut sprinkled = body.clone();
        let mut named = vec![];
        for (at, value) in fields {
            let mut places = vec![];
            objects(&sprinkled, String::new(), &mut places);
            let place = &places[at.index(places.len())];
            // What these say is for the whole request, and named where it is not known.
            let is_named = ["", "/output_config"].contains(&place.as_str()) && !value.is_null();
            let name = format!("{place}/brand_new")[1..].replace('/', ".");
            named.retain(|n| *n != name);
            named.extend(is_named.then_some(name));
            let object = sprinkled.pointer_mut(place).and_then(Value::as_object_mut).unwrap();
            object.insert("brand_new".into(), value);
            depths.borrow_mut()[place.matches('/').count().min(6)] += 1;
        }
        let (plain, sprinkled) = (decode(&body).unwrap().request, decode(&sprinkled));
        let mut sprinkled = sprinkled.map_err(|e| TestCaseError::fail(e.to_string()))?.request;
        let before = sprinkled.dropped.len();
        sprinkled.dropped.retain(|d| !named.iter().any(|n| n == d));
        prop_assert_eq!(before - sprinkled.dropped.len(), named.len());
        prop_assert_eq!(sprinkled, plain);
        Ok(())
    });
    let depths = depths.into_inner();
    assert!(depths[0] > 50 && depths[2] > 200 && depths[4] > 200 && depths[5] > 50, "{depths:?}");
}

/// The objects whose keys the API knows: not those that are the client's own from end to end.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            found.push(path.clone());
            for (key, value) in entries {
                let own = ["input", "input_schema", "input_examples", "schema", "metadata"];
                if !own.contains(&key.as_str()) {
                    objects(value, format!("{path}/{key}"), found);
                }
            }
        }
        Value::Array(items) => {
            let each = items.iter().enumerate();
            each.for_each(|(i, item)| objects(item, format!("{path}/{i}"), found));
        }
        _ => {}
    }
}

#[test]
fn no_request_is_an_error_of_ours() {
    none_is_an_error_of_ours(&Messages, request(), b"{\"max_tokens\":1,\"messages\":");
}
