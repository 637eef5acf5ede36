//! `POST /v1/responses/compact` where OpenAI's own is not there: the model sums up the conversation, and what it says is
//! packed into an item that only we can read. What the person and the developer said stays, word for word.
//!
//! Left open: what OpenAI keeps besides the messages of the user. Those of the developer stay, too: they are the instructions
//! of clients that have no `instructions`.

use std::io::Write;

use serde_json::value::RawValue;

use super::Responses;
use super::kept::items_of;
use super::reply::usage_json;
use super::request;
use super::sealed::{self, Sealed};
use crate::chat::{Block, Event, Format, Reply, Request, Role, Turn};
use crate::dialect::reading::readable;
use crate::dialect::{Asked, ReplyHead, ReplyWriter, StreamEncoder};
use crate::envelope::{Envelope, items, listed, quoted};
use crate::error::Error;

/// What the model is asked last.
const ASK: &str = "\
This conversation has become too long and will be cut off here. Write a summary from which you can go on without it. \
Your summary and the user's own messages are all that will be left: what was said by you and what the tools gave will be gone. \
Say:
- what the user wants, with every requirement, constraint and preference;
- what was done, and what came of it: files with their paths, commands, names, numbers and error messages where they matter;
- what was decided and why, and what was tried and did not work;
- what is open, and the next step.
Be complete and exact, but brief. Call no tool, ask nothing, and write nothing but the summary.";

/// Tokens. Conversations are made shorter when there is little room left for a reply.
const OUTPUT_MAX: u64 = 8000;

/// Reads a request to make a conversation shorter.
pub fn decode(body: &Envelope, memory: &Responses<'_>) -> Result<Asked, Error> {
    let Asked { request, .. } = request::decode(body, memory)?;
    let mut request = Request {
        tools: vec![],
        tool_choice: None,
        is_single_call: false,
        format: Format::Text,
        output_max: Some(OUTPUT_MAX),
        thinking: None,
        ..request
    };
    let blocks = vec![Block::text(ASK)];
    request.turns.push(Turn { role: Role::User, blocks });
    let input = items_of(body.raw("input").unwrap_or(b"[]"));
    let all = [readable(memory.history), readable(&input)].map(|list| {
        let items = items(&list).unwrap_or_default();
        items.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    let all = all.concat();
    Ok(Asked { request, is_stream: false, writer: Box::new(Compacted { all }) })
}

/// What a model is told of the conversation that became such an item; `None` for what is not ours.
pub fn summed_up(encrypted_content: &str) -> Option<String> {
    let Sealed::Summary(summary) = sealed::unpack(encrypted_content)? else { return None };
    Some(format!(
        "What follows sums up the conversation so far, which had become too long. Go on from it.\n\n\
         <summary>\n{summary}\n</summary>"
    ))
}

/// The items of a conversation, of which some stay.
#[derive(Debug)]
struct Compacted {
    all: Vec<Vec<u8>>,
}

impl ReplyWriter for Compacted {
    fn whole(&self, reply: &Reply, head: &ReplyHead) -> Vec<u8> {
        let texts = reply.blocks.iter().filter_map(|block| match block {
            Block::Text { text, .. } => Some(&**text),
            _ => None,
        });
        let summary = texts.collect::<Vec<_>>().join("\n");
        let output = match summary.trim() {
            // Nothing is lost where the model says nothing.
            "" => self.all.clone(),
            summary => self.with(summary, head),
        };
        let mut out = vec![];
        // Writing into a Vec does not fail.
        let _ = write!(
            out,
            r#"{{"id":{},"object":"response.compaction","created_at":{},"output":"#,
            quoted(&format!("resp_{}", head.id)),
            head.created,
        );
        out.extend_from_slice(&listed(&output));
        let usage = usage_json(reply.usage.unwrap_or_default());
        out.extend_from_slice(format!(r#","usage":{usage}}}"#).as_bytes());
        out
    }

    /// Nobody asks for a stream of it.
    fn stream(&self, _head: &ReplyHead) -> Box<dyn StreamEncoder> {
        Box::new(Nothing)
    }
}

impl Compacted {
    fn with(&self, summary: &str, head: &ReplyHead) -> Vec<Vec<u8>> {
        let said = self.all.iter().filter_map(|item| said(item));
        let id = |prefix: &str, place: usize| quoted(&format!("{prefix}_{}{place:03}", head.id));
        let mut output = vec![];
        for (place, mut message) in said.enumerate() {
            if message.raw("id").is_none_or(|id| id == b"null") {
                message.set("id", id("msg", place));
            }
            output.push(message.into_bytes());
        }
        let encrypted = sealed::pack(&Sealed::Summary(summary.to_owned()));
        let item = format!(
            r#"{{"id":{},"type":"compaction","encrypted_content":{}}}"#,
            id("cmp", output.len()),
            quoted(&encrypted)
        );
        output.push(item.into_bytes());
        output
    }
}

/// The message of a person or a developer, its content in parts.
fn said(item: &[u8]) -> Option<Envelope> {
    let mut message = Envelope::parse(item.to_vec()).ok()?;
    let word = |key| message.get::<String>(key, "").ok().flatten();
    let is_message = word("type").is_none_or(|kind| kind == "message");
    let role = word("role").filter(|_| is_message)?;
    if !["user", "developer", "system"].contains(&role.as_str()) {
        return None;
    }
    message.set("type", quoted("message"));
    let text = message.raw("content").filter(|raw| raw.starts_with(b"\""));
    if let Some(text) = text.and_then(|raw| serde_json::from_slice::<&RawValue>(raw).ok()) {
        let parts = format!(r#"[{{"type":"input_text","text":{}}}]"#, text.get());
        message.set("content", parts);
    }
    Some(message)
}

struct Nothing;

impl StreamEncoder for Nothing {
    fn event(&mut self, _event: &Event, _out: &mut Vec<u8>) {}
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::{Stop, Usage};

    const HISTORY: &str = r#"[{"role":"user","content":"old"},{"type":"message","role":"assistant","content":"said"}]"#;

    fn asked() -> Asked {
        let summary = sealed::pack(&Sealed::Summary("before".into()));
        let body = json!({"model": "m", "instructions": "be brief", "tool_choice": "required",
            "tools": [{"type": "function", "name": "f"}], "input": [
            {"type": "compaction", "encrypted_content": summary},
            {"id": "msg_own", "role": "user", "content": [{"type": "input_text", "text": "\u{1f44b} "}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"},
            {"role": "developer", "content": "now"},
        ]});
        let memory = Responses { history: HISTORY.as_bytes(), item: &|_| Ok(None) };
        decode(&Envelope::parse(body.to_string().into_bytes()).unwrap(), &memory).unwrap()
    }

    fn written(text: &str) -> Value {
        let usage = Some(Usage { input: 5, output: 2, ..Usage::default() });
        let blocks = vec![Block::text(text)];
        let reply = Reply { id: None, blocks, usage, stop: Stop::End };
        let head = ReplyHead { id: "7".repeat(32), created: 9, model: "m".into() };
        serde_json::from_slice(&asked().writer.whole(&reply, &head)).unwrap()
    }

    #[test]
    fn the_model_is_asked_for_a_summary_alone() {
        let request = asked().request;
        assert!(request.tools.is_empty() && request.tool_choice.is_none());
        assert_eq!(request.output_max, Some(OUTPUT_MAX));
        let last = request.turns.last().unwrap();
        assert_eq!((last.role, last.blocks.last()), (Role::User, Some(&Block::text(ASK))));
    }

    #[test]
    fn what_people_said_stays_and_the_rest_is_summed_up() {
        let written = written(" all that was ");
        let id = "7".repeat(32);
        assert_eq!(
            (&written["id"], &written["object"]),
            (&json!(format!("resp_{id}")), &json!("response.compaction"))
        );
        assert_eq!(
            (&written["created_at"], &written["usage"]["total_tokens"]),
            (&json!(9), &json!(7))
        );
        let output = written["output"].as_array().unwrap();
        let text = |item: &Value| item["content"][0]["text"].clone();
        assert_eq!(output[..3].iter().map(text).collect::<Vec<_>>(), ["old", "\u{1f44b} ", "now"]);
        let ids = output.iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
        assert_eq!(
            ids,
            [
                format!("msg_{id}000"),
                "msg_own".into(),
                format!("msg_{id}002"),
                format!("cmp_{id}003")
            ]
        );
        assert_eq!((output.len(), &output[3]["type"]), (4, &json!("compaction")));
        let packed = output[3]["encrypted_content"].as_str().unwrap();
        assert_eq!(sealed::unpack(packed), Some(Sealed::Summary("all that was".into())));
    }

    #[test]
    fn where_the_model_says_nothing_all_stays() {
        let output = written(" \n")["output"].as_array().unwrap().len();
        assert_eq!(output, 7);
    }
}
