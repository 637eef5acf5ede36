//! What Claude refuses in the schema of a tool: it wants an object with properties of plain names, and no choices at its top.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::chat::Tool;
use crate::chat::fit::ANSWER_TOOL;
use crate::envelope::{Envelope, quoted};
use crate::error::Error;

/// Choices between schemas, and schemas that all hold.
const COMBINATORS: &[&str] = &["anyOf", "oneOf", "allOf"];
const KEY_BYTES_MAX: usize = 64;

/// Makes the tool's schema one that is taken; the paths of what it lost. What is no schema at all is left to the encoder.
pub fn settle(tool: &mut Tool) -> Result<Vec<String>, Error> {
    let Some(schema) = &tool.schema else { return Ok(vec![]) };
    let Ok(mut top) = Envelope::parse(schema.as_bytes().to_vec()) else { return Ok(vec![]) };
    let lost = merge_branches(&mut top);
    let is_changed = settle_type(&mut top) || !lost.is_empty();
    let is_answer = tool.name.starts_with(ANSWER_TOOL);
    check_keys(&top, &tool.name, if is_answer { "response_format" } else { "tools" })?;
    if is_changed {
        tool.schema = Some(String::from_utf8_lossy(&top.to_bytes()).into_owned());
    }
    let path = if is_answer { "response_format.json_schema.schema" } else { "tools.parameters" };
    Ok(lost.into_iter().map(|key| format!("{path}.{key}")).collect())
}

/// A list of types that names `object` means that one here.
fn settle_type(top: &mut Envelope) -> bool {
    let kinds = top.get::<Vec<String>>("type", "a list").ok().flatten().unwrap_or_default();
    let is_object = kinds.iter().any(|kind| kind == "object");
    if is_object {
        top.set("type", "\"object\"");
    }
    is_object
}

/// Each branch's properties become the schema's own, as they were written; of two that are called the same the first counts.
/// Only what all branches require together stays required.
fn merge_branches(top: &mut Envelope) -> Vec<&'static str> {
    let found: Vec<_> = COMBINATORS.iter().copied().filter(|key| top.has(key)).collect();
    if found.is_empty() {
        return found;
    }
    let mut properties = Envelope::default();
    let mut required = strings(top, "required");
    add_properties(&mut properties, top);
    for key in &found {
        for branch in top.list(key).unwrap_or_default() {
            let branch = resolved(top, branch);
            add_properties(&mut properties, &branch);
            if *key == "allOf" {
                required.extend(strings(&branch, "required"));
            }
        }
    }
    found.iter().for_each(|key| {
        top.remove(key);
    });
    top.set("properties", String::from_utf8_lossy(&properties.to_bytes()));
    if !required.is_empty() {
        let is_first = |at: &usize| !required[..*at].contains(&required[*at]);
        let required = (0..required.len()).filter(is_first).map(|at| quoted(&required[at]));
        let required: Vec<_> = required.collect();
        top.set("required", format!("[{}]", required.join(",")));
    }
    found
}

fn add_properties(all: &mut Envelope, schema: &Envelope) {
    let Some(raw) = schema.raw("properties") else { return };
    let Ok(own) = Envelope::parse(raw.to_vec()) else { return };
    for key in own.keys().filter(|key| !all.has(key)).collect::<Vec<_>>() {
        let value = own.raw(&key).unwrap_or(b"{}");
        all.set(&key, String::from_utf8_lossy(value));
    }
}

/// The definition that a branch refers to, where it only does that: `#/$defs/Cat`.
fn resolved(top: &Envelope, branch: Envelope) -> Envelope {
    let reference = branch.get::<String>("$ref", "a string").ok().flatten();
    let definition = reference.as_deref().and_then(|reference| {
        let (place, name) = reference.strip_prefix("#/")?.split_once('/')?;
        let all: BTreeMap<String, &RawValue> = serde_json::from_slice(top.raw(place)?).ok()?;
        Envelope::parse(all.get(name)?.get().into()).ok()
    });
    definition.unwrap_or(branch)
}

fn strings(schema: &Envelope, key: &str) -> Vec<String> {
    schema.get(key, "a list of strings").ok().flatten().unwrap_or_default()
}

fn check_keys(top: &Envelope, tool: &str, path: &str) -> Result<(), Error> {
    let all = top.get::<BTreeMap<String, IgnoredAny>>("properties", "an object");
    let fits = |key: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(is_plain)
    };
    let all = all.ok().flatten().unwrap_or_default();
    match all.keys().find(|key| !fits(key)) {
        None => Ok(()),
        Some(key) => Err(Error::Refused {
            path: path.to_owned(),
            what: format!(
                "the parameter {} of `{tool}` is not named as Claude takes it: 1 to {KEY_BYTES_MAX} letters, digits, \
                 `_`, `.` and `-`.",
                quoted(key)
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(schema: &str) -> Result<(String, String), Error> {
        let schema = Some(schema.to_owned());
        let mut tool =
            Tool { name: "f".into(), description: None, schema, cache: None, is_strict: false };
        let lost = settle(&mut tool)?;
        Ok((tool.schema.unwrap_or_default(), lost.join(", ")))
    }

    #[test]
    fn choices_at_the_top_become_properties() {
        let table = [
            (r#"{"type" : "object"}"#, r#"{"type" : "object"}"#, ""),
            ("true", "true", ""),
            (r#"{"type":["null","object"]}"#, r#"{"type":"object"}"#, ""),
            (
                r#"{"type":"object","properties":{"a":{"x" : 1.10}},"required":["a"],"allOf":[{"required":["a"]}]}"#,
                r#"{"type":"object","properties":{"a":{"x" : 1.10}},"required":["a"]}"#,
                "tools.parameters.allOf",
            ),
            (
                concat!(
                    r##"{"oneOf":[{"$ref":"#/$defs/A"},{"properties":{"a":{},"b":{"y" : 2}},"required":["b"]}],"##,
                    r#""allOf":[{"properties":{"c":{}},"required":["c"]}],"$defs":{"A":{"properties":{"a":{"z":3}}}}}"#
                ),
                concat!(
                    r#"{"$defs":{"A":{"properties":{"a":{"z":3}}}},"#,
                    r#""properties":{"a":{"z":3},"b":{"y" : 2},"c":{}},"required":["c"]}"#
                ),
                "tools.parameters.oneOf, tools.parameters.allOf",
            ),
        ];
        for (schema, expected, lost) in table {
            assert_eq!(settled(schema).unwrap(), (expected.into(), lost.into()));
        }
    }

    #[test]
    fn names_of_parameters() {
        let long = format!(r#"{{"properties":{{"{}":{{}}}}}}"#, "k".repeat(65));
        let odd =
            [r#"{"properties":{"a b":{}}}"#, r#"{"anyOf":[{"properties":{"$x":{}}}]}"#, &long];
        for schema in odd {
            let error = settled(schema).unwrap_err();
            assert_eq!(error.param(), Some("tools"));
            assert!(error.to_string().contains("of `f`"), "{error}");
        }
        assert!(settled(r#"{"properties":{"a.b-c_D9":{"properties":{"a b":{}}}}}"#).is_ok());
    }
}
