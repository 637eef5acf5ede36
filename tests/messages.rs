//! Anthropic's Messages with the real server in front of the simulated AI Core: Claude's own deployments (pings, hang-ups,
//! failures, other deployments, what is healed), and a tool loop of every family's, streamed and whole.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use sap_ai_core_llm_proxy::aicore::Allowed;
use sap_ai_core_llm_proxy::demo::Fault;
use sap_ai_core_llm_proxy::families;
use serde_json::{Value, json};
use support::{Client, KEY, Proxy, Reply, eventually};

/// Served by two deployments in the demo, the others by one.
const TWICE: &str = "anthropic--claude-4.5-sonnet";
const ONCE: &str = "anthropic--claude-4.6-sonnet";
const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

// ── silence ──────────────────────────────────────────────────────────────────────────────────────

#[test]
fn silence_is_filled_with_pings() {
    let proxy = Proxy::limited(|limits| limits.keep_alive_ms = 30);
    // Before the answer's first byte, before its first event, and between two.
    let silences = [
        Fault { delay_ms: 500, ..Fault::default() },
        Fault { silence: Some((0, 500)), ..Fault::default() },
        Fault { silence: Some((3, 500)), ..Fault::default() },
        Fault { silence: Some((3, 500)), pieces: vec![7], ..Fault::default() },
    ];
    for fault in silences {
        proxy.demo.push(fault.clone());
        let reply = send(&proxy, &stream(ONCE));
        let pings = reply.text().matches(PING).count();
        assert!((3..60).contains(&pings), "{pings} {fault:?}");
        is_complete(&reply);
    }
    proxy.demo.push(Fault { delay_ms: 500, ..Fault::default() });
    let reply = send(&proxy, &hi(ONCE));
    assert_eq!(reply.json()["type"], "message", "no pings in plain JSON");
}

#[test]
fn after_a_ping_a_failure_is_an_event_and_another_deployment_may_still_answer() {
    let proxy = Proxy::limited(|limits| limits.keep_alive_ms = 30);
    proxy.demo.push(Fault { delay_ms: 400, ..Fault::status(429) });
    let reply = send(&proxy, &stream(ONCE));
    assert_eq!((reply.status, reply.is_whole), (200, false));
    assert!(reply.text().starts_with(PING));
    assert_eq!(failure(&reply)["error"]["type"], "rate_limit_error");
    proxy.demo.push(Fault { delay_ms: 400, ..Fault::status(429) });
    let reply = send(&proxy, &stream(TWICE));
    assert!(reply.text().starts_with(PING));
    is_complete(&reply);
    assert_eq!(proxy.inferences().len(), 3);
}

#[test]
fn each_event_comes_before_the_next_exists_and_a_hang_up_ends_the_call() {
    let proxy = Proxy::limited(|limits| limits.keep_alive_ms = 60_000);
    for n in 1..6 {
        let silence = Some((n, 60_000));
        proxy.demo.push(Fault { frames: Some(9), silence, ..Fault::default() });
        let mut client = begin(&proxy, &stream(ONCE));
        assert_eq!(client.head().status, 200);
        let mut events = 0;
        while events < n {
            let chunk = String::from_utf8(client.chunk().unwrap()).unwrap();
            events += chunk.matches("event: ").count();
        }
        assert_eq!(events, n);
        client.hang_up();
        let noticed = eventually("the hang-up is passed on", || proxy.demo.hung_up() == n);
        assert!(noticed < Duration::from_secs(1), "{noticed:?}");
    }
    // With another deployment left, which is not asked for a client that has gone.
    for body in [hi(TWICE), stream(TWICE)] {
        let (seen, gone) = (proxy.inferences().len(), proxy.demo.hung_up());
        proxy.demo.push(Fault { delay_ms: 60_000, ..Fault::default() });
        let client = begin(&proxy, &body);
        eventually("the request arrives", || proxy.inferences().len() == seen + 1);
        client.hang_up();
        eventually("the hang-up is passed on", || proxy.demo.hung_up() == gone + 1);
        assert_eq!(proxy.inferences().len(), seen + 1);
    }
}

// ── failures ─────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_failure_in_the_middle_is_an_event_and_no_end() {
    let proxy = Proxy::start();
    let throttled = r#"{"message":"ThrottlingException: Too many requests"}"#;
    let faults = [
        (Fault { error_after: Some(3), ..Fault::default() }, "overloaded_error"),
        (
            Fault { error_after: Some(3), body: Some(throttled.into()), ..Fault::default() },
            "rate_limit_error",
        ),
        (Fault { cut_after: Some(3), ..Fault::default() }, "api_error"),
        (Fault { end_after: Some(3), ..Fault::default() }, "api_error"),
    ];
    for (fault, kind) in faults {
        let before = proxy.inferences().len();
        proxy.demo.push(fault.clone());
        let reply = send(&proxy, &stream(TWICE));
        assert_eq!((reply.status, reply.is_whole), (200, false), "{fault:?}");
        assert_eq!(failure(&reply)["error"]["type"], kind, "{fault:?}");
        assert!(!reply.text().contains("message_stop"), "{fault:?}");
        assert_eq!(proxy.inferences().len(), before + 1, "what has begun is not repeated");
    }
    // Only the last event is missing: the reply is complete.
    proxy.demo.push(Fault { drop_last: 1, ..Fault::default() });
    is_complete(&send(&proxy, &stream(ONCE)));
}

#[test]
fn a_failure_before_the_first_event_has_its_status() {
    let proxy = Proxy::start();
    let ping = r#"{"type":"ping"}"#;
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"no"}}"#;
    for (fault, status, kind) in [
        (Fault::status(429), 429, "rate_limit_error"),
        (Fault { error_after: Some(0), ..Fault::default() }, 429, "rate_limit_error"),
        (
            Fault {
                error_after: Some(0),
                body: Some(format!("{ping}\n\ndata: {error}")),
                ..Fault::default()
            },
            503,
            "overloaded_error",
        ),
    ] {
        proxy.demo.push(fault.clone());
        let reply = send(&proxy, &stream(ONCE));
        assert_eq!(reply.status, status, "{fault:?}: {}", reply.text());
        assert_eq!(reply.json()["type"], "error");
        assert_eq!(reply.json()["error"]["type"], kind);
        assert_eq!(reply.json()["request_id"], reply.header("request-id"));
    }
}

#[test]
fn another_deployment_answers_for_one_that_fails() {
    let proxy = Proxy::start();
    let faults = [
        Fault::status(429),
        Fault::status(500),
        Fault::status(503),
        Fault { error_after: Some(0), ..Fault::default() },
    ];
    for fault in faults {
        for body in [hi(TWICE), stream(TWICE)] {
            if body["stream"].is_null() && fault.error_after.is_some() {
                continue;
            }
            let before = proxy.inferences().len();
            proxy.demo.push(fault.clone());
            is_complete(&send(&proxy, &body));
            let tried = proxy.inferences().split_off(before);
            assert_eq!(tried.len(), 2, "{fault:?}");
            assert_ne!(tried[0].target, tried[1].target);
            assert_eq!(tried[0].body, tried[1].body);
        }
    }
}

// ── what is edited ───────────────────────────────────────────────────────────────────────────────

#[test]
fn a_refused_field_is_left_out_and_remembered() {
    let proxy = Proxy::start();
    proxy.demo.push(Fault { refuse: vec!["top_k".into()], times: 9, ..Fault::default() });
    let mut body = hi(ONCE);
    body["top_k"] = json!(5);
    let reply = send(&proxy, &body);
    is_complete(&reply);
    assert_eq!((reply.header("x-proxy-dropped"), proxy.inferences().len()), ("top_k", 2));
    let reply = send(&proxy, &body);
    is_complete(&reply);
    assert_eq!((reply.header("x-proxy-dropped"), proxy.inferences().len()), ("top_k", 3));
}

/// Only the flags that may have been meant: who asks for others keeps them.
#[test]
fn refused_flags_are_left_out_and_remembered() {
    const OWN: &str = "interleaved-thinking-2025-05-14";
    let proxy = Proxy::start();
    let flags = || json_of(&proxy.last().body)["anthropic_beta"].clone();
    let ask = |flags: &str| {
        let headers = format!("{KEY}anthropic-beta: {flags}\r\n");
        let body = hi(ONCE).to_string();
        let reply = proxy.client().send("POST", "/v1/messages", &headers, body.as_bytes());
        is_complete(&reply);
        (reply.header("x-proxy-dropped").to_owned(), proxy.inferences().len())
    };
    // The demo knows no flag that does not end in a date.
    let both = format!("{OWN},brand-new");
    assert_eq!(ask(&both), ("anthropic_beta[] brand-new".into(), 2));
    assert_eq!(flags(), json!([OWN]));
    assert_eq!(ask(&both), ("anthropic_beta[] brand-new".into(), 3));
    assert_eq!((ask(OWN), flags()), ((String::new(), 4), json!([OWN])));
    // Where it is one of the usual ones, all go.
    proxy.demo.push(Fault { refuse_beta: true, times: 1, ..Fault::default() });
    assert_eq!(ask(OWN), (format!("anthropic_beta[] {OWN}"), 6));
    assert_eq!(flags(), Value::Null);
}

#[test]
fn a_long_context_is_asked_for_by_a_suffix() {
    let proxy = Proxy::start();
    let reply = send(&proxy, &hi(&format!("{TWICE}[1m]")));
    is_complete(&reply);
    assert_eq!(reply.json()["model"], format!("{TWICE}[1m]"));
    assert_eq!(json_of(&proxy.last().body)["anthropic_beta"], json!(["context-1m-2025-08-07"]));
}

#[test]
fn an_image_is_fetched() {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PNG.len());
        socket.write_all(&[head.as_bytes(), PNG].concat()).unwrap();
    });
    let proxy =
        Proxy::limited(|limits| limits.fetch_images_from = vec![Allowed::parse(&host).unwrap()]);
    let mut body = hi(ONCE);
    let source = json!({"type": "url", "url": format!("http://{host}/a")});
    body["messages"][0]["content"] =
        json!([{"type": "text", "text": "hi"}, {"type": "image", "source": source}]);
    is_complete(&send(&proxy, &body));
    let source =
        json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAANSUhEUg=="});
    let sent = json_of(&proxy.last().body);
    assert_eq!(sent.pointer("/messages/0/content/1/source").unwrap()["type"], "base64");
    assert_eq!(
        sent.pointer("/messages/0/content/1/source").unwrap()["media_type"],
        source["media_type"]
    );
}

#[test]
fn an_answer_of_a_given_form_is_asked_for_by_a_tool() {
    let proxy = Proxy::start();
    let mut body = hi(TWICE);
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}},
        "required": ["a"], "additionalProperties": false});
    body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    let reply = send(&proxy, &body);
    is_complete(&reply);
    let text = reply.json()["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(json_of(text.as_bytes())["a"].is_string(), "{text}");
    let sent = json_of(&proxy.last().body);
    assert_eq!(
        (sent["tools"].as_array().unwrap().len(), &sent["output_config"]),
        (1, &Value::Null)
    );
}

#[test]
fn a_thread_is_refused_in_the_words_that_agents_know() {
    let proxy = Proxy::start();
    let mut body = hi(ONCE);
    body["thread"] = json!({"id": "t"});
    let reply = send(&proxy, &body);
    let error = reply.json()["error"].clone();
    assert_eq!((reply.status, &error["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(error["details"]["error_code"], "thread_unsupported_request");
    assert!(proxy.inferences().is_empty());
}

/// What is malformed is refused, here or there, and never more than that.
#[test]
fn what_is_malformed_is_refused() {
    let proxy = Proxy::start();
    let model = format!(r#""model":"{ONCE}","max_tokens":9"#);
    for rest in [
        r#""messages":{"role":"user"}"#,
        r#""messages":7"#,
        r#""messages":[7,[],"x",null]"#,
        r#""messages":[{"role":"user","content":{"type":"text"}}]"#,
        r#""messages":[{"role":"user","role":"system","content":"a"}]"#,
        r#""messages":[{"role":"system","content":7},{"role":"assistant","content":7}]"#,
        r#""messages":[{"role":"assistant","content":"a"},{"role":"system","content":{}}]"#,
        r#""messages":[{"role":"user","content":"hi"}],"system":7"#,
        r#""messages":[{"role":"user","content":"hi"}],"system":{"text":""}"#,
        r#""messages":[{"role":"user","content":"hi"}],"tools":"x","tool_choice":[]"#,
        r#""messages":[{"role":"user","content":"hi"}],"tools":[7,{"type":8}],"tool_choice":8"#,
        r#""messages":[{"role":"user","content":"hi"}],"thinking":"on","output_config":7"#,
        r#""messages":[{"role":"user","content":[{"\u0074ype":"text","t\u0065xt":""}]}],"top_k":"x""#,
        r#""messages":[{"role":"user","content":"hi"}],"stop_sequences":"x","betas":{}"#,
        r#""messages":[{"role":"user","content":"hi"}],"m\u0065ssages":[]"#,
    ] {
        let body = format!("{{{model},{rest}}}");
        let reply = post(&proxy, body.as_bytes());
        assert_eq!(reply.status, 400, "{rest}: {}", reply.text());
        assert_eq!(reply.json()["type"], "error", "{rest}");
    }
    let broken = [
        format!("{{{model},").as_bytes(),
        b"\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}",
    ]
    .concat();
    assert_eq!(post(&proxy, &broken).status, 400);
    is_complete(&send(&proxy, &hi(ONCE)));
}

#[test]
fn probes_are_answered() {
    let proxy = Proxy::start();
    for (method, path) in
        [("HEAD", "/"), ("GET", "/"), ("HEAD", "/anthropic"), ("HEAD", "/anthropic/")]
    {
        assert_eq!(proxy.client().send(method, path, "", b"").status, 200, "{method} {path}");
    }
    let body = hi(ONCE).to_string();
    for path in
        ["/v1/messages?beta=true", "/anthropic/v1/messages", "/messages", "/anthropic/v1/messages/"]
    {
        is_complete(&proxy.client().send("POST", path, KEY, body.as_bytes()));
    }
    // What is counted says nothing of its reply.
    let mut body = hi(ONCE);
    body.as_object_mut().unwrap().remove("max_tokens");
    let body = body.to_string();
    for path in ["/v1/messages/count_tokens?beta=true", "/anthropic/v1/messages/count_tokens"] {
        let reply = proxy.client().send("POST", path, KEY, body.as_bytes());
        assert!(reply.json()["input_tokens"].is_u64(), "{}", reply.text());
    }
}

// ── every family ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn every_family_thinks_calls_and_goes_on() {
    let proxy = Proxy::start();
    let mut count = 0;
    for model in proxy.demo.config_json()["deployment_models"].as_object().unwrap().keys() {
        let grammar = families::of_model(model).service.as_ref().and_then(|s| s.grammar);
        let chats = grammar.is_some() && !model.starts_with("orchestration/gemini-embedding");
        // Perplexity's take no tools.
        if !chats || model.starts_with("sonar") || proxy.chat(&support::hi(model)).status != 200 {
            continue;
        }
        count += 1;
        let tool = |name: &str| {
            let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
            json!({"name": name, "description": "Looks.", "input_schema": schema})
        };
        let mut body = json!({
            "model": model, "max_tokens": 4000, "system": [{"type": "text", "text": "Be brief."}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [tool("weather"), tool("time")],
            "messages": [{"role": "user", "content": "Call weather and time."}],
        });
        let whole = send(&proxy, &body);
        is_complete(&whole);
        let whole = whole.json();
        body["stream"] = json!(true);
        let reply = send(&proxy, &body);
        is_complete(&reply);
        let streamed = put_together(&reply);
        let calls = |message: &Value| {
            let content = message["content"].as_array().unwrap().iter();
            let calls = content.filter(|block| block["type"] == "tool_use");
            calls.map(|call| (call["name"].clone(), call["input"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(calls(&whole), calls(&streamed), "{model}");
        assert_eq!(calls(&whole).len(), 2, "{model}: {whole}");
        for message in [&whole, &streamed] {
            assert_eq!(
                (&message["stop_reason"], &message["model"]),
                (&json!("tool_use"), &json!(model))
            );
            assert!(message["usage"]["input_tokens"].as_u64() > Some(0), "{model}: {message}");
        }
        let results: Vec<Value> = streamed["content"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(
                |call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "mild"}),
            )
            .collect();
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": streamed["content"]}));
        messages.push(json!({"role": "user", "content": results}));
        let reply = send(&proxy, &body);
        is_complete(&reply);
        let last = put_together(&reply);
        assert_eq!(last["stop_reason"], "end_turn", "{model}");
        assert!(last.to_string().contains("mild"), "{model}: {last}");
        let counted = proxy.client().send(
            "POST",
            "/v1/messages/count_tokens",
            KEY,
            body.to_string().as_bytes(),
        );
        assert!(counted.json()["input_tokens"].as_u64() > Some(20), "{model}");
    }
    assert!(count >= 15, "{count}");
}

/// The message that a stream tells, as SDKs read it.
fn put_together(reply: &Reply) -> Value {
    let mut message = Value::Null;
    let mut input = String::new();
    for event in reply.frames() {
        let block = event["index"].as_u64().map(|n| n as usize);
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                input.clear();
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][block.unwrap()], &event["delta"]);
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[key].as_str() {
                        block[key] = json!(block[key].as_str().unwrap().to_owned() + more);
                    }
                }
                input += delta["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !input.is_empty() => {
                message["content"][block.unwrap()]["input"] = json_of(input.as_bytes());
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

// ── ────────────────────────────────────────────────────────────────────────────────────────────

fn hi(model: &str) -> Value {
    json!({"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]})
}

fn stream(model: &str) -> Value {
    let mut body = hi(model);
    body["stream"] = json!(true);
    body
}

fn begin(proxy: &Proxy, body: &Value) -> Client {
    let mut client = proxy.client();
    client.begin("POST", "/v1/messages?beta=true", KEY, body.to_string().as_bytes());
    client
}

fn send(proxy: &Proxy, body: &Value) -> Reply {
    post(proxy, body.to_string().as_bytes())
}

fn post(proxy: &Proxy, body: &[u8]) -> Reply {
    proxy.client().send("POST", "/v1/messages?beta=true", KEY, body)
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{e}: {bytes:?}"))
}

/// A whole reply, or a stream of whole events that ends once.
#[track_caller]
fn is_complete(reply: &Reply) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.is_whole);
    if reply.header("content-type") != "text/event-stream" {
        assert_eq!(reply.json()["type"], "message");
        return;
    }
    for event in reply.text().split_terminator("\n\n") {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{event}");
    }
    assert_eq!(reply.text().matches("event: message_stop").count(), 1);
}

/// The event that tells a failure, the last of the stream.
#[track_caller]
fn failure(reply: &Reply) -> Value {
    let text = reply.text();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let data = last.strip_prefix("event: error\ndata: ").unwrap_or_else(|| panic!("{text}"));
    json_of(data.as_bytes())
}
