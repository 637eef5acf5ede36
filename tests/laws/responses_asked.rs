//! Laws 4 and 6 for the requests of the Responses API: what was said arrives at every family, or is named as dropped, or is
//! refused; and none is an error of ours. And what a reply says is what it says when it comes back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::chat::{Block, Reply, Request, Role, Seal, Stop};
use sap_ai_core_llm_proxy::dialect::openai_responses::{Responses, freeform};
use sap_ai_core_llm_proxy::dialect::{Asked, ClientDialect, Dialect, ReplyHead};
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::families::Passes;
use serde_json::{Value, json};

use crate::check;
use crate::corpus::{UPSTREAMS, odd_value};
use crate::requests::{Reached, arrives_or_is_named, is_in, none_is_an_error_of_ours, number};
use crate::support::{KEY, Proxy};

/// Of one kept item, by any id that begins as ours do.
fn kept(id: &str) -> Result<Option<String>, Error> {
    let item =
        r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"kept"}]}"#;
    Ok(id.starts_with("msg_").then(|| item.to_owned()))
}

const CLIENT: Responses<'static> = Responses { history: b"", item: &kept };

fn decode(body: &Value) -> Result<Asked, Error> {
    CLIENT.decode(&Envelope::parse(body.to_string().into_bytes())?)
}

// ── requests ─────────────────────────────────────────────────────────────────────────────────────

/// A client's request. Each `#` in it becomes a number of its own between letters.
fn request() -> impl Strategy<Value = Value> {
    let extras = (select(choices()), vec(select(settings()), 0..5));
    (instructions(), input(), vec(tool(), 0..4), extras).prop_map(
        |(instructions, input, tools, (choice, settings))| {
            let mut body = json!({"instructions": instructions, "input": input});
            let is_defining = |item: &Value| item["tools"].is_array();
            let defines = input.as_array().is_some_and(|items| items.iter().any(is_defining));
            if defines {
                // Where tools are refused, it is by this name.
                body["tools"] = json!([]);
            }
            if !tools.is_empty() {
                body["tools"] = json!(tools);
            }
            settings.into_iter().for_each(|(key, value)| body[key] = value);
            number(&mut body, &mut 0);
            // By the name that the tool has now.
            let first = body["tools"].as_array().into_iter().flatten();
            let first = first.filter(|tool| tool["type"] == "function").map(|t| t["name"].clone());
            match (choice.as_str(), first.into_iter().next()) {
                (Some("first"), Some(name)) if !defines => {
                    body["tool_choice"] = json!({"type": "function", "name": name});
                }
                (Some("first"), None) => {}
                // What may not be called does not have to be told.
                _ if defines => {}
                _ => body["tool_choice"] = choice,
            }
            body
        },
    )
}

fn instructions() -> impl Strategy<Value = Value> {
    prop_oneof![2 => Just(Value::Null), 2 => Just(json!("be #")), 1 => text_content()]
}

fn input() -> impl Strategy<Value = Value> {
    let items = vec(exchange(), 1..5).prop_map(|all| json!(all.concat()));
    prop_oneof![1 => Just(json!("\"é\" 👋 #")), 9 => items]
}

/// A text, or parts of text only.
fn text_content() -> impl Strategy<Value = Value> {
    select(vec![
        json!("say #"),
        json!("\"é\" 👋 \\ \n #"),
        json!([{"type": "input_text", "text": "#"}]),
        json!([{"type": "input_text", "text": " "}, {"type": "text", "text": "# é"}, "#"]),
    ])
}

fn part() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"type": "input_text", "text": "#"}),
        json!({"type": "input_text", "text": ""}),
        json!({"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo#", "detail": "low"}),
        json!({"type": "input_image", "image_url": "https://example.org/#.png"}),
        json!({"type": "input_file", "file_data": "data:application/pdf;base64,JVBERi0x#", "filename": "a.pdf"}),
        json!({"type": "input_file", "file_data": "data:text/plain;base64,#"}),
        json!({"type": "input_audio", "input_audio": {"data": "UklGRg#", "format": "wav"}}),
    ])
}

/// A few items that belong together, as clients send them, well or badly.
fn exchange() -> impl Strategy<Value = Vec<Value>> {
    let parts = vec(part(), 1..4).prop_map(|parts| json!(parts));
    let user = prop_oneof![text_content(), parts];
    let user = (user, any::<bool>()).prop_map(|(content, is_typed)| {
        let mut item = json!({"role": "user", "content": content});
        if is_typed {
            item["type"] = json!("message");
            item["id"] = json!("msg_1");
        }
        vec![item]
    });
    let assistant = select(vec![
        json!("#"),
        json!([{"type": "output_text", "text": "#", "annotations": []}]),
        json!([{"type": "refusal", "refusal": "no #"}]),
    ]);
    let assistant = assistant.prop_map(
        |content| vec![json!({"type": "message", "role": "assistant", "status": "completed", "content": content})],
    );
    let told = (select(vec!["system", "developer"]), text_content())
        .prop_map(|(role, content)| vec![json!({"role": role, "content": content})]);
    let other = select(vec![
        json!({"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "#"}}),
        json!({"type": "image_generation_call", "result": "#"}),
        json!({"type": "brand_new", "text": "#"}),
        json!({"type": "compaction", "encrypted_content": "gAAAAA#"}),
        json!({"type": "compaction", "encrypted_content": SUMMARY}),
        json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAAAA#"}),
        json!({"type": "item_reference", "id": "msg_kept"}),
        json!({"type": "additional_tools", "tools": [{"type": "function", "name": "added_#"}]}),
        json!({"type": "tool_search_output", "call_id": "t", "tools": [{"type": "custom", "name": "found_#"}]}),
    ]);
    let other = other.prop_map(|item| vec![item]);
    prop_oneof![6 => user, 3 => assistant, 1 => told, 3 => other, 6 => calls()]
}

/// What ours are that hold "sums it up", a thought of no vendor's, and Claude's.
const SUMMARY: &str = "proxy1.eyJzdW1tYXJ5Ijoic3VtcyBpdCB1cCJ9";
const THOUGHT: &str = "proxy1.eyJ0aG91Z2h0Ijp7InRleHQiOiJobSIsInNlYWwiOm51bGx9fQ";
const SEALED: &str = "proxy1.eyJ0aG91Z2h0Ijp7InRleHQiOiJobSIsInNlYWwiOnsiY2xhdWRlIjoiYzJsbiJ9fX0";

fn calls() -> impl Strategy<Value = Vec<Value>> {
    let result = prop_oneof![
        3 => select(vec![json!("result #"), json!(""), json!(null), json!([]), json!({"a": "#"}), json!([{"b": "#"}])]),
        1 => vec(part(), 1..3).prop_map(|parts| json!(parts)),
    ];
    let arguments = select(vec![
        json!("{\"city\":\"#\"}"),
        json!("{\"a\":[1.10,{\"#\":null}]}"),
        json!(""),
        json!("{\"cut\":\"#"),
        json!({"object": "#"}),
    ]);
    let id = select(vec![
        "call_1",
        "call:2/é",
        "",
        "a_very_long_id_of_a_call_that_no_vendor_takes_as_it_is_0123456789",
    ]);
    let kind =
        select(vec!["function_call", "function_call", "custom_tool_call", "local_shell_call"]);
    let name = select(vec!["get_weather", "my.tool", "no_longer_there"]);
    let call = (id, kind, name, arguments, result, (0..8u8, any::<bool>()));
    let thought = prop::option::of(select(vec![THOUGHT, SEALED]));
    (vec(call, 1..3), thought).prop_map(|(calls, thought)| {
        let thought =
            thought.map(|e| json!({"type": "reasoning", "summary": [], "encrypted_content": e}));
        let mut made: Vec<Value> = thought.into_iter().collect();
        let mut results = vec![];
        for (n, (id, kind, name, arguments, output, (fate, is_far))) in
            calls.into_iter().enumerate()
        {
            // Of two results of one call the second is left out.
            let id = match (n, fate) {
                (_, 1) => format!("orphan_{n}"),
                (0, _) => id.to_owned(),
                _ => format!("{id}{n}"),
            };
            let mut call = json!({"type": kind, "call_id": id, "name": name});
            match kind {
                "custom_tool_call" => call["input"] = json!("*** \"é\"\n#"),
                "local_shell_call" => call["action"] = json!({"type": "exec", "command": ["#"]}),
                _ => call["arguments"] = arguments,
            }
            if is_far && kind != "local_shell_call" {
                call["namespace"] = json!("mcp__far__");
            }
            if fate != 1 {
                made.push(call);
            }
            if fate != 0 {
                results.push(
                    json!({"type": format!("{kind}_output"), "call_id": id, "output": output}),
                );
            }
        }
        results.reverse();
        made.extend(results);
        made
    })
}

fn tool() -> impl Strategy<Value = Value> {
    let schema = select(vec![
        json!({"type": "object"}),
        json!({"$schema": "x", "type": "object", "properties": {"p#": {"type": "string", "description": "#"}}, "additionalProperties": false}),
        json!({"type": "object", "properties": {"p#": {"$ref": "#/$defs/d"}}, "$defs": {"d": {"type": ["string", "null"], "description": "#"}}}),
    ]);
    let name = select(vec!["get_#", "#.b c", "ü#", "1#"]);
    let function = (name, schema).prop_map(|(name, schema)| {
        json!({"type": "function", "name": name, "description": "does #", "parameters": schema, "strict": false})
    });
    let custom = select(vec![
        json!({"type": "custom", "name": "c_#", "description": "does #"}),
        json!({"type": "custom", "name": "c_#", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /#/"}}),
    ]);
    let space = vec(prop_oneof![function.clone(), custom.clone()], 1..3)
        .prop_map(|tools| json!({"type": "namespace", "name": "n#__", "description": "all #", "tools": tools}));
    let other = json!({"type": "web_search", "user_location": {"city": "#"}});
    prop_oneof![6 => function, 2 => custom, 2 => space, 1 => Just(other)]
}

fn choices() -> Vec<Value> {
    vec![json!(null), json!("auto"), json!("required"), json!("none"), json!("first")]
}

fn settings() -> Vec<(&'static str, Value)> {
    let format = |format: Value| json!({"format": format});
    let schema = json!({"type": "object", "properties": {"q#": {"type": "string"}}});
    vec![
        ("max_output_tokens", json!(77)),
        ("max_output_tokens", json!(1)),
        ("max_output_tokens", json!(10_000_000)),
        ("temperature", json!(0)),
        ("temperature", json!(1.5)),
        ("top_p", json!(0.5)),
        ("parallel_tool_calls", json!(false)),
        ("reasoning", json!({"summary": "auto"})),
        ("reasoning", json!({"effort": "minimal"})),
        ("reasoning", json!({"effort": "high", "summary": "detailed"})),
        ("reasoning", json!({"effort": "none"})),
        ("text", format(json!({"type": "text"}))),
        ("text", format(json!({"type": "json_object"}))),
        (
            "text",
            json!({"verbosity": "low", "format": {"type": "json_schema", "name": "n", "description": "#", "schema": schema}}),
        ),
        ("stream", json!(true)),
        ("store", json!(false)),
        ("include", json!(["reasoning.encrypted_content"])),
        ("truncation", json!("auto")),
        ("background", json!(true)),
        ("max_tool_calls", json!(3)),
        ("client_metadata", json!({"a": "b"})),
        ("metadata", json!({"a": "b"})),
        ("brand_new_option", json!("#")),
    ]
}

// ── laws ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_was_said_arrives_or_is_named() {
    let reached = Reached::default();
    let kinds = RefCell::new(BTreeSet::new());
    check(800, &(request(), any::<Index>()), |(body, at)| {
        for item in body["input"].as_array().into_iter().flatten() {
            let kind = item["type"].as_str().unwrap_or("(none)");
            kinds.borrow_mut().insert(kind.to_owned());
        }
        let asked = decode(&body).map_err(|e| TestCaseError::fail(format!("{e}: {body}")))?;
        arrives_or_is_named(Dialect::Responses, &body, &asked, &at, &reached)
    });
    for (family, counts) in reached.into_inner() {
        // It takes neither tools nor files.
        let (least, most) = if family == "perplexity" { (100, 300) } else { (150, 1000) };
        assert!(counts[0] > least && counts[2] > most, "{family}: too little of it {counts:?}");
    }
    let expected = [
        "(none)",
        "additional_tools",
        "brand_new",
        "compaction",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "image_generation_call",
        "item_reference",
        "local_shell_call",
        "local_shell_call_output",
        "message",
        "reasoning",
        "tool_search_output",
        "web_search_call",
    ];
    assert_eq!(kinds.into_inner(), expected.map(str::to_owned).into());
}

/// The simulated AI Core takes what is written for it, and nothing has to be healed.
#[test]
fn what_is_written_is_taken() {
    let proxy = Proxy::start();
    let reached = RefCell::new(BTreeMap::<&str, [usize; 2]>::new());
    check(100, &(request(), any::<Index>(), any::<bool>()), |(mut body, at, is_stream)| {
        tame(&mut body);
        body["stream"] = json!(is_stream);
        // More than there is goes to those who tell so.
        if let Some(max) = body["max_output_tokens"].as_u64() {
            body["max_output_tokens"] = json!(max.min(5000));
        }
        // What passes is refused in AI Core's words.
        let passes = |p| matches!(p, Passes::OpenAi { .. } | Passes::Responses { .. });
        let converted = |u: &&crate::corpus::Upstream| !passes(u.grammar.passes);
        for upstream in UPSTREAMS.iter().filter(converted) {
            let model = &upstream.models[at.index(upstream.models.len())];
            body["model"] = json!(model);
            let text = body.to_string();
            let reply = proxy.client().send("POST", "/v1/responses", KEY, text.as_bytes());
            let mut reached = reached.borrow_mut();
            let counts = reached.entry(upstream.family).or_default();
            counts[usize::from(reply.status == 200)] += 1;
            // What is refused here has a path of the client's request.
            let error = match reply.status {
                200 => Value::Null,
                _ => reply.json()["error"].clone(),
            };
            let path = error["param"].as_str().unwrap_or_default();
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
        assert!(counts[1] > 20, "{family}: too little of it {counts:?}");
    }
}

/// Files that are what they seem, no URLs, no signatures that no Claude has made, and nothing that is not kept.
fn tame(value: &mut Value) {
    const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==";
    match value {
        Value::String(text) if text.starts_with("data:image") => *text = PNG.to_owned(),
        Value::String(text) if text.starts_with("https://") => *text = PNG.to_owned(),
        Value::String(text) if text.starts_with("data:application") => {
            *text = "data:application/pdf;base64,JVBERi0xLjQ=".to_owned();
        }
        Value::String(text) if text.starts_with("UklGRg") => *text = "UklGRg==".to_owned(),
        Value::String(text) if text == SEALED => *text = THOUGHT.to_owned(),
        Value::Array(items) => {
            items.retain(|item| item["type"] != "item_reference");
            if items.is_empty() {
                items.push(json!({"role": "user", "content": "a"}));
            }
            items.iter_mut().for_each(tame);
        }
        Value::Object(entries) => {
            let tamed = entries
                .iter_mut()
                .filter(|(key, _)| !["tools", "required"].contains(&key.as_str()));
            tamed.for_each(|(_, value)| tame(value));
        }
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
            let is_named =
                ["", "/text", "/reasoning"].contains(&place.as_str()) && !value.is_null();
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
    assert!(depths[0] > 50 && depths[2] > 200 && depths[4] > 100, "{depths:?}");
}

/// The objects whose keys the API knows: not those that are the client's own from end to end.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            if path.contains("/output") && !entries.contains_key("type") {
                return;
            }
            found.push(path.clone());
            for (key, value) in entries {
                let own =
                    ["parameters", "schema", "arguments", "action", "metadata", "client_metadata"];
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
    none_is_an_error_of_ours(&CLIENT, request(), b"{\"input\":");
}

/// What a model said is given back in the next turn, as the items of its reply.
#[test]
fn a_reply_comes_back_as_it_was() {
    let seal = prop::option::of(select(vec![
        Seal::Claude("c".into()),
        Seal::ClaudeRedacted("r".into()),
        Seal::Gemini("g".into()),
        Seal::OpenAi { id: "rs_1".into(), encrypted: "e".into() },
    ]));
    let text = select(vec!["a", "\"é\"\n👋", " "]).prop_map(Block::text);
    let thought = (select(vec!["", "hm\né"]), seal.clone())
        .prop_map(|(text, seal)| Block::Reasoning { text: text.to_owned(), seal });
    let arguments = select(vec!["", "{\"a\":\"é\\n\"}", "{\"input\":1}"]);
    let name = select(vec!["f", "patch", "n__f", "n__patch", "unknown.é"]);
    let call = (name, arguments, seal).prop_map(|(name, arguments, seal)| {
        let arguments = match name.ends_with("patch") {
            true => freeform::arguments(arguments),
            false => arguments.to_owned(),
        };
        Block::ToolCall { id: String::new(), name: name.to_owned(), arguments, seal, cache: None }
    });
    let block = prop_oneof![2 => text, 2 => thought, 3 => call];
    let tools = json!([{"type": "function", "name": "f"}, {"type": "custom", "name": "patch"}]);
    let asked = json!({
        "input": "a", "include": ["reasoning.encrypted_content"],
        "tools": [tools[0], tools[1], {"type": "namespace", "name": "n", "tools": tools}],
    });
    let reached = RefCell::new(0);
    check(800, &vec(block, 1..6), |mut blocks| {
        for (n, block) in blocks.iter_mut().enumerate() {
            if let Block::ToolCall { id, .. } = block {
                *id = format!("call_{n}");
            }
        }
        let head = ReplyHead { id: "7".repeat(32), created: 1, model: "m".into() };
        let reply = Reply { id: None, blocks: blocks.clone(), usage: None, stop: Stop::End };
        let written = decode(&asked).unwrap().writer.whole(&reply, &head);
        let written = serde_json::from_slice::<Value>(&written).unwrap();
        let mut next = asked.clone();
        next["input"] = written["output"].clone();
        let Request { turns, dropped, .. } = decode(&next).unwrap().request;
        prop_assert!(dropped.is_empty(), "{:?}", dropped);
        prop_assert_eq!((turns.len(), turns[0].role), (1, Role::Assistant));
        prop_assert_eq!(&turns[0].blocks, &blocks, "{}", written);
        *reached.borrow_mut() += blocks.len();
        Ok(())
    });
    assert!(reached.into_inner() > 1500);
}
