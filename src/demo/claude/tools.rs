//! What Bedrock refuses of the tools of a Messages request.

use serde_json::Value;

use super::super::Answer;
use super::super::bedrock::{Object, is_name, items, present, refusal};
use super::check::{Check, dictionary, has_beta, string, tagged};

pub(super) fn check(check: &mut Check<'_>, request: &Object) -> Result<(), Answer> {
    let tools = match present(request, "tools") {
        None => &[] as &[Value],
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err(refusal("tools: Input should be a valid list")),
    };
    let mut names = Vec::new();
    for (n, tool) in tools.iter().enumerate() {
        let path = format!("tools.{n}");
        let tool = dictionary(tool, &path)?;
        let name = one_tool(check, request, tool, &path)?;
        if names.contains(&name) {
            return Err(refusal("tools: Tool names must be unique."));
        }
        names.push(name);
    }
    tool_choice(check, request, &names)
}

fn one_tool<'a>(
    check: &mut Check<'_>,
    request: &Object,
    tool: &'a Object,
    path: &str,
) -> Result<&'a str, Answer> {
    match present(tool, "type").and_then(Value::as_str) {
        None | Some("custom") => {}
        Some(kind) if is_on_the_client(kind, request) => {
            check.cache_control(tool, &format!("{path}.{kind}"))?;
            return string(tool, "name", path);
        }
        Some(_) => {
            tagged(tool, CLIENT_TOOLS, path)?;
        }
    }
    let path = format!("{path}.custom");
    check.known(tool, &["type", "name", "description", "input_schema", "cache_control"], &path)?;
    check.cache_control(tool, &path)?;
    let name = string(tool, "name", &path)?;
    // Bedrock's own limit is 64; Anthropic's is what its Claude deployments go by.
    if !is_name(name, NAME_BYTES_MAX) {
        let pattern = format!("'^[a-zA-Z0-9_-]{{1,{NAME_BYTES_MAX}}}$'");
        return Err(refusal(&format!("{path}.name: String should match pattern {pattern}")));
    }
    if tool.contains_key("description") {
        string(tool, "description", &path)?;
    }
    let Some(schema) = tool.get("input_schema") else {
        return Err(refusal(&format!("{path}.input_schema: Field required")));
    };
    input_schema(schema, &format!("{path}.input_schema"))?;
    Ok(name)
}

/// The tools Anthropic defines and the client runs.
fn is_on_the_client(kind: &str, request: &Object) -> bool {
    let is_computer = kind.starts_with("computer_") && has_beta(request, "computer-use-");
    let is_memory = kind.starts_with("memory_") && has_beta(request, "context-management-");
    let is_plain = kind.starts_with("bash_") || kind.starts_with("text_editor_");
    is_plain || is_computer || is_memory
}

fn input_schema(schema: &Value, path: &str) -> Result<(), Answer> {
    let schema = dictionary(schema, path)?;
    match schema.get("type") {
        None => return Err(refusal(&format!("{path}.type: Field required"))),
        Some(kind) if kind != "object" => {
            return Err(refusal(&format!("{path}.type: Input should be 'object'")));
        }
        Some(_) => {}
    }
    if ["oneOf", "allOf", "anyOf"].iter().any(|key| schema.contains_key(*key)) {
        return Err(refusal(&format!(
            "{path}: input_schema does not support oneOf, allOf, or anyOf at the top level"
        )));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let fits = |key: &String| is_name(&key.replace('.', "_"), 64);
    if !properties.into_iter().flat_map(|p| p.keys()).all(fits) {
        let pattern = "'^[a-zA-Z0-9_.-]{1,64}$'";
        let why = format!("{path}.properties: Property keys should match pattern {pattern}");
        return Err(refusal(&why));
    }
    Ok(())
}

fn tool_choice(check: &Check<'_>, request: &Object, names: &[&str]) -> Result<(), Answer> {
    let Some(choice) = present(request, "tool_choice") else { return Ok(()) };
    if request.get("tools").is_none_or(|tools| items(tools).is_empty()) {
        return Err(refusal("tool_choice may only be specified while providing tools."));
    }
    let choice = dictionary(choice, "tool_choice")?;
    let kind = tagged(choice, &["any", "auto", "none", "tool"], "tool_choice")?;
    let path = format!("tool_choice.{kind}");
    let keys: &[&str] = match kind {
        "none" => &["type"],
        "tool" => &["type", "disable_parallel_tool_use", "name"],
        _ => &["type", "disable_parallel_tool_use"],
    };
    check.known(choice, keys, &path)?;
    if present(choice, "disable_parallel_tool_use").is_some_and(|given| !given.is_boolean()) {
        let why = format!("{path}.disable_parallel_tool_use: Input should be a valid boolean");
        return Err(refusal(&why));
    }
    if kind == "tool" {
        let name = string(choice, "name", &path)?;
        if !names.contains(&name) {
            return Err(refusal(&format!("Tool '{name}' not found in provided tools")));
        }
    }
    Ok(())
}

const CLIENT_TOOLS: &[&str] = &["bash_20250124", "custom", "text_editor_20250728"];
const NAME_BYTES_MAX: usize = 128;
