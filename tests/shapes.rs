//! The shapes in which clients write a chat completions request: what is read of each.

use sap_ai_core_llm_proxy::chat::{Block, MediaKind, Request, Source, ToolChoice};
use sap_ai_core_llm_proxy::dialect::ClientDialect;
use sap_ai_core_llm_proxy::dialect::openai_chat::ChatCompletions;
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use serde_json::{Value, json};

const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=";

fn read(body: &str) -> Result<Request, Error> {
    Ok(ChatCompletions.decode(&Envelope::parse(body.into())?)?.request)
}

/// A request with these keys beside its messages.
#[track_caller]
fn with(keys: Value) -> Request {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    read(&body.to_string()).unwrap()
}

/// What is read of a message, as it is written.
fn message(json: &str) -> Result<Vec<Block>, Error> {
    let request = read(&format!(r#"{{"messages":[{json}]}}"#))?;
    Ok(request.turns.into_iter().flat_map(|turn| turn.blocks).collect())
}

fn content(role: &str, json: &str) -> Result<Vec<Block>, Error> {
    message(&format!(r#"{{"role":"{role}","tool_call_id":"a","content":{json}}}"#))
}

/// What is read of a tool's result, as it is written.
#[track_caller]
fn result(json: &str) -> Vec<Block> {
    match content("tool", json).unwrap().remove(0) {
        Block::ToolResult { content, .. } => content,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_pixel(blocks: &[Block]) {
    let [Block::Media { kind: MediaKind::Image, source, .. }] = blocks else {
        panic!("{blocks:?}");
    };
    let expected = Source::Base64 { media_type: "image/png".into(), data: PIXEL.into() };
    assert_eq!(*source, expected);
}

#[test]
fn half_a_surrogate_pair_is_read_as_a_replacement() {
    let cut = |text: &str| vec![Block::text(text)];
    for (json, text) in [
        (r#""cut \ud83d""#, "cut \u{fffd}"),
        (r#""\uDC4B cut""#, "\u{fffd} cut"),
        (r#""\ud83d\ud83d\udc4b\\ud83d\u00e9""#, "\u{fffd}👋\\ud83dé"),
        (r#"[{"type":"text","text":"\ud83d"}]"#, "\u{fffd}"),
    ] {
        assert_eq!(content("user", json).unwrap(), cut(text), "{json}");
        assert_eq!(result(json), cut(text), "{json}");
    }
    assert_eq!(result(r#"{"a":"\ud83d"}"#), cut(r#"{"a":"\ufffd"}"#));
    let tools = r#"[{"type":"function","function":{"name":"f","description":"\ud83d"}}]"#;
    let hi = r#"[{"role":"user","content":"hi"}]"#;
    let request = read(&format!(r#"{{"tools":{tools},"messages":{hi}}}"#)).unwrap();
    assert_eq!(request.tools[0].description.as_deref(), Some("\u{fffd}"));
}

#[test]
fn half_a_surrogate_pair_in_arguments() {
    for (json, expected) in [
        (r#""{\"a\": \"\ud83d\"}""#, "{\"a\": \"\u{fffd}\"}"),
        (r#""{\"a\": \"\\ud83d\"}""#, r#"{"a": "\ufffd"}"#),
        (r#"{"a": "\ud83d"}"#, r#"{"a": "\ufffd"}"#),
        (r#"{"a": 1.10}"#, r#"{"a": 1.10}"#),
    ] {
        let call = format!(r#"{{"id":"a","function":{{"name":"f","arguments":{json}}}}}"#);
        let blocks = message(&format!(r#"{{"role":"assistant","tool_calls":[{call}]}}"#)).unwrap();
        let [Block::ToolCall { arguments, .. }] = &blocks[..] else { panic!("{blocks:?}") };
        assert_eq!(arguments, expected, "{json}");
    }
}

#[test]
fn tools_in_flat_shapes() {
    let schema = json!({"type": "object"});
    for tool in [
        json!({"type": "function", "name": "f", "description": "F.", "parameters": schema}),
        json!({"name": "f", "description": "F.", "input_schema": schema}),
        json!({"type": "custom", "name": "f", "description": "F.", "input_schema": schema}),
        json!({"function": {"name": "f", "description": "F.", "parameters": schema}}),
    ] {
        let request = with(json!({"tools": [tool]}));
        assert!(request.dropped.is_empty(), "{:?}", request.dropped);
        let [tool] = &request.tools[..] else { panic!("{tool}: {:?}", request.tools) };
        assert_eq!((tool.name.as_str(), tool.description.as_deref()), ("f", Some("F.")));
        assert_eq!(tool.schema.as_deref(), Some(r#"{"type":"object"}"#));
    }
}

#[test]
fn tools_of_unknown_types_are_named_once() {
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let grammar = json!({"type": "custom", "custom": {"name": "g"}});
    let request = with(json!({"tools": [search, grammar, search, {"type": "a,\n b"}]}));
    assert!(request.tools.is_empty());
    let expected =
        ["tools[] of type ab", "tools[] of type custom", "tools[] of type web_search_20250305"];
    assert_eq!(request.dropped, expected);
    let many: Vec<Value> = (0..5000).map(|n| json!({"type": format!("t{n}")})).collect();
    assert!(with(json!({"tools": many})).dropped.len() <= 20);
}

#[test]
fn tool_choices() {
    let named = || ToolChoice::Named("f".to_owned());
    for (choice, expected) in [
        (json!("any"), ToolChoice::Any),
        (json!({"type": "auto"}), ToolChoice::Auto),
        (json!({"type": "none"}), ToolChoice::None),
        (json!({"type": "any"}), ToolChoice::Any),
        (json!({"type": "required"}), ToolChoice::Any),
        (json!({"type": "tool", "name": "f"}), named()),
        (json!({"type": "function", "name": "f"}), named()),
        (json!({"type": "function", "function": {"name": "f"}}), named()),
    ] {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let request = with(json!({"tools": tools, "tool_choice": choice}));
        assert_eq!(request.tool_choice, Some(expected), "{choice}");
        assert!(!request.is_single_call);
    }
    let one = with(json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
    assert!(one.is_single_call);
    let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
    let error = read(&format!(r#"{{"messages":[],"tool_choice":{deep}}}"#)).unwrap_err();
    assert_eq!((error.status(), error.param()), (400, Some("tool_choice")));
}

#[test]
fn results_that_are_no_parts_stay_as_they_were_written() {
    for json in [
        r#"[{"type":"dir","file":"src"}]"#,
        r#"[{"text":"a","note":"b","type":"row"}]"#,
        r#"[ {"text": "a", "n": 1.10} ]"#,
        r#"[{"type":"text","text":"a"},{"type":"file","file":{"path":"b"}}]"#,
        r#"[{"type":"text"}]"#,
        r#"[1,"a",null]"#,
        r#"{"b":1, "a":[]}"#,
        "17",
    ] {
        assert_eq!(result(json), [Block::text(json)]);
    }
    let texts = [Block::text("a"), Block::text("b")];
    assert_eq!(result(r#"[{"type":"text","text":"a","annotations":{}},"b"]"#), texts);
    assert_eq!(result("null"), []);
}

#[test]
fn images_in_other_shapes() {
    let mcp = json!([{"type": "image", "data": PIXEL, "mimeType": "image/png"}]);
    let source = json!({"type": "base64", "media_type": "image/jpeg", "data": PIXEL});
    let anthropic = json!([{"type": "image", "source": source}]);
    for parts in [mcp, anthropic] {
        is_pixel(&content("user", &parts.to_string()).unwrap());
        is_pixel(&result(&parts.to_string()));
    }
    let odd = json!([{"type": "text", "text": "a", "source": 1, "data": {}, "mimeType": 2}]);
    assert_eq!(content("user", &odd.to_string()).unwrap(), [Block::text("a")]);
    for odd in [json!([{"type": "image"}]), json!([{"type": "image", "source": "x"}])] {
        assert_eq!(content("user", &odd.to_string()).unwrap_err().status(), 400);
        assert_eq!(result(&odd.to_string()), [Block::text(odd.to_string())]);
    }
}

#[test]
fn thoughts_of_anthropics_kind_are_left_out() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "AA"});
    let redacted = json!({"type": "redacted_thinking", "data": "AA"});
    let parts = json!([thought, redacted, {"type": "text", "text": "a"}]);
    assert_eq!(content("assistant", &parts.to_string()).unwrap(), [Block::text("a")]);
}

#[test]
fn parts_without_a_type() {
    for role in ["user", "assistant"] {
        let read = content(role, r#"[{"text":"hi"}]"#).unwrap();
        assert_eq!(read, [Block::text("hi")], "{role}");
    }
    let system = read(r#"{"messages":[{"role":"system","content":[{"text":"hi"}]}]}"#).unwrap();
    assert_eq!(system.system, [Block::text("hi")]);
    let error = content("user", r#"[{"type":"dir","file":{}}]"#).unwrap_err();
    assert_eq!((error.status(), error.param()), (400, Some("messages[0].content[0].file")));
}

#[test]
fn harmless_values() {
    assert_eq!(with(json!({"max_tokens": 4096.0})).output_max, Some(4096));
    assert_eq!(with(json!({"max_tokens": u64::MAX})).output_max, Some(u64::MAX));
    for none in [json!(-1), json!(0)] {
        let request = with(json!({"max_tokens": none}));
        assert_eq!((request.output_max, &request.dropped[..]), (None, &["max_tokens".into()][..]));
    }
    let both = with(json!({"max_completion_tokens": -1, "max_tokens": 7}));
    assert_eq!((both.output_max, both.dropped), (Some(7), vec!["max_completion_tokens".into()]));
    let hi = r#"[{"role":"user","content":"hi"}]"#;
    for odd in ["1.5", "\"7\""] {
        let error = read(&format!(r#"{{"max_tokens":{odd},"messages":{hi}}}"#)).unwrap_err();
        assert_eq!((error.status(), error.param()), (400, Some("max_tokens")));
    }
    let request = with(json!({"functions": [], "function_call": null, "top_k": null, "min_p": 1}));
    assert_eq!(request.dropped, ["min_p"]);
}
