//! Laws 1, 5 and 6 for what passes of the Responses API.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sap_ai_core_llm_proxy::dialect::openai_responses::tools::{Origin, ToolKind};
use sap_ai_core_llm_proxy::dialect::openai_responses::{PassStream, Tools, marks, pass_reply};
use sap_ai_core_llm_proxy::envelope::{Envelope, items, quoted};
use sap_ai_core_llm_proxy::families::{Passes, of_model};
use serde_json::{Map, Value, json};

use crate::support::pass;
use crate::{check, cut, object_text, value_text, wild_bytes};

const MARK: &str = "0a1b2c3d";

fn tools() -> Tools {
    let origin = |is_custom: bool| Origin {
        name: "t".into(),
        namespace: (!is_custom).then(|| "n".into()),
        kind: if is_custom { ToolKind::Custom } else { ToolKind::Function },
    };
    Tools::new(vec![("t".into(), origin(true)), ("n__t".into(), origin(false))])
}

/// As the relay has it: for a model, and then for a deployment. Gives what is dropped, too.
fn upstream(body: &str) -> (Vec<u8>, usize) {
    let service = of_model("gpt-5").service.as_ref().unwrap();
    let Passes::Responses { edit } = service.responses.unwrap().grammar.passes else { panic!() };
    let mut body = Envelope::parse(body.into()).unwrap();
    let Ok((dropped, _)) = edit(&mut body, "gpt-5") else { return (vec![], 0) };
    let body = body.into_bytes();
    let (body, foreign) = marks::body_for(&body, MARK);
    (body.into_owned(), dropped.len() + foreign.len())
}

#[test]
fn a_mark_goes_in_and_comes_off() {
    let id = "[a-z]{0,5}_?[0-9a-f]{8}_[a-z]{0,3}|[a-z]{1,4}_\\PC{0,9}|\\PC{1,9}";
    let ids = (id, "[0-9a-f]{8}", "[A-Za-z0-9+/=_-]{0,20}");
    check(1000, &ids, |(id, mark, content)| {
        let marked = marks::marked(&id, &mark);
        prop_assert_eq!(marks::unmarked(&marked), Some((&*mark, id.clone())));
        // In JSON as well, there and back.
        let reply = json!({"object": "response", "id": id, "output": [
            {"type": "reasoning", "id": id, "encrypted_content": content},
        ]});
        let reply = reply.to_string().into_bytes();
        let (reply, _) = pass_reply(reply, "m", &Tools::default(), &mark).unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        prop_assert_eq!(&reply["id"], &marked);
        let body = json!({"previous_response_id": reply["id"], "input": reply["output"]});
        let body = body.to_string();
        let owner = marks::owner(body.as_bytes()).unwrap();
        prop_assert_eq!((&owner.mark, owner.bound_by.is_some()), (&mark, true));
        let (body, dropped) = marks::body_for(body.as_bytes(), &mark);
        let body: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(&body["previous_response_id"], &id);
        prop_assert_eq!(&body["input"][0]["id"], &id);
        prop_assert_eq!(&body["input"][0]["encrypted_content"], &content);
        prop_assert!(dropped.is_empty());
        Ok(())
    });
}

#[test]
fn untouched_values_are_the_very_bytes() {
    let inputs = (object_text(), value_text(), select(vec!["", "fc_0a1b2c3d_1", "1"]));
    check(300, &inputs, |((text, entries), value, id)| {
        let (open, rest) = text.split_once('{').unwrap();
        let comma = if entries.is_empty() { "" } else { "," };
        let item = format!(
            r#"{open}{{"type":"custom_tool_call","id":"{id}","name":"t","call_id":"c","input":"x"{comma}{rest}"#
        );
        let body = format!(r#"{{"model":"m","tools":[],"other":{value},"input":[{text},{item}]}}"#);
        let (body, dropped) = upstream(&body);
        prop_assert_eq!(dropped, 0);
        let read: Map<String, Value> = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(&read["input"][1]["type"], "function_call");
        let body = Envelope::parse(body).unwrap();
        prop_assert_eq!(body.raw("other"), Some(value.as_bytes()));
        let input = items(body.raw("input").unwrap()).unwrap();
        prop_assert_eq!(input[0], text.trim().as_bytes());
        let call = Envelope::parse(input[1].to_vec()).unwrap();
        for (key, value) in &entries {
            prop_assert_eq!(call.raw(key), Some(value.as_bytes()));
        }
        // And back.
        let reply = format!(
            r#"{{"object":"response","output":[{text},{}],"other":{value}}}"#,
            String::from_utf8_lossy(input[1])
        );
        let (reply, _) = pass_reply(reply.into_bytes(), "m", &tools(), MARK).unwrap();
        let reply = Envelope::parse(reply).unwrap();
        prop_assert_eq!(reply.raw("other"), Some(value.as_bytes()));
        let output = items(reply.raw("output").unwrap()).unwrap();
        prop_assert_eq!(output[0], text.trim().as_bytes());
        let call = Envelope::parse(output[1].to_vec()).unwrap();
        prop_assert_eq!(call.raw("type"), Some(&br#""custom_tool_call""#[..]));
        prop_assert_eq!(call.raw("input"), Some(&br#""x""#[..]));
        for (key, value) in &entries {
            prop_assert_eq!(call.raw(key), Some(value.as_bytes()));
        }
        Ok(())
    });
}

/// A text goes up as arguments, and comes back as the same text, in whatever pieces.
#[test]
fn a_tools_text_is_the_same_there_and_back() {
    let inputs = ("(?s).{0,40}|\\PC{0,20}", vec(any::<Index>(), 0..6), vec(any::<Index>(), 0..8));
    let pieces_told = Cell::new(0);
    check(400, &inputs, |(text, pieces, cuts)| {
        let call = json!({"type": "custom_tool_call", "name": "t", "call_id": "c", "input": text});
        let (body, _) = upstream(&json!({"input": [call]}).to_string());
        let body: Value = serde_json::from_slice(&body).unwrap();
        let arguments = body["input"][0]["arguments"].as_str().unwrap();
        let read: Value = serde_json::from_str(arguments).unwrap();
        prop_assert_eq!(&read, &json!({"input": text}));

        let mut ends: Vec<_> = pieces.iter().map(|at| at.index(arguments.len() + 1)).collect();
        ends.extend([0, arguments.len()]);
        ends.retain(|at| arguments.is_char_boundary(*at));
        ends.sort_unstable();
        let item = |arguments: &str| json!({"type": "function_call", "id": "fc_1", "name": "t", "call_id": "c", "arguments": arguments});
        let event = |kind: &str, rest: Value| {
            let head = json!({"type": kind, "output_index": 0, "item_id": "fc_1"});
            let mut event = head.as_object().unwrap().clone();
            event.extend(rest.as_object().unwrap().clone());
            format!("data: {}\n\n", Value::from(event))
        };
        let mut stream = event("response.output_item.added", json!({"item": item("")}));
        for at in ends.windows(2) {
            let delta = &arguments[at[0]..at[1]];
            stream += &event("response.function_call_arguments.delta", json!({"delta": delta}));
        }
        let whole = json!({"arguments": arguments});
        stream += &event("response.function_call_arguments.done", whole);
        stream += &event("response.output_item.done", json!({"item": item(arguments)}));
        let response = json!({"object": "response", "output": [item(arguments)]});
        stream += &event("response.completed", json!({"response": response}));

        let mut passing = PassStream::new("m", &tools(), MARK);
        let (out, error) = pass(cut(stream.as_bytes(), &cuts), &mut passing);
        prop_assert_eq!(error, None);
        let out = String::from_utf8(out).unwrap();
        let events = out.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = events.map(|data| serde_json::from_str(data).unwrap()).collect();
        let deltas = events.iter().filter_map(|event| event["delta"].as_str());
        prop_assert_eq!(deltas.collect::<String>(), &*text);
        let [.., done, item, completed] = &*events else { panic!("{out}") };
        prop_assert_eq!(&done["input"], &text);
        prop_assert_eq!(&item["item"]["input"], &text);
        prop_assert_eq!(&completed["response"]["output"][0]["input"], &text);
        prop_assert_eq!(&item["item"]["id"], "ctc_0a1b2c3d_1");
        prop_assert!(!out.contains("arguments"), "{}", out);
        pieces_told.set(pieces_told.get() + ends.len());
        Ok(())
    });
    assert!(pieces_told.get() > 1000);
}

/// What AI Core says in streams, in any order, and what it does not.
fn wild_stream() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"data: ",
        b"\n\n",
        b"\n\n",
        b"\n",
        b"\r",
        b"{\"type\":\"response.output_text.delta\",",
        b"{\"type\":\"response.function_call_arguments.delta\",\"output_index\":0,\"delta\":\"{\"",
        b"{\"type\":\"response.function_call_arguments.done\",\"output_index\":0",
        b"{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\",\"name\":\"t\"}",
        b"{\"type\":\"response.output_item.done\",\"output_index\":0",
        b"{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}",
        b"{\"type\":\"response.in_progress\"",
        b"{\"type\":\"response.failed\"",
        b"{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"a\"}}",
        b"{\"type\":\"response.completed\"",
        b"{\"type\":\"response.incomplete\",\"response\":{\"usage\":{\"input_tokens\":1}}",
        b"{\"type\":\"error\",\"error\":{\"code\":\"too_many_requests\"}",
        b"{\"type\":\"a b\"",
        b",\"item_id\":\"fc_1\"",
        b",\"item_id\":\"",
        b",\"sequence_number\":7",
        b"}",
        b"}\n\ndata: ",
        b"}\n\ndata: ",
        b"[DONE]",
        b"\xff",
    ];
    let events: Vec<&[u8]> = vec![
        b"{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}",
        b"{\"type\":\"response.in_progress\"}",
        b"{\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"sequence_number\":7}",
        b"{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\",\"name\":\"t\"}}",
        b"{\"type\":\"response.function_call_arguments.delta\",\"output_index\":0,\"delta\":\"{\"}",
        b"{\"type\":\"response.failed\",\"response\":{\"id\":\"resp_1\",\"error\":null}}",
        b"{\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"invalid_prompt\"}}}",
        b"{\"type\":\"response.completed\"}",
        b"{\"type\":\"response.cancelled\"}",
        b"{\"type\":\"error\",\"error\":{\"code\":\"too_many_requests\"}}",
        b"[DONE]",
        b": a comment",
    ];
    let event = select(events).prop_map(|event| [b"data: ", event, b"\n\n"].concat());
    let words = vec(select(words), 0..40).prop_map(|words| words.concat());
    let events = vec(event, 0..8).prop_map(|events| events.concat());
    prop_oneof![
        wild_bytes(),
        words.clone(),
        events.clone(),
        (events, words).prop_map(|(a, b)| [a, b].concat())
    ]
}

#[test]
fn whatever_comes_is_events_and_one_end() {
    let inputs = (wild_stream(), vec(any::<Index>(), 0..5), "\\PC*");
    let ends = Cell::new([0; 3]);
    check(3000, &inputs, |(bytes, cuts, name)| {
        let shown = |chunks: Vec<&[u8]>| {
            let mut stream = PassStream::new(&name, &tools(), MARK);
            let (mut out, error) = pass(chunks, &mut stream);
            let (is_done, has_begun) = (error.is_none(), !out.is_empty());
            if let Some(error) = error.filter(|_| has_begun) {
                sap_ai_core_llm_proxy::dialect::Passing::failed(&mut stream, &error, &mut out);
            }
            (out, is_done, has_begun)
        };
        let (out, is_done, has_begun) = shown(vec![&bytes]);
        prop_assert_eq!(&shown(cut(&bytes, &cuts)).0, &out);
        let mut kinds = vec![];
        let lines: Vec<_> = out.split(|b| *b == b'\n').collect();
        for event in lines.chunks(3).filter(|lines| lines.len() == 3) {
            let kind = event[0].strip_prefix(b"event: ");
            prop_assert!(kind.is_some() && event[1].starts_with(b"data: "), "{:?}", event);
            prop_assert!(event[2].is_empty() && !event[1].contains(&b'\r'), "{:?}", event);
            kinds.extend(kind);
        }
        let ends_stream = |kind: &&&[u8]| {
            let kind = String::from_utf8_lossy(kind);
            ["completed", "incomplete", "failed", "cancelled"]
                .iter()
                .any(|word| kind == format!("response.{word}"))
        };
        let found = kinds.iter().filter(ends_stream).count();
        prop_assert!(found <= 1 && (found == 0 || ends_stream(&kinds.last().unwrap())));
        prop_assert!(!is_done || found == 1);
        let mut reached = ends.get();
        reached[0] += usize::from(is_done);
        reached[1] += usize::from(!is_done && found == 1);
        reached[2] += usize::from(has_begun && kinds.len() > 2);
        ends.set(reached);
        Ok(())
    });
    assert!(ends.get().iter().all(|n| *n > 50), "the generator: {:?}", ends.get());
}

#[test]
fn nothing_panics_whatever_comes() {
    let keys = select(vec!["input", "tools", "tool_choice", "include", "previous_response_id"]);
    let words = select(vec![
        r#"[{"type":"custom_tool_call","input":7}]"#,
        r#"[{"type":"reasoning","encrypted_content":null},{"role":7,"id":"\u006d"}]"#,
        r#"[{"type":"namespace","name":"n","tools":[{"type":"namespace","tools":[1]},{"type":"custom"}]}]"#,
        r#"{"type":"allowed_tools","tools":[{"type":"custom"},{}]}"#,
        r#"{"type":"custom"}"#,
    ]);
    let value = prop_oneof![value_text(), words.prop_map(str::to_owned)];
    check(1500, &(keys, value, wild_bytes()), |(key, value, bytes)| {
        let (body, _) = upstream(&format!("{{{}:{value}}}", quoted(key)));
        prop_assert!(body.is_empty() || serde_json::from_slice::<Value>(&body).is_ok());
        let _ = marks::body_for(&bytes, MARK);
        let _ = pass_reply(bytes, "m", &tools(), MARK);
        Ok(())
    });
}
