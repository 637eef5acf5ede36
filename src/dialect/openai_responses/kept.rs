//! Responses that are kept, and what they were asked.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{Kept, marks};
use crate::envelope::{items, listed};
use crate::error::Error;

/// The most items of one page, and as many as come unasked.
const LIMIT_MAX: usize = 100;
const LIMIT: usize = 20;

/// The answer to a deletion.
pub fn deleted(id: &str) -> String {
    json!({"id": id, "object": "response", "deleted": true}).to_string()
}

/// A request's `input` as a list of items.
pub fn items_of(input: &[u8]) -> Vec<u8> {
    match input.first() {
        Some(b'"') => [br#"[{"type":"message","role":"user","content":"#, input, b"}]"].concat(),
        Some(b'[') => input.to_vec(),
        _ => b"[]".to_vec(),
    }
}

/// One list after the other.
pub fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    let of = |list| items(list).unwrap_or_default();
    listed(&[of(first), of(second)].concat())
}

/// A list with the items themselves for references to what is kept here; `None` where there are none.
pub fn resolved(list: &[u8], item: &Kept<'_>) -> Result<Option<Vec<u8>>, Error> {
    let mut all: Vec<Cow<'_, [u8]>> = vec![];
    for raw in items(list).unwrap_or_default() {
        let known = marks::referred(raw).map(item).transpose()?.flatten();
        all.push(known.map_or(Cow::Borrowed(raw), |json| Cow::Owned(json.into_bytes())));
    }
    let is_edited = all.iter().any(|item| matches!(item, Cow::Owned(_)));
    Ok(is_edited.then(|| listed(&all)))
}

/// `GET /v1/responses/{id}/input_items`: a page of the items that a response was asked with, the last first unless `order`
/// says `asc`.
pub fn input_items(
    input: &[u8],
    response: &str,
    asked: &[(String, String)],
) -> Result<String, Error> {
    let value = |key: &str| asked.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let limit = match value("limit").map(str::parse) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => {
            let why = format!("a number from 1 to {LIMIT_MAX} is expected");
            return Err(Error::bad_request("limit", why));
        }
    };
    let items = items(input).unwrap_or_default().into_iter().enumerate();
    let mut all: Vec<_> = items.filter_map(|(n, item)| listed_item(item, response, n)).collect();
    match value("order") {
        None | Some("desc") => all.reverse(),
        Some("asc") => {}
        Some(_) => return Err(Error::bad_request("order", "asc or desc is expected")),
    }
    if let Some(after) = value("after") {
        let at = all.iter().position(|item| item["id"] == after);
        let at = at.ok_or_else(|| Error::bad_request("after", "the id of an item is expected"))?;
        all.drain(..=at);
    }
    let has_more = all.len() > limit;
    all.truncate(limit);
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let (first_id, last_id) = (id(all.first()), id(all.last()));
    let page = json!({
        "object": "list",
        "data": all,
        "first_id": first_id,
        "last_id": last_id,
        "has_more": has_more,
    });
    Ok(page.to_string())
}

/// An item as OpenAI lists it: with an id and a type, the content of a message in parts.
fn listed_item(item: &[u8], response: &str, place: usize) -> Option<Value> {
    let mut item = serde_json::from_slice::<Map<String, Value>>(item).ok()?;
    let kind = item.entry("type").or_insert_with(|| json!("message")).clone();
    let is_nothing = item.get("id").is_none_or(Value::is_null);
    if is_nothing {
        let prefix = match kind.as_str() {
            Some("message") => "msg",
            Some("function_call" | "function_call_output") => "fc",
            Some("reasoning") => "rs",
            _ => "item",
        };
        let id = response.strip_prefix("resp_").unwrap_or(response);
        item.insert("id".into(), json!(format!("{prefix}_{id}in{place}")));
    }
    if kind == "message"
        && let Some(Value::String(text)) = item.get("content")
    {
        let is_reply = item.get("role").is_some_and(|role| role == "assistant");
        let part = if is_reply { "output_text" } else { "input_text" };
        let mut parts = json!([{"type": part, "text": text}]);
        if is_reply {
            parts[0]["annotations"] = json!([]);
        }
        item.insert("content".into(), parts);
    }
    Some(Value::Object(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &[(&str, &str)]) -> Result<Value, Error> {
        let input = br#"[{"role":"user","content":"a"},{"type":"function_call","id":"fc_1"},{"id":"msg_2","role":"user","content":[]}]"#;
        let query: Vec<_> = query.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let page = input_items(input, "resp_7", &query)?;
        Ok(serde_json::from_str(&page).unwrap())
    }

    #[test]
    fn pages_of_items() {
        let ids = |page: Value| {
            let ids = page["data"].as_array().unwrap().iter().map(|item| item["id"].clone());
            (ids.collect::<Vec<_>>(), page["has_more"] == true)
        };
        let all = page(&[("order", "asc")]).unwrap();
        assert_eq!(all["data"][0]["content"], json!([{"type": "input_text", "text": "a"}]));
        assert_eq!((&all["first_id"], &all["last_id"]), (&json!("msg_7in0"), &json!("msg_2")));
        assert_eq!(ids(all), (vec![json!("msg_7in0"), json!("fc_1"), json!("msg_2")], false));
        assert_eq!(ids(page(&[("limit", "1")]).unwrap()), (vec![json!("msg_2")], true));
        let rest = page(&[("after", "msg_2"), ("limit", "2")]).unwrap();
        assert_eq!(ids(rest), (vec![json!("fc_1"), json!("msg_7in0")], false));
        for wrong in [("limit", "0"), ("limit", "x"), ("order", "up"), ("after", "msg_9")] {
            assert_eq!(page(&[wrong]).unwrap_err().param(), Some(wrong.0));
        }
    }

    #[test]
    fn an_input_is_a_list() {
        let of = |input: &str| String::from_utf8(items_of(input.as_bytes())).unwrap();
        assert_eq!(of("\"a\""), r#"[{"type":"message","role":"user","content":"a"}]"#);
        assert_eq!((of("[1]"), of("null")), ("[1]".to_owned(), "[]".to_owned()));
        assert_eq!(joined(b"[1,2]", b"[3]"), b"[1,2,3]");
        assert_eq!(joined(b"[]", b"[]"), b"[]");
        let item = |id: &str| Ok((id == "msg_1").then(|| r#"{"a": 1.10}"#.to_owned()));
        let list = br#"[{"id":"msg_1"},{"id":"msg_1","role":"user"},{"type":"item_reference","id":"msg_1"},{"id":"msg_2"}]"#;
        let found = resolved(list, &item).unwrap().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&found),
            r#"[{"a": 1.10},{"id":"msg_1","role":"user"},{"a": 1.10},{"id":"msg_2"}]"#
        );
        assert_eq!(resolved(br#"[{"id":"msg_2"}, 5]"#, &item), Ok(None));
    }
}
