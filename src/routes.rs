//! Which method and path is which action, and in which dialect its errors are. One table; a new API is a row.

use crate::dialect::Dialect;
use crate::error::Error;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    ChatCompletions,
    /// OpenAI's Responses.
    Responses,
    /// A conversation, made shorter.
    Compact,
    /// A response that is kept, and what can be done with it.
    Response,
    DeleteResponse,
    CancelResponse,
    InputItems,
    /// Anthropic's Messages.
    Messages,
    CountTokens,
    Embeddings,
    Rerank,
    Models,
    Model,
    /// What Claude Code tells of itself.
    Telemetry,
    /// Whether there is anything at all.
    Root,
    Health,
    Ready,
    /// A CORS preflight, on any path.
    Preflight,
}

/// A request's path, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub action: Action,
    /// The part of the path that stands for `{}`: a model's name, a response's id.
    pub name: Option<String>,
}

struct Row {
    method: &'static str,
    path: &'static str,
    action: Action,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { method: "POST", path: "/chat/completions",                action: Action::ChatCompletions },
    Row { method: "POST", path: "/deployments/{}/chat/completions", action: Action::ChatCompletions },
    Row { method: "POST", path: "/responses",                       action: Action::Responses },
    Row { method: "POST", path: "/responses/compact",               action: Action::Compact },
    Row { method: "GET",  path: "/responses/{}/input_items",        action: Action::InputItems },
    Row { method: "POST", path: "/responses/{}/cancel",             action: Action::CancelResponse },
    Row { method: "GET",  path: "/responses/{}",                    action: Action::Response },
    Row { method: "DELETE", path: "/responses/{}",                  action: Action::DeleteResponse },
    Row { method: "POST", path: "/messages",                        action: Action::Messages },
    Row { method: "POST", path: "/messages/count_tokens",           action: Action::CountTokens },
    Row { method: "POST", path: "/embeddings",                      action: Action::Embeddings },
    Row { method: "POST", path: "/deployments/{}/embeddings",       action: Action::Embeddings },
    Row { method: "POST", path: "/rerank",                          action: Action::Rerank },
    Row { method: "POST", path: "/v2/rerank",                       action: Action::Rerank },
    Row { method: "GET",  path: "/models",                          action: Action::Models },
    Row { method: "GET",  path: "/models/{..}",                     action: Action::Model },
    Row { method: "POST", path: "/api/event_logging/batch",         action: Action::Telemetry },
    Row { method: "POST", path: "/api/event_logging/v2/batch",      action: Action::Telemetry },
    Row { method: "GET",  path: "/health",                          action: Action::Health },
    Row { method: "GET",  path: "/ready",                           action: Action::Ready },
];

impl Row {
    /// What Allow says of its path.
    fn allow(&self) -> &'static str {
        match self.action {
            Action::Response | Action::DeleteResponse => "GET, HEAD, DELETE, OPTIONS",
            _ if self.method == "GET" => "GET, HEAD, OPTIONS",
            _ => "POST, OPTIONS",
        }
    }
}

/// Base paths that people configure, longest first; each path of the table is found under all of them. Anthropic's clients add
/// a `/v1` of their own to that of OpenAI's.
const PREFIXES: &[&str] =
    &["/openai/v1", "/anthropic/v1", "/openai", "/anthropic", "/v1/v1", "/v1", ""];

/// Understands `method` and `target` (path and query). 404 or 405 otherwise.
pub fn route(method: &str, target: &str) -> Result<Route, Error> {
    let path = path_of(target);
    if method == "OPTIONS" {
        return Ok(Route { action: Action::Preflight, name: None });
    }
    // Claude Code asks at its base URL whether anybody is there.
    if matches!(path, "" | "/anthropic") && matches!(method, "GET" | "HEAD") {
        return Ok(Route { action: Action::Root, name: None });
    }
    let mut allow: Option<&'static str> = None;
    for rest in PREFIXES.iter().filter_map(|prefix| path.strip_prefix(prefix)) {
        for row in TABLE {
            let Some(name) = matches(row.path, rest) else { continue };
            if row.method == method || (row.method == "GET" && method == "HEAD") {
                return Ok(Route { action: row.action, name });
            }
            allow = allow.or(Some(row.allow()));
        }
    }
    Err(match allow {
        Some(allow) => Error::WrongMethod { allow },
        None => Error::NoSuchRoute { path: path.chars().take(200).collect() },
    })
}

/// The dialect of the API that a path belongs to or is nearest to. Where both have it, Anthropic's clients are told by their
/// version header.
pub fn dialect_of(target: &str, has_anthropic_version: bool) -> Dialect {
    let path = path_of(target);
    let is_of = |words: &[&str]| words.iter().any(|word| path.contains(word));
    match () {
        () if path.starts_with("/anthropic") || is_of(&["/messages"]) => Dialect::Anthropic,
        () if is_of(&["/responses"]) => Dialect::Responses,
        () if path.starts_with("/openai") || is_of(OPENAI) => Dialect::OpenAi,
        () if has_anthropic_version => Dialect::Anthropic,
        () => Dialect::OpenAi,
    }
}

/// In the paths of OpenAI's APIs only.
const OPENAI: &[&str] = &["/chat/completions", "/embeddings", "/deployments/"];

/// What a target asks for behind its `?`.
pub fn query(target: &str) -> Vec<(String, String)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (percent_decoded(key), percent_decoded(value))).collect()
}

/// The target without query, fragment and trailing slash.
fn path_of(target: &str) -> &str {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    target[..end].trim_end_matches('/')
}

/// `Some` where `path` is `pattern`, with what stands for its `{}`, one part of the path, or its `{..}`, all the rest.
fn matches(pattern: &str, path: &str) -> Option<Option<String>> {
    let of = |before: &str, after: &str| {
        let name = path.strip_prefix(before)?.strip_suffix(after)?;
        (!name.is_empty()).then_some(name)
    };
    if let Some((before, after)) = pattern.split_once("{..}") {
        return of(before, after).map(|name| Some(percent_decoded(name)));
    }
    match pattern.split_once("{}") {
        None => (pattern == path).then_some(None),
        Some((before, after)) => {
            let name = of(before, after).filter(|name| !name.contains('/'))?;
            Some(Some(percent_decoded(name)))
        }
    }
}

/// `%5B` → `[`. What is no valid escape stays.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%')
            .then(|| bytes.get(i + 1..i + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(bytes[i]));
        i += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods() {
        use Action::*;
        let found: &[(&str, &str, Action, Option<&str>)] = &[
            ("POST", "/v1/chat/completions", ChatCompletions, None),
            ("POST", "/chat/completions/", ChatCompletions, None),
            ("POST", "/v1/chat/completions?beta=true", ChatCompletions, None),
            ("POST", "/openai/v1/chat/completions", ChatCompletions, None),
            (
                "POST",
                "/openai/deployments/gpt-4o/chat/completions?api-version=x",
                ChatCompletions,
                Some("gpt-4o"),
            ),
            ("POST", "/openai/deployments/a%5Bb%5D%/embeddings", Embeddings, Some("a[b]%")),
            ("POST", "/v1/responses", Responses, None),
            ("POST", "/openai/responses?api-version=preview", Responses, None),
            ("POST", "/v1/responses/compact", Compact, None),
            ("GET", "/v1/responses/resp_1?stream=true", Response, Some("resp_1")),
            ("DELETE", "/responses/resp_1", DeleteResponse, Some("resp_1")),
            ("POST", "/v1/responses/resp_1/cancel", CancelResponse, Some("resp_1")),
            ("GET", "/v1/responses/resp_1/input_items?limit=1", InputItems, Some("resp_1")),
            ("POST", "/v1/messages?beta=true", Messages, None),
            ("POST", "/anthropic/v1/messages", Messages, None),
            ("POST", "/v1/v1/messages", Messages, None),
            ("POST", "/v1/messages/count_tokens", CountTokens, None),
            ("POST", "/api/event_logging/batch", Telemetry, None),
            ("HEAD", "/", Root, None),
            ("GET", "/?x", Root, None),
            ("HEAD", "/anthropic/", Root, None),
            ("POST", "/v1/rerank", Rerank, None),
            ("POST", "/rerank/", Rerank, None),
            ("POST", "/v2/rerank", Rerank, None),
            ("POST", "/v1/v2/rerank", Rerank, None),
            ("GET", "/v1/models", Models, None),
            ("HEAD", "/models/", Models, None),
            ("GET", "/anthropic/v1/models", Models, None),
            ("GET", "/v1/models/org/name", Model, Some("org/name")),
            ("GET", "/health", Health, None),
            ("HEAD", "/ready/?x", Ready, None),
            ("OPTIONS", "/whatever", Preflight, None),
            ("OPTIONS", "*", Preflight, None),
        ];
        for (method, target, action, name) in found {
            let route = route(method, target).unwrap_or_else(|e| panic!("{method} {target}: {e}"));
            assert_eq!((route.action, route.name.as_deref()), (*action, *name), "{target}");
        }
        let not: &[(&str, &str, u16, Option<&str>)] = &[
            ("GET", "/v1/chat/completions", 405, Some("POST, OPTIONS")),
            ("GET", "/v1/responses", 405, Some("POST, OPTIONS")),
            ("POST", "/v1/responses/resp_1", 405, Some("GET, HEAD, DELETE, OPTIONS")),
            ("DELETE", "/v1/responses/resp_1/cancel", 405, Some("POST, OPTIONS")),
            ("POST", "/v1/models", 405, Some("GET, HEAD, OPTIONS")),
            ("GET", "/v2/rerank", 405, Some("POST, OPTIONS")),
            ("DELETE", "/health", 405, Some("GET, HEAD, OPTIONS")),
            ("POST", "/", 404, None),
            ("GET", "/v1/messages", 405, Some("POST, OPTIONS")),
            ("POST", "/v1/messages/batches", 404, None),
            ("GET", "/v1", 404, None),
            ("POST", "/openai/deployments//embeddings", 404, None),
            ("POST", "/openai/deployments/a/b/embeddings", 404, None),
            ("GET", "/v2/models", 404, None),
        ];
        for (method, target, status, allow) in not {
            let error = route(method, target).unwrap_err();
            assert_eq!((error.status(), error.allow()), (*status, *allow), "{method} {target}");
        }
    }

    #[test]
    fn the_nearest_api_speaks() {
        for (target, has_version, dialect) in [
            ("/v1/messages?beta=true", false, Dialect::Anthropic),
            ("/anthropic/v1/x", false, Dialect::Anthropic),
            ("/v1/models", true, Dialect::Anthropic),
            ("/v1/models", false, Dialect::OpenAi),
            ("/v1/chat/completions", true, Dialect::OpenAi),
            ("/openai/v1/responses/x", false, Dialect::Responses),
            ("/nonsense", false, Dialect::OpenAi),
        ] {
            assert_eq!(dialect_of(target, has_version), dialect, "{target}");
        }
    }
}
