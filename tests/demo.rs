//! The simulated AI Core keeps its promises: what it refuses, what it answers, and each fault, on
//! the wire.

#[path = "demo/bedrock.rs"]
mod bedrock;
#[path = "demo/pool.rs"]
mod pool;
#[path = "demo/responses.rs"]
mod responses;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sap_ai_core_llm_proxy::demo::{Demo, Fault, Options, Place};
use serde_json::{Value, json};

#[test]
fn the_token_endpoint_takes_styles_a_b_and_c() {
    let demo = demo();
    let key = &demo.config_json()["service_key_json"];
    let (id, secret) = (key["clientid"].as_str().unwrap(), key["clientsecret"].as_str().unwrap());
    let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:{secret}")));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let a = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        encoded(id),
        encoded(secret)
    );
    let grant = "grant_type=client_credentials";
    let rows = [
        ("/oauth/token", form.to_owned(), a.clone(), 200, ""),
        ("/oauth/token", format!("{form}{basic}"), grant.to_owned(), 200, ""),
        ("/oauth/token?grant_type=client_credentials", basic.clone(), String::new(), 200, ""),
        ("/oauth/token", String::new(), a.clone(), 401, "invalid_client"),
        ("/oauth/token", form.to_owned(), a.replace("%61", "%62"), 401, "invalid_client"),
        ("/oauth/token", basic, String::new(), 401, "unauthorized"),
        (
            "/oauth/token",
            format!("{form}Authorization: Basic eDp5\r\n"),
            grant.to_owned(),
            401,
            "unauthorized",
        ),
    ];
    let given = rows.iter().filter(|row| row.3 == 200).count();
    for (target, headers, body, status, error) in rows {
        let reply = Client::new(&demo).send("POST", target, &headers, body.as_bytes());
        assert_eq!(reply.status, status, "{target} {headers}");
        match status {
            200 => assert_eq!(reply.json()["expires_in"], 43199),
            _ => assert_eq!(reply.json()["error"], error),
        }
    }
    assert_eq!(demo.token_fetches(), given);
}

#[test]
fn every_call_needs_a_live_token_and_a_resource_group() {
    let demo = demo();
    let good = token(&demo);
    let group = "AI-Resource-Group: default\r\n";
    let auth = format!("Authorization: Bearer {good}\r\n");
    let list = |headers: &str| Client::new(&demo).send("GET", "/v2/lm/deployments", headers, b"");
    assert_eq!((list(group).status, list(group).text()), (403, "RBAC: access denied".to_owned()));
    let foreign = list(&format!("{group}Authorization: Bearer x.y.z\r\n"));
    assert_eq!((foreign.status, foreign.text()), (401, "Jwt verification fails".to_owned()));
    let bare = list(&auth);
    assert_eq!((bare.status, bare.json()["error"]["code"].as_str()), (400, Some("01010076")));
    let strange = list(&format!("{auth}AI-Resource-Group: other\r\n"));
    assert_eq!((strange.status, strange.json()["count"].as_u64()), (200, Some(0)));
    assert_eq!(list(&format!("{auth}{group}")).status, 200);
    demo.revoke_tokens();
    let expired = list(&format!("{auth}{group}"));
    assert_eq!((expired.status, expired.text()), (401, "Jwt is expired".to_owned()));
    let brief = Demo::start(Options { token_expires_in: 0, ..Options::default() }).unwrap();
    let headers = format!("{group}Authorization: Bearer {}\r\n", token(&brief));
    let reply = Client::new(&brief).send("GET", "/v2/lm/deployments", &headers, b"");
    assert_eq!(reply.status, 401);
}

#[test]
fn deployments_are_filtered_and_paged() {
    let demo = demo();
    let headers = headers(&demo);
    let list = |query: &str| {
        let target = format!("/v2/lm/deployments{query}");
        Client::new(&demo).send("GET", &target, &headers, b"")
    };
    let all = list("").json();
    let statuses = |reply: &Value| {
        let all = reply["resources"].as_array().unwrap().clone();
        all.iter().map(|d| d["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for status in ["RUNNING", "STOPPED", "PENDING", "DEAD"] {
        assert!(statuses(&all).contains(&status.to_owned()), "{status}");
        let some = list(&format!("?status={status}")).json();
        assert!(statuses(&some).iter().all(|s| s == status));
    }
    assert_eq!(list("?scenarioId=orchestration").json()["count"], 1);
    assert_eq!(list("?executableIds=aws-bedrock,orchestration").json()["count"], 9);
    let page = list("?$top=2&$skip=1").json();
    assert_eq!(page["count"], all["count"]);
    assert_eq!(page["resources"][0], all["resources"][1]);
    assert_eq!(page["resources"].as_array().unwrap().len(), 2);
    assert_eq!(list("/$count").text(), all["count"].to_string());
    assert_eq!(list("?statsu=RUNNING").status, 400);
    let null =
        all["resources"].as_array().unwrap().iter().find(|d| d["details"].is_null()).unwrap();
    let target = format!("/v2/lm/configurations/{}", null["configurationId"].as_str().unwrap());
    let configuration = Client::new(&demo).send("GET", &target, &headers, b"").json();
    assert_eq!(configuration["parameterBindings"][0]["key"], "modelName");
}

#[test]
fn what_azure_refuses_is_refused() {
    let hi = json!([{"role": "user", "content": "hi"}]);
    let with = |more: Value| {
        let mut body = json!({ "messages": hi });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let messages = |messages: Value| json!({ "messages": messages });
    let part = |part: Value| messages(json!([{"role": "user", "content": [part]}]));
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let rows = [
        (
            "gpt-4o",
            with(json!({"thinking": 1})),
            "Unrecognized request argument supplied: thinking",
        ),
        ("gpt-4o", json!({}), "Missing required parameter: 'messages'"),
        ("gpt-4o", messages(json!([])), "empty array"),
        ("gpt-4o", messages(json!([{"role": "boss", "content": "x"}])), "Invalid value: 'boss'"),
        ("gpt-4o", messages(json!([{"role": "user", "content": null}])), "messages[0].content"),
        ("gpt-4o", messages(json!([{"role": "user", "content": []}])), "messages[0].content"),
        (
            "gpt-4o",
            messages(json!([{"role": "assistant", "content": null}])),
            "messages[0].content",
        ),
        (
            "gpt-4o",
            messages(json!([{"role": "user", "content": "x", "id": 1}])),
            "'messages[0].id'",
        ),
        (
            "gpt-4o",
            messages(json!([{"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
            ]}])),
            "Unknown parameter: 'messages[0].content[1].cache_control'.",
        ),
        ("gpt-4o", part(json!({"type": "image", "source": {}})), "Invalid value: 'image'"),
        (
            "gpt-4o",
            part(json!({"type": "image_url", "image_url": {"url": "ftp://x"}})),
            "image_url.url",
        ),
        (
            "gpt-4o",
            messages(json!([{"role": "tool", "content": "x", "tool_call_id": "c1"}])),
            "must be a response to a preceeding message",
        ),
        (
            "gpt-4o",
            messages(json!([
                {"role": "assistant", "content": null, "tool_calls": [call]},
                {"role": "user", "content": "x"},
            ])),
            "did not have response messages: c1",
        ),
        ("gpt-4o", with(json!({"tools": [tool("a b")]})), "tools[0].function.name"),
        ("gpt-4o", with(json!({"tools": [{"type": "custom"}]})), "Invalid value: \"custom\""),
        ("gpt-4o", with(json!({"tool_choice": "auto"})), "only allowed when 'tools'"),
        ("gpt-4o", with(json!({"tools": [tool("f")], "tool_choice": tool("g")})), "tool_choice"),
        ("gpt-4o", with(json!({"stream_options": {"include_usage": true}})), "'stream_options'"),
        ("gpt-4o", with(json!({"temperature": 3})), "Invalid 'temperature'"),
        ("gpt-4o", with(json!({"temperature": "1"})), "Invalid type for 'temperature'"),
        ("gpt-4o", with(json!({"response_format": {"type": "json_object"}})), "the word 'json'"),
        (
            "gpt-4o",
            with(json!({"response_format": {"type": "json_schema", "json_schema": {
                "name": "x", "strict": true, "schema": {"type": "object", "properties": {}},
            }}})),
            "additionalProperties",
        ),
        (
            "gpt-4o",
            messages(json!([{"role": "user", "content": "x".repeat(520_040)}])),
            "maximum context length is 128000 tokens",
        ),
        ("gpt-5", with(json!({"max_tokens": 5})), "Use 'max_completion_tokens' instead."),
        ("o3", with(json!({"temperature": 0.5})), "Unsupported value: 'temperature'"),
        ("gpt-5", with(json!({"top_p": 0.5})), "Unsupported value: 'top_p'"),
        ("o4-mini", with(json!({"presence_penalty": 1})), "'presence_penalty'"),
        ("gpt-5", with(json!({"logprobs": true})), "Unsupported parameter: 'logprobs'"),
        (
            "gpt-5.5",
            with(json!({"tools": [tool("f")], "reasoning_effort": "low"})),
            "Function tools with reasoning_effort are not supported for gpt-5.5-dz-std",
        ),
    ];
    let demo = demo();
    for (model, body, why) in rows {
        let reply = chat(&demo, model, &body);
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 400 && message.contains(why), "{why}: {} {message}", reply.status);
    }
    let fine = json!({
        "model": "any", "messages": hi, "temperature": 1, "top_p": 1, "frequency_penalty": 0,
        "presence_penalty": 0, "stop": null, "max_completion_tokens": 300, "seed": 7, "n": 2,
        "metadata": {}, "store": false, "reasoning_effort": "low", "user": "u",
    });
    let reply = chat(&demo, "gpt-5", &fine);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["model"], "gpt-5-2025-08-07-dz-std");
    assert_eq!(reply.json()["choices"].as_array().unwrap().len(), 2);
    assert_eq!(reply.json()["usage"]["completion_tokens_details"]["reasoning_tokens"], 16);
}

#[test]
fn wrong_paths_and_leaked_headers_are_refused() {
    let demo = demo();
    let headers = headers(&demo);
    let json = "Content-Type: application/json\r\n";
    let path = chat_path("gpt-4o", &demo);
    let stopped = path.replace("d00000000000001a", "d00000000000005a");
    let rows = [
        (path.clone(), json, 200),
        (path.replace("?api-version=2024-10-21", ""), json, 404),
        (path.replace("2024-10-21", "latest"), json, 404),
        (path.replace("chat/completions", "embeddings"), json, 404),
        (path.replace("d00000000000001a", "d0000000000000ff"), json, 404),
        (path.replace("d00000000000001a", "d00000000000007a"), json, 404),
        (stopped, json, 404),
        (path.clone(), "", 415),
        (path.clone(), "Content-Type: text/plain\r\n", 415),
        (path.clone(), "Content-Type: application/json\r\nX-API-Key: sk\r\n", 400),
        (path.clone(), "Content-Type: application/json\r\nAccept-Encoding: gzip, br\r\n", 400),
        (path.clone(), "Content-Type: application/json\r\nanthropic-version: 1\r\n", 400),
        (path, "Content-Type: application/json\r\nCookie: a=b\r\n", 400),
    ];
    let body = json!({"messages": [{"role": "user", "content": "hi"}]}).to_string();
    for (target, more, status) in rows {
        let headers = format!("{headers}{more}");
        let reply = Client::new(&demo).send("POST", &target, &headers, body.as_bytes());
        assert_eq!(reply.status, status, "{target} {more} {}", reply.text());
    }
}

#[test]
fn a_stream_has_the_recorded_order() {
    let demo = demo();
    let body = json!({
        "messages": [{"role": "user", "content": "Grüße 🇫🇷"}],
        "stream": true, "stream_options": {"include_usage": true},
    });
    let reply = chat(&demo, "gpt-4o", &body);
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert_eq!(reply.header("x-request-id"), reply.header("ai-inference-id"));
    let text = reply.text();
    let data = text.strip_suffix("\n\n").unwrap().split("\n\n").collect::<Vec<_>>();
    assert!(data.iter().all(|frame| frame.starts_with("data: ") && !frame.contains('\n')));
    let safe = ["hate", "self_harm", "sexual", "violence"]
        .map(|name| format!(r#""{name}":{{"filtered":false,"severity":"safe"}}"#))
        .join(",");
    let filter = format!(r#"[{{"prompt_index":0,"content_filter_results":{{{safe}}}}}]"#);
    let empty = r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","#;
    assert_eq!(data[0], format!(r#"{empty}"prompt_filter_results":{filter}}}"#));
    let role = r#""delta":{"content":"","refusal":null,"role":"assistant"},"#;
    let open = r#"data: {"choices":[{"content_filter_results":"#;
    let rest = r#""finish_reason":null,"index":0,"logprobs":null}],"created":"#;
    assert!(data[1].starts_with(&format!("{open}{{}},{role}{rest}")));
    let model = r#","model":"gpt-4o-2024-08-06","object":"chat.completion.chunk","#;
    let end = r#""system_fingerprint":"fp_0123456789","usage":null}"#;
    assert!(data[1].ends_with(&format!("{model}{end}")));
    let delta = r#""delta":{"content":"You "},"#;
    assert!(data[2].starts_with(&format!("{open}{{{safe}}},{delta}{rest}")));
    let n = data.len();
    assert!(data[n - 3].contains(r#""delta":{},"finish_reason":"stop""#));
    assert!(data[n - 2].starts_with(r#"data: {"choices":[],"created":1"#));
    assert!(!data[n - 2].contains(r#""usage":null"#));
    assert_eq!(data[n - 1], "data: [DONE]");
    let said = content(&text);
    assert!(said.starts_with("You said: \"Grüße 🇫🇷\". This is the demo of"), "{said}");
    let whole = chat(&demo, "gpt-4o", &json!({"messages": body["messages"]})).json();
    assert_eq!(whole["choices"][0]["message"]["content"], said.as_str());
    assert_eq!(whole["usage"], frames(&text)[n - 2]["usage"]);
}

#[test]
fn tools_are_called_and_their_results_quoted() {
    let demo = demo();
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    });
    let tools = json!([
        {"type": "function", "function": {"name": "get_weather", "parameters": parameters}},
        {"type": "function", "function": {"name": "get_time"}},
    ]);
    let ask = |text: &str, more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": text}], "tools": tools});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let names = |reply: &Reply| {
        let message = reply.json()["choices"][0]["message"].clone();
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        calls.iter().map(|c| c["function"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let named = json!({"tool_choice": {"type": "function", "function": {"name": "get_time"}}});
    let rows = [
        ("hello", json!({}), vec![]),
        ("forget_weather", json!({}), vec![]),
        ("call get_weather, then get_time.", json!({}), vec!["get_weather", "get_time"]),
        ("get_weather get_time", json!({"parallel_tool_calls": false}), vec!["get_weather"]),
        ("get_weather", json!({"tool_choice": "none"}), vec![]),
        ("hello", json!({"tool_choice": "required"}), vec!["get_weather"]),
        ("hello", named, vec!["get_time"]),
        ("hello [[demo tool=get_time]]", json!({}), vec!["get_time"]),
    ];
    for (text, more, expected) in rows {
        let reply = chat(&demo, "gpt-4o", &ask(text, more));
        assert_eq!(names(&reply), expected, "{text}");
    }
    let stream = ask("get_weather get_time", json!({"stream": true}));
    let frames = frames(&chat(&demo, "gpt-4o", &stream).text());
    let first = &frames[1]["choices"][0]["delta"];
    assert_eq!((&first["role"], &first["content"]), (&json!("assistant"), &Value::Null));
    let mut arguments = [String::new(), String::new()];
    for call in frames.iter().filter_map(|f| f.pointer("/choices/0/delta/tool_calls/0")) {
        let index = call["index"].as_u64().unwrap() as usize;
        arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
    }
    assert_eq!(arguments, ["{\"city\":\"Paris\"}", "{}"]);
    let last = &frames[frames.len() - 1]["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
    let function = json!({"name": "get_time", "arguments": "{}"});
    let call = json!({"id": "c1", "type": "function", "function": function});
    let mut after = ask("get_time", json!({}));
    let messages = after["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
    messages.push(json!({"role": "tool", "tool_call_id": "c1", "content": "12:34"}));
    let reply = chat(&demo, "gpt-4o", &after).json();
    let said = reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.starts_with("The tool says: 12:34"), "{said}");
}

#[test]
fn formats_limits_stops_images_and_logprobs() {
    let demo = demo();
    let ask = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "json please"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chat(&demo, "gpt-4o", &body).json()["choices"][0].clone()
    };
    let text = |choice: &Value| choice["message"]["content"].as_str().unwrap().to_owned();
    let object = ask(json!({"response_format": {"type": "json_object"}}));
    assert!(serde_json::from_str::<Value>(&text(&object)).unwrap()["answer"].is_string());
    let schema = json!({
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false,
    });
    let schema = json!({"name": "x", "strict": true, "schema": schema});
    let format = json!({"type": "json_schema", "json_schema": schema});
    assert_eq!(text(&ask(json!({ "response_format": format }))), "{\"n\":1}");
    let cut = ask(json!({"max_tokens": 2}));
    assert_eq!((text(&cut).as_str(), &cut["finish_reason"]), ("You said", &json!("length")));
    let stopped = ask(json!({"stop": ["said"]}));
    assert_eq!((text(&stopped).as_str(), &stopped["finish_reason"]), ("You ", &json!("stop")));
    let logprobs = ask(json!({"logprobs": true, "top_logprobs": 2}))["logprobs"].clone();
    assert_eq!(logprobs["content"][0]["top_logprobs"].as_array().unwrap().len(), 2);
    let url = "data:image/png;base64,iVBORw0KGgo=";
    let image = json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
    let parts = json!([{"type": "text", "text": "look"}, image, image]);
    let reply = ask(json!({"messages": [{"role": "user", "content": parts}]}));
    assert!(text(&reply).contains("I see 2 images."));
}

#[test]
fn embeddings_are_true_to_their_parameters() {
    let demo = demo();
    let path = |model: &str| chat_path(model, &demo).replace("chat/completions", "embeddings");
    let headers = format!("{}Content-Type: application/json\r\n", headers(&demo));
    let embed = |model: &str, body: Value| {
        let body = body.to_string();
        Client::new(&demo).send("POST", &path(model), &headers, body.as_bytes())
    };
    let floats = |reply: &Value| {
        let list = reply["data"][0]["embedding"].as_array().unwrap().clone();
        list.iter().map(|x| x.as_f64().unwrap() as f32).collect::<Vec<_>>()
    };
    let small = embed("text-embedding-3-small", json!({"input": "hi"})).json();
    assert_eq!(floats(&small).len(), 1536);
    let norm = floats(&small).iter().map(|x| x * x).sum::<f32>();
    assert!((norm - 1.0).abs() < 1e-3);
    let packed = json!({"input": ["hi", "ho"], "encoding_format": "base64"});
    let packed = embed("text-embedding-3-small", packed).json();
    let bytes = STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let unpacked = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    assert_eq!(unpacked.collect::<Vec<_>>(), floats(&small));
    assert_eq!(packed["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}));
    let large =
        embed("text-embedding-3-large", json!({"input": [[1, 2], [3]], "dimensions": 8})).json();
    assert_eq!((floats(&large).len(), large["usage"]["total_tokens"].as_u64()), (8, Some(3)));
    for (model, body) in [
        ("text-embedding-3-small", json!({"input": ""})),
        ("text-embedding-3-small", json!({"input": []})),
        ("text-embedding-3-small", json!({"input": "x", "dimensions": 5000})),
        ("text-embedding-3-small", json!({"input": "x", "encoding_format": "hex"})),
        ("text-embedding-3-small", json!({"input": "x", "input_type": "query"})),
        ("text-embedding-ada-002", json!({"input": "x", "dimensions": 8})),
    ] {
        assert_eq!(embed(model, body.clone()).status, 400, "{body}");
    }
}

#[test]
fn pushed_faults_come_in_order_and_where_they_belong() {
    let demo = demo();
    demo.push(Fault::status(429).with_header("retry-after", "7"));
    demo.push(Fault { deployment: "d00000000000002a".into(), times: 2, ..Fault::status(503) });
    demo.push(Fault::answer(400, "{}"));
    demo.push(Fault { at: Place::Token, ..Fault::answer(500, "oops") });
    let hi = json!({"messages": [{"role": "user", "content": "hi"}]});
    let failed = Client::new(&demo).send("POST", "/oauth/token", "", b"");
    assert_eq!((failed.status, failed.text().as_str()), (500, "oops"));
    let busy = chat(&demo, "gpt-4o", &hi);
    assert_eq!((busy.status, busy.header("retry-after")), (429, "7".to_owned()));
    assert_eq!(busy.json()["error"]["code"], "429");
    let empty = chat(&demo, "gpt-4o", &hi);
    assert_eq!((empty.status, empty.text().as_str()), (400, "{}"));
    assert_eq!(chat(&demo, "gpt-4o", &hi).status, 200);
    assert!(chat(&demo, "gpt-5", &hi).text().starts_with("upstream connect error"));
    assert_eq!(chat(&demo, "gpt-5", &hi).status, 503);
    assert_eq!(chat(&demo, "gpt-5", &hi).status, 200);
    let statuses = demo
        .seen()
        .iter()
        .filter(|s| s.target.contains("/inference/"))
        .map(|s| s.status)
        .collect::<Vec<_>>();
    assert_eq!(statuses, [429, 400, 200, 503, 503, 200]);
}

#[test]
fn a_stream_can_be_written_and_ended_in_every_way() {
    let demo = demo();
    let ask = |marker: &str| {
        let content = format!("say [[demo {marker}]]");
        let body = json!({"messages": [{"role": "user", "content": content}], "stream": true});
        chat(&demo, "gpt-4o", &body)
    };
    let plain = ask("frames=3").text();
    assert_eq!(content(&plain), "word1 word2 word3 ");
    assert_eq!(ask("frames=3 pieces=1").body.len(), plain.len());
    assert_eq!(ask("frames=3 pieces=1").chunks.first(), Some(&1));
    assert_eq!(content(&ask("frames=3 pieces=7,3 crlf").text()), "word1 word2 word3 ");
    assert!(ask("frames=3 crlf").text().ends_with("data: [DONE]\r\n\r\n"));
    assert!(ask("frames=3 blank_lines=2").text().contains("\n\n\n\ndata: "));
    assert!(ask("frames=3 comments no_space").text().starts_with(": a comment\ndata:{\"choices\""));
    assert!(ask("head_bytes=20000").header("x-padding").len() == 1000);
    let failed = ask("error_after=0");
    assert_eq!((failed.status, failed.complete, frames(&failed.text()).len()), (200, true, 1));
    assert_eq!(frames(&failed.text())[0]["error"]["code"], "429");
    let later = ask("frames=3 error_after=3").text();
    assert_eq!(content(&later), "word1 ");
    assert!(!later.contains("[DONE]"));
    let ended = ask("frames=3 end_after=4");
    assert!(ended.complete && !ended.text().contains("finish_reason\":\"stop"));
    let undone = ask("frames=3 drop_last=1");
    assert!(
        undone.complete && undone.text().contains("\"stop\"") && !undone.text().contains("[DONE]")
    );
    let cut = ask("frames=3 cut_after=4");
    assert_eq!((cut.complete, content(&cut.text()).as_str()), (false, "word1 word2 "));
    let silent = Instant::now();
    ask("frames=3 silence=3:150");
    ask("delay_ms=150");
    assert!(silent.elapsed() >= Duration::from_millis(300));
    assert_eq!(ask("statsu=1").status, 400);
}

#[test]
fn a_marker_counts_by_its_key() {
    let demo = demo();
    let ask = |key: &str| {
        let content = format!("say [[demo status=429 retry_after=1 times=2 key={key}]]");
        chat(&demo, "gpt-4o", &json!({"messages": [{"role": "user", "content": content}]}))
    };
    let first = ask("a");
    assert_eq!((first.status, first.header("retry-after").as_str()), (429, "1"));
    assert_eq!([ask("a").status, ask("b").status, ask("a").status], [429, 429, 200]);
    let said = ask("a").json()["choices"][0]["message"]["content"].to_string();
    assert!(said.contains("You said: \\\"say\\\"."), "{said}");
}

#[test]
fn connections_are_kept_closed_and_left_as_asked() {
    let demo = demo();
    let hi = json!({"messages": [{"role": "user", "content": "hi"}], "stream": true});
    let mut client = Client::new(&demo);
    let (path, headers) = (chat_path("gpt-4o", &demo), json_headers(&demo));
    let send =
        |client: &mut Client| client.send("POST", &path, &headers, hi.to_string().as_bytes());
    assert!(send(&mut client).complete && send(&mut client).complete);
    let seen = demo.seen();
    assert_eq!(seen[seen.len() - 1].connection, seen[seen.len() - 2].connection);
    demo.push(Fault { close: true, ..Fault::default() });
    let last = send(&mut client);
    assert!(last.complete && last.header("connection").is_empty());
    assert_eq!(send(&mut client).status, 0);
    demo.push(Fault { no_answer: true, ..Fault::default() });
    assert_eq!(send(&mut Client::new(&demo)).status, 0);
    demo.push(Fault { early: true, ..Fault::status(413) });
    let mut client = Client::new(&demo);
    client.write(&format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 99999\r\n{headers}\r\n",
        client.host
    ));
    let early = client.read();
    assert_eq!((early.status, early.text().as_str()), (413, "Payload Too Large"));
    let chunked = "Transfer-Encoding: chunked\r\n";
    let body = hi.to_string();
    let mut client = Client::new(&demo);
    let host = client.host.clone();
    client.write(&format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\n{chunked}{headers}\r\n\
         5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &body[..5],
        body.len() - 5,
        &body[5..]
    ));
    assert_eq!(client.read().status, 200);
}

#[test]
fn a_hang_up_is_noticed_during_a_pause() {
    let demo = demo();
    let text = "say [[demo frames=3 silence=3:60000]]";
    let body = json!({"messages": [{"role": "user", "content": text}], "stream": true}).to_string();
    let mut client = Client::new(&demo);
    let head = format!("Content-Length: {}\r\n{}", body.len(), json_headers(&demo));
    let path = chat_path("gpt-4o", &demo);
    let host = client.host.clone();
    client.write(&format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{head}\r\n{body}"));
    let mut line = String::new();
    client.reader.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), demo.hung_up()), ("HTTP/1.1 200 OK\r\n", 0));
    drop(client);
    let patience = Instant::now();
    while demo.hung_up() == 0 && patience.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(demo.hung_up(), 1);
    assert!(demo.seen().last().unwrap().hung_up);
}

#[test]
fn sixty_four_clients_at_once_are_all_served() {
    let demo = Arc::new(demo());
    let (path, headers) = (chat_path("gpt-4o", &demo), json_headers(&demo));
    let start = Arc::new(Barrier::new(64));
    let clients = (0..64).map(|n| {
        let (demo, path, headers, start) =
            (demo.clone(), path.clone(), headers.clone(), start.clone());
        thread::spawn(move || {
            start.wait();
            let mut client = Client::new(&demo);
            for turn in 0..3 {
                let text = format!("client {n} turn {turn}");
                let body = json!({"messages": [{"role": "user", "content": text}], "stream": true});
                let reply = client.send("POST", &path, &headers, body.to_string().as_bytes());
                assert!(reply.complete && content(&reply.text()).contains(&format!("\"{text}\"")));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
    assert_eq!(demo.hung_up(), 0);
}

#[test]
fn dropping_the_demo_ends_it() {
    let demo = demo();
    let mut idle = Client::new(&demo);
    idle.send("GET", "/nowhere", "", b"");
    let address = idle.host.clone();
    drop(demo);
    assert_eq!(idle.reader.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(address).is_err());
}

fn demo() -> Demo {
    Demo::start(Options { pace_ms: 0, ..Options::default() }).unwrap()
}

fn token(demo: &Demo) -> String {
    let key = &demo.config_json()["service_key_json"];
    let pair =
        format!("{}:{}", key["clientid"].as_str().unwrap(), key["clientsecret"].as_str().unwrap());
    let headers = format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
    let reply =
        Client::new(demo).send("POST", "/oauth/token?grant_type=client_credentials", &headers, b"");
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

fn headers(demo: &Demo) -> String {
    format!("Authorization: Bearer {}\r\nAI-Resource-Group: default\r\n", token(demo))
}

fn json_headers(demo: &Demo) -> String {
    format!("{}Content-Type: application/json; charset=utf-8\r\n", headers(demo))
}

fn chat_path(model: &str, demo: &Demo) -> String {
    let url = &demo.config_json()["deployment_models"][model];
    let url = url.as_str().or_else(|| url[0].as_str()).unwrap().to_owned();
    let path = url.strip_prefix(&demo.url()).unwrap();
    format!("{path}/chat/completions?api-version=2024-10-21")
}

fn chat(demo: &Demo, model: &str, body: &Value) -> Reply {
    let body = body.to_string();
    Client::new(demo).send("POST", &chat_path(model, demo), &json_headers(demo), body.as_bytes())
}

/// The JSON frames of a stream, whatever its line ends.
fn frames(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn content(stream: &str) -> String {
    let frames = frames(stream);
    let deltas = frames.iter().filter_map(|f| f.pointer("/choices/0/delta/content")?.as_str());
    deltas.collect()
}

/// A keep-alive HTTP/1.1 client that shows the framing.
struct Client {
    reader: BufReader<TcpStream>,
    host: String,
}

#[derive(Default)]
struct Reply {
    /// 0 if the connection ended before it.
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Sizes of the chunks.
    chunks: Vec<usize>,
    /// The body came to its announced end.
    complete: bool,
}

impl Client {
    fn new(demo: &Demo) -> Client {
        let host = demo.url().strip_prefix("http://").unwrap().to_owned();
        let socket = TcpStream::connect(&host).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { reader: BufReader::new(socket), host }
    }

    fn send(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        let (host, length) = (&self.host, body.len());
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\
             Content-Length: {length}\r\n{headers}\r\n"
        );
        self.write(&format!("{head}{}", std::str::from_utf8(body).unwrap()));
        self.read()
    }

    fn write(&mut self, text: &str) {
        let _ = self.reader.get_mut().write_all(text.as_bytes());
    }

    fn read(&mut self) -> Reply {
        let mut reply = Reply::default();
        let line = self.line();
        let Some(status) = line.split(' ').nth(1) else { return reply };
        reply.status = status.parse().unwrap();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            reply.headers.push((name.to_owned(), value.to_owned()));
        }
        if reply.header("transfer-encoding") == "chunked" {
            while !reply.complete
                && let Ok(size) = usize::from_str_radix(&self.line(), 16)
            {
                let mut chunk = vec![0; size + 2];
                self.reader.read_exact(&mut chunk).unwrap();
                reply.complete = size == 0;
                reply.chunks.push(size);
                reply.body.extend_from_slice(&chunk[..size]);
            }
            return reply;
        }
        let length = reply.header("content-length").parse().unwrap();
        let read = self.reader.by_ref().take(length).read_to_end(&mut reply.body);
        reply.complete = read.is_ok_and(|n| n as u64 == length);
        reply
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.reader.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

impl Reply {
    fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }
}
