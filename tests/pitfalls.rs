//! What other gateways get wrong between clients' and vendors' grammars, item by item: a
//! test of each is called `pSS_NN_…` after its section and number in our collection of such faults.
//! They go through the real server, in front of the simulated AI Core, and look at what AI Core got.
//!
//! | pitfall | shown by |
//! |---|---|
//! | 2.1, 2.9 Claude Code and what it sends anew | `claude_pass::*`, `messages::refused_flags_are_left_out_and_remembered`, `tests/clients` |
//! | 2.2 tools by every family, streamed | `messages::every_family_thinks_calls_and_goes_on`, `families::whole_and_stream_say_the_same` |
//! | 2.8 new models without a release | `families::names_that_say_nothing_are_looked_up` |
//! | 2.10 cache points added, kept, counted | `families::cache_points_are_added_and_cached_prompts_are_counted` |
//! | 2.13, 3.50 silence is filled | `messages::silence_is_filled_with_pings`, `relay::silence_is_filled_with_comments` |
//! | 2.22, 3.30 `system` inside messages | `families::claude::pass::tests::a_conversation_only_grows`, `laws::messages::*` |
//! | 2.23 count_tokens | `count::*` |
//! | 2.25, 2.37 lists and names of models | `answers::models_are_listed_in_the_shape_that_is_asked_for`, `answers::a_model_is_found_by_any_of_its_names` |
//! | 2.20 structured output by every family | `families::whole_and_stream_say_the_same` |
//! | 2.26, 3.48, 3.49 errors within a stream | `messages::a_failure_in_the_middle_is_an_event_and_no_end`, `families::an_error_is_an_error_before_and_after_the_first_byte` |
//! | 2.27, 3.53 no status before the first event | `families::an_error_is_an_error_before_and_after_the_first_byte` |
//! | 2.28 UTF-8 over the borders of chunks | `laws::replies::cut_anywhere_every_decoder_says_the_same` |
//! | 2.29 `{{?x}}` in a text | `orchestration::*`, whose requests hold it |
//! | 2.30 bounded buffers | `attacks::floods::*` |
//! | 2.45, 3.44 usage is opt-in | `families::usage_comes_where_it_is_asked_for` |
//! | 3.20 thoughts with their signature in tool loops | `families::thoughts_come_back_with_the_calls_they_led_to` |
//! | 3.23 thoughts that are lost | `families::lost_thoughts_cost_the_thinking_of_a_turn_and_no_more` |
//! | 3.25 effort and budget by version | `families/claude.rs`, `families/gemini.rs`: tables by version |
//! | 3.33 images by URL | `families::images_are_fetched_for_models_that_take_no_urls`, `fetch::*` |
//! | 3.45 cumulative counts | `tests/wire/upstream/claude/*.sse` |
//! | 3.47 one id, time and model for a stream | `families::usage_comes_where_it_is_asked_for` |
//! | 3.51 framing of events | `laws::replies::*`, `tests/wire/upstream/claude/framing.sse` |
//! | 3.52 Python's dictionaries | `converse::what_python_writes_is_read`, `tests/wire/upstream/converse` |
//! | 3.54 a first chunk without choices | `tests/wire/reply/openai_chat/filter_only.sse` |
//! | 2.3, 3.14 Codex and its tools | `responses::tools_that_are_no_functions_are_the_clients_own_again`, `tests/clients` |
//! | 2.4, 2.6, 3.57 responses and thoughts belong to one deployment | `responses::a_conversation_goes_on_at_the_deployment_that_keeps_it`, `responses::thoughts_go_back_to_the_deployment_that_had_them_and_nowhere_else` |
//! | 2.7, 3.56 a WebSocket is asked for | `responses::a_websocket_is_refused_at_once_and_the_connection_goes_on` |
//! | 2.15 Cursor's bodies | `responses::a_body_of_this_api_is_answered_as_chat_where_it_was_sent_as_chat` |
//! | 2.16 models of the Responses API alone | `responses::models_of_this_api_alone_serve_the_others` |
//! | 3.18, 3.46 what a response says of its end and usage | `laws::replies::*`, `tests/wire/reply/responses` |
//! | 3.55 compressed bodies | `encoding::*` |

mod support;

use std::sync::LazyLock;

use sap_ai_core_llm_proxy::demo::Fault;
use serde_json::{Value, json};
use support::{Proxy, Reply};

static PROXY: LazyLock<Proxy> = LazyLock::new(Proxy::start);

const OLD: &str = "anthropic--claude-4.5-sonnet";
const NEW: &str = "anthropic--claude-4.8-opus";
const GEMINI: &str = "gemini-2.5-flash";
/// One of each grammar and set of rules.
const ALL: &[&str] = &[
    OLD,
    NEW,
    GEMINI,
    "gemini-3.5-flash",
    "amazon--nova-pro",
    "cohere--command-a-reasoning",
    "orchestration/gpt-4o",
    "orchestration/anthropic--claude-4.5-sonnet",
];

/// A proxy of the test's own, and the reply of `model` to this.
fn ask(model: &str, mut body: Value) -> (Proxy, Reply) {
    let proxy = Proxy::start();
    body["model"] = json!(model);
    let reply = proxy.chat(&body);
    (proxy, reply)
}

/// What AI Core got of it, which it took.
#[track_caller]
fn sent(model: &str, body: Value) -> Value {
    let (proxy, reply) = ask(model, body);
    assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    serde_json::from_slice(&proxy.last().body).unwrap()
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

fn said(messages: Value) -> Value {
    json!({"messages": messages})
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}})
}

fn calls(calls: Value) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

fn result(id: &str, content: impl Into<Value>) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content.into()})
}

fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| {
        let city = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        json!({"type": "function", "function": {"name": name, "parameters": city}})
    };
    names.iter().map(tool).collect()
}

fn with_tools(messages: Value) -> Value {
    with(said(messages), "tools", tools(&["get_weather", "get_time"]))
}

/// The deltas of a stream's calls.
fn call_deltas(reply: &Reply) -> Vec<Value> {
    let all = reply.frames().into_iter().flat_map(|frame| {
        let calls = frame["choices"][0]["delta"]["tool_calls"].as_array().cloned();
        calls.unwrap_or_default()
    });
    all.collect()
}

fn streamed_calls(model: &str, fault: Fault) -> Vec<Value> {
    let proxy = Proxy::start();
    proxy.demo.push(fault);
    let body = with_tools(json!([user("get_weather and get_time")]));
    let reply = proxy.chat(&with(with(body, "stream", json!(true)), "model", json!(model)));
    assert_eq!((reply.status, reply.dones()), (200, 1), "{model}: {}", reply.text());
    call_deltas(&reply)
}

// ── tools ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn p03_01_calls_are_counted_from_0_in_order_of_appearance() {
    for model in ALL {
        let deltas = streamed_calls(model, Fault::default());
        let mut indices: Vec<u64> = deltas.iter().map(|d| d["index"].as_u64().unwrap()).collect();
        indices.dedup();
        assert_eq!(indices, [0, 1], "{model}");
    }
}

#[test]
fn p03_02_calls_that_come_interleaved_are_told_one_after_the_other() {
    let fault = Fault { interleave: true, ..Fault::default() };
    let deltas = streamed_calls(OLD, fault);
    let mut arguments = [String::new(), String::new()];
    let mut at = 0;
    for delta in deltas {
        let index = delta["index"].as_u64().unwrap() as usize;
        assert!(index >= at, "it goes back: {delta}");
        at = index;
        arguments[index] += delta["function"]["arguments"].as_str().unwrap_or("");
    }
    for json in arguments {
        assert!(serde_json::from_str::<Value>(&json).is_ok_and(|v| v.is_object()), "{json:?}");
    }
}

#[test]
fn p03_03_id_and_name_are_said_once() {
    for model in ALL {
        for index in 0..2 {
            let deltas = streamed_calls(model, Fault::default());
            let of: Vec<_> = deltas.iter().filter(|d| d["index"] == index).collect();
            assert!(of[0]["id"].is_string() && of[0]["function"]["name"].is_string(), "{model}");
            let again = |d: &&&Value| d.get("id").or(d["function"].get("name")).is_some();
            assert_eq!(of[1..].iter().filter(again).count(), 0, "{model}: {of:?}");
        }
    }
}

#[test]
fn p03_04_empty_arguments_are_an_object() {
    for arguments in ["", " ", "null"] {
        let loops = json!([user("hi"), calls(json!([call("c", arguments)])), result("c", "18")]);
        let body = sent(OLD, with_tools(loops.clone()));
        assert_eq!(body.pointer("/messages/1/content/0/input"), Some(&json!({})), "{body}");
        let body = sent(GEMINI, with_tools(loops));
        let args = body.pointer("/contents/1/parts/0/functionCall/args");
        assert!(args.is_none_or(|args| *args == json!({})), "{body}");
    }
}

#[test]
fn p03_05_ids_are_made_where_none_are_and_are_the_same_each_time() {
    let loops = json!([user("hi"), calls(json!([call("", "{}")])), result("", "18")]);
    let id = |body: Value| body.pointer("/messages/1/content/0/id").cloned().unwrap();
    let first = id(sent(OLD, with_tools(loops.clone())));
    assert_eq!(first, id(sent(OLD, with_tools(loops))));
    assert!(!first.as_str().unwrap().is_empty());
}

#[test]
fn p03_06_ids_have_the_letters_and_the_length_that_are_taken() {
    for id in ["call:1/é", &"x".repeat(90)] {
        let loops = json!([user("hi"), calls(json!([call(id, "{}")])), result(id, "18")]);
        let body = sent(OLD, with_tools(loops));
        let new = body.pointer("/messages/1/content/0/id").and_then(Value::as_str).unwrap();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(new.len() <= 64 && new.chars().all(is_plain), "{new}");
        assert_eq!(body.pointer("/messages/2/content/0/tool_use_id"), Some(&json!(new)));
    }
}

#[test]
fn p03_07_results_stand_together_and_first() {
    let loops = json!([
        user("hi"),
        calls(json!([call("a", "{}"), call("b", "{}")])),
        result("b", "2"),
        user("and quickly"),
        result("a", "1"),
    ]);
    let body = sent(OLD, with_tools(loops));
    let last = body["messages"].as_array().unwrap().last().unwrap().clone();
    let kinds: Vec<_> =
        last["content"].as_array().unwrap().iter().map(|p| p["type"].clone()).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
}

#[test]
fn p03_08_images_in_results_arrive() {
    let image = json!([
        {"type": "text", "text": "here"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="}},
    ]);
    let loops = json!([user("hi"), calls(json!([call("a", "{}")])), result("a", image)]);
    let body = sent(OLD, with_tools(loops.clone()));
    let part = body.pointer("/messages/2/content/0/content/1/type");
    assert_eq!(part, Some(&json!("image")), "{body}");
    let body = sent("orchestration/gpt-4o", with_tools(loops.clone())).to_string();
    assert!(body.contains("data:image/png;base64,iVBORw0KGgo"), "{body}");
    let body = sent(GEMINI, with_tools(loops)).to_string();
    assert!(body.contains("iVBORw0KGgo"), "{body}");
}

#[test]
fn p03_09_calls_and_results_without_the_other() {
    let table = [
        json!([user("hi"), calls(json!([call("a", "{}")])), user("go on")]),
        json!([user("hi"), result("a", "18"), user("go on")]),
        json!([user("hi"), calls(json!([call("a", "{}")])), result("a", "1"), result("a", "1")]),
    ];
    for messages in table {
        for model in ALL {
            sent(model, with_tools(messages.clone()));
        }
    }
}

#[test]
fn p03_10_results_that_are_no_texts_are_their_json() {
    for (content, expected) in [
        (json!({"a": 1}), r#"{"a":1}"#),
        (json!([1, "b"]), r#"[1,"b"]"#),
        (json!(5), "5"),
        (json!("plain"), "plain"),
    ] {
        let loops = json!([user("hi"), calls(json!([call("a", "{}")])), result("a", content)]);
        let body = sent(OLD, with_tools(loops.clone()));
        let text = body.pointer("/messages/2/content/0/content/0/text");
        assert_eq!(text, Some(&json!(expected)), "{body}");
        sent(GEMINI, with_tools(loops));
    }
    let loops = json!([user("hi"), calls(json!([call("a", "{}")])), result("a", Value::Null)]);
    for model in [OLD, GEMINI] {
        sent(model, with_tools(loops.clone()));
    }
}

#[test]
fn p03_11_the_choice_of_tools() {
    let named = json!({"type": "function", "function": {"name": "get_time"}});
    let table = [
        (json!("auto"), json!({"type": "auto"}), json!({"mode": "AUTO"})),
        (json!("none"), json!({"type": "none"}), json!({"mode": "NONE"})),
        (json!("required"), json!({"type": "any"}), json!({"mode": "ANY"})),
        (
            named,
            json!({"type": "tool", "name": "get_time"}),
            json!({"mode": "ANY", "allowedFunctionNames": ["get_time"]}),
        ),
    ];
    for (choice, claude, gemini) in table {
        let body = with(with_tools(json!([user("hi")])), "tool_choice", choice);
        assert_eq!(sent(OLD, body.clone())["tool_choice"], claude);
        let config = sent(GEMINI, body)["toolConfig"]["functionCallingConfig"].clone();
        assert!(config == gemini || (config.is_null() && gemini["mode"] == "AUTO"), "{config}");
    }
    let single = with(with_tools(json!([user("hi")])), "parallel_tool_calls", json!(false));
    let choice = sent(OLD, single.clone())["tool_choice"].clone();
    assert_eq!(choice, json!({"type": "auto", "disable_parallel_tool_use": true}));
    let choice = sent(OLD, with(single, "tool_choice", json!("none")))["tool_choice"].clone();
    assert_eq!(choice, json!({"type": "none"}));
}

#[test]
fn p03_12_no_choice_without_tools_and_tools_where_there_were_calls() {
    let search = json!([{"type": "web_search"}]);
    let body = with(with(said(json!([user("hi")])), "tools", search), "tool_choice", json!("auto"));
    for model in ALL {
        let body = sent(model, body.clone());
        assert!(body.get("tool_choice").or(body.get("toolConfig")).is_none(), "{body}");
    }
    let loops = said(json!([user("hi"), calls(json!([call("a", "{}")])), result("a", "18")]));
    let body = sent(OLD, loops.clone());
    assert_eq!(body.pointer("/tools/0/name"), Some(&json!("get_weather")));
    for model in ALL {
        sent(model, loops.clone());
    }
}

#[test]
fn p03_13_tools_that_a_vendor_runs_are_left_out_and_named() {
    let mut all = tools(&["get_weather"]);
    all.as_array_mut().unwrap().push(json!({"type": "code_interpreter", "container": "x"}));
    for model in ALL {
        let (proxy, reply) = ask(model, with(said(json!([user("hi")])), "tools", all.clone()));
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-proxy-dropped"), "tools[] of type code_interpreter");
        assert!(!String::from_utf8(proxy.last().body).unwrap().contains("code_interpreter"));
    }
}

#[test]
fn p03_15_names_of_tools_fit_and_come_back() {
    let long = format!("server.files/{}", "x".repeat(80));
    for model in ALL {
        let body = with(said(json!([user("hi")])), "tools", tools(&[&long, "a b"]));
        let body = with(body, "tool_choice", json!("required"));
        for is_stream in [false, true] {
            let (_, reply) = ask(model, with(body.clone(), "stream", json!(is_stream)));
            assert_eq!(reply.status, 200, "{model}: {}", reply.text());
            assert!(reply.text().contains(&long), "{model}: {}", reply.text());
        }
    }
}

// ── ends ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn p03_16_reasons_to_stop() {
    let table = [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("never_heard_of", "stop"),
    ];
    let proxy = Proxy::start();
    for (theirs, ours) in table {
        for is_stream in [false, true] {
            proxy.demo.push(Fault { stop_reason: Some(theirs.into()), ..Fault::default() });
            let body = with(said(json!([user("hi")])), "model", json!(OLD));
            let reply = proxy.chat(&with(body, "stream", json!(is_stream)));
            assert_eq!(finish_reason(&reply), ours, "{theirs}: {}", reply.text());
        }
    }
}

fn finish_reason(reply: &Reply) -> String {
    let frames = match reply.header("content-type").starts_with("text/event-stream") {
        true => reply.frames(),
        false => vec![reply.json()],
    };
    let found: Vec<_> =
        frames.iter().filter_map(|f| f["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(found.len(), 1, "{}", reply.text());
    found[0].to_owned()
}

#[test]
fn p03_17_it_ends_with_tool_calls_where_there_are_some_and_only_there() {
    let proxy = Proxy::start();
    let body = with_tools(json!([user("get_weather")]));
    for is_stream in [false, true] {
        let body = with(body.clone(), "stream", json!(is_stream));
        // Gemini says STOP.
        let reply = proxy.chat(&with(body.clone(), "model", json!(GEMINI)));
        assert_eq!(finish_reason(&reply), "tool_calls");
        proxy.demo.push(Fault { stop_reason: Some("end_turn".into()), ..Fault::default() });
        let reply = proxy.chat(&with(body.clone(), "model", json!(OLD)));
        assert_eq!(finish_reason(&reply), "tool_calls");
        proxy.demo.push(Fault { stop_reason: Some("tool_use".into()), ..Fault::default() });
        let none = with(with(body, "model", json!(OLD)), "tool_choice", json!("none"));
        assert_eq!(finish_reason(&proxy.chat(&none)), "stop");
    }
}

#[test]
fn p03_19_a_stream_without_its_end_is_no_reply() {
    let proxy = Proxy::start();
    for model in ALL {
        proxy.demo.push(Fault { frames: Some(200), end_after: Some(7), ..Fault::default() });
        let body = with(said(json!([user("hi")])), "stream", json!(true));
        let reply = proxy.chat(&with(body, "model", json!(model)));
        assert_eq!(reply.dones(), 0, "{model}: {}", reply.text());
        assert!(reply.text().contains("\"error\""), "{model}: {}", reply.text());
    }
}

// ── thinking ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn p03_21_thoughts_that_nobody_can_read_survive() {
    let proxy = Proxy::start();
    proxy.demo.push(Fault { redacted: true, ..Fault::default() });
    let body = with(with_tools(json!([user("get_weather")])), "reasoning_effort", json!("low"));
    let body = with(body, "model", json!(OLD));
    let reply = proxy.chat(&body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let message = reply.json()["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].as_str().unwrap().to_owned();
    let messages = json!([
        user("get_weather"),
        {"role": "assistant", "content": null, "tool_calls": message["tool_calls"]},
        result(&id, "18"),
    ]);
    let reply = proxy.chat(&with(body, "messages", messages));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent: Value = serde_json::from_slice(&proxy.last().body).unwrap();
    assert!(sent["messages"][1].to_string().contains("redacted_thinking"), "{sent}");
}

#[test]
fn p03_22_thoughts_of_another_model_are_left_out_alone() {
    let loops = |model| {
        json!([
            user("get_weather"),
            {"role": "assistant", "content": null, "reasoning_content": format!("{model} thought"),
                "tool_calls": [{"id": "a", "type": "function", "extra_content": {"google": {"thought_signature": "AAAA"}},
                    "function": {"name": "get_weather", "arguments": "{}"}}]},
            result("a", "18"),
        ])
    };
    for model in [OLD, NEW, "orchestration/gpt-4o"] {
        let body = with(with_tools(loops(model)), "reasoning_effort", json!("low"));
        let body = sent(model, body).to_string();
        assert!(!body.contains("AAAA") && !body.contains("thought_signature"), "{body}");
        assert!(body.contains("get_weather"));
    }
}

#[test]
fn p03_24_geminis_signatures_go_to_the_client_and_back() {
    let proxy = Proxy::start();
    let model = "gemini-3.5-flash";
    let body = with(with_tools(json!([user("get_weather and get_time")])), "model", json!(model));
    let reply = proxy.chat(&body);
    let message = reply.json()["choices"][0]["message"].clone();
    let signature =
        message["tool_calls"][0]["extra_content"]["google"]["thought_signature"].clone();
    assert!(signature.is_string(), "{message}");
    let mut messages = vec![user("get_weather and get_time"), message.clone()];
    for call in message["tool_calls"].as_array().unwrap() {
        messages.push(result(call["id"].as_str().unwrap(), "18"));
    }
    let reply = proxy.chat(&with(body, "messages", json!(messages)));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let sent = String::from_utf8(proxy.last().body).unwrap();
    assert!(sent.contains(signature.as_str().unwrap()), "{sent}");
}

#[test]
fn p03_24_every_streamed_piece_of_a_call_has_its_function() {
    for model in [OLD, GEMINI, "gemini-3.5-flash", "orchestration/gpt-4o"] {
        let deltas = streamed_calls(model, Fault::default());
        let is_whole = |delta: &Value| delta["function"]["arguments"].is_string();
        assert!(deltas.iter().all(is_whole), "{model}: {deltas:?}");
    }
}

#[test]
fn p03_26_models_that_cannot_but_think_are_not_told_not_to() {
    let body = with(said(json!([user("hi")])), "reasoning_effort", json!("none"));
    let body = sent("gemini-2.5-pro", body);
    let budget = body.pointer("/generationConfig/thinkingConfig/thinkingBudget");
    assert!(budget.is_none_or(|budget| *budget != 0), "{body}");
}

#[test]
fn p03_27_thoughts_stand_beside_the_text() {
    for model in [OLD, "gemini-2.5-pro"] {
        let body = with(said(json!([user("hi")])), "reasoning_effort", json!("high"));
        let (_, reply) = ask(model, body);
        let message = reply.json()["choices"][0]["message"].clone();
        let thought = message["reasoning_content"].as_str().unwrap();
        assert!(!thought.is_empty() && !message["content"].as_str().unwrap().contains(thought));
    }
}

// ── messages ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn p03_28_texts_of_nothing_are_left_out() {
    let messages = json!([
        {"role": "system", "content": ""},
        user(json!([{"type": "text", "text": ""}, {"type": "text", "text": "hi"}])),
        {"role": "assistant", "content": " \n"},
        user("and"),
        {"role": "assistant", "content": ""},
        user(""),
    ]);
    for model in ALL {
        sent(model, said(messages.clone()));
    }
}

#[test]
fn p03_29_no_content_beside_calls_is_null() {
    let body = with(with_tools(json!([user("get_weather")])), "tool_choice", json!("required"));
    for model in ALL {
        let message = ask(model, body.clone()).1.json()["choices"][0]["message"].clone();
        assert!(message["tool_calls"].is_array() && message["content"].is_null(), "{message}");
    }
}

#[test]
fn p03_30_instructions_from_anywhere_in_order() {
    let messages = json!([
        {"role": "system", "content": "one"},
        user("hi"),
        {"role": "developer", "content": "two"},
    ]);
    let text = |body: &Value, list: &str, key: &str| -> Vec<String> {
        let parts = body.pointer(list).and_then(Value::as_array).unwrap();
        parts.iter().map(|p| p[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(text(&sent(OLD, said(messages.clone())), "/system", "text"), ["one", "two"]);
    let body = sent(GEMINI, said(messages));
    assert_eq!(text(&body, "/systemInstruction/parts", "text"), ["one", "two"]);
    let alone = said(json!([{"role": "system", "content": "one"}]));
    for model in ALL {
        let body = sent(model, alone.clone()).to_string();
        assert!(body.contains("one") && body.contains("\"user\""), "{model}: {body}");
    }
}

#[test]
fn p03_31_roles_take_turns_and_the_person_begins() {
    let messages = json!([
        {"role": "assistant", "content": "welcome"},
        user("a"), user("b"),
        {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"},
        user("e"),
    ]);
    for (model, list, assistant) in [(OLD, "messages", "assistant"), (GEMINI, "contents", "model")]
    {
        let body = sent(model, said(messages.clone()));
        let turns = body[list].as_array().unwrap();
        let roles: Vec<_> = turns.iter().map(|t| t["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", assistant, "user", assistant, "user"], "{body}");
        assert_eq!(turns[2].to_string().matches("\"text\":").count(), 2, "{body}");
    }
}

#[test]
fn p03_32_beginnings_of_replies_go_where_they_are_taken() {
    let messages = json!([user("hi"), {"role": "assistant", "content": "It is "}]);
    let last = |model| {
        let body = sent(model, said(messages.clone()));
        body["messages"].as_array().unwrap().last().unwrap()["role"].clone()
    };
    assert_eq!(last(NEW), "user");
    assert_eq!(last(OLD), "assistant");
    ALL.iter().for_each(|model| drop(sent(model, said(messages.clone()))));
}

#[test]
fn p03_33_an_image_is_what_its_bytes_are() {
    let image =
        |url: &str| said(json!([user(json!([{"type": "image_url", "image_url": {"url": url}}]))]));
    let png = "iVBORw0KGgoAAAANSUhEUg==";
    let body = sent(OLD, image(&format!("data:image/jpeg;base64,{png}")));
    let source = body.pointer("/messages/0/content/0/source").unwrap();
    assert_eq!(source["media_type"], "image/png", "{body}");
    for bad in ["ftp://example.org/a.png", "data:image/png,abc", "file:///etc/passwd", "%%%"] {
        for model in ALL {
            let (proxy, reply) = ask(model, image(bad));
            assert_eq!(reply.status, 400, "{model} {bad}: {}", reply.text());
            let path = reply.json()["error"]["param"].as_str().unwrap().to_owned();
            assert!(path.starts_with("messages[0].content[0].image_url"), "{path}");
            assert!(proxy.inferences().is_empty());
        }
    }
}

#[test]
fn p03_34_documents() {
    let file =
        json!({"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQ="});
    let body = said(json!([user(json!([{"type": "file", "file": file}]))]));
    let document = sent(OLD, body.clone())["messages"][0]["content"][0].clone();
    assert_eq!((&document["type"], &document["title"]), (&json!("document"), &json!("a.pdf")));
    let gemini = sent(GEMINI, body).to_string();
    assert!(gemini.contains("application/pdf") && gemini.contains("JVBERi0xLjQ="), "{gemini}");
}

#[test]
fn p03_35_cache_points_are_four_and_have_no_scope() {
    let part = |n: u8| {
        let control =
            json!({"type": "ephemeral", "scope": "x", "ttl": if n == 5 { "1h" } else { "5m" }});
        json!({"type": "text", "text": format!("t{n}"), "cache_control": control})
    };
    let parts: Vec<_> = (0..6).map(part).collect();
    let body = sent(OLD, said(json!([user(json!(parts))]))).to_string();
    assert_eq!(body.matches("cache_control").count(), 4, "{body}");
    assert!(!body.contains("scope") && !body.contains("1h"), "{body}");
    let empty = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}]);
    let body = sent(OLD, said(json!([user(empty)])));
    assert!(body.pointer("/messages/0/content/0/cache_control").is_some(), "{body}");
}

#[test]
fn p03_36_metadata_stays_here() {
    let body = with(said(json!([user("hi")])), "metadata", json!({"a": "b"}));
    let body = with(with(body, "user", json!("u")), "store", json!(false));
    for model in ALL {
        let body = sent(model, body.clone());
        for key in ["metadata", "user", "store"] {
            assert!(body.get(key).is_none(), "{model} {key}");
        }
    }
}

// ── parameters ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn p03_37_stop_sequences() {
    let stop = |stop: Value| with(said(json!([user("hi")])), "stop", stop);
    assert_eq!(sent(OLD, stop(json!("END")))["stop_sequences"], json!(["END"]));
    let (proxy, reply) = ask(OLD, stop(json!(["\n", "END", ""])));
    let body: Value = serde_json::from_slice(&proxy.last().body).unwrap();
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(reply.header("x-proxy-dropped"), "stop");
    let body = sent(GEMINI, stop(json!("END")));
    assert_eq!(body["generationConfig"]["stopSequences"], json!(["END"]));
}

#[test]
fn p03_38_the_limit_of_the_output() {
    let hi = || said(json!([user("hi")]));
    assert_eq!(sent(OLD, hi())["max_tokens"], 32_000);
    let both = with(with(hi(), "max_tokens", json!(5)), "max_completion_tokens", json!(700));
    assert_eq!(sent(OLD, both.clone())["max_tokens"], 700);
    assert_eq!(sent(GEMINI, both)["generationConfig"]["maxOutputTokens"], 700);
}

#[test]
fn p03_39_temperature_and_top_p() {
    let hi = || with(said(json!([user("hi")])), "temperature", json!(1.7));
    assert_eq!(sent(OLD, hi())["temperature"], 1.0);
    assert_eq!(sent(GEMINI, hi())["generationConfig"]["temperature"], 1.7);
    let body = sent(OLD, with(hi(), "top_p", json!(0.5)));
    assert_eq!((body["temperature"].as_f64(), body.get("top_p")), (Some(1.0), None));
    let (_, reply) = ask(NEW, hi());
    assert_eq!(reply.header("x-proxy-dropped"), "temperature");
}

#[test]
fn p03_40_what_the_vendors_have_no_word_for() {
    let hi = || said(json!([user("hi")]));
    for model in ALL {
        let (_, reply) = ask(model, with(hi(), "n", json!(2)));
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("n")));
    }
    let body = with(with(hi(), "seed", json!(1)), "presence_penalty", json!(0.5));
    let (_, reply) = ask(OLD, with(body, "logit_bias", json!({"1": 2})));
    let mut dropped: Vec<_> = reply.header("x-proxy-dropped").split(", ").collect();
    dropped.sort_unstable();
    assert_eq!(dropped, ["logit_bias", "presence_penalty", "seed"]);
}

#[test]
fn p03_41_schemas_for_gemini() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": false,
        "properties": {
            "a": {"type": ["string", "null"], "default": "x"}, "b": {"const": 1},
            "c": {"$ref": "#/$defs/d"}, "e": {"type": "integer", "exclusiveMinimum": 0, "multipleOf": 2},
        },
        "patternProperties": {"^x": {}}, "propertyNames": {"pattern": "a"},
        "$defs": {"d": {"type": "object", "properties": {"d": {"$ref": "#/$defs/d"}}}},
    });
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    sent(GEMINI, with(said(json!([user("hi")])), "tools", tool));
}

#[test]
fn p03_42_json_by_every_family() {
    let hi = || said(json!([user("answer in json")]));
    let empty =
        json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {}}});
    for model in ALL {
        for format in [json!({"type": "json_object"}), empty.clone()] {
            if format == empty && model.contains("gpt") {
                continue;
            }
            let (_, reply) = ask(model, with(hi(), "response_format", format));
            assert_eq!(reply.status, 200, "{model}: {}", reply.text());
            let text = reply.said();
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{model}: {text}");
        }
    }
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let body = sent(OLD, with(hi(), "response_format", format)).to_string();
    assert!(!body.contains("additionalProperties"), "{body}");
}

// ── usage, wire ──────────────────────────────────────────────────────────────────────────────────

#[test]
fn p03_43_cached_input_is_input() {
    let long = "instructions ".repeat(600);
    let messages = json!([{"role": "system", "content": long}, user("hi")]);
    let body = with(said(messages), "model", json!(OLD));
    let proxy = Proxy::start();
    let first = proxy.chat(&body).json()["usage"].clone();
    let second = proxy.chat(&body).json()["usage"].clone();
    assert_eq!(first["prompt_tokens"], second["prompt_tokens"], "{first} {second}");
    assert!(second["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 1000);
}

#[test]
fn p03_48_done_is_said_once_and_last() {
    for model in ALL.iter().chain(&["gpt-4o"]) {
        let mut body = with(said(json!([user("hi")])), "stream", json!(true));
        body["model"] = json!(model);
        let reply = PROXY.chat(&body);
        assert_eq!(reply.dones(), 1, "{model}");
        assert!(reply.text().ends_with("data: [DONE]\n\n"), "{model}");
    }
}

#[test]
fn p03_50_pings_are_no_empty_deltas() {
    let mut body = with(said(json!([user("hi")])), "stream", json!(true));
    body["model"] = json!(OLD);
    for frame in PROXY.chat(&body).frames() {
        let choice = &frame["choices"][0];
        let is_empty = choice["delta"].as_object().is_some_and(|delta| delta.is_empty());
        assert!(!is_empty || !choice["finish_reason"].is_null(), "{frame}");
    }
}

/// 2.9, 2.11, 2.17, 2.19, 2.21, 2.22 and 2.43 are 3.20 to 3.26, 3.43, 3.38, 3.33, 3.41, 3.30 and 3.31.
#[test]
fn p02_17_the_newer_of_two_limits_wins_for_openai_too() {
    let body = with(said(json!([user("hi")])), "max_tokens", json!(5));
    let body = sent("gpt-5", with(body, "max_completion_tokens", json!(700)));
    assert_eq!(body["max_completion_tokens"], 700);
    assert!(body.get("max_tokens").is_none());
}
