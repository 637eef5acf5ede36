//! Laws 1 to 3 for every decoder of replies: cut anywhere, brackets, parity.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::chat::fit::Undo;
use sap_ai_core_llm_proxy::chat::{
    Block, Brackets, Event, Format, Open, Request, Role, Seal, Stop, ToolChoice, Turn, Usage, fold,
};
use sap_ai_core_llm_proxy::convert::{Conversion, ForClient};
use sap_ai_core_llm_proxy::dialect::openai_responses::freeform::{self, Freeform};
use sap_ai_core_llm_proxy::dialect::openai_responses::tools::{Origin, ToolKind};
use sap_ai_core_llm_proxy::dialect::openai_responses::{self, Tools};
use sap_ai_core_llm_proxy::dialect::{ReplyHead, ReplyWriter, Target, anthropic, openai_chat};
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::error::Error;
use sap_ai_core_llm_proxy::vault::{Bounds, Vault};
use serde_json::{Map, Value, json};

use crate::corpus::{REPLIES, UPSTREAMS, Upstream, reply};
use crate::support::pass;
use crate::{check, cut, events};

#[test]
fn cut_anywhere_every_decoder_says_the_same() {
    for known in REPLIES.iter().filter(|r| r.is_stream) {
        for upstream in UPSTREAMS.iter() {
            let whole = upstream.streamed([&*known.bytes]);
            let what = format!("{} {}", upstream.family, known.from);
            assert_eq!(upstream.streamed(known.bytes.chunks(1)), whole, "{what}");
            let step = 1 + known.bytes.len() / 12;
            for at in (0..known.bytes.len()).step_by(step) {
                let (head, tail) = known.bytes.split_at(at);
                assert_eq!(upstream.streamed([head, tail]), whole, "{what} cut at {at}");
            }
        }
    }
    check(300, &(reply(true), vec(any::<Index>(), 0..12)), |(bytes, cuts)| {
        for upstream in UPSTREAMS.iter() {
            let whole = upstream.streamed([&*bytes]);
            prop_assert_eq!(upstream.streamed(cut(&bytes, &cuts)), whole, "{}", upstream.family);
        }
        Ok(())
    });
}

#[test]
fn what_is_complete_stays_complete_wherever_the_rest_is_cut() {
    let is_complete = |events: &[Event]| matches!(events.last(), Some(Event::Stop(_)));
    let mut reached = BTreeMap::<&str, usize>::new();
    for known in REPLIES.iter().filter(|r| r.is_stream) {
        for upstream in UPSTREAMS.iter() {
            let bytes = &known.bytes;
            let mut was_complete = false;
            if !is_complete(&upstream.streamed([&**bytes])) {
                continue;
            }
            for at in bytes.len().saturating_sub(600)..bytes.len() {
                let events = upstream.streamed([&bytes[..at]]);
                let what = format!("{} {} until {at}: {events:?}", upstream.family, known.from);
                assert!(!was_complete || is_complete(&events), "{what}");
                was_complete |= is_complete(&events);
            }
            *reached.entry(upstream.family).or_default() += usize::from(was_complete);
        }
    }
    assert!(reached.len() == UPSTREAMS.len() && reached.values().all(|n| *n > 0), "{reached:?}");
}

#[test]
fn whatever_comes_is_in_brackets() {
    let reached = RefCell::new(BTreeMap::<&str, [usize; 6]>::new());
    let note = |family: &'static str, events: &[Event]| {
        let has = |wanted: fn(&Event) -> bool| usize::from(events.iter().any(wanted));
        let new = [
            has(|e| matches!(e, Event::Stop(_))),
            has(|e| matches!(e, Event::Failed(_))),
            has(|e| matches!(e, Event::Open(Open::Text))),
            has(|e| matches!(e, Event::Open(Open::ToolCall { .. }))),
            has(|e| matches!(e, Event::Usage(_))),
            has(|e| matches!(e, Event::Open(Open::Reasoning))),
        ];
        let mut reached = reached.borrow_mut();
        let counts = reached.entry(family).or_default();
        counts.iter_mut().zip(new).for_each(|(count, n)| *count += n);
    };
    check(600, &(reply(true), reply(false)), |(stream, whole)| {
        for upstream in UPSTREAMS.iter() {
            for events in [
                upstream.streamed([&*stream]),
                upstream.whole(&whole),
                // Each where the other is expected.
                upstream.streamed([&*whole]),
                upstream.whole(&stream),
            ] {
                in_brackets(&events)?;
                for mut undo in undos(upstream) {
                    in_brackets(&undone(&mut undo, &events))?;
                }
                note(upstream.family, &events);
            }
        }
        Ok(())
    });
    // Not every vendor's models reason.
    for (family, counts) in reached.into_inner() {
        assert!(counts[..5].iter().all(|n| *n > 10), "{family}: too little of it {counts:?}");
    }
}

/// What has to be undone where nothing was done, and where an answer in JSON was wanted.
fn undos(upstream: &Upstream) -> Vec<Undo> {
    let fit = upstream.dialect.fit();
    let wanted = |schema: &str| Format::Schema {
        name: "n".into(),
        description: None,
        schema: schema.into(),
        is_strict: None,
    };
    let formats =
        [Format::Text, Format::Json, wanted(r#"{"type":"object"}"#), wanted(r#"{"type":"array"}"#)];
    formats.into_iter().map(|format| fit.apply(&mut Request { format, ..hi() })).collect()
}

fn hi() -> Request {
    let turns = vec![Turn { role: Role::User, blocks: vec![Block::text("hi")] }];
    Request { turns, ..Request::default() }
}

fn undone(undo: &mut Undo, events: &[Event]) -> Vec<Event> {
    let mut told = vec![];
    events.iter().for_each(|event| undo.event(event.clone(), &mut told));
    told
}

/// `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`.
fn in_brackets(events: &[Event]) -> Result<(), TestCaseError> {
    prop_assert!(matches!(events.first(), Some(Event::Start { .. })), "{events:?}");
    let Some((last, between)) = events[1..].split_last() else {
        return Err(TestCaseError::fail(format!("{events:?}")));
    };
    prop_assert!(matches!(last, Event::Stop(_) | Event::Failed(_)), "{events:?}");
    let mut is_open = false;
    for (i, event) in between.iter().enumerate() {
        let is_expected = match event {
            Event::Open(_) => !is_open,
            Event::Delta(_) | Event::Seal(_) | Event::Close => is_open,
            Event::Usage(_) => !is_open && i + 1 == between.len(),
            _ => false,
        };
        prop_assert!(is_expected, "{event:?} in {events:?}");
        is_open = matches!(event, Event::Open(_)) || (is_open && *event != Event::Close);
    }
    prop_assert!(!is_open, "{events:?}");
    Ok(())
}

/// What a decoder may say.
#[derive(Debug, Clone)]
enum Say {
    Start(Option<String>),
    Text(String),
    Reasoning(String),
    SealReasoning,
    Call(u64, Option<String>, Option<String>),
    Arguments(u64, String),
    SealCall(u64),
    CloseCall(u64),
    Close,
    Usage,
    Stop(Stop),
    Fail,
    End,
}

fn say() -> impl Strategy<Value = Say> {
    let text = || select(vec!["", "a", " ", "é👋\n"]).prop_map(str::to_owned);
    let id = select(vec![None, Some(""), Some("x"), Some("y")]);
    let name = select(vec![None, Some(""), Some("f"), Some("give_answer")]);
    let json = select(vec![
        "",
        "{}",
        "{\"a\"",
        ":1}",
        "{\"answer\":[1]}",
        " ",
        "{\"input\":\"é\\ud83d",
        "\\ude00\\n\"}",
        "{\"n\":[{}],\"input\":\"\"}",
    ]);
    let key = || 0..3u64;
    let stop = select(vec![Stop::End, Stop::Length, Stop::ToolCalls, Stop::Refusal]);
    let owned = |s: Option<&str>| s.map(str::to_owned);
    prop_oneof![
        2 => select(vec![None, Some(""), Some("r")]).prop_map(move |id| Say::Start(owned(id))),
        6 => text().prop_map(Say::Text),
        5 => text().prop_map(Say::Reasoning),
        2 => Just(Say::SealReasoning),
        6 => (key(), id, name).prop_map(move |(k, i, n)| Say::Call(k, owned(i), owned(n))),
        6 => (key(), json).prop_map(|(k, j)| Say::Arguments(k, j.to_owned())),
        1 => key().prop_map(Say::SealCall),
        3 => key().prop_map(Say::CloseCall),
        2 => Just(Say::Close),
        2 => Just(Say::Usage),
        3 => stop.prop_map(Say::Stop),
        1 => prop_oneof![Just(Say::Fail), Just(Say::End)],
    ]
}

fn said(all: &[Say]) -> Vec<Event> {
    let mut out = Brackets::new("s");
    for say in all {
        match say {
            Say::Start(id) => out.start(id.as_deref()),
            Say::Text(text) => out.text(text),
            Say::Reasoning(text) => out.reasoning(text),
            Say::SealReasoning => out.seal_reasoning(Seal::Claude("s".into())),
            Say::Call(key, id, name) => out.call(*key, id.as_deref(), name.as_deref()),
            Say::Arguments(key, json) => out.arguments(*key, json),
            Say::SealCall(key) => out.seal_call(*key, Seal::Gemini("g".into())),
            Say::CloseCall(key) => out.close_call(*key),
            Say::Close => out.close(),
            Say::Usage => {
                out.usage(Usage { input: 2, cached: 1, cache_written: 0, output: 3, reasoning: 1 })
            }
            Say::Stop(stop) => out.stop(*stop),
            Say::Fail => out.fail(Error::Internal),
            Say::End => out.end(),
        }
    }
    out.end();
    out.drain().collect()
}

#[test]
fn whatever_decoders_say_is_in_brackets() {
    let reached = RefCell::new([0; 4]);
    check(3000, &vec(say(), 0..30), |all| {
        let events = said(&all);
        in_brackets(&events)?;
        // No text is lost, and none is made up.
        let is_end = |s: &Say| matches!(s, Say::Fail | Say::End);
        let until = all.iter().position(is_end).unwrap_or(all.len());
        let texts = |wanted: fn(&Say) -> Option<&str>| {
            all[..until].iter().filter_map(wanted).collect::<String>()
        };
        let found = |wanted: &Open| {
            let mut is_in = false;
            let mut found = String::new();
            for event in &events {
                match event {
                    Event::Open(open) => is_in = open == wanted,
                    Event::Delta(more) if is_in => found.push_str(more),
                    _ => {}
                }
            }
            found
        };
        prop_assert_eq!(
            found(&Open::Text),
            texts(|s| if let Say::Text(t) = s { Some(t) } else { None })
        );
        prop_assert_eq!(
            found(&Open::Reasoning),
            texts(|s| if let Say::Reasoning(t) = s { Some(t) } else { None })
        );
        // Calls have names and ids of their own.
        let calls: Vec<_> = events.iter().filter_map(call_of).collect();
        prop_assert!(calls.iter().all(|(id, name)| !id.is_empty() && !name.is_empty()));
        for upstream in UPSTREAMS.iter().take(1) {
            for mut undo in undos(upstream) {
                in_brackets(&undone(&mut undo, &events))?;
            }
        }
        let mut reached = reached.borrow_mut();
        reached[0] += usize::from(calls.len() > 1);
        reached[1] += usize::from(matches!(events.last(), Some(Event::Stop(_))));
        reached[2] += usize::from(events.iter().any(|e| matches!(e, Event::Seal(_))));
        reached[3] += usize::from(calls.iter().any(|(_, name)| *name == "give_answer"));
        Ok(())
    });
    let reached = reached.into_inner();
    assert!(reached.iter().all(|n| *n > 150), "the generator reached too little: {reached:?}");
}

fn call_of(event: &Event) -> Option<(&str, &str)> {
    match event {
        Event::Open(Open::ToolCall { id, name }) => Some((id, name)),
        _ => None,
    }
}

// ── law 3: parity ────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_stream_put_together_is_the_whole_reply() {
    check(2000, &vec(say(), 0..30), |all| {
        let events = said(&all);
        parity(&events)?;
        for upstream in UPSTREAMS.iter().take(1) {
            undos(upstream).iter_mut().try_for_each(|undo| parity(&undone(undo, &events)))?;
        }
        Ok(())
    });
    check(200, &(reply(true), reply(false)), |(stream, whole)| {
        for upstream in UPSTREAMS.iter() {
            for events in [upstream.streamed([&*stream]), upstream.whole(&whole)] {
                for mut undo in undos(upstream) {
                    parity(&undone(&mut undo, &events))?;
                }
            }
        }
        Ok(())
    });
}

/// Of a deployment.
const MARK: &str = "0a1b2c3d";

fn head() -> ReplyHead {
    ReplyHead { id: "1".into(), created: 7, model: "the \"name\"".into() }
}

fn parity(told: &[Event]) -> Result<(), TestCaseError> {
    parity_of_messages(told)?;
    responses_writers().iter().try_for_each(|writer| parity_of_responses(told, writer))?;
    for wants_usage in [true, false] {
        let writer = openai_chat::Writer { wants_usage };
        let mut stream = writer.stream(&head());
        let mut out = vec![];
        told.iter().for_each(|event| stream.event(event, &mut out));
        let out = String::from_utf8(out).unwrap();
        let frames = events(&out);
        let is_complete = matches!(told.last(), Some(Event::Stop(_)));
        let dones = frames.iter().filter(|f| **f == "done").count();
        prop_assert_eq!(dones, usize::from(is_complete), "{}", out);
        prop_assert!(!is_complete || frames.last() == Some(&json!("done")), "{}", out);
        let reply = match fold(told.to_vec()) {
            Ok(reply) => reply,
            Err(_) => {
                prop_assert!(!is_complete && !out.contains("\"finish_reason\":\""), "{}", out);
                continue;
            }
        };
        let whole: Value = serde_json::from_slice(&writer.whole(&reply, &head())).unwrap();
        let mut put = put_together(&frames[..frames.len() - 1])?;
        if wants_usage {
            let usage = put.as_object_mut().unwrap().remove("usage").unwrap();
            prop_assert!(whole.get("usage").is_none_or(|told| *told == usage), "{}", out);
        }
        let mut expected = whole;
        expected.as_object_mut().unwrap().remove("usage");
        expected["choices"][0]["message"].as_object_mut().unwrap().remove("refusal");
        prop_assert_eq!(put, expected, "{}", out);
    }
    Ok(())
}

/// The same for Anthropic's Messages.
fn parity_of_messages(told: &[Event]) -> Result<(), TestCaseError> {
    let mut stream = anthropic::Writer.stream(&head());
    let mut out = vec![];
    told.iter().for_each(|event| stream.event(event, &mut out));
    let out = String::from_utf8(out).unwrap();
    let mut frames = vec![];
    for frame in out.split_terminator("\n\n") {
        let (name, data) = frame.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        prop_assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{}", out);
        frames.push(data);
    }
    let ends = frames.iter().filter(|f| f["type"] == "message_stop").count();
    match fold(told.to_vec()) {
        Ok(reply) => {
            prop_assert_eq!(ends, 1, "{}", out);
            let whole: Value =
                serde_json::from_slice(&anthropic::Writer.whole(&reply, &head())).unwrap();
            prop_assert_eq!(put_together_messages(&frames)?, whole, "{}", out);
        }
        Err(_) => {
            prop_assert!(!frames.iter().any(|f| f["type"] == "message_delta") && ends == 0, "{out}")
        }
    }
    Ok(())
}

/// A client of the Responses API that wants little, and one that wants all and has tools of its own kinds.
fn responses_writers() -> [openai_responses::Writer; 2] {
    let writer = |body: &str, tools| {
        let body = Envelope::parse(body.as_bytes().to_vec()).unwrap();
        openai_responses::Writer::new(&body, tools).unwrap()
    };
    let origin = |name: &str, namespace: Option<&str>, is_custom| {
        let namespace = namespace.map(str::to_owned);
        let kind = if is_custom { ToolKind::Custom } else { ToolKind::Function };
        Origin { name: name.to_owned(), namespace, kind }
    };
    let tools = Tools::new(vec![
        ("f".to_owned(), origin("the \"patch\"", None, true)),
        ("give_answer".to_owned(), origin("g", Some("n"), false)),
    ]);
    let all = r#"{"reasoning":{"summary":"auto"},"include":["reasoning.encrypted_content"]}"#;
    [writer("{}", Tools::default()), writer(all, tools)]
}

/// The same for OpenAI's Responses.
fn parity_of_responses(
    told: &[Event],
    writer: &openai_responses::Writer,
) -> Result<(), TestCaseError> {
    let mut stream = writer.stream(&head());
    let mut out = vec![];
    for event in told {
        match event {
            Event::Failed(error) => stream.failed(error, &mut out),
            event => stream.event(event, &mut out),
        }
    }
    let kept = stream.kept();
    let length = out.len();
    stream.failed(&Error::Internal, &mut out);
    prop_assert_eq!(out.len(), length, "fails after its end");
    let out = String::from_utf8(out).unwrap();
    let mut frames = vec![];
    for frame in out.split_terminator("\n\n") {
        let (name, data) = frame.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        prop_assert_eq!(name.strip_prefix("event: "), data["type"].as_str(), "{}", out);
        prop_assert_eq!(&data["sequence_number"], frames.len(), "{}", out);
        frames.push(data);
    }
    match fold(told.to_vec()) {
        Ok(reply) => {
            let whole = writer.whole(&reply, &head());
            prop_assert_eq!(kept.as_deref(), Some(&*whole));
            let whole: Value = serde_json::from_slice(&whole).unwrap();
            prop_assert_eq!(put_together_responses(&frames)?, whole, "{}", out);
        }
        Err(_) if frames.is_empty() => {
            prop_assert!(!told.iter().any(|e| matches!(e, Event::Open(_))));
        }
        Err(error) => {
            prop_assert_eq!(kept, None);
            let failed = put_together_responses(&frames)?;
            prop_assert_eq!(&failed["status"], "failed");
            prop_assert_eq!(&failed["error"]["message"], &error.to_string());
        }
    }
    Ok(())
}

/// As OpenAI's SDKs do it, which take every item in its place, and what their types say. All that is told of an item is told
/// between its beginning and its end.
fn put_together_responses(frames: &[Value]) -> Result<Value, TestCaseError> {
    let (Some((first, rest)), Some(last)) = (frames.split_first(), frames.last()) else {
        return Err(TestCaseError::fail("nothing at all"));
    };
    prop_assert_eq!(&first["type"], "response.created");
    prop_assert_eq!(&rest[0]["type"], "response.in_progress");
    prop_assert_eq!(&rest[0]["response"], &first["response"]);
    prop_assert_eq!(&first["response"]["status"], "in_progress");
    let end = last["response"]["status"].as_str().unwrap();
    prop_assert_eq!(&last["type"], &format!("response.{end}"));
    let mut response = first["response"].clone();
    let mut open: Option<Value> = None;
    for frame in &rest[1..rest.len() - 1] {
        let output = response["output"].as_array_mut().unwrap();
        prop_assert_eq!(&frame["output_index"], output.len(), "{}", frame);
        let kind = frame["type"].as_str().unwrap();
        if kind == "response.output_item.added" {
            prop_assert!(open.is_none(), "{}", frame);
            prop_assert!(!output.iter().any(|item| item["id"] == frame["item"]["id"]));
            open = Some(frame["item"].clone());
            continue;
        }
        let Some(item) = &mut open else {
            return Err(TestCaseError::fail(format!("nothing is open: {frame}")));
        };
        if kind == "response.output_item.done" {
            same_item(item, &frame["item"])?;
            output.push(frame["item"].clone());
            open = None;
            continue;
        }
        prop_assert_eq!(&frame["item_id"], &item["id"], "{}", frame);
        accumulate_item(item, kind, frame)?;
    }
    let mut output = response["output"].take().as_array().unwrap().clone();
    if let Some(mut item) = open {
        // Half a call is not said to be done.
        let is_call = item["type"].as_str().unwrap().ends_with("_call");
        prop_assert!(end == "failed" || end == "incomplete" && is_call, "{}", item);
        let listed = &last["response"]["output"][output.len()];
        prop_assert_eq!(&listed["status"], "incomplete");
        if item["type"] == "custom_tool_call" && item["input"] == "" {
            item["input"] = listed["input"].clone();
        }
        same_item(&item, listed)?;
        output.push(listed.clone());
    } else {
        let is_call = |item: &Value| item["type"].as_str().unwrap().ends_with("_call");
        prop_assert!(output.iter().all(|item| !is_call(item) || item["status"] == "completed"));
    }
    let mut response = last["response"].clone();
    let told = std::mem::replace(&mut response["output"], json!(output));
    prop_assert_eq!(&told, &response["output"]);
    Ok(response)
}

/// Whether what was told of an item bit by bit is what it came to.
fn same_item(told: &Value, done: &Value) -> Result<(), TestCaseError> {
    let mut told = told.clone();
    let status = done["status"].as_str();
    prop_assert!(matches!(status, None | Some("completed" | "incomplete")), "{}", done);
    for key in ["status", "encrypted_content"] {
        match done.get(key) {
            Some(value) => told[key] = value.clone(),
            None => prop_assert!(told.get(key).is_none(), "{}", told),
        }
    }
    prop_assert_eq!(&told, done);
    Ok(())
}

fn accumulate_item(item: &mut Value, kind: &str, frame: &Value) -> Result<(), TestCaseError> {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{frame}")).to_owned();
    let (list, place) = match kind {
        _ if kind.starts_with("response.reasoning_summary") => ("summary", "summary_index"),
        _ => ("content", "content_index"),
    };
    let (holder, key) = match kind {
        "response.content_part.added" | "response.reasoning_summary_part.added" => {
            let parts = item[list].as_array_mut().unwrap();
            prop_assert_eq!(&frame[place], parts.len(), "{}", frame);
            parts.push(frame["part"].clone());
            return Ok(());
        }
        "response.content_part.done" | "response.reasoning_summary_part.done" => {
            prop_assert_eq!(&frame[place], 0);
            prop_assert_eq!(&item[list][0], &frame["part"], "{}", frame);
            return Ok(());
        }
        "response.output_text.delta"
        | "response.output_text.done"
        | "response.reasoning_summary_text.delta"
        | "response.reasoning_summary_text.done" => {
            prop_assert_eq!(&frame[place], 0);
            prop_assert_eq!(item[list].as_array().unwrap().len(), 1, "{}", frame);
            (&mut item[list][0], "text")
        }
        "response.function_call_arguments.delta" | "response.function_call_arguments.done" => {
            prop_assert_eq!(&item["type"], "function_call");
            (item, "arguments")
        }
        "response.custom_tool_call_input.delta" | "response.custom_tool_call_input.done" => {
            prop_assert_eq!(&item["type"], "custom_tool_call");
            (item, "input")
        }
        _ => return Err(TestCaseError::fail(format!("unknown: {frame}"))),
    };
    let known = text(&holder[key]);
    if kind.ends_with(".delta") {
        prop_assert!(frame["delta"] != "", "{}", frame);
        holder[key] = json!(known + &text(&frame["delta"]));
        return Ok(());
    }
    // Where a text is said in an odd way, only its end says it.
    prop_assert!(known == text(&frame[key]) || key == "input" && known.is_empty(), "{}", frame);
    holder[key] = frame[key].clone();
    Ok(())
}

/// A text as a model may write it: with or without escapes, among other arguments.
#[test]
fn a_freeform_text_is_the_same_wherever_it_is_cut() {
    let escaped = |text: &str| {
        let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        format!("\"{}\"", units.collect::<String>())
    };
    let other = || select(vec!["1", "null", "\"\\\"}\"", "{\"input\":\"no\"}", "[[],\"]\"]", "{}"]);
    let others = || vec(("[a-h \\\\\"]{0,5}", other()), 0..3);
    let space = || select(vec!["", " ", "\n\t"]);
    let inputs = (
        "\\PC{0,20}|[\\x00-\\x7f😀]{0,20}",
        any::<bool>(),
        (others(), others()),
        (space(), space()),
        vec(any::<Index>(), 0..8),
    );
    let escapes_cut = RefCell::new(0);
    check(3000, &inputs, |(text, is_escaped, (before, after), (space, space2), cuts)| {
        let value = if is_escaped { escaped(&text) } else { json!(text).to_string() };
        let entry = |(key, value): &(String, &str)| format!("{}{space}:{value}", json!(key));
        let mut entries: Vec<_> = before.iter().map(entry).collect();
        entries.push(format!("{space2}\"input\"{space}:{space2}{value}"));
        entries.extend(after.iter().map(entry));
        let arguments = format!("{space}{{{}{space2}}}", entries.join(","));
        let pushed = |pieces: &[&[u8]]| {
            let (mut freeform, mut found) = (Freeform::default(), String::new());
            let pieces = pieces.iter().map(|piece| std::str::from_utf8(piece).unwrap());
            pieces.for_each(|piece| freeform.push(piece, &mut found));
            found
        };
        prop_assert_eq!(&freeform::text(&arguments), &text);
        prop_assert_eq!(&freeform::text(&freeform::arguments(&text)), &text);
        let mut ends: Vec<_> = cuts.iter().map(|at| at.index(arguments.len() + 1)).collect();
        ends.retain(|at| arguments.is_char_boundary(*at));
        ends.extend([0, arguments.len()]);
        ends.sort_unstable();
        let bytes = arguments.as_bytes();
        let pieces: Vec<_> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        prop_assert_eq!(&pushed(&pieces), &text);
        // What has come is the beginning of it, whatever is to come.
        prop_assert!(text.starts_with(&pushed(&pieces[..1])), "{}", arguments);
        let in_escape = |at: &usize| arguments[..*at].rfind('\\').is_some_and(|b| at - b < 6);
        *escapes_cut.borrow_mut() += ends.iter().filter(|at| in_escape(at)).count();
        Ok(())
    });
    assert!(escapes_cut.into_inner() > 1000, "too few escapes were cut");
}

/// As Anthropic's SDK for Python does it, which takes every block in its place.
fn put_together_messages(frames: &[Value]) -> Result<Value, TestCaseError> {
    let mut message = frames[0]["message"].clone();
    let mut open: Option<String> = None;
    for frame in &frames[1..] {
        let content = message["content"].as_array_mut().unwrap();
        let (index, count) = (frame["index"].as_u64(), content.len() as u64);
        match frame["type"].as_str().unwrap() {
            "content_block_start" => {
                prop_assert!(open.is_none() && index == Some(count), "{frame}");
                content.push(frame["content_block"].clone());
                open = Some(String::new());
            }
            "content_block_delta" => {
                prop_assert!(open.is_some() && index == Some(count - 1), "{frame}");
                let (block, delta) = (content.last_mut().unwrap(), &frame["delta"]);
                let key = match delta["type"].as_str().unwrap() {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "signature_delta" => "signature",
                    _ => {
                        let json = delta["partial_json"].as_str().unwrap();
                        open.as_mut().unwrap().push_str(json);
                        continue;
                    }
                };
                let known = block[key].as_str().unwrap_or_else(|| panic!("{frame}")).to_owned();
                block[key] = json!(known + delta[key].as_str().unwrap());
            }
            "content_block_stop" => {
                prop_assert!(open.is_some() && index == Some(count - 1), "{frame}");
                let arguments = open.take().unwrap();
                if let Ok(input @ Value::Object(_)) = serde_json::from_str(&arguments) {
                    content.last_mut().unwrap()["input"] = input;
                }
            }
            "message_delta" => {
                prop_assert!(open.is_none(), "{frame}");
                message["stop_reason"] = frame["delta"]["stop_reason"].clone();
                message["usage"] = frame["usage"].clone();
            }
            kind => prop_assert_eq!(kind, "message_stop"),
        }
    }
    Ok(message)
}

/// As the SDK of OpenAI for Python does it.
fn put_together(frames: &[Value]) -> Result<Value, TestCaseError> {
    let mut message = Map::from_iter([("content".to_owned(), Value::Null)]);
    let mut whole = json!({"choices": [{"index": 0, "logprobs": null, "finish_reason": null}]});
    for frame in frames {
        for key in ["id", "created", "model"] {
            prop_assert!(whole.get(key).is_none_or(|known| *known == frame[key]), "{}", frame);
            whole[key] = frame[key].clone();
        }
        prop_assert_eq!(&frame["object"], "chat.completion.chunk");
        if let Some(usage) = frame.get("usage").filter(|u| !u.is_null()) {
            prop_assert_eq!(&frame["choices"], &json!([]));
            whole["usage"] = usage.clone();
            continue;
        }
        let choice = &frame["choices"][0];
        prop_assert!(whole["choices"][0]["finish_reason"].is_null(), "after its end: {}", frame);
        whole["choices"][0]["finish_reason"] = choice["finish_reason"].clone();
        accumulate(&mut message, choice["delta"].as_object().unwrap());
    }
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        call.as_object_mut().unwrap().remove("index");
    }
    whole["object"] = json!("chat.completion");
    whole["choices"][0]["message"] = Value::Object(message);
    Ok(whole)
}

fn accumulate(known: &mut Map<String, Value>, delta: &Map<String, Value>) {
    for (key, new) in delta {
        let old = known.entry(key).or_insert(Value::Null);
        match (old, new) {
            (old @ Value::Null, new) if !new.is_array() => *old = new.clone(),
            (old, _) if key == "index" || key == "type" => *old = new.clone(),
            (Value::String(old), Value::String(new)) => old.push_str(new),
            (Value::Object(old), Value::Object(new)) => accumulate(old, new),
            (old, Value::Array(items)) => {
                if old.is_null() {
                    *old = json!([]);
                }
                let old = old.as_array_mut().unwrap();
                for item in items {
                    let at = item["index"].as_u64().unwrap() as usize;
                    assert!(at <= old.len(), "{item} is out of order");
                    if at == old.len() {
                        old.push(json!({}));
                    }
                    accumulate(old[at].as_object_mut().unwrap(), item.as_object().unwrap());
                }
            }
            (old, new) => *old = new.clone(),
        }
    }
}

// ── all of it, as the relay has it ───────────────────────────────────────────────────────────────

#[test]
fn a_converted_reply_is_complete_or_an_error() {
    let bounds = Bounds { entries_max: 20, bytes_max: 100_000, age_max: Duration::from_secs(60) };
    let vault = Arc::new(Vault::new(bounds));
    let formats = select(vec![Format::Text, Format::Json]);
    let choices = select(vec![None, Some(ToolChoice::None), Some(ToolChoice::Auto)]);
    let inputs = (reply(true), reply(false), formats, choices, any::<bool>());
    let reached = RefCell::new(BTreeMap::<&str, [usize; 4]>::new());
    check(300, &inputs, |(stream, whole, format, tool_choice, wants_usage)| {
        for upstream in UPSTREAMS.iter() {
            let mut request =
                Request { format: format.clone(), tool_choice: tool_choice.clone(), ..hi() };
            let target = Target { model: &upstream.models[0], is_stream: true };
            let writer = Box::new(openai_chat::Writer { wants_usage });
            let client = ForClient { writer, head: head(), keeping: None };
            let (_, conversion) = Conversion::prepare(
                upstream.grammar,
                &mut request,
                &target,
                false,
                client,
                vault.clone(),
            )
            .unwrap();
            let (out, error) = pass([&*stream], &mut conversion.stream(MARK));
            let out = String::from_utf8(out).unwrap();
            let frames = events(&out);
            let dones = frames.iter().filter(|f| **f == "done").count();
            prop_assert_eq!(dones, usize::from(error.is_none()), "{}", out);
            let reply = conversion.whole(&whole, MARK);
            if let Ok((body, _)) = &reply {
                let body: Value = serde_json::from_slice(body).unwrap();
                prop_assert!(body["choices"][0]["finish_reason"].is_string(), "{}", body);
            }
            for error in error.iter().chain(reply.as_ref().err()) {
                prop_assert!((400..600).contains(&error.status()), "{error:?}");
            }
            let mut reached = reached.borrow_mut();
            let counts = reached.entry(upstream.family).or_default();
            let new = [error.is_some(), error.is_none(), reply.is_err(), reply.is_ok()];
            counts.iter_mut().zip(new).for_each(|(count, is)| *count += usize::from(is));
        }
        Ok(())
    });
    for (family, counts) in reached.into_inner() {
        assert!(counts.iter().all(|n| *n > 5), "{family}: too little of it {counts:?}");
    }
}
