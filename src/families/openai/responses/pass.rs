//! Requests of clients of the Responses API, as the client wrote them, but for what AI Core refuses of them (dossier 5a):
//! tools other than functions, items of the input that only OpenAI's own servers know, sampling. What needs no edit stays
//! verbatim.
//!
//! Left open by the dossier: which fields of OpenAI's API AI Core does not know; what it refuses besides these is healed.

mod items;
mod tools;

use std::borrow::Cow;

use super::super::{Reasoning, SAMPLING};
use crate::envelope::{self, Envelope, field, header_safe, listed};
use crate::error::Error;
use crate::families::{Dropped, WithTools};

/// Makes a client's request one that AI Core takes. Gives what it had to leave out, and how the client's tools are called
/// upstream.
pub fn edit(body: &mut Envelope, model: &str) -> Result<WithTools, Error> {
    let mut lost = Lost::default();
    for key in UNKNOWN.iter().filter(|key| body.remove(key)) {
        lost.add(*key);
    }
    settle_sampling(body, model, &mut lost);
    let tools = tools::settle(body, &mut lost)?;
    items::settle(body, &mut lost);
    Ok((lost.0, tools))
}

/// What AI Core does not know.
const UNKNOWN: &[&str] = &["client_metadata"];
/// Asks for probabilities, which are sampling's.
const LOGPROBS: &[u8] = br#""message.output_text.logprobs""#;

/// Left open: gpt-5.1 and later take sampling parameters while they do not reason, by the vendor's rule.
fn settle_sampling(body: &mut Envelope, model: &str, lost: &mut Lost) {
    let reasoning = Reasoning::of(model);
    let effort = body.raw("reasoning").and_then(|reasoning| field(reasoning, "effort"));
    if !reasoning.is_on() || (reasoning.is_from((5, 1)) && effort == Some(b"\"none\"")) {
        return;
    }
    for key in SAMPLING.iter().filter(|key| body.remove(key)) {
        lost.add(*key);
    }
    let Some(mut include) = body.raw("include").and_then(envelope::items) else { return };
    let count = include.len();
    include.retain(|wish| *wish != LOGPROBS);
    if include.len() < count {
        let include = listed(&include);
        body.set_raw("include", include);
        lost.add("include[]");
    }
}

/// JSON paths of what a request lost, each once. Of very many, the first.
#[derive(Debug, Default)]
struct Lost(Dropped);

impl Lost {
    fn add(&mut self, path: impl Into<Cow<'static, str>>) {
        const NAMES_MAX: usize = 50;
        let path = path.into();
        if self.0.len() < NAMES_MAX && !self.0.contains(&path) {
            self.0.push(path);
        }
    }

    /// One of a list.
    fn add_of_type(&mut self, list: &str, kind: &str) {
        self.add(format!("{list}[] of type {}", header_safe(kind)));
    }
}

/// The string at a key.
fn text(object: &Envelope, key: &str) -> Option<String> {
    object.get(key, "a string").ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_responses::Tools;
    use crate::dialect::openai_responses::tools::ToolKind;

    fn edited(model: &str, body: &str) -> (String, String, Tools) {
        let mut body = Envelope::parse(body.into()).unwrap();
        let (dropped, tools) = edit(&mut body, model).unwrap();
        (String::from_utf8(body.into_bytes()).unwrap(), dropped.join(" "), tools)
    }

    #[test]
    fn fields() {
        for (model, body, expected, dropped) in [
            (
                "gpt-5",
                r#"{"client_metadata":{},"max_output_tokens":1.10}"#,
                r#"{"max_output_tokens":1.10}"#,
                "client_metadata",
            ),
            (
                "gpt-5",
                r#"{"temperature":1,"top_p":0.5,"store":false}"#,
                r#"{"store":false}"#,
                "temperature top_p",
            ),
            (
                "gpt-5.1",
                r#"{"reasoning":{"effort":"none"},"top_p": 0.5}"#,
                r#"{"reasoning":{"effort":"none"},"top_p": 0.5}"#,
                "",
            ),
            (
                "gpt-5",
                r#"{"include":["message.output_text.logprobs","reasoning.encrypted_content"]}"#,
                r#"{"include":["reasoning.encrypted_content"]}"#,
                "include[]",
            ),
        ] {
            let (body, lost, tools) = edited(model, body);
            assert_eq!((&*body, &*lost), (expected, dropped));
            assert_eq!(tools, Tools::default());
        }
    }

    #[test]
    fn what_needs_no_edit_is_the_very_bytes() {
        let body = r#" {"model": "m", "stream_options": {"include_obfuscation":false},
            "include": ["reasoning.encrypted_content"], "tool_choice" : {"type":"function","name":"f"},
            "tools": [ {"type": "function", "name": "f", "parameters": {"x": 1.10}, "strict": false} ],
            "input": [ {"role":"user","content":"\"type\":\"custom_tool_call\""},
            {"type":"message","role":"developer","id":"msg_1","content":[]},
            {"type": "reasoning", "id":"rs_0a1b2c3d_1", "encrypted_content":"0a1b2c3d.gAA", "summary": []},
            {"type": "reasoning", "id":"rs_0a1b2c3d_2", "summary": []},
            {"type": "function_call", "id":"fc_0a1b2c3d_1", "name":"f", "arguments":"{}", "call_id":"c"},
            {"type": "function_call_output", "id":"fco_1", "output":"", "call_id":"c"},
            {"type": "compaction", "encrypted_content":"0a1b2c3d.gAA"},
            {"type": "item_reference", "id":"msg_0a1b2c3d_9"}, {"id":"msg_0a1b2c3d_9"}, 7 ] } "#;
        let (found, lost, tools) = edited("gpt-5", body);
        assert_eq!((&*found, &*lost, tools), (body, "", Tools::default()));
        for body in [r#"{"input": "a", "tools": null}"#, r#"{"input": {}, "tools": [ ]}"#, "{}"] {
            assert_eq!(edited("gpt-5", body).0, body);
        }
    }

    #[test]
    fn items() {
        let reasoning = "input[] of type reasoning";
        for (items, expected, dropped) in [
            // Calls of tools that take a text, and what came of them.
            (
                r#"{"type":"custom_tool_call","id":"ctc_1","status":"completed","call_id":"c","name":"apply_patch","input":"a\n\"é"}"#,
                r#"{"type":"function_call","status":"completed","call_id":"c","name":"apply_patch","arguments":"{\"input\":\"a\\n\\\"é\"}"}"#,
                "",
            ),
            (
                r#"{"type":"custom_tool_call_output","id":"ctco_1","call_id":"c","name":"apply_patch","output": [ ]}"#,
                r#"{"type":"function_call_output","call_id":"c","output":[ ]}"#,
                "",
            ),
            (
                r#"{"type":"function_call","id":"fc_1","name":"spawn","namespace":"agents","call_id":"c","arguments": "{}"}"#,
                r#"{"type":"function_call","name":"agents__spawn","call_id":"c","arguments":"{}"}"#,
                "",
            ),
            (
                r#"{"type":"local_shell_call","id":"lsh_1","call_id":"c","status":"completed","action":{"type":"exec","command":["ls"]}},{"type":"local_shell_call_output","id":"c","output":"a"}"#,
                r#"{"type":"function_call","call_id":"c","status":"completed","name":"local_shell","arguments":"{\"type\":\"exec\",\"command\":[\"ls\"]}"},{"type":"function_call_output","call_id":"c","output":"a"}"#,
                "",
            ),
            // Ids that are refused.
            (
                r#"{"role":"assistant","id":"1","content":"a"},{"type":"function_call","id":"call_1"},{"type":"function_call_output","id":"fc é"}"#,
                r#"{"role":"assistant","content":"a"},{"type":"function_call"},{"type":"function_call_output"}"#,
                "",
            ),
            // What no deployment can read.
            (
                r#"{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA","summary":[]},{"type":"function_call","id":"fc_1"},{"type":"function_call","id":"fc_0a1b2c3d_2"},{"type":"function_call_output","id":"fc_3"},{"role":"assistant","id":"msg_4"}"#,
                r#"{"type":"function_call"},{"type":"function_call"},{"type":"function_call_output","id":"fc_3"},{"role":"assistant","id":"msg_4"}"#,
                "input[].encrypted_content",
            ),
            (
                r#"{"type":"reasoning","id":"rs_1","summary":[]},{"role":"user"}"#,
                r#"{"role":"user"}"#,
                reasoning,
            ),
            (
                r#"{"type":"compaction","encrypted_content":"proxy1.a"},{"role":"user"}"#,
                r#"{"role":"user"}"#,
                "input[].encrypted_content",
            ),
            // But what we summed up, which holds "all".
            (
                r#"{"type":"compaction","id":"cmp_1","encrypted_content":"proxy1.eyJzdW1tYXJ5IjoiYWxsIn0"}"#,
                r#"{"type":"message","role":"user","content":"What follows sums up the conversation so far, which had become too long. Go on from it.\n\n<summary>\nall\n</summary>"}"#,
                "",
            ),
            // Thoughts that nothing came of, as behind a stream that broke.
            (
                r#"{"role":"user"},{"type":"reasoning","id":"rs_0a1b2c3d_1","encrypted_content":"0a1b2c3d.g"},{"type":"reasoning","id":"rs_0a1b2c3d_2"}"#,
                r#"{"role":"user"}"#,
                "input[].encrypted_content",
            ),
            (
                r#"{"type":"reasoning","id":"rs_0a1b2c3d_1"},{"type":"item_reference","id":"msg_0a1b2c3d_1"}"#,
                r#"{"type":"reasoning","id":"rs_0a1b2c3d_1"},{"type":"item_reference","id":"msg_0a1b2c3d_1"}"#,
                "",
            ),
            // What OpenAI's servers did; a thought that led to it alone would be refused.
            (
                r#"{"type":"reasoning","id":"rs_0a1b2c3d_1","encrypted_content":"0a1b2c3d.g"},{"type":"web_search_call","id":"ws_1"},{"role":"user"}"#,
                r#"{"role":"user"}"#,
                "input[] of type web_search_call input[].encrypted_content",
            ),
            (
                r#"{"type":"reasoning","id":"rs_0a1b2c3d_1","encrypted_content":"0a1b2c3d.g"},{"type":"web_search_call","id":"ws_1"},{"role":"assistant"}"#,
                r#"{"type":"reasoning","id":"rs_0a1b2c3d_1","encrypted_content":"0a1b2c3d.g"},{"role":"assistant"}"#,
                "input[] of type web_search_call",
            ),
            // A search that the client runs itself.
            (
                r#"{"type":"tool_search_call","id":"tsc_0a1b2c3d_1","call_id":"c","status":"completed","execution":"client","arguments":{"query":"a \"b\""}},{"type":"tool_search_output","call_id":"c","status":"completed","execution":"client","tools":[]}"#,
                r#"{"type":"function_call","call_id":"c","status":"completed","arguments":"{\"query\":\"a \\\"b\\\"\"}","name":"tool_search"},{"type":"function_call_output","call_id":"c","status":"completed","output":"Found no tools."}"#,
                "",
            ),
            (
                r#"{"type":"tool_search_call","call_id":"c"},{"type":"tool_search_output","call_id":"c"},{"type":"additional_tools","tools":[]},{"role":"user"}"#,
                r#"{"role":"user"}"#,
                "input[] of type tool_search_call",
            ),
        ] {
            let (body, lost, _) = edited("gpt-5", &format!(r#"{{"input":[{items}]}}"#));
            assert_eq!(body, format!(r#"{{"input":[{expected}]}}"#));
            assert_eq!(lost, dropped, "{items}");
        }
    }

    #[test]
    fn a_choice_is_one_of_the_functions() {
        const F: &str = r#"{"type":"function","name":"f","parameters":{}}"#;
        const C: &str = r#"{"type":"custom","name":"c"}"#;
        const N: &str = r#"{"type":"namespace","name":"n","tools":[{"type":"function","name":"g","parameters":{}}]}"#;
        const W: &str = r#"{"type":"web_search"}"#;
        for (tools, choice, expected) in [
            (vec![F, W], r#""auto""#, Some(r#""auto""#)),
            (vec![F, W], r#""required""#, Some(r#""required""#)),
            (vec![W], r#""required""#, None),
            (vec![F, W], r#"{"type":"web_search"}"#, None),
            (
                vec![F, W],
                r#"{"type":"function", "name":"f"}"#,
                Some(r#"{"type":"function", "name":"f"}"#),
            ),
            (vec![C], r#"{"type":"custom","name":"c"}"#, Some(r#"{"name":"c","type":"function"}"#)),
        ] {
            let tools = tools.join(",");
            let (body, lost, told) =
                edited("gpt-5", &format!(r#"{{"tools":[{tools}],"tool_choice":{choice}}}"#));
            let body = Envelope::parse(body.into()).unwrap();
            let found = body.raw("tool_choice").map(String::from_utf8_lossy);
            assert_eq!(found.as_deref(), expected, "{choice}");
            assert_eq!(expected.is_none(), lost.contains("tool_choice"), "{lost}");
            let told: Vec<_> = told.told().filter(|(key, _)| *key == "tool_choice").collect();
            let is_edited = expected != Some(choice);
            assert_eq!(
                told,
                if is_edited { vec![("tool_choice", choice.as_bytes())] } else { vec![] }
            );
        }
        let (body, lost, tools) = edited("gpt-5", &format!(r#"{{"tools":[{F},{C},{N},{W}]}}"#));
        let body = Envelope::parse(body.into()).unwrap();
        let functions = body.list("tools").unwrap();
        let names: Vec<_> = functions.iter().filter_map(|f| text(f, "name")).collect();
        assert_eq!((names.join(" "), &*lost), ("f c n__g".into(), "tools[] of type web_search"));
        assert_eq!(functions[0].to_bytes(), F.as_bytes());
        assert!(
            tools.origin("c").is_some_and(|c| c.kind == ToolKind::Custom)
                && tools.origin("f").is_none()
        );
        let space = tools.origin("n__g").map(|g| (&*g.name, g.namespace.as_deref()));
        assert_eq!(space, Some(("g", Some("n"))));
        assert_eq!(tools.told().next(), Some(("tools", format!("[{F},{C},{N},{W}]").as_bytes())));
    }
}
