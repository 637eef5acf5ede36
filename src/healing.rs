//! Requests that AI Core refuses for a field the client has no say in.
//!
//! Agents send new fields, flags and tool types with every release; vendors behind AI Core refuse what they do not know with
//! a 400 that names it. The client could do nothing about it. So what is named is taken out and the request is repeated.
//! Where that helped, and the refusal was of the field and not of its value, the deployment's requests go without it at
//! once for an hour. A key that carries the meaning of a request, one of `KEPT`, is never taken out, wherever it is.
//!
//! Refusals quote what was sent. So each is read from its beginning, in the very form in which its vendor writes it, and
//! names nothing but names.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;

use crate::envelope::{Envelope, field, header_safe, listed, quoted};
use crate::error::Error;

/// How many cures one request may need.
pub const CURES_MAX: usize = 3;
/// How many a deployment remembers.
const REMEMBERED_MAX: usize = 32;
/// How long it does: it may have become another version's.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest name, of a key or of a type, that is believed to be one.
const NAME_CHARS_MAX: usize = 64;
/// The longest path.
const STEPS_MAX: usize = 24;

/// What makes a refused request acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cure {
    change: Change,
    /// Whether the field was refused, and not the value that this request has there.
    is_lasting: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// The value at this path is taken out.
    Remove(Vec<Step>),
    /// The first key is called by the second's name.
    Rename(&'static str, &'static str),
    /// Tools of these types are taken out.
    RemoveTools(Vec<String>),
    /// These of Claude's beta flags are taken out.
    RemoveFlags(Vec<String>),
    /// The limit of the reply is taken out: it was more than the model gives, which is what it gives without.
    RemoveLimit,
    /// What the model had thought is taken out of the conversation: it was signed elsewhere, by another subaccount or
    /// another way to the same model.
    RemoveThoughts,
    /// The same, where it is encrypted by the deployment that thought it, and this is another.
    RemoveEncrypted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    /// Any item of a list: what one of them may not have, none may.
    Items,
}

/// OpenAI's two names of one limit.
const LIMITS: [&str; 2] = ["max_tokens", "max_completion_tokens"];

/// Never taken out, written like this or `like_this`, or as a whole path: without them it is another request.
#[rustfmt::skip]
const KEPT: &[&str] = &[
    "messages", "contents", "model", "maxTokens", "maxCompletionTokens", "maxOutputTokens", "system",
    "systemInstruction", "anthropicVersion", "role", "content", "parts", "text", "type", "name", "id",
    "tools", "toolChoice", "toolCalls", "toolConfig", "toolUseId", "toolCallId", "input", "arguments",
    "function", "functions", "functionCall", "functionResponse", "parameters", "parametersJsonSchema",
    "inputSchema", "responseFormat", "responseSchema", "responseJsonSchema", "inferenceConfig",
    "generationConfig", "config", "prompt", "stream", "stop", "stopSequences", "logitBias", "n",
    "source", "data", "imageUrl", "inlineData", "document", "image", "query", "documents", "topN",
    "inputText", "instances", "inputType", "dimensions", "outputDimensionality",
    "instructions", "previousResponseId", "callId", "output", "text.format",
];

/// What an error of AI Core, about this body, asks for, if it is of this kind.
pub fn cure(error: &Error, body: &[u8]) -> Option<Cure> {
    let Error::Upstream { status: 400 | 422, code, message, param, .. } = error else {
        return None;
    };
    let message = message.trim();
    let found = extra_input(message)
        .or_else(|| unknown_name(message))
        .or_else(|| extra_forbidden(message))
        .or_else(|| invalid_flag(message, body))
        .or_else(|| special(message, code.as_deref()))
        .or_else(|| unsupported(message, code.as_deref(), param.as_deref()))?;
    found.is_harmless().then_some(found)
}

impl Cure {
    fn lasting(change: Change) -> Cure {
        Cure { change, is_lasting: true }
    }

    fn once(change: Change) -> Cure {
        Cure { change, is_lasting: false }
    }

    /// Whether other requests would be refused like this one, whatever they have there.
    pub fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// The body without what made it ill; `None` where it has nothing of it.
    pub fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut envelope = Envelope::parse(body.to_vec()).ok()?;
        self.treat(&mut envelope).then(|| envelope.into_bytes())
    }

    /// Whether anything was to be done.
    fn treat(&self, envelope: &mut Envelope) -> bool {
        match &self.change {
            Change::Rename(from, to) => !envelope.has(to) && envelope.rename(from, to),
            Change::Remove(path) => remove(envelope, path),
            Change::RemoveTools(types) => remove_tools(envelope, types),
            Change::RemoveFlags(flags) => remove_flags(envelope, flags),
            Change::RemoveThoughts => remove_thoughts(envelope),
            Change::RemoveEncrypted => remove_encrypted(envelope),
            Change::RemoveLimit => LIMITS.iter().filter(|key| envelope.remove(key)).count() > 0,
        }
    }

    /// Whether a body may have anything of it: a look at its bytes.
    fn concerns(&self, body: &[u8]) -> bool {
        let has = |name: &str| memmem::find(body, quoted(name).as_bytes()).is_some();
        match &self.change {
            Change::Rename(from, _) => has(from),
            Change::RemoveTools(names) | Change::RemoveFlags(names) => {
                names.iter().any(|name| has(name))
            }
            Change::RemoveThoughts => has("signature"),
            Change::RemoveEncrypted => has("encrypted_content"),
            Change::RemoveLimit => LIMITS.iter().any(|key| has(key)),
            Change::Remove(path) => match path.last() {
                Some(Step::Key(key)) => has(key) || (key.contains('_') && has(&camel(key))),
                Some(Step::Items) | None => false,
            },
        }
    }

    fn is_harmless(&self) -> bool {
        match &self.change {
            Change::Remove(path) => match path.last() {
                Some(Step::Key(key)) => {
                    let names = [key.clone(), camel(key), self.to_string()];
                    !names.iter().any(|name| KEPT.contains(&name.as_str()))
                }
                Some(Step::Items) | None => false,
            },
            Change::Rename(..)
            | Change::RemoveTools(_)
            | Change::RemoveFlags(_)
            | Change::RemoveThoughts
            | Change::RemoveEncrypted
            | Change::RemoveLimit => true,
        }
    }
}

impl std::fmt::Display for Cure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.change {
            Change::Remove(path) => {
                for (i, step) in path.iter().enumerate() {
                    match step {
                        Step::Key(key) if i == 0 => f.write_str(key)?,
                        Step::Key(key) => write!(f, ".{key}")?,
                        Step::Items => f.write_str("[]")?,
                    }
                }
                Ok(())
            }
            Change::Rename(from, _) => f.write_str(from),
            Change::RemoveTools(types) => write!(f, "tools[] of type {}", types.join("/")),
            Change::RemoveFlags(flags) => {
                let flags: Vec<String> = flags.iter().map(|flag| header_safe(flag)).collect();
                write!(f, "{FLAGS}[] {}", flags.join("/"))
            }
            Change::RemoveThoughts => f.write_str("messages[].thinking"),
            Change::RemoveEncrypted => f.write_str("input[].encrypted_content"),
            Change::RemoveLimit => f.write_str(LIMITS[0]),
        }
    }
}

/// The cures that helped a deployment, and since when.
#[derive(Debug, Default)]
pub struct Remembered {
    cures: Mutex<Vec<(Instant, Arc<Cure>)>>,
    has_some: AtomicBool,
}

impl Remembered {
    /// The body as the deployment takes it, and what was taken out.
    pub fn apply<'a>(&self, body: &'a [u8]) -> (Cow<'a, [u8]>, Vec<String>) {
        if !self.has_some.load(Ordering::Relaxed) {
            return (Cow::Borrowed(body), vec![]);
        }
        self.apply_at(body, Instant::now())
    }

    fn apply_at<'a>(&self, body: &'a [u8], now: Instant) -> (Cow<'a, [u8]>, Vec<String>) {
        let mut cures = self.at(now);
        cures.retain(|cure| cure.concerns(body));
        let envelope = (!cures.is_empty()).then(|| Envelope::parse(body.to_vec()).ok()).flatten();
        let Some(mut envelope) = envelope else { return (Cow::Borrowed(body), vec![]) };
        cures.retain(|cure| cure.treat(&mut envelope));
        (Cow::Owned(envelope.into_bytes()), cures.iter().map(|cure| cure.to_string()).collect())
    }

    pub fn add(&self, cure: Cure) {
        self.add_at(cure, Instant::now());
    }

    fn add_at(&self, cure: Cure, now: Instant) {
        let known = self.at(now);
        if known.len() < REMEMBERED_MAX && !known.iter().any(|k| **k == cure) {
            let mut cures = self.cures.lock().unwrap_or_else(|e| e.into_inner());
            cures.push((now, Arc::new(cure)));
            self.has_some.store(true, Ordering::Relaxed);
        }
    }

    /// Those that hold still; the others are forgotten.
    fn at(&self, now: Instant) -> Vec<Arc<Cure>> {
        let mut cures = self.cures.lock().unwrap_or_else(|e| e.into_inner());
        cures.retain(|(since, _)| now.saturating_duration_since(*since) < AGE_MAX);
        self.has_some.store(!cures.is_empty(), Ordering::Relaxed);
        cures.iter().map(|(_, cure)| cure.clone()).collect()
    }
}

/// Anthropic's, in a line of its own: `tools.19.custom.cache_control.ephemeral.scope: Extra inputs are not permitted`.
fn extra_input(message: &str) -> Option<Cure> {
    let path = |line| bare(line).strip_suffix(": Extra inputs are not permitted");
    let path = message.lines().find_map(path)?;
    Some(Cure::lasting(Change::Remove(steps(path.split('.'))?)))
}

/// A sentence of Claude's without what Bedrock puts before it.
fn bare(line: &str) -> &str {
    let line = line.trim();
    let line = match line.split_once(": ") {
        Some((word, rest)) if word.ends_with("Exception") && is_name(word) => rest,
        _ => line,
    };
    line.strip_prefix("The model returned the following errors: ").unwrap_or(line)
}

/// Google's: `Unknown name "x" at 'tools[0].function_declarations[0].parameters': Cannot find field.`
fn unknown_name(message: &str) -> Option<Cure> {
    let message = message.strip_prefix("Invalid JSON payload received. ").unwrap_or(message);
    let (name, rest) = message.strip_prefix("Unknown name \"")?.split_once('"')?;
    let place =
        rest.strip_prefix(" at '").and_then(|at| at.split_once('\'')).map_or("", |(p, _)| p);
    let place = place.replace('[', ".").replace(']', "");
    let place = place.split('.').filter(|s| !s.is_empty()).chain([name]);
    Some(Cure::lasting(Change::Remove(steps(place)?)))
}

/// vLLM's, as Python or as JSON writes a list of them, of which the first is taken:
/// `1 validation error: {'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra inputs are not permitted' …`
fn extra_forbidden(message: &str) -> Option<Cure> {
    let place = match first_fault(message) {
        Some(place) => place,
        None => {
            let list = match message.split_once(':') {
                Some((start, rest))
                    if start.trim_end_matches('s').ends_with(" validation error") =>
                {
                    rest
                }
                _ => message,
            };
            let list = list.trim_start().trim_start_matches('[');
            let place = list.strip_prefix("{'type': 'extra_forbidden', 'loc': ('body', ")?;
            let (place, _) = place.split_once(')')?;
            place.split(',').map(|part| part.trim().trim_matches('\'').to_owned()).collect()
        }
    };
    let place = place.iter().map(String::as_str).filter(|part| !part.is_empty());
    Some(Cure::lasting(Change::Remove(steps(place)?)))
}

/// Where the first of a JSON list of faults found a field too many.
fn first_fault(message: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Fault {
        r#type: String,
        loc: Vec<Value>,
    }
    let faults: Vec<Fault> = serde_json::from_str(message).ok()?;
    let fault = faults.first().filter(|fault| fault.r#type == "extra_forbidden")?;
    let (body, place) = fault.loc.split_first()?;
    let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    (body == "body").then(|| place.iter().map(part).collect())
}

/// Bedrock's, which does not say which one. So those go first that nobody knows, and those last that a model can do less
/// without; each deployment remembers the very flags.
fn invalid_flag(message: &str, body: &[u8]) -> Option<Cure> {
    if !bare(message).to_ascii_lowercase().starts_with("invalid beta flag") {
        return None;
    }
    let flags = Envelope::parse(body.to_vec()).ok()?;
    let Ok(flags) = flags.get::<Vec<String>>(FLAGS, "a list of strings") else {
        return Some(Cure::lasting(Change::Remove(vec![Step::Key(FLAGS.to_owned())])));
    };
    let rank = |flag: &String| {
        let begins = |names: &[&str]| names.iter().any(|name| flag.starts_with(name));
        if begins(ABLE_FLAGS) { 2 } else { u8::from(begins(USUAL_FLAGS)) }
    };
    let mut flags = flags?;
    let first = flags.iter().map(rank).min()?;
    flags.retain(|flag| rank(flag) == first);
    Some(Cure::lasting(Change::RemoveFlags(flags)))
}

const FLAGS: &str = "anthropic_beta";
/// How flags begin that Bedrock takes (dossier 5b.2).
const USUAL_FLAGS: &[&str] = &[
    "claude-code-",
    "fine-grained-tool-streaming-",
    "token-efficient-tools-",
    "output-128k-",
    "effort-",
];
/// The same, of those without which a request may not be what was asked.
const ABLE_FLAGS: &[&str] = &[
    "context-1m-",
    "interleaved-thinking-",
    "computer-use-",
    "context-management-",
    "tool-search-tool-",
];

fn remove_flags(envelope: &mut Envelope, flags: &[String]) -> bool {
    let own = envelope.get::<Vec<String>>(FLAGS, "a list of strings").ok().flatten();
    let Some(mut own) = own else { return false };
    let count = own.len();
    own.retain(|flag| !flags.contains(flag));
    if own.is_empty() {
        return envelope.remove(FLAGS);
    }
    let kept: Vec<String> = own.iter().map(|flag| quoted(flag)).collect();
    let is_edited = own.len() < count;
    if is_edited {
        envelope.set_raw(FLAGS, listed(&kept));
    }
    is_edited
}

/// Refusals in words of their own.
fn special(message: &str, code: Option<&str>) -> Option<Cure> {
    let remove = |key: &str| Change::Remove(vec![Step::Key(key.to_owned())]);
    let lower = bare(message).to_ascii_lowercase();
    if lower.starts_with("adaptive thinking is not supported")
        || lower.starts_with("\"thinking.type.enabled\" is not supported")
        || is_thought_missed(bare(message))
    {
        return Some(Cure::once(remove("thinking")));
    }
    if let Some(kind) = unknown_tool(bare(message)) {
        return Some(Cure::lasting(Change::RemoveTools(vec![kind.to_owned()])));
    }
    let deprecated = lower.strip_suffix(" is deprecated for this model.");
    if let Some(key @ ("`temperature`" | "`top_p`" | "`top_k`")) = deprecated {
        return Some(Cure::lasting(remove(key.trim_matches('`'))));
    }
    // `max_tokens is too large: 32000. This model supports at most 16384 completion tokens`; vLLM names both.
    let limit = lower.split_once(" is too large: ").map(|(names, _)| names.replace('\'', ""));
    if limit.is_some_and(|names| names.split(" or ").all(|name| LIMITS.contains(&name))) {
        return Some(Cure::once(Change::RemoveLimit));
    }
    if lower.ends_with("invalid `signature` in `thinking` block") {
        return Some(Cure::once(Change::RemoveThoughts));
    }
    if code == Some("invalid_encrypted_content") {
        return Some(Cure::once(Change::RemoveEncrypted));
    }
    // It is no matter of this request: `Your organization must be verified to generate reasoning summaries. Please go to …`
    if lower.starts_with("your organization must be verified to generate reasoning summaries") {
        let path = ["reasoning", "summary"].map(|key| Step::Key(key.to_owned()));
        return Some(Cure::lasting(Change::Remove(path.to_vec())));
    }
    if lower.starts_with("`temperature` and `top_p` cannot both be specified") {
        return Some(Cure::once(remove("top_p")));
    }
    let (_, names) =
        message.strip_prefix("The following tools are not allowed")?.split_once(": ")?;
    let names = names.trim_end_matches('.').replace(" and ", ", ");
    let names = names.split(", ").map(str::trim).filter(|name| *name != "function");
    let types: Vec<String> = names.map(str::to_owned).collect();
    let are_names = !types.is_empty() && types.iter().all(|name| is_name(name));
    are_names.then_some(Cure::lasting(Change::RemoveTools(types)))
}

/// ``messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When …``: with a budget, a
/// loop of tool calls has to come with the thoughts that led to it, which another model may have had.
fn is_thought_missed(message: &str) -> bool {
    let place = message.split_once(": Expected `thinking` or `redacted_thinking`, but found `");
    place.is_some_and(|(place, _)| place.split('.').all(is_name))
}

/// `tools.0: Input tag 'x_20300101' found using 'type' does not match any of the expected tags: …`
fn unknown_tool(message: &str) -> Option<&str> {
    let (number, rest) = message.strip_prefix("tools.")?.split_once(": Input tag '")?;
    let (kind, rest) = rest.split_once('\'')?;
    let is_refused =
        rest.starts_with(" found using 'type' does not match any of the expected tags");
    let is_plain = matches!(kind, "custom" | "function");
    (is_refused && number.parse::<usize>().is_ok() && is_name(kind) && !is_plain).then_some(kind)
}

/// OpenAI's: the parameter stands in `param`, in quotes, or at the end.
fn unsupported(message: &str, code: Option<&str>, param: Option<&str>) -> Option<Cure> {
    if message.starts_with("Unsupported parameter: 'max_tokens'")
        && message.contains("Use 'max_completion_tokens' instead")
    {
        return Some(Cure::lasting(Change::Rename("max_tokens", "max_completion_tokens")));
    }
    if let Some(name) = message.strip_prefix("Unrecognized request argument supplied: ") {
        return Some(Cure::lasting(Change::Remove(places(name.trim_end_matches('.'))?)));
    }
    let (kind, rest) = message.split_once(": '").unwrap_or((message, ""));
    let quoted = rest.split_once('\'').map(|(name, _)| name);
    let is_lasting = match (kind, code) {
        ("Unsupported value", _) | (_, Some("unsupported_value")) => false,
        ("Unsupported parameter" | "Unknown parameter", _)
        | (_, Some("unsupported_parameter" | "unknown_parameter")) => true,
        _ => return None,
    };
    // What else is in quotes may be the value.
    let quoted = quoted.filter(|_| kind.starts_with("Un"));
    let change = Change::Remove(places(param.or(quoted)?)?);
    Some(Cure { change, is_lasting })
}

/// `messages[0].role` as a path.
fn places(path: &str) -> Option<Vec<Step>> {
    let path = path.replace('[', ".").replace(']', "");
    steps(path.split('.').filter(|part| !part.is_empty()))
}

fn steps<'a>(path: impl Iterator<Item = &'a str>) -> Option<Vec<Step>> {
    let step = |part: &str| match part.parse::<usize>() {
        Ok(_) => Some(Step::Items),
        // JSON schema's own keys: `$schema`.
        Err(_) => is_name(part.strip_prefix('$').unwrap_or(part)).then(|| Step::Key(part.into())),
    };
    let steps: Vec<_> = path.take(STEPS_MAX + 1).map(step).collect::<Option<_>>()?;
    (matches!(steps.first(), Some(Step::Key(_))) && steps.len() <= STEPS_MAX).then_some(steps)
}

/// Whether it can be the name of a key, a type or an error, and stand in a header and a log line.
fn is_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn remove(envelope: &mut Envelope, path: &[Step]) -> bool {
    let Some(Step::Key(root)) = path.first() else { return false };
    let leads_on = |key: &str| leads_on(envelope, key, path.len() == 1);
    spelling(root, leads_on).is_some() && remove_in(envelope, path)
}

fn remove_in(envelope: &mut Envelope, path: &[Step]) -> bool {
    let [Step::Key(key), rest @ ..] = path else { return false };
    // Paths name the kind of a value beside its keys: `tools.0.custom.…`, `messages.0.content.1.text.cache_control.…`,
    // where a text's `text` is a string, and so not what the path goes on in.
    let leads_on = |key: &str| leads_on(envelope, key, rest.is_empty());
    let Some(key) = spelling(key, leads_on) else {
        return !rest.is_empty() && remove_in(envelope, rest);
    };
    match rest {
        [] => envelope.remove(&key),
        [Step::Items, rest @ ..] => envelope.edit_each(&key, |item| {
            remove_in(item, rest);
        }),
        rest => envelope.edit_in(&key, |inner| {
            remove_in(inner, rest);
        }),
    }
}

/// Whether a path goes on in this value, or ends with it.
fn leads_on(envelope: &Envelope, key: &str, is_end: bool) -> bool {
    envelope.raw(key).is_some_and(|raw| is_end || matches!(raw.first(), Some(b'{' | b'[')))
}

/// The key as it is written: Google names `function_declarations` what was sent as `functionDeclarations`.
fn spelling(key: &str, has: impl Fn(&str) -> bool) -> Option<String> {
    if has(key) {
        return Some(key.to_owned());
    }
    Some(camel(key)).filter(|camel| has(camel))
}

/// `function_declarations` → `functionDeclarations`.
fn camel(key: &str) -> String {
    let mut parts = key.split('_');
    let mut camel = parts.next().unwrap_or("").to_owned();
    for part in parts {
        camel.extend(part.chars().take(1).flat_map(char::to_uppercase));
        camel.extend(part.chars().skip(1));
    }
    camel
}

/// In Claude's own messages, and in those of orchestration. Without its thoughts the conversation goes on without thinking.
fn remove_thoughts(envelope: &mut Envelope) -> bool {
    let mut has_changed = envelope.edit_each("messages", |message| {
        let Some(mut blocks) = message.list("content") else { return };
        let count = blocks.len();
        blocks.retain(|block| {
            let kind = block.get::<String>("type", "a string").ok().flatten();
            !matches!(kind.as_deref(), Some("thinking" | "redacted_thinking"))
        });
        // A message of nothing else stays as it is.
        if !blocks.is_empty() && blocks.len() < count {
            message.set_list("content", &blocks);
        }
    });
    has_changed |= envelope.edit_each("messages_history", |message| {
        message.remove("reasoning_content");
    });
    if has_changed {
        envelope.remove("thinking");
        envelope.edit_in("config", |config| {
            config.edit_in("modules", |modules| {
                modules.edit_in("prompt_templating", |prompt| {
                    prompt.edit_in("model", |model| {
                        model.edit_in("params", |params| {
                            params.remove("thinking");
                        });
                    });
                });
            });
        });
    }
    has_changed
}

/// In the input of a response. What followed such a thought loses its id: where it is kept, it would be refused without.
fn remove_encrypted(envelope: &mut Envelope) -> bool {
    let Some(mut items) = envelope.list("input") else { return false };
    let count = items.len();
    let kind = |item: &Envelope| item.get::<String>("type", "a string").ok().flatten();
    items.retain(|item| kind(item).as_deref() != Some("reasoning"));
    if items.is_empty() || items.len() == count {
        return false;
    }
    for item in &mut items {
        if kind(item).is_none_or(|kind| matches!(&*kind, "message" | "function_call"))
            && (item.has("role") || item.has("call_id"))
        {
            item.remove("id");
        }
    }
    envelope.set_list("input", &items);
    true
}

fn remove_tools(envelope: &mut Envelope, types: &[String]) -> bool {
    let Some(tools) = envelope.list("tools") else { return false };
    let (removed, kept): (Vec<_>, Vec<_>) = tools.into_iter().partition(|tool| {
        let kind = tool.get::<String>("type", "a string").ok().flatten();
        kind.is_some_and(|kind| types.contains(&kind))
    });
    if removed.is_empty() {
        return false;
    }
    // Claude's choice names a tool; none that is left can be meant by one that is gone.
    let choice = envelope.raw("tool_choice").and_then(|choice| field(choice, "name"));
    let is_chosen = choice.is_some_and(|name| removed.iter().any(|t| t.raw("name") == Some(name)));
    if kept.is_empty() || is_chosen {
        envelope.remove("tool_choice");
    }
    if kept.is_empty() {
        return envelope.remove("tools");
    }
    envelope.set_list("tools", &kept);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cure(error: &Error) -> Option<Cure> {
        super::cure(error, br#"{"anthropic_beta":["x"]}"#)
    }

    #[test]
    fn what_others_encrypted_is_taken_out() {
        let message = "The encrypted content gAAA could not be verified.";
        let cure = cure(&refusal(message, Some("invalid_encrypted_content"), None)).unwrap();
        assert_eq!((&*cure.to_string(), cure.is_lasting()), ("input[].encrypted_content", false));
        let body = br#"{"model":"m","input":[{"role":"user","id":"msg_0","content": 1.10},
            {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},
            {"type":"function_call","id":"fc_1","call_id":"c"},{"id":"msg_2"},
            {"type":"function_call_output","id":"fc_2","call_id":"c"}]}"#;
        assert!(cure.concerns(body));
        let healed = cure.apply(body).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&healed),
            r#"{"model":"m","input":[{"role":"user","content":1.10},{"type":"function_call","call_id":"c"},{"id":"msg_2"},{"type":"function_call_output","id":"fc_2","call_id":"c"}]}"#
        );
        assert_eq!(cure.apply(&healed), None);
        // There is nothing else.
        let only = br#"{"input":[{"type":"reasoning","encrypted_content":"gAAA"}]}"#;
        assert_eq!(cure.apply(only), None);
    }

    #[test]
    fn summaries_that_a_model_or_an_account_has_not() {
        let body = br#"{"reasoning":{"effort":"low","summary":"auto"},"input":[]}"#;
        for (message, code) in [
            (
                "Your organization must be verified to generate reasoning summaries. Please go to: https://x.",
                Some("unsupported_value"),
            ),
            (
                "Unsupported parameter: 'reasoning.summary' is not supported with the 'gpt-5' model.",
                Some("unsupported_parameter"),
            ),
        ] {
            let cure = cure(&refusal(message, code, Some("reasoning.summary"))).unwrap();
            assert!(cure.is_lasting() && cure.concerns(body), "{message}");
            assert_eq!(cure.to_string(), "reasoning.summary");
            let healed = cure.apply(body).unwrap();
            assert_eq!(healed, br#"{"reasoning":{"effort":"low"},"input":[]}"#, "{message}");
        }
    }

    #[test]
    fn the_least_known_flags_go_first() {
        let mut body = br#"{"a":1.10,"anthropic_beta":["context-1m-2025-08-07","new","effort-2025-11-24","b"]}"#.to_vec();
        for (expected, removed) in [
            (
                r#"{"a":1.10,"anthropic_beta":["context-1m-2025-08-07","effort-2025-11-24"]}"#,
                "anthropic_beta[] new/b",
            ),
            (
                r#"{"a":1.10,"anthropic_beta":["context-1m-2025-08-07"]}"#,
                "anthropic_beta[] effort-2025-11-24",
            ),
            (r#"{"a":1.10}"#, "anthropic_beta[] context-1m-2025-08-07"),
        ] {
            let cure = super::cure(&refusal("invalid beta flag", None, None), &body).unwrap();
            assert!(cure.concerns(&body) && cure.is_lasting());
            body = cure.apply(&body).unwrap();
            assert_eq!(
                (String::from_utf8_lossy(&body).as_ref(), &*cure.to_string()),
                (expected, removed)
            );
            assert_eq!(cure.apply(&body), None);
        }
        assert_eq!(super::cure(&refusal("invalid beta flag", None, None), &body), None);
    }

    fn refusal(message: &str, code: Option<&str>, param: Option<&str>) -> Error {
        Error::Upstream {
            status: 400,
            code: code.map(str::to_owned),
            message: message.to_owned(),
            param: param.map(str::to_owned),
            retry_after: None,
        }
    }

    #[test]
    fn what_is_named_is_taken_out() {
        let table: &[(&str, Option<&str>, &str, &str)] = &[
            (
                "messages.1.content.0: Invalid `signature` in `thinking` block",
                None,
                r#"{"thinking":{"type":"enabled"},"messages":[{"content":[{"type":"thinking","signature":"x"},{"type":"text","text":"a"}]}]}"#,
                r#"{"messages":[{"content":[{"type":"text","text":"a"}]}]}"#,
            ),
            (
                "context_management: Extra inputs are not permitted",
                None,
                r#"{"context_management":{},"max_tokens":1.10}"#,
                r#"{"max_tokens":1.10}"#,
            ),
            (
                "tools.1.custom.cache_control.ephemeral.scope: Extra inputs are not permitted",
                None,
                r#"{"tools":[{"name":"a"},{"cache_control":{"scope":"x","type":"ephemeral"}}],"a":1.10}"#,
                r#"{"tools":[{"name":"a"},{"cache_control":{"type":"ephemeral"}}],"a":1.10}"#,
            ),
            ("invalid beta flag", None, r#"{"anthropic_beta":["x"]}"#, "{}"),
            (
                "messages.0.content.1.text.cache_control.ephemeral.scope: Extra inputs are not permitted",
                None,
                r#"{"messages":[{"content":"a"},{"content":[{"type":"text","text":"a","cache_control":{"scope":"x","ttl":"5m"}}]}]}"#,
                r#"{"messages":[{"content":"a"},{"content":[{"type":"text","text":"a","cache_control":{"ttl":"5m"}}]}]}"#,
            ),
            (
                "messages.2.content.0.tool_result.content.0.text.citations: Extra inputs are not permitted",
                None,
                r#"{"messages":[{"content":[{"content":[{"text":"a","citations":null}],"tool_use_id":"c"}]}]}"#,
                r#"{"messages":[{"content":[{"content":[{"text":"a"}],"tool_use_id":"c"}]}]}"#,
            ),
            (
                "messages.1.content.0.tool_use.caller: Extra inputs are not permitted",
                None,
                r#"{"messages":[{"content":[{"input":{"caller": 1.10},"caller":{}}]}]}"#,
                r#"{"messages":[{"content":[{"input":{"caller": 1.10}}]}]}"#,
            ),
            (
                "messages.1.content.0.thinking.estimated: Extra inputs are not permitted",
                None,
                r#"{"messages":[{"content":[{"thinking":"hm","estimated":1}]}]}"#,
                r#"{"messages":[{"content":[{"thinking":"hm"}]}]}"#,
            ),
            (
                "system.0.cache_control.ephemeral.scope: Extra inputs are not permitted",
                None,
                r#"{"system":[{"text":"a","cache_control":{"scope":"x"}}]}"#,
                r#"{"system":[{"text":"a","cache_control":{}}]}"#,
            ),
            (
                "output_config.task_budget.total: Extra inputs are not permitted",
                None,
                r#"{"output_config":{"effort":"low","task_budget":{"total":1}}}"#,
                r#"{"output_config":{"effort":"low","task_budget":{}}}"#,
            ),
            (
                "thinking.adaptive.display: Extra inputs are not permitted",
                None,
                r#"{"thinking":{"type":"adaptive","display":"omitted"}}"#,
                r#"{"thinking":{"type":"adaptive"}}"#,
            ),
            (
                "output_config: Extra inputs are not permitted",
                None,
                r#"{"output_config":{"effort":"low"},"a":1}"#,
                r#"{"a":1}"#,
            ),
            (
                "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block",
                None,
                r#"{"thinking":{"type":"enabled"},"messages":[ ]}"#,
                r#"{"messages":[ ]}"#,
            ),
            (
                "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\"",
                None,
                r#"{"thinking":{"type":"enabled"},"a":1}"#,
                r#"{"a":1}"#,
            ),
            (
                "`top_k` is deprecated for this model.",
                None,
                r#"{"top_k":5,"top_p":1}"#,
                r#"{"top_p":1}"#,
            ),
            (
                "tools.1: Input tag 'memory_20250818' found using 'type' does not match any of the expected tags: 'custom'",
                None,
                r#"{"tools":[{"name":"f"},{"type":"memory_20250818","name":"memory"}],"tool_choice":{"type":"tool","name":"memory"}}"#,
                r#"{"tools":[{"name":"f"}]}"#,
            ),
            (
                "Invalid JSON payload received. Unknown name \"strict\" at 'tools[0].function_declarations[0]': Cannot find field.",
                None,
                r#"{"tools":[{"functionDeclarations":[{"name":"f","strict":true}]}]}"#,
                r#"{"tools":[{"functionDeclarations":[{"name":"f"}]}]}"#,
            ),
            (
                "Unknown name \"labels\": Cannot find field.",
                None,
                r#"{"labels":{},"contents":[]}"#,
                r#"{"contents":[]}"#,
            ),
            (
                "1 validation error: {'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra'}",
                None,
                r#"{"store":false}"#,
                "{}",
            ),
            (
                "Unsupported parameter: 'temperature' is not supported with this model.",
                Some("temperature"),
                r#"{"temperature":0.5}"#,
                "{}",
            ),
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some("max_tokens"),
                r#"{"max_tokens":5}"#,
                r#"{"max_completion_tokens":5}"#,
            ),
            (
                "Unrecognized request argument supplied: verbosity",
                None,
                r#"{"verbosity":"low"}"#,
                "{}",
            ),
            (
                "The following tools are not allowed for model 'gpt-5.5': custom, tool_search and web_search.",
                None,
                r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#,
                r#"{"tools":[{"type":"function"}]}"#,
            ),
        ];
        for (message, param, body, expected) in table {
            let cure = super::cure(&refusal(message, None, *param), body.as_bytes())
                .unwrap_or_else(|| panic!("{message}"));
            let healed = cure.apply(body.as_bytes()).unwrap_or_else(|| panic!("{message}: {cure}"));
            assert_eq!(String::from_utf8_lossy(&healed), *expected, "{message}");
            assert_eq!(cure.apply(&healed), None, "{message}: cured twice");
        }
    }

    #[test]
    fn what_a_request_means_stays() {
        for message in [
            "messages: Extra inputs are not permitted",
            "messages.0.content: Extra inputs are not permitted",
            "max_tokens: must be less than 5",
            "Unknown name \"contents\": Cannot find field.",
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            "3: Extra inputs are not permitted",
            "prompt is too long",
            "Unsupported parameter: 'stop' is not supported with this model.",
            "tools.0.custom.input_schema: Extra inputs are not permitted",
            "Unknown name \"stop_sequences\" at 'generation_config': Cannot find field.",
            "Unknown name \"response_json_schema\" at 'generation_config': Cannot find field.",
            "Unsupported parameter: 'instructions' is not supported with this model.",
            "Unsupported parameter: 'text.format' is not supported with this model.",
            "Unknown parameter: 'input[1].output'.",
            "Unknown parameter: 'input[1].call_id'.",
        ] {
            assert_eq!(cure(&refusal(message, None, None)), None, "{message}");
        }
        // Without it the model would not know what was said before.
        let message =
            "Previous response cannot be used for this organization due to Zero Data Retention.";
        let code = Some("unsupported_parameter");
        assert_eq!(cure(&refusal(message, code, Some("previous_response_id"))), None);
        let late = Error::Upstream {
            status: 500,
            code: None,
            message: "x: Extra inputs are not permitted".into(),
            param: None,
            retry_after: None,
        };
        assert_eq!(cure(&late), None);
    }

    #[test]
    fn what_a_refusal_quotes_is_not_believed() {
        for message in [
            "Invalid value: 'thinking: Extra inputs are not permitted'",
            "x: input \"a b: Extra inputs are not permitted",
            "***.***: Extra inputs are not permitted",
            "Invalid value: 'a b: Expected `thinking` or `redacted_thinking`, but found `text`'",
            "messages.0.content.0: Input tag 'x' found using 'type' does not match any of the expected tags: 'text'",
            "tools.0: Input tag 'a b' found using 'type' does not match any of the expected tags: 'custom'",
            "tools.0: Input tag 'custom' found using 'type' does not match any of the expected tags: 'a'",
            "`messages` is deprecated for this model.",
            "Invalid value: 'Unknown name \"labels\": Cannot find field.'",
            "Invalid 'a': \"{'type': 'extra_forbidden', 'loc': ('body', 'store')}\"",
            "Invalid value: 'invalid beta flag'",
            "Invalid value: 'adaptive thinking is not supported'",
            "'The following tools are not allowed: web_search.'",
            "The following tools are not allowed for model 'x': a\nb, c.",
            "The following tools are not allowed for model 'x': function.",
            "Invalid 'x': Unrecognized request argument supplied: verbosity",
            "Invalid 'x'. Use 'max_completion_tokens' instead",
            "Unknown parameter: 'a b'.",
            "Unknown name \"a\nb\": Cannot find field.",
        ] {
            assert_eq!(cure(&refusal(message, None, None)), None, "{message}");
        }
        let quoting = refusal("Invalid: 'thinking'", Some("unknown_parameter"), None);
        assert_eq!(cure(&quoting), None);
        let long = vec!["a"; 10_000].join(".") + ": Extra inputs are not permitted";
        assert_eq!(cure(&refusal(&long, None, None)), None);
    }

    #[test]
    fn each_vendor_has_its_form() {
        for (message, expected) in [
            ("ValidationException: thinking.x: Extra inputs are not permitted", "thinking.x"),
            ("The model returned the following errors: a: Extra inputs are not permitted", "a"),
            ("max_tokens: too many\nspeed: Extra inputs are not permitted\n", "speed"),
            ("Unknown name \"$schema\" at 'tools[0].x': Cannot find field.", "tools[].x.$schema"),
            (
                "2 validation errors:\n  {'type': 'extra_forbidden', 'loc': ('body', 'tools', 0, 'a'), 'm",
                "tools[].a",
            ),
            ("[{'type': 'extra_forbidden', 'loc': ('body', 'a',), 'msg': 'b'}]", "a"),
            (r#"[{"loc":["body","tools",0,"a"],"msg":"x","type":"extra_forbidden"}]"#, "tools[].a"),
        ] {
            let cure = cure(&refusal(message, None, None)).unwrap_or_else(|| panic!("{message}"));
            assert_eq!(cure.to_string(), expected);
        }
    }

    #[test]
    fn a_value_is_refused_once_and_a_field_for_an_hour() {
        for (message, code, is_lasting) in [
            ("Unsupported value: 'temperature' does not support 0.5.", None, false),
            ("Unsupported parameter: 'verbosity'.", Some("unsupported_value"), false),
            ("`temperature` and `top_p` cannot both be specified for this model.", None, false),
            ("adaptive thinking is not supported on this model", None, false),
            (
                "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`.",
                None,
                false,
            ),
            ("`temperature` is deprecated for this model.", None, true),
            ("Unsupported parameter: 'temperature' is not supported.", None, true),
            ("speed: Extra inputs are not permitted", None, true),
            ("invalid beta flag", None, true),
            (
                "max_tokens is too large: 32000. This model supports at most 16384 completion tokens",
                Some("invalid_value"),
                false,
            ),
            ("'max_tokens' or 'max_completion_tokens' is too large: 9. This …", None, false),
            ("The following tools are not allowed: web_search.", None, true),
        ] {
            let cure = cure(&refusal(message, code, None)).unwrap_or_else(|| panic!("{message}"));
            assert_eq!(cure.is_lasting(), is_lasting, "{message}");
        }
    }

    fn without(path: &str) -> Cure {
        Cure::lasting(Change::Remove(places(path).unwrap()))
    }

    #[test]
    fn a_deployment_remembers_for_an_hour() {
        let (remembered, start) = (Remembered::default(), Instant::now());
        let body = br#"{"a":1,"b":2,"c_d":3}"#;
        assert_eq!(remembered.apply(body).0, body.as_slice());
        remembered.add_at(without("a"), start);
        remembered.add_at(without("a"), start);
        remembered.add_at(without("c_d"), start + AGE_MAX / 2);
        let (healed, removed) = remembered.apply_at(body, start + AGE_MAX / 2);
        assert_eq!((healed.as_ref(), removed.join(" ")), (&br#"{"b":2}"#[..], "a c_d".into()));
        let (healed, _) = remembered.apply_at(body, start + AGE_MAX);
        assert_eq!(healed.as_ref(), br#"{"a":1,"b":2}"#);
        let late = remembered.apply_at(body, start + AGE_MAX * 2);
        assert!(matches!(late.0, Cow::Borrowed(_)) && late.1.is_empty());
        assert!(!remembered.has_some.load(Ordering::Relaxed));
    }

    #[test]
    fn a_body_that_has_nothing_of_it_is_not_read() {
        let remembered = Remembered::default();
        remembered.add(without("tools[].function_declarations[].strict"));
        remembered.add(without("labels"));
        let body = br#"{"tools": [{"functionDeclarations": ["labels"#;
        assert!(
            matches!(remembered.apply(body), (Cow::Borrowed(_), removed) if removed.is_empty())
        );
        for n in 0..REMEMBERED_MAX * 2 {
            remembered.add(without(&format!("k{n}")));
        }
        assert_eq!(remembered.at(Instant::now()).len(), REMEMBERED_MAX);
    }

    #[test]
    fn what_is_beside_it_stays_verbatim() {
        let schema = r#"{"properties":{"zeta":{"minimum":1.10},"alpha":{"maximum":123456789012345678901234567890}}}"#;
        for (cure, with, without) in [
            (
                without("tools[0].custom.strict"),
                format!(
                    r#"{{"tools":[{{"z":1e2,"strict":true,"input_schema":{schema}}},{{"y": 1.0}}]}}"#
                ),
                format!(r#"{{"tools":[{{"z":1e2,"input_schema":{schema}}},{{"y": 1.0}}]}}"#),
            ),
            (
                without("thinking.enabled.speed"),
                format!(r#"{{"thinking":{{"z":{schema},"speed":1,"a": 1.10}}}}"#),
                format!(r#"{{"thinking":{{"z":{schema},"a":1.10}}}}"#),
            ),
            (
                Cure::lasting(Change::RemoveTools(vec!["x".into()])),
                format!(r#"{{"tools":[{{"type":"x"}},{{"z":1,"input_schema":{schema}}}]}}"#),
                format!(r#"{{"tools":[{{"z":1,"input_schema":{schema}}}]}}"#),
            ),
        ] {
            let healed = cure.apply(with.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&healed), without, "{cure}");
        }
        for unrelated in [&br#"{"a":1,"speed":2}"#[..], br#"{"thinking":1,"speed":2}"#] {
            assert_eq!(without("thinking.enabled.speed").apply(unrelated), None);
        }
    }
}
