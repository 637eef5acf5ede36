//! Titan text embeddings by invoke: one text a call (dossier 5b.9).

use serde_json::{Value, json};

use super::bedrock::{Object, present, refusal};
use super::story::{tokens, vector};
use super::{Answer, Call};

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    let request: Object = serde_json::from_slice(call.body)
        .map_err(|_| malformed("expected type: JSONObject, found: something else"))?;
    if let Some(key) = request.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(malformed(&format!("#: extraneous key [{key}] is not permitted")));
    }
    let text = text(&request)?;
    let dimensions = dimensions(&request)?;
    if present(&request, "normalize").is_some_and(|given| !given.is_boolean()) {
        return Err(malformed("#/normalize: expected type: Boolean"));
    }
    let (counted, most) = (tokens(text.len()), call.deployment.context_tokens);
    if counted > most {
        let why = format!(
            "Too many input tokens. Max input tokens: {most}, request input token count: {counted}"
        );
        return Err(refusal(&why));
    }
    let embedding = vector(text, dimensions);
    Ok(Answer::json(200, &json!({"embedding": embedding, "inputTextTokenCount": counted})))
}

fn text(request: &Object) -> Result<&str, Answer> {
    match request.get("inputText") {
        None => Err(malformed("#: required key [inputText] not found")),
        Some(Value::String(text)) if text.is_empty() => {
            Err(malformed("#/inputText: expected minLength: 1, actual: 0"))
        }
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(_)) => {
            Err(malformed("#/inputText: expected type: String, found: JSONArray"))
        }
        Some(_) => Err(malformed("#/inputText: expected type: String")),
    }
}

fn dimensions(request: &Object) -> Result<usize, Answer> {
    let Some(given) = present(request, "dimensions") else { return Ok(1024) };
    let known = [256, 512, 1024].into_iter().find(|n| given.as_u64() == Some(*n as u64));
    known.ok_or_else(|| malformed(&format!("#/dimensions: {given} is not a valid enum value")))
}

fn malformed(what: &str) -> Answer {
    refusal(&format!("Malformed input request: {what}, please reformat your input and try again."))
}

const KEYS: [&str; 3] = ["inputText", "dimensions", "normalize"];
