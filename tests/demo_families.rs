//! The simulated families besides Azure and Bedrock: what each refuses, in whose words, and that
//! its answers have the recorded shapes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sap_ai_core_llm_proxy::demo::{Demo, Fault, Options};
use serde_json::{Value, json};

#[test]
fn all_models_are_in_the_configuration() {
    let models = demo().config_json()["deployment_models"].clone();
    for (model, id) in [
        ("gemini-2.5-pro", "d00000000000008a"),
        ("gemini-3.5-flash", "d00000000000008c"),
        ("gemini-embedding", "d00000000000008d"),
        ("mistralai--mistral-medium-instruct", "d00000000000009a"),
        ("deepseek-ai--deepseek-r1", "d00000000000009c"),
        ("nvidia--llama-3.2-nv-embedqa-1b", "d00000000000009d"),
        ("qwen3-max", "d00000000000009e"),
        ("sonar-pro", "d0000000000000ba"),
        ("cohere--command-a-reasoning", "d0000000000000ca"),
        ("cohere-reranker-35", "d0000000000000cb"),
        ("orchestration/gpt-4o", "d00000000000000a"),
        ("orchestration/anthropic--claude-4.5-sonnet", "d00000000000000a"),
        ("orchestration/gemini-2.5-flash", "d00000000000000a"),
    ] {
        let url = models[model].as_str().unwrap_or_else(|| panic!("{model}: {models}"));
        assert!(url.ends_with(id), "{model}: {url}");
    }
}

// ── Gemini

#[test]
fn what_gemini_refuses_is_refused() {
    let demo = demo();
    let hi = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
    let with = |more: Value| merged(json!({ "contents": hi }), more);
    let config = |config: Value| with(json!({ "generationConfig": config }));
    let contents = |contents: Value| json!({ "contents": contents });
    let part = |part: Value| json!({"contents": [{"role": "user", "parts": [part]}]});
    let tool =
        |declaration: Value| with(json!({"tools": [{"functionDeclarations": [declaration]}]}));
    let schema = |inner: Value| {
        let parameters = json!({"type": "object", "properties": {"x": inner}});
        tool(json!({"name": "f", "parameters": parameters}))
    };
    let f = json!({"functionCall": {"name": "f", "args": {}}});
    let g = json!({"functionCall": {"name": "g", "args": {}}});
    let f_result = json!({"functionResponse": {"name": "f", "response": {"result": "1"}}});
    let g_result = json!({"functionResponse": {"name": "g", "response": {"result": "1"}}});
    let turns = |calls: Value, results: Value| {
        json!({"contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": calls},
            {"role": "user", "parts": results},
        ]})
    };
    let signed = |mut call: Value, signature: &str| {
        call["thoughtSignature"] = json!(signature);
        call
    };
    let thinking = |thinking: Value| config(json!({ "thinkingConfig": thinking }));
    let calling = |calling: Value| {
        with(json!({
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
            "toolConfig": {"functionCallingConfig": calling},
        }))
    };
    let (pro, flash, three) = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-3.5-flash");
    let rows = [
        (pro, with(json!({"model": "x"})), "Unknown name \"model\": Cannot find field."),
        (pro, with(json!({"stream": true})), "Unknown name \"stream\""),
        (
            pro,
            schema(json!({"const": 1})),
            "Unknown name \"const\" at \
             'tools[0].function_declarations[0].parameters.properties[0].value': Cannot find field.",
        ),
        (pro, schema(json!({"$ref": "#"})), "Unknown name \"$ref\""),
        (pro, schema(json!({"oneOf": []})), "Unknown name \"oneOf\""),
        (pro, schema(json!({"default": 1})), "Unknown name \"default\""),
        (pro, schema(json!({"exclusiveMinimum": 1})), "Unknown name \"exclusiveMinimum\""),
        (pro, schema(json!({"type": ["string", "null"]})), "cannot start list"),
        (pro, schema(json!({"type": "string", "enum": [1]})), "(TYPE_STRING), 1"),
        (pro, schema(json!({"type": "integer", "enum": ["1"]})), "only allowed for STRING type"),
        (pro, schema(json!({"type": "array"})), "items: missing field"),
        (
            pro,
            schema(json!({"type": "object", "required": ["y"]})),
            "required[0]: property is not defined",
        ),
        (
            pro,
            tool(json!({"name": "f", "parameters": {"type": "object", "$schema": "x"}})),
            "Unknown name \"$schema\"",
        ),
        (
            pro,
            tool(
                json!({"name": "f", "parameters": {"type": "object", "additionalProperties": false}}),
            ),
            "Unknown name \"additionalProperties\"",
        ),
        (pro, tool(json!({"name": "f", "parameters": {"type": "string"}})), "type OBJECT"),
        (
            pro,
            tool(
                json!({"name": "f", "parameters": {"type": "object"}, "parametersJsonSchema": {}}),
            ),
            "only one of parameters and parameters_json_schema",
        ),
        (pro, tool(json!({"name": "1f"})), "Invalid function name"),
        (pro, tool(json!({"name": "f".repeat(65)})), "Invalid function name"),
        (pro, tool(json!({"name": "f", "strict": true})), "Unknown name \"strict\""),
        (
            pro,
            with(json!({"tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]})),
            "Duplicate function declaration found: f",
        ),
        (pro, with(json!({"tools": [{}]})), "tool_type"),
        (pro, json!({}), "contents"),
        (pro, contents(json!([])), "contents is not specified"),
        (
            pro,
            contents(json!([{"role": "system", "parts": [{"text": "x"}]}])),
            "Please use a valid role: user, model.",
        ),
        (
            pro,
            contents(json!([{"role": "model", "parts": [{"text": "x"}]}])),
            "begins with a user turn",
        ),
        (pro, contents(json!([{"role": "user", "parts": []}])), "parts must not be empty"),
        (pro, part(json!({"text": ""})), "contents[0].parts must not be empty"),
        (pro, part(json!({"thought": true})), "required oneof field 'data'"),
        (
            pro,
            part(json!({"text": "x", "inlineData": {"mimeType": "image/png", "data": "AA=="}})),
            "is already set",
        ),
        (pro, part(json!({"inlineData": {"mimeType": "image/png", "data": "!"}})), "Base64"),
        (
            pro,
            part(json!({"inlineData": {"mimeType": "application/zip", "data": "AA=="}})),
            "mimeType parameter with value application/zip",
        ),
        (pro, part(f.clone()), "function call parts are of the role model"),
        (pro, contents(json!([hi[0], {"role": "model", "parts": [f]}])), "is equal to the number"),
        (pro, turns(json!([f, g]), json!([f_result])), "is equal to the number"),
        (pro, turns(json!([f, g]), json!([g_result, f_result])), "in the order"),
        (pro, turns(json!([{"text": "x"}]), json!([f_result])), "comes immediately after"),
        (
            pro,
            turns(
                json!([f]),
                json!([{"functionResponse": {"id": "1", "name": "f", "response": {}}}]),
            ),
            "Unknown name \"id\" at 'contents[2].parts[0].function_response'",
        ),
        (
            pro,
            turns(json!([{"functionCall": {"id": "1", "name": "f"}}]), json!([f_result])),
            "Unknown name \"id\" at 'contents[1].parts[0].function_call'",
        ),
        (pro, turns(json!([signed(f.clone(), "AAAA")]), json!([f_result])), "Corrupted thought"),
        (
            three,
            turns(json!([f]), json!([f_result])),
            "Function call `f` in the 2. content block is missing a `thought_signature`",
        ),
        (pro, calling(json!({"mode": "AUTO", "allowedFunctionNames": ["f"]})), "mode is ANY"),
        (pro, calling(json!({"mode": "ANY", "allowedFunctionNames": ["g"]})), "not declared"),
        (
            pro,
            with(json!({"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}})),
            "without function_declarations",
        ),
        (pro, config(json!({"temperature": 2.1})), "temperature value of 2.1"),
        (pro, config(json!({"candidateCount": 9})), "candidateCount"),
        (pro, config(json!({"maxOutputTokens": 65537})), "maxOutputTokens"),
        (pro, config(json!({"stopSequences": ["1", "2", "3", "4", "5", "6"]})), "stopSequences"),
        (pro, config(json!({"max_tokens": 1})), "at 'generation_config'"),
        (pro, config(json!({"responseSchema": {"type": "object"}})), "response_mime_type"),
        (
            pro,
            config(json!({
                "responseMimeType": "application/json", "responseSchema": {"title": 1},
            })),
            "'generation_config.response_schema.title' (TYPE_STRING)",
        ),
        (
            flash,
            with(json!({
                "tools": [{"functionDeclarations": [{"name": "f"}]}],
                "generationConfig": {"responseMimeType": "application/json"},
            })),
            "Function calling with a response mime type: 'application/json' is unsupported",
        ),
        (
            pro,
            thinking(json!({"thinkingBudget": 0})),
            "Budget 0 is invalid. This model only works in thinking mode.",
        ),
        (pro, thinking(json!({"thinkingBudget": 100})), "between 128 and 32768"),
        (flash, thinking(json!({"thinkingBudget": 24577})), "between 0 and 24576"),
        (
            flash,
            thinking(json!({"thinkingBudget": 0, "includeThoughts": true})),
            "only enabled when thinking is enabled",
        ),
        (flash, thinking(json!({"thinkingLevel": "low"})), "not supported for this model"),
        (three, thinking(json!({"thinkingLevel": "low", "thinkingBudget": 9})), "only one of"),
        (
            pro,
            with(json!({"safetySettings": [{"category": "X", "threshold": "Y"}]})),
            "safety_settings[0].threshold",
        ),
    ];
    for (model, body, message) in rows {
        let reply = gemini(&demo, model, "generateContent", &body);
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error["status"]), (400, &json!("INVALID_ARGUMENT")), "{body}");
        let said = error["message"].as_str().unwrap();
        assert!(said.contains(message), "{body}\n{said}");
    }
    let unknown = gemini(&demo, pro, "generateContent", &with(json!({"const": 1}))).json();
    assert_eq!(key_paths(&unknown), key_paths(&sample("errors/gemini_400.json")));
    let path = "models/gemini-1.5-pro:generateContent";
    assert_eq!(post(&demo, pro, path, &contents(hi.clone())).status, 404);
    assert_eq!(post(&demo, pro, "chat/completions", &contents(hi.clone())).status, 404);
    let path = "models/gemini-2.5-pro:generateContent?api-version=1";
    assert!(post(&demo, pro, path, &contents(hi)).text.contains("Cannot bind query parameter"));
}

#[test]
fn what_gemini_takes_is_taken() {
    let demo = demo();
    let mut request = sample("request_gemini.json");
    request["contents"][1]["parts"][0]["thoughtSignature"] =
        json!("skip_thought_signature_validator");
    let reply = gemini(&demo, "gemini-3.5-flash", "generateContent", &request);
    assert!(reply.status == 200 && reply.text.contains("The tool says: 18C"), "{}", reply.text);
    let snake = json!({
        "system_instruction": {"parts": {"text": "terse"}},
        "contents": {"role": "user", "parts": {"text": "find it with f"}},
        "tools": {"function_declarations": {"name": "f", "parameters": {
            "type": "OBJECT", "properties": {"city_name": {"type": "STRING"}},
            "required": ["city_name"],
        }}},
        "generation_config": {"max_output_tokens": 100, "thinking_config": {"thinking_budget": -1}},
    });
    let reply = gemini(&demo, "gemini-2.5-flash", "generateContent", &snake).json();
    let part = &reply["candidates"][0]["content"]["parts"][0];
    assert_eq!(part["functionCall"], json!({"name": "f", "args": {"city_name": "Paris"}}));
    for kept in [true, false] {
        let mut part = part.clone();
        if !kept {
            part.as_object_mut().unwrap().remove("thoughtSignature");
        }
        let result = json!({"functionResponse": {"name": "f", "response": {"result": "1"}}});
        let body = json!({"contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [part]},
            {"role": "user", "parts": [result]},
        ]});
        let two = gemini(&demo, "gemini-2.5-flash", "generateContent", &body);
        let three = gemini(&demo, "gemini-3.5-flash", "generateContent", &body);
        assert_eq!((two.status, three.status), (200, if kept { 200 } else { 400 }));
    }
}

#[test]
fn gemini_answers_as_recorded() {
    let demo = demo();
    let body = |text: &str| {
        json!({
            "contents": [{"role": "user", "parts": [{"text": text}]}],
            "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
        })
    };
    let ask = |text: &str| gemini(&demo, "gemini-2.5-pro", "generateContent", &body(text)).json();
    let said = ask("hi");
    assert_eq!(key_paths(&said), key_paths(&sample("gemini.json")));
    let again = ask("hi");
    assert!(again["usageMetadata"]["cachedContentTokenCount"].as_u64() > Some(0));
    let calls = ask("f and g");
    let parts = &calls["candidates"][0]["content"]["parts"];
    assert!(parts[0]["thoughtSignature"].is_string() && parts[1]["thoughtSignature"].is_null());
    assert_eq!(calls["candidates"][0]["finishReason"], "STOP");
    let blocked = ask("hi [[demo gemini=blocked]]");
    assert_eq!(key_paths(&blocked), key_paths(&sample("gemini_blocked.json")));
    let ended = ask("hi [[demo finish_reason=SAFETY]]");
    assert_eq!(ended["candidates"][0]["finishReason"], "SAFETY");

    let mut thinks = body("think");
    thinks["generationConfig"] =
        json!({"thinkingConfig": {"includeThoughts": true}, "candidateCount": 2});
    let stream = gemini(&demo, "gemini-2.5-pro", "streamGenerateContent", &thinks);
    assert!(stream.text.starts_with("data: {\"candidates\": [{"), "{}", stream.text);
    let frames = stream.frames();
    assert_eq!(frames[0]["candidates"][0]["content"]["parts"][0]["thought"], true);
    assert_eq!(frames[0]["candidates"][1]["index"], 1);
    let last = frames.last().unwrap();
    let usage = &last["usageMetadata"];
    assert_eq!(key_paths(usage), key_paths(&frames_of("gemini_stream.sse")[3]["usageMetadata"]));
    assert_eq!(frames[1]["usageMetadata"], json!({"trafficType": "ON_DEMAND"}));

    let plain = gemini(&demo, "gemini-2.5-pro", "streamGenerateContent?alt=sse", &body("f g"));
    assert_eq!(plain.frames().len(), 2);
    let array = body("hi [[demo gemini=array]]");
    let array = gemini(&demo, "gemini-2.5-pro", "streamGenerateContent", &array);
    assert!(array.json().as_array().unwrap().len() > 3, "{}", array.text);
    let crlf = body("hi [[demo gemini=crlf]]");
    let crlf = gemini(&demo, "gemini-2.5-pro", "streamGenerateContent", &crlf);
    assert!(crlf.text.contains("}\r\n\r\ndata: {"));

    demo.push(Fault { error_after: Some(0), ..Fault::default() });
    let throttled = gemini(&demo, "gemini-2.5-pro", "streamGenerateContent", &body("hi"));
    assert_eq!(throttled.frames(), frames_of("gemini_stream_throttled.sse"));
    demo.push(Fault::status(429));
    let throttled = gemini(&demo, "gemini-2.5-pro", "generateContent", &body("hi"));
    assert_eq!((throttled.status, throttled.json()), (429, sample("errors/gemini_429.json")));
}

#[test]
fn gemini_embeds_one_text_a_call() {
    let demo = demo();
    let ask = |body: Value| gemini(&demo, "gemini-embedding", "predict", &body);
    let one = ask(json!({
        "instances": [{"content": "hi", "task_type": "RETRIEVAL_QUERY"}],
        "parameters": {"outputDimensionality": 3},
    }));
    assert_eq!(key_paths(&one.json()), key_paths(&sample("gemini_embedding.json")));
    let instance = json!({"content": "hi"});
    assert_eq!(ask(json!({"instances": [instance, instance]})).status, 400);
    assert_eq!(ask(json!({"instances": [{"content": ""}]})).status, 400);
    assert_eq!(ask(json!({"instances": [{"text": "x"}]})).status, 400);
}

// ── open models

#[test]
fn what_vllm_refuses_is_refused() {
    let demo = demo();
    let mistral = "mistralai--mistral-medium-instruct";
    let llama = "meta--llama3.1-70b-instruct";
    let hi = json!([{"role": "user", "content": "hi"}]);
    let with = |more: Value| merged(json!({"model": mistral, "messages": hi}), more);
    let call = |id: &str| {
        let function = json!({"name": "f", "arguments": "{}"});
        json!({"role": "assistant", "tool_calls": [
            {"id": id, "type": "function", "function": function},
        ]})
    };
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "1"});
    let messages = |more: &[Value]| {
        let all = [&[hi[0].clone()], more].concat();
        with(json!({ "messages": all }))
    };
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}});
    let rows = [
        (mistral, with(json!({"odd": 1})), 400, "('body', 'odd'), 'msg': 'Extra inputs are not"),
        (mistral, with(json!({"store": true})), 400, "extra_forbidden"),
        (mistral, with(json!({"model": "mistral"})), 404, "The model `mistral` does not exist."),
        (mistral, json!({"messages": hi}), 400, "'missing', 'loc': ('body', 'model')"),
        (mistral, json!({"model": mistral}), 400, "('body', 'messages')"),
        (mistral, with(json!({"messages": []})), 400, "index out of range"),
        (mistral, with(json!({"temperature": 3})), 400, "temperature must be in [0, 2]"),
        (mistral, with(json!({"max_tokens": 0})), 400, "max_tokens must be at least 1, got 0."),
        (mistral, with(json!({"stream_options": {}})), 400, "when `stream=True`"),
        (mistral, with(json!({"tool_choice": "auto"})), 400, "`tools` must be set"),
        (
            mistral,
            with(json!({
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "function", "function": {"name": "g"}},
            })),
            400,
            "does not match any",
        ),
        (mistral, with(json!({"tools": [{"type": "custom"}]})), 400, "'tools', 0"),
        (
            mistral,
            messages(&[call("call_1"), result("call_1")]),
            400,
            "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
        ),
        (
            mistral,
            messages(&[call("aaaaaaaa1"), result("aaaaaaaa1"), hi[0].clone()]),
            400,
            "Unexpected role 'user' after role 'tool'",
        ),
        (mistral, messages(&[call("aaaaaaaa1")]), 400, "Not the same number"),
        (mistral, messages(&[result("aaaaaaaa1")]), 400, "Not the same number"),
        (
            mistral,
            messages(&[json!({"role": "assistant", "content": "x"})]),
            400,
            "Expected last role User or Tool",
        ),
        (
            mistral,
            messages(&[json!({"role": "developer", "content": "x"})]),
            400,
            "Unexpected role 'developer'",
        ),
        (
            llama,
            json!({"model": llama, "messages": [{"role": "user", "content": [image]}]}),
            400,
            "At most 0 image(s)",
        ),
        (
            llama,
            json!({"model": llama, "messages": [{"role": "user", "content": "x".repeat(600_000)}]}),
            400,
            "maximum context length is 131072",
        ),
    ];
    for (model, body, status, message) in rows {
        let reply = post(&demo, model, "chat/completions", &body);
        let error = reply.json();
        assert_eq!((reply.status, &error["object"]), (status, &json!("error")), "{}", reply.text);
        assert_eq!(error["code"], status);
        assert!(error["message"].as_str().unwrap().contains(message), "{}", reply.text);
    }
    assert_eq!(post(&demo, mistral, "v1/chat/completions", &with(json!({}))).status, 404);
    let ignored = post(&demo, mistral, "chat/completions?api-version=1", &with(json!({})));
    assert_eq!(ignored.status, 200);
}

#[test]
fn vllm_answers_as_recorded() {
    let demo = demo();
    let mistral = "mistralai--mistral-medium-instruct";
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }}}]);
    let ask = |model: &str, text: &str, more: Value| {
        let messages = json!([{"role": "user", "content": text}]);
        let body = json!({"model": model, "messages": messages, "tools": tools});
        post(&demo, model, "chat/completions", &merged(body, more))
    };
    let said = ask(mistral, "hi", json!({"max_completion_tokens": 50, "temperature": 0})).json();
    assert_eq!(key_paths(&said), key_paths(&sample("mistral.json")));
    assert_eq!(said["choices"][0]["message"]["tool_calls"], json!([]));
    let called = ask(mistral, "get_weather", json!({})).json();
    assert_eq!(key_paths(&called), key_paths(&sample("mistral_tool.json")));
    assert_eq!(called["choices"][0]["finish_reason"], "stop");
    let id = &called["choices"][0]["message"]["tool_calls"][0]["id"];
    let result = json!({"role": "tool", "tool_call_id": id, "content": "18C"});
    let mut replayed = called["choices"][0]["message"].clone();
    replayed.as_object_mut().unwrap().remove("reasoning_content");
    let body = json!({"model": mistral, "messages": [
        {"role": "user", "content": "x"}, replayed, result,
    ]});
    let answered = post(&demo, mistral, "chat/completions", &body);
    assert!(answered.text.contains("The tool says: 18C"), "{}", answered.text);

    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = ask(mistral, "hi", stream.clone());
    assert!(streamed.text.ends_with("data: [DONE]\n\n"));
    let frames = streamed.frames();
    let recorded = frames_of("mistral_stream.sse");
    assert_eq!(key_paths(&frames[0]), key_paths(&recorded[0]));
    assert_eq!(key_paths(&frames[frames.len() - 2]), key_paths(&recorded[2]));
    assert_eq!(key_paths(&frames[frames.len() - 1]), key_paths(&recorded[3]));
    let thinks = ask("deepseek-ai--deepseek-r1", "hi", stream.clone()).frames();
    assert!(thinks.iter().any(|f| f["choices"][0]["delta"]["reasoning_content"].is_string()));
    let whole = ask("deepseek-ai--deepseek-r1", "hi", json!({})).json();
    assert!(whole["choices"][0]["message"]["reasoning_content"].is_string());
    let called = ask("qwen3-max", "get_weather", stream).frames();
    let finishes = called.iter().filter_map(|f| f["choices"][0]["finish_reason"].as_str());
    assert_eq!(finishes.collect::<Vec<_>>(), ["stop"]);
}

#[test]
fn nvidia_embeds_with_an_input_type() {
    let demo = demo();
    let model = "nvidia--llama-3.2-nv-embedqa-1b";
    let ask = |more: Value| {
        let body = merged(json!({"model": model, "input": ["a", "b"]}), more);
        post(&demo, model, "embeddings", &body)
    };
    let good = ask(json!({"input_type": "query", "encoding_format": "float", "truncate": "NONE"}));
    assert_eq!(good.json()["data"][1]["embedding"].as_array().unwrap().len(), 2048);
    let missing = ask(json!({}));
    assert_eq!(missing.status, 400);
    assert!(missing.text.contains("'input_type' parameter is required"));
    assert_eq!(ask(json!({"input_type": "document"})).status, 400);
    assert_eq!(ask(json!({"input_type": "query", "input": []})).status, 400);
    assert_eq!(ask(json!({"input_type": "query", "model": "x"})).status, 404);
}

// ── Perplexity

#[test]
fn what_perplexity_refuses_is_refused() {
    let demo = demo();
    let user = json!({"role": "user", "content": "hi"});
    let bot = json!({"role": "assistant", "content": "hi"});
    let system = json!({"role": "system", "content": "hi"});
    let with = |more: Value| merged(json!({"model": "sonar-pro", "messages": [user]}), more);
    let messages = |messages: Value| with(json!({ "messages": messages }));
    let alternate = "should alternate with assistant message(s)";
    let rows = [
        (
            with(json!({"model": "gpt-5"})),
            "Model 'gpt-5' is not allowed, supported model: sonar-pro.",
        ),
        (with(json!({"tools": []})), "Tool calling is not supported for this model"),
        (with(json!({"n": 2})), "At body -> n: Extra inputs are not permitted"),
        (with(json!({"stream_options": {}})), "Extra inputs are not permitted"),
        (json!({"messages": [user]}), "At body -> model: Field required"),
        (with(json!({"temperature": 2})), "At body -> temperature"),
        (with(json!({"response_format": {"type": "json_object"}})), "response_format"),
        (messages(json!([user, user])), alternate),
        (messages(json!([bot, user])), alternate),
        (messages(json!([user, system, user])), alternate),
        (messages(json!([system, user, bot])), "Last message must have role `user` or `tool`."),
        (messages(json!([system])), "Last message must have role `user` or `tool`."),
        (messages(json!([{"role": "user", "content": null}])), "At body -> messages -> 0"),
    ];
    for (body, message) in rows {
        let reply = post(&demo, "sonar-pro", "chat/completions", &body);
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!(400)), "{body}");
        assert!(reply.text.contains(message), "{}", reply.text);
    }
    let versioned =
        post(&demo, "sonar-pro", "chat/completions?api-version=2024-10-21", &with(json!({})));
    assert_eq!(versioned.status, 400);
    let mut recorded = sample("errors/perplexity_400_model.json");
    recorded["error"]["message"] = json!("Model 'x' is not allowed, supported model: sonar-pro.");
    let body = with(json!({"model": "x"}));
    assert_eq!(post(&demo, "sonar-pro", "chat/completions", &body).json(), recorded);
}

#[test]
fn perplexity_answers_as_recorded() {
    let demo = demo();
    let ask = |more: Value| {
        let messages = json!([
            {"role": "system", "content": "a"}, {"role": "system", "content": "b"},
            {"role": "user", "content": "hi"},
        ]);
        let body = json!({"model": "sonar-pro", "messages": messages});
        post(&demo, "sonar-pro", "chat/completions", &merged(body, more))
    };
    assert_eq!(key_paths(&ask(json!({})).json()), key_paths(&sample("perplexity.json")));
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}},
        "required": ["city"]});
    let format = json!({"type": "json_schema", "json_schema": {"schema": schema}});
    let shaped = ask(json!({"response_format": format})).json();
    assert_eq!(shaped["choices"][0]["message"]["content"], "{\"city\":\"Paris\"}");
    let stream = ask(json!({"stream": true}));
    assert!(stream.text.ends_with("data: [DONE]\n\n"));
    let frames = stream.frames();
    let deltas = frames.iter().map(|f| f["choices"][0]["delta"]["content"].as_str().unwrap());
    let last = frames.last().unwrap();
    assert_eq!(last["choices"][0]["message"]["content"], deltas.collect::<String>());
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert!(last["usage"]["total_tokens"].is_u64() && frames[0].get("usage").is_none());
}

// ── Cohere

#[test]
fn what_cohere_refuses_is_refused() {
    let demo = demo();
    let model = "cohere--command-a-reasoning";
    let user = json!({"role": "user", "content": "hi"});
    let with = |more: Value| merged(json!({"model": model, "messages": [user]}), more);
    let messages = |messages: Value| with(json!({ "messages": messages }));
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    let call = json!({"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let json_object = json!({"type": "json_object"});
    let rows = [
        (with(json!({"n": 1})), "parameter 'n' is not a valid field"),
        (with(json!({"max_completion_tokens": 1})), "'max_completion_tokens' is not a valid"),
        (with(json!({"stream_options": {}})), "'stream_options' is not a valid"),
        (with(json!({"top_p": 1})), "'top_p' is not a valid"),
        (with(json!({"stop": "x"})), "'stop' is not a valid"),
        (with(json!({"tool_choice": "auto", "tools": [tool]})), "parameter tool_choice"),
        (with(json!({"tool_choice": "REQUIRED"})), "tool_choice is only valid with tools"),
        (with(json!({"temperature": 1.5})), "parameter temperature"),
        (with(json!({"presence_penalty": 1.5})), "parameter presence_penalty"),
        (with(json!({"stop_sequences": ["1", "2", "3", "4", "5", "6"]})), "at most 5"),
        (
            with(json!({"response_format": json_object, "tools": [tool]})),
            "not supported with tools",
        ),
        (with(json!({"response_format": {"type": "json_schema"}})), "response_format.type"),
        (with(json!({"thinking": {"type": "adaptive"}})), "thinking.type"),
        (with(json!({"tools": [{"type": "custom"}]})), "tools[0]"),
        (json!({"messages": [user]}), "model is required"),
        (messages(json!([])), "messages must not be empty"),
        (messages(json!([{"role": "developer", "content": "x"}])), "messages[0].role"),
        (messages(json!([{"role": "user", "content": ""}])), "at least 1 token long"),
        (messages(json!([{"role": "user", "content": "x", "name": "y"}])), "messages[0].name"),
        (messages(json!([user, call])), "must be followed by their tool results"),
        (
            messages(json!([user, {"role": "tool", "tool_call_id": "1", "content": "x"}])),
            "tool call id not found",
        ),
    ];
    for (body, message) in rows {
        let reply = post(&demo, model, "chat", &body);
        assert_eq!(reply.status, 400, "{body}");
        let said = reply.json()["message"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{body}\n{said}");
    }
    assert_eq!(post(&demo, model, "chat", &with(json!({"model": "x"}))).status, 404);
    let second = messages(json!([{"role": "user", "content": "hi [[demo cohere=v2]]"}]));
    let paths = [("chat", 200, 404), ("v2/chat", 404, 200), ("chat/completions", 404, 404)];
    for (path, usual, marked) in paths {
        let statuses =
            [with(json!({})), second.clone()].map(|b| post(&demo, model, path, &b).status);
        assert_eq!(statuses, [usual, marked], "{path}");
    }
}

#[test]
fn cohere_answers_in_its_second_version() {
    let demo = demo();
    let model = "cohere--command-a-reasoning";
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    let ask = |text: &str, more: Value| {
        let messages = json!([{"role": "user", "content": text}]);
        let body = json!({"model": model, "messages": messages, "tools": [tool]});
        post(&demo, model, "chat", &merged(body, more))
    };
    let plain = ask("hi", json!({"thinking": {"type": "disabled"}})).json();
    assert_eq!(key_paths(&plain), key_paths(&sample("cohere_chat.json")));
    let thinks = ask("hi", json!({})).json();
    assert_eq!(thinks["message"]["content"][0]["type"], "thinking");
    let reasons = [
        ("hi", json!({}), "COMPLETE"),
        ("f", json!({}), "TOOL_CALL"),
        ("hi", json!({"max_tokens": 3}), "MAX_TOKENS"),
        ("hi", json!({"stop_sequences": ["demo"]}), "STOP_SEQUENCE"),
    ];
    for (text, more, reason) in reasons {
        assert_eq!(ask(text, more).json()["finish_reason"], reason);
    }
    let kinds = |reply: &Reply| {
        let lines = reply.text.lines().filter_map(|line| line.strip_prefix("event: "));
        let mut kinds = lines.map(str::to_owned).collect::<Vec<_>>();
        kinds.dedup();
        kinds
    };
    let said = ask("hi", json!({"stream": true}));
    let block = ["content-start", "content-delta", "content-end"];
    let wanted = [&["message-start"][..], &block, &block, &["message-end"]].concat();
    assert_eq!(kinds(&said), wanted);
    assert!(!said.text.contains("[DONE]"));
    let called = ask("f", json!({"stream": true}));
    let calls = ["tool-plan-delta", "tool-call-start", "tool-call-delta", "tool-call-end"];
    let wanted = [&["message-start"][..], &block, &calls, &["message-end"]].concat();
    assert_eq!(kinds(&called), wanted);
    let last = called.frames().pop().unwrap();
    assert_eq!(last["delta"]["finish_reason"], "TOOL_CALL");
    assert_eq!(key_paths(&last["delta"]["usage"]), key_paths(&plain["usage"]));
    let message = ask("f", json!({})).json()["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    let document = json!({"type": "document", "document": {"data": "18C"}});
    let result = json!({"role": "tool", "tool_call_id": id, "content": [document]});
    let turns = json!([{"role": "user", "content": "f"}, message, result]);
    assert!(ask("", json!({"messages": turns})).text.contains("The tool says: 18C"));
    demo.push(Fault { error_after: Some(1), ..Fault::default() });
    let failed = ask("hi", json!({"stream": true})).frames().pop().unwrap();
    assert_eq!(failed["delta"]["finish_reason"], "ERROR");
}

#[test]
fn cohere_ranks() {
    let demo = demo();
    let ask = |more: Value| {
        let body = json!({"model": "cohere-reranker-35", "query": "red fox",
            "documents": ["a dog", "the red fox", "a fox"]});
        post(&demo, "cohere-reranker-35", "rerank", &merged(body, more))
    };
    let ranked = ask(json!({"top_n": 2})).json();
    assert_eq!(key_paths(&ranked), key_paths(&sample("cohere_rerank.json")));
    assert_eq!(ranked["results"].as_array().unwrap().len(), 2);
    for bad in [
        json!({"documents": []}),
        json!({"documents": [{"text": "x"}]}),
        json!({"query": ""}),
        json!({"top_n": 0}),
        json!({"return_documents": true}),
    ] {
        assert_eq!(ask(bad).status, 400);
    }
    assert_eq!(post(&demo, "cohere-reranker-35", "chat", &json!({})).status, 404);
}

// ── orchestration

#[test]
fn what_orchestration_refuses_is_refused() {
    let demo = demo();
    let user = json!({"role": "user", "content": "hi"});
    let body = |model: &str, prompt: Value| {
        let model = json!({"name": model, "version": "latest"});
        json!({"config": {"modules": {"prompt_templating": {"prompt": prompt, "model": model}}}})
    };
    let template =
        |content: &str| body("gpt-4o", json!({"template": [{"role": "user", "content": content}]}));
    let messages = |model: &str, messages: Value| body(model, json!({ "template": messages }));
    let tools = |names: &[&str]| {
        let tool = |name: &&str| json!({"type": "function", "function": {"name": name}});
        let tools = names.iter().map(tool).collect::<Vec<_>>();
        body("gpt-4o", json!({"template": [user], "tools": tools}))
    };
    let claude = "anthropic--claude-4.5-sonnet";
    let call = |arguments: &str, content: Value| {
        let function = json!({"name": "f", "arguments": arguments});
        let calls = json!([{"id": "c", "type": "function", "function": function}]);
        let mut message = json!({"role": "assistant", "content": content, "tool_calls": calls});
        if content.is_null() {
            message.as_object_mut().unwrap().remove("content");
        }
        message
    };
    let parts = json!([{"type": "text", "text": "x"}]);
    let tool_parts = json!({"role": "tool", "tool_call_id": "c", "content": parts});
    let reasoned = json!({"role": "assistant", "content": "x", "reasoning_content": [
        {"content": "x", "signature": "AAAA"},
    ]});
    let rows = [
        (json!({}), 400, "'config' is a required property"),
        (merged(template("hi"), json!({"odd": 1})), 400, "('odd' was unexpected)"),
        (
            body("gpt-4o", json!({"template": [user], "tool_choice": "auto"})),
            400,
            "('tool_choice' was unexpected) at config.modules",
        ),
        (
            messages("gpt-4o", json!([])),
            400,
            "Either a prompt template or messages must be defined",
        ),
        (body("gpt-4o", json!({})), 400, "Either a prompt template or messages must be defined"),
        (messages("gpt-99", json!([user])), 400, "Model gpt-99 in version latest not found."),
        (template("a {{ b }}"), 400, "template error"),
        (template("a {% if %}"), 400, "template error"),
        (template("a {# b"), 400, "template error"),
        (template("{{?name}}"), 400, "Missing required parameters: ['name']"),
        (
            merged(template("hi"), json!({"placeholder_values": {"a": "b"}})),
            400,
            "Unused parameters: ['a']",
        ),
        (tools(&["a.b"]), 400, "does not match '^[a-zA-Z0-9-_]+$'"),
        (tools(&["a".repeat(65).as_str()]), 400, "is too long"),
        (tools(&["a", "a"]), 400, "Tool names must be unique."),
        (
            messages("gpt-4o", json!([user, call("{}", Value::Null), tool_parts])),
            400,
            "Assistant Message content field is not provided.",
        ),
        (
            messages(claude, json!([user, call("{}", json!("")), tool_parts])),
            400,
            "Tool message content must be a string for Anthropic harmonization. Received: list.",
        ),
        (
            messages(claude, json!([user, {"role": "assistant", "content": ""}, user])),
            400,
            "neither text nor tool_use blocks",
        ),
        (messages(claude, json!([user, reasoned, user])), 400, "Invalid `signature`"),
        (messages("gpt-4o", json!([user, call("{", json!(""))])), 500, "Internal Server Error"),
        (messages("gpt-4o", json!([{"role": "user", "content": 1}])), 400, "is not of type"),
        (
            merged(template("hi"), json!({"messages_history": [{"role": "boss"}]})),
            400,
            "messages_history[0].role",
        ),
    ];
    for (body, status, message) in rows {
        let reply = orchestrate(&demo, &body);
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status, &error["code"]), (status, &json!(status)), "{}", reply.text);
        let said = error["message"].as_str().unwrap();
        assert!(said.contains(message), "{body}\n{said}");
    }
    let config = orchestrate(&demo, &json!({})).json();
    assert_eq!(config, sample("errors/orchestration_400_config.json"));
    let model = messages("gpt-99", json!([{"role": "user", "content": "hi"}]));
    let recorded = sample("errors/orchestration_400_model.json");
    assert_eq!(orchestrate(&demo, &model).json(), recorded);
    let history = json!({"messages_history": [{"role": "user", "content": "{{ x }} {% y %}"}]});
    assert_eq!(orchestrate(&demo, &merged(template("hi"), history)).status, 200);
    let mut stream = template("hi [[demo no_stream]]");
    stream["config"]["stream"] = json!({"enabled": true});
    let refused = orchestrate(&demo, &stream);
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("Streaming is not supported for this model"));
    let mut unknown = stream.clone();
    unknown["config"]["stream"]["chunk"] = json!(1);
    assert_eq!(orchestrate(&demo, &unknown).status, 400);
}

#[test]
fn orchestration_falls_back_from_module_to_module() {
    let demo = demo();
    let module = |model: &str| {
        let prompt = json!({"template": [{"role": "user", "content": "hi"}]});
        json!({"prompt_templating": {"prompt": prompt, "model": {"name": model}}})
    };
    let ask = |models: &[&str]| {
        let modules = models.iter().map(|model| module(model)).collect::<Vec<_>>();
        orchestrate(&demo, &json!({"config": {"modules": modules}}))
    };
    let second = ask(&["gpt-99", "gpt-4o"]).json();
    assert_eq!(second["final_result"]["model"], "gpt-4o-2024-08-06");
    assert_eq!(second["intermediate_failures"].as_array().unwrap().len(), 1);
    let none = ask(&["gpt-98", "gpt-99"]);
    assert_eq!((none.status, none.json()["error"].as_array().map(Vec::len)), (400, Some(2)));
    assert_eq!(ask(&[]).status, 400);
}

#[test]
fn orchestration_answers_as_recorded() {
    let demo = demo();
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }}});
    let body = |model: &str, text: &str, params: Value, stream: bool| {
        let prompt = json!({"template": [{"role": "user", "content": "{{?current}}"}],
            "tools": [tool]});
        let model = json!({"name": model, "version": "latest", "params": params});
        let modules = json!({"prompt_templating": {"prompt": prompt, "model": model}});
        let config = json!({"modules": modules, "stream": {"enabled": stream, "chunk_size": 50}});
        json!({"config": config, "placeholder_values": {"current": text}})
    };
    let ask = |model: &str, text: &str, params: Value| {
        orchestrate(&demo, &body(model, text, params, false)).json()
    };
    let stream = |model: &str, text: &str, params: Value| {
        orchestrate(&demo, &body(model, text, params, true))
    };
    let claude = "anthropic--claude-4.5-sonnet";
    let said = ask("gpt-4o", "{{ not again }}", json!({}));
    assert_eq!(key_paths(&said), key_paths(&sample("orchestration_v2.json")));
    assert!(said.to_string().contains("{{ not again }}"));
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    let called = ask(claude, "f", thinking.clone());
    assert_eq!(key_paths(&called), key_paths(&sample("orchestration_v2_claude_tool.json")));
    let id = &called["final_result"]["choices"][0]["message"]["tool_calls"][0]["id"];
    assert!(id.as_str().unwrap().starts_with("toolu_bdrk_01"));
    let forced = json!({"tool_choice": {"type": "function", "function": {"name": "f"}}});
    let forced = ask("gpt-4o", "hi", forced);
    assert_eq!(forced["final_result"]["choices"][0]["finish_reason"], "tool_calls");

    let streamed = stream("gpt-4o", "hi", json!({}));
    assert!(streamed.text.ends_with("data: [DONE]\n\n"));
    let (frames, recorded) = (streamed.frames(), frames_of("orchestration_v2_stream.sse"));
    assert!(streamed.text.starts_with("data: {\"final_result\": {"), "{}", streamed.text);
    assert_eq!(frames[0]["final_result"], recorded[0]["final_result"]);
    assert_eq!(key_paths(&frames[1]), key_paths(&recorded[1]));
    assert_eq!(key_paths(frames.last().unwrap()), key_paths(recorded.last().unwrap()));
    for frame in &frames[1..] {
        assert_eq!(frame["final_result"], frame["intermediate_results"]["llm"]);
    }
    let recorded = frames_of("orchestration_v2_tool_stream.sse");
    let called = stream("gpt-4o", "f", json!({})).frames();
    assert_eq!(key_paths(&called[1]), key_paths(&recorded[1]));
    assert_eq!(key_paths(&called[2]), key_paths(&recorded[2]));
    let recorded = frames_of("orchestration_v2_reasoning_stream.sse");
    let reasoned = stream("gpt-4o", "hi", json!({"reasoning_effort": "low"})).frames();
    assert_eq!(reasoned[0]["final_result"], recorded[0]["final_result"]);
    assert_eq!(key_paths(&reasoned[1]), key_paths(&recorded[1]));

    demo.push(Fault { error_after: Some(1), ..Fault::default() });
    let failed = stream("gpt-4o", "hi", json!({}));
    let recorded = frames_of("orchestration_v2_stream_error.sse");
    assert_eq!(key_paths(&failed.frames()[1]), key_paths(&recorded[1]));
    assert!(!failed.text.contains("[DONE]"));
    demo.push(Fault::status(500));
    let failed = orchestrate(&demo, &body("gpt-4o", "hi", json!({}), false)).json();
    assert_eq!(failed, sample("errors/orchestration_500.json"));
    let mut request = sample("request_orchestration_v2.json");
    request["config"]["stream"]["enabled"] = json!(false);
    assert_eq!(orchestrate(&demo, &request).status, 200);
}

#[test]
fn orchestration_counts_claudes_cache_apart() {
    let demo = demo();
    let cached = json!({"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}});
    let prompt = json!({"template": [{"role": "user", "content": [cached]}]});
    let model = json!({"name": "anthropic--claude-4.5-sonnet"});
    let body =
        json!({"config": {"modules": {"prompt_templating": {"prompt": prompt, "model": model}}}});
    let usage = || orchestrate(&demo, &body).json()["final_result"]["usage"].clone();
    let (first, second) = (usage(), usage());
    assert!(first["prompt_tokens_details"]["cache_creation_tokens"].as_u64() > Some(0));
    assert_eq!(second["prompt_tokens_details"]["cache_creation_tokens"], 0);
    assert_eq!(
        second["prompt_tokens_details"]["cached_tokens"],
        first["prompt_tokens_details"]["cache_creation_tokens"]
    );
}

#[test]
fn orchestration_embeds() {
    let demo = demo();
    let ask = |body: &Value| post(&demo, "orchestration/gpt-4o", "v2/embeddings", body);
    let mut request = sample("request_orchestration_v2_embeddings.json");
    let reply = ask(&request).json();
    assert_eq!(key_paths(&reply), key_paths(&sample("orchestration_v2_embeddings.json")));
    assert_eq!(reply["final_result"]["data"][1]["embedding"].as_array().unwrap().len(), 256);
    request["input"]["type"] = json!("passage");
    assert_eq!(ask(&request).status, 400);
    request["input"] = json!({"text": "x"});
    request["config"]["modules"]["embeddings"]["model"] =
        json!({"name": "nvidia--llama-3.2-nv-embedqa-1b"});
    assert_eq!(ask(&request).status, 400);
    request["config"]["modules"]["embeddings"]["model"] = json!({"name": "x"});
    assert!(ask(&request).text.contains("not found"));
}

#[test]
fn faults_bend_these_streams_too() {
    let demo = demo();
    let body = |text: &str| {
        let messages = json!([{"role": "user", "content": text}]);
        json!({"model": "qwen3-max", "stream": true, "messages": messages})
    };
    let ask = |text: &str| post(&demo, "qwen3-max", "chat/completions", &body(text));
    let words = ask("[[demo frames=3 drop_last=1 pieces=1 crlf]]");
    assert!(words.text.contains("word3") && !words.text.contains("[DONE]"));
    assert!(!ask("[[demo frames=9 cut_after=4]]").text.contains("word9"));
    let failed = ask("[[demo error_after=2]]").frames();
    assert!(failed.len() == 3 && failed[2]["error"]["message"].is_string());
    for (model, status) in [("qwen3-max", 429), ("sonar-pro", 500), ("gemini-2.5-pro", 500)] {
        demo.push(Fault::status(status));
        let path = match model {
            "gemini-2.5-pro" => "models/gemini-2.5-pro:generateContent",
            _ => "chat/completions",
        };
        let body = match model {
            "gemini-2.5-pro" => json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
            _ => json!({"model": model, "messages": [{"role": "user", "content": "x"}]}),
        };
        assert_eq!(post(&demo, model, path, &body).status, status);
    }
}

fn demo() -> Demo {
    Demo::start(Options { pace_ms: 0, ..Options::default() }).unwrap()
}

fn gemini(demo: &Demo, model: &str, method: &str, body: &Value) -> Reply {
    post(demo, model, &format!("models/{model}:{method}"), body)
}

fn orchestrate(demo: &Demo, body: &Value) -> Reply {
    post(demo, "orchestration/gpt-4o", "v2/completion", body)
}

fn post(demo: &Demo, model: &str, suffix: &str, body: &Value) -> Reply {
    let config = demo.config_json();
    let url = config["deployment_models"][model].as_str().unwrap();
    let path = format!("{}/{suffix}", url.strip_prefix(&demo.url()).unwrap());
    let key = &config["service_key_json"];
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        encoded(key["clientid"].as_str().unwrap()),
        encoded(key["clientsecret"].as_str().unwrap())
    );
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let given = exchange(demo, "/oauth/token", kind, &form).json();
    let headers = format!(
        "Authorization: Bearer {}\r\nAI-Resource-Group: default\r\n\
         Content-Type: application/json\r\n",
        given["access_token"].as_str().unwrap()
    );
    exchange(demo, &path, &headers, &body.to_string())
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

struct Reply {
    status: u16,
    /// The body as far as it came.
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn frames(&self) -> Vec<Value> {
        frames_in(&self.text)
    }
}

/// One request on a connection of its own.
fn exchange(demo: &Demo, path: &str, headers: &str, body: &str) -> Reply {
    let host = demo.url().strip_prefix("http://").unwrap().to_owned();
    let mut socket = TcpStream::connect(&host).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{headers}\r\n"
    );
    socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let body = &bytes[end + 4..];
    let body = if head.contains("chunked") { unchunked(body) } else { body.to_vec() };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, text: String::from_utf8(body).unwrap() }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    body
}

fn frames_in(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn merged(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// `candidates[].content.role` and so on, sorted; of all elements of an array.
fn key_paths(value: &Value) -> Vec<String> {
    fn collect(value: &Value, path: &str, paths: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    collect(value, &format!("{path}.{key}"), paths);
                }
            }
            Value::Array(values) => {
                for value in values {
                    collect(value, &format!("{path}[]"), paths);
                }
            }
            _ => paths.push(path.to_owned()),
        }
    }
    let mut paths = Vec::new();
    collect(value, "", &mut paths);
    paths.sort();
    paths.dedup();
    paths
}

fn sample(name: &str) -> Value {
    serde_json::from_str(&recorded(name)).unwrap()
}

fn frames_of(name: &str) -> Vec<Value> {
    frames_in(&recorded(name))
}

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/wire/aicore/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
