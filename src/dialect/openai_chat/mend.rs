//! What vLLM and Perplexity say otherwise than OpenAI in this grammar (dossier 5d), put right on its way to the client.
//!
//! Values that are right stay verbatim, and a frame without anything of the kind is not even parsed.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::WireUsage;
use crate::chat::Usage;
use crate::envelope::{Envelope, quoted};

/// What an upstream says otherwise than OpenAI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Quirks {
    #[default]
    None,
    /// The reply ends with `stop` though there are calls, `tool_calls` is there though there are none, and newer versions
    /// call `reasoning` what clients know as `reasoning_content`.
    Vllm,
    /// As vLLM, and in a stream each chunk calls itself a whole reply, and has usage, and the whole message beside what is new
    /// of it.
    Perplexity,
}

impl Quirks {
    /// Whether a stream's usage has to be asked for. Left open by the dossier: whether Perplexity knows `stream_options`; it
    /// tells the usage unasked.
    pub fn has_usage_option(self) -> bool {
        self != Quirks::Perplexity
    }

    pub(super) fn mend_reply(self, reply: &mut Envelope) {
        if self != Quirks::None {
            reply.edit_each("choices", |choice| {
                let has_calls = mend_choice(choice, "message", "delta");
                mend_finish(choice, has_calls);
            });
        }
    }
}

/// Puts the chunks of a stream right.
#[derive(Debug, Default)]
pub(super) struct Mend {
    quirks: Quirks,
    /// Indices of the choices that have calls.
    calling: Vec<Vec<u8>>,
    /// Of the last chunk with choices that had it.
    pub(super) usage: Option<Usage>,
    /// A chunk that was put right had it.
    pub(super) has_finish_reason: bool,
    /// A delta said something.
    has_said: bool,
    usage_chunk: Option<Vec<u8>>,
}

impl Mend {
    /// `None` where nothing has to be put right.
    pub(super) fn new(quirks: Quirks) -> Option<Mend> {
        (quirks != Quirks::None).then_some(Mend { quirks, ..Mend::default() })
    }

    /// The chunk put right; `None` where it is.
    pub(super) fn chunk(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        if !self.is_suspect(data) {
            return None;
        }
        let mut chunk = Envelope::parse(data.to_vec()).ok()?;
        if chunk.list("choices")?.is_empty() {
            // The usage event as OpenAI has it.
            self.usage_chunk = None;
            return None;
        }
        chunk.edit_each("choices", |choice| self.choice(choice));
        // Perplexity's are `chat.completion`, `chat.completion.done` and more.
        if chunk.raw("object").is_some_and(|object| object != b"\"chat.completion.chunk\"") {
            chunk.set("object", "\"chat.completion.chunk\"");
        }
        self.take_usage(&mut chunk);
        Some(chunk.into_bytes())
    }

    fn choice(&mut self, choice: &mut Envelope) {
        // Perplexity's last chunk may have only the whole message, which is new where nothing was said before.
        let is_whole = choice.has("message") && !choice.has("delta");
        if is_whole && self.quirks == Quirks::Perplexity {
            if self.has_said {
                choice.set("delta", "{}");
            } else {
                choice.rename("message", "delta");
            }
        }
        let index = choice.raw("index").unwrap_or(b"0").to_vec();
        if mend_choice(choice, "delta", "message") && !self.calling.contains(&index) {
            self.calling.push(index.clone());
        }
        self.has_said |= says(choice);
        mend_finish(choice, self.calling.contains(&index));
        self.has_finish_reason |= choice.raw("finish_reason").is_some_and(|r| r.starts_with(b"\""));
    }

    /// What comes before the end for a client that asked for usage: counts that came beside choices, in a chunk of their
    /// own.
    pub(super) fn usage_chunk(&mut self) -> Option<Vec<u8>> {
        self.usage_chunk.take()
    }

    fn is_suspect(&self, data: &[u8]) -> bool {
        let has = |finder: &Finder<'_>| finder.find(data).is_some();
        self.quirks == Quirks::Perplexity
            || has(&KEYS.tool_calls)
            || has(&KEYS.reasoning)
            || has(&KEYS.usage)
            || (!self.calling.is_empty() && has(&KEYS.finish_reason))
    }

    fn take_usage(&mut self, chunk: &mut Envelope) {
        let Some(usage) = chunk.get::<WireUsage>("usage", "usage").ok().flatten() else { return };
        self.usage = Some(usage.into());
        let mut own = Envelope::default();
        for key in ["id", "object", "created", "model", "choices", "usage"] {
            match chunk.raw(key) {
                _ if key == "choices" => own.set(key, "[]"),
                Some(value) => own.set(key, String::from_utf8_lossy(value)),
                None => {}
            }
        }
        self.usage_chunk = Some(own.into_bytes());
        chunk.remove("usage");
    }
}

/// What is looked for in each frame.
struct Keys {
    tool_calls: Finder<'static>,
    reasoning: Finder<'static>,
    usage: Finder<'static>,
    finish_reason: Finder<'static>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    tool_calls: Finder::new(br#""tool_calls""#),
    reasoning: Finder::new(br#""reasoning""#),
    usage: Finder::new(br#""usage""#),
    finish_reason: Finder::new(br#""finish_reason""#),
});

/// The `part` of a choice; what only repeats it goes. Whether it has calls.
fn mend_choice(choice: &mut Envelope, part: &str, repeated: &str) -> bool {
    let mut has_calls = false;
    if choice.has(part) {
        choice.remove(repeated);
    }
    choice.edit_in(part, |message| {
        mend_arguments(message);
        let calls = message.list("tool_calls");
        has_calls = calls.as_ref().is_some_and(|calls| !calls.is_empty());
        // SDKs take an empty list for calls.
        if calls.is_some() && !has_calls {
            message.remove("tool_calls");
        }
        let is_missing = message.raw("reasoning_content").is_none_or(|value| value == b"null");
        if is_missing && message.has("reasoning") {
            message.remove("reasoning_content");
            message.rename("reasoning", "reasoning_content");
        }
    });
    has_calls
}

/// Arguments are a string that holds JSON; from some they are the JSON.
fn mend_arguments(message: &mut Envelope) {
    let is_json = |call: &Envelope| {
        let function = call.raw("function").and_then(|f| Envelope::parse(f.to_vec()).ok());
        function.is_some_and(|f| f.raw("arguments").is_some_and(|json| json.starts_with(b"{")))
    };
    if !message.list("tool_calls").is_some_and(|calls| calls.iter().any(is_json)) {
        return;
    }
    message.edit_each("tool_calls", |call| {
        call.edit_in("function", |function| {
            let json = function.raw("arguments").filter(|json| json.starts_with(b"{"));
            let text = json.map(|json| quoted(&String::from_utf8_lossy(json)));
            if let Some(text) = text {
                function.set("arguments", text);
            }
        });
    });
}

/// Whether the choice's delta has a text or a call.
fn says(choice: &Envelope) -> bool {
    let delta = choice.raw("delta").and_then(|delta| Envelope::parse(delta.to_vec()).ok());
    delta.is_some_and(|delta| {
        ["content", "tool_calls"].iter().any(|key| {
            delta.raw(key).is_some_and(|said| !matches!(said, b"null" | b"\"\"" | b"[]"))
        })
    })
}

fn mend_finish(choice: &mut Envelope, has_calls: bool) {
    if has_calls && choice.raw("finish_reason") == Some(b"\"stop\"") {
        choice.set("finish_reason", "\"tool_calls\"");
    }
}
