//! What Anthropic's clients send, made fit for Claude on Bedrock: the strict demo takes it, and what needed no edit is the
//! client's own bytes.

mod support;

use std::sync::LazyLock;

use proptest::prelude::*;
use sap_ai_core_llm_proxy::demo::{Demo, Options};
use sap_ai_core_llm_proxy::dialect::anthropic::UNSIGNED;
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::families::claude::pass::{Asked, pass};
use serde_json::{Value, json};
use support::{Client, Reply};

const OLD: &str = "anthropic--claude-3.5-sonnet";
const FOUR_5: &str = "anthropic--claude-4.5-sonnet";
const FOUR_6: &str = "anthropic--claude-4.6-sonnet";
const OPUS: &str = "anthropic--claude-4.8-opus";
const MODELS: [&str; 4] = [OLD, FOUR_5, FOUR_6, OPUS];

/// What Claude Code sends for a name it does not know.
const BETAS: &str = "claude-code-20250219,interleaved-thinking-2025-05-14,\
    thinking-token-count-2026-05-13,context-management-2025-06-27,prompt-caching-scope-2026-01-05,\
    mid-conversation-system-2026-04-07,effort-2025-11-24";

/// Values that a parser would write in another way.
const SCHEMA: &str = r#"{ "$schema":"https://json-schema.org/draft/2020-12/schema", "type":"object",
    "properties":{"command":{"type":"string","maxLength":1.10e3},"n":{"maximum":123456789012345678901234567890}},
    "required" : ["command"],"additionalProperties":false}"#;

#[test]
fn claude_code_is_understood_by_every_version() {
    for model in MODELS {
        let (body, dropped) = passed(model, &claude_code(""));
        let reply = accepted(model, &body);
        let said = reply["content"].as_array().unwrap().clone();
        let thinks = said.iter().any(|block| block["type"] == "thinking");
        assert_eq!(thinks, model != OLD, "{model}: {reply}");
        let called = said.iter().find(|block| block["type"] == "tool_use").expect("a call");
        let lost: &[&str] = if model == OLD {
            &["cache_control", "max_tokens", "thinking", "output_config"]
        } else {
            &[]
        };
        // Old models take fewer tokens and no marks; who takes all of it loses nothing.
        let mut dropped = dropped.clone();
        dropped.sort();
        let mut lost = lost.to_vec();
        lost.sort();
        assert_eq!(dropped, lost, "{model}");
        for more in [
            then(&reply["content"], called, ""),
            then(&foreign(&reply["content"]), called, ""),
            then(&reply["content"], called, r#",{"role":"system","content":"Go on."}"#),
        ] {
            let (body, _) = passed(model, &claude_code(&more));
            accepted(model, &body);
        }
    }
}

#[test]
fn what_needs_no_edit_stays_verbatim() {
    for model in MODELS {
        let (body, _) = passed(model, &claude_code(""));
        for kept in [
            &format!(
                r#""tools":[{{"name":"Bash","description":"Runs \u0061 command.","input_schema":{SCHEMA}}},"#
            ),
            "<system-reminder>\\nToday is a \\u0044ay.\\n</system-reminder>",
            r#""text":"Call Bash""#,
        ] {
            assert!(body.contains(kept), "{model}: {kept}\n{body}");
        }
        for gone in [
            "scope",
            "billing",
            "metadata",
            "context_management",
            "stream",
            "\"model\"",
            "\"system\",\"c",
        ] {
            assert!(!body.contains(gone), "{model}: {gone}\n{body}");
        }
    }
    let plain = format!(
        r#" {{"anthropic_version":"bedrock-2023-05-31", "max_tokens" : 100,"messages": [ {{"role":"user","content":"hi"}} ],"tools":[ {{"name":"f","input_schema":{SCHEMA}}} ] }} "#
    );
    assert_eq!(pass_one(FOUR_5, None, &plain).0, plain);
}

fn passed(model: &str, body: &str) -> (String, Vec<String>) {
    pass_one(model, Some(BETAS), body)
}

fn pass_one(model: &str, betas: Option<&str>, body: &str) -> (String, Vec<String>) {
    let mut envelope = Envelope::parse(body.as_bytes().to_vec()).unwrap();
    let asked = Asked { model, betas, is_long_context: false };
    let dropped = pass(&mut envelope, &asked).unwrap();
    let dropped = dropped.into_iter().map(|path| path.into_owned()).collect();
    (String::from_utf8(envelope.into_bytes()).unwrap(), dropped)
}

/// The body of Claude Code 2.1.197 (one of 116 KB, shortened), with more messages.
fn claude_code(more: &str) -> String {
    let tool = |name: &str, more: &str| {
        format!(
            r#"{{"name":"{name}","description":"Runs \u0061 command.","input_schema":{SCHEMA}{more}}}"#
        )
    };
    let tools = [
        tool("Bash", ""),
        tool("Read", r#","strict":false"#),
        tool("Write", r#","cache_control":{"type":"ephemeral","scope":"global"}"#),
    ];
    let user = r#"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"s\"}"#;
    format!(
        r#"{{"model":"anthropic--claude-4.5-sonnet","messages":[{{"role":"user","content":[{{"type":"text","text":"<system-reminder>\nToday is a \u0044ay.\n</system-reminder>"}},{{"type":"text","text":"Call Bash","cache_control":{{"type":"ephemeral"}}}}]}},{{"role":"system","content":"The user works in a shell."}}{more}],"system":[{{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.197.1f4; cc_entrypoint=sdk-cli;"}},{{"type":"text","text":"You are Claude Code.","cache_control":{{"type":"ephemeral","scope":"global"}}}},{{"type":"text","text":"Be  brief.\n","cache_control":{{"type":"ephemeral","ttl":"5m"}}}}],"tools":[{}],"metadata":{{"user_id":"{user}"}},"max_tokens":32000,"thinking":{{"type":"adaptive"}},"context_management":{{"edits":[{{"type":"clear_thinking_20251015","keep":"all"}}]}},"output_config":{{"effort":"high"}},"stream":true}}"#,
        tools.join(",")
    )
}

/// The reply, and the result of its call.
fn then(reply: &Value, call: &Value, more: &str) -> String {
    format!(
        r#",{{"role":"assistant","content":{reply}}},{{"role":"user","content":[{{"tool_use_id":{},"type":"tool_result","content":"","is_error":false,"cache_control":{{"type":"ephemeral","scope":"x"}}}},{{"type":"text","text":""}}]}}{more}"#,
        call["id"]
    )
    // As many marks as are allowed.
    .replacen(r#","cache_control":{"type":"ephemeral","scope":"x"}"#, "", 1)
}

/// As another family's model would have thought it.
fn foreign(reply: &Value) -> Value {
    let mut reply = reply.clone();
    let blocks = reply.as_array_mut().unwrap();
    for block in blocks.iter_mut().filter(|block| block["type"] == "thinking") {
        block["signature"] = json!(UNSIGNED);
    }
    reply
}

/// What the demo answers to what it takes.
fn accepted(model: &str, body: &str) -> Value {
    let (demo, headers) = &*DEMO;
    let url = &demo.config_json()["deployment_models"][model];
    let url = url.as_str().or_else(|| url[0].as_str()).unwrap().to_owned();
    let path = url.strip_prefix(&demo.url()).unwrap();
    let reply = post(demo, &format!("{path}/invoke"), headers, body);
    assert_eq!(reply.status, 200, "{model}: {}\n{body}", reply.text());
    reply.json()
}

static DEMO: LazyLock<(Demo, String)> = LazyLock::new(|| {
    let demo = Demo::start(Options { pace_ms: 0, ..Options::default() }).unwrap();
    let key = &demo.config_json()["service_key_json"];
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        encoded(key["clientid"].as_str().unwrap()),
        encoded(key["clientsecret"].as_str().unwrap())
    );
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let reply = post(&demo, "/oauth/token", kind, &form).json();
    let token = reply["access_token"].as_str().unwrap_or_else(|| panic!("{reply}"));
    let headers = format!(
        "Authorization: Bearer {token}\r\nAI-Resource-Group: default\r\n\
         Content-Type: application/json; charset=utf-8\r\nAccept: application/json\r\n"
    );
    (demo, headers)
});

/// As the proxy would ask, not as a client of it does.
fn post(demo: &Demo, target: &str, headers: &str, body: &str) -> Reply {
    let url = demo.url();
    let host = url.strip_prefix("http://").unwrap();
    let length = body.len();
    let mut client = Client::to(host.parse().unwrap());
    let head = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\n{headers}");
    client.write(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes());
    client.reply(false)
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Blocks that stay, and blocks of which something goes.
const KEPT: &[&str] = &[
    r#"{"type":"text","text":"a \"text\":\"\" \u0041"}"#,
    r#"{ "text" : "b\n", "type" : "text" }"#,
    r#"{"type":"text","text":"the \"scope\" of \"thinking\"","cache_control":null}"#,
];
const EDITED: &[&str] = &[
    r#"{"type":"text","text":""}"#,
    r#"{"text" : " \n\t\u00a0","type":"text"}"#,
    r#"{"type":"thinking","thinking":"hm","signature":"c2FwLWFpLWNvcmUtbGxtLXByb3h5"}"#,
    r#"{"type":"thinking","thinking":"hm"}"#,
    r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"x"}}"#,
    r#"{"type":"web_search_tool_result","tool_use_id":"s","content":[]}"#,
    r#"{"type":"mcp_tool_result","tool_use_id":"s","content":[{"type":"text","text":"m"}]}"#,
];
const FIELDS: &[&str] = &[
    r#""temperature":0.5"#,
    r#""top_p":0.5"#,
    r#""top_k":5"#,
    r#""stop_sequences":["END"," "]"#,
    r#""system":"be brief""#,
    r#""thinking":{"type":"adaptive","display":"omitted"}"#,
    r#""output_config":{"effort":"xhigh"}"#,
    r#""service_tier":"auto""#,
    r#""tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"f","input_schema":{"type":"object"},"strict":true}]"#,
    r#""tool_choice":{"type":"tool","name":"web_search"}"#,
    r#""betas":["skills-2025-10-02","a-2025-01-01"]"#,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is said in whatever order, the demo takes it, nothing that may stay is lost, and a second time nothing
    /// changes.
    #[test]
    fn every_mixture_is_taken(
        turns in prop::collection::vec((0..8usize, prop::collection::vec(0..20usize, 0..4)), 1..6),
        fields in prop::collection::vec(any::<bool>(), FIELDS.len()),
        budget in 1000..40_000u64,
        model in 0..MODELS.len(),
    ) {
        let model = MODELS[model];
        let (mut kept, mut has_reply) = (vec![], false);
        let messages: Vec<String> = turns.iter().map(|(role, blocks)| {
            let role = ["user", "assistant", "user", "assistant", "user", "assistant", "user", "system"][*role];
            let blocks: Vec<&str> = blocks.iter().map(|n| match n % 2 {
                0 => KEPT[n / 2 % KEPT.len()],
                // What only the assistant says.
                _ if role == "assistant" => EDITED[n / 2 % EDITED.len()],
                _ => EDITED[n / 2 % 2],
            }).collect();
            has_reply |= role == "assistant";
            // What the system says after a reply is put into words of ours.
            if !(role == "system" && has_reply) {
                kept.extend(blocks.iter().filter(|block| KEPT.contains(block)).copied());
            }
            format!(r#"{{"role":"{role}","content":[{}]}}"#, blocks.join(", "))
        }).collect();
        let chosen = FIELDS.iter().zip(&fields).filter(|(_, is_chosen)| **is_chosen);
        let mut chosen: Vec<String> = chosen.map(|(field, _)| (*field).to_owned()).collect();
        if !chosen.iter().any(|field| field.starts_with(r#""thinking""#)) && budget % 2 == 0 {
            chosen.push(format!(r#""thinking":{{"type":"enabled","budget_tokens":{budget}}}"#));
        }
        chosen.push(r#""max_tokens":20000"#.to_owned());
        let body = format!(r#"{{"messages":[{}],{}}}"#, messages.join(","), chosen.join(","));
        let (found, _) = pass_one(model, None, &body);
        accepted(model, &found);
        for block in KEPT {
            // A text at the very end may lose its last white space, a null its key on old models.
            if block.contains('\n') || block.contains("\\n") || block.contains("null") {
                continue;
            }
            let count = kept.iter().filter(|other| *other == block).count();
            prop_assert_eq!(found.matches(block).count(), count, "{}\n{}", body, found);
        }
        let (again, dropped) = pass_one(model, None, &found);
        prop_assert_eq!(&again, &found);
        prop_assert_eq!(dropped, Vec::<String>::new());
    }

    /// Bytes of all kinds are passed or refused, and never more.
    #[test]
    fn nothing_panics(
        value in "[\\[\\]{}\":,a-z0-9 \\\\]{0,60}",
        key in 0..8usize,
        model in 0..MODELS.len(),
    ) {
        let key = ["messages", "system", "tools", "tool_choice", "thinking", "output_config", "stop_sequences", "anthropic_beta"][key];
        let body = format!(r#"{{"max_tokens":1,"{key}":{value}}}"#);
        if let Ok(mut envelope) = Envelope::parse(body.into_bytes()) {
            let asked = Asked { model: MODELS[model], betas: Some(&value), is_long_context: true };
            let _ = pass(&mut envelope, &asked);
        }
    }
}
