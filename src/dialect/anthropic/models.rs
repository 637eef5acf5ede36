//! The list of models, as Anthropic's SDKs and Claude Code read it.

use serde_json::{Value, json};

use crate::dialect::Facts;
use crate::error::Error;

/// A model as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: String,
    /// For people.
    pub display_name: String,
    /// What else is known.
    pub facts: Facts,
}

/// The part of the list that is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    limit: Option<usize>,
    after: Option<String>,
    before: Option<String>,
}

/// As many as Anthropic gives where nothing is said, and the most it gives.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1000;

impl Page {
    /// From the query's `limit`, `after_id` and `before_id`; 400 where `limit` is none.
    pub fn of(query: &[(String, String)]) -> Result<Page, Error> {
        let mut page = Page::default();
        for (key, value) in query {
            match key.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
                    let why = || format!("a number from 1 to {LIMIT_MAX} is expected");
                    page.limit = Some(limit.ok_or_else(|| Error::bad_request("limit", why()))?);
                }
                "after_id" => page.after = Some(value.clone()),
                "before_id" => page.before = Some(value.clone()),
                _ => {}
            }
        }
        Ok(page)
    }
}

/// `GET /v1/models`; 400 where the page begins at a model that is not there.
pub fn model_list(all: &[Listed], page: &Page) -> Result<String, Error> {
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    let at = |key: &str, id: &str| {
        let found = all.iter().position(|model| model.id == id);
        found.ok_or_else(|| Error::bad_request(key, "no model in the list has this id"))
    };
    let (range, has_more) = match (&page.after, &page.before) {
        (None, Some(before)) => {
            let end = at("before_id", before)?;
            let start = end.saturating_sub(limit);
            (start..end, start > 0)
        }
        (after, _) => {
            let start = after.as_ref().map_or(Ok(0), |id| at("after_id", id).map(|n| n + 1))?;
            let end = all.len().min(start + limit);
            (start..end, end < all.len())
        }
    };
    let shown = all.get(range).unwrap_or_default();
    Ok(json!({
        "data": shown.iter().map(model_json).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": shown.first().map(|model| &model.id),
        "last_id": shown.last().map(|model| &model.id),
    })
    .to_string())
}

/// `GET /v1/models/{id}`.
pub fn model(model: &Listed) -> String {
    model_json(model).to_string()
}

/// AI Core does not say since when a model exists, so the date is the epoch. `capabilities` is an object of Anthropic's own,
/// so what SAP calls so has another name here. Left open: `max_input_tokens`, since AI Core's number counts the output, too.
fn model_json(model: &Listed) -> Value {
    let mut json = json!({
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": "1970-01-01T00:00:00Z",
    });
    let facts = &model.facts;
    facts.add_to(&mut json);
    if !facts.capabilities.is_empty() {
        json["capability_names"] = json!(facts.capabilities);
    }
    if let Some(is_deprecated) = facts.is_deprecated {
        json["lifecycle"] = json!(if is_deprecated { "deprecated" } else { "active" });
    }
    if let Some(day) = &facts.retirement_date {
        json["retires_at"] = json!(format!("{day}T00:00:00Z"));
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let all: Vec<Listed> = (0..30)
            .map(|n| Listed {
                id: format!("m{n}"),
                display_name: format!("M {n}"),
                facts: Facts::default(),
            })
            .collect();
        let table = [
            ("", 0..20, true),
            ("limit=1000", 0..30, false),
            ("limit=7&after_id=m6", 7..14, true),
            ("after_id=m27&x=y", 28..30, false),
            ("after_id=m29", 30..30, false),
            ("before_id=m5&limit=3", 2..5, true),
            ("before_id=m5", 0..5, false),
            ("before_id=m0", 0..0, false),
        ];
        let query = |text: &str| -> Vec<(String, String)> {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        for (text, range, has_more) in table {
            let page = Page::of(&query(text)).unwrap();
            let list: Value = serde_json::from_str(&model_list(&all, &page).unwrap()).unwrap();
            let ids = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str());
            let ids: Vec<_> = ids.map(Option::unwrap).collect();
            let expected: Vec<_> = range.map(|n| format!("m{n}")).collect();
            assert_eq!(ids, expected, "{text}");
            assert_eq!(list["has_more"], has_more, "{text}");
            assert_eq!(list["first_id"], json!(expected.first()), "{text}");
            assert_eq!(list["last_id"], json!(expected.last()), "{text}");
        }
        for text in ["limit=0", "limit=1001", "limit=x", "limit="] {
            assert_eq!(Page::of(&query(text)).unwrap_err().param(), Some("limit"), "{text}");
        }
        let page = Page::of(&query("after_id=x")).unwrap();
        assert_eq!(model_list(&all, &page).unwrap_err().param(), Some("after_id"));
    }
}
