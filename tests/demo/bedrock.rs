//! Claude by invoke and by Converse, Nova, Titan.

use serde_json::Map;

use super::*;

const SONNET: &str = "anthropic--claude-4.5-sonnet";
const SONNET_46: &str = "anthropic--claude-4.6-sonnet";
const OPUS: &str = "anthropic--claude-4.8-opus";
const HAIKU: &str = "anthropic--claude-4.5-haiku";
const OLD: &str = "anthropic--claude-3.5-sonnet";
const NOVA: &str = "amazon--nova-pro";
const TITAN: &str = "amazon--titan-embed-text";
const PNG: &str = "iVBORw0KGgo=";
const EXTRA: &str = "Extra inputs are not permitted";

#[test]
fn fields_that_bedrock_refuses_of_claude_are_refused() {
    let thinks = |more: Value| merged(json!({"thinking": enabled(1024)}), more);
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    let tool = json!({"tools": [tool("f")]});
    let rows = [
        (SONNET, json!({"model": "x"}), "model: Extra inputs are not permitted"),
        (SONNET, json!({"stream": true}), "stream: Extra inputs are not permitted"),
        (SONNET, json!({"context_management": {}}), "context_management: Extra inputs"),
        (SONNET, json!({"service_tier": "auto"}), "service_tier: Extra inputs"),
        (SONNET, json!({"metadata": {"user_id": "u"}}), "role 'system' is not supported"),
        (SONNET, json!({"output_config": {"effort": "low"}}), "output_config: Extra inputs"),
        (SONNET_46, json!({"output_config": {"format": {}}}), "output_config.format: Extra"),
        (SONNET_46, json!({"output_config": {"effort": "some"}}), "output_config.effort: Input"),
        (SONNET, json!({"anthropic_version": null}), "anthropic_version: Input should be"),
        (SONNET, json!({"max_tokens": 0}), "max_tokens: Input should be greater"),
        (SONNET, json!({"max_tokens": "9"}), "max_tokens: Input should be a valid integer"),
        (SONNET, json!({"max_tokens": 64001}), "max_tokens: 64001 > 64000, which is the maximum"),
        (OLD, json!({"max_tokens": 8193}), "8193 > 8192"),
        (OPUS, json!({"max_tokens": 128001}), "tokens for claude-opus-4-8"),
        (SONNET, json!({"anthropic_beta": ["skills-2025-10-02"]}), "invalid beta flag"),
        (SONNET, json!({"anthropic_beta": ["advanced-tool-use-2025-11-20"]}), "invalid beta flag"),
        (SONNET, json!({"anthropic_beta": ["nonsense"]}), "invalid beta flag"),
        (SONNET, json!({"anthropic_beta": "a-2025-01-01"}), "anthropic_beta: Input should be"),
        (SONNET, json!({"temperature": 1.5}), "temperature: range: 0..1"),
        (SONNET, json!({"top_p": "1"}), "top_p: Input should be a valid number"),
        (SONNET, json!({"top_k": -1}), "top_k: Input"),
        (HAIKU, json!({"temperature": 1, "top_p": 1}), "cannot both be specified"),
        (OPUS, json!({"temperature": 1}), "`temperature` is deprecated"),
        (OPUS, json!({"top_k": 5}), "`top_k` is deprecated"),
        (SONNET, json!({"stop_sequences": ["\n"]}), "must contain non-whitespace"),
        (SONNET, json!({"stop_sequences": "x"}), "stop_sequences: Input should be a valid list"),
        (OLD, thinks(json!({})), "thinking: Extra inputs are not permitted"),
        (SONNET, json!({"thinking": {"type": "enabled"}}), "budget_tokens: Field required"),
        (SONNET, json!({"thinking": enabled(1023)}), "greater than or equal to 1024"),
        (SONNET, json!({"thinking": enabled(2000)}), "`max_tokens` must be greater than"),
        (SONNET, json!({"thinking": {"type": "on"}}), "Input tag 'on' found using 'type'"),
        (
            SONNET,
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024, "x": 1}}),
            "thinking.enabled.x: Extra inputs are not permitted",
        ),
        (SONNET, thinks(json!({"temperature": 0.5})), "`temperature` may only be set to 1"),
        (SONNET, thinks(json!({"top_k": 5})), "`top_k` must be unset"),
        (SONNET, thinks(json!({"top_p": 0.9})), "`top_p` must be greater"),
        (
            SONNET,
            thinks(merged(tool.clone(), json!({"tool_choice": {"type": "any"}}))),
            "Thinking may not be enabled when tool_choice forces tool use",
        ),
        (SONNET, adaptive.clone(), "adaptive thinking is not supported on this model"),
        (OPUS, thinks(json!({})), "\"thinking.type.enabled\" is not supported for this model"),
        (SONNET, json!({"system": [{"type": "text", "text": " "}]}), "system: text content blocks"),
        (SONNET, json!({"system": [{"type": "image"}]}), "system.0: Input tag 'image'"),
        (SONNET, json!({"system": 5}), "system: Input should be a valid list"),
        (SONNET, json!({"tool_choice": {"type": "auto"}}), "only be specified while providing"),
    ];
    refused(&rows.map(|(model, more, why)| (model, asking("hi", more), why)));
    for key in ["anthropic_version", "max_tokens", "messages"] {
        let mut body = asking("hi", json!({}));
        body.as_object_mut().unwrap().remove(key);
        refused(&[(SONNET, body, &format!("{key}: Field required"))]);
    }
    refused(&[(SONNET, json!([]), "not a JSON object")]);
    let fine = [
        (SONNET, json!({"temperature": 1, "top_k": 5, "system": "x", "stop_sequences": ["END"]})),
        (SONNET, thinks(json!({"temperature": 1}))),
        (SONNET, thinks(json!({"top_p": 0.95, "anthropic_beta": ["context-1m-2025-08-07"]}))),
        (SONNET, json!({"thinking": {"type": "disabled"}, "temperature": 0.5})),
        (SONNET_46, merged(adaptive.clone(), json!({"output_config": {"effort": "max"}}))),
        (SONNET_46, thinks(json!({}))),
        (OPUS, merged(adaptive, json!({"output_config": {"effort": "xhigh"}}))),
        (OLD, json!({"temperature": 0.5, "top_p": 0.5})),
        (SONNET, merged(tool, json!({"tool_choice": {"type": "none"}}))),
    ];
    let demo = demo();
    for (model, more) in fine {
        let reply = invoke(&demo, model, &asking("hi", more.clone()));
        assert_eq!(reply.status, 200, "{more}: {}", reply.text());
    }
}

#[test]
fn tools_that_bedrock_refuses_of_claude_are_refused() {
    let with = |more: Value| merged(tool("f"), more);
    let schema = |schema: Value| with(json!({"input_schema": schema}));
    let point = |control: Value| with(json!({"cache_control": control}));
    let rows = [
        (with(json!({"strict": true})), "tools.0.custom.strict: Extra inputs are not permitted"),
        (with(json!({"input_examples": []})), "tools.0.custom.input_examples: Extra inputs"),
        (with(json!({"defer_loading": true})), "tools.0.custom.defer_loading: Extra inputs"),
        (with(json!({"custom": {}})), "tools.0.custom.custom: Extra inputs"),
        (with(json!({"name": "a b"})), "tools.0.custom.name: String should match pattern"),
        (with(json!({"name": "x".repeat(129)})), "{1,128}"),
        (with(json!({"description": null})), "tools.0.custom.description: Input should be"),
        (json!({"name": "f"}), "tools.0.custom.input_schema: Field required"),
        (schema(json!({"type": "string"})), "input_schema.type: Input should be 'object'"),
        (schema(json!({})), "input_schema.type: Field required"),
        (schema(json!({"type": "object", "anyOf": []})), "does not support oneOf, allOf, or anyOf"),
        (schema(json!({"type": "object", "properties": {"a b": {}}})), "Property keys should"),
        (json!({"type": "web_search_20250305", "name": "web_search"}), "Input tag 'web_search_"),
        (json!({"type": "computer_20250124", "name": "computer"}), "Input tag 'computer_"),
        (json!({"type": "memory_20250818", "name": "memory"}), "Input tag 'memory_"),
        (
            point(json!({"type": "ephemeral", "scope": "global"})),
            "tools.0.custom.cache_control.ephemeral.scope: Extra inputs are not permitted",
        ),
        (point(json!({"type": "ephemeral", "ttl": "2h"})), "ttl: Input should be '5m' or '1h'"),
        (point(json!({"type": "lasting"})), "cache_control: Input tag 'lasting'"),
    ];
    for (tool, why) in rows {
        refused(&[(SONNET, asking("hi", json!({ "tools": [tool] })), why)]);
    }
    let chosen = |choice: Value| json!({"tools": [tool("f")], "tool_choice": choice});
    let rows = [
        (json!({"tools": [tool("f"), tool("f")]}), "tools: Tool names must be unique."),
        (chosen(json!({"type": "tool", "name": "g"})), "Tool 'g' not found in provided tools"),
        (chosen(json!({"type": "required"})), "tool_choice: Input tag 'required'"),
        (chosen(json!({"type": "auto", "name": "f"})), "tool_choice.auto.name: Extra inputs"),
        (chosen(json!({"type": "none", "disable_parallel_tool_use": true})), EXTRA),
        (chosen(json!({"type": "any", "disable_parallel_tool_use": 1})), "a valid boolean"),
    ];
    refused(&rows.map(|(more, why)| (SONNET, asking("hi", more), why)));
}

#[test]
fn messages_that_bedrock_refuses_of_claude_are_refused() {
    let user = |content: Value| json!({"role": "user", "content": content});
    let assistant = |content: Value| json!({"role": "assistant", "content": content});
    let text = |text: &str| json!({"type": "text", "text": text});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "12"});
    let one = |block: Value| vec![user(json!([block]))];
    let said = |message: Value| vec![user(json!("hi")), message, user(json!("and?"))];
    let source =
        |kind: &str, data: &str| json!({"type": "base64", "media_type": kind, "data": data});
    let image = |source: Value| one(json!({"type": "image", "source": source}));
    let document = |source: Value| one(json!({"type": "document", "source": source}));
    let after = |uses: Value, blocks: Value| vec![user(json!("hi")), assistant(uses), user(blocks)];
    let long = json!({"type": "ephemeral", "ttl": "1h"});
    let short = json!({"type": "ephemeral"});
    let marked = |control: &Value| merged(text("x"), json!({ "cache_control": control }));
    let no_whitespace = "messages: text content blocks must contain non-whitespace text";
    let unanswered = "`tool_use` ids were found without `tool_result` blocks immediately after: a";
    let rows = [
        (vec![], "messages: at least one message is required"),
        (vec![json!({"role": "system", "content": "x"})], "role 'system' is not supported"),
        (vec![json!({"role": "tool", "content": "x"})], "messages.0.role: Input should be"),
        (vec![merged(user(json!("x")), json!({"name": "n"}))], "messages.0.name: Extra inputs"),
        (vec![assistant(json!("x")), user(json!("y"))], "first message must use the \"user\" role"),
        (vec![user(json!(""))], "messages.0: all messages must have non-empty content"),
        (vec![user(json!([]))], "messages.0: all messages must have non-empty content"),
        (said(assistant(json!([]))), "messages.1: all messages must have non-empty content"),
        (vec![user(json!(" \n"))], no_whitespace),
        (one(text(" ")), no_whitespace),
        (one(text("")), "messages: text content blocks must be non-empty"),
        (one(merged(text(""), json!({"cache_control": short}))), "cannot be set for empty text"),
        (one(json!({"type": "text"})), "messages.0.content.0.text.text: Field required"),
        (one(merged(text("x"), json!({"id": 1}))), "messages.0.content.0.text.id: Extra inputs"),
        (one(json!({"type": "input_text"})), "Input tag 'input_text' found using 'type'"),
        (vec![user(json!(null))], "messages.0.content: Input should be a valid list"),
        (image(json!({"type": "url", "url": "https://x/"})), "Input tag 'url' found"),
        (image(source("image/bmp", PNG)), "media_type: Input should be 'image/jpeg'"),
        (image(source("image/jpeg", PNG)), "the image appears to be a image/png image"),
        (image(source("image/png", "aGk=")), "Could not process image"),
        (image(source("image/png", "?")), "data: Invalid base64 data"),
        (document(source("application/pdf", "aGk=")), "The PDF specified was not valid"),
        (document(source("text/html", "aGk=")), "Input should be 'application/pdf'"),
        (document(json!({"type": "file", "file_id": "f"})), "Input tag 'file' found"),
        (one(call("a")), "messages.0.content.0: `tool_use` blocks can only be in `assistant`"),
        (said(assistant(json!([result("a")]))), "`tool_result` blocks can only be in `user`"),
        (one(result("a")), "messages.0.content.0: unexpected `tool_use_id` found"),
        (after(json!([call("a")]), json!("x")), unanswered),
        (after(json!([call("a")]), json!([text("x"), result("a")])), unanswered),
        (
            after(json!([call("b"), call("a")]), json!([result("b"), text("x"), result("a")])),
            unanswered,
        ),
        (vec![user(json!("hi")), assistant(json!([call("a")]))], unanswered),
        (after(json!([call("a")]), json!([result("b"), result("a")])), "unexpected `tool_use_id`"),
        (after(json!([call("a")]), json!([result("a"), result("a")])), "Found multiple"),
        (after(json!([call("a"), call("a")]), json!([result("a")])), "ids must be unique"),
        (after(json!([call("a.b")]), json!([result("a.b")])), "tool_use.id: String should match"),
        (
            after(json!([merged(call("a"), json!({"input": "{}"}))]), json!([result("a")])),
            "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
        ),
        (
            after(json!([call("a")]), json!([merged(result("a"), json!({"name": "f"}))])),
            "messages.2.content.0.tool_result.name: Extra inputs",
        ),
        (
            after(
                json!([call("a")]),
                json!([merged(result("a"), json!({"content": [{"type": "tool_reference"}]}))]),
            ),
            "Input tag 'tool_reference' found",
        ),
        (
            after(
                json!([call("a")]),
                json!([merged(result("a"), json!({"content": "", "is_error": true}))]),
            ),
            "content cannot be empty if `is_error` is true",
        ),
        (
            said(assistant(json!([{"type": "thinking", "thinking": "x", "signature": "eA=="}]))),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            said(assistant(json!([
                {"type": "thinking", "thinking": "x", "signature": "y", "cache_control": null},
            ]))),
            "messages.1.content.0.thinking.cache_control: Extra inputs",
        ),
        (
            said(assistant(json!([{"type": "redacted_thinking", "data": "eA=="}]))),
            "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
        ),
        (
            said(assistant(json!([{"type": "thinking", "thinking": "x"}]))),
            "messages.1.content.0.thinking.signature: Field required",
        ),
        (vec![user(json!("hi")), assistant(json!("so "))], "cannot end with trailing whitespace"),
        (
            one(json!({"type": "thinking", "thinking": "x", "signature": "y"})),
            "`thinking` blocks can only be in `assistant` messages",
        ),
        (
            vec![user(json!([1, 2, 3, 4, 5].map(|_| marked(&short))))],
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            vec![user(json!([marked(&short), marked(&long)]))],
            "messages.0.content.1.text.cache_control.ttl: a ttl='1h' cache_control block must not",
        ),
    ];
    refused(&rows.map(|(messages, why)| (SONNET, of(messages, json!({})), why)));
    let prefill = vec![user(json!("hi")), assistant(json!("so"))];
    let why = "This model does not support assistant message prefill.";
    refused(&[(SONNET_46, of(prefill.clone(), json!({})), why)]);
    let thinks = json!({"thinking": enabled(1024)});
    let expected = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but \
                    found `tool_use`";
    let tooled = after(json!([call("a")]), json!([result("a")]));
    refused(&[(SONNET, of(tooled.clone(), thinks.clone()), expected)]);
    let long_ago = tooled.iter().cloned().chain([assistant(json!("12")), user(json!("ok"))]);
    let fine = [
        of(prefill, json!({})),
        of(vec![user(json!("a")), user(json!("b"))], json!({})),
        of(long_ago.collect(), thinks),
        of(after(json!([call("a")]), json!([result("a"), text("so?")])), json!({})),
        of(image(source("image/png", PNG)), json!({})),
        of(document(json!({"type": "text", "media_type": "text/plain", "data": "x"})), json!({})),
        of(document(source("application/pdf", "JVBERi0=")), json!({})),
        of(vec![user(json!([marked(&long), marked(&short)]))], json!({})),
    ];
    let demo = demo();
    for body in fine {
        let reply = invoke(&demo, SONNET, &body);
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    }
}

#[test]
fn uncertain_behaviours_are_switched_by_markers() {
    let demo = demo();
    let ask = |marker: &str, more: Value| {
        invoke(&demo, SONNET_46, &asking(&format!("hi [[demo {marker}]]"), more))
    };
    let effort = json!({"output_config": {"effort": "low"}});
    let refusal = ask("refuse=output_config", effort).json();
    assert_eq!(refusal, json!({"message": "output_config: Extra inputs are not permitted"}));
    assert_eq!(ask("refuse=output_config", json!({})).status, 200);
    let betas = json!({"anthropic_beta": ["interleaved-thinking-2025-05-14"]});
    assert_eq!(ask("refuse_beta", betas.clone()).json(), json!({"message": "invalid beta flag"}));
    assert_eq!(ask("refuse_beta", json!({})).status, 200);
    assert_eq!(ask("delay_ms=0", betas).status, 200);
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"const": 7}}});
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    assert_eq!(
        ask("accept=output_config.format", format).json()["content"][0]["text"],
        "{\"n\":7}"
    );
    assert_eq!(ask("accept=metadata", json!({"metadata": {}})).status, 200);
    for word in ["refusal", "pause_turn", "model_context_window_exceeded"] {
        assert_eq!(ask(&format!("stop_reason={word}"), json!({})).json()["stop_reason"], word);
    }
    let hi = json!({"messages": [{"role": "user", "content": "[[demo stop_reason=length]]"}]});
    assert_eq!(chat(&demo, "gpt-4o", &hi).json()["choices"][0]["finish_reason"], "length");
    let failures = [
        (429, "Too many tokens, please wait before trying again."),
        (413, "Input is too long for requested model."),
        (500, "Status 500, as asked for (demo)."),
    ];
    for (status, message) in failures {
        let reply = ask(&format!("status={status}"), json!({}));
        assert_eq!((reply.status, reply.json()), (status, json!({"message": message})));
    }
    assert!(ask("status=503", json!({})).text().starts_with("upstream connect error"));
    assert_eq!(ask("converse=yaml", json!({})).status, 400);
}

#[test]
fn bedrock_paths_are_those_of_the_model() {
    let demo = demo();
    let headers = json_headers(&demo);
    let rows = [
        (SONNET, "/invoke", 200),
        (SONNET, "/invoke-with-response-stream", 200),
        (SONNET, "/chat/completions?api-version=2024-10-21", 404),
        (NOVA, "/invoke", 404),
        (TITAN, "/converse", 404),
        (TITAN, "/invoke-with-response-stream", 404),
    ];
    for (model, path, status) in rows {
        let reply = post(&demo, model, path, &asking("hi", json!({})));
        assert_eq!(reply.status, status, "{model}{path} {}", reply.text());
    }
    let binary = format!("{headers}Accept: application/vnd.amazon.eventstream\r\n");
    let body = asking("hi", json!({})).to_string();
    for (model, path) in [(SONNET, "/invoke-with-response-stream"), (NOVA, "/converse-stream")] {
        let target = target(&demo, model, path);
        let reply = Client::new(&demo).send("POST", &target, &binary, body.as_bytes());
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("never asks for binary event streams"));
    }
    let urls = &demo.config_json()["deployment_models"][SONNET];
    assert_eq!(urls.as_array().map(Vec::len), Some(2));
}

#[test]
fn claudes_answers_have_the_recorded_shape() {
    let demo = demo();
    let sample = r#"{"model":0,"id":0,"type":0,"role":0,"content":0,"stop_reason":0,
        "stop_sequence":0,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,
        "cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,
        "ephemeral_1h_input_tokens":0},"output_tokens":0}}"#;
    let sample = serde_json::from_str::<Value>(sample).unwrap();
    let whole = invoke(&demo, SONNET, &asking("Grüße", json!({}))).json();
    assert_eq!(keys(&whole), keys(&sample));
    assert_eq!(keys(&whole["usage"]), keys(&sample["usage"]));
    assert_eq!(keys(&whole["usage"]["cache_creation"]), keys(&sample["usage"]["cache_creation"]));
    assert_eq!(whole["model"], "claude-sonnet-4-5-20250929");
    assert!(whole["id"].as_str().unwrap().starts_with("msg_bdrk_01"));
    let said = whole["content"][0]["text"].as_str().unwrap();
    assert!(said.starts_with("You said: \"Grüße\". This is the demo of"), "{said}");
    let more = json!({"thinking": enabled(1024), "tools": [tool("get_time"), tool("get_city")]});
    let ask = asking("get_time get_city [[demo redacted]]", more);
    let text = invoke_stream(&demo, SONNET, &ask).text();
    let data = text.strip_suffix("\n\n").unwrap().split("\n\n").collect::<Vec<_>>();
    let number = data[0].split("Demo").nth(1).unwrap()[..20].to_owned();
    let call = |n: usize, name: &str| {
        let index = n + 3;
        let id = format!("toolu_bdrk_01Demo{}{n:02}", &number[2..]);
        let delta = |piece: &str| {
            let piece = json!(piece);
            format!(
                concat!(
                    r#"data: {{"type":"content_block_delta","index":{index},"#,
                    r#""delta":{{"type":"input_json_delta","partial_json":{piece}}}}}"#,
                ),
                index = index,
                piece = piece,
            )
        };
        let start = format!(
            concat!(
                r#"data: {{"type":"content_block_start","index":{index},"content_block":"#,
                r#"{{"type":"tool_use","id":"{id}","name":"{name}","input":{{}}}}}}"#,
            ),
            index = index,
            id = id,
            name = name,
        );
        let stop = format!(r#"data: {{"type":"content_block_stop","index":{index}}}"#);
        [vec![start, delta("")], thirds(r#"{"city":"Paris"}"#, delta), vec![stop]].concat()
    };
    let start = concat!(
        r#"data: {"type":"message_start","message":{"model":"claude-sonnet-4-5-20250929","#,
        r#""id":"msg_bdrk_01Demo"#,
    );
    assert!(data[0].starts_with(start), "{}", data[0]);
    let rest = concat!(
        r#"","type":"message","role":"assistant","content":[],"stop_reason":null,"#,
        r#""stop_sequence":null,"usage":{"input_tokens":79,"cache_creation_input_tokens":0,"#,
        r#""cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"#,
        r#""ephemeral_1h_input_tokens":0},"output_tokens":1}}}"#,
    );
    assert!(data[0].ends_with(rest), "{}", data[0]);
    let redacted = concat!(
        r#"data: {"type":"content_block_start","index":0,"#,
        r#""content_block":{"type":"redacted_thinking","data":""#,
    );
    assert!(data[1].starts_with(redacted));
    let exact = [
        (2, r#"data: {"type":"content_block_stop","index":0}"#),
        (
            3,
            concat!(
                r#"data: {"type":"content_block_start","index":1,"#,
                r#""content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            ),
        ),
        (
            4,
            concat!(
                r#"data: {"type":"content_block_delta","index":1,"#,
                r#""delta":{"type":"thinking_delta","thinking":"Let's "}}"#,
            ),
        ),
    ];
    for (n, expected) in exact {
        assert_eq!(data[n], expected);
    }
    let from = data.iter().position(|d| d.contains(r#""type":"text","text":"""#)).unwrap();
    assert!(data[from - 2].contains(r#""delta":{"type":"signature_delta","signature":""#));
    assert!(data[from].starts_with(r#"data: {"type":"content_block_start","index":2,"#));
    let calls = [call(0, "get_time"), call(1, "get_city")].concat();
    let end = data.len() - 2;
    assert_eq!(data[end - calls.len()..end], calls);
    assert!(data[end].starts_with(concat!(
        r#"data: {"type":"message_delta","delta":{"stop_reason":"tool_use","#,
        r#""stop_sequence":null},"usage":{"output_tokens":"#,
    )));
    assert!(data[end + 1].starts_with(concat!(
        r#"data: {"type":"message_stop","amazon-bedrock-invocationMetrics":"#,
        r#"{"inputTokenCount":79,"outputTokenCount":"#,
    )));
    assert!(data[end + 1].ends_with(r#","invocationLatency":1480,"firstByteLatency":810}}"#));
}

#[test]
fn claude_thinks_calls_and_reads_results() {
    let demo = demo();
    let more = json!({"thinking": enabled(1024), "tools": [tool("get_time"), tool("get_city")]});
    let first = asking("get_time, get_city", more.clone());
    let whole = invoke(&demo, SONNET, &first).json();
    let types = |message: &Value| {
        let blocks = message["content"].as_array().unwrap().clone();
        blocks.iter().map(|b| b["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(types(&whole), ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(whole["content"][2]["input"], json!({"city": "Paris"}));
    let streamed = folded(&events(&invoke_stream(&demo, SONNET, &first).text()));
    let bare = |message: &Value| {
        let mut blocks = message["content"].clone();
        blocks.as_array_mut().unwrap().iter_mut().for_each(|b| b["id"] = json!(0));
        blocks
    };
    assert_eq!(bare(&streamed), bare(&whole));
    let woven = asking("get_time get_city [[demo interleave]]", more.clone());
    let woven = events(&invoke_stream(&demo, SONNET, &woven).text());
    assert_eq!(bare(&folded(&woven)), bare(&whole));
    let deltas = woven.iter().filter(|e| e["delta"]["type"] == "input_json_delta");
    let indexes = deltas.map(|e| e["index"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(indexes, [2, 3, 2, 3, 2, 3, 2, 3]);
    let results = whole["content"].as_array().unwrap().iter().filter(|b| b["type"] == "tool_use");
    let results = results.map(|call| {
        let content = json!([{"type": "text", "text": call["name"]}]);
        json!({"type": "tool_result", "tool_use_id": call["id"], "content": content})
    });
    let results = results.collect::<Vec<_>>();
    let mut after = first.clone();
    let messages = after["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": whole["content"]}));
    messages.push(json!({"role": "user", "content": results}));
    let answer = invoke(&demo, SONNET, &after).json();
    assert_eq!(types(&answer), ["thinking", "text"]);
    let said = answer["content"][1]["text"].as_str().unwrap();
    assert!(said.starts_with("The tool says: get_time · get_city"), "{said}");
    after["messages"][1]["content"][0]["thinking"] = json!("I never thought so.");
    assert!(invoke(&demo, SONNET, &after).text().contains("Invalid `signature`"));
    let lone =
        merged(first, json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
    assert_eq!(types(&invoke(&demo, SONNET, &lone).json()), ["thinking", "text", "tool_use"]);
}

#[test]
fn claude_stops_sees_and_counts() {
    let demo = demo();
    let ask = |more: Value| invoke(&demo, SONNET, &asking("hi", more)).json();
    let cut = ask(json!({"max_tokens": 2}));
    assert_eq!(
        (&cut["content"][0]["text"], &cut["stop_reason"]),
        (&json!("You said"), &json!("max_tokens"))
    );
    let stopped = ask(json!({"stop_sequences": ["said", "You"]}));
    assert_eq!(
        (&stopped["stop_reason"], &stopped["stop_sequence"]),
        (&json!("stop_sequence"), &json!("You"))
    );
    let png = json!({"type": "base64", "media_type": "image/png", "data": PNG});
    let image = json!({"type": "image", "source": png});
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    let document = json!({"type": "document", "source": pdf});
    let content = json!([image, document, {"type": "text", "text": "look"}]);
    let seen = ask(json!({"messages": [{"role": "user", "content": content}]}));
    assert!(
        seen["content"][0]["text"].as_str().unwrap().contains("I see 1 image. I read 1 document.")
    );
    let point = |ttl: &str| json!({"type": "ephemeral", "ttl": ttl});
    let system = json!([{"type": "text", "text": "s".repeat(400), "cache_control": point("1h")}]);
    let first = json!([{"type": "text", "text": "u".repeat(400), "cache_control": point("5m")}]);
    let cached = json!({"system": system, "messages": [{"role": "user", "content": first}]});
    let counts = |message: Value| {
        let usage = message["usage"].clone();
        let written = &usage["cache_creation"];
        [
            &usage["input_tokens"],
            &usage["cache_read_input_tokens"],
            &usage["cache_creation_input_tokens"],
            &written["ephemeral_5m_input_tokens"],
            &written["ephemeral_1h_input_tokens"],
        ]
        .map(|n| n.as_u64().unwrap())
    };
    let [fresh, read, written, minutes, hour] = counts(ask(cached.clone()));
    assert!(minutes >= 100 && hour >= 100);
    assert_eq!((fresh, read, written), (3, 0, minutes + hour));
    assert_eq!(counts(ask(cached.clone())), [3, written, 0, 0, 0]);
    let mut longer = cached.clone();
    let last = json!([{"type": "text", "text": "v".repeat(400)}]);
    longer["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": last}));
    let [fresh, read, ..] = counts(ask(longer));
    assert!(fresh > 100 && read == written);
    let mut other = cached;
    other["messages"][0]["content"][0]["text"] = json!("w".repeat(400));
    assert_eq!(counts(ask(other)), [3, hour, minutes, minutes, 0]);
    let more = json!({"messages": [{"role": "user", "content": "x".repeat(800_100)}]});
    let reply = invoke(&demo, SONNET, &asking("", more.clone()));
    assert_eq!((reply.status, reply.text().contains("Input is too long")), (413, true));
    let more = merged(more, json!({"anthropic_beta": ["context-1m-2025-08-07"]}));
    assert_eq!(invoke(&demo, SONNET, &asking("", more)).status, 200);
}

#[test]
fn claudes_streams_break_in_every_way() {
    let demo = demo();
    let ask = |marker: &str| {
        let body = asking(&format!("hi [[demo {marker}]]"), json!({"max_tokens": 4}));
        invoke_stream(&demo, SONNET, &body)
    };
    let failed = events(&ask("frames=3 error_after=3").text());
    let overloaded = json!({"type": "overloaded_error", "message": "Overloaded"});
    assert_eq!(failed[3..], [json!({"type": "error", "error": overloaded})]);
    assert_eq!(
        ask("error_after=0").text(),
        "data: {\"type\":\"error\",\"message\":\"ThrottlingException: Too many requests, please \
         wait before trying again.\"}\n\n"
    );
    assert_eq!(ask("error_after=1 body={}").text().split("\n\n").nth(1), Some("data: {}"));
    let undone = ask("drop_last=1");
    assert!(undone.complete && !undone.text().contains("message_stop"));
    assert!(!ask("cut_after=4").complete);
    let until = |bytes: Option<usize>| {
        demo.push(Fault { frames: Some(2), bytes, ..Fault::default() });
        invoke_stream(&demo, SONNET, &asking("hi", json!({})))
    };
    let length = until(None).body.len();
    for bytes in 0..=length {
        let cut = until(Some(bytes));
        assert_eq!((cut.status, cut.complete, cut.body.len()), (200, false, bytes));
    }
    let longer = until(Some(length + 1));
    assert_eq!((longer.complete, longer.body.len()), (true, length));
    let whole = invoke(&demo, SONNET, &asking("hi [[demo bytes=7]]", json!({})));
    assert_eq!((whole.complete, whole.body.len()), (false, 7));
}

#[test]
fn what_converse_refuses_is_refused() {
    let user = |content: Value| json!({"role": "user", "content": content});
    let assistant = |content: Value| json!({"role": "assistant", "content": content});
    let hi = || user(json!([{"text": "hi"}]));
    let with = |more: Value| merged(json!({ "messages": [hi()] }), more);
    let block = |block: Value| json!({"messages": [user(json!([block]))]});
    let schema = json!({"json": {"type": "object"}});
    let spec = |name: &str| json!({"toolSpec": {"name": name, "inputSchema": schema}});
    let config = |tools: Value| with(json!({"toolConfig": {"tools": tools}}));
    let call = |id: &str| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}});
    let result = |id: &str| json!({"toolResult": {"toolUseId": id, "content": [{"text": "1"}]}});
    let after = |uses: Value, results: Value| {
        let messages = json!([hi(), assistant(uses), user(results)]);
        json!({"messages": messages, "toolConfig": {"tools": [spec("f")]}})
    };
    let inference = |config: Value| with(json!({ "inferenceConfig": config }));
    let additional = |fields: Value| with(json!({ "additionalModelRequestFields": fields }));
    let point = json!({"cachePoint": {"type": "default"}});
    let thought = json!({"reasoningText": {"text": "x", "signature": "y"}});
    let replayed =
        json!({"messages": [hi(), assistant(json!([{"reasoningContent": thought}])), hi()]});
    let image =
        |format: &str| block(json!({"image": {"format": format, "source": {"bytes": PNG}}}));
    let pdf = |name: &str| json!({"format": "pdf", "name": name, "source": {"bytes": "JVBERi0="}});
    let rows = [
        (NOVA, with(json!({"stream": true})), "#: extraneous key [stream] is not permitted"),
        (NOVA, with(json!({"tools": []})), "#: extraneous key [tools] is not permitted"),
        (NOVA, json!({}), "#/messages: expected type: JSONArray"),
        (NOVA, json!({"messages": []}), "A conversation must start with a user message."),
        (NOVA, json!({"messages": [assistant(json!([{"text": "x"}]))]}), "must start with a user"),
        (NOVA, json!({"messages": [hi(), hi()]}), "must alternate between user and assistant"),
        (
            NOVA,
            json!({"messages": [{"role": "system", "content": [{"text": "x"}]}]}),
            "messages.0.role",
        ),
        (
            NOVA,
            json!({"messages": [user(json!("hi"))]}),
            "#/messages/0/content: expected type: JSONArray",
        ),
        (
            NOVA,
            json!({"messages": [user(json!([]))]}),
            "content field in the Message object at messages.0",
        ),
        (
            NOVA,
            block(json!({"text": " "})),
            "The text field in the ContentBlock object at messages.0",
        ),
        (NOVA, block(json!({"text": "x", "type": "text"})), "extraneous key [type]"),
        (NOVA, block(json!({})), "must set one of the following keys: text, image"),
        (NOVA, image("jpeg"), "Could not process image"),
        (NOVA, block(json!({"document": pdf("a")})), "A text block must be included"),
        (NOVA, block(json!({"document": pdf("a.pdf")})), "The document file name can only contain"),
        (NOVA, with(json!({"system": "x"})), "#/system: expected type: JSONArray"),
        (NOVA, with(json!({"system": [{"text": ""}]})), "SystemContentBlock object at system.0"),
        (NOVA, inference(json!({"maxTokens": 10001})), "exceeds the model limit of 10000"),
        (
            NOVA,
            inference(json!({"max_tokens": 1})),
            "#/inferenceConfig: extraneous key [max_tokens]",
        ),
        (NOVA, inference(json!({"temperature": 2})), "inferenceConfig.temperature"),
        (NOVA, inference(json!({"stopSequences": [""]})), "inferenceConfig.stopSequences"),
        (NOVA, config(json!([])), "toolConfig.tools"),
        (NOVA, config(json!([spec("a b")])), "toolSpec.name' failed to satisfy constraint"),
        (NOVA, config(json!([spec("f"), spec("f")])), "contains a duplicate name: f"),
        (
            NOVA,
            config(json!([{"toolSpec": {"name": "f", "description": ""}}])),
            "toolSpec.description",
        ),
        (
            NOVA,
            config(json!([{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}])),
            "inputSchema.json.type",
        ),
        (
            NOVA,
            with(json!({"toolConfig": {
                "tools": [spec("f")], "toolChoice": {"tool": {"name": "g"}},
            }})),
            "toolConfig.toolChoice.tool.name does not match",
        ),
        (
            NOVA,
            with(json!({"toolConfig": {"tools": [spec("f")], "toolChoice": "auto"}})),
            "#/toolConfig/toolChoice: expected type: JSONObject",
        ),
        (
            NOVA,
            json!({"messages": [hi(), assistant(json!([call("a")])), user(json!([result("a")]))]}),
            "The toolConfig field must be defined",
        ),
        (
            NOVA,
            after(json!([call("a")]), json!([{"text": "x"}])),
            "Expected toolResult blocks at messages.2.content for the following Ids: a",
        ),
        (
            NOVA,
            after(json!([call("a")]), json!([{"text": "x"}, result("a")])),
            "for the following Ids: a",
        ),
        (
            NOVA,
            after(json!([call("a"), call("b")]), json!([result("a")])),
            "for the following Ids: b",
        ),
        (
            NOVA,
            after(json!([call("a")]), json!([result("a"), result("a")])),
            "exceeds the number of toolUse",
        ),
        (
            NOVA,
            after(json!([{"text": "x"}]), json!([result("a")])),
            "exceeds the number of toolUse",
        ),
        (NOVA, after(json!([call("a.b")]), json!([result("a.b")])), "toolUse.toolUseId"),
        (NOVA, replayed.clone(), "This model doesn't support the reasoningContent field"),
        (SONNET, replayed, "Invalid `signature` in `thinking` block"),
        (NOVA, additional(json!({"thinking": enabled(1024)})), "extraneous key [thinking]"),
        (
            SONNET,
            additional(json!({"thinking": enabled(1)})),
            "The model returned the following errors: thinking.enabled",
        ),
        (SONNET, additional(json!({"anthropic_beta": ["skills-2025-10-02"]})), "invalid beta flag"),
        (
            SONNET,
            merged(
                additional(json!({"thinking": enabled(1024)})),
                json!({"inferenceConfig": {"temperature": 0.5}}),
            ),
            "`temperature` may only be set to 1",
        ),
        (
            SONNET_46,
            json!({"messages": [hi(), assistant(json!([{"text": "x"}]))]}),
            "assistant message prefill",
        ),
        (NOVA, block(json!({"cachePoint": {"type": "ephemeral"}})), "cachePoint.type"),
        (
            NOVA,
            with(json!({"system": [{"text": "x"}, point, point, point, point, point]})),
            "maximum number of cache checkpoints",
        ),
    ];
    let demo = demo();
    for (model, body, why) in rows {
        for path in ["/converse", "/converse-stream"] {
            let reply = post(&demo, model, path, &body);
            let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
            assert!(
                reply.status == 400 && message.contains(why),
                "{why}: {} {message}",
                reply.status
            );
        }
    }
    let cached = block(json!({"text": "x", "cache_control": {"type": "ephemeral"}}));
    let reply = post(&demo, SONNET, "/converse", &cached);
    assert_eq!((reply.status, reply.text().as_str()), (400, "{}"));
}

#[test]
fn converse_answers_in_its_shapes() {
    let demo = demo();
    let spec = |name: &str| {
        let schema = tool(name)["input_schema"].clone();
        json!({"toolSpec": {"name": name, "description": "x", "inputSchema": {"json": schema}}})
    };
    let ask = |text: &str, more: Value| {
        let message = json!({"role": "user", "content": [{"text": text}]});
        merged(json!({ "messages": [message] }), more)
    };
    let whole = post(&demo, NOVA, "/converse", &ask("hi", json!({}))).json();
    assert_eq!(keys(&whole), ["metrics", "output", "stopReason", "usage"]);
    let usage = [
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
        "inputTokens",
        "outputTokens",
        "totalTokens",
    ];
    assert_eq!(keys(&whole["usage"]), usage);
    assert_eq!(
        (&whole["stopReason"], &whole["output"]["message"]["role"]),
        (&json!("end_turn"), &json!("assistant"))
    );
    assert!(
        whole["output"]["message"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("You said: \"hi\".")
    );
    let point = json!({"cachePoint": {"type": "default"}});
    let tools = json!({"toolConfig": {"tools": [spec("get_time"), point, spec("get_city")]}});
    let thinking = json!({"additionalModelRequestFields": {"thinking": enabled(1024)}});
    let both = merged(tools.clone(), thinking);
    let called =
        post(&demo, SONNET, "/converse", &ask("get_time get_city [[demo redacted]]", both.clone()))
            .json();
    assert_eq!(called["stopReason"], "tool_use");
    assert!(called["usage"]["cacheWriteInputTokens"].as_u64().unwrap() > 10);
    let content = called["output"]["message"]["content"].as_array().unwrap().clone();
    let kinds = content.iter().map(|block| keys(block)[0].clone()).collect::<Vec<_>>();
    assert_eq!(kinds, ["reasoningContent", "reasoningContent", "text", "toolUse", "toolUse"]);
    assert!(content[3]["toolUse"]["toolUseId"].as_str().unwrap().starts_with("tooluse_"));
    let results = content[3..].iter().map(|call| {
        let id = &call["toolUse"]["toolUseId"];
        json!({"toolResult": {"toolUseId": id, "content": [{"json": {"n": 1}}]}})
    });
    let results = results.collect::<Vec<_>>();
    let mut after = ask("get_time get_city", both);
    let messages = after["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": content}));
    messages.push(json!({"role": "user", "content": results}));
    let answer = post(&demo, SONNET, "/converse", &after).json();
    let said = answer["output"]["message"]["content"][1]["text"].as_str().unwrap().to_owned();
    assert!(said.starts_with("The tool says: {\"n\":1} · {\"n\":1}"), "{said}");
    let image = json!({"image": {"format": "png", "source": {"bytes": PNG}}});
    let look = json!({"messages": [{"role": "user", "content": [{"text": "look"}, image]}]});
    assert!(post(&demo, NOVA, "/converse", &look).text().contains("I see 1 image."));
    let named =
        merged(tools["toolConfig"].clone(), json!({"toolChoice": {"tool": {"name": "get_city"}}}));
    let forced = post(&demo, NOVA, "/converse", &ask("hi", json!({ "toolConfig": named }))).json();
    assert_eq!(forced["output"]["message"]["content"][0]["toolUse"]["name"], "get_city");
    let cut =
        post(&demo, NOVA, "/converse", &ask("hi", json!({"inferenceConfig": {"maxTokens": 2}})));
    assert_eq!(cut.json()["stopReason"], "max_tokens");
}

#[test]
fn converse_streams_pythons_repr_or_as_told() {
    let demo = demo();
    let ask = |text: &str, marker: &str| {
        let text = format!("{text} [[demo {marker}]]");
        let body = json!({"messages": [{"role": "user", "content": [{"text": text}]}]});
        post(&demo, NOVA, "/converse-stream", &body).text()
    };
    // One word of the prompt, and how the piece that has it is written.
    let torture = [
        ("plain", r"'plain '"),
        ("it's", r#""it's ""#),
        (r#"a"b""#, r#"'a"b" '"#),
        (r#"it's"both""#, r#"'it\'s"both" '"#),
        (r"back\slash\'", r#""back\\slash\\' ""#),
        ("tab\tnew\nline\r\u{1b}\u{8}", r"'tab\tnew\nline\r\x1b\x08 '"),
        ("zero\u{200b}width\u{2028}\u{a0}", r"'zero\u200bwidth\u2028\xa0 '"),
        ("🇫🇷🏴\u{e0067}é日本", r"'🇫🇷🏴\U000e0067é日本 '"),
        ("{'not':True,\"None\":null}", r#"'{\'not\':True,"None":null} '"#),
    ];
    for (word, expected) in torture {
        let stream = ask(&format!("a {word} b"), "delay_ms=0");
        let expected = format!("{{'delta': {{'text': {expected}}}, 'contentBlockIndex': 0}}");
        assert!(stream.contains(&expected), "{expected}: {stream}");
    }
    let lines = ask("x", "frames=1");
    let expected = concat!(
        "data: {'messageStart': {'role': 'assistant'}}\n\n",
        "data: {'contentBlockDelta': {'delta': {'text': 'word1 '}, 'contentBlockIndex': 0}}\n\n",
        "data: {'contentBlockStop': {'contentBlockIndex': 0}}\n\n",
        "data: {'messageStop': {'stopReason': 'end_turn'}}\n\n",
        "data: {'metadata': {'usage': {'inputTokens': 11, 'outputTokens': 2, 'totalTokens': 13, ",
        "'cacheReadInputTokens': 0, 'cacheWriteInputTokens': 0}, 'metrics': {'latencyMs': 1480}}}",
        "\n\n",
    );
    assert_eq!(lines, expected);
    let told = ask("x", "frames=1 converse=pyrepr");
    assert_eq!(told.split("'inputTokens'").next(), lines.split("'inputTokens'").next());
    let single = ask("x", "frames=1 converse=single_newline");
    assert!(
        single.starts_with(
            "data: {'messageStart': {'role': 'assistant'}}\ndata: {'contentBlockDelta'"
        )
    );
    let bare = ask("x", "frames=1 converse=noprefix");
    assert!(bare.starts_with("{'messageStart': {'role': 'assistant'}}\n{'contentBlockDelta'"));
    let json = ask("x", "frames=1 converse=json");
    assert!(
        json.starts_with(
            "data: {\"messageStart\":{\"role\":\"assistant\"}}\n\ndata: {\"contentBlock"
        )
    );
    let stop = ask("x", "frames=1 stop_reason=guardrail_intervened");
    assert!(stop.contains("{'messageStop': {'stopReason': 'guardrail_intervened'}}"));
    let throttled = "data: {'throttlingException': {'message': 'Too many requests, please wait \
                     before trying again.'}}\n\n";
    assert_eq!(ask("x", "error_after=0"), throttled);
    assert!(
        ask("x", "error_after=1")
            .contains("data: {'modelStreamErrorException': {'message': \"The model's")
    );
    let schema = json!({"json": {"type": "object"}});
    let tools = json!({"tools": [{"toolSpec": {"name": "f", "inputSchema": schema}}]});
    let thinking = json!({"thinking": enabled(1024)});
    let body = json!({
        "messages": [{"role": "user", "content": [{"text": "call f [[demo redacted]]"}]}],
        "toolConfig": tools, "additionalModelRequestFields": thinking,
    });
    let called = post(&demo, SONNET, "/converse-stream", &body).text();
    for part in [
        "{'delta': {'reasoningContent': {'redactedContent': b'redacted by the demo ",
        "{'delta': {'reasoningContent': {'text': \"Let's \"}}, 'contentBlockIndex': 1}",
        "{'delta': {'reasoningContent': {'signature': '",
        "{'contentBlockDelta': {'delta': {'text': 'Let '}, 'contentBlockIndex': 2}}",
        "data: {'contentBlockStart': {'start': {'toolUse': {'toolUseId': 'tooluse_Demo",
        "{'contentBlockDelta': {'delta': {'toolUse': {'input': ''}}, 'contentBlockIndex': 3}}",
        "{'messageStop': {'stopReason': 'tool_use', 'additionalModelResponseFields': None}}",
        "'performanceConfig': {'latency': 'standard'}, 'trace': None, 'x-invented-flag': True}}",
    ] {
        assert!(called.contains(part), "{part}: {called}");
    }
}

#[test]
fn titan_embeds_one_text() {
    let demo = demo();
    let reply = post(&demo, TITAN, "/invoke", &json!({"inputText": "hello there"})).json();
    assert_eq!(keys(&reply), ["embedding", "inputTextTokenCount"]);
    assert_eq!(reply["embedding"].as_array().map(Vec::len), Some(1024));
    assert_eq!(reply["inputTextTokenCount"], 3);
    let small = json!({"inputText": "hi", "dimensions": 256, "normalize": true});
    let small = post(&demo, TITAN, "/invoke", &small).json();
    assert_eq!(small["embedding"].as_array().map(Vec::len), Some(256));
    let rows = [
        (json!({}), "#: required key [inputText] not found"),
        (json!({"inputText": ""}), "expected minLength: 1, actual: 0"),
        (json!({"inputText": ["a", "b"]}), "#/inputText: expected type: String, found: JSONArray"),
        (json!({"inputText": 5}), "#/inputText: expected type: String"),
        (json!({"inputText": "x", "dimensions": 300}), "#/dimensions: 300 is not a valid enum"),
        (json!({"inputText": "x", "normalize": 1}), "#/normalize: expected type: Boolean"),
        (json!({"inputText": "x", "model": "m"}), "#: extraneous key [model] is not permitted"),
        (json!({"inputText": "x".repeat(33_000)}), "Too many input tokens. Max input tokens: 8192"),
        (json!([]), "expected type: JSONObject"),
    ];
    for (body, why) in rows {
        let reply = post(&demo, TITAN, "/invoke", &body);
        let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 400 && message.contains(why), "{why}: {} {message}", reply.status);
    }
}

/// Each of these is answered with a 400 whose message has these words.
fn refused(rows: &[(&str, Value, &str)]) {
    let demo = demo();
    for (model, body, why) in rows {
        let reply = invoke(&demo, model, body);
        let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 400 && message.contains(why), "{why}: {} {message}", reply.status);
    }
}

fn asking(text: &str, more: Value) -> Value {
    merged(of(vec![json!({"role": "user", "content": text})], json!({})), more)
}

fn of(messages: Vec<Value>, more: Value) -> Value {
    let version = "bedrock-2023-05-31";
    let body = json!({"anthropic_version": version, "max_tokens": 2000, "messages": messages});
    merged(body, more)
}

fn enabled(budget: u64) -> Value {
    json!({"type": "enabled", "budget_tokens": budget})
}

fn tool(name: &str) -> Value {
    let city = json!({"city": {"type": "string"}});
    let schema = json!({"type": "object", "properties": city, "required": ["city"]});
    json!({"name": name, "description": "x", "input_schema": schema})
}

fn merged(mut object: Value, more: Value) -> Value {
    object.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_else(Map::new));
    object
}

fn keys(object: &Value) -> Vec<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

fn thirds(text: &str, write: impl Fn(&str) -> String) -> Vec<String> {
    let size = text.len().div_ceil(3);
    let pieces = text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap());
    pieces.map(write).collect()
}

fn target(demo: &Demo, model: &str, path: &str) -> String {
    chat_path(model, demo).replace("/chat/completions?api-version=2024-10-21", path)
}

fn post(demo: &Demo, model: &str, path: &str, body: &Value) -> Reply {
    let headers = format!("{}Accept: application/json\r\n", json_headers(demo));
    let target = target(demo, model, path);
    Client::new(demo).send("POST", &target, &headers, body.to_string().as_bytes())
}

fn invoke(demo: &Demo, model: &str, body: &Value) -> Reply {
    post(demo, model, "/invoke", body)
}

fn invoke_stream(demo: &Demo, model: &str, body: &Value) -> Reply {
    post(demo, model, "/invoke-with-response-stream", body)
}

fn events(stream: &str) -> Vec<Value> {
    frames(stream)
}

/// The message that the events make.
fn folded(events: &[Value]) -> Value {
    let mut blocks: Vec<(Value, String)> = Vec::new();
    for event in events {
        let delta = &event["delta"];
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, blocks.len());
                blocks.push((event["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                let (block, input) = &mut blocks[index];
                for (field, value) in delta.as_object().unwrap() {
                    let value = value.as_str().unwrap();
                    match field.as_str() {
                        "type" => {}
                        "partial_json" => input.push_str(value),
                        field => {
                            block[field] = json!(block[field].as_str().unwrap().to_owned() + value)
                        }
                    }
                }
            }
            _ => {}
        }
    }
    let whole = blocks.into_iter().map(|(mut block, input)| {
        if !input.is_empty() {
            block["input"] = serde_json::from_str(&input).unwrap();
        }
        block
    });
    json!({"content": whole.collect::<Vec<_>>()})
}
