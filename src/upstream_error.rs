//! What AI Core's errors say, whatever their shape.
//!
//! There are at least ten (dossier 7.1; samples in the tests): Azure, AI API, Bedrock `{"message"}` and `{}`, Google, alone
//! or in an array, orchestration as object, list or unwrapped, OAuth, the mesh's plain text, and whole pages of HTML.

use serde_json::Value;

use crate::error::Error;

/// The longest text that is passed on from a body that is not JSON.
const TEXT_CHARS_MAX: usize = 500;

/// An answer with an error status → the error as AI Core said it. Left open: whether Retry-After comes with a 429; it is
/// passed on where it does, and never invented.
pub fn from_response(status: u16, body: &[u8], retry_after: Option<String>) -> Error {
    let found = read(body);
    let message = found
        .message
        .unwrap_or_else(|| format!("SAP AI Core answered {status} without saying why."));
    Error::Upstream { status, code: found.code, message, param: found.param, retry_after }
}

/// The first event of a 200 stream, or the body of a 200 answer, may be an error: `{"error": …}`, alone or in an array, or
/// `{"message": "…"}`. `None` where the JSON is something else.
pub fn from_event(data: &[u8]) -> Option<Error> {
    let value: Value = serde_json::from_slice(data).ok()?;
    let is_error = match &value {
        Value::Array(items) => items.first().is_some_and(|v| v.get("error").is_some()),
        _ => {
            value.get("error").is_some_and(|e| !e.is_null())
                || value.get("message").is_some_and(Value::is_string)
        }
    };
    if !is_error {
        return None;
    }
    let found = read(data);
    let status = status_of(&value, &found);
    let message = found.message.unwrap_or_else(|| "SAP AI Core reported an error.".into());
    Some(Error::Upstream {
        status,
        code: found.code,
        message,
        param: found.param,
        retry_after: None,
    })
}

#[derive(Default)]
struct Found {
    message: Option<String>,
    code: Option<String>,
    param: Option<String>,
}

fn read(body: &[u8]) -> Found {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => from_json(&value),
        Err(_) => Found { message: plain_text(body), ..Found::default() },
    }
}

/// In the dossier's order: `error` as text, object, list; `errors`; `message`; `detail`; a list of such objects.
fn from_json(value: &Value) -> Found {
    if let Value::Array(items) = value {
        return items.iter().map(from_json).find(|f| f.message.is_some()).unwrap_or_default();
    }
    match value.get("error") {
        Some(Value::String(code)) => {
            let message = text(value.get("error_description")).unwrap_or_else(|| code.clone());
            return Found { message: Some(message), code: Some(code.clone()), param: None };
        }
        Some(inner @ (Value::Object(_) | Value::Array(_))) => return from_json(inner),
        _ => {}
    }
    let message = text(value.get("message"))
        .or_else(|| value.get("errors").and_then(|e| from_json(e).message))
        .or_else(|| text(value.get("detail")))
        .or_else(|| value.get("detail").map(Value::to_string));
    Found { message, code: text(value.get("code")), param: text(value.get("param")) }
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) if !s.trim().is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn plain_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let is_page = text.starts_with('<');
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    (!text.is_empty() && !is_page).then_some(text)
}

/// The status that an error inside a 200 stream would have had. Left open by the dossier: its code or status where that is
/// one, otherwise as its words say, otherwise 500.
fn status_of(value: &Value, found: &Found) -> u16 {
    let error = value.get("error").or_else(|| value.get(0)?.get("error"));
    let number = |v: Option<&Value>| match v? {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    };
    let stated = error
        .and_then(|e| number(e.get("code")).or_else(|| number(e.get("status"))))
        .filter(|n| (400..600).contains(n));
    if let Some(status) = stated {
        return status as u16;
    }
    let kind = text(error.and_then(|e| e.get("type"))).unwrap_or_default();
    match [found.code.as_deref().unwrap_or(""), &kind] {
        words if has(&words, &["too_many_requests", "rate_limit", "throttl"]) => 429,
        words if has(&words, &["content_filter", "context_length", "invalid_request"]) => 400,
        words if has(&words, &["overloaded"]) => 503,
        _ => status_of_exception(found.message.as_deref().unwrap_or("")),
    }
}

/// Bedrock's messages name the exception (dossier 5b.4).
fn status_of_exception(message: &str) -> u16 {
    const EXCEPTIONS: &[(&str, u16)] = &[
        ("ThrottlingException", 429),
        ("ValidationException", 400),
        ("ModelTimeoutException", 408),
        ("ModelErrorException", 424),
        ("ModelStreamErrorException", 424),
        ("ServiceUnavailableException", 503),
        // Throttled, without the name.
        ("please wait before trying again", 429),
    ];
    EXCEPTIONS.iter().find(|(name, _)| message.contains(name)).map_or(500, |(_, status)| *status)
}

fn has(words: &[&str], parts: &[&str]) -> bool {
    words.iter().any(|w| {
        let w = w.to_ascii_lowercase();
        parts.iter().any(|p| w.contains(p))
    })
}
