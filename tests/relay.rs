//! What the relay promises, with the real server in front of the simulated AI Core: bytes, streams,
//! failures, retries, access tokens, hang-ups.

mod support;

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use sap_ai_core_llm_proxy::demo::{Fault, Options, Place};
use sap_ai_core_llm_proxy::families::{self, Passes};
use serde_json::{Value, json};
use support::{Client, KEY, Proxy, eventually, hi, quick, stream};

/// The deployments of gpt-5 in the demo.
const GPT_5: [&str; 2] = ["d00000000000002a", "d00000000000002b"];
const CHAT: &str = "/v1/chat/completions";

// ── the way there ────────────────────────────────────────────────────────────────────────────────

#[test]
fn bytes_that_need_no_change_arrive_as_they_were_sent() {
    let proxy = Proxy::start();
    let bodies = [
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#,
        r#" {
	"temperature" : 1.10 , "messages":[ {"content":"\u0068\u00ed 🌊\/", "role":"user"} ],
            "model":"gpt-4o","metadata":{"n":123456789012345678901234567890, "x":1.0e-7}}  "#,
        r#"{"stream":true,"stream_options":{ "include_usage" : true },"max_tokens":9,
            "model":"gpt-4o","messages":[{"role":"user","content":"hí"}]}"#,
    ];
    for body in bodies {
        let reply = proxy.client().send("POST", CHAT, KEY, body.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.said().contains("You said: \"h"), "{}", reply.said());
        assert_eq!(String::from_utf8(proxy.last().body).unwrap(), body);
    }
}

#[test]
fn what_is_adapted_leaves_the_rest_verbatim() {
    let proxy = Proxy::start();
    let body = r#"{"model":"gpt-5","temperature":0.3,"logit_bias":{"1": 1.10},"max_tokens":77,
        "top_p" : 1.0,"metadata":{"n": 123456789012345678901234567890},
        "messages":[{"role":"user","content":"\u0068i"}]}"#;
    let reply = proxy.client().send("POST", CHAT, KEY, body.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-proxy-dropped"), "temperature, top_p");
    assert_eq!(reply.json()["model"], "gpt-5");
    let sent = String::from_utf8(proxy.last().body).unwrap();
    let kept = [
        r#""model":"gpt-5""#,
        r#""logit_bias":{"1": 1.10}"#,
        r#""max_completion_tokens":77"#,
        r#""metadata":{"n": 123456789012345678901234567890}"#,
        r#""messages":[{"role":"user","content":"\u0068i"}]"#,
    ];
    assert_eq!(sent, format!("{{{}}}", kept.join(",")));
    let streamed = body.replacen('{', r#"{"stream":true,"#, 1);
    let reply = proxy.client().send("POST", CHAT, KEY, streamed.as_bytes());
    assert_eq!(reply.header("x-proxy-dropped"), "temperature, top_p");
    assert_eq!(proxy.chat(&hi("gpt-5")).header("x-proxy-dropped"), "");
}

#[test]
fn the_clients_own_headers_stay_here() {
    let proxy = Proxy::start();
    let headers = "X-API-Key: sk-demo\r\nAuthorization: Bearer sk-demo\r\nCookie: a=b\r\n\
                   anthropic-version: 2023-06-01\r\nanthropic-beta: x\r\nOrigin: http://x\r\n\
                   AI-Resource-Group: other\r\nAccept-Encoding: gzip\r\nTE: trailers\r\n\
                   User-Agent: OpenAI/1\r\nX-Request-Id: mine\r\nX-Stainless-Lang: js\r\n\
                   Content-Type: text/plain\r\n";
    let body = hi("gpt-4o").to_string();
    let reply = proxy.client().send("POST", CHAT, headers, body.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = proxy.last();
    let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let ours = [
        "accept",
        "ai-resource-group",
        "ai-tenant-id",
        "authorization",
        "content-length",
        "content-type",
    ];
    assert_eq!(names, [&ours[..], &["host", "user-agent"]].concat());
    assert_eq!(seen.header("ai-resource-group"), Some("default"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert!(seen.header("user-agent").unwrap().starts_with("sap-ai-core-llm-proxy/"));
    assert!(!seen.header("authorization").unwrap().contains("sk-demo"));
}

#[test]
fn upstream_headers_and_tokens_stay_there() {
    let proxy = Proxy::start();
    for fault in
        [Fault::default(), Fault::status(400), Fault { error_after: Some(0), ..Fault::default() }]
    {
        proxy.demo.push(fault.with_header("set-cookie", "a=b").with_header("x-secret", "s"));
        for body in [hi("gpt-4o"), stream("gpt-4o")] {
            let reply = proxy.chat(&body);
            let token = proxy.last().header("authorization").unwrap().to_owned();
            let names: Vec<_> = reply.head.lines().filter_map(|l| l.split(':').next()).collect();
            let leaked = ["set-cookie", "x-secret", "ai-inference-id", "x-upstream-service-time"];
            assert!(!leaked.iter().any(|name| names.contains(name)), "{names:?}");
            assert!(!reply.text().contains(token.trim_start_matches("Bearer ")));
            assert!(!reply.header("x-request-id").starts_with("00000000-"), "it is our own");
        }
    }
}

// ── the way back ─────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_model_in_replies_is_the_name_the_client_used() {
    let proxy = Proxy::configured(|json| {
        json["aliases"] =
            json!({"fast": "gpt-4o-mini", "turbo-*": "gpt-4o", "vec": "text-embedding-ada-002"});
    });
    for name in ["gpt-4o", "gpt-5", "fast", "turbo-\"9\"", "o3"] {
        assert_eq!(proxy.chat(&hi(name)).json()["model"], name);
        let reply = proxy.chat(&stream(name));
        let frames = reply.frames();
        assert!(frames.len() > 3, "{}", reply.text());
        assert!(frames.iter().all(|frame| frame["model"] == name), "{}", reply.text());
    }
    let body = json!({"model": "vec", "input": "hi"}).to_string();
    let reply = proxy.client().send("POST", "/v1/embeddings", KEY, body.as_bytes());
    assert_eq!(reply.json()["model"], "vec");
}

#[test]
fn a_stream_is_the_upstreams_frames_and_done_once() {
    let proxy = Proxy::start();
    let reply = proxy.chat(&stream("gpt-4o"));
    assert_eq!((reply.status, reply.is_whole), (200, true));
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(reply.dones(), 1);
    let frames = reply.frames();
    assert!(frames.iter().all(|f| f["choices"].as_array().is_some_and(|c| !c.is_empty())));
    assert_eq!(frames[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(frames.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert_eq!(reply.said(), proxy.chat(&hi("gpt-4o")).said());
}

#[test]
fn usage_comes_to_those_who_asked() {
    let proxy = Proxy::start();
    // What the client sends, what reaches the upstream, whether the usage frame comes back.
    let table = [
        (None, json!({"include_usage": true}), false),
        (Some(json!(null)), json!({"include_usage": true}), false),
        (Some(json!({})), json!({"include_usage": true}), false),
        (Some(json!({"include_usage": false})), json!({"include_usage": true}), false),
        (Some(json!({"include_usage": null})), json!({"include_usage": true}), false),
        (
            Some(json!({"include_obfuscation": false})),
            json!({"include_obfuscation": false, "include_usage": true}),
            false,
        ),
        (
            Some(json!({"include_usage": true, "include_obfuscation": true})),
            json!({"include_usage": true, "include_obfuscation": true}),
            true,
        ),
    ];
    for (options, upstream, is_passed) in table {
        let mut body = stream("gpt-4o");
        if let Some(options) = &options {
            body["stream_options"] = options.clone();
        }
        let reply = proxy.chat(&body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let sent: Value = serde_json::from_slice(&proxy.last().body).unwrap();
        assert_eq!(sent["stream_options"], upstream, "{options:?}");
        let frames = reply.frames();
        let usages = frames.iter().filter(|f| f["choices"] == json!([])).collect::<Vec<_>>();
        assert_eq!(usages.len(), usize::from(is_passed), "{options:?}");
        assert!(usages.iter().all(|f| f["usage"]["total_tokens"].as_u64() > Some(0)));
        assert!(is_passed || !reply.text().contains("total_tokens"));
    }
    let mut body = stream("gpt-4o");
    body["stream_options"] = json!([true]);
    let refused = proxy.chat(&body);
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("stream_options"))
    );
}

#[test]
fn tools_are_called_in_both_ways() {
    let proxy = Proxy::start();
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let tool =
        json!({"type": "function", "function": {"name": "look_up", "parameters": parameters}});
    let mut body = hi("gpt-4.1");
    body["tools"] = json!([tool]);
    body["tool_choice"] = json!("required");
    let whole = proxy.chat(&body).json();
    let call = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
    body["stream"] = json!(true);
    let frames = proxy.chat(&body).frames();
    let pieces = frames
        .iter()
        .filter_map(|f| f.pointer("/choices/0/delta/tool_calls/0/function/arguments")?.as_str());
    assert_eq!(call["name"], "look_up");
    assert_eq!(call["arguments"], pieces.collect::<String>());
    assert_eq!(frames.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn however_frames_are_written_the_client_gets_the_same() {
    let proxy = Proxy::start();
    let said = |fault: Fault| {
        proxy.demo.push(Fault { frames: Some(5), ..fault });
        let reply = proxy.chat(&stream("gpt-4o"));
        assert!(reply.is_whole && reply.dones() == 1, "{}", reply.text());
        // Ids and times are new each time.
        let mut frames = reply.frames();
        frames.iter_mut().for_each(|f| (f["id"], f["created"]) = (json!(0), json!(0)));
        (frames, reply.text().matches("\n\n").count(), reply.text().contains('\r'))
    };
    let plain = said(Fault::default());
    assert_eq!((plain.0.len(), plain.1, plain.2), (7, 8, false));
    let faults = [
        Fault { pieces: vec![1], ..Fault::default() },
        Fault { pieces: vec![3, 1, 50], crlf: true, ..Fault::default() },
        Fault { crlf: true, ..Fault::default() },
        Fault { blank_lines: 2, ..Fault::default() },
        Fault { blank_lines: 1, crlf: true, comments: true, ..Fault::default() },
        Fault { comments: true, no_space: true, ..Fault::default() },
        Fault { head_bytes: 20_000, ..Fault::default() },
        // [DONE] is missing after the finish.
        Fault { drop_last: 1, ..Fault::default() },
    ];
    for fault in faults {
        assert_eq!(said(fault.clone()), plain, "{fault:?}");
    }
}

#[test]
fn the_first_frame_does_not_wait_for_the_second() {
    let proxy = Proxy::start();
    for n in 2..6 {
        proxy.demo.push(Fault { frames: Some(9), silence: Some((n, 60_000)), ..Fault::default() });
        let mut client = proxy.client();
        client.begin_chat(&stream("gpt-4o"));
        assert_eq!(client.head().status, 200);
        // The prompt filter's frame, the first, is not passed on.
        let mut frames = 0;
        while frames < n - 1 {
            let chunk = String::from_utf8(client.chunk().unwrap()).unwrap();
            frames += chunk.matches("data: {").count();
        }
        assert_eq!(frames, n - 1);
        client.hang_up();
        eventually("the hang-up is passed on", || proxy.demo.hung_up() == n - 1);
    }
}

/// Of a reply that is converted each frame has been said before the upstream's next exists, and who leaves ends it.
#[test]
fn what_is_converted_does_not_wait_either() {
    let proxy = Proxy::start();
    let mut hung_up = 0;
    let models = one_of_each_converted(&proxy);
    for model in &models {
        // Some vendors begin with up to five frames that say nothing.
        for n in 6..10 {
            let silence = Some((n, 60_000));
            proxy.demo.push(Fault { frames: Some(200), silence, ..Fault::default() });
            let mut client = proxy.client();
            client.begin_chat(&stream(model));
            assert_eq!(client.head().status, 200, "{model}");
            let mut deltas = 0;
            while deltas < n - 5 {
                let chunk = String::from_utf8(client.chunk().unwrap()).unwrap();
                // Of what is thought, too.
                deltas += chunk.matches("content\":\"").count();
            }
            client.hang_up();
            hung_up += 1;
            let noticed = eventually(model, || proxy.demo.hung_up() == hung_up);
            assert!(noticed < Duration::from_secs(1), "{model}: {noticed:?}");
        }
        proxy.demo.push(Fault { delay_ms: 60_000, ..Fault::default() });
        let seen = proxy.inferences().len();
        let mut client = proxy.client();
        client.begin_chat(&hi(model));
        eventually("the request arrives", || proxy.inferences().len() == seen + 1);
        client.hang_up();
        hung_up += 1;
        eventually(model, || proxy.demo.hung_up() == hung_up);
    }
    assert!(models.iter().any(|model| model.contains("claude")), "{models:?}");
}

/// Of each family that is converted, a model of the demo's that chats.
fn one_of_each_converted(proxy: &Proxy) -> Vec<String> {
    let config = proxy.demo.config_json();
    let names = config["deployment_models"].as_object().unwrap().keys();
    let mut models: Vec<String> = vec![];
    for name in names {
        let family = families::of_model(name);
        let is_new = models.iter().all(|m| families::of_model(m).name != family.name);
        let grammar = family.service.as_ref().and_then(|service| service.grammar);
        let is_converted = grammar.is_some_and(|g| !matches!(g.passes, Passes::OpenAi { .. }));
        if is_new && is_converted && proxy.chat(&hi(name)).status == 200 {
            models.push(name.clone());
        }
    }
    models
}

#[test]
fn silence_is_filled_with_comments() {
    let proxy = Proxy::limited(|limits| limits.keep_alive_ms = 30);
    // Before the answer's first byte, before its first meaningful frame, and between two frames.
    let silences = [
        Fault { delay_ms: 500, ..Fault::default() },
        Fault { silence: Some((1, 500)), ..Fault::default() },
        Fault { silence: Some((3, 500)), ..Fault::default() },
    ];
    for fault in silences {
        proxy.demo.push(fault.clone());
        let reply = proxy.chat(&stream("gpt-4o"));
        let comments = reply.text().matches(": keep-alive\n\n").count();
        assert!((3..30).contains(&comments), "{comments} {fault:?}");
        assert!(reply.said().contains("You said") && reply.dones() == 1 && reply.is_whole);
    }
    proxy.demo.push(Fault { delay_ms: 500, ..Fault::default() });
    assert!(proxy.chat(&hi("gpt-4o")).said().contains("You said"), "no comments in plain JSON");
}

#[test]
fn the_default_keep_alive_is_15_s() {
    Proxy::limited(|limits| assert_eq!(limits.keep_alive_ms, 15_000));
}

#[test]
fn after_a_keep_alive_a_failure_is_a_frame() {
    let start = || Proxy::limited(|limits| limits.keep_alive_ms = 30);
    // Twice, for the connection may be a pooled one, which is replaced once.
    let silent = Fault { no_answer: true, times: 2, ..Fault::default() };
    let faults = [
        (Fault { delay_ms: 400, ..Fault::status(429) }, "Rate limit is exceeded"),
        (Fault { silence: Some((1, 400)), error_after: Some(1), ..Fault::default() }, "token rate"),
        (Fault { delay_ms: 400, ..silent }, "127.0.0.1"),
    ];
    for (fault, why) in faults {
        let proxy = start();
        proxy.demo.push(fault);
        let reply = proxy.chat(&stream("gpt-4o"));
        assert_eq!((reply.status, reply.is_whole, reply.dones()), (200, false, 0));
        assert!(reply.text().starts_with(": keep-alive\n\n"));
        let frames = reply.frames();
        assert_eq!(frames.len(), 1, "{}", reply.text());
        let message = frames[0]["error"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
    }
    // The client has heard no content: another deployment may still answer.
    let proxy = start();
    proxy.demo.push(Fault { delay_ms: 400, ..Fault::status(429) });
    let reply = proxy.chat(&stream("gpt-5"));
    assert!(reply.text().starts_with(": keep-alive\n\n") && reply.is_whole);
    assert!(reply.said().contains("You said") && reply.dones() == 1);
}

#[test]
fn a_stream_that_breaks_off_is_never_a_clean_end() {
    let proxy = Proxy::start();
    let broken = [
        Fault { cut_after: Some(4), ..Fault::default() },
        Fault { end_after: Some(4), ..Fault::default() },
        Fault { error_after: Some(4), ..Fault::default() },
        Fault { error_after: Some(4), body: Some("no JSON at all".into()), ..Fault::default() },
        Fault { error_after: Some(4), body: Some("[1]".into()), ..Fault::default() },
    ];
    for fault in broken {
        let fault = Fault { frames: Some(9), ..fault };
        proxy.demo.push(fault.clone());
        let reply = proxy.chat(&stream("gpt-5"));
        assert_eq!((reply.status, reply.is_whole, reply.dones()), (200, false, 0), "{fault:?}");
        assert_eq!(reply.said(), "word1 word2 ");
        let frames = reply.frames();
        let error = &frames.last().unwrap()["error"];
        assert!(error["message"].as_str().is_some_and(|m| m.len() > 10), "{fault:?}");
        assert_eq!(frames.iter().filter(|f| f["error"].is_object()).count(), 1);
    }
    assert_eq!(proxy.inferences().len(), 5, "nothing is tried again after the first content");
}

#[test]
fn a_reply_that_is_none_is_a_502() {
    let start = || Proxy::limited(|limits| limits.reply_bytes_max = 10_000);
    let long = json!({"choices": [], "x": "x".repeat(10_000)}).to_string();
    let faults = [
        Fault { cut_after: Some(0), ..Fault::default() },
        // Twice, for the connection may be a pooled one, which is replaced once.
        Fault { no_answer: true, times: 2, ..Fault::default() },
        Fault::answer(200, "<html>login</html>"),
        Fault::answer(200, "[]"),
        Fault::answer(200, ""),
        Fault::answer(200, &long),
        Fault::answer(302, "elsewhere"),
    ];
    for fault in faults {
        let proxy = start();
        proxy.demo.push(fault.clone());
        let reply = proxy.chat(&hi("gpt-4o"));
        assert_eq!(reply.status, 502, "{fault:?}: {}", reply.text());
        assert_eq!(reply.json()["error"]["type"], "server_error", "{fault:?}");
    }
    let proxy = start();
    proxy.demo.push(Fault::answer(200, "<html>login</html>"));
    assert_eq!(proxy.chat(&stream("gpt-4o")).status, 502);
    proxy.demo.push(Fault::answer(200, r#"{"error":{"code":"429","message":"slow down"}}"#));
    let reply = proxy.chat(&hi("gpt-4o"));
    assert_eq!((reply.status, &reply.json()["error"]["message"]), (429, &json!("slow down")));
}

#[test]
fn silence_without_end_is_a_504() {
    let proxy = Proxy::limited(|limits| limits.upstream_idle_ms_max = 300);
    proxy.demo.push(Fault { delay_ms: 60_000, ..Fault::default() });
    let reply = proxy.chat(&hi("gpt-4o"));
    assert_eq!(reply.status, 504, "{}", reply.text());
    proxy.demo.push(Fault { silence: Some((3, 60_000)), ..Fault::default() });
    let reply = proxy.chat(&stream("gpt-4o"));
    assert_eq!((reply.status, reply.is_whole, reply.dones()), (200, false, 0));
    assert!(
        reply.frames().last().unwrap()["error"]["message"].as_str().unwrap().contains("silent")
    );
}

// ── errors, retries, failover ────────────────────────────────────────────────────────────────────

#[test]
fn errors_of_every_shape_are_told_in_the_clients_dialect() {
    let proxy = Proxy::start();
    // File, status, message, code, param.
    #[rustfmt::skip]
    let table = [
        ("aicore_404.json", 404, "Deployment d9 is not known.", Some("01020404"), None),
        ("azure_400_filter.json", 400, "Filtered.", Some("content_filter"), Some("prompt")),
        ("azure_400_long.json", 400, "Too long.", Some("context_length_exceeded"), Some("messages")),
        ("azure_429.json", 429, "Come back in 7 seconds.", Some("429"), None),
        ("bedrock_424.json", 424, "The model failed.", None, None),
        ("detail_422.json", 422, r#"[{"loc":["body","n"],"msg":"not a number"}]"#, None, None),
        ("empty.txt", 500, "SAP AI Core answered 500 without saying why.", None, None),
        ("empty_object.json", 400, "SAP AI Core answered 400 without saying why.", None, None),
        ("errors_list.json", 400, "The first of two.", None, None),
        ("google_400.json", 400, "A field is unknown.", Some("400"), None),
        ("google_array_429.json", 429, "The quota is used up.", Some("429"), None),
        ("mesh_401.txt", 401, "Jwt is expired", None, None),
        ("mesh_403.txt", 403, "RBAC: access denied", None, None),
        ("mesh_413.txt", 413, "Payload Too Large", None, None),
        ("mesh_503.txt", 503, "upstream connect error. reset reason: overflow", None, None),
        ("mesh_504.txt", 504, "upstream request timeout", None, None),
        ("oauth_400.json", 400, "The grant is not valid.", Some("invalid_grant"), None),
        ("orchestration_400.json", 400, "A property is missing.", Some("400"), None),
        ("orchestration_list_429.json", 429, "The first module is limited.", Some("429"), None),
        ("orchestration_unwrapped_400.json", 400, "Filtered on the way in.", Some("400"), None),
        ("page_502.txt", 502, "SAP AI Core answered 502 without saying why.", None, None),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/errors");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    files.sort();
    assert_eq!(files, table.iter().map(|row| row.0).collect::<Vec<_>>());
    for (file, upstream, message, code, param) in table {
        let body = std::fs::read_to_string(folder.join(file)).unwrap();
        // 401 and 403 are about our credentials, and tried again with new ones.
        let (times, status) = if matches!(upstream, 401 | 403) { (2, 502) } else { (1, upstream) };
        let message = match times {
            2 => format!(
                "SAP AI Core refuses this proxy's credentials: {message}. \
                 The proxy's owner should check the service key and the resource group."
            ),
            _ => message.to_owned(),
        };
        let kind = match status {
            429 => "rate_limit_error",
            424 | 500.. => "server_error",
            _ => "invalid_request_error",
        };
        let error = json!({"message": message, "type": kind, "param": param, "code": code});
        for request in [hi("gpt-4o"), stream("gpt-4o")] {
            let fault = Fault::answer(upstream, body.trim_end()).with_header("retry-after", "7");
            proxy.demo.push(Fault { times, ..fault });
            let reply = proxy.chat(&request);
            assert_eq!((reply.status, reply.json()), (status, json!({"error": error})), "{file}");
            assert_eq!(reply.header("content-type"), "application/json");
            assert_eq!(reply.header("retry-after"), "7", "{file}");
        }
        let kind = match status {
            404 => "not_found_error",
            408 | 504 => "timeout_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            424 | 500.. => "api_error",
            _ => "invalid_request_error",
        };
        for (model, is_stream) in [("gpt-4o", false), ("claude-opus-4-8", true)] {
            let fault = Fault::answer(upstream, body.trim_end()).with_header("retry-after", "7");
            proxy.demo.push(Fault { times, ..fault });
            let asked = json!({"model": model, "max_tokens": 9, "stream": is_stream,
                "messages": [{"role": "user", "content": "hi"}]});
            let asked = asked.to_string();
            let reply = proxy.client().send("POST", "/v1/messages", KEY, asked.as_bytes());
            let id = reply.header("request-id").to_owned();
            let error = json!({"type": "error", "request_id": id,
                "error": {"type": kind, "message": message}});
            assert_eq!((reply.status, reply.json()), (status, error), "{file} {model}");
            assert_eq!(reply.header("retry-after"), "7", "{file}");
        }
    }
}

#[test]
fn an_error_in_a_good_stream_is_a_real_status() {
    let proxy = Proxy::start();
    let table = [
        (0, None, 429),
        // After the prompt filter's frame, which means nothing yet.
        (1, None, 429),
        (0, Some(r#"{"error":{"code":"content_filter","message":"no"}}"#), 400),
        (1, Some(r#"{"error":{"code":null,"type":"too_many_requests","message":"no"}}"#), 429),
        (1, Some(r#"[{"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}]"#), 503),
        (1, Some(r#"{"error":{"code":"401","message":"no"}}"#), 502),
        (1, Some(r#"{"error":{"message":"no"}}"#), 500),
        (1, Some(r#"{"error":"no"}"#), 500),
    ];
    for (after, body, status) in table {
        let body = body.map(str::to_owned);
        proxy.demo.push(Fault { error_after: Some(after), body: body.clone(), ..Fault::default() });
        let reply = proxy.chat(&stream("gpt-4o"));
        assert_eq!(reply.status, status, "{body:?}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/json");
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        let expected = if body.is_some() { "no" } else { "exceeded token rate limit (demo)" };
        assert!(message.contains(expected), "{message}");
    }
    // The prompt filter alone is no reply.
    proxy.demo.push(Fault { end_after: Some(1), ..Fault::default() });
    assert_eq!(proxy.chat(&stream("gpt-4o")).status, 502);
}

#[test]
fn another_deployment_answers_for_one_that_fails() {
    let proxy = Proxy::start();
    let faults = [
        Fault::status(429),
        Fault::status(503),
        Fault::status(500),
        Fault::status(404),
        Fault { error_after: Some(0), ..Fault::default() },
        Fault { error_after: Some(1), ..Fault::default() },
    ];
    for fault in faults {
        for body in [hi("gpt-5"), stream("gpt-5")] {
            let is_whole = body["stream"].is_null();
            if is_whole && fault.error_after.is_some() {
                continue;
            }
            let before = proxy.inferences().len();
            proxy.demo.push(fault.clone());
            let reply = proxy.chat(&body);
            assert_eq!(reply.status, 200, "{fault:?}: {}", reply.text());
            assert!(reply.said().contains("You said"), "{fault:?}");
            let tried = proxy.inferences().split_off(before);
            assert_eq!(tried.len(), 2, "{fault:?}");
            assert_ne!(tried[0].target, tried[1].target);
            assert_eq!(tried[0].body, tried[1].body);
        }
    }
}

/// The work may have been done, and paid for: what began to be answered is not asked of another.
#[test]
fn an_answer_that_broke_off_is_not_asked_for_elsewhere() {
    let proxy = Proxy::start();
    for body in [hi("gpt-5"), stream("gpt-5")] {
        let before = proxy.inferences().len();
        proxy.demo.push(Fault { cut_after: Some(1), ..Fault::default() });
        let reply = proxy.chat(&body);
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert_eq!(proxy.inferences().len(), before + 1);
    }
}

#[test]
fn a_deployment_that_cannot_be_reached_is_passed_over() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::configured(|json| {
        let good = json["deployment_models"]["gpt-5"][0].take();
        let dead = format!("http://{closed}/v2/inference/deployments/d1");
        json["deployment_models"]["gpt-5"] = json!([dead, good]);
        json["deployment_models"]["gpt-4o"] = json!(dead);
    });
    for _ in 0..4 {
        assert_eq!(proxy.chat(&hi("gpt-5")).status, 200);
        assert_eq!(proxy.chat(&stream("gpt-5")).status, 200);
    }
    let reply = proxy.chat(&hi("gpt-4o"));
    assert_eq!(reply.status, 502);
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("127.0.0.1"), "{message}");
    // One that accepts and says nothing, on pooled connections as on new ones.
    let proxy = Proxy::start();
    let silent = Fault { no_answer: true, times: usize::MAX, ..Fault::default() };
    proxy.demo.push(Fault { deployment: GPT_5[0].into(), ..silent });
    let mut client = proxy.client();
    for _ in 0..4 {
        assert_eq!(client.chat(&hi("gpt-5")).status, 200);
        assert_eq!(client.chat(&stream("gpt-5")).status, 200);
    }
}

#[test]
fn where_all_fail_the_last_failure_is_told() {
    let proxy = Proxy::start();
    proxy.demo.push(Fault::status(503));
    proxy.demo.push(Fault::status(429).with_header("retry-after", "9"));
    let reply = proxy.chat(&stream("gpt-5"));
    assert_eq!((reply.status, reply.header("retry-after")), (429, "9"));
    assert_eq!(proxy.inferences().len(), 2);
    let one = Proxy::limited(|limits| limits.tries = 1);
    one.demo.push(Fault::status(503));
    assert_eq!((one.chat(&hi("gpt-5")).status, one.inferences().len()), (503, 1));
}

#[test]
fn what_is_the_clients_fault_is_tried_once() {
    let proxy = Proxy::start();
    for status in [400, 413, 422] {
        let before = proxy.inferences().len();
        proxy.demo.push(Fault::status(status));
        assert_eq!(proxy.chat(&stream("gpt-5")).status, status);
        assert_eq!(proxy.inferences().len(), before + 1, "{status}");
    }
    proxy.demo.push(Fault {
        error_after: Some(1),
        body: Some(r#"{"error":{"code":"content_filter","message":"no"}}"#.into()),
        ..Fault::default()
    });
    assert_eq!(proxy.chat(&stream("gpt-5")).status, 400);
    assert_eq!(proxy.inferences().len(), 4);
}

#[test]
fn deployments_take_turns() {
    let proxy = Proxy::start();
    for _ in 0..6 {
        assert_eq!(proxy.chat(&hi("gpt-5")).status, 200);
    }
    for id in GPT_5 {
        let count = proxy.inferences().iter().filter(|s| s.target.contains(id)).count();
        assert_eq!(count, 3, "{id}");
    }
}

#[test]
fn a_pooled_connection_that_died_is_replaced() {
    let proxy = Proxy::start();
    let mut client = proxy.client();
    assert_eq!(client.chat(&hi("gpt-4o")).status, 200);
    // Closed after the answer, unannounced.
    proxy.demo.push(Fault { close: true, ..Fault::default() });
    assert_eq!(client.chat(&hi("gpt-4o")).status, 200);
    assert_eq!(client.chat(&hi("gpt-4o")).status, 200);
    // Closed while the request is on its way: the race that no look beforehand can win.
    let pooled = proxy.last().connection;
    proxy.demo.push(Fault { no_answer: true, ..Fault::default() });
    assert_eq!(client.chat(&stream("gpt-4o")).status, 200);
    let seen = proxy.inferences();
    let [.., dropped, again] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((dropped.connection, dropped.status, again.status), (pooled, 0, 200));
    assert_ne!(again.connection, pooled);
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    let proxy = Proxy::start();
    let mut client = proxy.client();
    for body in [hi("gpt-4o"), stream("gpt-4o"), hi("gpt-4.1"), stream("gpt-5")] {
        assert_eq!(client.chat(&body).status, 200);
    }
    let mut connections: Vec<_> = proxy.demo.seen().iter().map(|s| s.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), 1);
}

#[test]
fn an_answer_that_comes_before_the_body_is_read_is_passed_on() {
    let proxy = Proxy::start();
    let mut body = hi("gpt-4o");
    body["messages"][0]["content"] = json!("x".repeat(8 << 20));
    proxy.demo.push(Fault { early: true, ..Fault::status(413) });
    let reply = proxy.chat(&body);
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert_eq!(reply.json()["error"]["message"], "Payload Too Large");
}

// ── access tokens ────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_refused_token_is_renewed_once() {
    let proxy = Proxy::start();
    assert_eq!(proxy.chat(&hi("gpt-4o")).status, 200);
    proxy.demo.revoke_tokens();
    assert_eq!(proxy.chat(&stream("gpt-4o")).status, 200);
    assert_eq!((proxy.demo.token_fetches(), proxy.inferences().len()), (2, 3));
    for status in [401, 403] {
        let fetches = proxy.demo.token_fetches();
        proxy.demo.push(Fault::status(status));
        assert_eq!(proxy.chat(&hi("gpt-4o")).status, 200, "{status}");
        assert_eq!(proxy.demo.token_fetches(), fetches + 1, "{status}");
    }
}

#[test]
fn a_token_refused_for_ever_is_a_502() {
    let proxy = Proxy::start();
    for status in [401, 403] {
        let (fetches, calls) = (proxy.demo.token_fetches(), proxy.inferences().len());
        proxy.demo.push(Fault { times: 2, ..Fault::status(status) });
        let reply = proxy.chat(&stream("gpt-4o"));
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert_eq!(reply.header("www-authenticate"), "");
        assert!(reply.json()["error"]["message"].as_str().unwrap().contains("credentials"));
        assert_eq!(proxy.inferences().len(), calls + 2);
        // The first request of all has to fetch one before.
        let fetched = proxy.demo.token_fetches() - fetches;
        assert_eq!(fetched, if fetches == 0 { 2 } else { 1 });
        assert_eq!(proxy.chat(&hi("gpt-4o")).status, 200);
    }
}

#[test]
fn fifty_first_requests_fetch_one_token() {
    let proxy = Arc::new(Proxy::start());
    proxy.demo.push(Fault { at: Place::Token, delay_ms: 200, ..Fault::default() });
    let start = Arc::new(Barrier::new(50));
    let clients = (0..50).map(|_| {
        let (proxy, start) = (proxy.clone(), start.clone());
        thread::spawn(move || {
            let mut client = proxy.client();
            start.wait();
            client.chat(&hi("gpt-4o")).status
        })
    });
    let clients = clients.collect::<Vec<_>>();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    assert_eq!(proxy.demo.token_fetches(), 1);
}

#[test]
fn a_token_is_renewed_while_the_old_one_serves() {
    let options = Options { token_expires_in: 4, ..quick() };
    let proxy = Proxy::with(options, |_| {}, |_| {});
    let mut client = proxy.client();
    assert_eq!(client.chat(&hi("gpt-4o")).status, 200);
    let old = proxy.last().header("authorization").unwrap().to_owned();
    proxy.demo.push(Fault { at: Place::Token, delay_ms: 1000, ..Fault::default() });
    eventually("a new token is fetched", || {
        assert_eq!(client.chat(&hi("gpt-4o")).status, 200);
        proxy.demo.token_fetches() == 2
    });
    // The answer of the token host is a second away.
    let began = Instant::now();
    assert_eq!(client.chat(&hi("gpt-4o")).status, 200);
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    assert_eq!(proxy.last().header("authorization"), Some(&*old));
    eventually("the new token is used", || {
        assert_eq!(client.chat(&hi("gpt-4o")).status, 200);
        proxy.last().header("authorization") != Some(&*old)
    });
    assert!(proxy.inferences().iter().all(|s| s.status == 200), "no token had expired");
}

#[test]
fn a_token_host_that_is_down_is_named_and_recovers() {
    let proxy = Proxy::start();
    let token = |fault| Fault { at: Place::Token, ..fault };
    let outage =
        |status| token(Fault { times: usize::MAX, ..Fault::answer(status, "out of order") });
    proxy.demo.push(Fault { times: 3, ..outage(503) });
    let reply = proxy.chat(&hi("gpt-4o"));
    assert_eq!(reply.status, 502);
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("token host") && message.contains("out of order"), "{message}");
    eventually("it recovers", || proxy.chat(&hi("gpt-4o")).status == 200);
}

#[test]
fn a_wrong_service_key_is_asked_for_once_and_named() {
    let proxy = Proxy::configured(|json| json["service_key_json"]["clientsecret"] = json!("no"));
    for body in [hi("gpt-4o"), stream("gpt-5")] {
        let reply = proxy.chat(&body);
        assert_eq!(reply.status, 502);
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("service key") && message.contains("401"), "{message}");
        assert!(!message.contains("aicore!b"), "{message}");
    }
    let asked = proxy.demo.seen().iter().filter(|s| s.target == "/oauth/token").count();
    assert!(asked <= 2, "{asked}");
}

#[test]
fn a_token_host_that_hiccups_is_asked_again() {
    let proxy = Proxy::start();
    proxy.demo.push(Fault { at: Place::Token, ..Fault::status(503) });
    proxy.demo.push(Fault { at: Place::Token, no_answer: true, ..Fault::default() });
    assert_eq!(proxy.chat(&hi("gpt-4o")).status, 200);
}

// ── clients that leave ───────────────────────────────────────────────────────────────────────────

#[test]
fn a_hang_up_ends_the_call_within_a_second() {
    let proxy = Proxy::limited(|limits| limits.keep_alive_ms = 60_000);
    let endless = Fault { frames: Some(50_000), pause_ms: Some(5), ..Fault::default() };
    let table = [
        (
            "before a stream's first byte",
            stream("gpt-4o"),
            Fault { delay_ms: 60_000, ..Fault::default() },
        ),
        (
            "before its first content",
            stream("gpt-4o"),
            Fault { silence: Some((1, 60_000)), ..Fault::default() },
        ),
        (
            "in its middle",
            stream("gpt-4o"),
            Fault { silence: Some((3, 60_000)), ..Fault::default() },
        ),
        ("while it flows", stream("gpt-4o"), endless),
        ("before a whole reply", hi("gpt-4o"), Fault { delay_ms: 60_000, ..Fault::default() }),
        ("with a deployment left", hi("gpt-5"), Fault { delay_ms: 60_000, ..Fault::default() }),
    ];
    for (n, (when, body, fault)) in table.into_iter().enumerate() {
        let has_content = when == "in its middle" || when == "while it flows";
        proxy.demo.push(fault);
        let mut client = proxy.client();
        client.begin_chat(&body);
        eventually("the request arrives", || proxy.inferences().len() == n + 1);
        if has_content {
            client.head();
            client.chunk().unwrap();
        }
        client.hang_up();
        let noticed = eventually(when, || proxy.demo.hung_up() == n + 1);
        assert!(noticed < Duration::from_secs(1), "{when}: {noticed:?}");
    }
    assert_eq!(proxy.inferences().len(), 6, "nobody is tried for a client that has gone");
    assert_eq!(proxy.chat(&hi("gpt-4o")).status, 200);
}

#[test]
fn a_stop_lets_streams_finish_and_lets_nobody_in() {
    let proxy = Proxy::start();
    proxy.demo.push(Fault { frames: Some(4), silence: Some((3, 700)), ..Fault::default() });
    let mut client = proxy.client();
    client.begin_chat(&stream("gpt-4o"));
    assert_eq!(client.head().status, 200);
    let Proxy { demo, address, server } = proxy;
    let stopping = thread::spawn(move || server.stop());
    eventually("new connections are refused", || std::net::TcpStream::connect(address).is_err());
    assert!(!stopping.is_finished(), "the stream is still under way");
    let mut text = vec![];
    loop {
        let chunk = client.chunk().expect("the stream is whole");
        if chunk.is_empty() {
            break;
        }
        text.extend(chunk);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("word4 ") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(stopping.join().unwrap(), 0);
    assert_eq!(demo.hung_up(), 0);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let proxy = Proxy::limited(|limits| limits.stop_ms_max = 100);
    proxy.demo.push(Fault { delay_ms: 60_000, ..Fault::default() });
    let mut client = Client::to(proxy.address);
    client.begin_chat(&hi("gpt-4o"));
    eventually("the request arrives", || proxy.inferences().len() == 1);
    assert_eq!(proxy.server.stop(), 1);
}
