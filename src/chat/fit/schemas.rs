//! Schemas of arguments: objects, as every vendor wants them, and for the rest as the client wrote them.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// The one property of a wrapped answer.
const WRAPPED: &str = "answer";
/// What says at the top of a schema something else than which properties there are; Anthropic refuses it there.
const COMBINATORS: &[&str] = &["$ref", "anyOf", "oneOf", "allOf", "not", "enum", "const"];
/// Where parts of a schema refer to, from its top.
const DEFINITIONS: &[&str] = &["$defs", "definitions"];
const NO_PROPERTIES: &str = r#"{"type":"object","properties":{}}"#;

type Top<'a> = HashMap<String, &'a RawValue>;

/// Arguments are an object; a schema of anything else becomes the schema of a property. Whether it did.
pub fn as_object(schema: String) -> (String, bool) {
    let top = serde_json::from_str::<Top<'_>>(&schema);
    let is_object = top.as_ref().is_ok_and(|top| {
        let is_other = top.get("type").is_some_and(|kind| kind.get() != r#""object""#);
        !is_other && !COMBINATORS.iter().any(|key| top.contains_key(*key))
    });
    let is_json = || serde_json::from_str::<&RawValue>(&schema).is_ok();
    if is_object || !is_json() {
        return (schema, false);
    }
    let top = top.unwrap_or_default();
    let definitions = DEFINITIONS.iter().filter_map(|key| Some((key, top.get(*key)?)));
    let definitions: String =
        definitions.map(|(key, part)| format!(r#","{key}":{part}"#)).collect();
    let wrapped = format!(
        r#"{{"type":"object","properties":{{"{WRAPPED}":{schema}}},"required":["{WRAPPED}"],"additionalProperties":false{definitions}}}"#
    );
    (wrapped, true)
}

/// The answer in the arguments of a wrapped one.
pub fn unwrapped(arguments: &str) -> String {
    let read = serde_json::from_str::<Top<'_>>(arguments);
    match read.ok().and_then(|mut fields| fields.remove(WRAPPED)) {
        Some(answer) => answer.get().to_owned(),
        None => arguments.to_owned(),
    }
}

/// A tool's schema with the type that it has to have, if it left it out; other types are for the vendor to refuse.
pub fn of_tool(schema: Option<String>) -> String {
    let schema = schema.unwrap_or_default();
    let rest = match schema.trim() {
        "" | "null" => return NO_PROPERTIES.to_owned(),
        trimmed => trimmed.strip_prefix('{').map(str::trim_start),
    };
    let (Some(rest), Ok(top)) = (rest, serde_json::from_str::<Top<'_>>(&schema)) else {
        return schema;
    };
    match top.get("type").map(|kind| kind.get()) {
        None if top.is_empty() => NO_PROPERTIES.to_owned(),
        None => format!(r#"{{"type":"object",{rest}"#),
        Some(kind) if may_be_object(kind) => with_type(&schema, kind),
        Some(_) => schema,
    }
}

/// `null`, or a list of types that has `object` in it.
fn may_be_object(kind: &str) -> bool {
    let kinds = serde_json::from_str::<Option<Vec<String>>>(kind);
    kinds.is_ok_and(|kinds| kinds.is_none_or(|kinds| kinds.iter().any(|k| k == "object")))
}

/// The schema with another value where `kind`, which is a part of it, stands.
fn with_type(schema: &str, kind: &str) -> String {
    let at = kind.as_ptr() as usize - schema.as_ptr() as usize;
    let mut new = schema.to_owned();
    new.replace_range(at..at + kind.len(), r#""object""#);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_wrapped_word_for_word() {
        let as_it_is = [
            r#"{"type":"object","properties":{"z":{"maximum":1.10}}}"#,
            r#"{"properties":{"anyOf":{}}}"#,
            r#"{}"#,
            "no JSON",
        ];
        for schema in as_it_is {
            assert_eq!(as_object(schema.into()), (schema.into(), false));
        }
        let table = [
            (r#"{"type":"array","items":{"z":1.10,"a":12345678901234567890123}}"#, ""),
            (r#"{"type":["object","null"]}"#, ""),
            (r#"{"type":"object","anyOf":[{"required":["a"]}]}"#, ""),
            (r#"{"not":{"type":"null"}}"#, ""),
            (r#"{"enum":["b","a"]}"#, ""),
            ("true", ""),
            (
                r##"{"$ref":"#/$defs/z","$defs":{"z":{"maximum":1.10},"a":{}}}"##,
                r#","$defs":{"z":{"maximum":1.10},"a":{}}"#,
            ),
        ];
        for (schema, definitions) in table {
            let (wrapped, is_wrapped) = as_object(schema.into());
            let start = r#"{"type":"object","properties":{"answer":"#;
            let end = r#"},"required":["answer"],"additionalProperties":false"#;
            assert_eq!(wrapped, format!("{start}{schema}{end}{definitions}}}"));
            assert!(is_wrapped && serde_json::from_str::<&RawValue>(&wrapped).is_ok());
        }
    }

    #[test]
    fn a_tool_takes_an_object() {
        for none in [None, Some(""), Some(" null"), Some("{}"), Some(" { } ")] {
            assert_eq!(of_tool(none.map(str::to_owned)), NO_PROPERTIES);
        }
        let table = [
            (r#" { "z":1.10,"a":{}}"#, r#"{"type":"object","z":1.10,"a":{}}"#),
            (r#"{"z":1, "type" : ["null","object"],"a":2}"#, r#"{"z":1, "type" : "object","a":2}"#),
            (r#"{"type":null}"#, r#"{"type":"object"}"#),
        ];
        for (schema, expected) in table {
            assert_eq!(of_tool(Some(schema.to_owned())), expected);
        }
        for other in
            [r#" {"type":"object"}"#, r#"{"type":["string"]}"#, r#"{"type":"x"}"#, "[]", "{"]
        {
            assert_eq!(of_tool(Some(other.to_owned())), other);
        }
    }
}
