//! What a simulated model answers, in no grammar yet: the user's words come back, tools are called
//! when the words name them. A family reads its request into a [`Prompt`] and writes the [`Story`].

use serde_json::{Value, json};

use super::fault::without_markers;
use super::{Fault, schema};

/// What of a request an answer depends on.
pub(super) struct Prompt {
    /// The text of the last user message.
    pub user: String,
    /// The last message is that one, and not only tools' results: its words may name tools.
    pub asks: bool,
    /// The texts of the tools' results that end the conversation.
    pub results: Vec<String>,
    /// In the last user message.
    pub images: usize,
    pub documents: usize,
    pub tools: Vec<Tool>,
    pub choice: Choice,
    /// More than one call at a time.
    pub parallel: bool,
    pub format: Format,
    pub stops: Vec<String>,
    pub most_tokens: usize,
}

pub(super) struct Tool {
    pub name: String,
    /// The schema of its arguments; null for none.
    pub parameters: Value,
}

pub(super) enum Choice {
    Auto,
    Never,
    /// At least one, whichever.
    Any,
    Named(String),
}

pub(super) enum Format {
    Text,
    /// Some JSON object.
    Json,
    Schema(Value),
}

/// Calls, or text.
#[derive(Clone)]
pub(super) struct Story {
    /// The text's pieces, one a frame.
    pub pieces: Vec<String>,
    pub calls: Vec<ToolCall>,
    pub end: End,
}

/// A tool's name and its arguments, word for word.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    pub name: String,
    /// A JSON object.
    pub arguments: String,
}

#[derive(Clone, PartialEq)]
pub(super) enum End {
    Said,
    Calls,
    /// At this stop sequence.
    Stopped(String),
    /// There were to be no more tokens.
    Full,
}

impl Default for Prompt {
    fn default() -> Prompt {
        Prompt {
            user: String::new(),
            asks: false,
            results: Vec::new(),
            images: 0,
            documents: 0,
            tools: Vec::new(),
            choice: Choice::Auto,
            parallel: true,
            format: Format::Text,
            stops: Vec::new(),
            most_tokens: usize::MAX,
        }
    }
}

impl Story {
    /// Tool calls, an instance of the wanted schema, or a sentence.
    pub fn new(prompt: &Prompt, fault: &Fault) -> Story {
        let calls = prompt.calls(fault);
        if !calls.is_empty() {
            return Story { pieces: Vec::new(), calls, end: End::Calls };
        }
        if let Some(count) = fault.frames {
            let pieces = (1..=count).map(|n| format!("word{n} ")).collect();
            return Story { pieces, calls, end: End::Said };
        }
        let said = prompt.said();
        let text = match &prompt.format {
            Format::Text => said,
            Format::Json => json!({ "answer": said }).to_string(),
            Format::Schema(wanted) => schema::instance(wanted).to_string(),
        };
        let (text, end) = prompt.shortened(text);
        Story { pieces: words(&text), calls, end }
    }

    pub fn text(&self) -> String {
        self.pieces.concat()
    }

    pub fn tokens(&self) -> usize {
        let spoken = self.pieces.iter().map(String::len).sum::<usize>();
        let called = self.calls.iter().map(|c| c.name.len() + c.arguments.len()).sum::<usize>();
        tokens(spoken + called)
    }
}

impl Prompt {
    /// What a person would read: their own words or a tool's, and what it is that answers.
    fn said(&self) -> String {
        if !self.results.is_empty() {
            return format!("The tool says: {} — {SIGNATURE}", self.results.join(" · "));
        }
        let images = counted("I see", self.images, "image");
        let documents = counted("I read", self.documents, "document");
        format!("You said: \"{}\".{images}{documents} {SIGNATURE}", said_by_person(&self.user))
    }

    /// The calls that the marker, the tool choice or the user's words ask for.
    fn calls(&self, fault: &Fault) -> Vec<ToolCall> {
        let mut calls = self.scripted_calls(fault);
        if calls.is_empty() {
            calls = self.other_calls(fault);
        }
        if !self.parallel {
            calls.truncate(1);
        }
        calls
    }

    fn scripted_calls(&self, fault: &Fault) -> Vec<ToolCall> {
        let scripted = match &self.choice {
            Choice::Auto | Choice::Any => fault.turns.first().into_iter().flatten(),
            Choice::Never | Choice::Named(_) => return Vec::new(),
        };
        let is_offered = |call: &&ToolCall| self.tools.iter().any(|tool| tool.name == call.name);
        scripted.filter(is_offered).cloned().collect()
    }

    fn other_calls(&self, fault: &Fault) -> Vec<ToolCall> {
        let wanted = self.wanted_tools(fault).into_iter();
        let made = wanted.map(|tool| {
            let arguments = match &tool.parameters {
                Value::Null => json!({}),
                parameters => schema::instance(parameters),
            };
            ToolCall { name: tool.name.clone(), arguments: arguments.to_string() }
        });
        made.collect()
    }

    fn wanted_tools(&self, fault: &Fault) -> Vec<&Tool> {
        let named = |names: &dyn Fn(&str) -> bool| {
            self.tools.iter().filter(|tool| names(&tool.name)).collect::<Vec<_>>()
        };
        let words = said_by_person(&self.user);
        let mentioned = || named(&|name| self.asks && mentions(&words, name));
        match &self.choice {
            Choice::Never => Vec::new(),
            Choice::Any => {
                let mentioned = mentioned();
                let first = self.tools.first().into_iter().collect();
                if mentioned.is_empty() { first } else { mentioned }
            }
            Choice::Named(name) => named(&|known| name == known),
            Choice::Auto if self.asks && !fault.tools.is_empty() => {
                named(&|name| fault.tools.iter().any(|wanted| wanted == name))
            }
            Choice::Auto => mentioned(),
        }
    }

    /// The text up to the first stop sequence or the last token allowed, and why it ends there.
    fn shortened(&self, mut text: String) -> (String, End) {
        let stops = self.stops.iter().filter(|stop| !stop.is_empty());
        let first = stops.filter_map(|stop| Some((text.find(stop)?, stop))).min();
        let mut end = End::Said;
        if let Some((at, stop)) = first {
            text.truncate(at);
            end = End::Stopped(stop.clone());
        }
        if tokens(text.len()) <= self.most_tokens {
            return (text, end);
        }
        let mut most = self.most_tokens.saturating_mul(BYTES_PER_TOKEN).min(text.len());
        while !text.is_char_boundary(most) {
            most -= 1;
        }
        text.truncate(most);
        (text, End::Full)
    }
}

/// Without markers, and without what a coding agent puts before its user's words: that names tools,
/// too.
fn said_by_person(text: &str) -> String {
    let mut kept = without_markers(text);
    while let Some((before, rest)) = kept.split_once("<system-reminder>") {
        let after = rest.split_once("</system-reminder>").map_or("", |(_, after)| after);
        kept = format!("{}{}", before.trim_end(), after);
    }
    kept.trim().to_owned()
}

/// ` I see 2 images.`, or nothing.
fn counted(verb: &str, count: usize, noun: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!(" {verb} 1 {noun}."),
        n => format!(" {verb} {n} {noun}s."),
    }
}

/// The name as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

/// Pieces that end after a space; a long text has longer ones, so that no answer takes for ever.
pub(super) fn words(text: &str) -> Vec<String> {
    let words = text.split_inclusive(' ').collect::<Vec<_>>();
    let size = words.len().div_ceil(PIECES_MAX).max(1);
    words.chunks(size).map(<[&str]>::concat).collect()
}

pub(super) fn thirds(text: &str) -> Vec<String> {
    let chars = text.chars().collect::<Vec<_>>();
    chars.chunks(chars.len().div_ceil(3).max(1)).map(|c| c.iter().collect()).collect()
}

/// One list after the other, or an item of each by turns.
pub(super) fn woven<T>(lists: Vec<Vec<T>>, by_turns: bool) -> Vec<T> {
    if !by_turns {
        return lists.into_iter().flatten().collect();
    }
    let mut rests = lists.into_iter().map(Vec::into_iter).collect::<Vec<_>>();
    let mut woven = Vec::new();
    while rests.iter().any(|rest| rest.len() > 0) {
        woven.extend(rests.iter_mut().filter_map(Iterator::next));
    }
    woven
}

pub(super) fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// A vector of length 1, the same for the same text.
pub(super) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let digest = crate::auth::digest(text);
    let mut seed = digest.iter().take(8).fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
    let mut next = || {
        // The constants are Knuth's MMIX generator.
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let raw = (0..dimensions).map(|_| next()).collect::<Vec<_>>();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.iter().map(|x| x / length).collect()
}

const SIGNATURE: &str = "This is the demo of sap-ai-core-llm-proxy: a simulated SAP AI Core \
                         answers, no model is involved — enjoy 👋";
const BYTES_PER_TOKEN: usize = 4;
const PIECES_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_are_no_words_of_the_person() {
        for (text, said) in [
            ("<system-reminder>\nUse Bash.</system-reminder>\n Hello [[demo crlf]]", "Hello"),
            ("One <system-reminder>a</system-reminder> two", "One two"),
            ("One <system-reminder>never closed", "One"),
            ("One < two", "One < two"),
        ] {
            assert_eq!(said_by_person(text), said);
        }
    }
}
