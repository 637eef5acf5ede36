//! OpenAI's Responses with the real server in front of the simulated AI Core: what is kept and where, whose ids lead where,
//! and how streams end.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sap_ai_core_llm_proxy::demo::Fault;
use serde_json::{Value, json};
use support::{Client, KEY, Proxy, Reply, eventually};

/// Passed on to two deployments.
const TWICE: &str = "gpt-5";
/// Passed on to one.
const ONCE: &str = "gpt-5.5";
const CONVERTED: &[&str] =
    &["anthropic--claude-4.6-sonnet", "gemini-2.5-flash", "amazon--nova-pro", "gpt-4o"];

// ── what is kept ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_response_is_found_again_where_it_is_kept() {
    let proxy = Proxy::start();
    let mut ids = HashSet::new();
    for model in CONVERTED.iter().copied().chain([TWICE, TWICE, TWICE, ONCE]) {
        for is_stream in [false, true] {
            let made = create(&proxy, &json!({"model": model, "input": "hi", "stream": is_stream}));
            let made = finished(&made);
            let id = made["id"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            let got = get(&proxy, &format!("/{id}"));
            assert_eq!((got.status, &got.json()["output"]), (200, &made["output"]), "{model}");
            assert_eq!(got.json()["id"], id);
            let items = get(&proxy, &format!("/{id}/input_items?order=asc")).json();
            assert_eq!(items["data"][0]["content"][0]["text"], "hi", "{model}: {items}");
            assert_eq!(items["data"][0]["type"], "message");
            assert!(items["first_id"].is_string() && items["first_id"] == items["last_id"]);
            // It was not made in the background.
            let cancel = send(&proxy, "POST", &format!("/{id}/cancel"), b"");
            assert_eq!(cancel.status, 400, "{model}: {}", cancel.text());
            let deleted = send(&proxy, "DELETE", &format!("/{id}"), b"");
            assert_eq!((deleted.status, deleted.json()["deleted"].clone()), (200, json!(true)));
            assert_eq!(deleted.json()["id"], id);
            for (method, rest) in
                [("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")]
            {
                let gone = send(&proxy, method, &format!("/{id}{rest}"), b"");
                assert_eq!(gone.status, 404, "{model} {method} {rest}");
                let error = &gone.json()["error"];
                assert_eq!(error["type"], "invalid_request_error");
                assert!(error["message"].as_str().unwrap().contains(id), "{error}");
            }
        }
    }
}

#[test]
fn ids_that_are_none_are_not_found() {
    let proxy = Proxy::start();
    for id in ["resp_x", "x", "resp_0a1b2c3d_x", "resp_..%2f..%2fx", "%00", "resp_%C3%A9"] {
        for (method, rest) in [("GET", ""), ("DELETE", ""), ("POST", "/cancel")] {
            let reply = send(&proxy, method, &format!("/{id}{rest}"), b"");
            assert_eq!(reply.status, 404, "{method} {id}{rest}: {}", reply.text());
        }
    }
    assert!(proxy.inferences().is_empty());
}

/// AI Core would take such a path for another.
#[test]
fn a_mark_alone_is_no_id() {
    let proxy = Proxy::start();
    let id = id_of(&create(&proxy, &hi(ONCE)));
    let mark = id.split('_').nth(1).unwrap();
    let before = proxy.inferences().len();
    for (method, rest) in
        [("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")]
    {
        let reply = send(&proxy, method, &format!("/_{mark}_{rest}"), b"");
        assert_eq!(reply.status, 404, "{method} {rest}: {}", reply.text());
    }
    assert_eq!(proxy.inferences().len(), before);
}

#[test]
fn a_deletion_that_is_answered_with_nothing_is_one() {
    let proxy = Proxy::start();
    let id = id_of(&create(&proxy, &hi(ONCE)));
    proxy.demo.push(Fault { body: Some(String::new()), ..Fault::status(204) });
    let deleted = send(&proxy, "DELETE", &format!("/{id}"), b"");
    let expected = json!({"id": id, "object": "response", "deleted": true});
    assert_eq!((deleted.status, deleted.text()), (200, expected.to_string()));
}

#[test]
fn what_is_over_is_not_streamed_again() {
    let proxy = Proxy::start();
    for model in [CONVERTED[0], ONCE] {
        let id = id_of(&create(&proxy, &hi(model)));
        let reply = get(&proxy, &format!("/{id}?stream=true"));
        assert_eq!(reply.status, 400, "{model}: {}", reply.text());
        assert!(reply.text().contains("background"), "{}", reply.text());
        assert_eq!(get(&proxy, &format!("/{id}?stream=false")).status, 200, "{model}");
        // Nothing else is a stream, whatever is asked.
        let items = get(&proxy, &format!("/{id}/input_items?stream=true"));
        assert_eq!((items.status, &items.json()["object"]), (200, &json!("list")), "{model}");
        let deleted = send(&proxy, "DELETE", &format!("/{id}?stream=true"), b"");
        assert_eq!((deleted.status, &deleted.json()["deleted"]), (200, &json!(true)), "{model}");
    }
}

#[test]
fn what_is_not_to_be_stored_is_not() {
    let proxy = Proxy::start();
    for model in CONVERTED.iter().chain([&TWICE]) {
        let made = create(&proxy, &json!({"model": model, "input": "hi", "store": false})).json();
        assert_eq!(made["store"], false, "{made}");
        let id = made["id"].as_str().unwrap();
        assert_eq!(get(&proxy, &format!("/{id}")).status, 404, "{model}");
        let next = json!({"model": model, "input": "and?", "previous_response_id": id});
        let next = create(&proxy, &next);
        assert_eq!(next.status, 404, "{model}");
        assert!(next.json()["error"]["message"].as_str().unwrap().contains(id), "{model}");
    }
}

#[test]
fn what_is_kept_has_limits() {
    let proxy = Proxy::limited(|limits| limits.responses_entries_max = 2);
    let ids: Vec<_> = (0..3).map(|_| id_of(&create(&proxy, &hi(CONVERTED[0])))).collect();
    let found: Vec<_> = ids.iter().map(|id| get(&proxy, &format!("/{id}")).status).collect();
    assert_eq!(found, [404, 200, 200]);
    let proxy = Proxy::limited(|limits| limits.responses_age_ms_max = 50);
    let id = id_of(&create(&proxy, &hi(CONVERTED[0])));
    std::thread::sleep(Duration::from_millis(80));
    let next = create(&proxy, &next(CONVERTED[0], &id));
    let error = &next.json()["error"];
    assert_eq!((next.status, &error["code"]), (404, &json!("previous_response_not_found")));
    assert_eq!(error["param"], "previous_response_id");
    assert!(error["message"].as_str().unwrap().contains(&id), "{error}");
}

// ── going on ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_conversation_goes_on_at_the_deployment_that_keeps_it() {
    let proxy = Proxy::start();
    let mut deployments = HashSet::new();
    for _ in 0..4 {
        let mut id = id_of(&create(&proxy, &hi(TWICE)));
        let first = deployment(&proxy);
        for _ in 0..5 {
            let reply = create(&proxy, &next(TWICE, &id));
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(deployment(&proxy), first);
            assert_eq!(reply.json()["previous_response_id"], id);
            id = id_of(&reply);
        }
        deployments.insert(first);
    }
    assert_eq!(deployments.len(), 2, "conversations are spread");
}

#[test]
fn the_deployment_that_keeps_it_is_the_only_one_asked() {
    let proxy = Proxy::start();
    let id = id_of(&create(&proxy, &hi(TWICE)));
    proxy.demo.push(Fault::status(503));
    let before = proxy.inferences().len();
    let reply = create(&proxy, &next(TWICE, &id));
    assert_eq!((reply.status, proxy.inferences().len()), (503, before + 1));
    // What has no owner goes to the other.
    proxy.demo.push(Fault::status(503));
    assert_eq!(create(&proxy, &hi(TWICE)).status, 200);
}

#[test]
fn a_converted_conversation_goes_on() {
    let proxy = Proxy::start();
    for model in CONVERTED {
        let mut id = id_of(&create(&proxy, &json!({"model": model, "input": "the first words"})));
        for n in 2..5 {
            let body =
                json!({"model": model, "input": format!("words {n}"), "previous_response_id": id});
            let reply = create(&proxy, &body);
            assert_eq!(reply.json()["previous_response_id"], id, "{}", reply.text());
            id = id_of(&reply);
            let sent = String::from_utf8(proxy.last().body).unwrap();
            assert!(sent.contains("the first words"), "{model}: {sent}");
            let said = sent.matches("You said").count();
            assert_eq!(said, n - 1, "{model}: each reply is there once: {sent}");
        }
    }
}

#[test]
fn another_model_may_go_on_from_what_is_kept_here() {
    let proxy = Proxy::start();
    let id = id_of(&create(&proxy, &json!({"model": CONVERTED[0], "input": "the first words"})));
    for model in [CONVERTED[1], TWICE, ONCE] {
        let reply = create(&proxy, &next(model, &id));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let sent = String::from_utf8(proxy.last().body).unwrap();
        assert!(sent.contains("the first words") && !sent.contains(&id), "{model}: {sent}");
        let mut wrong = next(model, &id);
        wrong["input"] = json!({"role": "user", "content": "and?"});
        let reply = create(&proxy, &wrong);
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("input")));
    }
}

#[test]
fn items_that_are_kept_here_are_known_to_every_model() {
    let proxy = Proxy::start();
    let first = create(&proxy, &json!({"model": CONVERTED[0], "input": "the first words"})).json();
    let item = json!({"type": "item_reference", "id": first["output"][0]["id"]});
    let input = json!([{"role": "user", "content": "the first words"}, item,
        {"role": "user", "content": "and?"}]);
    for model in [CONVERTED[1], TWICE, ONCE] {
        let reply = create(&proxy, &json!({"model": model, "input": input}));
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let sent = String::from_utf8(proxy.last().body).unwrap();
        assert!(sent.contains("You said"), "{model}: {sent}");
    }
    // Those of a conversation that goes on, too.
    let id = id_of(&create(&proxy, &json!({"model": CONVERTED[1], "input": input})));
    for model in [CONVERTED[0], TWICE, ONCE] {
        let reply = create(&proxy, &next(model, &id));
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    }
}

/// Little that is sent must not become much.
#[test]
fn what_is_kept_counts_where_it_is_used() {
    let proxy = Proxy::limited(|limits| limits.body_bytes_max = 100_000);
    let words = "word ".repeat(9_000);
    let first = create(&proxy, &json!({"model": CONVERTED[0], "input": words})).json();
    let id = first["id"].as_str().unwrap();
    for model in [CONVERTED[0], TWICE] {
        assert_eq!(create(&proxy, &next(model, id)).status, 200, "{model}");
        let more = json!({"model": model, "input": words, "previous_response_id": id});
        let reply = create(&proxy, &more);
        assert_eq!(reply.status, 413, "{model}: {}", reply.text());
    }
    let item = json!({"type": "item_reference", "id": first["output"][0]["id"]});
    let (few, many) = (vec![item.clone()], vec![item; 1500]);
    for model in [CONVERTED[0], TWICE] {
        let said = |items: &[Value]| {
            let input = [&[json!({"role": "user", "content": "hi"})], items].concat();
            create(&proxy, &json!({"model": model, "input": input})).status
        };
        assert_eq!((said(&few), said(&many)), (200, 413), "{model}");
    }
}

#[test]
fn what_ai_core_keeps_for_one_model_is_not_found_by_another() {
    let proxy = Proxy::start();
    let id = id_of(&create(&proxy, &hi(ONCE)));
    for model in [CONVERTED[0], TWICE] {
        let reply = create(&proxy, &next(model, &id));
        assert_eq!(reply.status, 404, "{}", reply.text());
        let error = &reply.json()["error"];
        assert_eq!(error["param"], "previous_response_id");
        assert!(error["message"].as_str().unwrap().contains(&id), "{error}");
    }
}

#[test]
fn thoughts_go_back_to_the_deployment_that_had_them_and_nowhere_else() {
    let proxy = Proxy::start();
    let include = json!(["reasoning.encrypted_content"]);
    let ask = json!({"model": TWICE, "input": "hi", "store": false, "include": include});
    for _ in 0..3 {
        let made = create(&proxy, &ask).json();
        let first = deployment(&proxy);
        let mut input = vec![json!({"role": "user", "content": "hi"})];
        input.extend(made["output"].as_array().unwrap().clone());
        assert!(input.iter().any(|item| item["encrypted_content"].is_string()), "{made}");
        input.push(json!({"role": "user", "content": "and?"}));
        let mut next = ask.clone();
        next["input"] = json!(input);
        let reply = create(&proxy, &next);
        assert_eq!((reply.status, deployment(&proxy)), (200, first.clone()), "{}", reply.text());
        assert_eq!(reply.header("x-proxy-dropped"), "");
        let sent = String::from_utf8(proxy.last().body).unwrap();
        assert!(sent.contains("encrypted_content"), "{sent}");
        // Where that one fails, the other goes on without.
        proxy.demo.push(Fault::status(503));
        let reply = create(&proxy, &next);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_ne!(deployment(&proxy), first);
        let sent = String::from_utf8(proxy.last().body).unwrap();
        assert!(!sent.contains("encrypted_content\":\""), "{sent}");
        assert_eq!(reply.header("x-proxy-dropped"), "input[].encrypted_content");
    }
}

// ── streams ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_stream_is_in_order_and_ends_once() {
    let proxy = Proxy::start();
    for model in CONVERTED.iter().copied().chain([TWICE, ONCE]) {
        let reply = create(&proxy, &stream(model));
        let events = events(&reply);
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], n, "{model}: {event}");
        }
        assert_eq!(events[0]["type"], "response.created");
        assert_eq!(events.last().unwrap()["type"], "response.completed");
        assert_eq!(terminals(&events), 1);
        assert!(reply.is_whole && reply.dones() == 0);
        assert_eq!(finished(&reply)["model"], model);
    }
}

#[test]
fn a_stream_that_breaks_off_ends_in_a_failure() {
    let proxy = Proxy::start();
    for model in CONVERTED.iter().copied().chain([TWICE, ONCE]) {
        for fault in [
            Fault { frames: Some(9), cut_after: Some(8), ..Fault::default() },
            Fault { frames: Some(9), end_after: Some(8), ..Fault::default() },
            Fault { frames: Some(9), error_after: Some(8), ..Fault::default() },
        ] {
            proxy.demo.push(fault.clone());
            let reply = create(&proxy, &stream(model));
            let events = events(&reply);
            let last = events.last().unwrap();
            assert_eq!(last["type"], "response.failed", "{model} {fault:?}: {}", reply.text());
            assert_eq!((terminals(&events), reply.is_whole), (1, true), "{model} {fault:?}");
            let error = &last["response"]["error"];
            assert!(error["code"].is_string() && error["message"].is_string(), "{last}");
            assert_eq!(last["response"]["status"], "failed");
            let first = &events[0]["response"]["id"];
            assert_eq!(&last["response"]["id"], first);
            assert_eq!(last["sequence_number"], events.len() - 1);
        }
    }
}

#[test]
fn a_limit_that_is_told_in_the_stream_leads_to_the_next_deployment_or_is_a_status() {
    let proxy = Proxy::start();
    let throttled = || Fault { error_after: Some(0), ..Fault::default() };
    proxy.demo.push(throttled());
    let reply = create(&proxy, &stream(TWICE));
    assert_eq!(finished(&reply)["status"], "completed");
    assert_eq!(proxy.inferences().len(), 2);
    proxy.demo.push(throttled());
    let reply = create(&proxy, &stream(ONCE));
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
}

#[test]
fn silence_is_filled_and_a_failure_after_it_is_an_event() {
    let proxy = Proxy::limited(|limits| limits.keep_alive_ms = 30);
    for model in [CONVERTED[0], ONCE] {
        proxy.demo.push(Fault { delay_ms: 300, ..Fault::default() });
        let reply = create(&proxy, &stream(model));
        assert!(reply.text().starts_with(": keep-alive\n\n"), "{}", reply.text());
        assert_eq!(finished(&reply)["status"], "completed");
        proxy.demo.push(Fault { delay_ms: 300, ..Fault::status(429) });
        let reply = create(&proxy, &stream(model));
        let events = events(&reply);
        let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["response.created", "response.failed"], "{model}");
        assert_eq!(events[1]["response"]["error"]["code"], "rate_limit_exceeded");
        // It is the stream's own end.
        assert!(reply.is_whole, "{model}");
    }
}

#[test]
fn a_hang_up_ends_the_call() {
    let proxy = Proxy::start();
    for (n, model) in [CONVERTED[0], ONCE].into_iter().enumerate() {
        proxy.demo.push(Fault { frames: Some(9), silence: Some((8, 60_000)), ..Fault::default() });
        let mut client = Client::to(proxy.address);
        client.begin("POST", "/v1/responses", KEY, stream(model).to_string().as_bytes());
        assert_eq!(client.head().status, 200);
        client.chunk().unwrap();
        client.hang_up();
        eventually("the hang-up is passed on", || proxy.demo.hung_up() == n + 1);
    }
}

// ── background ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn what_runs_in_the_background_is_asked_for_where_it_runs() {
    let proxy = Proxy::start();
    for _ in 0..3 {
        let made =
            create(&proxy, &json!({"model": TWICE, "input": "hi", "background": true})).json();
        assert_eq!(made["status"], "queued", "{made}");
        let id = made["id"].as_str().unwrap();
        let states: Vec<_> =
            (0..2).map(|_| get(&proxy, &format!("/{id}")).json()["status"].clone()).collect();
        assert_eq!(states, ["in_progress", "completed"]);
        let made =
            create(&proxy, &json!({"model": TWICE, "input": "hi", "background": true})).json();
        let id = made["id"].as_str().unwrap();
        let cancelled = send(&proxy, "POST", &format!("/{id}/cancel"), b"").json();
        assert_eq!((&cancelled["status"], &cancelled["id"]), (&json!("cancelled"), &json!(id)));
    }
    // Others answer at once.
    let made = create(&proxy, &json!({"model": CONVERTED[0], "input": "hi", "background": true}));
    assert_eq!(made.json()["status"], "completed");
    assert_eq!(made.header("x-proxy-dropped"), "background");
}

// ── tools ────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn tools_that_are_no_functions_are_the_clients_own_again() {
    let proxy = Proxy::start();
    const PATCH: &str = "*** Begin Patch\n\"quoted\" \\ é 😀\n*** End Patch";
    let encoded = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let patch = encoded(json!({ "input": PATCH }));
    let spawn = encoded(json!({"task": "t"}));
    let prompt = format!("Go. [[demo call=apply_patch:{patch},agents__spawn:{spawn}]]");
    let parameters =
        json!({"type": "object", "properties": {"task": {"type": "string"}}, "required": ["task"]});
    let grammar = json!({"type": "grammar", "syntax": "lark", "definition": "start: /x/"});
    let tools = json!([
        {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": grammar},
        {"type": "namespace", "name": "agents", "description": "Others.", "tools": [
            {"type": "function", "name": "spawn", "strict": false, "parameters": parameters},
        ]},
        {"type": "web_search"},
    ]);
    for model in CONVERTED.iter().copied().chain([TWICE, ONCE]) {
        for is_stream in [false, true] {
            let mut input = vec![json!({"role": "user", "content": prompt})];
            let mut body =
                json!({"model": model, "tools": tools, "stream": is_stream, "store": false});
            body["include"] = json!(["reasoning.encrypted_content"]);
            body["input"] = json!(input);
            let reply = create(&proxy, &body);
            assert_eq!(reply.header("x-proxy-dropped"), "tools[] of type web_search", "{model}");
            let output = finished(&reply)["output"].as_array().unwrap().clone();
            let calls: Vec<_> = output.iter().filter(|item| item["call_id"].is_string()).collect();
            assert_eq!(calls.len(), 2, "{model}: {output:?}");
            let found = |n: usize, key: &str| calls[n][key].as_str().unwrap_or("").to_owned();
            let of = |n| ["type", "name", "namespace", "input"].map(|key| found(n, key));
            assert_eq!(of(0), ["custom_tool_call", "apply_patch", "", PATCH], "{model}");
            assert_eq!(of(1), ["function_call", "spawn", "agents", ""], "{model}");
            assert!(found(0, "id").starts_with("ctc_"), "{model}");
            if is_stream {
                let events = events(&reply);
                let text = |kind: &str| -> String {
                    let of_kind = events.iter().filter(|event| event["type"] == kind);
                    of_kind.filter_map(|event| event["delta"].as_str()).collect()
                };
                assert_eq!(text("response.custom_tool_call_input.delta"), PATCH, "{model}");
                let of_function = text("response.function_call_arguments.delta");
                assert_eq!(serde_json::from_str::<Value>(&of_function).unwrap()["task"], "t");
            }
            let ids = [found(0, "call_id"), found(1, "call_id")];
            input.extend(output);
            input.push(
                json!({"type": "custom_tool_call_output", "call_id": ids[0], "output": "patched"}),
            );
            input.push(
                json!({"type": "function_call_output", "call_id": ids[1], "output": "spawned"}),
            );
            body["input"] = json!(input);
            let reply = create(&proxy, &body);
            let text = finished(&reply).to_string();
            assert!(text.contains("The tool says: patched · spawned"), "{model}: {text}");
        }
    }
}

#[test]
fn a_strict_function_stays_strict_where_the_model_knows_of_it() {
    let proxy = Proxy::start();
    let parameters = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let function = |strict: bool| json!({"name": "f", "strict": strict, "parameters": parameters});
    for strict in [true, false] {
        let mut flat = function(strict);
        flat["type"] = json!("function");
        let reply = create(&proxy, &json!({"model": "gpt-4o", "input": "hi", "tools": [flat]}));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let sent: Value = serde_json::from_slice(&proxy.last().body).unwrap();
        assert_eq!(sent["tools"][0]["function"]["strict"] == true, strict, "{sent}");
        let reply = proxy.chat(&json!({
            "model": ONCE,
            "reasoning_effort": "low",
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": function(strict)}],
        }));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let sent: Value = serde_json::from_slice(&proxy.last().body).unwrap();
        assert_eq!(sent["tools"][0]["strict"], strict, "{sent}");
    }
}

// ── the rest ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_conversation_is_made_shorter_and_goes_on() {
    let proxy = Proxy::start();
    for model in CONVERTED.iter().copied().chain([TWICE, ONCE]) {
        let input = json!([
            {"role": "user", "content": "the first words"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a reply"}]},
            {"role": "user", "content": "the second words"},
        ]);
        let body = json!({"model": model, "input": input});
        let reply = send(&proxy, "POST", "/compact", body.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let compacted = reply.json();
        assert_eq!(compacted["object"], "response.compaction", "{model}");
        let mut items = compacted["output"].as_array().unwrap().clone();
        assert_eq!(items.last().unwrap()["type"], "compaction", "{model}");
        items.push(json!({"role": "user", "content": "go on"}));
        let reply = create(&proxy, &json!({"model": model, "input": items}));
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        assert_eq!(reply.header("x-proxy-dropped"), "", "{model}");
        // What we summed up every model can read, what AI Core did its deployment alone.
        if CONVERTED.contains(&model) {
            for other in CONVERTED.iter().copied().chain([TWICE, ONCE]) {
                let reply = create(&proxy, &json!({"model": other, "input": items}));
                assert_eq!(reply.status, 200, "{model} {other}: {}", reply.text());
                let seen = String::from_utf8(proxy.last().body).unwrap();
                assert!(seen.contains("sums up the conversation so far"), "{other}: {seen}");
                assert!(seen.contains("the first words") && !seen.contains("a reply"), "{seen}");
            }
        }
    }
}

#[test]
fn a_body_of_this_api_is_answered_as_chat_where_it_was_sent_as_chat() {
    let proxy = Proxy::start();
    for model in CONVERTED.iter().copied().chain([TWICE, ONCE]) {
        let tool = json!({"type": "function", "name": "look", "parameters": {"type": "object"}});
        let mut body = json!({
            "model": model,
            "input": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "input_text", "text": "Use look"}]},
            ],
            "tools": [tool],
            "stream_options": {"include_usage": true},
        });
        let whole = proxy.chat(&body);
        assert_eq!(whole.status, 200, "{model}: {}", whole.text());
        let choice = &whole.json()["choices"][0];
        assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "look", "{choice}");
        body["stream"] = json!(true);
        let streamed = proxy.chat(&body);
        assert_eq!(streamed.dones(), 1, "{model}: {}", streamed.text());
        assert!(streamed.text().contains("\"finish_reason\":\"tool_calls\""));
        assert!(streamed.frames().last().unwrap()["usage"]["total_tokens"].is_u64());
    }
}

#[test]
fn models_of_this_api_alone_serve_the_others() {
    let proxy = Proxy::start();
    let only = "gpt-5.3-codex";
    let body = json!({"model": only, "messages": [{"role": "user", "content": "hi"}]});
    let reply = proxy.chat(&body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.said().contains("You said"));
    let mut messages = body.clone();
    messages["max_tokens"] = json!(1000);
    let reply = proxy.client().send("POST", "/v1/messages", KEY, messages.to_string().as_bytes());
    assert_eq!(reply.json()["type"], "message", "{}", reply.text());
    assert!(proxy.inferences().iter().all(|seen| seen.target.contains("/responses")));
}

/// Chat completions have no place for them, Messages none for those of others: they are kept here between the turns.
#[test]
fn thoughts_come_back_to_clients_of_other_apis() {
    let proxy = Proxy::start();
    let low = json!({"reasoning_effort": "low"});
    let enabled = json!({"thinking": {"type": "enabled", "budget_tokens": 2000}});
    for (api, model, wish) in [
        (CHAT, "gpt-5.3-codex", json!({})),
        (CHAT, "gpt-5.3-codex", low.clone()),
        (CHAT, ONCE, low),
        (CHAT, ONCE, json!({"reasoning": {"effort": "high"}})),
        (MESSAGES, "gpt-5.3-codex", json!({})),
        (MESSAGES, ONCE, enabled),
        (MESSAGES, ONCE, json!({"output_config": {"effort": "max"}})),
    ] {
        for is_stream in [false, true] {
            let mut body = json!({"model": model, "stream": is_stream, "max_tokens": 5000});
            body["messages"] = json!([{"role": "user", "content": "Use get_weather"}]);
            body["tools"] = json!([api.tool()]);
            body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
            for turn in 1..4 {
                let (thought, calls, _) = api.ask(&proxy, &body);
                assert_eq!(calls.len(), 1, "{model} {wish} {turn}: {body}");
                let is_told = !wish.as_object().unwrap().is_empty();
                assert_eq!(thought.contains("The demo thinks"), is_told, "{model} {wish}");
                api.give(&mut body, &calls);
                let (_, calls, text) = api.ask(&proxy, &body);
                assert!(calls.is_empty() && text.contains("The tool says"), "{model}: {text}");
                let sent: Value = serde_json::from_slice(&proxy.last().body).unwrap();
                let kinds = sent["input"].as_array().unwrap().iter().map(|item| {
                    if item["type"] == "reasoning" {
                        // Without the deployment's mark, as the deployment itself wrote it.
                        let content = item["encrypted_content"].as_str().unwrap();
                        assert!(!content.contains('.') && !content.is_empty(), "{content}");
                    }
                    item["role"].as_str().unwrap_or(item["type"].as_str().unwrap())
                });
                let expected = ["user", "reasoning", "function_call", "function_call_output"];
                let mut all = [expected; 3].concat();
                (1..3).for_each(|n| all.insert(5 * n - 1, "assistant"));
                assert_eq!(kinds.collect::<Vec<_>>(), all[..5 * turn - 1], "{model} {wish}");
                assert_eq!((&sent["store"], &sent["stream"]), (&json!(false), &json!(is_stream)));
                let messages = body["messages"].as_array_mut().unwrap();
                messages.push(json!({"role": "assistant", "content": text}));
                messages.push(json!({"role": "user", "content": "Use get_weather again"}));
            }
        }
    }
    assert!(proxy.inferences().iter().all(|seen| seen.target.contains("/responses")));
}

/// What one API of a deployment refuses, the other may want.
#[test]
fn what_is_left_out_of_one_api_is_left_in_the_other() {
    let proxy = Proxy::start();
    let usage = json!({"include_usage": true});
    let mut body = stream(ONCE);
    body["stream_options"] = usage.clone();
    for _ in 0..2 {
        let reply = create(&proxy, &body);
        assert_eq!(reply.header("x-proxy-dropped"), "stream_options.include_usage");
        assert_eq!(finished(&reply)["status"], "completed");
    }
    // Learned once.
    assert_eq!(proxy.inferences().len(), 3);
    let mut body = json!({"model": ONCE, "stream": true, "stream_options": usage});
    body["messages"] = json!([{"role": "user", "content": "hi"}]);
    let reply = proxy.chat(&body);
    assert_eq!(reply.header("x-proxy-dropped"), "");
    assert!(reply.frames().last().unwrap()["usage"]["total_tokens"].is_u64(), "{}", reply.text());
}

#[test]
fn what_only_chat_completions_can_say_stays_there() {
    let proxy = Proxy::start();
    let mut body = json!({"model": ONCE, "reasoning_effort": "low", "tools": [CHAT.tool()]});
    body["messages"] = json!([{"role": "user", "content": "hi"}]);
    let reply = proxy.chat(&body);
    assert_eq!((reply.status, reply.header("x-proxy-dropped")), (200, ""), "{}", reply.text());
    assert!(proxy.last().target.contains("/responses"));
    body["n"] = json!(2);
    let reply = proxy.chat(&body);
    assert_eq!(reply.header("x-proxy-dropped"), "reasoning_effort", "{}", reply.text());
    assert!(proxy.last().target.contains("/chat/completions"));
}

/// An API of other models, as a client speaks it.
#[derive(Clone, Copy, PartialEq)]
struct Api(&'static str);

const CHAT: Api = Api("/v1/chat/completions");
const MESSAGES: Api = Api("/v1/messages");

impl Api {
    fn tool(self) -> Value {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        match self {
            CHAT => {
                json!({"type": "function", "function": {"name": "get_weather", "parameters": schema}})
            }
            _ => json!({"name": "get_weather", "input_schema": schema}),
        }
    }

    /// What the model thought, the ids of its calls, and its text.
    fn ask(self, proxy: &Proxy, body: &Value) -> (String, Vec<String>, String) {
        let reply = proxy.client().send("POST", self.0, KEY, body.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-proxy-dropped"), "", "{body}");
        let frames = match body["stream"] == true {
            true => reply.frames(),
            false => vec![reply.json()],
        };
        let (mut thought, mut calls, mut text) = (String::new(), vec![], String::new());
        let mut all = |part: &Value| {
            let of = |key: &str| part[key].as_str().unwrap_or_default();
            thought += of("reasoning_content");
            thought += of("thinking");
            text += of("content");
            text += of("text");
            let tool_calls = part["tool_calls"].as_array().into_iter().flatten();
            calls.extend(tool_calls.filter_map(|call| call["id"].as_str()).map(str::to_owned));
            if part["type"] == "tool_use" {
                calls.push(of("id").to_owned());
            }
        };
        for frame in &frames {
            for place in ["/choices/0/message", "/choices/0/delta", "/delta", "/content_block"] {
                frame.pointer(place).into_iter().for_each(&mut all);
            }
            frame["content"].as_array().into_iter().flatten().for_each(&mut all);
        }
        (thought, calls, text)
    }

    /// The calls, and what came of them, as the next messages.
    fn give(self, body: &mut Value, calls: &[String]) {
        let id = &calls[0];
        let function = json!({"name": "get_weather", "arguments": "{}"});
        let messages = match self {
            CHAT => [
                json!({"role": "assistant", "content": null,
                    "tool_calls": [{"id": id, "type": "function", "function": function}]}),
                json!({"role": "tool", "tool_call_id": id, "content": "sunny"}),
            ],
            _ => [
                json!({"role": "assistant",
                    "content": [{"type": "tool_use", "id": id, "name": "get_weather", "input": {}}]}),
                json!({"role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": id, "content": "sunny"}]}),
            ],
        };
        body["messages"].as_array_mut().unwrap().extend(messages);
    }
}

#[test]
fn a_websocket_is_refused_at_once_and_the_connection_goes_on() {
    let proxy = Proxy::start();
    let headers = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut client = proxy.client();
    for path in ["/v1/responses", "/responses", "/v1/chat/completions"] {
        // Without a key, too: there is nothing to see.
        let reply = client.send("GET", path, headers, b"");
        assert_eq!(reply.status, 426, "{}", reply.text());
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
        assert!(reply.text().contains("supports_websockets"));
    }
    let reply = client.send("POST", "/v1/responses", KEY, hi(ONCE).to_string().as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = client.send("GET", "/v1/responses", KEY, b"");
    assert_eq!((reply.status, reply.header("allow")), (405, "POST, OPTIONS"));
}

// ── asking ───────────────────────────────────────────────────────────────────────────────────────

fn hi(model: &str) -> Value {
    json!({"model": model, "input": "hi"})
}

fn stream(model: &str) -> Value {
    json!({"model": model, "input": "hi", "stream": true})
}

fn next(model: &str, previous: &str) -> Value {
    json!({"model": model, "input": "and?", "previous_response_id": previous})
}

fn create(proxy: &Proxy, body: &Value) -> Reply {
    send(proxy, "POST", "", body.to_string().as_bytes())
}

fn get(proxy: &Proxy, rest: &str) -> Reply {
    send(proxy, "GET", rest, b"")
}

fn send(proxy: &Proxy, method: &str, rest: &str, body: &[u8]) -> Reply {
    proxy.client().send(method, &format!("/v1/responses{rest}"), KEY, body)
}

fn id_of(reply: &Reply) -> String {
    let id = reply.json()["id"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| panic!("no id: {}", reply.text()))
}

/// The part of the last URL that names the deployment.
fn deployment(proxy: &Proxy) -> String {
    let target = proxy.last().target;
    target.split('/').nth(4).unwrap().to_owned()
}

/// Frames of a stream, each with the name that its data has.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = reply.text();
    let frames = text.split_terminator("\n\n").filter(|frame| !frame.starts_with(':'));
    let events = frames.map(|frame| {
        let (name, data) = frame.split_once("\ndata: ").unwrap_or_else(|| panic!("{frame}"));
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), event["type"].as_str());
        event
    });
    events.collect()
}

fn terminals(events: &[Value]) -> usize {
    let ends = ["completed", "incomplete", "failed", "cancelled"];
    let ends: Vec<_> = ends.iter().map(|end| format!("response.{end}")).collect();
    events
        .iter()
        .filter(|e| ends.iter().any(|end| e["type"] == *end) || e["type"] == "error")
        .count()
}

/// The response at the end of a stream, or the whole one.
fn finished(reply: &Reply) -> Value {
    match reply.header("content-type") {
        "text/event-stream" => events(reply).pop().unwrap()["response"].clone(),
        _ => reply.json(),
    }
}
