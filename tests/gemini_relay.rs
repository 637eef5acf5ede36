//! OpenAI's clients and the Gemini models of the simulated AI Core, which refuses what Gemini refuses.

mod support;

use serde_json::{Value, json};
use support::{Proxy, Reply, hi, stream};

const MODELS: [&str; 3] = ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-3.5-flash"];

#[test]
fn texts_come_whole_and_streamed() {
    let proxy = Proxy::start();
    for model in MODELS {
        let whole = proxy.chat(&hi(model));
        assert_eq!(whole.status, 200, "{model}: {}", whole.text());
        let text = whole.json()["choices"][0]["message"]["content"].clone();
        assert!(text.as_str().is_some_and(|t| !t.is_empty()), "{model}");
        assert!(whole.json()["usage"]["prompt_tokens"].as_u64() > Some(0), "{model}");
        for marker in ["", " [[demo gemini=array]]", " [[demo gemini=crlf]]", " [[demo pieces=1]]"]
        {
            let mut body = stream(model);
            body["messages"][0]["content"] = format!("hi{marker}").into();
            let streamed = proxy.chat(&body);
            assert_eq!((streamed.status, streamed.dones()), (200, 1), "{}", streamed.text());
            assert_eq!(streamed.said(), text, "{model}{marker}");
        }
    }
}

#[test]
fn every_effort_is_taken() {
    let proxy = Proxy::start();
    for model in MODELS {
        for effort in ["none", "minimal", "low", "medium", "high", "xhigh"] {
            let mut body = hi(model);
            body["reasoning_effort"] = effort.into();
            let reply = proxy.chat(&body);
            assert_eq!(reply.status, 200, "{model} {effort}: {}", reply.text());
            let message = &reply.json()["choices"][0]["message"];
            let is_shown = message["reasoning_content"].is_string();
            assert_eq!(is_shown, effort != "none", "{model} {effort}: {message}");
        }
    }
}

#[test]
fn tools_are_called_and_their_results_answered() {
    let proxy = Proxy::start();
    for model in MODELS {
        // A client that gives everything back, one that knows no signatures, and one whose call another model made.
        for lost in ["nothing", "signature", "id"] {
            let mut body = asks_two(model);
            let reply = proxy.chat(&body);
            assert_eq!(finish(&reply), "tool_calls", "{model}: {}", reply.text());
            let mut message = reply.json()["choices"][0]["message"].clone();
            let calls = message["tool_calls"].as_array_mut().unwrap();
            assert_eq!(calls.len(), 2, "{model}");
            for (n, call) in calls.iter_mut().enumerate() {
                if lost != "nothing" {
                    call.as_object_mut().unwrap().remove("extra_content");
                }
                if lost == "id" {
                    call["id"] = format!("other_{n}").into();
                }
            }
            let result = |call: &Value| json!({"role": "tool", "tool_call_id": call["id"], "content": "{\"sun\": true}"});
            let results: Vec<Value> = calls.iter().map(result).collect();
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(message);
            messages.extend(results);
            let reply = proxy.chat(&body);
            assert_eq!(finish(&reply), "stop", "{model} {lost}: {}", reply.text());
        }
    }
}

#[test]
fn answers_have_their_schema_beside_tools_too() {
    let proxy = Proxy::start();
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    for model in MODELS {
        let mut alone = hi(model);
        alone["response_format"] = format.clone();
        let mut beside = alone.clone();
        beside["tools"] = tools();
        // The demo would call the first tool.
        beside["tool_choice"] = "none".into();
        for body in [alone, beside] {
            let reply = proxy.chat(&body);
            assert_eq!(reply.header("x-proxy-dropped"), "", "{model}");
            let text = reply.json()["choices"][0]["message"]["content"].clone();
            let answer = serde_json::from_str::<Value>(text.as_str().unwrap_or_default());
            assert!(answer.is_ok_and(|a| a["a"].is_i64()), "{model}: {}", reply.text());
        }
    }
}

#[test]
fn refusals_and_failures_are_told() {
    let proxy = Proxy::start();
    let ask = |marker: &str, is_stream: bool| {
        let mut body = if is_stream { stream(MODELS[0]) } else { hi(MODELS[0]) };
        body["messages"][0]["content"] = format!("one two three [[demo {marker}]]").into();
        proxy.chat(&body)
    };
    assert_eq!(finish(&ask("gemini=blocked", false)), "content_filter");
    assert_eq!(ask("gemini=blocked", true).dones(), 1);
    assert_eq!(ask("status=429", false).status, 429);
    assert_eq!(ask("error_after=0", true).status, 429);
    for marker in ["error_after=1", "cut_after=1", "end_after=1", "gemini=array end_after=1"] {
        let reply = ask(marker, true);
        assert_eq!((reply.status, reply.dones()), (200, 0), "{marker}: {}", reply.text());
        assert!(reply.frames().last().is_some_and(|f| f["error"].is_object()), "{marker}");
    }
}

fn finish(reply: &Reply) -> String {
    let finish = &reply.json()["choices"][0]["finish_reason"];
    finish.as_str().unwrap_or_default().to_owned()
}

/// The demo calls the tools that the words name.
fn asks_two(model: &str) -> Value {
    let mut body = hi(model);
    body["messages"][0]["content"] = "hi [[demo tool=get.weather,clock]]".into();
    body["tools"] = tools();
    body
}

fn tools() -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string", "const": "Rome"}}, "additionalProperties": false});
    json!([
        {"type": "function", "function": {"name": "get.weather", "parameters": schema}},
        {"type": "function", "function": {"name": "clock"}},
    ])
}
