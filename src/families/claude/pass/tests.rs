use super::*;
use crate::dialect::anthropic::UNSIGNED;

const OLD: &str = "anthropic--claude-3.5-sonnet";
const FOUR: &str = "anthropic--claude-4-sonnet";
const FOUR_5: &str = "anthropic--claude-4.5-sonnet";
const FOUR_6: &str = "anthropic--claude-4.6-sonnet";
const FOUR_8: &str = "anthropic--claude-4.8-opus";
const FIVE: &str = "anthropic--claude-5-sonnet";
const HAIKU: &str = "anthropic--claude-4.5-haiku";

const HI: &str = r#""messages":[{"role":"user","content":"hi"}]"#;
const TOOL: &str = r#"{"name":"f","input_schema":{}}"#;

/// The model, what stands in the body beside the messages, what it becomes, what is named. Everything else of the body is
/// the version and the message "hi".
type Row = (&'static str, String, String, &'static [&'static str]);

fn row(model: &'static str, given: &str, expected: &str, lost: &'static [&'static str]) -> Row {
    (model, given.to_owned(), expected.to_owned(), lost)
}

/// What belongs to one turn is put together once, however much it is.
#[test]
fn many_turns_of_the_systems() {
    let pair = r#"{"role":"user","content":"a"},{"role":"system","content":"b"},"#;
    let body = format!(r#"{{"messages":[{}{{"role":"user","content":"a"}}]}}"#, pair.repeat(9_999));
    let (found, _) = passed(&asked(FOUR_5), &body).unwrap();
    assert_eq!(found.matches(r#"{"type":"text","text":"a"}"#).count(), 10_000);
    assert_eq!(found.matches(r#""role""#).count(), 1);
}

/// Each turn is looked at once, however long its neighbours are.
#[test]
fn many_turns_beside_a_long_one() {
    let long = format!(r#"{{"content":"{}","role":"user"}}"#, "a".repeat(4 << 20));
    let pair = r#"{"role":"system","content":""},{"role":"user","content":"a"}"#;
    let body = format!(r#"{{"messages":[{long}{}]}}"#, format!(",{pair}").repeat(20_000));
    let began = std::time::Instant::now();
    passed(&asked(FOUR_5), &body).unwrap();
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// What AI Core has cached of a conversation is found again: nothing that was sent changes with what is said later.
#[test]
fn a_conversation_only_grows() {
    let system = r#"{"role":"system","content":"the date has changed"}"#;
    let call =
        r#"{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]}"#;
    let result =
        r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"a"}]}"#;
    let user = r#"{"role":"user","content":"go on"}"#;
    let reply = r#"{"role":"assistant","content":[{"type":"text","text":"done"}]}"#;
    let turns: &[&[&str]] = &[
        &[system, user, system],
        &[call, result, system],
        &[call, system, result],
        &[reply, user],
        &[reply, system],
        &[reply, system, user, system],
        &[call, result, system, user],
    ];
    let sent = |count: usize| {
        let messages = turns[..count].concat().join(",");
        let body = format!(r#"{{"system":"s","tools":[{TOOL}],"messages":[{messages}]}}"#);
        let (found, _) = passed(&asked(FOUR_5), &body).unwrap();
        let (before, messages) = found.split_once(r#""messages":["#).unwrap();
        let (messages, after) = messages.split_once("],\"").unwrap();
        (before.to_owned(), messages.to_owned(), after.to_owned())
    };
    for count in 1..turns.len() {
        let (earlier, later) = (sent(count), sent(count + 1));
        assert_eq!((&earlier.0, &earlier.2), (&later.0, &later.2), "{count}");
        assert!(later.1.starts_with(&earlier.1), "{count}: {} {}", earlier.1, later.1);
    }
}

/// Fields in, fields out.
fn check_fields(rows: &[Row]) {
    for (model, given, expected, lost) in rows {
        let comma = if given.is_empty() { "" } else { "," };
        let body = format!(r#"{{"anthropic_version":"bedrock-2023-05-31",{HI}{comma}{given}}}"#);
        let comma = if expected.is_empty() { "" } else { "," };
        let expected =
            format!(r#"{{"anthropic_version":"bedrock-2023-05-31",{HI}{comma}{expected}}}"#);
        check(&asked(model), &body, &expected, lost);
    }
}

/// Messages in, messages out, and the system after them.
fn check_messages(rows: &[Row]) {
    for (model, given, expected, lost) in rows {
        let body = format!(r#"{{"anthropic_version":"bedrock-2023-05-31","messages":{given}}}"#);
        let expected =
            format!(r#"{{"anthropic_version":"bedrock-2023-05-31","messages":{expected}}}"#);
        check(&asked(model), &body, &expected, lost);
    }
}

fn check(asked: &Asked<'_>, body: &str, expected: &str, lost: &[&str]) {
    let (found, dropped) = passed(asked, body).unwrap();
    assert_eq!(found, expected, "{} {body}", asked.model);
    assert_eq!(dropped, lost, "{} {body}", asked.model);
    // What was put right once has nothing left to be put right.
    let again = Asked { betas: None, is_long_context: false, ..*asked };
    assert_eq!(passed(&again, &found).unwrap(), (found, vec![]), "{} {body}", asked.model);
}

fn passed(asked: &Asked<'_>, body: &str) -> Result<(String, Dropped), Error> {
    let mut envelope = Envelope::parse(body.as_bytes().to_vec()).unwrap();
    let dropped = pass(&mut envelope, asked)?;
    Ok((String::from_utf8(envelope.into_bytes()).unwrap(), dropped))
}

fn asked(model: &str) -> Asked<'_> {
    Asked { model, betas: None, is_long_context: false }
}

#[test]
fn fields_are_those_that_bedrock_takes() {
    check_fields(&[
        row(FOUR_5, "", "", &[]),
        row(FOUR_5, r#""model":"x","stream":true,"metadata":{"user_id":"{}"}"#, "", &[]),
        row(
            FOUR_5,
            r#""service_tier":"auto","speed":"fast","a,b":1"#,
            "",
            &["service_tier", "speed", "ab"],
        ),
        row(FOUR_5, r#""container":null,"temperature":null,"tools":null"#, "", &[]),
        row(FOUR_5, r#""max_tokens":5,"top_k":1e1"#, r#""max_tokens":5,"top_k":1e1"#, &[]),
        row(FOUR_5, r#""max_tokens":64001"#, r#""max_tokens":64000"#, &["max_tokens"]),
        row(OLD, r#""max_tokens":32000"#, r#""max_tokens":8192"#, &["max_tokens"]),
        row(FOUR_5, r#""max_tokens":"many""#, r#""max_tokens":"many""#, &[]),
        row(
            FOUR_5,
            r#""context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}"#,
            "",
            &[],
        ),
        row(FOUR_5, r#""context_management":{}"#, "", &[]),
        row(
            FOUR_5,
            r#""context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#,
            "",
            &["context_management"],
        ),
        row(FOUR_5, r#""context_management":{"more":1}"#, "", &["context_management"]),
        row(
            FOUR_5,
            r#""stop_sequences":["\n","END", ""]"#,
            r#""stop_sequences":["END"]"#,
            &["stop_sequences"],
        ),
        row(FOUR_5, r#""stop_sequences":[" "]"#, "", &["stop_sequences"]),
        row(FOUR_5, r#""stop_sequences":[ "a" ]"#, r#""stop_sequences":[ "a" ]"#, &[]),
    ]);
    let (found, _) = passed(&asked(FOUR_5), &format!("{{{HI}}}")).unwrap();
    assert_eq!(found, format!(r#"{{{HI},"anthropic_version":"bedrock-2023-05-31"}}"#));
    let (found, _) =
        passed(&asked(FOUR_5), &format!(r#"{{"anthropic_version":"x",{HI}}}"#)).unwrap();
    assert_eq!(found, format!(r#"{{"anthropic_version":"bedrock-2023-05-31",{HI}}}"#));
}

/// The model, the header, whether the long context is wanted, fields before and after, what is named.
type Flags<'a> = (&'a str, Option<&'a str>, bool, &'a str, &'a str, &'static [&'static str]);

#[test]
fn beta_flags() {
    let claude_code = "claude-code-20250219, interleaved-thinking-2025-05-14,\
        thinking-token-count-2026-05-13,context-management-2025-06-27,\
        prompt-caching-scope-2026-01-05,mid-conversation-system-2026-04-07,effort-2025-11-24";
    const OF_BODY: &str = r#""betas":["a-2025-01-01","skills-2025-10-02"],"anthropic_beta":["b-2025-01-01","a-2025-01-01"]"#;
    const MEMORY: &str = r#""tools":[{"type":"memory_20250818","name":"memory"}]"#;
    #[rustfmt::skip]
    let table: &[Flags<'_>] = &[
        (FOUR_5, Some(claude_code), false, "", r#""anthropic_beta":["claude-code-20250219","interleaved-thinking-2025-05-14"]"#, &[]),
        (FOUR_6, Some(claude_code), false, "", r#""anthropic_beta":["claude-code-20250219","interleaved-thinking-2025-05-14","effort-2025-11-24"]"#, &[]),
        (FOUR_5, None, false, OF_BODY, r#""anthropic_beta":["b-2025-01-01","a-2025-01-01"]"#, &[]),
        (FOUR_5, Some("c"), false, OF_BODY, r#""anthropic_beta":["c","b-2025-01-01","a-2025-01-01"]"#, &[]),
        (FOUR_5, None, false, r#""anthropic_beta":"a, b""#, r#""anthropic_beta":["a","b"]"#, &[]),
        (FOUR_5, None, false, r#""anthropic_beta":[ "a" ]"#, r#""anthropic_beta":[ "a" ]"#, &[]),
        (FOUR_5, Some("code-execution-2099-01-01"), false, r#""anthropic_beta":[]"#, "", &[]),
        (FOUR_5, Some(", ,"), false, r#""betas":null"#, "", &[]),
        (FOUR_5, Some("advanced-tool-use-2025-11-20,tool-search-tool-2025-10-19"), false, "", r#""anthropic_beta":["tool-search-tool-2025-10-19"]"#, &[]),
        (FOUR_5, Some("effort"), false, "", "", &[]),
        (FOUR_5, Some("effortless-4"), false, "", r#""anthropic_beta":["effortless-4"]"#, &[]),
        (FOUR_5, Some("context-management-2025-06-27"), false, MEMORY, &format!(r#"{MEMORY},"anthropic_beta":["context-management-2025-06-27"]"#), &[]),
        (FOUR_5, None, true, "", r#""anthropic_beta":["context-1m-2025-08-07"]"#, &[]),
        (FOUR, Some("context-1m-2025-08-07"), true, "", r#""anthropic_beta":["context-1m-2025-08-07"]"#, &[]),
        (FOUR_6, Some("context-1m-2025-08-07"), true, "", "", &[]),
        (FIVE, None, true, "", "", &[]),
        (HAIKU, None, true, "", "", &["model[1m]"]),
        (OLD, None, true, "", "", &["model[1m]"]),
        (HAIKU, Some("context-1m-2025-08-07"), false, "", "", &["context-1m-2025-08-07"]),
        ("claude-opus-4-5", None, true, "", "", &["model[1m]"]),
    ];
    for (model, betas, is_long_context, given, expected, lost) in table {
        let asked = Asked { model, betas: *betas, is_long_context: *is_long_context };
        let whole = |fields: &str| {
            let comma = if fields.is_empty() { "" } else { "," };
            format!(r#"{{"anthropic_version":"bedrock-2023-05-31",{HI}{comma}{fields}}}"#)
        };
        let (found, dropped) = passed(&asked, &whole(given)).unwrap();
        assert_eq!(found, whole(expected), "{model} {betas:?}");
        assert_eq!(dropped, *lost, "{model} {betas:?}");
    }
    let error = passed(&asked(FOUR_5), &format!(r#"{{{HI},"betas":[1]}}"#)).unwrap_err();
    assert_eq!((error.status(), error.param()), (400, Some("betas")));
    let many = vec!["a"; 101].join(",");
    let many = Asked { betas: Some(&many), ..asked(FOUR_5) };
    let error = passed(&many, &format!("{{{HI}}}")).unwrap_err();
    assert_eq!((error.status(), error.param()), (400, Some("anthropic_beta")));
}

#[test]
fn tools() {
    let tools = |tools: &str| format!(r#""tools":[{tools}]"#);
    let chosen = |t: &str, choice: &str| format!(r#"{},"tool_choice":{choice}"#, tools(t));
    let search = r#"{"type":"web_search_20250305","name":"web_search","max_uses":5}"#;
    let bash = r#"{"type":"bash_20250124", "name":"bash", "input_examples":[]}"#;
    let full = r#"{"type":"custom","name":"g","description":"d","input_schema":{"strict": 1.10},"cache_control":{"type":"ephemeral","ttl":"1h"}}"#;
    let named = |name: &str| format!(r#"{{"type":"tool","name":"{name}"}}"#);
    check_fields(&[
        row(
            FOUR_5,
            &format!(r#""tools":[ {TOOL} , {full} ]"#),
            &format!(r#""tools":[ {TOOL} , {full} ]"#),
            &[],
        ),
        row(
            FOUR_5,
            &tools(&format!(
                r#"{TOOL},{{"name":"h","strict":true,"description":null,"defer_loading":false,"input_schema":{{"a": 1.10}},"custom":{{}},"eager_input_streaming":true}}"#
            )),
            &tools(&format!(r#"{TOOL},{{"name":"h","input_schema":{{"a": 1.10}}}}"#)),
            &["tools[].strict", "tools[].custom", "tools[].eager_input_streaming"],
        ),
        row(
            FOUR_5,
            &tools(
                r#"{"name":"h","input_schema":{"scope":1},"cache_control":{"type":"ephemeral","scope":"global"}}"#,
            ),
            &tools(
                r#"{"name":"h","input_schema":{"scope":1},"cache_control":{"type":"ephemeral"}}"#,
            ),
            &[],
        ),
        row(
            OLD,
            &tools(r#"{"name":"h","cache_control":{"type":"ephemeral"}}"#),
            &tools(r#"{"name":"h"}"#),
            &["cache_control"],
        ),
        row(FOUR_5, &tools(bash), &tools(bash), &[]),
        row(
            FOUR_5,
            &tools(
                r#"{"type":"bash_20250124","name":"bash","cache_control":{"type":"ephemeral","scope":"x"}}"#,
            ),
            &tools(
                r#"{"type":"bash_20250124","name":"bash","cache_control":{"type":"ephemeral"}}"#,
            ),
            &[],
        ),
        row(
            FOUR_5,
            &tools(r#"{"type":"new_2030","x":1}"#),
            &tools(r#"{"type":"new_2030","x":1}"#),
            &[],
        ),
        row(
            FOUR_5,
            &tools(&format!(r#"{search},{TOOL},{{"type":"mcp_toolset"}}"#)),
            &tools(TOOL),
            &["tools[] of type web_search_20250305", "tools[] of type mcp_toolset"],
        ),
        row(
            FOUR_5,
            &chosen(search, r#"{"type":"auto"}"#),
            "",
            &["tools[] of type web_search_20250305"],
        ),
        row(
            FOUR_5,
            &chosen(&format!("{search},{TOOL}"), &named("web_search")),
            &tools(TOOL),
            &["tools[] of type web_search_20250305", "tool_choice"],
        ),
        row(
            FOUR_5,
            &chosen(&format!("{search},{TOOL}"), &named("f")),
            &chosen(TOOL, &named("f")),
            &["tools[] of type web_search_20250305"],
        ),
        row(FOUR_5, r#""tool_choice":{"type":"none"}"#, "", &[]),
        row(FOUR_5, &chosen("", r#"{"type":"any"}"#), r#""tools":[]"#, &["tool_choice"]),
        row(FOUR_5, r#""tools":"x""#, r#""tools":"x""#, &[]),
    ]);
}

#[test]
fn thinking() {
    const BUDGET: &str =
        r#""max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":31999}"#;
    const ADAPTIVE: &str = r#""thinking":{"type":"adaptive"}"#;
    let adaptive = |more: &str| format!(r#""max_tokens":32000,{ADAPTIVE}{more}"#);
    let effort = |word: &str| adaptive(&format!(r#","output_config":{{"effort":"{word}"}}"#));
    let budget = |max: u64, budget: u64| {
        format!(r#""max_tokens":{max},"thinking":{{"type":"enabled","budget_tokens":{budget}}}"#)
    };
    let forced = |more: &str| format!(r#""tools":[{TOOL}],"tool_choice":{{"type":"any"}}{more}"#);
    check_fields(&[
        row(FOUR_5, BUDGET, BUDGET, &[]),
        row(FOUR_6, BUDGET, BUDGET, &[]),
        row(FOUR_8, BUDGET, &effort("high"), &[]),
        row(
            FOUR_8,
            &budget(9000, 2000),
            r#""max_tokens":9000,"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#,
            &[],
        ),
        row(
            FOUR_8,
            &format!(r#"{BUDGET},"output_config":{{"effort":"xhigh"}}"#),
            &effort("xhigh"),
            &[],
        ),
        row(
            OLD,
            r#""max_tokens":10,"thinking":{"type":"enabled","budget_tokens":5}"#,
            r#""max_tokens":10"#,
            &["thinking"],
        ),
        row(FOUR_5, &budget(9000, 9000), &budget(9000, 4904), &["thinking.budget_tokens"]),
        row(FOUR_5, &budget(2000, 9000), &budget(2000, 1024), &["thinking.budget_tokens"]),
        row(FOUR_5, &budget(1024, 9000), r#""max_tokens":1024"#, &["thinking"]),
        row(
            FOUR_5,
            r#""max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000,"context_management":{},"display":"omitted"}"#,
            &budget(9000, 2000),
            &["thinking.display"],
        ),
        row(FOUR_5, r#""thinking":{"type":"enabled"}"#, r#""thinking":{"type":"enabled"}"#, &[]),
        row(FOUR_5, &adaptive(""), &budget(32000, 8192), &[]),
        row(FOUR_5, &effort("high"), &budget(32000, 16384), &[]),
        row(FOUR_5, &effort("max"), &budget(32000, 27904), &[]),
        row(
            OLD,
            &format!(r#""max_tokens":9,{ADAPTIVE},"output_config":{{"effort":"high"}}"#),
            r#""max_tokens":9"#,
            &["thinking", "output_config"],
        ),
        row(
            FOUR_5,
            &format!(r#""max_tokens":900,{ADAPTIVE}"#),
            r#""max_tokens":900"#,
            &["thinking"],
        ),
        row(FOUR_6, &effort("high"), &effort("high"), &[]),
        row(FOUR_6, &effort("xhigh"), &effort("high"), &[]),
        row(FOUR_8, &effort("xhigh"), &effort("xhigh"), &[]),
        row(
            FOUR_8,
            r#""thinking":{"type": "adaptive","display":"summarized"}"#,
            ADAPTIVE,
            &["thinking.display"],
        ),
        row(
            FOUR_6,
            r#""output_config":{"effort": "low"}"#,
            r#""output_config":{"effort": "low"}"#,
            &[],
        ),
        row(FOUR_5, r#""output_config":{"effort":"low"}"#, "", &["output_config"]),
        row(FOUR_5, r#""output_config":{}"#, "", &[]),
        row(
            FOUR_5,
            &adaptive(r#","output_config":{"effort":"low","task_budget":1}"#),
            &budget(32000, 2048),
            &["output_config"],
        ),
        row(OLD, r#""thinking":{"type":"disabled"}"#, "", &[]),
        row(
            FOUR_5,
            r#""thinking":{"type": "disabled"}"#,
            r#""thinking":{"type": "disabled"}"#,
            &[],
        ),
        row(FIVE, r#""thinking":{"type":"disabled"}"#, r#""thinking":{"type":"disabled"}"#, &[]),
        row(
            "claude-sonnet-5-5",
            r#""thinking":{"type":"disabled"}"#,
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#,
            &["thinking"],
        ),
        row(
            "claude-sonnet-5-5",
            r#""thinking":{"type":"disabled"},"output_config":{"effort":"max"}"#,
            r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#,
            &["thinking"],
        ),
        row(FOUR_5, r#""thinking":{"type":"new"}"#, r#""thinking":{"type":"new"}"#, &[]),
        row(FOUR_5, r#""thinking":7"#, r#""thinking":7"#, &[]),
        row(FOUR_8, &forced(&format!(",{ADAPTIVE}")), &forced(""), &["thinking"]),
        row(FOUR_8, &forced(""), &forced(""), &[]),
        row(FIVE, &forced(""), &forced(r#","thinking":{"type":"disabled"}"#), &[]),
        row(
            FIVE,
            &forced(&format!(",{ADAPTIVE}")),
            &forced(r#","thinking":{"type":"disabled"}"#),
            &["thinking"],
        ),
        row(
            "claude-sonnet-5-5",
            &format!(r#""system":"s","tools":[{TOOL}],"tool_choice":{{"type":"tool","name":"f"}}"#),
            &format!(
                r#""system":[{{"type":"text","text":"s"}},{{"type":"text","text":"Answer by calling the tool f."}}],"tools":[{TOOL}],"tool_choice":{{"type":"auto"}}"#
            ),
            &["tool_choice"],
        ),
    ]);
}

#[test]
fn sampling() {
    const ON: &str = r#","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000}"#;
    let on = |more: &str| format!("{more}{ON}");
    let rest = ON.trim_start_matches(',');
    check_fields(&[
        row(FOUR_5, r#""temperature":0.30,"top_k":5"#, r#""temperature":0.30,"top_k":5"#, &[]),
        row(FOUR_5, r#""temperature":0.3,"top_p":0.9"#, r#""temperature":0.3"#, &["top_p"]),
        row(FOUR, r#""temperature":0.3,"top_p":0.9"#, r#""temperature":0.3,"top_p":0.9"#, &[]),
        row(FOUR_5, r#""top_p":0.9"#, r#""top_p":0.9"#, &[]),
        row(FOUR_5, &on(r#""temperature":1.0"#), &on(r#""temperature":1.0"#), &[]),
        row(
            FOUR_5,
            &on(r#""temperature":0.5,"top_k":5,"top_p":0.5"#),
            rest,
            &["temperature", "top_p", "top_k"],
        ),
        row(
            FOUR_5,
            &on(r#""temperature":0.5,"top_p":0.97"#),
            &on(r#""top_p":0.97"#),
            &["temperature"],
        ),
        row(
            FOUR_8,
            r#""temperature":1,"top_p":1,"top_k":5"#,
            "",
            &["temperature", "top_p", "top_k"],
        ),
    ]);
}

#[test]
fn systems() {
    let system = |blocks: &str| format!(r#""system":[{blocks}]"#);
    let a = r#"{"type":"text" ,"text":"a"}"#;
    check_fields(&[
        row(FOUR_5, r#""system":"be brief""#, r#""system":"be brief""#, &[]),
        row(FOUR_5, r#""system":" ""#, "", &[]),
        row(FOUR_5, r#""system":[]"#, r#""system":[]"#, &[]),
        row(FOUR_5, &system(r#"{"type":"text","text":"\n"}"#), "", &[]),
        row(
            FOUR_5,
            &system(&format!(
                r#"{a}, {{"type":"text","text":""}},{{"type":"text","text":"b","cache_control":{{"type":"ephemeral","ttl":"1h","scope":"global"}}}}"#
            )),
            &system(&format!(
                r#"{a},{{"type":"text","text":"b","cache_control":{{"type":"ephemeral","ttl":"1h"}}}}"#
            )),
            &[],
        ),
        row(
            OLD,
            &system(r#"{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}"#),
            &system(r#"{"type":"text","text":"b"}"#),
            &["cache_control"],
        ),
    ]);
}

#[test]
fn a_mark_for_all_goes_to_the_last_block() {
    const MARK: &str = r#"{"type":"ephemeral"}"#;
    const HOUR: &str = r#"{"type":"ephemeral","ttl":"1h"}"#;
    let user = |blocks: &str| format!(r#"[{{"role":"user","content":[{blocks}]}}]"#);
    let text = |mark: &str| format!(r#"{{"type":"text","text":"a","cache_control":{mark}}}"#);
    let result = r#"{"type":"tool_result","tool_use_id":"c","content":"a""#;
    let with = |messages: &str, mark: &str| format!(r#"{messages},"cache_control":{mark}"#);
    let plain = r#"[{"role":"user","content":"a"}]"#;
    let lost = &["cache_control"][..];
    let four = user(&vec![text(MARK); 4].join(","));
    let more = |messages: String| {
        format!(
            "{}{{\"type\":\"text\",\"text\":\"b\"}}]}}]",
            messages.trim_end_matches("]}]").to_owned() + ","
        )
    };
    check_messages(&[
        row(FOUR_5, &with(plain, MARK), &user(&text(MARK)), &[]),
        row(FOUR_5, &with(plain, r#"{"type":"ephemeral","scope":"x"}"#), &user(&text(MARK)), &[]),
        row(
            FOUR_5,
            &with(&user(&format!("{result}}}")), HOUR),
            &user(&format!(r#"{result},"cache_control":{HOUR}}}"#)),
            &[],
        ),
        row(FOUR_5, &with(&user(&text(HOUR)), MARK), &user(&text(HOUR)), &[]),
        row(FOUR_5, &with(&more(user(&text(MARK))), HOUR), &more(user(&text(MARK))), lost),
        row(FOUR_5, &with(&more(four.clone()), MARK), &more(four), lost),
        row(OLD, &with(plain, MARK), plain, lost),
        row(FOUR_5, &with(plain, "7"), plain, lost),
        row(FOUR_5, &with("7", MARK), "7", lost),
    ]);
}

#[test]
fn messages() {
    const USER: &str = r#"{"role": "user", "content":"hi"}"#;
    const REPLY: &str = r#"{"role":"assistant","content":[{"type":"text","text":"yes"}]}"#;
    const SYSTEM: &str = r#"{"role":"system","content":"be \u0062rief"}"#;
    const BRIEF: &str = r#""system":[{"type":"text","text":"be \u0062rief"}]"#;
    let user = |blocks: &str| format!(r#"{{"role":"user","content":[{blocks}]}}"#);
    let system = |blocks: &str| format!(r#"{{"role":"system","content":[{blocks}]}}"#);
    let reminder =
        r#"{"type":"text","text":"<system-reminder>\nbe \u0062rief\n</system-reminder>"}"#;
    let marked = |ttl: &str| {
        let mark = format!(r#"{{"type":"ephemeral","ttl":"{ttl}"}}"#);
        format!(r#"{{"type":"text","text":"m","cache_control":{mark}}}"#)
    };
    let reply = |blocks: &str| format!(r#"{{"role":"assistant","content":[{blocks}]}}"#);
    let text = |text: &str| format!(r#"{{"type":"text","text":"{text}"}}"#);
    let result = |more: &str| format!(r#"{{"type":"tool_result","tool_use_id":"c"{more}}}"#);
    let call = r#"{"type":"tool_use","id":"c","name":"f","input":{"a": 1.10}}"#;
    let signed = r#"{"type":"thinking","thinking":"hm","signature":"s"}"#;
    let unsigned = format!(r#"{{"type":"thinking","thinking":"hm","signature":"{UNSIGNED}"}}"#);
    let redacted = r#"{"type":"redacted_thinking","data":"d"}"#;
    let asked = |answer: &str| format!(r#"[{USER},{answer},{}]"#, user(&text("so")));
    let found = r#"{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","title":"T","url":"https://x","encrypted_content":"e"}]}"#;
    let search = r#"{"type":"server_tool_use","id":"s","name":"web_search","input":{}}"#;
    let cited = r#"{"type":"text","text":"x","citations":[{"type":"web_search_result_location"}]}"#;
    check_messages(&[
        // What needs no edit.
        row(FOUR_5, &format!("[ {USER} ]"), &format!("[ {USER} ]"), &[]),
        row(FOUR_5, "[]", "[]", &[]),
        row(FOUR_5, "7", "7", &[]),
        row(
            FOUR_5,
            &format!(
                "[{USER},{},{}]",
                reply(&format!("{signed},{call}")),
                user(&result(r#","content":"","is_error":false"#))
            ),
            &format!(
                "[{USER},{},{}]",
                reply(&format!("{signed},{call}")),
                user(&result(r#","is_error":false"#))
            ),
            &[],
        ),
        // The system's.
        row(FOUR_5, &format!("[{USER},{SYSTEM}]"), &format!("[{USER}],{BRIEF}"), &[]),
        row(
            FOUR_5,
            &format!("[{USER},{SYSTEM},{}]", user(&text("b"))),
            &format!(
                r#"[{{"role":"user","content":[{{"type":"text","text":"hi"}},{}]}}],{BRIEF}"#,
                text("b")
            ),
            &[],
        ),
        row(
            FOUR_5,
            r#"[{"role":"system","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","scope":"x"}},{"type":"text","text":" "}]},{"role":"user","content":"hi"}]"#,
            r#"[{"role":"user","content":"hi"}],"system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]"#,
            &[],
        ),
        row(
            FOUR_5,
            &format!("[{SYSTEM}]"),
            &format!("[{}]", user(r#"{"type":"text","text":"be \u0062rief"}"#)),
            &[],
        ),
        row(
            FOUR_5,
            &format!("[{USER},{REPLY},{SYSTEM}]"),
            &format!("[{USER},{REPLY},{}]", user(reminder)),
            &[],
        ),
        row(
            FOUR_5,
            &format!(
                "[{SYSTEM},{USER},{},{SYSTEM},{},{REPLY},{SYSTEM}]",
                reply(call),
                user(&format!("{},{}", result(""), text("b")))
            ),
            &format!(
                "[{USER},{},{},{REPLY},{}],{BRIEF}",
                reply(call),
                user(&format!("{},{reminder},{}", result(""), text("b"))),
                user(reminder)
            ),
            &[],
        ),
        row(
            FOUR_5,
            &format!(
                r#"[{USER},{REPLY},{USER},{{"role":"system","content":[{},{{"type":"text","text":"<system-reminder>a","cache_control":{{"type":"ephemeral"}}}}]}},{USER}]"#,
                text("")
            ),
            &format!(
                "[{USER},{REPLY},{}]",
                user(&format!(
                    r#"{0},{{"type":"text","text":"<system-reminder>a","cache_control":{{"type":"ephemeral"}}}},{0}"#,
                    text("hi")
                ))
            ),
            &[],
        ),
        row(
            FOUR_5,
            &format!(r#"[{USER},{REPLY},{{"role":"system","content":" "}}]"#),
            &format!("[{USER},{REPLY},{}]", user(&text("Continue."))),
            &[],
        ),
        row(
            FOUR_5,
            &format!(r#"[{USER},{{"role":"system"}}]"#),
            &format!(r#"[{USER},{{"role":"system"}}]"#),
            &[],
        ),
        // What is for five minutes does not come before what is for an hour.
        row(
            FOUR_5,
            &format!(
                "[{},{}]",
                user(&marked("1h")),
                system(&format!("{},{}", marked("5m"), marked("1h")))
            ),
            &format!(r#"[{}],"system":[{},{}]"#, user(&marked("1h")), text("m"), marked("1h")),
            &["cache_control"],
        ),
        row(
            FOUR_5,
            &format!("[{},{}]", user(&text("a")), system(&marked("5m"))),
            &format!(r#"[{}],"system":[{}]"#, user(&text("a")), marked("5m")),
            &[],
        ),
        row(
            FOUR_5,
            r#"[{"role":"system","content":""}]"#,
            &format!("[{}]", user(&text("Begin."))),
            &[],
        ),
        row(
            FOUR_5,
            &format!("[{USER},{SYSTEM},{REPLY},{USER},{USER}]"),
            &format!("[{USER},{REPLY},{USER},{USER}],{BRIEF}"),
            &[],
        ),
        // Nothing said.
        row(
            FOUR_5,
            &format!("[{}]", user(&text(r" \n"))),
            r#"[{"role":"user","content":"."}]"#,
            &[],
        ),
        row(
            FOUR_5,
            r#"[{"role":"user","content":" "}]"#,
            r#"[{"role":"user","content":"."}]"#,
            &[],
        ),
        row(
            FOUR_5,
            &format!("[{}]", user(&format!("{}, {}", text(""), text("a")))),
            &format!("[{}]", user(&text("a"))),
            &[],
        ),
        row(
            FOUR_5,
            &asked(&reply("")),
            &format!(r#"[{}]"#, user(&format!("{},{}", text("hi"), text("so")))),
            &[],
        ),
        row(
            FOUR_5,
            &format!(r#"[{{"role":"user","content":[]}},{REPLY},{USER}]"#),
            &format!("[{},{REPLY},{USER}]", user(&text("Begin."))),
            &[],
        ),
        row(
            FOUR_5,
            &format!(r#"[{USER},{{"role":"assistant","content":""}}]"#),
            &format!("[{USER}]"),
            &[],
        ),
        row(
            FOUR_5,
            &format!(
                "[{}]",
                user(&result(r#","content":[{"type":"text","text":""}],"is_error":true"#))
            ),
            &format!("[{}]", user(&result(r#","content":".","is_error":true"#))),
            &[],
        ),
        // Marks.
        row(
            FOUR_5,
            &format!(
                "[{}]",
                user(&result(
                    r#","content":[{"type":"text","text":"a","cache_control":{"scope":"x","type":"ephemeral","ttl":"5m"}}]"#
                ))
            ),
            &format!(
                "[{}]",
                user(&result(
                    r#","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"5m"}}]"#
                ))
            ),
            &[],
        ),
        row(
            OLD,
            &format!(
                "[{}]",
                user(&result(r#","content":"a","cache_control":{"type":"ephemeral"}"#))
            ),
            &format!("[{}]", user(&result(r#","content":"a""#))),
            &["cache_control"],
        ),
        // Tools of Anthropic's servers.
        row(
            FOUR_5,
            &format!(
                "[{}]",
                user(&result(r#","content":[{"type":"tool_reference","tool_name":"g"}]"#))
            ),
            &format!(
                "[{}]",
                user(&result(r#","content":[{"type":"text","text":"Found the tool `g`."}]"#))
            ),
            &[],
        ),
        row(
            FOUR_5,
            &asked(&reply(&format!("{search},{found},{cited}"))),
            &asked(&reply(&format!("{},{}", text(r"T\nhttps://x"), text("x")))),
            &[
                "messages[].content[] of type server_tool_use",
                "messages[].content[] of type web_search_tool_result",
            ],
        ),
        row(
            FOUR_5,
            &format!("[{USER},{},{USER}]", reply(search)),
            &format!("[{}]", user(&format!("{},{}", text("hi"), text("hi")))),
            &["messages[].content[] of type server_tool_use"],
        ),
        row(
            FOUR_5,
            &asked(&reply(
                r#"{"type":"code_execution_tool_result","tool_use_id":"s","content":{"type":"code_execution_result","stdout":"4\n","stderr":"","return_code":0}}"#,
            )),
            &asked(&reply(&text(r"4\n"))),
            &["messages[].content[] of type code_execution_tool_result"],
        ),
        row(
            FOUR_5,
            &format!(
                "[{}]",
                user(&format!(r#"{},{{"type":"container_upload","file_id":"f"}}"#, text("a")))
            ),
            &format!("[{}]", user(&text("a"))),
            &["messages[].content[] of type container_upload"],
        ),
        row(
            FOUR_5,
            &format!(
                "[{}]",
                user(
                    r#"{"type":"document","source":{"type":"content","content":[{"type":"text","text":"","x":1},{"type":"text","text":"b"}]}}"#
                )
            ),
            &format!(
                "[{}]",
                user(
                    r#"{"type":"document","source":{"type":"content","content":[{"type":"text","text":"b"}]}}"#
                )
            ),
            &[],
        ),
        // Thoughts.
        row(
            FOUR_5,
            &asked(&reply(&format!("{signed},{redacted},{call}"))),
            &asked(&reply(&format!("{signed},{redacted},{call}"))),
            &[],
        ),
        row(FOUR_5, &asked(&reply(&format!("{unsigned},{call}"))), &asked(&reply(call)), &[]),
        row(
            FOUR_5,
            &asked(&reply(&format!(
                r#"{{"type":"thinking","thinking":"","signature":""}},{call}"#
            ))),
            &asked(&reply(call)),
            &[],
        ),
        row(
            FOUR_5,
            &asked(&reply(&format!(r#"{{"type":"thinking","thinking":"x"}},{call}"#))),
            &asked(&reply(call)),
            &[],
        ),
        row(OLD, &asked(&reply(&format!("{signed},{redacted},{call}"))), &asked(&reply(call)), &[]),
        // Beginnings of replies.
        row(
            FOUR_5,
            &format!(r#"[{USER},{}]"#, reply(&text(r"So \n"))),
            &format!("[{USER},{}]", reply(&text("So"))),
            &[],
        ),
        row(
            FOUR_5,
            &format!(r#"[{USER},{{"role":"assistant","content":"{{ "}}]"#),
            &format!(r#"[{USER},{{"role":"assistant","content":"{{"}}]"#),
            &[],
        ),
        row(
            FOUR_6,
            &format!("[{USER},{REPLY}]"),
            &format!("[{USER},{REPLY},{}]", user(&text("Continue."))),
            &[],
        ),
        row(
            FOUR_5,
            &format!("[{USER},{}]", reply(&format!("{},{signed}", text("a")))),
            &format!("[{USER},{}]", reply(&text("a"))),
            &[],
        ),
        row(FOUR_5, &format!("[{USER},{}]", reply(signed)), &format!("[{USER}]"), &[]),
        row(
            FOUR_5,
            &format!("[{REPLY},{USER}]"),
            &format!("[{},{REPLY},{USER}]", user(&text("Begin."))),
            &[],
        ),
    ]);
    let on = r#""max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000}"#;
    check_messages(&[row(
        FOUR_5,
        &format!("[{USER},{REPLY}],{on}"),
        &format!("[{USER},{REPLY},{}],{on}", user(&text("Continue."))),
        &[],
    )]);
}

#[test]
fn thoughts_of_a_loop() {
    let loop_of = |turns: &[&str]| {
        let reply = |first: &&str| {
            let blocks =
                format!(r#"{first}{{"type":"tool_use","id":"c","name":"f","input":{{}}}}"#);
            let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"a"}]}"#;
            format!(r#",{{"role":"assistant","content":[{blocks}]}},{result}"#)
        };
        let turns: String = turns.iter().map(reply).collect();
        format!(r#"[{{"role":"user","content":"hi"}}{turns}]"#)
    };
    let thought = r#"{"type":"thinking","thinking":"hm","signature":"s"},"#;
    let over = |messages: String| {
        let end = r#",{"role":"user","content":"thanks"}]"#;
        messages.strip_suffix(']').unwrap().to_owned() + end
    };
    let adaptive = r#""thinking":{"type":"adaptive"}"#;
    let budget = |budget: u64| {
        format!(r#""max_tokens":9000,"thinking":{{"type":"enabled","budget_tokens":{budget}}}"#)
    };
    let max = r#""max_tokens":9000"#.to_owned();
    let high =
        r#""max_tokens":9000,"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#;
    let wish = format!("{max},{adaptive}");
    for (model, messages, given, expected, lost) in [
        (FOUR_5, loop_of(&[""]), &wish, max.clone(), &["thinking"][..]),
        (FOUR_5, loop_of(&[thought]), &wish, budget(8192), &[]),
        (FOUR_5, loop_of(&[thought, ""]), &wish, max.clone(), &["thinking"]),
        (FOUR_5, loop_of(&["", thought]), &wish, budget(8192), &[]),
        (FOUR_5, loop_of(&[]), &wish, budget(8192), &[]),
        (FOUR_6, loop_of(&[""]), &wish, wish.clone(), &[]),
        // The client's own budget is only taken from it where it is sure to be refused.
        (FOUR_5, loop_of(&[""]), &budget(2000), max.clone(), &["thinking"]),
        (FOUR_5, loop_of(&[thought, ""]), &budget(2000), budget(2000), &[]),
        (FOUR_6, loop_of(&[""]), &budget(2000), high.to_owned(), &[]),
        (FOUR_5, over(loop_of(&[""])), &budget(2000), max.clone(), &["thinking"]),
    ] {
        let body = format!(
            r#"{{"anthropic_version":"bedrock-2023-05-31","messages":{messages},{given}}}"#
        );
        let expected = format!(
            r#"{{"anthropic_version":"bedrock-2023-05-31","messages":{messages},{expected}}}"#
        );
        check(&asked(model), &body, &expected, lost);
    }
    // Turns of one speaker are one.
    let split = r#"},{"type":"tool_use""#;
    let messages = loop_of(&[thought])
        .replace(split, r#"}]},{"role":"assistant","content":[{"type":"tool_use""#);
    let body = format!(
        r#"{{"anthropic_version":"bedrock-2023-05-31","messages":{messages},{}}}"#,
        budget(2000)
    );
    check(&asked(FOUR_5), &body, &body, &[]);
    // What was said in between ends the loop.
    let done = r#",{"role":"assistant","content":"done"},{"role":"user","content":"and?"}]"#;
    let messages = loop_of(&[""]).strip_suffix(']').unwrap().to_owned() + done;
    let body = format!(
        r#"{{"anthropic_version":"bedrock-2023-05-31","messages":{messages},{}}}"#,
        budget(2000)
    );
    check(&asked(FOUR_5), &body, &body, &[]);
}

#[test]
fn files_that_cannot_be_had() {
    let inner = r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#;
    for (block, path) in [
        (inner.to_owned(), "messages[1].content[0].source"),
        (
            r#"{"type":"document","source":{"file_id":"f","type":"file"}}"#.to_owned(),
            "messages[1].content[0].source",
        ),
        (
            format!(
                r#"{{"type":"tool_result","tool_use_id":"c","content":[{{"type":"text","text":"a"}},{inner}]}}"#
            ),
            "messages[1].content[0].content[1].source",
        ),
        (
            format!(r#"{{"type":"document","source":{{"type":"content","content":[{inner}]}}}}"#),
            "messages[1].content[0].source.content[0].source",
        ),
    ] {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"user","content":[{block}]}}]}}"#
        );
        let error = passed(&asked(FOUR_5), &body).unwrap_err();
        assert_eq!((error.status(), error.param()), (400, Some(path)), "{block}");
    }
}

#[test]
fn urls_are_replaced_by_what_they_name() {
    use crate::chat::Source;
    let image = |source: &str| {
        format!(r#"{{"type":"image","source":{source},"cache_control":{{"type": "ephemeral"}}}}"#)
    };
    let body = |a: &str, b: &str, c: &str| {
        format!(
            r#"{{"a":1.10,"messages":[{{"role":"user","content":[{{"type":"text","text": "x"}},{},{{"type":"document","source":{b}}}]}},{{"role":"user","content":[{{"type":"tool_result","content":[{}]}}]}}]}}"#,
            image(a),
            image(c)
        )
    };
    let url = |url: &str| format!(r#"{{"type":"url","url":"{url}"}}"#);
    let given = body(&url("https://a"), &url("https://b"), &url("https://c"));
    let mut envelope = Envelope::parse(given.clone().into_bytes()).unwrap();
    let mut seen = vec![];
    each_url(&mut envelope, |url, path| {
        seen.push(format!("{path} {url}"));
        let media_type = if url.ends_with('b') { "text/plain" } else { "image/png" };
        Ok(Source::Base64 { media_type: media_type.into(), data: "YSxi".into() })
    })
    .unwrap();
    let png = r#"{"type":"base64","media_type":"image/png","data":"YSxi"}"#;
    let expected = body(png, r#"{"type":"text","media_type":"text/plain","data":"a,b"}"#, png);
    assert_eq!(String::from_utf8_lossy(&envelope.to_bytes()), expected);
    assert_eq!(
        seen,
        [
            "messages[0].content[1].source https://a",
            "messages[0].content[2].source https://b",
            "messages[1].content[0].content[0].source https://c",
        ]
    );
    let mut envelope = Envelope::parse(expected.clone().into_bytes()).unwrap();
    each_url(&mut envelope, |_, path| Err(Error::bad_request(path, "no URL is left"))).unwrap();
    assert!(!envelope.is_edited());
    let mut envelope = Envelope::parse(given.into_bytes()).unwrap();
    let error = each_url(&mut envelope, |_, path| Err(Error::bad_request(path, "no")));
    assert_eq!(error.unwrap_err().param(), Some("messages[0].content[1].source"));
    let inner = |source: &str| {
        format!(r#"{{"type":"content","content":[{{"type":"image","source":{source}}}]}}"#)
    };
    let data = url("data:image/png;base64,YSxi");
    let given = body(&data, &inner(&url("https://d")), &data);
    let mut envelope = Envelope::parse(given.into_bytes()).unwrap();
    each_url(&mut envelope, |url, path| {
        assert_eq!((url, path), ("https://d", "messages[0].content[2].source.content[0].source"));
        Ok(Source::Base64 { media_type: "image/png".into(), data: "YSxi".into() })
    })
    .unwrap();
    assert_eq!(String::from_utf8_lossy(&envelope.to_bytes()), body(png, &inner(png), png));
    let mut envelope = Envelope::parse(body(r#"{"type":"url"}"#, "{}", "{}").into_bytes()).unwrap();
    let error = each_url(&mut envelope, |url, _| Ok(Source::Url(url.into())));
    assert_eq!(error.unwrap_err().param(), Some("messages[0].content[1].source.url"));
}
