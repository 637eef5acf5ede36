//! The simulated Responses: what is refused, what comes back, what is kept and by whom.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const ENCRYPTED: &str = "reasoning.encrypted_content";
const PREVIOUS: &str = "previous_response_id";
/// The deployments of gpt-5.
const FIRST: &str = "d00000000000002a";
const SECOND: &str = "d00000000000002b";

#[test]
fn a_response_is_written_as_recorded() {
    let demo = demo();
    let body = json!({"model": "gpt-5", "input": "hi"});
    let reply = create(&demo, "gpt-5", &body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (text, sample) = (reply.text(), sample("azure_responses.json"));
    assert_eq!(keys(&text), keys(&sample));
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let reply = create(&demo, "gpt-5", &streamed);
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let text = reply.text();
    assert!(!text.contains("[DONE]") && !text.contains("event:"), "{text}");
    let recorded = self::sample("azure_responses_stream.sse");
    let kinds = |text: &str| {
        let mut kinds = events(text).iter().map(|e| e["type"].to_string()).collect::<Vec<_>>();
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds(&text), kinds(&recorded));
    let lines =
        |text: &str| text.lines().filter(|line| !line.is_empty()).map(keys).collect::<Vec<_>>();
    let (mut written, mut wanted) = (lines(&text), lines(&recorded));
    written.dedup();
    wanted.dedup();
    assert_eq!(written, wanted);
    for (n, event) in events(&text).iter().enumerate() {
        assert_eq!(event["sequence_number"], n, "{event}");
    }
}

#[test]
fn what_responses_refuse_is_refused() {
    let demo = demo();
    let other = answer(&demo, &with("x", json!({"include": [ENCRYPTED]})), SECOND);
    let foreign = other["output"][0].clone();
    let kept = answer(&demo, &ask("x"), FIRST);
    let (thought, said) = (kept["output"][0].clone(), kept["output"][1].clone());
    let reference = |id: &Value| json!({"type": "item_reference", "id": id});
    let part = |part: Value| input(json!([{"role": "user", "content": [part]}]));
    let tool = |tool: Value| with("x", json!({ "tools": [tool] }));
    let f = json!({"type": "function", "name": "f"});
    let choose = |choice: Value| with("x", json!({"tools": [f], "tool_choice": choice}));
    let format = |format: Value| with("x", json!({"text": {"format": format}}));
    let open = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let rows = [
        (json!({"input": "x"}), "model", "Missing required parameter: 'model'."),
        (json!({"model": "m"}), "input", "must be provided"),
        (json!({"model": "m", "input": []}), "input", "must be provided"),
        (input(json!(1)), "input", "expected one of a string or an array, but got a number"),
        (
            with("x", json!({"client_metadata": {}})),
            "client_metadata",
            "Unknown parameter: 'client_metadata'.",
        ),
        (with("x", json!({"max_tokens": 9})), "max_tokens", "Unknown parameter: 'max_tokens'."),
        (with("x", json!({"store": "yes"})), "store", "expected a boolean, but got a string"),
        (
            with("x", json!({"max_output_tokens": 15})),
            "max_output_tokens",
            "value >= 16, but got 15",
        ),
        (
            with("x", json!({"max_output_tokens": 128_001})),
            "max_output_tokens",
            "value <= 128000, but got 128001",
        ),
        (with("x", json!({"max_output_tokens": 16.5})), "max_output_tokens", "expected an integer"),
        (
            with("x", json!({"temperature": 3})),
            "temperature",
            "decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        ),
        (with("x", json!({"temperature": 0.5})), "temperature", "Unsupported parameter"),
        (with("x", json!({"top_p": 0.5})), "top_p", "Unsupported parameter"),
        (with("x", json!({"top_logprobs": 2})), "top_logprobs", "Unsupported parameter"),
        (with("x", json!({"truncation": "x"})), "truncation", "are: 'auto' and 'disabled'."),
        (
            with("x", json!({"reasoning": {"effort": "x"}})),
            "reasoning.effort",
            "Invalid value: 'x'",
        ),
        (with("x", json!({"reasoning": {"budget": 1}})), "reasoning.budget", "Unknown parameter"),
        (with("x", json!({"include": ["thoughts"]})), "include[0]", "Invalid value: 'thoughts'"),
        (
            with("x", json!({"include": ["message.output_text.logprobs"]})),
            "include",
            "not supported with reasoning models",
        ),
        (with("x", json!({"stream_options": {}})), "stream_options", "when 'stream' is enabled"),
        (
            with("x", json!({"background": true, "store": false})),
            "background",
            "Background mode requires 'store'",
        ),
        (with("x", json!({"metadata": {"a": 1}})), "metadata.a", "expected a string"),
        (with("x", json!({"metadata": {"a": "x".repeat(513)}})), "metadata", "at most 512"),
        (with("x", json!({"previous_response_id": "x"})), PREVIOUS, "begins with 'resp'"),
        (
            with("x", json!({"previous_response_id": other["id"]})),
            PREVIOUS,
            "Previous response with id 'resp_",
        ),
        // Items.
        (input(json!(["x"])), "input[0]", "expected an object, but got a string"),
        (
            input(json!([user("x"), {"type": "custom_tool_call", "call_id": "c"}])),
            "input[1]",
            "Invalid value: 'custom_tool_call'. Supported values are: 'message', 'function_call'",
        ),
        (
            input(json!([{"role": "tool", "content": "x"}])),
            "input[0].role",
            "Invalid value: 'tool'",
        ),
        (
            input(json!([{"role": "user", "content": "x", "name": "n"}])),
            "input[0].name",
            "Unknown parameter: 'input[0].name'.",
        ),
        (input(json!([{"role": "user"}])), "input[0].content", "Missing required parameter"),
        (input(json!([{"role": "user", "content": null}])), "input[0].content", "but got null"),
        (
            part(json!({"type": "text", "text": "x"})),
            "input[0].content[0]",
            "are: 'input_text', 'input_image', and 'input_file'.",
        ),
        (
            part(json!({"type": "output_text", "text": "x"})),
            "input[0].content[0]",
            "Invalid value: 'output_text'",
        ),
        (
            input(json!([{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}])),
            "input[0].content[0]",
            "are: 'output_text' and 'refusal'.",
        ),
        (
            part(json!({"type": "input_image", "image_url": {"url": "https://x"}})),
            "input[0].content[0].image_url",
            "expected a string, but got an object",
        ),
        (
            part(json!({"type": "input_image", "image_url": "ftp://x"})),
            "input[0].content[0].image_url",
            "Expected a valid URL",
        ),
        (part(json!({"type": "input_image"})), "input[0].content[0].image_url", "Missing required"),
        (
            part(json!({"type": "input_text", "text": "x", "cache_control": {}})),
            "input[0].content[0].cache_control",
            "Unknown parameter",
        ),
        (
            input(json!([{"role": "user", "content": "x", "id": "xyz"}])),
            "input[0].id",
            "Invalid 'input[0].id': 'xyz'. Expected an ID that begins with 'msg'.",
        ),
        (
            input(json!([user("x"), called("c", "call_1"), output("call_1")])),
            "input[1].id",
            "Expected an ID that begins with 'fc'.",
        ),
        (
            input(json!([user("x"), called("fc_.", "call_1"), output("call_1")])),
            "input[1].id",
            "letters, numbers, underscores, or dashes",
        ),
        (
            input(json!([user("x"), called(&format!("fc_{}", "1".repeat(62)), "c"), output("c")])),
            "input[1].id",
            "maximum length 64, but got a string with length 65",
        ),
        (
            input(json!([user("x"), called("fc_1", &"c".repeat(65)), output(&"c".repeat(65))])),
            "input[1].call_id",
            "maximum length 64",
        ),
        (
            input(json!([user("x"), called("fc_1", ""), output("")])),
            "input[1].call_id",
            "minimum length 1",
        ),
        (
            input(json!([
                user("x"),
                called("fc_1", "c"),
                called("fc_1", "d"),
                output("c"),
                output("d")
            ])),
            "input",
            "Duplicate item found with id fc_1.",
        ),
        (
            input(json!([user("x"), called("fc_1", "call_1")])),
            "input",
            "No tool output found for function call call_1.",
        ),
        (
            input(json!([user("x"), output("call_1")])),
            "input",
            "No tool call found for function call output with call_id call_1.",
        ),
        (
            input(json!([output("call_1"), called("fc_1", "call_1")])),
            "input",
            "No tool call found for function call output with call_id call_1.",
        ),
        (
            input(json!([user("x"), foreign, said_by_model("y")])),
            "",
            "The encrypted content gAAA... could not be verified. Reason: Encrypted content \
             organization_id did not match the target organization.",
        ),
        (
            input(json!([{"type": "compaction", "encrypted_content": "gAAAAABx"}, user("x")])),
            "",
            "Encrypted content could not be decrypted or parsed.",
        ),
        (
            input(json!([user("x"), thought, user("y")])),
            "input",
            "of type 'reasoning' was provided without its required following item.",
        ),
        (
            input(json!([user("x"), reference(&thought["id"])])),
            "input",
            "of type 'reasoning' was provided without its required following item.",
        ),
        (
            input(json!([user("x"), said, user("y")])),
            "input",
            "of type 'message' was provided without its required 'reasoning' item: 'rs_",
        ),
        // Tools.
        (
            tool(json!({"type": "function", "function": {"name": "f"}})),
            "tools[0].name",
            "Missing required parameter: 'tools[0].name'.",
        ),
        (tool(json!({"name": "f"})), "tools[0].type", "Missing required parameter"),
        (tool(json!({"type": "function", "name": "a.b"})), "tools[0].name", "match pattern"),
        (
            tool(json!({"type": "function", "name": "f", "parameters": []})),
            "tools[0].parameters",
            "expected an object, but got an array",
        ),
        (
            tool(json!({"type": "function", "name": "f", "defer_loading": true})),
            "tools[0].defer_loading",
            "Unknown parameter",
        ),
        (
            tool(json!({"type": "function", "name": "f", "strict": true, "parameters": open})),
            "tools[0].parameters",
            "Invalid schema for function 'f': In context=(), 'additionalProperties' is required",
        ),
        (choose(json!("always")), "tool_choice", "Invalid value: 'always'"),
        (choose(json!({"type": "function", "name": "g"})), "tool_choice", "'function' not found"),
        (
            choose(json!({"type": "function", "function": {"name": "f"}})),
            "tool_choice.function",
            "Unknown parameter",
        ),
        (choose(json!({"type": "custom", "name": "f"})), "tool_choice", "'custom' not found"),
        (
            choose(json!({
                "type": "allowed_tools", "mode": "auto",
                "tools": [f, {"type": "function", "name": "g"}],
            })),
            "tool_choice",
            "'allowed_tools' not found",
        ),
        (with("x", json!({"tool_choice": "required"})), "tool_choice", "'tools' parameter"),
        // Formats.
        (
            format(json!({"type": "json_schema", "json_schema": {"name": "n"}})),
            "text.format.json_schema",
            "Unknown parameter",
        ),
        (
            format(json!({"type": "json_schema", "name": "n"})),
            "text.format.schema",
            "Missing required parameter",
        ),
        (
            format(json!({"type": "json_schema", "name": "n", "schema": open, "strict": true})),
            "text.format.schema",
            "Invalid schema for response_format 'n'",
        ),
        (format(json!({"type": "json_object"})), "input", "must contain the word 'json'"),
        (format(json!({"type": "xml"})), "text.format.type", "Invalid value: 'xml'"),
        (with("x", json!({"response_format": {}})), "response_format", "Unknown parameter"),
        (ask(&"x".repeat(1_100_000)), "input", "exceeds the context window"),
    ];
    for (body, param, why) in rows {
        let reply = post(&demo, FIRST, "", &body);
        let error = &reply.json()["error"];
        assert_eq!(
            (reply.status, &error["type"]),
            (400, &json!("invalid_request_error")),
            "{body}"
        );
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{body} {error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{why}: {error}");
    }
    let kinds = ["custom", "web_search", "function", "tool_search", "custom"];
    let tools = kinds.map(|kind| json!({"type": kind, "name": "n"}));
    let reply = create(&demo, "gpt-5.5", &with("x", json!({ "tools": tools }))).json();
    assert_eq!(
        reply,
        serde_json::from_str::<Value>(&sample("errors/responses_400_tools.json")).unwrap()
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let demo = demo();
    let hi = ask("hi");
    let there = answer(&demo, &hi, FIRST);
    let fleeting = answer(&demo, &with("hi", json!({"store": false})), FIRST);
    let lost = "Items are not persisted when `store` is set to false.";
    for id in [&fleeting["output"][0]["id"], &fleeting["output"][1]["id"]] {
        let body = input(json!([{"type": "item_reference", "id": id}, user("and?")]));
        let reply = post(&demo, FIRST, "", &body);
        assert!(reply.status == 404 && reply.text().contains(lost), "{}", reply.text());
    }
    let body = input(json!([user("x"), fleeting["output"][0], said_by_model("y"), user("z")]));
    assert_eq!(post(&demo, FIRST, "", &body).status, 404);
    let unknown = |id: &Value| {
        json!({"error": {
            "message": format!("Response with id {} not found.", id.to_string().replace('"', "'")),
            "type": "invalid_request_error", "param": null, "code": null,
        }})
    };
    for (deployment, id) in
        [(FIRST, &fleeting["id"]), (SECOND, &there["id"]), (FIRST, &json!("resp_x"))]
    {
        let rest = format!("/{}", id.as_str().unwrap());
        for (method, rest) in [
            ("GET", rest.clone()),
            ("DELETE", rest.clone()),
            ("POST", format!("{rest}/cancel")),
            ("GET", format!("{rest}/input_items")),
        ] {
            let reply = call(&demo, method, deployment, &rest);
            assert_eq!((reply.status, reply.json()), (404, unknown(id)), "{method} {rest}");
        }
    }
    for model in ["gpt-4o", "o3", "text-embedding-3-small"] {
        let reply = create(&demo, model, &hi);
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (404, &json!("01020404")),
            "{model}"
        );
    }
    assert_eq!(call(&demo, "GET", FIRST, "").status, 405);
    assert_eq!(call(&demo, "PUT", FIRST, "/resp_x").status, 405);
    assert_eq!(call(&demo, "GET", FIRST, "/resp_x/thoughts").status, 404);
    let messages = json!({"messages": [{"role": "user", "content": "hi"}]});
    let refused = chat(&demo, "gpt-5.3-codex", &messages);
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["code"]), (400, &json!("OperationNotSupported")));
    assert_eq!(create(&demo, "gpt-5.3-codex", &hi).status, 200);
}

#[test]
fn what_responses_take_is_taken() {
    let demo = demo();
    let everything = with(
        "json, please",
        json!({
            "background": false, "include": [ENCRYPTED], "instructions": "terse",
            "max_output_tokens": 16, "max_tool_calls": 3, "metadata": {"a": "b"},
            "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": "k",
            "prompt_cache_retention": "24h", "reasoning": {"effort": "low", "summary": "auto"},
            "safety_identifier": "s", "service_tier": "auto", "store": true, "stream": false,
            "temperature": 1, "top_p": 1, "top_logprobs": 0, "truncation": "auto", "user": "u",
            "text": {"format": {"type": "json_object"}, "verbosity": "low"},
            "tools": [{
                "type": "function", "name": "f", "description": "d", "strict": true,
                "parameters": {
                    "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
                    "additionalProperties": false,
                },
            }],
            "tool_choice": "none",
        }),
    );
    let reply = answer(&demo, &everything, FIRST);
    assert_eq!(reply["model"], "gpt-5-2025-08-07-dz-std");
    assert_eq!((&reply["status"], &reply["completed_at"]), (&json!("incomplete"), &Value::Null));
    assert_eq!(reply["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(reply["usage"]["output_tokens"], 16);
    assert_eq!(reply["usage"]["output_tokens_details"]["reasoning_tokens"], 8);
    for key in ["instructions", "metadata", "prompt_cache_key", "text", "tools", "user"] {
        assert_eq!(reply[key], everything[key], "{key}");
    }
    assert_eq!(reply["reasoning"], json!({"effort": "low", "summary": "detailed"}));
    let (thought, said) = (&reply["output"][0], &reply["output"][1]);
    assert_eq!(
        (&thought["summary"][0]["type"], &said["status"]),
        (&json!("summary_text"), &json!("incomplete"))
    );
    let image =
        json!({"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"});
    let file = json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:,x"});
    let turns = json!([
        {"type": "message", "role": "developer", "content": "terse", "id": "msg_1"},
        {"role": "system", "content": [{"type": "input_text", "text": "polite"}]},
        user("one"),
        thought,
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "two", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "no"},
        ], "status": "completed", "phase": "final_answer"},
        called("fc_1", "c1"), called("fc_2", "c2"),
        {"type": "function_call_output", "call_id": "c2", "output": [
            {"type": "input_text", "text": "three"}, image,
        ], "id": "fco_2"},
        output("c1"),
        {"role": "user", "content": [{"type": "input_text", "text": "look"}, image, file]},
    ]);
    let text = |reply: &Value| {
        let items = reply["output"].as_array().unwrap();
        items.last().unwrap()["content"][0]["text"].as_str().unwrap().to_owned()
    };
    let reply = answer(&demo, &input(turns), FIRST);
    let said = "You said: \"look\". I see 1 image. I read 1 document.";
    assert!(text(&reply).starts_with(said), "{reply}");
    let quiet = answer(&demo, &with("x", json!({"reasoning": {"effort": "none"}})), FIRST);
    assert_eq!(quiet["output"].as_array().unwrap().len(), 1);
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let format = json!({"type": "json_schema", "name": "n", "schema": schema});
    let shaped = answer(&demo, &with("x", json!({"text": {"format": format}})), FIRST);
    assert_eq!(text(&shaped), r#"{"city":"Paris"}"#);
}

fn path(demo: &Demo, model: &str, rest: &str) -> String {
    let url = &demo.config_json()["deployment_models"][model];
    let url = url.as_str().or_else(|| url[0].as_str()).unwrap().to_owned();
    format!("{}/responses{rest}", url.strip_prefix(&demo.url()).unwrap())
}

#[test]
fn calls_come_in_events_and_their_results_go_back() {
    let demo = demo();
    let patch = r#"{"input":"*** Begin Patch\n*** End Patch"}"#;
    let script = |calls: &str| format!("Do it [[demo {calls}]]");
    let call_of =
        |name: &str, arguments: &str| format!("{name}:{}", URL_SAFE_NO_PAD.encode(arguments));
    let (one, two) = (call_of("apply_patch", patch), call_of("look", "{}"));
    let text = script(&format!("call={one},{two} call={two}"));
    let tool =
        |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
    let tools = json!([tool("apply_patch"), tool("look")]);
    let first = with(&text, json!({ "tools": tools }));
    let whole = answer(&demo, &first, FIRST);
    let calls = &whole["output"].as_array().unwrap()[1..];
    let names = calls.iter().map(|call| call["name"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((names, &calls[0]["arguments"]), (vec!["apply_patch", "look"], &json!(patch)));
    let mut streamed = first.clone();
    streamed["stream"] = json!(true);
    let reply = post(&demo, FIRST, "", &streamed).text();
    let of_call = |event: &&Value| event["output_index"] == 1;
    let all = events(&reply);
    let of_call = all.iter().filter(of_call).collect::<Vec<_>>();
    let kinds = of_call.iter().map(|e| e["type"].as_str().unwrap()).collect::<Vec<_>>();
    let delta = "response.function_call_arguments.delta";
    assert_eq!(
        kinds,
        [
            "response.output_item.added",
            delta,
            delta,
            delta,
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
    );
    assert_eq!(of_call[0]["item"]["arguments"], "");
    let deltas = of_call[1..4].iter().map(|e| e["delta"].as_str().unwrap()).collect::<String>();
    assert_eq!((deltas.as_str(), &of_call[4]["arguments"]), (patch, &json!(patch)));
    let last = all.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["output"][1]),
        (&json!("response.completed"), &of_call[5]["item"])
    );
    // The script goes on: with all items, and with the previous response only.
    let outputs = calls.iter().map(|call| output(call["call_id"].as_str().unwrap()));
    let outputs = outputs.collect::<Vec<_>>();
    let unanswered =
        json!({"model": "m", "previous_response_id": whole["id"], "input": outputs[..1]});
    assert!(
        post(&demo, FIRST, "", &unanswered)
            .text()
            .contains("No tool output found for function call")
    );
    let items = [&[user(&text)], whole["output"].as_array().unwrap().as_slice(), &outputs].concat();
    let mut all = input(json!(items));
    all["tools"] = tools.clone();
    let mut rest = json!({"model": "m", "previous_response_id": whole["id"], "input": outputs});
    rest["tools"] = tools.clone();
    for body in [&all, &rest] {
        let second = answer(&demo, body, FIRST);
        assert_eq!(second["output"][1]["name"], "look");
        let call_id = second["output"][1]["call_id"].as_str().unwrap();
        let third = json!({
            "model": "m", "previous_response_id": second["id"], "input": [output(call_id)],
            "tools": tools,
        });
        let third = answer(&demo, &third, FIRST);
        let said = third["output"][1]["content"][0]["text"].as_str().unwrap();
        assert!(said.starts_with("The tool says: done"), "{said}");
    }
    // Choices.
    let rows = [
        (json!({}), vec!["apply_patch", "look"]),
        (json!({"parallel_tool_calls": false}), vec!["apply_patch"]),
        (json!({"tool_choice": {"type": "function", "name": "look"}}), vec!["look"]),
        (json!({"tool_choice": "none"}), vec![]),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [
                {"type": "function", "name": "look"},
            ]}}),
            vec!["look"],
        ),
    ];
    for (more, wanted) in rows {
        let mut body = with("apply_patch, then look", json!({ "tools": tools }));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = answer(&demo, &body, FIRST);
        let output = reply["output"].as_array().unwrap().clone();
        let names = output.iter().filter_map(|item| item["name"].as_str()).collect::<Vec<_>>();
        assert_eq!(names, wanted, "{more}");
    }
}

#[test]
fn a_stream_of_responses_breaks_as_asked() {
    let demo = demo();
    let stream = |text: &str, more: Value| {
        let mut body = with(text, more);
        body["stream"] = json!(true);
        post(&demo, FIRST, "", &body)
    };
    let recorded = sample("azure_responses_stream_throttled.sse");
    let throttled = stream("x [[demo error_after=1]]", json!({})).text();
    let lines = |text: &str| text.split("\n\n").map(keys).collect::<Vec<_>>();
    assert_eq!(
        lines(&throttled),
        lines(recorded.trim_end_matches('\n')).into_iter().chain([vec![]]).collect::<Vec<_>>()
    );
    for (n, event) in events(&throttled).iter().enumerate() {
        assert_eq!(event["sequence_number"], n);
    }
    let kinds = |reply: &Reply| {
        events(&reply.text())
            .iter()
            .map(|e| e["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let ended = stream("x [[demo end_after=3]]", json!({}));
    assert_eq!((ended.complete, kinds(&ended).len()), (true, 3));
    assert!(!stream("x [[demo cut_after=3]]", json!({})).complete);
    let limited = stream("x [[demo status=429 retry_after=1]]", json!({}));
    assert_eq!((limited.status, limited.header("retry-after")), (429, "1".to_owned()));
    let counted =
        stream("x [[demo frames=40]]", json!({"stream_options": {"include_obfuscation": false}}));
    let deltas =
        kinds(&counted).iter().filter(|kind| *kind == "response.output_text.delta").count();
    assert!(deltas == 40 && !counted.text().contains("obfuscation"));
    let filtered = stream("x [[demo stop_reason=content_filter]]", json!({}));
    let events = events(&filtered.text());
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"], json!({"reason": "content_filter"}));
    let thinking = stream("x", json!({"reasoning": {"summary": "auto"}, "include": [ENCRYPTED]}));
    let kinds = kinds(&thinking);
    let mut kinds =
        kinds.iter().map(|kind| kind.trim_start_matches("response.")).collect::<Vec<_>>();
    kinds.dedup();
    assert_eq!(
        kinds[2..8],
        [
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
        ]
    );
}

#[test]
fn reasoning_goes_back_to_where_it_was_made() {
    let demo = demo();
    let asked = with("x", json!({"include": [ENCRYPTED], "store": false}));
    let reply = answer(&demo, &asked, FIRST);
    let back = |more: &dyn Fn(&mut Value)| {
        let mut thought = reply["output"][0].clone();
        more(&mut thought);
        input(json!([user("x"), thought, reply["output"][1], user("y")]))
    };
    let nameless = back(&|thought| drop(thought.as_object_mut().unwrap().remove("id")));
    for body in [&back(&|_| ()), &nameless] {
        answer(&demo, body, FIRST);
        let refused = post(&demo, SECOND, "", body);
        let code = refused.json()["error"]["code"].clone();
        assert_eq!((refused.status, code), (400, json!("invalid_encrypted_content")));
    }
    for (changed, why) in [
        (back(&|thought| thought["id"] = json!("rs_other")), "item_id did not match"),
        (
            back(&|thought| {
                let content =
                    thought["encrypted_content"].as_str().unwrap().replace("gAAAAAB", "gAAAAABx");
                thought["encrypted_content"] = json!(content);
            }),
            "could not be decrypted",
        ),
    ] {
        assert!(post(&demo, FIRST, "", &changed).text().contains(why));
    }
    let kept = answer(&demo, &ask("x"), FIRST);
    let reference = |n: usize| json!({"type": "item_reference", "id": kept["output"][n]["id"]});
    let body = input(json!([user("x"), {"id": kept["output"][0]["id"]}, reference(1), user("y")]));
    answer(&demo, &body, FIRST);
    assert_eq!(post(&demo, SECOND, "", &body).status, 404);
    answer(
        &demo,
        &input(json!([user("x"), kept["output"][0], kept["output"][1], user("y")])),
        FIRST,
    );
}

#[test]
fn responses_are_kept_listed_and_forgotten() {
    let demo = demo();
    let first = answer(&demo, &ask("one"), FIRST);
    let rest = format!("/{}", first["id"].as_str().unwrap());
    assert_eq!(call(&demo, "GET", FIRST, &rest).json(), first);
    let cancelled = call(&demo, "POST", FIRST, &format!("{rest}/cancel"));
    assert!(cancelled.status == 400 && cancelled.text().contains("Cannot cancel a synchronous"));
    let more = json!({"previous_response_id": first["id"], "instructions": "terse"});
    let second = answer(&demo, &with("two", more), FIRST);
    let list = |query: &str| {
        let rest = format!("/{}/input_items{query}", second["id"].as_str().unwrap());
        call(&demo, "GET", FIRST, &rest)
    };
    let all = list("").json();
    let data = all["data"].as_array().unwrap();
    let texts = |reply: &Value| {
        let items = reply["data"].as_array().unwrap().iter();
        items
            .map(|item| item["content"][0]["text"].as_str().unwrap_or("-").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&list("").text())[..2], ["object", "data"]);
    assert_eq!((&all["object"], &all["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!((&all["first_id"], &all["last_id"]), (&data[0]["id"], &data[3]["id"]));
    let said = first["output"][1]["content"][0]["text"].as_str().unwrap();
    assert_eq!(texts(&all), ["two", said, "-", "one"]);
    let upwards = list("?order=asc&limit=1").json();
    assert_eq!((texts(&upwards), &upwards["has_more"]), (vec!["one".to_owned()], &json!(true)));
    let after = list(&format!("?after={}", data[1]["id"].as_str().unwrap())).json();
    assert_eq!(texts(&after), ["-", "one"]);
    for wrong in ["?limit=0", "?limit=101", "?order=up", "?after=msg_x"] {
        assert_eq!(list(wrong).status, 400, "{wrong}");
    }
    let gone = call(&demo, "DELETE", FIRST, &rest);
    let deleted = format!(r#"{{"id":{},"object":"response","deleted":true}}"#, first["id"]);
    assert_eq!((gone.status, gone.text()), (200, deleted));
    assert_eq!(call(&demo, "GET", FIRST, &rest).status, 404);
    for _ in 0..200 {
        answer(&demo, &ask("more"), FIRST);
    }
    let rest = format!("/{}", second["id"].as_str().unwrap());
    assert_eq!(call(&demo, "GET", FIRST, &rest).status, 404);
}

#[test]
fn what_runs_in_the_background_is_looked_at() {
    let demo = demo();
    let body = with("x", json!({"background": true}));
    let begun = answer(&demo, &body, FIRST);
    assert_eq!((&begun["status"], &begun["output"]), (&json!("queued"), &json!([])));
    assert_eq!((&begun["background"], &begun["usage"]), (&json!(true), &Value::Null));
    let rest = format!("/{}", begun["id"].as_str().unwrap());
    let statuses = [(); 3].map(|()| call(&demo, "GET", FIRST, &rest).json()["status"].clone());
    assert_eq!(statuses, ["in_progress", "completed", "completed"]);
    let begun = answer(&demo, &body, FIRST);
    let rest = format!("/{}", begun["id"].as_str().unwrap());
    let cancelled = call(&demo, "POST", FIRST, &format!("{rest}/cancel"));
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(call(&demo, "GET", FIRST, &rest).json()["status"], "cancelled");
}

#[test]
fn a_conversation_is_made_short() {
    let demo = demo();
    let items =
        json!(
            [user("one"), said_by_model("two"), called("fc_1", "c"), output("c"), user("three"),]
        );
    let short = post(&demo, FIRST, "/compact", &input(items.clone()));
    assert_eq!(short.status, 200, "{}", short.text());
    assert_eq!(keys(&short.text())[..4], ["id", "object", "created_at", "output"]);
    let short = short.json();
    assert_eq!(short["object"], "response.compaction");
    let output = short["output"].as_array().unwrap();
    let kinds = output.iter().map(|item| item["type"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(kinds, ["message", "message", "compaction"]);
    let next = input(json!([output[0], output[1], output[2], user("four")]));
    let reply = answer(&demo, &next, FIRST);
    assert!(reply["output"][1]["content"][0]["text"].as_str().unwrap().contains("four"));
    let refused = post(&demo, SECOND, "", &next);
    assert_eq!(refused.json()["error"]["code"], "invalid_encrypted_content");
    let mut odd = input(items);
    odd["stream"] = json!(true);
    let refused = post(&demo, FIRST, "/compact", &odd).json();
    assert_eq!(refused["error"]["message"], "Unknown parameter: 'stream'.");
}

fn ask(text: &str) -> Value {
    json!({"model": "gpt-5", "input": text})
}

fn input(items: Value) -> Value {
    json!({"model": "gpt-5", "input": items})
}

fn with(text: &str, more: Value) -> Value {
    let mut body = ask(text);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

fn said_by_model(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "content": text})
}

fn called(id: &str, call_id: &str) -> Value {
    json!({"type": "function_call", "id": id, "call_id": call_id, "name": "f", "arguments": "{}"})
}

fn output(call_id: &str) -> Value {
    json!({"type": "function_call_output", "call_id": call_id, "output": "done"})
}

/// A response that is given.
fn answer(demo: &Demo, body: &Value, deployment: &str) -> Value {
    let reply = post(demo, deployment, "", body);
    assert_eq!(reply.status, 200, "{body} {}", reply.text());
    reply.json()
}

fn post(demo: &Demo, deployment: &str, rest: &str, body: &Value) -> Reply {
    let path = format!("/v2/inference/deployments/{deployment}/responses{rest}");
    Client::new(demo).send("POST", &path, &json_headers(demo), body.to_string().as_bytes())
}

fn call(demo: &Demo, method: &str, deployment: &str, rest: &str) -> Reply {
    let path = format!("/v2/inference/deployments/{deployment}/responses{rest}");
    Client::new(demo).send(method, &path, &headers(demo), b"")
}

fn create(demo: &Demo, model: &str, body: &Value) -> Reply {
    let path = path(demo, model, "");
    Client::new(demo).send("POST", &path, &json_headers(demo), body.to_string().as_bytes())
}

fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The keys of a JSON text, in their order.
fn keys(json: &str) -> Vec<String> {
    let strings = json.split('"').collect::<Vec<_>>();
    let keys = strings.windows(2).filter(|pair| pair[1].trim_start().starts_with(':'));
    keys.map(|pair| pair[0].to_owned()).collect()
}

fn sample(name: &str) -> String {
    let path = format!("{}/tests/wire/aicore/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
