//! What Mistral's models refuse in a conversation that other open models take (dossier 5d).
//!
//! Left open by the dossier: whether they do so on AI Core; these are the rules of the vendor's own tokenizer, in which vLLM
//! serves them.

use super::messages::{join, mention, message, result_as_text, role};
use crate::envelope::{Envelope, quoted};

/// Makes the messages ones that Mistral takes; those that are stay as they are, byte for byte.
pub fn adapt(body: &mut Envelope) {
    if mention(body, br#""tool_call_id""#) || mention(body, br#""tool_calls""#) {
        body.edit_each("messages", |message| {
            set_nine(message, "tool_call_id");
            message.edit_each("tool_calls", |call| set_nine(call, "id"));
        });
    }
    let Some(messages) = body.list("messages").filter(|messages| !messages.is_empty()) else {
        return;
    };
    let mut order =
        Order { is_prefill: is_true(body, "continue_final_message"), ..Order::default() };
    messages.into_iter().for_each(|message| order.add(message));
    if let Some(messages) = order.finish() {
        body.set_list("messages", &messages);
    }
}

/// Brings messages in order: the system's first, each call with its result, the person or a tool last.
#[derive(Default)]
struct Order {
    systems: Vec<Envelope>,
    said: Vec<Envelope>,
    /// Ids of calls that wait for their results.
    waiting: Vec<String>,
    /// Results without calls, until nothing waits.
    strays: Vec<Envelope>,
    /// Whether the conversation may end with the beginning of the reply.
    is_prefill: bool,
    is_changed: bool,
}

impl Order {
    fn add(&mut self, message: Envelope) {
        match &*role(&message) {
            "system" | "developer" => {
                self.is_changed |= !self.said.is_empty();
                self.systems.push(message);
            }
            "tool" => self.add_result(message),
            "assistant" => self.add_reply(message),
            _ => self.add_said(message),
        }
    }

    fn add_result(&mut self, result: Envelope) {
        match self.waiting.iter().position(|id| *id == text(&result, "tool_call_id")) {
            Some(at) => {
                self.waiting.remove(at);
                self.said.push(result);
            }
            None => {
                self.is_changed = true;
                self.strays.push(result_as_text(&result));
            }
        }
    }

    /// What the model says beside its calls, before their results, belongs to the calls.
    fn add_reply(&mut self, reply: Envelope) {
        let calls = reply.list("tool_calls").unwrap_or_default();
        let ids = calls.iter().map(|call| text(call, "id"));
        if self.strays.is_empty() && self.last_is("assistant") {
            self.waiting.extend(ids);
            self.is_changed = true;
            return self.said.last_mut().map_or((), |last| merge(last, &reply));
        }
        self.settle();
        self.waiting.extend(ids);
        self.said.push(reply);
    }

    /// A person who speaks right after a tool is refused.
    fn add_said(&mut self, message: Envelope) {
        self.settle();
        if self.last_is("tool") {
            self.say("assistant", "Understood.");
        }
        self.said.push(message);
    }

    /// Answers the calls that wait, then gives the results that none of them waited for.
    fn settle(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            self.say("tool", "No result.");
            if let Some(result) = self.said.last_mut() {
                result.set("tool_call_id", quoted(&id));
            }
        }
        for stray in std::mem::take(&mut self.strays) {
            self.add_said(stray);
        }
    }

    fn finish(mut self) -> Option<Vec<Envelope>> {
        self.settle();
        if self.said.is_empty()
            && let Some(mut instructions) = self.systems.pop()
        {
            instructions.set("role", "\"user\"");
            self.said.push(instructions);
            self.is_changed = true;
        }
        let is_begun = self.said.last().is_some_and(|last| is_true(last, "prefix"));
        if self.last_is("assistant") && !is_begun && !self.is_prefill {
            self.say("user", "Continue.");
        }
        self.systems.append(&mut self.said);
        self.is_changed.then_some(self.systems)
    }

    fn say(&mut self, role: &str, text: &str) {
        self.said.push(message(role, text));
        self.is_changed = true;
    }

    fn last_is(&self, wanted: &str) -> bool {
        self.said.last().is_some_and(|last| role(last) == wanted)
    }
}

/// Adds the text and the calls of `next` to `last`.
fn merge(last: &mut Envelope, next: &Envelope) {
    join(last, next);
    if let Some(more) = next.list("tool_calls") {
        let mut calls = last.list("tool_calls").unwrap_or_default();
        calls.extend(more);
        last.set_list("tool_calls", &calls);
    }
    if is_true(next, "prefix") {
        last.set("prefix", "true");
    }
}

fn is_true(object: &Envelope, key: &str) -> bool {
    object.raw(key) == Some(b"true")
}

fn text(object: &Envelope, key: &str) -> String {
    object.get(key, "a string").ok().flatten().unwrap_or_default()
}

fn set_nine(object: &mut Envelope, key: &str) {
    if let Ok(Some(id)) = object.get::<String>(key, "a string")
        && !is_nine(&id)
    {
        object.set(key, quoted(&nine(&id)));
    }
}

fn is_nine(id: &str) -> bool {
    id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// An id as Mistral takes them: itself if it is one, otherwise always the same one.
pub fn nine(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if is_nine(id) {
        return id.to_owned();
    }
    // FNV-1a: the same on every machine and in every version.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut rest = id.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mut digit = || {
        let digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
        char::from(digit)
    };
    (0..9).map(|_| digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages are written `role:content`, `call:id` for a call, `call:id,id` for two, `id:content` for a result.
    fn json(texts: &[&str]) -> String {
        let message = |text: &&str| {
            let (role, content) = text.split_once(':').unwrap();
            let call = |id: &str| {
                format!(
                    r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#
                )
            };
            let calls = |ids: &str| ids.split(',').map(call).collect::<Vec<_>>().join(",");
            match role {
                "call" => {
                    let (ids, content) = content.split_once('+').unwrap_or((content, ""));
                    let content = if content.is_empty() { "null".into() } else { quoted(content) };
                    let calls = calls(ids);
                    format!(r#"{{"role":"assistant","content":{content},"tool_calls":[{calls}]}}"#)
                }
                id if is_nine(id) && id != "assistant" && id != "developer" => {
                    format!(r#"{{"role":"tool","content":"{content}","tool_call_id":"{id}"}}"#)
                }
                role => format!(r#"{{"role":"{role}","content":{}}}"#, quoted(content)),
            }
        };
        let messages: Vec<_> = texts.iter().map(message).collect();
        format!(r#"{{"messages":[{}]}}"#, messages.join(","))
    }

    fn adapted(body: &str) -> String {
        let mut envelope = Envelope::parse(body.as_bytes().to_vec()).unwrap();
        adapt(&mut envelope);
        String::from_utf8(envelope.into_bytes()).unwrap()
    }

    #[test]
    fn messages_come_in_the_order_that_is_taken() {
        const A: &str = "call:aaaaaaaaa";
        let table: &[(&[&str], &[&str])] = &[
            (&["system:s", "system:t", "user:a", "assistant:b", "user:c"], &[]),
            (&["user:a", A, "aaaaaaaaa:1"], &[]),
            (&["user:a", A, "aaaaaaaaa:1", "assistant:b", "user:c"], &[]),
            (&["user:a", "call:aaaaaaaaa,bbbbbbbbb", "bbbbbbbbb:2", "aaaaaaaaa:1"], &[]),
            (&["user:a", "assistant:b"], &["user:a", "assistant:b", "user:Continue."]),
            (&["user:a", A, "aaaaaaaaa:1", "system:s"], &["system:s", "user:a", A, "aaaaaaaaa:1"]),
            (
                &["user:a", A, "aaaaaaaaa:1", "developer:s", "user:b"],
                &["developer:s", "user:a", A, "aaaaaaaaa:1", "assistant:Understood.", "user:b"],
            ),
            (
                &["user:a", "assistant:b", "system:s"],
                &["system:s", "user:a", "assistant:b", "user:Continue."],
            ),
            (
                &["user:a", A, "assistant:meanwhile", "aaaaaaaaa:1"],
                &["user:a", "call:aaaaaaaaa+meanwhile", "aaaaaaaaa:1"],
            ),
            (
                &["user:a", A, "call:bbbbbbbbb", "aaaaaaaaa:1", "bbbbbbbbb:2"],
                &["user:a", "call:aaaaaaaaa,bbbbbbbbb", "aaaaaaaaa:1", "bbbbbbbbb:2"],
            ),
            (
                &["user:a", A, "user:b"],
                &["user:a", A, "aaaaaaaaa:No result.", "assistant:Understood.", "user:b"],
            ),
            (&["user:a", A], &["user:a", A, "aaaaaaaaa:No result."]),
            (&["user:a", "aaaaaaaaa:1"], &["user:a", "user:Result of an earlier tool call: 1"]),
            (
                &["user:a", A, "bbbbbbbbb:2", "aaaaaaaaa:1"],
                &[
                    "user:a",
                    A,
                    "aaaaaaaaa:1",
                    "assistant:Understood.",
                    "user:Result of an earlier tool call: 2",
                ],
            ),
            (&["system:s"], &["user:s"]),
        ];
        for (before, after) in table {
            let expected = json(if after.is_empty() { before } else { after });
            assert_eq!(adapted(&json(before)), expected, "{before:?}");
            assert_eq!(adapted(&expected), expected, "again: {before:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_reply_stays() {
        let table = [
            r#"{"messages":[{"role":"user"},{"role":"assistant","content" : "x","prefix":true}]}"#,
            r#"{"messages":[{"role":"assistant","content" : "x"}],"continue_final_message":true}"#,
        ];
        for body in table {
            assert_eq!(adapted(body), body);
        }
    }

    #[test]
    fn calls_get_ids_of_nine_and_an_answer_after_results() {
        let body = |id: &str, between: &str| {
            format!(
                "{{\"messages\":[{{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":\
                 [{{\"id\":\"{id}\",\"function\":{{\"x\" : 1.10}}}}]}},{{\"role\":\"tool\",\"tool_call_id\":\
                 \"{id}\",\"content\":\"42\"}},{between}{{\"role\":\"user\",\"content\":\"and\"}}]}}"
            )
        };
        let answer = r#"{"role":"assistant","content":"Understood."},"#;
        let expected = body(&nine("call_1"), answer);
        assert_eq!(adapted(&body("call_1", "")), expected);
        assert_eq!(adapted(&expected), expected);
    }

    #[test]
    fn ids_are_nine_letters_and_digits_and_always_the_same() {
        assert_eq!(nine("aB3dE6gH9"), "aB3dE6gH9");
        let table = ["", "call_1", "call_2", "toolu_bdrk_01Invented", "aB3dE6gH-"];
        let made: Vec<_> = table.iter().map(|id| nine(id)).collect();
        assert!(made.iter().all(|id| is_nine(id)), "{made:?}");
        assert!((1..made.len()).all(|i| !made[..i].contains(&made[i])), "{made:?}");
        assert_eq!(nine("call_1"), "9gD2Dimct");
    }
}
