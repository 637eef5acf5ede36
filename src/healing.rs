//! Requests that AI Core refuses for a field the client has no say in.
//!
//! Agents send new fields, flags and tool types with every release; vendors behind AI Core refuse what they do not know with
//! a 400 that names it. The client could do nothing about it. So what is named is taken out, the request is repeated, and
//! where that helped the deployment's later requests go without it at once. What carries the meaning of a request is never
//! taken out.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use crate::envelope::Envelope;
use crate::error::Error;

/// How many cures one request may need.
pub const CURES_MAX: usize = 3;
/// How many a deployment remembers.
const REMEMBERED_MAX: usize = 32;

/// What makes a refused request acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cure {
    /// The value at this path is taken out.
    Remove(Vec<Step>),
    /// The first key is called by the second's name.
    Rename(String, String),
    /// Tools of these types are taken out.
    RemoveTools(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    /// Any item of a list: what one of them may not have, none may.
    Items,
}

/// Never taken out: without them it is another request.
#[rustfmt::skip]
const KEPT: &[&str] = &[
    "messages", "contents", "model", "max_tokens", "max_completion_tokens", "system", "tools", "input",
    "systemInstruction", "anthropic_version", "role", "content", "parts", "text", "type", "name", "id",
    "arguments", "function", "functionCall", "functionResponse", "inferenceConfig", "toolConfig",
    "generationConfig", "config", "prompt", "stream", "response_format", "tool_use_id", "tool_call_id",
    "source", "data", "image_url", "inlineData", "document", "image", "n", "query", "documents",
    "top_n", "inputText", "instances", "parameters", "input_type", "dimensions", "outputDimensionality",
];

/// What an error of AI Core asks for, if it is of this kind.
pub fn cure(error: &Error) -> Option<Cure> {
    let Error::Upstream { status: 400 | 422, code, message, param, .. } = error else {
        return None;
    };
    let found = extra_input(message)
        .or_else(|| unknown_name(message))
        .or_else(|| extra_forbidden(message))
        .or_else(|| special(message))
        .or_else(|| unsupported(message, code.as_deref(), param.as_deref()))?;
    found.is_harmless().then_some(found)
}

impl Cure {
    /// The body without what made it ill; `None` where it has nothing of it.
    pub fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut envelope = Envelope::parse(body.to_vec()).ok()?;
        let has_changed = match self {
            Cure::Rename(from, to) => envelope.rename(from, to),
            Cure::Remove(path) => remove(&mut envelope, path)?,
            Cure::RemoveTools(types) => remove_tools(&mut envelope, types)?,
        };
        has_changed.then(|| envelope.into_bytes())
    }

    fn is_harmless(&self) -> bool {
        match self {
            Cure::Remove(path) => match path.last() {
                Some(Step::Key(key)) => {
                    ![key.as_str(), &camel(key)].iter().any(|k| KEPT.contains(k))
                }
                Some(Step::Items) | None => false,
            },
            Cure::Rename(..) | Cure::RemoveTools(_) => true,
        }
    }
}

impl std::fmt::Display for Cure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cure::Remove(path) => {
                for (i, step) in path.iter().enumerate() {
                    match step {
                        Step::Key(key) if i == 0 => f.write_str(key)?,
                        Step::Key(key) => write!(f, ".{key}")?,
                        Step::Items => f.write_str("[]")?,
                    }
                }
                Ok(())
            }
            Cure::Rename(from, _) => f.write_str(from),
            Cure::RemoveTools(types) => write!(f, "tools[] of type {}", types.join("/")),
        }
    }
}

/// The cures that helped a deployment.
#[derive(Debug, Default)]
pub struct Remembered {
    cures: Mutex<Vec<Cure>>,
    has_some: AtomicBool,
}

impl Remembered {
    /// The body as the deployment takes it, and what was taken out.
    pub fn apply<'a>(&self, body: &'a [u8]) -> (Cow<'a, [u8]>, Vec<String>) {
        let mut healed = Cow::Borrowed(body);
        let mut removed = vec![];
        if !self.has_some.load(Ordering::Relaxed) {
            return (healed, removed);
        }
        let cures = self.cures.lock().unwrap_or_else(|e| e.into_inner()).clone();
        for cure in cures {
            if let Some(better) = cure.apply(&healed) {
                healed = Cow::Owned(better);
                removed.push(cure.to_string());
            }
        }
        (healed, removed)
    }

    pub fn add(&self, cure: Cure) {
        let mut cures = self.cures.lock().unwrap_or_else(|e| e.into_inner());
        if cures.len() < REMEMBERED_MAX && !cures.contains(&cure) {
            cures.push(cure);
            self.has_some.store(true, Ordering::Relaxed);
        }
    }
}

/// Anthropic's: `tools.19.custom.cache_control.ephemeral.scope: Extra inputs are not permitted`.
fn extra_input(message: &str) -> Option<Cure> {
    let (before, _) = message.split_once(": Extra inputs are not permitted")?;
    let path = before.rsplit([' ', '\n', '"', '\'', ',']).next()?;
    Some(Cure::Remove(steps(path.split('.'))?))
}

/// Google's: `Unknown name "x" at 'tools[0].function_declarations[0].parameters': Cannot find field.`
fn unknown_name(message: &str) -> Option<Cure> {
    let (_, rest) = message.split_once("Unknown name \"")?;
    let (name, rest) = rest.split_once('"')?;
    let place =
        rest.strip_prefix(" at '").and_then(|at| at.split_once('\'')).map_or("", |(p, _)| p);
    let place = place.replace('[', ".").replace(']', "");
    let place = place.split('.').filter(|s| !s.is_empty()).chain([name]);
    Some(Cure::Remove(steps(place)?))
}

/// vLLM's: `… 'type': 'extra_forbidden', 'loc': ('body', 'store'), 'msg': 'Extra inputs are not permitted' …`
fn extra_forbidden(message: &str) -> Option<Cure> {
    let (_, rest) = message.split_once("extra_forbidden")?;
    let (_, rest) = rest.split_once("body")?;
    let (place, _) = rest.split_once([')', ']'])?;
    let place = place.split([',', '\'', '"', ' ']).filter(|s| !s.is_empty());
    Some(Cure::Remove(steps(place)?))
}

/// Refusals in words of their own.
fn special(message: &str) -> Option<Cure> {
    let lower = message.to_ascii_lowercase();
    let remove = |key: &str| Some(Cure::Remove(vec![Step::Key(key.to_owned())]));
    if lower.contains("invalid beta flag") {
        return remove("anthropic_beta");
    }
    if lower.contains("adaptive thinking is not supported") {
        return remove("thinking");
    }
    if lower.contains("`temperature` and `top_p` cannot both be specified") {
        return remove("top_p");
    }
    let (_, rest) = message.split_once("The following tools are not allowed")?;
    let (_, names) = rest.split_once(": ")?;
    let names = names.trim_end_matches('.').replace(" and ", ", ");
    let types = names.split(", ").map(|name| name.trim().to_owned()).filter(|t| t != "function");
    Some(Cure::RemoveTools(types.collect()))
}

/// OpenAI's: the parameter stands in `param`, in quotes, or at the end.
fn unsupported(message: &str, code: Option<&str>, param: Option<&str>) -> Option<Cure> {
    let quoted = |text: &str| text.split('\'').nth(1).map(str::to_owned);
    if message.contains("Use 'max_completion_tokens' instead") {
        return Some(Cure::Rename("max_tokens".into(), "max_completion_tokens".into()));
    }
    let is_unsupported =
        matches!(code, Some("unsupported_parameter" | "unknown_parameter" | "unsupported_value"))
            || ["Unsupported parameter", "Unknown parameter", "Unsupported value"]
                .iter()
                .any(|start| message.starts_with(start));
    let argument = message.split_once("Unrecognized request argument supplied: ");
    let path = match (is_unsupported, argument) {
        (true, _) => param.map(str::to_owned).or_else(|| quoted(message))?,
        (false, Some((_, name))) => name.trim_end_matches('.').to_owned(),
        (false, None) => return None,
    };
    let path = path.replace('[', ".").replace(']', "");
    Some(Cure::Remove(steps(path.split('.').filter(|s| !s.is_empty()))?))
}

fn steps<'a>(path: impl Iterator<Item = &'a str>) -> Option<Vec<Step>> {
    let step = |part: &str| match part.parse::<usize>() {
        Ok(_) => Some(Step::Items),
        Err(_)
            if !(1..=64).contains(&part.len()) || !part.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            None
        }
        Err(_) => Some(Step::Key(part.to_owned())),
    };
    let steps: Vec<_> = path.map(step).collect::<Option<_>>()?;
    matches!(steps.first(), Some(Step::Key(_))).then_some(steps)
}

fn remove(envelope: &mut Envelope, path: &[Step]) -> Option<bool> {
    let [Step::Key(root), rest @ ..] = path else { return None };
    let root = spelling(root, |key| envelope.has(key))?;
    if rest.is_empty() {
        return Some(envelope.remove(&root));
    }
    let mut value: Value = serde_json::from_slice(envelope.raw(&root)?).ok()?;
    let has_changed = remove_in(&mut value, rest);
    if has_changed {
        envelope.set(&root, value.to_string());
    }
    Some(has_changed)
}

fn remove_in(value: &mut Value, path: &[Step]) -> bool {
    match (value, path) {
        (Value::Array(items), [Step::Items, rest @ ..]) => {
            items.iter_mut().fold(false, |any, item| remove_in(item, rest) | any)
        }
        (Value::Object(fields), path) => remove_in_object(fields, path),
        _ => false,
    }
}

fn remove_in_object(fields: &mut Map<String, Value>, path: &[Step]) -> bool {
    let [Step::Key(key), rest @ ..] = path else { return false };
    match spelling(key, |k| fields.contains_key(k)) {
        Some(key) if rest.is_empty() => fields.remove(&key).is_some(),
        Some(key) => fields.get_mut(&key).is_some_and(|inner| remove_in(inner, rest)),
        // Paths name the kind of a value beside its keys: `tools.0.custom.…`
        None => remove_in_object(fields, rest),
    }
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

fn remove_tools(envelope: &mut Envelope, types: &[String]) -> Option<bool> {
    let mut tools: Vec<Value> = serde_json::from_slice(envelope.raw("tools")?).ok()?;
    let count = tools.len();
    tools.retain(|t| {
        !t.get("type").and_then(Value::as_str).is_some_and(|t| types.iter().any(|x| x == t))
    });
    if tools.len() == count {
        return Some(false);
    }
    if tools.is_empty() {
        envelope.remove("tool_choice");
        return Some(envelope.remove("tools"));
    }
    envelope.set("tools", Value::from(tools).to_string());
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let cure = cure(&refusal(message, None, *param)).unwrap_or_else(|| panic!("{message}"));
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
        ] {
            assert_eq!(cure(&refusal(message, None, None)), None, "{message}");
        }
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
    fn a_deployment_remembers() {
        let remembered = Remembered::default();
        let body = br#"{"a":1,"b":2}"#;
        assert_eq!(remembered.apply(body).0, body.as_slice());
        remembered.add(Cure::Remove(vec![Step::Key("a".into())]));
        let (healed, removed) = remembered.apply(body);
        assert_eq!((healed.as_ref(), removed), (br#"{"b":2}"#.as_slice(), vec!["a".to_owned()]));
    }
}
