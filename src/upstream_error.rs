//! What AI Core's errors say, whatever their shape.
//!
//! There are at least ten (dossier 7.1; samples in the tests): Azure, AI API, Bedrock `{"message"}` and `{}`, Google, alone
//! or in an array, orchestration as object, list or unwrapped, OAuth, the mesh's plain text, and whole pages of HTML.

use serde_json::Value;

use crate::error::Error;

/// The longest text that is passed on from a body that is not JSON.
const TEXT_CHARS_MAX: usize = 500;
/// The longest code or parameter. Both are logged, so what may be a sentence, a prompt's perhaps, is none.
const NAME_CHARS_MAX: usize = 64;

/// An answer with an error status → the error as AI Core said it. Left open: whether Retry-After comes with a 429; it is
/// passed on where it does, and never invented.
pub fn from_response(status: u16, body: &[u8], retry_after: Option<String>) -> Error {
    let found = read(body);
    let message = found
        .message
        .unwrap_or_else(|| format!("SAP AI Core answered {status} without saying why."));
    Error::Upstream { status, code: found.code, message, param: found.param, retry_after }
}

/// The first event of a 200 stream, or the body of a 200 answer, may be an error: `{"error": …}`, alone or in an array,
/// `{"message": "…"}`, or AWS's `{"throttlingException": …}`. `None` where the JSON is something else.
pub fn from_event(data: &[u8]) -> Option<Error> {
    let value: Value = serde_json::from_slice(data).ok()?;
    let is_error = match &value {
        Value::Array(items) => items.first().is_some_and(|v| v.get("error").is_some()),
        _ => {
            value.get("error").is_some_and(|e| !e.is_null())
                || value.get("message").is_some_and(Value::is_string)
                || exception(&value).is_some()
        }
    };
    if !is_error {
        return None;
    }
    let found = from_json(&value);
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

/// In the dossier's order: `error` as text, object, list; an exception; `errors`; `message`; `detail`; a list of such objects.
fn from_json(value: &Value) -> Found {
    if let Value::Array(items) = value {
        return items.iter().map(from_json).find(|f| f.message.is_some()).unwrap_or_default();
    }
    match value.get("error") {
        Some(Value::String(code)) => {
            let message = text(value.get("error_description")).unwrap_or_else(|| code.clone());
            return Found { message: Some(message), code: name(value.get("error")), param: None };
        }
        Some(inner @ (Value::Object(_) | Value::Array(_))) => return from_json(inner),
        _ => {}
    }
    if let Some((kind, inner)) = exception(value) {
        let message = inner.get("message").or_else(|| inner.get("Message")).unwrap_or(inner);
        let message = text(Some(message)).unwrap_or_else(|| kind.to_owned());
        let code = is_name(kind).then(|| kind.to_owned());
        return Found { message: Some(message), code, param: None };
    }
    let message = text(value.get("message"))
        .or_else(|| value.get("errors").and_then(|e| from_json(e).message))
        .or_else(|| text(value.get("detail")))
        .or_else(|| value.get("detail").map(Value::to_string));
    Found { message, code: name(value.get("code")), param: name(value.get("param")) }
}

/// AWS's way of failing in a stream: an event of no type whose one key is the exception's name.
fn exception(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| !object.contains_key("type"))?;
    let is_exception = |key: &str| key.to_ascii_lowercase().ends_with("exception");
    let mut named = object.iter().filter(|(key, inner)| is_exception(key) && !inner.is_null());
    let (key, inner) = named.next()?;
    named.next().is_none().then_some((key.as_str(), inner))
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) if !s.trim().is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn name(value: Option<&Value>) -> Option<String> {
    text(value).filter(|name| is_name(name))
}

fn is_name(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-[]".contains(&b);
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

fn plain_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let is_page = text.starts_with('<');
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    (!text.is_empty() && !is_page).then_some(text)
}

/// The status that an error inside a 200 stream would have had. Left open by the dossier: the number that is stated, inside
/// or beside `error`, otherwise as its words say, otherwise 500.
fn status_of(value: &Value, found: &Found) -> u16 {
    let places = [innermost(value), value];
    let values = |key: &'static str| places.iter().filter_map(move |place| place.get(key));
    let stated = values("code").chain(values("status")).find_map(|v| match v {
        Value::Number(n) => n.as_u64().filter(is_status),
        Value::String(s) => s.parse().ok().filter(is_status),
        _ => None,
    });
    if let Some(status) = stated {
        return status as u16;
    }
    let words = ["code", "status", "type", "error"].into_iter().flat_map(values);
    let words = words.filter_map(Value::as_str).filter(|word| word.len() <= NAME_CHARS_MAX);
    let code = found.code.as_deref().into_iter();
    code.chain(words)
        .find_map(status_of_word)
        .unwrap_or_else(|| status_of_exception(found.message.as_deref().unwrap_or("")))
}

fn is_status(number: &u64) -> bool {
    (400..600).contains(number)
}

/// The object that says what went wrong.
fn innermost(value: &Value) -> &Value {
    match (value, value.get("error")) {
        (Value::Array(items), _) => items.first().map_or(value, innermost),
        (_, Some(inner @ (Value::Object(_) | Value::Array(_)))) => innermost(inner),
        _ => value,
    }
}

/// A code, a status or a type has one of these in it, in capitals or not, with `_` or without. The first that is found counts.
const WORDS: &[(&str, u16)] = &[
    ("toomanyrequests", 429),
    ("ratelimit", 429),
    ("resourceexhausted", 429),
    ("throttl", 429),
    ("modelnotready", 429),
    ("overloaded", 503),
    ("serviceunavailable", 503),
    ("requesttoolarge", 413),
    ("modeltimeout", 408),
    ("timeout", 504),
    ("modelerror", 424),
    ("modelstreamerror", 424),
    ("authentication", 401),
    ("unauthenticated", 401),
    ("permission", 403),
    ("accessdenied", 403),
    ("notfound", 404),
    ("contentfilter", 400),
    ("contextlength", 400),
    ("invalidrequest", 400),
    ("invalidargument", 400),
    ("invalidprompt", 400),
    ("invalidimage", 400),
    ("validationexception", 400),
];

fn status_of_word(word: &str) -> Option<u16> {
    let word: String = word.chars().filter(|c| !matches!(c, '_' | ' ')).collect();
    let word = word.to_ascii_lowercase();
    WORDS.iter().find(|(part, _)| word.contains(part)).map(|(_, status)| *status)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(error: &Error) -> (Option<&str>, Option<&str>) {
        let Error::Upstream { code, param, .. } = error else { panic!("{error:?}") };
        (code.as_deref(), param.as_deref())
    }

    #[test]
    fn an_event_has_the_status_that_an_answer_would_have() {
        for (event, expected) in [
            (r#"{"error":{"code":429,"message":"m"}}"#, 429),
            (r#"{"error":[{"code":400,"message":"m"}]}"#, 400),
            (r#"[{"error":{"code":404,"message":"m","status":"NOT_FOUND"}}]"#, 404),
            (r#"{"code":"400","message":"m"}"#, 400),
            (r#"{"object":"error","code":400,"message":"m","type":"BadRequestError"}"#, 400),
            (r#"{"error":"m","status":422}"#, 422),
            (r#"{"error":{"code":7,"message":"m"},"code":413}"#, 413),
            (r#"{"error":{"code":"TooManyRequests","message":"m"}}"#, 429),
            (r#"{"error":{"code":"rate_limit_exceeded","message":"m"}}"#, 429),
            (r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"m"}}"#, 429),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, 503),
            (r#"{"error":{"code":"ServiceUnavailable","message":"m"}}"#, 503),
            (r#"{"error":{"type":"request_too_large","message":"m"}}"#, 413),
            (r#"{"error":{"type":"timeout_error","message":"m"}}"#, 504),
            (r#"{"error":{"type":"authentication_error","message":"m"}}"#, 401),
            (r#"{"error":{"type":"permission_error","message":"m"}}"#, 403),
            (r#"{"error":{"type":"not_found_error","message":"m"}}"#, 404),
            (r#"{"error":{"code":"content_filter","message":"m"}}"#, 400),
            (r#"{"error":{"status":"INVALID_ARGUMENT","message":"m"}}"#, 400),
            (r#"{"error":{"type":"invalid_request_error","code":"model_not_found"}}"#, 404),
            (r#"{"error":{"code":"invalid_prompt","message":"m"}}"#, 400),
            (r#"{"error":{"code":"server_error","message":"m"}}"#, 500),
            (r#"{"error":{"type":"api_error","message":"m"}}"#, 500),
            (r#"{"message":"ThrottlingException: m"}"#, 429),
            (r#"{"error":"Too Many Requests"}"#, 429),
        ] {
            let error = from_event(event.as_bytes()).unwrap_or_else(|| panic!("{event}"));
            let Error::Upstream { status, .. } = error else { panic!("{error:?}") };
            assert_eq!(status, expected, "{event}");
        }
    }

    #[test]
    fn an_exception_of_aws_is_an_error() {
        for (name, expected) in [
            ("throttlingException", 429),
            ("internalServerException", 500),
            ("modelStreamErrorException", 424),
            ("validationException", 400),
            ("ServiceUnavailableException", 503),
            ("modelTimeoutException", 408),
        ] {
            for event in [
                format!(r#"{{"{name}":{{"message":"m"}}}}"#),
                format!(r#"{{"{name}":{{"Message":"m"}},"p":"abc","x":1}}"#),
                format!(r#"{{"{name}":"m","otherException":null}}"#),
            ] {
                let error = from_event(event.as_bytes()).unwrap_or_else(|| panic!("{event}"));
                assert_eq!(code_of(&error), (Some(name), None));
                let Error::Upstream { status, message, .. } = error else { panic!("{event}") };
                assert_eq!((status, message.as_str()), (expected, "m"), "{event}");
            }
        }
        for event in [
            r#"{"type":"x","throttlingException":{"message":"m"}}"#,
            r#"{"aException":{},"bException":{}}"#,
            r#"{"exception":null}"#,
            r#"{"choices":[]}"#,
        ] {
            assert!(from_event(event.as_bytes()).is_none(), "{event}");
        }
    }

    #[test]
    fn a_sentence_is_no_code() {
        let prompt = r#"{"error":"The prompt 'my secret' is too long"}"#;
        let code = r#"{"error":"invalid_client","error_description":"m"}"#;
        let long = format!(r#"{{"error":{{"message":"m","code":"{}"}}}}"#, "a".repeat(65));
        let param = r#"{"error":{"message":"m","code":"a b","param":"messages[0].role"}}"#;
        let line = r#"{"error":{"message":"m","code":400,"param":"a\nb"}}"#;
        for (body, expected) in [
            (prompt, (None, None)),
            (code, (Some("invalid_client"), None)),
            (&long, (None, None)),
            (param, (None, Some("messages[0].role"))),
            (line, (Some("400"), None)),
        ] {
            let error = from_response(400, body.as_bytes(), None);
            assert_eq!(code_of(&error), expected, "{body}");
        }
        let error = from_response(400, prompt.as_bytes(), None);
        assert!(error.to_string().contains("my secret"));
    }
}
