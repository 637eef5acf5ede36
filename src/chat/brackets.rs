//! Events in brackets, from sources that are not so tidy.

use std::collections::VecDeque;

use super::fit::fitting_id;
use super::{Event, Open, Seal, Stop, Usage};
use crate::error::Error;

/// Where decoders write what they read. Whatever they say in whatever order, what comes out is
/// `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`: blocks are opened and closed as their kind changes, calls that
/// come interleaved are put one after the other, what is said within a call follows it, calls without an id get one, and
/// nothing follows the end.
#[derive(Debug, Default)]
pub struct Brackets {
    /// From which ids of calls without one are made.
    seed: String,
    events: Vec<Event>,
    has_started: bool,
    has_ended: bool,
    open: Option<Kind>,
    /// Calls that are not closed yet, by the upstream's key, in order of appearance. The first is the open one, if any is.
    calls: VecDeque<Call>,
    /// What was said before those calls were over; there is none without calls.
    held: Vec<Held>,
    /// Calls that were opened.
    call_count: usize,
    usage: Option<Usage>,
    stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Call,
}

/// The most letters of a call's id.
const ID_MAX: usize = 64;

/// What waits for calls to be over.
#[derive(Debug)]
enum Held {
    Flat(Kind, String),
    Seal(Seal),
    Close,
}

/// A call whose block waits to be opened, or is open.
#[derive(Debug)]
struct Call {
    key: u64,
    id: String,
    name: String,
    /// All of the arguments so far; what was written out of them is `written` bytes.
    arguments: String,
    written: usize,
    nesting: Nesting,
    seal: Option<Seal>,
    is_open: bool,
    is_whole: bool,
}

/// Where in a JSON text its end so far is.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// The outermost bracket was closed.
    is_over: bool,
}

impl Brackets {
    /// `seed` is part of the ids of calls that come without one: unique to the reply.
    pub fn new(seed: &str) -> Brackets {
        Brackets { seed: seed.to_owned(), ..Brackets::default() }
    }

    /// What has come since the last time.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// `Stop` or `Failed` was said.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The reply begins. Said again, or after anything else, it is nothing.
    pub fn start(&mut self, id: Option<&str>) {
        if !self.has_started && !self.has_ended {
            self.has_started = true;
            let id = id.filter(|id| !id.is_empty()).map(str::to_owned);
            self.events.push(Event::Start { id });
        }
    }

    pub fn text(&mut self, text: &str) {
        self.flat(Kind::Text, text);
    }

    pub fn reasoning(&mut self, text: &str) {
        self.flat(Kind::Reasoning, text);
    }

    /// The seal of the reasoning that is open, or of one without text.
    pub fn seal_reasoning(&mut self, seal: Seal) {
        if self.has_ended {
            return;
        }
        if self.is_in_calls() {
            return self.held.push(Held::Seal(seal));
        }
        self.switch(Kind::Reasoning);
        self.events.push(Event::Seal(seal));
        // What follows it is another thought.
        self.close();
    }

    /// A call, by the upstream's key for it. Said again, it adds what was missing.
    pub fn call(&mut self, key: u64, id: Option<&str>, name: Option<&str>) {
        if self.has_ended {
            return;
        }
        self.start(None);
        let call = match self.calls.iter_mut().find(|c| c.key == key) {
            Some(call) => call,
            None => {
                let id = String::new();
                let (name, arguments) = (String::new(), String::new());
                self.calls.push_back(Call {
                    key,
                    id,
                    name,
                    arguments,
                    written: 0,
                    nesting: Nesting::default(),
                    seal: None,
                    is_open: false,
                    is_whole: false,
                });
                let last = self.calls.len() - 1;
                &mut self.calls[last]
            }
        };
        if call.id.is_empty() {
            call.id.push_str(id.unwrap_or(""));
        }
        // Some send the whole name once more with each part: only its first appearance counts.
        if call.name.is_empty() {
            call.name.push_str(name.unwrap_or(""));
        }
        self.advance();
    }

    /// More of a call's arguments.
    pub fn arguments(&mut self, key: u64, json: &str) {
        if let Some(call) = self.calls.iter_mut().find(|c| c.key == key) {
            call.arguments.push_str(json);
            call.nesting.read(json);
            self.advance();
        }
    }

    pub fn seal_call(&mut self, key: u64, seal: Seal) {
        if let Some(call) = self.calls.iter_mut().find(|c| c.key == key) {
            call.seal = Some(seal);
        }
    }

    /// No more arguments of this call will come.
    pub fn close_call(&mut self, key: u64) {
        if let Some(call) = self.calls.iter_mut().find(|c| c.key == key) {
            call.is_whole = true;
            self.advance();
        }
    }

    /// The block of text or reasoning is over.
    pub fn close(&mut self) {
        match self.held.is_empty() {
            true => self.close_flat(),
            false => self.held.push(Held::Close),
        }
    }

    fn close_flat(&mut self) {
        if matches!(self.open, Some(Kind::Text | Kind::Reasoning)) {
            self.open = None;
            self.events.push(Event::Close);
        }
    }

    /// Counts so far; the last ones hold.
    pub fn usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// Why the reply will end; the last reason holds. It is said at the end, since usage may still come.
    pub fn stop(&mut self, stop: Stop) {
        self.stop = Some(stop);
    }

    pub fn has_stop(&self) -> bool {
        self.stop.is_some()
    }

    /// The upstream failed.
    pub fn fail(&mut self, error: Error) {
        if self.has_ended {
            return;
        }
        self.start(None);
        self.close_all();
        self.has_ended = true;
        self.events.push(Event::Failed(error));
    }

    /// The upstream said that it is done. Without a reason to stop, the reply is not complete.
    pub fn end(&mut self) {
        if self.has_ended {
            return;
        }
        let Some(stop) = self.stop else {
            return self.fail(Error::BadReply {
                what: "SAP AI Core's stream ended before the reply was complete.".into(),
            });
        };
        self.start(None);
        // Arguments that were cut off are left so: a call without any would be another call.
        if matches!(stop, Stop::End | Stop::ToolCalls) {
            self.calls.iter_mut().for_each(|call| call.is_whole = true);
        }
        self.close_all();
        self.has_ended = true;
        self.events.extend(self.usage.map(Event::Usage));
        // Some say `stop` after calls, some `tool_use` without any.
        self.events.push(Event::Stop(match stop {
            Stop::End if self.call_count > 0 => Stop::ToolCalls,
            Stop::ToolCalls if self.call_count == 0 => Stop::End,
            other => other,
        }));
    }

    fn flat(&mut self, kind: Kind, text: &str) {
        if self.has_ended || text.is_empty() {
            return;
        }
        if self.is_in_calls() {
            return self.hold(kind, text);
        }
        self.switch(kind);
        self.events.push(Event::Delta(text.to_owned()));
    }

    /// Whether there are calls that are not over, though something else follows.
    fn is_in_calls(&mut self) -> bool {
        while self.calls.front().is_some_and(Call::is_over) {
            self.write_first();
            self.close_first();
        }
        !self.calls.is_empty()
    }

    fn hold(&mut self, kind: Kind, text: &str) {
        match self.held.last_mut() {
            Some(Held::Flat(last, held)) if *last == kind => held.push_str(text),
            _ => self.held.push(Held::Flat(kind, text.to_owned())),
        }
    }

    /// Says what was held, if nothing holds it any more.
    fn release(&mut self) {
        if !self.calls.is_empty() {
            return;
        }
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Flat(kind, text) => self.flat(kind, &text),
                Held::Seal(seal) => self.seal_reasoning(seal),
                Held::Close => self.close(),
            }
        }
    }

    /// Opens a block of text or reasoning, if it is not the open one.
    fn switch(&mut self, kind: Kind) {
        self.start(None);
        if self.open == Some(kind) {
            return;
        }
        self.close_flat();
        self.open = Some(kind);
        let open = if kind == Kind::Text { Open::Text } else { Open::Reasoning };
        self.events.push(Event::Open(open));
    }

    /// Writes out what can be of the calls.
    fn advance(&mut self) {
        while let Some(first) = self.calls.front() {
            if !first.is_open && first.name.is_empty() {
                return;
            }
            self.write_first();
            let is_followed = self.calls.len() > 1 || !self.held.is_empty();
            let Some(first) = self.calls.front() else { return };
            // Arguments may follow what looks whole, as long as nothing else does.
            let is_over = first.is_whole || is_followed && first.is_over();
            if !is_over {
                return;
            }
            self.close_first();
        }
        self.release();
    }

    /// Opens the first call if it is not, and writes its new arguments.
    fn write_first(&mut self) {
        if self.calls.front().is_some_and(|c| !c.is_open) {
            self.close_flat();
        }
        let Some(call) = self.calls.front_mut() else { return };
        if !call.is_open {
            call.is_open = true;
            self.open = Some(Kind::Call);
            self.call_count += 1;
            if call.id.is_empty() {
                call.id = format!("call_{}{}", self.seed, self.call_count);
            }
            // Some say `functions.f:0`, which Claude would refuse when the conversation goes on with it.
            call.id = fitting_id(&call.id, 1, ID_MAX);
            let open = Open::ToolCall { id: call.id.clone(), name: call.name.clone() };
            self.events.push(Event::Open(open));
        }
        if call.written < call.arguments.len() {
            let new = call.arguments[call.written..].to_owned();
            call.written = call.arguments.len();
            self.events.push(Event::Delta(new));
        }
    }

    fn close_first(&mut self) {
        let Some(call) = self.calls.pop_front() else { return };
        if call.is_whole && call.arguments.trim().is_empty() {
            self.events.push(Event::Delta("{}".to_owned()));
        }
        self.events.extend(call.seal.map(Event::Seal));
        self.open = None;
        self.events.push(Event::Close);
    }

    /// All calls are over, also those whose arguments never were. One without a name is none.
    fn close_calls(&mut self) {
        self.calls.retain(|c| !c.name.is_empty());
        while !self.calls.is_empty() {
            self.write_first();
            self.close_first();
        }
    }

    fn close_all(&mut self) {
        self.close_calls();
        self.release();
        self.close_flat();
    }
}

impl Call {
    /// Whether it has a name and, as far as can be seen, all of its arguments.
    fn is_over(&self) -> bool {
        !self.name.is_empty() && (self.is_whole || self.nesting.is_over)
    }
}

impl Nesting {
    fn read(&mut self, json: &str) {
        for byte in json.bytes() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.is_over |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tell: impl FnOnce(&mut Brackets)) -> Vec<String> {
        let mut brackets = Brackets::new("s");
        tell(&mut brackets);
        brackets.drain().map(|e| format!("{e:?}")).collect()
    }

    #[test]
    fn ids_are_such_as_every_vendor_takes() {
        let mut out = Brackets::new("s");
        ["functions.f:0", "functions.f:1", "call_1"].iter().zip(0..).for_each(|(id, key)| {
            out.call(key, Some(id), Some("f"));
            out.close_call(key);
        });
        let ids = out.drain().filter_map(|event| match event {
            Event::Open(Open::ToolCall { id, .. }) => Some(id),
            _ => None,
        });
        let ids: Vec<String> = ids.collect();
        assert!(ids.iter().all(|id| id.chars().all(crate::chat::fit::plain)), "{ids:?}");
        assert!(ids.len() == 3 && ids[0] != ids[1] && ids[2] == "call_1", "{ids:?}");
    }

    #[test]
    fn blocks_follow_one_another() {
        let events = told(|b| {
            b.reasoning("hm");
            b.seal_reasoning(Seal::Claude("x".into()));
            b.text("a");
            b.text("");
            b.text("b");
            b.call(7, None, Some("f"));
            b.arguments(7, "{\"a\"");
            b.call(9, Some("id9"), None);
            b.arguments(9, "{}");
            b.arguments(7, ":1}");
            b.call(9, None, Some("g"));
            b.stop(Stop::End);
            b.usage(Usage { input: 1, ..Usage::default() });
            b.end();
            b.text("late");
            b.end();
        });
        let expected = [
            "Start { id: None }",
            "Open(Reasoning)",
            "Delta(\"hm\")",
            "Seal(Claude(\"x\"))",
            "Close",
            "Open(Text)",
            "Delta(\"a\")",
            "Delta(\"b\")",
            "Close",
            "Open(ToolCall { id: \"call_s1\", name: \"f\" })",
            "Delta(\"{\\\"a\\\"\")",
            "Delta(\":1}\")",
            "Close",
            "Open(ToolCall { id: \"id9\", name: \"g\" })",
            "Delta(\"{}\")",
            "Close",
            "Usage(Usage { input: 1, cached: 0, cache_written: 0, output: 0, reasoning: 0 })",
            "Stop(ToolCalls)",
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn what_is_not_complete_fails() {
        assert_eq!(told(|b| b.end()).len(), 2);
        assert!(told(|b| b.end())[1].starts_with("Failed"));
        let cut = told(|b| {
            b.call(0, Some("i"), Some("f"));
            b.fail(Error::ClientGone);
            b.stop(Stop::End);
            b.end();
        });
        assert_eq!(
            cut[1..],
            ["Open(ToolCall { id: \"i\", name: \"f\" })", "Close", "Failed(ClientGone)"]
        );
    }

    #[test]
    fn tool_calls_without_calls_is_the_end() {
        let events = told(|b| {
            b.stop(Stop::ToolCalls);
            b.end();
        });
        assert_eq!(events, ["Start { id: None }", "Stop(End)"]);
    }

    #[test]
    fn only_a_call_that_is_over_gets_empty_arguments() {
        let table: [(bool, Option<Stop>, bool); 7] = [
            (false, Some(Stop::End), true),
            (false, Some(Stop::ToolCalls), true),
            (false, Some(Stop::Length), false),
            (false, Some(Stop::Refusal), false),
            (false, None, false),
            (true, Some(Stop::Length), true),
            (true, None, true),
        ];
        for (is_closed, stop, is_given) in table {
            let events = told(|b| {
                b.call(0, Some("i"), Some("f"));
                if is_closed {
                    b.close_call(0);
                }
                stop.into_iter().for_each(|stop| b.stop(stop));
                b.end();
            });
            let has_arguments = events.iter().any(|e| e == "Delta(\"{}\")");
            assert_eq!(has_arguments, is_given, "{is_closed} {stop:?} {events:?}");
        }
    }

    #[test]
    fn what_is_said_within_a_call_follows_it() {
        let events = told(|b| {
            b.call(0, Some("i"), Some("f"));
            b.arguments(0, r#"{"a":"}"#);
            b.text("x");
            b.text("y");
            b.close();
            b.text("z");
            b.seal_reasoning(Seal::Claude("s".into()));
            b.arguments(0, r#"\"]"}"#);
            b.text("!");
            b.stop(Stop::End);
            b.end();
        });
        let expected = [
            "Open(ToolCall { id: \"i\", name: \"f\" })",
            r#"Delta("{\"a\":\"}")"#,
            r#"Delta("\\\"]\"}")"#,
            "Close",
            "Open(Text)",
            "Delta(\"xy\")",
            "Close",
            "Open(Text)",
            "Delta(\"z\")",
            "Close",
            "Open(Reasoning)",
            "Seal(Claude(\"s\"))",
            "Close",
            "Open(Text)",
            "Delta(\"!\")",
            "Close",
            "Stop(ToolCalls)",
        ];
        assert_eq!(events[1..], expected);
        let cut = told(|b| {
            b.call(0, Some("i"), Some("f"));
            b.arguments(0, "{");
            b.reasoning("x");
            b.fail(Error::ClientGone);
        });
        assert_eq!(cut[3..6], ["Close", "Open(Reasoning)", "Delta(\"x\")"]);
    }

    #[test]
    fn long_arguments_are_read_once() {
        let since = std::time::Instant::now();
        let mut brackets = Brackets::new("s");
        brackets.call(0, Some("i"), Some("f"));
        brackets.arguments(0, r#"{"a":""#);
        brackets.call(1, Some("j"), Some("g"));
        (0..100_000).for_each(|_| brackets.arguments(0, "0123456789abcdef}"));
        let took = since.elapsed();
        assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    }
}
