//! Beta flags: from the header and the body into `anthropic_beta`, as far as Bedrock knows them (dossier 5b.2). An unknown
//! one makes it refuse the whole request.

use super::{Asked, Lost};
use crate::envelope::{Envelope, quoted};
use crate::error::Error;
use crate::families::claude::{Tier, Version};

/// What becomes of a flag, told by its name without the date. Left open: a newer one of the same name, which is taken to be
/// for the same thing.
enum Fate {
    Dropped,
    Renamed(&'static str),
    /// Where `output_config` is sent.
    WithEffort,
    /// Where it opens the long context.
    LongContext,
    /// Where its tool is.
    WithMemory,
}

#[rustfmt::skip]
const TABLE: &[(&str, Fate)] = &[
    ("advanced-tool-use",    Fate::Renamed("tool-search-tool-2025-10-19")),
    ("context-1m",           Fate::LongContext),
    ("effort",               Fate::WithEffort),
    // Its field is taken out; the tool for memories needs it as well (AWS's documentation).
    ("context-management",   Fate::WithMemory),
    ("prompt-caching",       Fate::Dropped),
    ("prompt-caching-scope", Fate::Dropped),
    ("extended-cache-ttl",   Fate::Dropped),
    ("redact-thinking",      Fate::Dropped),
    ("mcp-servers",          Fate::Dropped),
    ("skills",               Fate::Dropped),
    ("files-api",            Fate::Dropped),
    ("message-batches",      Fate::Dropped),
    ("managed-agents",       Fate::Dropped),
    ("code-execution",       Fate::Dropped),
    ("fast-mode",            Fate::Dropped),
    ("output-300k",          Fate::Dropped),
    ("user-profiles",        Fate::Dropped),
    ("advisor-tool",         Fate::Dropped),
    ("cache-diagnosis",      Fate::Dropped),
    ("thinking-token-count", Fate::Dropped),
    ("server-side-fallback", Fate::Dropped),
    ("fallback-credit",      Fate::Dropped),
    // Such messages become the system's or the user's; such tools and servers are taken out.
    ("mid-conversation-system", Fate::Dropped),
    ("mcp-client",           Fate::Dropped),
    ("web-fetch",            Fate::Dropped),
    ("web-search",           Fate::Dropped),
];

const LONG_CONTEXT: &str = "context-1m-2025-08-07";
const KEY: &str = "anthropic_beta";
/// The most flags of a request.
const FLAGS_MAX: usize = 100;

/// What the client asks for, in the header first.
pub(super) fn wanted(body: &Envelope, asked: &Asked<'_>) -> Result<Vec<String>, Error> {
    let mut flags: Vec<String> = asked.betas.map_or(vec![], listed_in);
    for key in [KEY, "betas"] {
        flags.extend(match body.get::<String>(key, "a string") {
            Ok(list) => list.map_or(vec![], |list| listed_in(&list)),
            Err(_) => body.get(key, "a list of strings")?.unwrap_or_default(),
        });
    }
    if flags.len() > FLAGS_MAX {
        return Err(Error::bad_request(KEY, format!("more than {FLAGS_MAX} flags")));
    }
    Ok(flags)
}

fn listed_in(list: &str) -> Vec<String> {
    list.split(',').map(|flag| flag.trim().to_owned()).collect()
}

pub(super) fn settle(body: &mut Envelope, wanted: Vec<String>, asked: &Asked<'_>, lost: &mut Lost) {
    let version = Version::of(asked.model);
    let mut flags: Vec<&str> = vec![];
    let mut wants_long_context = asked.is_long_context;
    for flag in &wanted {
        let fate = TABLE.iter().find(|(name, _)| *name == undated(flag)).map(|(_, fate)| fate);
        let flag = match fate {
            None => Some(flag.as_str()),
            Some(Fate::Renamed(name)) => Some(*name),
            Some(Fate::Dropped) => None,
            Some(Fate::WithEffort) => version.adapts().then_some(flag.as_str()),
            Some(Fate::WithMemory) => has_memory(body).then_some(flag.as_str()),
            Some(Fate::LongContext) => {
                wants_long_context = true;
                None
            }
        };
        flags.extend(flag.filter(|flag| !flag.is_empty()));
    }
    match LongContext::of(version) {
        LongContext::ByFlag if wants_long_context => flags.push(LONG_CONTEXT),
        LongContext::None if asked.is_long_context => lost.add("model[1m]"),
        LongContext::None if wants_long_context => lost.add(LONG_CONTEXT),
        _ => {}
    }
    set(body, flags);
}

/// A client's own list stays as it is if it says the same.
fn set(body: &mut Envelope, flags: Vec<&str>) {
    let mut unique: Vec<&str> = vec![];
    for flag in flags {
        if !unique.contains(&flag) {
            unique.push(flag);
        }
    }
    if unique.is_empty() {
        body.remove(KEY);
        return;
    }
    if body.get::<Vec<String>>(KEY, "a list").is_ok_and(|own| own.is_some_and(|o| o == unique)) {
        return;
    }
    let flags: Vec<String> = unique.into_iter().map(quoted).collect();
    body.set(KEY, format!("[{}]", flags.join(",")));
}

/// `effort` of `effort-2025-11-24`.
fn undated(flag: &str) -> &str {
    let end = flag.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    if flag.len() > end.len() + "-2025".len() { end } else { flag }
}

fn has_memory(body: &Envelope) -> bool {
    body.raw("tools").is_some_and(|tools| memchr::memmem::find(tools, b"\"memory_2").is_some())
}

/// Whether a model reads a million tokens.
enum LongContext {
    Native,
    ByFlag,
    None,
}

impl LongContext {
    fn of(version: Version) -> LongContext {
        match version.tier {
            Tier::Haiku => LongContext::None,
            _ if version.is_from(4, 6) => LongContext::Native,
            Tier::Sonnet if version.is_from(4, 0) => LongContext::ByFlag,
            _ => LongContext::None,
        }
    }
}
