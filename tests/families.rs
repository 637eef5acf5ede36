//! Every family behind `POST /v1/chat/completions`, through the real server, in front of the strict demo.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;

use sap_ai_core_llm_proxy::demo::Fault;
use serde_json::{Value, json};
use support::{Proxy, Reply, hi};

/// One of each kind of upstream.
const MODELS: &[&str] = &[
    "gpt-4o",
    "gpt-5.3-codex",
    "anthropic--claude-4.5-sonnet",
    "anthropic--claude-4.8-opus",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-3.5-flash",
    "amazon--nova-pro",
    "cohere--command-a-reasoning",
    "mistralai--mistral-medium-instruct",
    "orchestration/gpt-4o",
    "orchestration/anthropic--claude-4.5-sonnet",
    "orchestration/gemini-2.5-flash",
];
/// It calls no tools.
const PERPLEXITY: &str = "sonar-pro";
/// Those that think, and want their thoughts back.
const THINKERS: &[&str] = &[
    "gpt-5.3-codex",
    "gpt-5.5",
    "anthropic--claude-4.5-sonnet",
    "anthropic--claude-4.8-opus",
    "gemini-2.5-pro",
    "gemini-3.5-flash",
    "orchestration/anthropic--claude-4.5-sonnet",
];
/// Those that are converted.
const CONVERTED: &[&str] = &[
    "gpt-5.3-codex",
    "anthropic--claude-4.5-sonnet",
    "gemini-2.5-flash",
    "amazon--nova-pro",
    "cohere--command-a-reasoning",
    "orchestration/gpt-4o",
];

#[test]
fn whole_and_stream_say_the_same() {
    let proxy = Proxy::start();
    for model in MODELS {
        for (what, body) in [
            ("plain", said("hello")),
            ("tools", with_tools(said("get_weather and get_time"))),
            ("schema", with_schema(said("answer"))),
            ("length", with(said("a long story"), "max_tokens", json!(5))),
            ("stop", with(said("one STOP two"), "stop", json!(["STOP"]))),
        ] {
            let (whole, streamed) = both(&proxy, model, &body);
            // Beside calls, some say nothing whole and an empty text in a stream.
            let text = |m: &Value| m["content"].as_str().unwrap_or("").to_owned();
            assert_eq!(text(&whole), text(&streamed), "{model} {what}");
            // Spaces within arguments are the vendor's business.
            let calls = |m: &Value| {
                let calls = m["tool_calls"].as_array().cloned().unwrap_or_default();
                let read = |c: &Value| {
                    let arguments = c["function"]["arguments"].as_str().unwrap();
                    (
                        c["function"]["name"].clone(),
                        serde_json::from_str::<Value>(arguments).unwrap(),
                    )
                };
                calls.iter().map(read).collect::<Vec<_>>()
            };
            assert_eq!(calls(&whole), calls(&streamed), "{model} {what}");
            assert_eq!(whole["finish_reason"], streamed["finish_reason"], "{model} {what}");
            let expected = match what {
                "tools" => "tool_calls",
                "length" => "length",
                _ => "stop",
            };
            assert_eq!(whole["finish_reason"], expected, "{model} {what}: {whole}");
            match what {
                "tools" => assert_eq!(calls(&whole).len(), 2, "{model}: {whole}"),
                "schema" => {
                    let text = whole["content"].as_str().unwrap();
                    let answer: Value = serde_json::from_str(text).unwrap();
                    assert_eq!(answer["city"], "Paris", "{model}: {text}");
                    assert!(whole.get("tool_calls").is_none(), "{model}: {whole}");
                }
                // The API that it is asked by knows no such.
                "stop" if model.ends_with("-codex") => {}
                "stop" => assert!(!whole["content"].as_str().unwrap().contains("two"), "{model}"),
                _ => {}
            }
        }
    }
}

#[test]
fn usage_comes_where_it_is_asked_for() {
    let proxy = Proxy::start();
    for model in MODELS.iter().chain([&PERPLEXITY]) {
        let body = with(said("hello"), "model", json!(model));
        let usage = proxy.chat(&body).json()["usage"].clone();
        let (input, output) = (&usage["prompt_tokens"], &usage["completion_tokens"]);
        let sum = input.as_u64().unwrap() + output.as_u64().unwrap();
        assert_eq!(usage["total_tokens"], sum, "{model}: {usage}");
        let streamed = with(body, "stream", json!(true));
        let silent = proxy.chat(&streamed);
        assert!(silent.frames().iter().all(|f| f["usage"].is_null()), "{model}");
        assert!(silent.frames().iter().all(|f| f["choices"] != json!([])), "{model}");
        let asked = with(streamed, "stream_options", json!({"include_usage": true}));
        let frames = proxy.chat(&asked).frames();
        let last = frames.last().unwrap();
        assert_eq!(last["choices"], json!([]), "{model}");
        assert_eq!(last["usage"]["total_tokens"], usage["total_tokens"], "{model}");
        let before = &frames[..frames.len() - 1];
        assert!(before.iter().all(|f| f["usage"].is_null()), "{model}");
        let ids: Vec<_> = frames.iter().map(|f| (&f["id"], &f["created"], &f["model"])).collect();
        assert!(ids.windows(2).all(|w| w[0] == w[1]), "{model}: {ids:?}");
    }
}

#[test]
fn perplexity_says_the_same_and_is_spoken_to_by_turns() {
    let proxy = Proxy::start();
    let (whole, streamed) = both(&proxy, PERPLEXITY, &said("hello"));
    assert_eq!(whole["content"], streamed["content"]);
    let turns = json!([
        {"role": "user", "content": "one"},
        {"role": "developer", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}]},
        {"role": "assistant", "content": "four"},
    ]);
    let body = json!({"model": PERPLEXITY, "messages": turns, "seed": 1, "stream": true});
    let reply = proxy.chat(&body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-proxy-dropped"), "seed");
    assert!(reply.frames().iter().all(|f| f["choices"][0].get("message").is_none()));
    let refused = proxy.chat(&with(with_tools(said("hello")), "model", json!(PERPLEXITY)));
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["param"], "tools");
}

#[test]
fn mistral_and_perplexity_get_conversations_of_other_models() {
    let proxy = Proxy::start();
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let function = json!({"name": "f", "arguments": ""});
    let call = json!({"id": "call_1", "type": "function", "function": function});
    let calling = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "42"});
    let echoed = json!({"role": "assistant", "content": "b", "refusal": null, "annotations": []});
    let hi = said("user", "a");
    let table = [
        json!([hi, said("assistant", "b")]),
        json!([hi, said("assistant", "b"), said("system", "s")]),
        json!([hi, calling, result, said("developer", "s")]),
        json!([hi, calling, said("assistant", "meanwhile"), result]),
        json!([hi, calling, said("user", "b")]),
        json!([hi, result, said("user", "b")]),
        json!([hi, echoed, said("user", "b")]),
    ];
    for model in ["mistralai--mistral-medium-instruct", PERPLEXITY] {
        for messages in &table {
            let reply = proxy.chat(&json!({"model": model, "messages": messages}));
            assert_eq!(reply.status, 200, "{model} {messages}: {}", reply.text());
            if model == PERPLEXITY {
                assert_eq!(reply.header("x-proxy-dropped"), "", "{messages}");
            }
        }
        let idle = json!({"model": model, "messages": [hi], "tools": [], "tool_choice": "auto"});
        assert_eq!(proxy.chat(&idle).status, 200, "{model}");
    }
    let format = json!({"type": "json_object"});
    let body =
        json!({"model": PERPLEXITY, "messages": [hi], "temperature": 2, "response_format": format});
    let reply = proxy.chat(&body);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn a_stream_of_nova_is_read_however_it_is_written() {
    let proxy = Proxy::start();
    for form in ["json", "pyrepr", "noprefix", "single_newline"] {
        let body = with_tools(said(&format!("get_weather and get_time [[demo converse={form}]]")));
        let (whole, streamed) = both(&proxy, "amazon--nova-pro", &body);
        assert_eq!(streamed["finish_reason"], "tool_calls", "{form}");
        let arguments = |m: &Value| m["tool_calls"][1]["function"]["arguments"].clone();
        assert_eq!(arguments(&whole), arguments(&streamed), "{form}");
    }
}

#[test]
fn cohere_is_found_under_either_path() {
    let proxy = Proxy::start();
    let (whole, streamed) =
        both(&proxy, "cohere--command-a-reasoning", &said("hello [[demo cohere=v2]]"));
    assert!(!whole["content"].as_str().unwrap().is_empty());
    assert_eq!(whole["content"], streamed["content"]);
}

/// Of a conversation with braces, and with tools' results at its end.
#[test]
fn results_are_given_back_to_every_model() {
    let proxy = Proxy::start();
    for model in MODELS {
        let ask = with(with_tools(said("get_weather and get_time")), "model", json!(model));
        let message = message_of(&proxy.chat(&ask));
        let mut again = with_results(&ask, &message);
        let messages = again["messages"].as_array_mut().unwrap();
        messages.insert(0, json!({"role": "system", "content": "{{ jinja }} {% if %}"}));
        let reply = proxy.chat(&again);
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        messages_push(&mut again, "user", "{{ more }}");
        let reply = proxy.chat(&again);
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    }
}

fn messages_push(body: &mut Value, role: &str, text: &str) {
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": role, "content": text}));
}

/// A client that can carry no signature replays a call and its result, with thinking on.
#[test]
fn thoughts_come_back_with_the_calls_they_led_to() {
    let proxy = Proxy::start();
    for model in THINKERS {
        for is_stream in [false, true] {
            let ask = with(
                with_tools(said("get_weather and get_time")),
                "reasoning_effort",
                json!("low"),
            );
            let ask = with(with(ask, "model", json!(model)), "stream", json!(is_stream));
            let message = message_of(&proxy.chat(&ask));
            assert!(
                !message["reasoning_content"].as_str().unwrap_or("").is_empty(),
                "{model}: {message}"
            );
            let reply = proxy.chat(&with_results(&ask, &message));
            assert_eq!(reply.status, 200, "{model}: {}", reply.text());
            assert_eq!(reply.header("x-proxy-dropped"), "", "{model}: thinking was lost");
            let message = message_of(&reply);
            assert!(message["content"].as_str().unwrap().contains("The tool says"), "{message}");
        }
    }
}

#[test]
fn lost_thoughts_cost_the_thinking_of_a_turn_and_no_more() {
    let proxy = Proxy::limited(|limits| limits.vault_entries_max = 0);
    for model in THINKERS {
        let ask = with(with_tools(said("get_weather")), "reasoning_effort", json!("low"));
        let ask = with(ask, "model", json!(model));
        let message = message_of(&proxy.chat(&ask));
        let reply = proxy.chat(&with_results(&ask, &message));
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    }
}

#[test]
fn an_error_is_an_error_before_and_after_the_first_byte() {
    let proxy = Proxy::start();
    for model in CONVERTED {
        let body = with(with(said("hello"), "model", json!(model)), "stream", json!(true));
        // Of both deployments, where there are two.
        proxy.demo.push(Fault { error_after: Some(0), times: 2, ..Fault::default() });
        let reply = proxy.chat(&body);
        // Cohere's streams cannot say more than that the model failed.
        let expected = if model.starts_with("cohere") { 500 } else { 429 };
        assert_eq!(reply.status, expected, "{model}: {}", reply.text());
        let _ = proxy.chat(&with(said("uses up"), "model", json!(model)));
        // A thought that nobody sees comes first.
        let begun = if model.ends_with("-codex") { 8 } else { 5 };
        proxy.demo.push(Fault { error_after: Some(begun), ..Fault::default() });
        let reply = proxy.chat(&body);
        assert_eq!(reply.status, 200, "{model}");
        assert_eq!(reply.dones(), 0, "{model}");
        assert!(reply.frames().last().unwrap()["error"].is_object(), "{model}: {}", reply.text());
        assert!(!reply.is_whole, "{model}");
    }
}

#[test]
fn a_stream_that_is_cut_never_looks_complete() {
    let proxy = Proxy::start();
    for model in CONVERTED {
        let body = with(with(said("hi"), "model", json!(model)), "stream", json!(true));
        let marked = |n: usize| {
            with(
                body.clone(),
                "messages",
                said(&format!("hi [[demo bytes={n}]]"))["messages"].clone(),
            )
        };
        for bytes in (1..2000).step_by(61) {
            let reply = proxy.chat(&marked(bytes));
            let is_error = reply.status >= 500
                || (reply.dones() == 0
                    && reply.frames().last().is_some_and(|f| f["error"].is_object()));
            let is_complete = reply.dones() == 1;
            assert!(is_error || is_complete, "{model} {bytes}: {} {}", reply.status, reply.text());
            if is_complete {
                let finish =
                    reply.frames().iter().any(|f| !f["choices"][0]["finish_reason"].is_null());
                assert!(finish, "{model} {bytes}: {}", reply.text());
            }
        }
    }
}

#[test]
fn what_is_refused_by_name_is_healed_and_remembered() {
    let proxy = Proxy::start();
    let ask = |text: &str| {
        let body = with(said(text), "reasoning_effort", json!("high"));
        with(body, "model", json!("anthropic--claude-4.8-opus"))
    };
    let reply = proxy.chat(&ask("hi [[demo refuse=output_config]]"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.header("x-proxy-dropped").contains("output_config"), "{}", reply.head);
    assert_eq!(proxy.inferences().len(), 2);
    let reply = proxy.chat(&ask("hi [[demo refuse=output_config]]"));
    assert_eq!((reply.status, proxy.inferences().len()), (200, 3));
}

#[test]
fn a_model_without_streams_answers_a_client_that_wants_one() {
    let proxy = Proxy::start();
    let body = with(said("hi [[demo no_stream]]"), "model", json!("orchestration/gpt-4o"));
    let reply = proxy.chat(&with(body, "stream", json!(true)));
    assert!(message_of(&reply)["content"].as_str().unwrap().contains("hi"), "{}", reply.text());
}

#[test]
fn images_are_fetched_for_models_that_take_no_urls() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in server.incoming().flatten() {
            let mut socket = socket;
            let _ = socket.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                PNG.len()
            );
            let _ = socket.write_all(head.as_bytes());
            let _ = socket.write_all(PNG);
        }
    });
    let body = |url: &str| {
        let content = json!([
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": url}},
        ]);
        json!({"model": CONVERTED[0], "messages": [{"role": "user", "content": content}]})
    };
    let url = format!("http://{address}/a.png");
    let allowed = Proxy::configured(|json| {
        json["limits"] = json!({"fetch_images_from": [address.to_string()]});
    });
    let reply = allowed.chat(&body(&url));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(message_of(&reply)["content"].as_str().unwrap().contains("I see 1 image"));
    let private = Proxy::start().chat(&body(&url));
    assert_eq!(private.status, 400, "{}", private.text());
    assert_eq!(private.json()["error"]["param"], "messages[0].content[1].image_url");
    let off = Proxy::configured(|json| json["limits"] = json!({"fetch_images": false}));
    let off = off.chat(&body(&url));
    assert_eq!(off.status, 400);
    assert!(off.text().contains("fetch_images"), "{}", off.text());
}

#[test]
fn cache_points_are_added_and_cached_prompts_are_counted() {
    let long = "instructions ".repeat(600);
    let body = json!({"model": "anthropic--claude-4.5-haiku", "messages": [
        {"role": "system", "content": long}, {"role": "user", "content": "hi"},
    ]});
    let cached = |proxy: &Proxy| {
        proxy.chat(&body);
        let usage = proxy.chat(&body).json()["usage"].clone();
        assert!(
            usage["prompt_tokens"].as_u64()
                > usage["prompt_tokens_details"]["cached_tokens"].as_u64()
        );
        usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert!(cached(&Proxy::start()) > 1000);
    assert_eq!(cached(&Proxy::configured(|json| json["cache"] = json!("off"))), 0);
}

#[test]
fn what_cannot_be_carried_is_named() {
    let proxy = Proxy::start();
    for model in CONVERTED {
        let dropped = with(with(said("hi"), "seed", json!(1)), "brand_new", json!({"a": 1}));
        let reply = proxy.chat(&with(dropped, "model", json!(model)));
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        assert!(reply.header("x-proxy-dropped").contains("brand_new"), "{model}: {}", reply.head);
        for (key, value) in [("n", json!(2)), ("logprobs", json!(true)), ("functions", json!([{}]))]
        {
            let reply = proxy.chat(&with(with(said("hi"), key, value), "model", json!(model)));
            assert_eq!(reply.status, 400, "{model} {key}");
            assert_eq!(reply.json()["error"]["param"], key, "{model}");
            assert_eq!(reply.json()["error"]["code"], "unsupported_parameter", "{model}");
        }
    }
}

/// Names of one's own, with and without a family said for them.
#[test]
fn names_that_say_nothing_are_looked_up() {
    let proxy = Proxy::configured(|json| {
        let models = json["deployment_models"].as_object_mut().unwrap();
        let url = |name: &str| match &models[name] {
            Value::Array(urls) => urls[0].clone(),
            url => url.clone(),
        };
        let (claude, gpt, untold) =
            (url("anthropic--claude-4.8-opus"), url("gpt-4o"), url("gpt-5-mini"));
        models.insert("our-best".into(), claude);
        models.insert("our-plain".into(), gpt);
        // The list does not say what this one is, only its configuration does.
        models.insert("our-small".into(), untold);
    });
    for name in ["our-best", "our-plain", "our-small", "our-best"] {
        let body = with(with(said("hi"), "max_tokens", json!(50)), "model", json!(name));
        let reply = proxy.chat(&body);
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        assert_eq!(reply.json()["model"], name);
    }
    let asked = proxy.demo.seen().iter().filter(|s| s.target.starts_with("/v2/lm/")).count();
    assert_eq!(asked, 4, "each once, and one configuration");
}

const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

fn said(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": text}]})
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

fn with_tools(body: Value) -> Value {
    let tool = |name: &str| {
        let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        json!({"type": "function", "function": {"name": name, "description": "looks it up", "parameters": city}})
    };
    with(body, "tools", json!([tool("get_weather"), tool("get_time")]))
}

fn with_schema(body: Value) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "place", "strict": true, "schema": schema}});
    with(body, "response_format", format)
}

/// The next request of a client that replays what OpenAI's API knows, and no more.
fn with_results(ask: &Value, message: &Value) -> Value {
    let mut body = ask.clone();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({
        "role": "assistant",
        "content": message["content"],
        "tool_calls": message["tool_calls"],
    }));
    for call in message["tool_calls"].as_array().unwrap() {
        messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}));
    }
    body
}

fn both(proxy: &Proxy, model: &str, body: &Value) -> (Value, Value) {
    let body = with(body.clone(), "model", json!(model));
    let whole = message_of(&proxy.chat(&body));
    (whole, message_of(&proxy.chat(&with(body, "stream", json!(true)))))
}

/// The message, with its finish reason, of a whole reply or as an SDK puts a stream's together.
fn message_of(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    if !reply.header("content-type").starts_with("text/event-stream") {
        let mut message = reply.json()["choices"][0]["message"].clone();
        message["finish_reason"] = reply.json()["choices"][0]["finish_reason"].clone();
        return message;
    }
    assert_eq!(reply.dones(), 1, "{}", reply.text());
    let mut message = json!({"content": null});
    for frame in reply.frames() {
        let choice = &frame["choices"][0];
        let delta = &choice["delta"];
        for key in ["content", "reasoning_content"] {
            if let Some(more) = delta[key].as_str() {
                let text = message[key].as_str().unwrap_or("").to_owned() + more;
                message[key] = json!(text);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap() as usize;
            if message["tool_calls"][index].is_null() {
                if message["tool_calls"].is_null() {
                    message["tool_calls"] = json!([]);
                }
                assert!(call["id"].is_string() && call["function"]["name"].is_string(), "{call}");
                message["tool_calls"].as_array_mut().unwrap().push(call.clone());
                continue;
            }
            let known = &mut message["tool_calls"][index];
            let more = call["function"]["arguments"].as_str().unwrap_or("");
            let all = known["function"]["arguments"].as_str().unwrap_or("").to_owned() + more;
            known["function"]["arguments"] = json!(all);
            if let Some(extra) = call.get("extra_content") {
                known["extra_content"] = extra.clone();
            }
        }
        if !choice["finish_reason"].is_null() {
            message["finish_reason"] = choice["finish_reason"].clone();
        }
    }
    message
}

#[test]
fn the_long_context_is_asked_for_where_a_flag_opens_it() {
    let proxy = Proxy::start();
    for (model, flags, dropped) in [
        ("claude-sonnet-4-5[1m]", json!(["context-1m-2025-08-07"]), ""),
        ("claude-sonnet-4-5", Value::Null, ""),
        ("claude-opus-4-8[1m]", Value::Null, ""),
        ("claude-haiku-4-5[1m]", Value::Null, "model[1m]"),
        ("gpt-5[1m]", Value::Null, ""),
    ] {
        let reply = proxy.chat(&hi(model));
        assert_eq!((reply.status, reply.header("x-proxy-dropped")), (200, dropped), "{model}");
        let body: Value = serde_json::from_slice(&proxy.last().body).unwrap();
        assert_eq!(body["anthropic_beta"], flags, "{model}");
    }
}
