//! A plausible instance of a JSON schema: the arguments of a tool call, the answer of a structured
//! output.

use serde_json::{Map, Value, json};

/// Objects hold what they require; `name` helps to guess a string.
pub(super) fn instance(schema: &Value) -> Value {
    of(schema, schema, "", 0)
}

fn of(schema: &Value, root: &Value, name: &str, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| of(target, root, name, depth + 1));
    }
    if let Some(given) = given(schema) {
        return given.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(choices)) = schema.get(key) {
            return choices
                .get(choice(choices, depth))
                .map_or(Value::Null, |s| of(s, root, name, depth + 1));
        }
    }
    match kind(schema, depth) {
        "object" => object(schema, root, depth),
        "array" => array(schema, root, name, depth),
        "string" => Value::from(string(schema, name)),
        "integer" => json!(number(schema).ceil() as i64),
        "number" => json!(number(schema) + if schema.get("maximum").is_some() { 0.0 } else { 0.5 }),
        "boolean" => json!(true),
        _ => Value::Null,
    }
}

fn given(schema: &Value) -> Option<&Value> {
    let listed = |key| schema.get(key).and_then(|list: &Value| list.get(0));
    schema
        .get("const")
        .or_else(|| listed("enum"))
        .or_else(|| schema.get("default"))
        .or_else(|| listed("examples"))
}

/// The first that is not null; deep down the null, so that recursion ends.
fn choice(choices: &[Value], depth: usize) -> usize {
    let is_null = |s: &Value| s.get("type") == Some(&json!("null"));
    let wanted = |s: &Value| is_null(s) == (depth > SHALLOW);
    choices.iter().position(wanted).unwrap_or(0)
}

fn kind(schema: &Value, depth: usize) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            let wanted = |kind: &&Value| (*kind == "null") == (depth > SHALLOW);
            let kind = kinds.iter().find(wanted).or_else(|| kinds.first());
            kind.and_then(Value::as_str).unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let mut object = Map::new();
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        let property = schema.get("properties").and_then(|p| p.get(name));
        object.insert(name.to_owned(), of(property.unwrap_or(&json!({})), root, name, depth + 1));
    }
    Value::Object(object)
}

fn array(schema: &Value, root: &Value, name: &str, depth: usize) -> Value {
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
    let count = if depth > SHALLOW { least } else { least.max(1) }.min(ITEMS_MAX);
    let any = json!({});
    let items = schema.get("items").unwrap_or(&any);
    (0..count).map(|_| of(items, root, name, depth + 1)).collect()
}

fn string(schema: &Value, name: &str) -> String {
    let by_format = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => Some("2026-05-01T08:00:00Z"),
        Some("date") => Some("2026-05-01"),
        Some("time") => Some("08:00:00Z"),
        Some("email") => Some("demo@example.com"),
        Some("uri") => Some("https://example.com/"),
        Some("uuid") => Some("00000000-0000-4000-8000-000000000001"),
        _ => None,
    };
    let name = name.to_lowercase();
    let by_name =
        || ["city", "location", "place"].iter().find(|n| name.contains(*n)).map(|_| "Paris");
    let mut text = by_format.or_else(by_name).map_or(format!("demo {name}"), str::to_owned);
    let bound = |key| schema.get(key).and_then(Value::as_u64).map(|n| n.min(1000) as usize);
    while text.chars().count() < bound("minLength").unwrap_or(0) {
        text.push('x');
    }
    text.chars().take(bound("maxLength").unwrap_or(usize::MAX)).collect()
}

fn number(schema: &Value) -> f64 {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|n| n + 1.0));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|n| n - 1.0));
    let number = least.unwrap_or(1.0).max(1.0_f64.min(most.unwrap_or(1.0)));
    number.min(most.unwrap_or(number))
}

/// Below this, optional things are left out.
const SHALLOW: usize = 6;
const DEPTH_MAX: usize = 24;
const ITEMS_MAX: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_fit_their_schemas() {
        let schema = json!({
            "type": "object",
            "required": ["city", "n", "x", "ok", "list", "maybe", "unit", "node"],
            "properties": {
                "city": {"type": "string"},
                "n": {"type": "integer", "minimum": 3},
                "x": {"type": "number"},
                "ok": {"type": "boolean"},
                "list": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2},
                "maybe": {"anyOf": [{"type": "null"}, {"type": "integer"}]},
                "unit": {"type": ["string", "null"], "maxLength": 3},
                "node": {"$ref": "#/$defs/node"},
                "unrequired": {"type": "string"},
            },
            "$defs": {"node": {
                "type": "object",
                "required": ["next"],
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            }},
        });
        let mut made = instance(&schema);
        assert!(made["node"]["next"].is_object());
        made["node"] = json!(0);
        let expected = json!({
            "city": "Paris", "n": 3, "x": 1.5, "ok": true, "list": ["a", "a"], "maybe": 1,
            "unit": "dem", "node": 0,
        });
        assert_eq!(made, expected);
    }
}
