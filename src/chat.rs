//! The words of a conversation that every dialect shares: what converts one dialect into another passes through here.
//!
//! Small on purpose, and it says what it cannot say: a field that no target can carry is named in [`Request::dropped`] or
//! refused. A reply is a sequence of events in brackets,
//! `Start · (Open · Delta* · Close)* · Usage? · (Stop | Failed)`, strictly one block after the other; [`Brackets`] makes it so
//! for sources that are not so tidy, and a whole reply is [`fold`] of its events, so stream and whole cannot disagree.

mod brackets;
pub mod fit;
mod fold;
mod text;

use std::borrow::Cow;

pub use brackets::Brackets;
pub use fold::fold;
pub use text::{Text, Written};

use crate::error::Error;

/// What a client asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Texts, in order, wherever in the conversation they stood.
    pub system: Vec<Block>,
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    /// At most one call a turn.
    pub is_single_call: bool,
    pub format: Format,
    /// The most tokens of the reply, reasoning included.
    pub output_max: Option<u64>,
    /// 0 to 2.
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub stop: Vec<String>,
    pub seed: Option<i64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    /// `None`: the model's own default.
    pub thinking: Option<Thinking>,
    /// A word for who asks, the same each time, that does not say who it is.
    pub user: Option<String>,
    /// JSON paths of what the client sent and the upstream will not see.
    pub dropped: Vec<Cow<'static, str>>,
}

/// One speaker's blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub role: Role,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The person, and the results of tools.
    User,
    Assistant,
}

/// A part of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Text {
        text: Text,
        cache: Option<CachePoint>,
    },
    /// What the model thought. Only with a seal of its own maker can it be given back to a model.
    Reasoning {
        text: String,
        seal: Option<Seal>,
    },
    ToolCall {
        id: String,
        name: String,
        /// JSON as the model wrote it.
        arguments: String,
        seal: Option<Seal>,
        cache: Option<CachePoint>,
    },
    ToolResult {
        id: String,
        /// Of the tool.
        name: String,
        /// Texts and media.
        content: Vec<Block>,
        is_error: bool,
        cache: Option<CachePoint>,
    },
    Media {
        kind: MediaKind,
        source: Source,
        /// A file's name.
        name: Option<String>,
        cache: Option<CachePoint>,
        /// Where it stands in the client's request.
        path: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    File,
    Audio,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        data: String,
    },
    /// http or https.
    Url(String),
}

/// Proof of a vendor that its model made this reasoning or call, to be given back unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// Claude's signature of a thinking block.
    Claude(String),
    /// A thinking block that only Claude can read; the text beside it is empty.
    ClaudeRedacted(String),
    /// Gemini's thought signature, on a call or a text.
    Gemini(String),
    /// A thought that only the deployment of OpenAI's can read which had it: the item's id and its encrypted content, both
    /// marked.
    OpenAi { id: String, encrypted: String },
}

/// Everything up to and with the block that has it may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePoint {
    FiveMinutes,
    OneHour,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema, as the client wrote it.
    pub schema: Option<String>,
    /// Whether calls have to be of the schema, word for word. Without one they cannot be.
    pub is_strict: bool,
    pub cache: Option<CachePoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    /// Some tool has to be called.
    Any,
    /// This one.
    Named(String),
}

/// What the reply's text has to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Format {
    #[default]
    Text,
    /// Some JSON object.
    Json,
    /// JSON of this schema.
    Schema { name: String, description: Option<String>, schema: String, is_strict: Option<bool> },
}

/// How much the model is to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    Off,
    Effort(Effort),
    /// Tokens.
    Budget(u64),
    /// As the model sees fit.
    Adaptive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    /// `xhigh`.
    Highest,
    /// As much as there is: for those who ask for it by name.
    Max,
}

/// A step of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// First, once.
    Start {
        /// The upstream's id of the reply.
        id: Option<String>,
    },
    Open(Open),
    /// More of the open block: text, reasoning, or a call's arguments.
    Delta(String),
    /// Of the open block.
    Seal(Seal),
    Close,
    Usage(Usage),
    /// The reply is complete.
    Stop(Stop),
    /// It never will be.
    Failed(Error),
}

/// What a block will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    Text,
    Reasoning,
    ToolCall { id: String, name: String },
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The model was done, or met a stop sequence.
    End,
    /// `output_max`, or the model's context was full.
    Length,
    ToolCalls,
    /// The model or a filter refused.
    Refusal,
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub id: Option<String>,
    /// Texts, reasoning and tool calls.
    pub blocks: Vec<Block>,
    pub usage: Option<Usage>,
    pub stop: Stop,
}

/// Token counts of one request. `input` includes `cached` and `cache_written`, `output` includes `reasoning`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub cached: u64,
    pub cache_written: u64,
    pub output: u64,
    pub reasoning: u64,
}

impl Block {
    pub fn text(text: impl Into<Text>) -> Block {
        Block::Text { text: text.into(), cache: None }
    }

    fn bytes(&self) -> usize {
        100 + match self {
            Block::Text { text, .. } => text.bytes(),
            Block::Reasoning { text, .. } => text.len(),
            Block::ToolCall { arguments, .. } => arguments.len(),
            Block::ToolResult { content, .. } => content.iter().map(Block::bytes).sum(),
            Block::Media { source: Source::Base64 { data, .. }, .. } => data.len(),
            Block::Media { source: Source::Url(url), .. } => url.len(),
        }
    }

    /// The mark for a cache on this block, where it may have one.
    pub fn cache(&mut self) -> Option<&mut Option<CachePoint>> {
        match self {
            Block::Text { cache, .. }
            | Block::ToolCall { cache, .. }
            | Block::ToolResult { cache, .. }
            | Block::Media { cache, .. } => Some(cache),
            Block::Reasoning { .. } => None,
        }
    }
}

impl Thinking {
    /// How much that is, where it is said.
    pub fn effort(self) -> Option<Effort> {
        match self {
            Thinking::Effort(effort) => Some(effort),
            Thinking::Budget(..=4096) => Some(Effort::Low),
            Thinking::Budget(..=16384) => Some(Effort::Medium),
            Thinking::Budget(_) => Some(Effort::High),
            Thinking::Off | Thinking::Adaptive => None,
        }
    }
}

/// All texts, a blank line between them.
pub fn joined(blocks: &[Block]) -> Cow<'_, str> {
    let mut texts = blocks.iter().filter_map(|b| match b {
        Block::Text { text, .. } => Some(&**text),
        _ => None,
    });
    let mut joined = Cow::Borrowed(texts.next().unwrap_or(""));
    for text in texts {
        joined.to_mut().push_str("\n\n");
        joined.to_mut().push_str(text);
    }
    joined
}

impl Request {
    /// Gives each URL, with its JSON path, what it names.
    pub fn each_url(
        &mut self,
        named: &mut dyn FnMut(&str, &str) -> Result<Source, Error>,
    ) -> Result<(), Error> {
        for turn in &mut self.turns {
            each_url(&mut turn.blocks, named)?;
        }
        Ok(())
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        let turns = self.turns.iter().flat_map(|t| &t.blocks).chain(&self.system).map(Block::bytes);
        let tools = self.tools.iter().map(|t| {
            200 + t.description.as_ref().map_or(0, String::len)
                + t.schema.as_ref().map_or(0, String::len)
        });
        turns.sum::<usize>() + tools.sum::<usize>()
    }

    /// Notes that this will not be seen upstream. Of very many, the first are named.
    pub fn drop_field(&mut self, path: impl Into<Cow<'static, str>>) {
        if self.dropped.len() > DROPPED_MAX {
            return;
        }
        let path = path.into();
        if self.dropped.contains(&path) {
            return;
        }
        let is_full = self.dropped.len() == DROPPED_MAX;
        self.dropped.push(if is_full { Cow::Borrowed("...") } else { path });
    }
}

/// Names of dropped fields; they are told in a header.
const DROPPED_MAX: usize = 50;

fn each_url(
    blocks: &mut [Block],
    named: &mut dyn FnMut(&str, &str) -> Result<Source, Error>,
) -> Result<(), Error> {
    for block in blocks {
        match block {
            // Results hold no results.
            Block::ToolResult { content, .. } => each_url(content, named)?,
            Block::Media { source, path, .. } => {
                if let Source::Url(url) = source {
                    *source = named(url, path)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_dropped_fields_some_are_named() {
        let mut request = Request::default();
        (0..100_000).for_each(|n| request.drop_field(format!("tools[{}]", n / 2)));
        assert_eq!(request.dropped.len(), 51);
        assert_eq!(request.dropped[48..], ["tools[48]", "tools[49]", "..."]);
    }
}
