//! The list of what a response was made of.

use serde_json::{Value, json};

use super::super::super::{Answer, Call, lock, pairs, value};
use super::super::check::refusal;

/// `limit` from 1 to 100, `order` asc or desc, `after` an item's id.
pub(super) fn input_items(call: &Call<'_>, id: &str) -> Result<Answer, Answer> {
    let mut kept = lock(call.kept);
    kept.entry(call.deployment, id)?;
    let entry = kept.find(call.deployment, id);
    let mut items = entry.map(|entry| kept.input(call.deployment, entry)).unwrap_or_default();
    let query = pairs(call.query);
    let limit = match value(&query, "limit").map(|text| text.parse::<usize>()) {
        None => 20,
        Some(Ok(limit)) if (1..=100).contains(&limit) => limit,
        Some(_) => return Err(wrong("limit", "expected an integer from 1 to 100")),
    };
    match value(&query, "order").as_deref() {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(wrong("order", "expected 'asc' or 'desc'")),
    }
    if let Some(after) = value(&query, "after") {
        let at = items.iter().position(|item| item["id"] == after.as_str());
        let at = at.ok_or_else(|| wrong("after", "expected the id of one of the items"))?;
        items.drain(..=at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id_of = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(super::written(&json!({
        "object": "list",
        "first_id": id_of(items.first()),
        "last_id": id_of(items.last()),
        "data": items,
        "has_more": has_more,
    })))
}

fn wrong(name: &str, wanted: &str) -> Answer {
    let why = format!("Invalid '{name}': {wanted}.");
    refusal(&why, json!(name), json!("invalid_value"))
}
