//! Makes a request fit what an upstream takes, and its reply what the client expects.
//!
//! Every vendor refuses other conversations: two turns of one role, a call without its result, an empty text, a tool's name
//! with a dot. The repairs are the same for all of them and are made here, as a [`Fit`] wants them; the dialects then only
//! write down what they are given. [`Undo`] puts back in the reply what the client must not see changed: names of tools,
//! and the text of a reply that had to come as the arguments of a call.

mod pairs;
mod schemas;

use std::collections::{HashMap, HashSet};

pub use pairs::fitting_id;
use pairs::paired;
use schemas::{as_object, unwrapped};

use super::{Block, Event, Format, Open, Request, Role, Seal, Stop, Tool, ToolChoice, Turn};

/// What an upstream takes.
#[derive(Debug)]
pub struct Fit {
    /// Characters of a tool's name, and of a call's id.
    pub name_takes: fn(char) -> bool,
    pub name_max: usize,
    pub id_max: usize,
    pub format: FormatFit,
    /// Whether a conversation may end with the beginning of the reply.
    pub takes_prefill: bool,
    /// Whether a tool's result may hold images and files; otherwise they follow it.
    pub takes_media_in_results: bool,
    /// Whether calls in the conversation are refused where no tool is offered.
    pub needs_tools_for_calls: bool,
    /// Whether the upstream can be told to call one tool at most; otherwise the client is told of the first call only.
    pub takes_single_call: bool,
    /// Whose seals can be given back; reasoning without such a seal is left out.
    pub takes_seal: fn(&Seal) -> bool,
}

/// How a reply in JSON is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatFit {
    Native,
    /// Native, but not together with tools.
    NativeWithoutTools,
    /// As the arguments of a call.
    ByTool,
}

/// ASCII letters, digits, `_` and `-`.
pub fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

impl Fit {
    /// Changes `request` to fit; what has to be undone in the reply.
    pub fn apply(&self, request: &mut Request) -> Undo {
        let mut undo = Undo::default();
        drop_what_is_empty(request);
        drop_what_others_sealed(request, self.takes_seal);
        let turns = std::mem::take(&mut request.turns);
        request.turns = paired(merged(turns), self);
        if !self.takes_media_in_results {
            request.turns.iter_mut().for_each(hoist_media);
        }
        begin_with_user(request);
        if !self.takes_prefill && ends_with_assistant(&request.turns) {
            request.turns.push(user("Continue."));
        }
        self.rename_tools(request, &mut undo);
        self.set_format(request, &mut undo);
        self.settle_tools(request);
        if !self.takes_single_call {
            undo.is_single = std::mem::take(&mut request.is_single_call);
        }
        undo
    }

    fn rename_tools(&self, request: &mut Request, undo: &mut Undo) {
        let mut names: HashMap<String, String> = HashMap::new();
        let mut taken: HashSet<String> = HashSet::new();
        let mut rename = |name: &mut String| {
            let new = match names.get(name) {
                Some(new) => new.clone(),
                None => {
                    let new = self.name(name, &taken);
                    names.insert(name.clone(), new.clone());
                    taken.insert(new.clone());
                    new
                }
            };
            if new != *name {
                undo.names.insert(new.clone(), std::mem::replace(name, new));
            }
        };
        // Names that fit keep theirs, whichever comes first.
        let (fitting, other): (Vec<_>, Vec<_>) =
            request.tools.iter_mut().map(|t| &mut t.name).partition(|n| self.is_name(n));
        fitting.into_iter().chain(other).for_each(&mut rename);
        if let Some(ToolChoice::Named(name)) = &mut request.tool_choice {
            rename(name);
        }
        for block in request.turns.iter_mut().flat_map(|t| &mut t.blocks) {
            if let Block::ToolCall { name, .. } | Block::ToolResult { name, .. } = block {
                rename(name);
            }
        }
    }

    fn is_name(&self, name: &str) -> bool {
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        starts && name.chars().all(self.name_takes) && name.len() <= self.name_max
    }

    /// A name that fits, the same each time, and none of `taken`.
    fn name(&self, name: &str, taken: &HashSet<String>) -> String {
        let mut plain = name.to_owned();
        if !self.is_name(name) {
            plain = name.chars().map(|c| if (self.name_takes)(c) { c } else { '_' }).collect();
            if !plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                plain.insert(0, '_');
            }
        }
        let mut new = plain.clone();
        let mut seed = name.to_owned();
        while new.len() > self.name_max || taken.contains(&new) {
            let suffix = format!("_{:08x}", digest(&seed) as u32);
            new.clone_from(&plain);
            new.truncate(self.name_max.saturating_sub(suffix.len()));
            new.push_str(&suffix);
            seed.push('_');
        }
        new
    }

    fn set_format(&self, request: &mut Request, undo: &mut Undo) {
        let by_tool = match self.format {
            FormatFit::Native => false,
            FormatFit::NativeWithoutTools => !request.tools.is_empty(),
            FormatFit::ByTool => true,
        };
        if !by_tool || request.format == Format::Text {
            return;
        }
        let format = std::mem::take(&mut request.format);
        // The client forces a call of a tool of its own: then there will be no text to format.
        if matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_))) {
            request.drop_field("response_format");
            return;
        }
        let (description, schema) = match format {
            Format::Schema { description, schema, .. } => (description, schema),
            _ => (None, r#"{"type":"object","additionalProperties":true}"#.to_owned()),
        };
        let description = description.map_or(String::new(), |d| format!(" {d}"));
        let (schema, is_wrapped) = as_object(schema);
        let name = self.name(ANSWER_TOOL, &names(&request.tools).into_iter().collect());
        let is_only = request.tools.is_empty() || request.tool_choice == Some(ToolChoice::None);
        if is_only && request.tool_choice.is_some() {
            request.tools.clear();
        }
        request.tool_choice =
            Some(if is_only { ToolChoice::Named(name.clone()) } else { ToolChoice::Any });
        request.is_single_call = true;
        // First, so that it is not overlooked among many.
        let answer = Tool {
            name: name.clone(),
            description: Some(format!(
                "Gives the complete answer. Its arguments are the answer, with every field the conversation asks \
                 for.{description}"
            )),
            schema: Some(schema),
            cache: None,
            is_strict: false,
        };
        request.tools.insert(0, answer);
        undo.answer = Some(Answer { tool: name, is_wrapped, ..Answer::default() });
    }

    /// No choice without tools, tools where the conversation has calls, and all of them take objects.
    fn settle_tools(&self, request: &mut Request) {
        if request.tools.is_empty() && self.needs_tools_for_calls {
            let blocks = request.turns.iter().flat_map(|t| &t.blocks);
            let mut seen = HashSet::new();
            let called = blocks.filter_map(|block| match block {
                Block::ToolCall { name, .. } => seen.insert(name).then(|| name.clone()),
                _ => None,
            });
            let called: Vec<String> = called.collect();
            // They are named so that the conversation can be read, not to be called.
            request.tools = called.into_iter().map(stub).collect();
            request.tool_choice = None;
        }
        if request.tools.is_empty() {
            request.tool_choice = None;
        }
        for tool in &mut request.tools {
            tool.schema = Some(schemas::of_tool(tool.schema.take()));
        }
    }
}

/// What was changed in a request and has to be changed back in its reply.
#[derive(Debug, Clone, Default)]
pub struct Undo {
    /// The upstream's name → the client's.
    names: HashMap<String, String>,
    answer: Option<Answer>,
    /// The client wants one call at most.
    is_single: bool,
    calls: usize,
    /// Within a call after the first.
    in_extra: bool,
}

/// A reply that comes as the arguments of a call.
#[derive(Debug, Clone, Default)]
struct Answer {
    tool: String,
    /// The answer is the one property of the arguments.
    is_wrapped: bool,
    /// The call's arguments so far, where they are to be unwrapped.
    wrapped: String,
    /// Text that came; only if no call comes it is the reply.
    text: String,
    is_open: bool,
    was_given: bool,
    /// Some of it was told.
    is_told: bool,
    in_text: bool,
    /// Within a call of the answer after the first.
    in_second: bool,
    has_other_calls: bool,
}

impl Undo {
    /// One event of the upstream; what the client is told of it.
    pub fn event(&mut self, mut event: Event, told: &mut Vec<Event>) {
        if let Event::Open(Open::ToolCall { name, .. }) = &mut event
            && let Some(own) = self.names.get(name)
        {
            name.clone_from(own);
        }
        if self.is_single && self.is_of_extra_call(&event) {
            return;
        }
        match &mut self.answer {
            Some(answer) => answer.event(event, told),
            None => told.push(event),
        }
    }

    /// The model asks again for what is not told here, once it has the result of the first.
    fn is_of_extra_call(&mut self, event: &Event) -> bool {
        if let Event::Open(open) = event {
            let is_call = matches!(open, Open::ToolCall { .. });
            self.calls += usize::from(is_call);
            self.in_extra = is_call && self.calls > 1;
        }
        let is_of_block =
            matches!(event, Event::Open(_) | Event::Delta(_) | Event::Seal(_) | Event::Close);
        self.in_extra && is_of_block
    }
}

impl Answer {
    fn event(&mut self, event: Event, told: &mut Vec<Event>) {
        match event {
            Event::Open(Open::ToolCall { name, .. }) if name == self.tool => {
                self.text.clear();
                self.in_second = self.was_given;
                if !self.was_given {
                    (self.is_open, self.was_given) = (true, true);
                }
            }
            Event::Open(Open::Text) => self.in_text = true,
            Event::Delta(more) if self.in_text => self.text.push_str(&more),
            Event::Close if self.in_text => self.in_text = false,
            Event::Delta(_) | Event::Seal(_) if self.in_second => {}
            Event::Close if self.in_second => self.in_second = false,
            Event::Delta(more) if self.is_open && self.is_wrapped => self.wrapped.push_str(&more),
            Event::Seal(_) if self.is_open => {}
            Event::Delta(more) if self.is_open => self.tell(more, told),
            Event::Close if self.is_open => {
                if self.is_wrapped {
                    self.tell(unwrapped(&self.wrapped), told);
                }
                told.extend(self.is_told.then_some(Event::Close));
                self.is_open = false;
            }
            Event::Open(Open::ToolCall { .. }) => {
                self.has_other_calls = true;
                self.tell_text(told);
                told.push(event);
            }
            Event::Usage(_) => {
                self.tell_text(told);
                told.push(event);
            }
            Event::Stop(stop) => {
                self.tell_text(told);
                told.push(Event::Stop(match stop {
                    Stop::ToolCalls if !self.has_other_calls => Stop::End,
                    other => other,
                }));
            }
            other => told.push(other),
        }
    }

    /// More of the answer. Of one that was cut off before it began nothing is told.
    fn tell(&mut self, more: String, told: &mut Vec<Event>) {
        if more.is_empty() {
            return;
        }
        if !self.is_told {
            self.is_told = true;
            told.push(Event::Open(Open::Text));
        }
        told.push(Event::Delta(more));
    }

    fn tell_text(&mut self, told: &mut Vec<Event>) {
        if !self.text.is_empty() && !self.was_given {
            let text = std::mem::take(&mut self.text);
            told.extend([Event::Open(Open::Text), Event::Delta(text), Event::Close]);
        }
    }
}

/// How the name of the tool begins that takes the answer.
pub const ANSWER_TOOL: &str = "give_answer";

fn names(tools: &[Tool]) -> Vec<String> {
    tools.iter().map(|t| t.name.clone()).collect()
}

fn stub(name: String) -> Tool {
    let description = Some("No longer available; do not call it.".to_owned());
    Tool { name, description, schema: None, cache: None, is_strict: false }
}

fn user(text: &str) -> Turn {
    Turn { role: Role::User, blocks: vec![Block::text(text)] }
}

fn is_blank(block: &Block) -> bool {
    matches!(block, Block::Text { text, .. } if text.is_blank())
}

/// Texts of nothing but white space. A cache point on one goes to the block before it.
fn drop_what_is_empty(request: &mut Request) {
    drop_blanks(&mut request.system);
    for turn in &mut request.turns {
        for block in &mut turn.blocks {
            if let Block::ToolResult { content, .. } = block {
                drop_blanks(content);
            }
        }
        drop_blanks(&mut turn.blocks);
    }
    request.turns.retain(|t| !t.blocks.is_empty());
}

fn drop_blanks(blocks: &mut Vec<Block>) {
    for i in 1..blocks.len() {
        let point = if is_blank(&blocks[i]) { blocks[i].cache().and_then(|c| *c) } else { None };
        if let (Some(point), Some(before)) = (point, blocks[i - 1].cache()) {
            before.get_or_insert(point);
        }
    }
    blocks.retain(|b| !is_blank(b));
}

fn drop_what_others_sealed(request: &mut Request, takes: fn(&Seal) -> bool) {
    for turn in &mut request.turns {
        turn.blocks.retain(|block| match block {
            Block::Reasoning { seal, .. } => seal.as_ref().is_some_and(takes),
            _ => true,
        });
        for block in &mut turn.blocks {
            if let Block::ToolCall { seal, .. } = block
                && !seal.as_ref().is_some_and(takes)
            {
                *seal = None;
            }
        }
    }
    request.turns.retain(|t| !t.blocks.is_empty());
}

/// Turns of one role in a row become one. Within the assistant's, calls come last.
pub fn merged(turns: Vec<Turn>) -> Vec<Turn> {
    let mut merged: Vec<Turn> = Vec::with_capacity(turns.len());
    for turn in turns {
        match merged.last_mut() {
            Some(last) if last.role == turn.role => last.blocks.extend(turn.blocks),
            _ => merged.push(turn),
        }
    }
    let is_call = |b: &Block| matches!(b, Block::ToolCall { .. });
    for turn in merged.iter_mut().filter(|t| t.role == Role::Assistant) {
        turn.blocks.sort_by_key(is_call);
    }
    merged
}

/// Media of results come after them.
fn hoist_media(turn: &mut Turn) {
    let mut hoisted = vec![];
    for block in &mut turn.blocks {
        let Block::ToolResult { content, .. } = block else { continue };
        let is_media = |b: &mut Block| matches!(b, Block::Media { .. });
        hoisted.extend(content.extract_if(.., is_media));
    }
    if hoisted.is_empty() {
        return;
    }
    let is_result = |b: &Block| matches!(b, Block::ToolResult { .. });
    let at = turn.blocks.iter().rposition(is_result).map_or(0, |last| last + 1);
    turn.blocks.splice(at..at, hoisted);
}

fn begin_with_user(request: &mut Request) {
    match request.turns.first() {
        // Instructions alone are what the person says.
        None => {
            let blocks = std::mem::take(&mut request.system);
            let blocks = if blocks.is_empty() { vec![Block::text("Begin.")] } else { blocks };
            request.turns.push(Turn { role: Role::User, blocks });
        }
        Some(first) if first.role == Role::Assistant => request.turns.insert(0, user("Begin.")),
        Some(_) => {}
    }
}

/// Whether the last turn is the beginning of the reply.
pub fn ends_with_assistant(turns: &[Turn]) -> bool {
    turns.last().is_some_and(|t| t.role == Role::Assistant)
}

/// FNV-1a: the same on every machine and in every version.
pub fn digest(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::pairs::fitting_id;
    use super::*;

    const FIT: Fit = Fit {
        name_takes: plain,
        name_max: 20,
        id_max: 16,
        format: FormatFit::ByTool,
        takes_prefill: false,
        takes_media_in_results: false,
        needs_tools_for_calls: true,
        takes_single_call: true,
        takes_seal: |seal| matches!(seal, Seal::Claude(_)),
    };

    fn call(id: &str, name: &str) -> Block {
        let arguments = String::new();
        Block::ToolCall { id: id.into(), name: name.into(), arguments, seal: None, cache: None }
    }

    fn result(id: &str, text: &str) -> Block {
        let content = vec![Block::text(text)];
        Block::ToolResult {
            id: id.into(),
            name: String::new(),
            content,
            is_error: false,
            cache: None,
        }
    }

    /// Roles and blocks in a few letters.
    fn sketch(request: &Request) -> Vec<String> {
        let block = |b: &Block| match b {
            Block::Text { text, .. } => format!("\"{text}\""),
            Block::Reasoning { text, .. } => format!("<{text}>"),
            Block::ToolCall { id, name, arguments, .. } => format!("{name}#{id}{arguments}"),
            Block::ToolResult { id, name, content, .. } => format!("{name}#{id}={}", content.len()),
            Block::Media { path, .. } => format!("@{path}"),
        };
        let turn = |t: &Turn| {
            let blocks: Vec<_> = t.blocks.iter().map(block).collect();
            format!("{:?}: {}", t.role, blocks.join(" "))
        };
        request.turns.iter().map(turn).collect()
    }

    fn turns(turns: Vec<(Role, Vec<Block>)>) -> Request {
        let turns = turns.into_iter().map(|(role, blocks)| Turn { role, blocks }).collect();
        Request { turns, ..Request::default() }
    }

    #[test]
    fn calls_are_answered_at_once_and_first() {
        use Role::*;
        let mut request = turns(vec![
            (Assistant, vec![call("a", "f"), call("b", "g")]),
            (Assistant, vec![Block::text("meanwhile")]),
            (User, vec![Block::text("hurry")]),
            (User, vec![result("b", "2"), result("x", "orphan"), result("b", "2")]),
            (Assistant, vec![call("a", "f")]),
            (User, vec![result("a", "3")]),
            (Assistant, vec![Block::text(" "), Block::text("so")]),
        ]);
        FIT.apply(&mut request);
        let again = fitting_id("a", 2, 16);
        assert_eq!(
            sketch(&request),
            [
                "User: \"Begin.\"".to_owned(),
                "Assistant: \"meanwhile\" f#a{} g#b{}".to_owned(),
                "User: f#a=1 g#b=1 \"hurry\" \"Result of an earlier tool call: orphan\"".to_owned(),
                format!("Assistant: f#{again}{{}}"),
                format!("User: f#{again}=1"),
                "Assistant: \"so\"".to_owned(),
                "User: \"Continue.\"".to_owned(),
            ]
        );
        assert_eq!(names(&request.tools), ["f", "g"]);
    }

    #[test]
    fn calls_with_one_id_are_answered_in_order() {
        use Role::*;
        let two = |id: &str| {
            let results = vec![result(id, "1"), result(id, "2"), result(id, "3")];
            vec![(Assistant, vec![call(id, "f"), call(id, "g")]), (User, results)]
        };
        for id in ["", "f"] {
            let mut request = turns([two(id), two(id)].concat());
            FIT.apply(&mut request);
            let blocks: Vec<Block> = request.turns.into_iter().flat_map(|t| t.blocks).collect();
            let texts = blocks.iter().filter_map(|b| match b {
                Block::ToolResult { name, content, .. } => match &content[..] {
                    [Block::Text { text, .. }] => Some(format!("{name}={text}")),
                    _ => None,
                },
                _ => None,
            });
            assert_eq!(texts.collect::<Vec<_>>(), ["f=1", "g=2", "f=1", "g=2"], "{id}");
            assert_eq!(blocks.len(), 1 + 8, "nothing else but the beginning");
        }
    }

    #[test]
    fn a_long_conversation_takes_no_longer_than_it_is() {
        use Role::*;
        let (calls, results): (Vec<_>, Vec<_>) = (0..50_000)
            .map(|n| {
                (call(&n.to_string(), &format!("f.{}", n % 20_000)), result(&n.to_string(), ""))
            })
            .unzip();
        let at_once = vec![(Assistant, calls.clone()), (User, results.clone())];
        let in_turn = calls.into_iter().zip(results);
        let in_turn = in_turn.flat_map(|(c, r)| [(Assistant, vec![c]), (User, vec![r])]);
        for request in [at_once, in_turn.collect()] {
            let mut request = turns(request);
            let since = std::time::Instant::now();
            FIT.apply(&mut request);
            let took = since.elapsed();
            assert!(took < std::time::Duration::from_secs(10), "{took:?}");
            let mut names = names(&request.tools);
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 20_000);
        }
    }

    #[test]
    fn names_and_ids_fit_and_come_back() {
        let tool = |name: &str| Tool {
            name: name.into(),
            description: None,
            schema: None,
            cache: None,
            is_strict: false,
        };
        let mut request = turns(vec![(Role::User, vec![Block::text("hi")])]);
        request.tools = ["a.b", "a_b", "1st", "a_very_long_name_for_a_tool"].map(tool).into();
        request.tool_choice = Some(ToolChoice::Named("a.b".into()));
        let mut undo = FIT.apply(&mut request);
        let new = names(&request.tools);
        assert_eq!(new[1..3], ["a_b", "_1st"]);
        assert!(new[0].starts_with("a_b_") && new.iter().all(|n| FIT.is_name(n)), "{new:?}");
        assert_eq!(request.tool_choice, Some(ToolChoice::Named(new[0].clone())));
        for (upstream, own) in new.iter().zip(["a.b", "a_b", "1st", "a_very_long_name_for_a_tool"])
        {
            let mut told = vec![];
            let open =
                |name: &str| Event::Open(Open::ToolCall { id: "i".into(), name: name.into() });
            undo.event(open(upstream), &mut told);
            assert_eq!(told, [open(own)]);
        }
        for id in ["call:1", "", "a_very_long_id_for_a_call"] {
            let new = fitting_id(id, 1, 16);
            assert!(new.len() <= 16 && new.chars().all(plain), "{new}");
            assert_eq!(new, fitting_id(id, 1, 16));
        }
    }

    #[test]
    fn an_answer_by_tool_is_text_again() {
        let table = [
            (r#"{"type":"object"}"#, r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{"type":"array"}"#, r#"{"answer": [1.10]}"#, "[1.10]"),
            (r#"{"type":"object"}"#, "", ""),
            (r#"{"type":"array"}"#, "", ""),
        ];
        for (schema, arguments, expected) in table {
            let mut request = turns(vec![(Role::User, vec![Block::text("hi")])]);
            let schema = schema.to_owned();
            request.format =
                Format::Schema { name: "n".into(), description: None, schema, is_strict: None };
            let mut undo = FIT.apply(&mut request);
            assert_eq!(request.tool_choice, Some(ToolChoice::Named("give_answer".into())));
            let mut told = vec![];
            let name = "give_answer".to_owned();
            for event in [
                Event::Open(Open::Text),
                Event::Delta("Here it is:".into()),
                Event::Close,
                Event::Open(Open::ToolCall { id: "1".into(), name }),
                Event::Delta(arguments.into()),
                Event::Close,
                Event::Stop(Stop::ToolCalls),
            ] {
                undo.event(event, &mut told);
            }
            let delta = Event::Delta(expected.into());
            let block = [Event::Open(Open::Text), delta, Event::Close];
            let block = if expected.is_empty() { vec![] } else { block.to_vec() };
            assert_eq!(told, [block, vec![Event::Stop(Stop::End)]].concat());
        }
    }

    #[test]
    fn text_without_the_call_is_still_told() {
        let mut request = turns(vec![(Role::User, vec![Block::text("hi")])]);
        request.format = Format::Json;
        let mut undo = FIT.apply(&mut request);
        let mut told = vec![];
        let text = [Event::Open(Open::Text), Event::Delta("{}".into()), Event::Close];
        for event in text.clone().into_iter().chain([Event::Stop(Stop::End)]) {
            undo.event(event, &mut told);
        }
        assert_eq!(told[..3], text);
        assert_eq!(told[3], Event::Stop(Stop::End));
    }

    #[test]
    fn what_others_sealed_is_left_out() {
        let seal = |s| Block::Reasoning { text: "t".into(), seal: s };
        let mut request = turns(vec![
            (Role::User, vec![Block::text("hi")]),
            (
                Role::Assistant,
                vec![seal(None), seal(Some(Seal::Claude("x".into()))), call("a", "f")],
            ),
        ]);
        FIT.apply(&mut request);
        assert_eq!(sketch(&request)[1], "Assistant: <t> f#a{}");
    }
}
