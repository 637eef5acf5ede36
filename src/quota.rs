//! How many requests a minute a tenant has of each model, as the AI API tells it (dossier 4.5).

use serde_json::Value;

use crate::deployed::number;

/// Reads the limits: model → requests a minute, in the order they are told. Left open: what 0 means, and a limit of one
/// version or provider only. 0 is none that is told; of several limits of a model that of all its versions counts,
/// otherwise the least.
pub fn limits(body: &[u8]) -> Vec<(String, u32)> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let resources = json.as_array().or_else(|| json["resources"].as_array());
    let resources = resources.into_iter().flatten();
    let models = resources.filter(|r| r["resourceType"].is_null() || r["resourceType"] == "model");
    let mut limits: Vec<Limit> = vec![];
    for limit in models.filter_map(|r| r["quotaDetails"].as_array()).flatten().filter_map(limit) {
        match limits.iter_mut().find(|known| known.model == limit.model) {
            Some(known) if known.is_before(&limit) => *known = limit,
            Some(_) => {}
            None => limits.push(limit),
        }
    }
    limits.into_iter().map(|limit| (limit.model, limit.per_minute)).collect()
}

struct Limit {
    model: String,
    per_minute: u32,
    is_of_all_versions: bool,
}

impl Limit {
    /// The other counts.
    fn is_before(&self, other: &Limit) -> bool {
        match (self.is_of_all_versions, other.is_of_all_versions) {
            (false, true) => true,
            (true, false) => false,
            _ => other.per_minute < self.per_minute,
        }
    }
}

fn limit(json: &Value) -> Option<Limit> {
    let what = &json["descriptors"];
    let model = what["modelName"].as_str().filter(|name| !name.is_empty())?;
    let per_minute = number(&json["limit"]).filter(|n| *n > 0)?;
    (json["unit"] == "requestPerMinute").then(|| Limit {
        model: model.to_owned(),
        per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX),
        is_of_all_versions: what["modelVersion"] == "*",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the shape that is documented (dossier 4.5).
    #[test]
    fn requests_a_minute() {
        let of = |model: &str, version: &str, limit: &str| {
            format!(
                r#"{{"unit": "requestPerMinute", "limit": {limit}, "descriptors": {{"modelName": "{model}",
                     "modelVersion": "{version}", "providerName": "azure-openai"}}}}"#
            )
        };
        let model = |details: &[String]| {
            format!(r#"{{"resourceType": "model", "quotaDetails": [{}]}}"#, details.join(","))
        };
        let other_unit = of("gpt-5", "*", "1").replace("requestPerMinute", "tokenPerMinute");
        let other_kind = model(&[of("gpt-5", "*", "1")]).replace("\"model\"", "\"instance\"");
        let table = [
            (format!("[{}]", model(&[of("gpt-5", "*", "78")])), vec![("gpt-5", 78)]),
            (format!("{{\"resources\": [{}]}}", model(&[of("o3", "*", "7")])), vec![("o3", 7)]),
            (
                format!(
                    "[{},{},null,{{}}]",
                    model(&[of("b", "*", "\"60\""), other_unit]),
                    model(&[of("a", "*", "5e9")])
                ),
                vec![("b", 60), ("a", u32::MAX)],
            ),
            (format!("[{other_kind}]"), vec![]),
            (
                format!("[{}]", model(&[of("a", "1", "3"), of("a", "*", "9"), of("a", "2", "1")])),
                vec![("a", 9)],
            ),
            (format!("[{}]", model(&[of("a", "1", "3"), of("a", "2", "2")])), vec![("a", 2)]),
            (format!("[{}]", model(&[of("a", "*", "0"), of("b", "*", "-1")])), vec![]),
            (format!("[{}]", model(&[of("", "*", "5"), of("b", "*", "null")])), vec![]),
            ("RBAC: access denied".into(), vec![]),
            ("{}".into(), vec![]),
        ];
        for (body, expected) in table {
            let limits = limits(body.as_bytes());
            let limits: Vec<_> = limits.iter().map(|(model, n)| (model.as_str(), *n)).collect();
            assert_eq!(limits, expected, "{body}");
        }
    }
}
