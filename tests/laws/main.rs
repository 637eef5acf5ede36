//! Laws that hold for any input: 1 to 7 of the design. Laws 8 (promptness) and 9 (hang-up) need
//! sockets and stand in `relay.rs`.
//!
//! Here is what holds where both sides speak OpenAI's grammar, and of errors. `replies` has laws 1
//! to 3 for what is decoded, `requests` law 4, both of them law 6. They go through the families'
//! table: a new dialect is covered when it has its row.

mod corpus;
mod messages;
mod pools;
mod replies;
mod requests;
mod responses;
mod responses_asked;
#[path = "../support/mod.rs"]
mod support;

use std::cell::Cell;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;
use sap_ai_core_llm_proxy::config;
use sap_ai_core_llm_proxy::dialect::Dialect;
use sap_ai_core_llm_proxy::dialect::Passing;
use sap_ai_core_llm_proxy::dialect::openai_chat::{PassStream, Quirks, pass_reply};
use sap_ai_core_llm_proxy::envelope::{Envelope, quoted};
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::{routes, upstream_error};
use serde_json::{Map, Value, json};
use support::pass;

/// Runs `law` for as many cases, always the same ones; `LAWS_TIMES=20` for twenty times as many.
fn check<S: Strategy>(cases: u32, inputs: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let times = std::env::var("LAWS_TIMES").map_or(1, |n| n.parse().unwrap());
    let cases = cases * times;
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    if let Err(e) = TestRunner::new_with_rng(config, rng).run(inputs, law) {
        panic!("{e}");
    }
}

// ── law 1: cut anywhere ──────────────────────────────────────────────────────────────────────────

/// The frames of a stream, whose texts hold what could be taken for a frame's end, and how it ends.
fn stream_frames() -> impl Strategy<Value = Vec<String>> {
    let text = select(vec![
        "a",
        "é",
        "👋",
        "\n\n",
        "\r\n\r\n",
        "data: [DONE]",
        ": x",
        "\"model\":\"y\"",
        "{\"choices\":[{",
    ]);
    let chunk = |choices: Value, usage: Value| {
        let model = "gpt-4o-2024-08-06";
        json!({"choices": choices, "created": 1, "id": "c", "model": model, "usage": usage})
            .to_string()
    };
    let content = vec(text, 0..5).prop_map(move |texts| {
        let choice =
            json!({"delta": {"content": texts.concat()}, "finish_reason": null, "index": 0});
        chunk(json!([choice]), Value::Null)
    });
    let finish = chunk(json!([{"delta": {}, "finish_reason": "stop", "index": 0}]), Value::Null);
    let usage = chunk(json!([]), json!({"prompt_tokens": 3, "completion_tokens": 4}));
    let error = json!({"error": {"code": "429", "message": "slow\ndown"}}).to_string();
    let ends = vec![
        vec![finish.clone(), usage, "[DONE]".into()],
        vec![finish.clone(), "[DONE]".into()],
        vec![finish],
        vec![error],
        vec!["no JSON".into()],
        vec![],
    ];
    let filter =
        json!({"choices": [], "id": "", "model": "", "prompt_filter_results": []}).to_string();
    (vec(content, 0..6), select(ends))
        .prop_map(move |(contents, end)| [vec![filter.clone()], contents, end].concat())
}

const QUIRKS: [Quirks; 3] = [Quirks::None, Quirks::Vllm, Quirks::Perplexity];

fn quirks() -> impl Strategy<Value = Quirks> {
    select(QUIRKS.to_vec())
}

/// How a frame may be written.
#[derive(Debug, Clone)]
struct Form {
    line_end: &'static str,
    blank_lines: usize,
    /// What means nothing, before it.
    noise: &'static str,
    space: bool,
    /// The JSON in many `data:` lines.
    pretty: bool,
}

fn form() -> impl Strategy<Value = Form> {
    let noise = vec![
        "",
        "",
        ": a comment\n",
        ": a comment\n\n",
        "event: x\n",
        "event: ping\n\n",
        "id: 1\nretry: 5\n",
        "data:\n\n",
        "data: \n\n",
        "\n",
    ];
    let line_end = select(vec!["\n", "\r\n"]);
    (line_end, 1..4usize, select(noise), any::<bool>(), any::<bool>()).prop_map(
        |(line_end, blank_lines, noise, space, pretty)| Form {
            line_end,
            blank_lines,
            noise,
            space,
            pretty,
        },
    )
}

fn written(frames: &[String], forms: &[Form]) -> Vec<u8> {
    let mut out = String::new();
    for (frame, form) in frames.iter().zip(forms.iter().cycle()) {
        out += &form.noise.replace('\n', form.line_end);
        let pretty = serde_json::from_str::<Value>(frame).ok().filter(|_| form.pretty);
        let data = pretty.map_or(frame.clone(), |v| serde_json::to_string_pretty(&v).unwrap());
        for line in data.lines() {
            out += if form.space { "data: " } else { "data:" };
            out += line;
            out += form.line_end;
        }
        out += &form.line_end.repeat(form.blank_lines);
    }
    out.into_bytes()
}

fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|i| i.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    at.push(bytes.len());
    let mut start = 0;
    at.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

#[test]
fn cut_anywhere_a_stream_is_the_same() {
    let how = (any::<bool>(), quirks());
    let inputs = (stream_frames(), vec(form(), 1..5), vec(any::<Index>(), 0..12), how);
    let (cut_cases, failures, dones) = (Cell::new(0), Cell::new(0), Cell::new(0));
    check(600, &inputs, |(frames, forms, cuts, (wants_usage, quirks))| {
        let bytes = written(&frames, &forms);
        let run = |chunks: Vec<&[u8]>| {
            let mut stream = PassStream::new("the \"name\"", wants_usage, quirks);
            let (out, error) = pass(chunks, &mut stream);
            (String::from_utf8(out).unwrap(), error, stream.usage())
        };
        let whole = run(vec![&bytes]);
        prop_assert_eq!(&run(cut(&bytes, &cuts)), &whole);
        prop_assert_eq!(&run(bytes.chunks(1).collect()), &whole);
        // And it is what the plainest way of writing gives, but for white space in the JSON.
        let plain = Form { line_end: "\n", blank_lines: 1, noise: "", space: true, pretty: false };
        let plain = run(vec![&written(&frames, &[plain])]);
        prop_assert_eq!(events(&whole.0), events(&plain.0));
        prop_assert_eq!((&whole.1, &whole.2), (&plain.1, &plain.2));
        for event in events(&whole.0).iter().filter(|e| e.is_object()) {
            prop_assert_eq!(&event["model"], "the \"name\"");
        }
        cut_cases.set(cut_cases.get() + usize::from(cuts.len() > 3));
        failures.set(failures.get() + usize::from(whole.1.is_some()));
        dones.set(dones.get() + whole.0.matches("data: [DONE]\n\n").count());
        prop_assert!(whole.1.is_none() == whole.0.ends_with("data: [DONE]\n\n"));
        Ok(())
    });
    let reached = [cut_cases.get(), failures.get(), dones.get()];
    assert!(reached.iter().all(|n| *n > 100), "the generator reached too little: {reached:?}");
}

/// Streams of every upstream, whichever it is taken for.
#[test]
fn cut_anywhere_streams_that_pass_are_the_same() {
    let inputs = (corpus::reply(true), vec(any::<Index>(), 0..9), quirks(), any::<bool>());
    check(600, &inputs, |(bytes, cuts, quirks, wants_usage)| {
        let run = |chunks: Vec<&[u8]>| {
            let mut stream = PassStream::new("m", wants_usage, quirks);
            let (out, error) = pass(chunks, &mut stream);
            (String::from_utf8_lossy(&out).into_owned(), error, stream.usage())
        };
        let whole = run(vec![&bytes]);
        prop_assert_eq!(&run(cut(&bytes, &cuts)), &whole);
        prop_assert_eq!(whole.1.is_none(), whole.0.ends_with("data: [DONE]\n\n"), "{}", whole.0);
        Ok(())
    });
}

/// A stream as a strict client reads it: each frame one `data: ` line.
fn events(stream: &str) -> Vec<Value> {
    let read = |frame: &str| {
        let data = frame.strip_prefix("data: ").filter(|data| !data.contains(['\r', '\n']));
        let data = data.unwrap_or_else(|| panic!("not one line of data: {frame:?}"));
        match data {
            "[DONE]" => json!("done"),
            json => serde_json::from_str(json).unwrap_or_else(|_| panic!("not JSON: {json:?}")),
        }
    };
    stream.split_terminator("\n\n").map(read).collect()
}

// ── law 5: passthrough ───────────────────────────────────────────────────────────────────────────

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "", " ", "\n", "\t", "\r\n", "  \n "])
}

/// A JSON string, quotes included, with all that makes one hard to scan.
fn string_text() -> impl Strategy<Value = String> {
    let parts = vec![
        "a",
        "",
        " ",
        "é",
        "👋",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "/",
        "\\\"",
        "\\\\",
        "\\/",
        "\\n",
        "\\u0041",
        "\\u00e9",
        "\\ud83d\\udc4b",
        "\\u0000",
        "\u{7f}",
        "\u{2028}",
        "null",
    ];
    vec(select(parts), 0..6).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// A JSON value, as text.
fn value_text() -> impl Strategy<Value = String> {
    let numbers = select(vec![
        "0",
        "-0",
        "1.10",
        "-12.5e-3",
        "1E+2",
        "123456789012345678901234567890",
        "0.1000000000000000000001",
    ]);
    let words = select(vec!["null", "true", "false"]);
    let leaf = prop_oneof![
        numbers.prop_map(str::to_owned),
        words.prop_map(str::to_owned),
        string_text(),
        select(vec!["[]", "{}", "[ ]", "{\n}"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(7, 60, 5, |inner| {
        let items = vec((space(), inner.clone(), space()), 0..5);
        let list = items.prop_map(|items| {
            let items = items.into_iter().map(|(a, v, b)| format!("{a}{v}{b}"));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        });
        let entries = vec((string_text(), space(), space(), inner), 0..5);
        let object = entries.prop_map(|entries| {
            let entries =
                entries.into_iter().map(|(key, a, b, v)| format!("{a}{key}{a}:{b}{v}{b}"));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        });
        prop_oneof![list, object]
    })
}

/// A JSON object, as text, and its keys and values as texts; no key twice.
fn object_text() -> impl Strategy<Value = (String, Vec<(String, String)>)> {
    let entry = (string_text(), value_text(), space(), space());
    (vec(entry, 0..7), space()).prop_map(|(entries, around)| {
        let mut known = vec![];
        let mut texts = vec![];
        for (n, (key, value, a, b)) in entries.into_iter().enumerate() {
            let key = format!("{}{n}\"", &key[..key.len() - 1]);
            texts.push(format!("{a}{key}{b}:{a}{value}{b}"));
            known.push((serde_json::from_str(&key).unwrap(), value));
        }
        (format!("{around}{{{around}{}}}{around}", texts.join(",")), known)
    })
}

fn depth(text: &str) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(of).max().unwrap_or(0),
            Value::Object(entries) => 1 + entries.values().map(of).max().unwrap_or(0),
            _ => 0,
        }
    }
    of(&serde_json::from_str(text).unwrap())
}

#[test]
fn untouched_values_are_the_very_bytes() {
    #[derive(Debug, Clone)]
    enum Edit {
        Set,
        Remove,
        Rename,
    }
    let edit = (select(vec![Edit::Set, Edit::Remove, Edit::Rename]), any::<Index>());
    let inputs = (object_text(), vec(edit, 0..4));
    let (deepest, escapes, edited) = (Cell::new(0), Cell::new(0), Cell::new(0));
    check(800, &inputs, |((text, entries), edits)| {
        let mut envelope =
            Envelope::parse(text.clone().into_bytes()).map_err(|e| fail(&text, &e))?;
        let keys: Vec<_> = envelope.keys().collect();
        prop_assert_eq!(keys, entries.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
        for (key, value) in &entries {
            prop_assert_eq!(
                envelope.raw(key).map(<[u8]>::to_vec),
                Some(value.clone().into_bytes())
            );
        }
        prop_assert_eq!(&*envelope.to_bytes(), text.as_bytes());
        let mut expected = entries.clone();
        for (edit, index) in &edits {
            if expected.is_empty() {
                break;
            }
            let at = index.index(expected.len());
            let key = expected[at].0.clone();
            match edit {
                Edit::Set => {
                    envelope.set(&key, "[1]");
                    expected[at].1 = "[1]".into();
                }
                Edit::Remove => {
                    prop_assert!(envelope.remove(&key));
                    expected.remove(at);
                }
                Edit::Rename => {
                    let name = format!("{key} \"new\"");
                    prop_assert!(envelope.rename(&key, &name));
                    expected[at].0 = name;
                }
            }
            edited.set(edited.get() + 1);
        }
        let out = String::from_utf8(envelope.to_bytes().into_owned()).unwrap();
        if !edits.is_empty() && !entries.is_empty() {
            let texts = expected.iter().map(|(key, value)| format!("{}:{value}", quoted(key)));
            prop_assert_eq!(&out, &format!("{{{}}}", texts.collect::<Vec<_>>().join(",")));
        }
        let read: Map<String, Value> = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(read.len(), expected.len());
        for (key, value) in &expected {
            prop_assert_eq!(read.get(key).cloned(), serde_json::from_str(value).ok());
        }
        deepest.set(deepest.get().max(depth(&text)));
        escapes.set(escapes.get() + text.matches("\\ud83d").count());
        Ok(())
    });
    let reached = (deepest.get(), escapes.get(), edited.get());
    assert!(reached.0 >= 6 && reached.1 > 100 && reached.2 > 300, "the generator: {reached:?}");
}

#[test]
fn what_serde_json_takes_for_an_object_the_envelope_takes() {
    let piece = select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        " ",
        "\n",
        "0",
        "1",
        "-",
        "e",
        ".",
        "null",
        "\"a\":1,",
        ",\"b\":[]",
        "\\u00",
        "\u{0}",
        "é",
        "/",
        "t",
    ]);
    let mutation = (any::<Index>(), 0..3usize, piece);
    let inputs = (object_text(), vec(mutation, 1..3));
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    check(4000, &inputs, |((text, _), mutations)| {
        let mut text = text;
        for (at, removed, piece) in mutations {
            let start = at.index(text.len() + 1);
            let start = (0..=start).rev().find(|n| text.is_char_boundary(*n)).unwrap();
            let end = (start + removed).min(text.len());
            let end = (end..=text.len()).find(|n| text.is_char_boundary(*n)).unwrap();
            text.replace_range(start..end, piece);
        }
        let envelope = Envelope::parse(text.clone().into_bytes());
        // The envelope looks at the top level only, so it may take what serde_json does not.
        let Ok(read) = serde_json::from_str::<Map<String, Value>>(&text) else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        accepted.set(accepted.get() + 1);
        match envelope {
            Err(e) if e.to_string().ends_with("given twice") => {}
            Err(e) => return Err(fail(&text, &e)),
            Ok(envelope) => {
                prop_assert_eq!(envelope.keys().count(), read.len());
                for (key, value) in &read {
                    let raw =
                        envelope.raw(key).map(|raw| serde_json::from_slice::<Value>(raw).ok());
                    prop_assert_eq!(raw.flatten(), Some(value.clone()), "{}", text);
                }
            }
        }
        Ok(())
    });
    let reached = [accepted.get(), refused.get()];
    assert!(reached.iter().all(|n| *n > 300), "the mutations: {reached:?}");
}

#[test]
fn a_reply_differs_in_its_model_alone() {
    let inputs = (object_text(), value_text(), "\\PC*");
    check(300, &inputs, |((text, entries), model, name)| {
        let end = text.rfind('}').unwrap();
        let comma = if entries.is_empty() { "" } else { "," };
        let reply = format!("{}{comma}\"model\": {model}{}", &text[..end], &text[end..]);
        let (out, usage) = pass_reply(reply.into_bytes(), &name, Quirks::None).unwrap();
        let mut expected: Map<String, Value> = serde_json::from_str(&text).unwrap();
        expected.insert("model".into(), json!(name));
        prop_assert_eq!(serde_json::from_slice::<Map<String, Value>>(&out).unwrap(), expected);
        let out = String::from_utf8(out).unwrap();
        for (key, value) in &entries {
            prop_assert!(out.contains(&format!("{}:{value}", quoted(key))), "{}", out);
        }
        prop_assert_eq!(usage, None);
        Ok(())
    });
}

fn fail(text: &str, error: &Error) -> TestCaseError {
    TestCaseError::fail(format!("{text:?}: {error}"))
}

// ── law 6: no panic ──────────────────────────────────────────────────────────────────────────────

/// Bytes of all kinds: any at all, words that the readers know in any order, and good JSON.
fn wild_bytes() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\\",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"null",
        b"1e999",
        b"-",
        b"\xff",
        b"\xf0\x9f",
        b"data:",
        b"data: ",
        b"event: x",
        b": ",
        b"id",
        b"[DONE]",
        b"\"choices\":[{",
        b"\"choices\":[]",
        b"\"model\":",
        b"\"model\": \"m\"",
        b"\"model\":\"\\\"",
        b"\"error\":",
        b"\"usage\":{",
        b"\"message\":",
        b"\"code\":429",
        b"\"finish_reason\":\"stop\"",
        b"<html>",
        b"\"detail\":[",
        b"\"errors\":[",
        b"\xef\xbb\xbf",
        b"\0",
    ];
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(select(words), 0..40).prop_map(|words| words.concat()),
        object_text().prop_map(|(text, _)| text.into_bytes()),
    ]
}

#[test]
fn nothing_panics_whatever_comes() {
    let inputs = (wild_bytes(), any::<u16>(), vec(any::<Index>(), 0..5), "\\PC*", any::<bool>());
    check(3000, &inputs, |(bytes, status, cuts, name, wants_usage)| {
        if let Ok(mut envelope) = Envelope::parse(bytes.clone()) {
            let keys: Vec<_> = envelope.keys().collect();
            for key in &keys {
                let _ = envelope.get::<bool>(key, "a bool");
                envelope.rename(key, &name);
                envelope.set(&name, "1");
                envelope.remove(&name);
            }
            let _ = envelope.to_bytes();
        }
        for quirks in QUIRKS {
            let mut stream = PassStream::new(&name, wants_usage, quirks);
            let (out, error) = pass(cut(&bytes, &cuts), &mut stream);
            prop_assert_eq!(error.is_none(), out.ends_with(b"data: [DONE]\n\n"));
            let _ = pass_reply(bytes.clone(), &name, quirks);
        }
        let error = upstream_error::from_response(status, &bytes, Some(name.clone()));
        prop_assert!((400..600).contains(&error.status()) && !error.to_string().is_empty());
        if let Some(error) = upstream_error::from_event(&bytes) {
            prop_assert!((400..600).contains(&error.status()) && !error.to_string().is_empty());
        }
        let text = String::from_utf8_lossy(&bytes);
        for target in
            [&*text, &name, &format!("/openai/deployments/{name}/chat/completions?{text}")]
        {
            for method in ["GET", "POST", "OPTIONS", &name] {
                let _ = routes::route(method, target);
            }
        }
        let _ = config::from_json(&text, Path::new("nowhere"));
        Ok(())
    });
}

#[test]
fn a_configuration_with_any_value_anywhere_is_read_or_refused() {
    let keys = select(vec![
        "service_key_json",
        "deployment_models",
        "secret_authentication_tokens",
        "resource_group",
        "host",
        "port",
        "aliases",
        "families",
        "api_version",
        "tls",
        "cors_origins",
        "upstream_ca",
        "limits",
        "log",
        "subAccounts",
        "discover",
        "balance",
        "orchestration",
        "weight",
        "other",
    ]);
    let inputs = (keys, value_text(), string_text());
    check(1500, &inputs, |(key, value, inner)| {
        let key_file = r#"{"clientid":"c","clientsecret":"s","url":"http://localhost:1",
            "serviceurls":{"AI_API_URL":"http://localhost:1"}}"#;
        let rest = [
            ("service_key_json", key_file),
            ("deployment_models", r#"{"gpt-4o":"http://localhost:1/v2/inference/deployments/d1"}"#),
            ("secret_authentication_tokens", r#"["0123456789abcdef"]"#),
        ];
        let rest = rest.iter().filter(|(name, _)| *name != key);
        let rest: String = rest.map(|(name, value)| format!(",\"{name}\":{value}")).collect();
        for value in [value.clone(), format!("{{{inner}:{value}}}"), format!("[{value}]")] {
            let text = format!("{{\"{key}\":{value}{rest}}}");
            if let Err(problems) = config::from_json(&text, Path::new("nowhere")) {
                prop_assert!(!problems.0.is_empty(), "{}", text);
                prop_assert!(problems.0.iter().all(|p| !p.why.is_empty()), "{}", text);
            }
        }
        Ok(())
    });
}

// ── law 7: every error in every dialect ──────────────────────────────────────────────────────────

/// One of each variant, with this text wherever one goes in.
fn one_of_each(text: &str, status: u16) -> Vec<Error> {
    let s = || text.to_owned();
    let upstream = |code: Option<String>, param: Option<String>| Error::Upstream {
        status,
        code,
        message: s(),
        param,
        retry_after: None,
    };
    vec![
        Error::BadRequest { path: s(), why: s() },
        Error::Refused { path: s(), what: s() },
        Error::Unauthorized,
        Error::UnknownModel { name: s(), known: vec![] },
        Error::UnknownModel { name: s(), known: vec![s(), s()] },
        Error::NoSuchRoute { path: s() },
        Error::WrongMethod { allow: "GET" },
        Error::TooLarge { bytes_max: 7 },
        Error::UnsupportedEncoding { encoding: s() },
        Error::SlowBody,
        Error::Busy { what: "x" },
        upstream(None, None),
        upstream(Some(s()), Some(s())),
        Error::Unreachable { what: s() },
        Error::Timeout { what: s() },
        Error::BadReply { what: s() },
        Error::ClientGone,
        Error::Internal,
        Error::NoSuchResponse { path: "previous_response_id", id: s(), why: "x" },
        Error::NoWebSocket,
        Error::CertificateRefused { host: s(), alert: s() },
    ]
}

/// A new variant does not compile before it is here, and has to be in `one_of_each`.
fn variant(error: &Error) -> usize {
    match error {
        Error::BadRequest { .. } => 0,
        Error::Refused { .. } => 1,
        Error::Unauthorized => 2,
        Error::UnknownModel { .. } => 3,
        Error::NoSuchRoute { .. } => 4,
        Error::WrongMethod { .. } => 5,
        Error::TooLarge { .. } => 6,
        Error::UnsupportedEncoding { .. } => 7,
        Error::SlowBody => 8,
        Error::Busy { .. } => 9,
        Error::Upstream { .. } => 10,
        Error::Unreachable { .. } => 11,
        Error::Timeout { .. } => 12,
        Error::BadReply { .. } => 13,
        Error::ClientGone => 14,
        Error::Internal => 15,
        Error::NoSuchResponse { .. } => 16,
        Error::NoWebSocket => 17,
        Error::CertificateRefused { .. } => 18,
    }
}

#[test]
fn every_error_is_an_error_of_every_vendors_sdk() {
    let mut variants: Vec<_> = one_of_each("", 400).iter().map(variant).collect();
    variants.dedup();
    assert_eq!(variants, (0..19).collect::<Vec<_>>());
    // The classes that the SDKs tell apart.
    let openai = ["invalid_request_error", "permission_error", "rate_limit_error", "server_error"];
    let anthropic = [
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "overloaded_error",
        "timeout_error",
        "api_error",
    ];
    check(300, &("\\PC*|[\\x00-\\x7f]*", any::<u16>(), "[!-~]{1,40}"), |(text, status, id)| {
        for error in one_of_each(&text, status) {
            prop_assert!((400..600).contains(&error.status()), "{error:?}");
            let json: Value =
                serde_json::from_str(&Dialect::OpenAi.error_body(&error, &id)).unwrap();
            prop_assert_eq!(json.as_object().unwrap().len(), 1);
            let inner = json["error"].as_object().unwrap();
            prop_assert_eq!(&inner["message"], &json!(error.to_string()));
            prop_assert!(inner["type"].as_str().is_some_and(|t| openai.contains(&t)), "{json}");
            prop_assert!(inner["param"].is_null() || inner["param"].is_string());
            prop_assert!(inner["code"].is_null() || inner["code"].is_string());
            let json: Value =
                serde_json::from_str(&Dialect::Anthropic.error_body(&error, &id)).unwrap();
            prop_assert_eq!((&json["type"], &json["request_id"]), (&json!("error"), &json!(id)));
            let inner = json["error"].as_object().unwrap();
            prop_assert_eq!(&inner["message"], &json!(error.to_string()));
            prop_assert!(inner["type"].as_str().is_some_and(|t| anthropic.contains(&t)), "{json}");
            let frames = Dialect::Responses.error_frame(&error, &id);
            let frames = String::from_utf8(frames).unwrap();
            let frames: Vec<_> = frames.split_terminator("\n\n").collect();
            let types = ["response.created", "response.failed"];
            prop_assert_eq!(frames.len(), types.len());
            for (n, (frame, name)) in frames.iter().zip(types).enumerate() {
                let data = frame.strip_prefix(&format!("event: {name}\ndata: ")).unwrap();
                let json: Value = serde_json::from_str(data).unwrap();
                prop_assert_eq!(
                    (&json["type"], &json["sequence_number"]),
                    (&json!(name), &json!(n))
                );
                let told = &json["response"]["error"];
                let is_end = n + 1 == types.len();
                let message = if is_end { json!(error.to_string()) } else { Value::Null };
                prop_assert_eq!((&told["message"], told["code"].is_string()), (&message, is_end));
            }
        }
        Ok(())
    });
}
