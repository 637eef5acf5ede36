//! What a deployment serves, as the AI API tells it (dossier 4.1).
//!
//! A configuration gives deployments names of its own. Where such a name says nothing of the model, the deployment is
//! looked up once, on the first request for it.

use serde_json::Value;

/// What the AI API says of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    /// The model of this name.
    Model(String),
    /// Any model, by its name in each request.
    Orchestration,
    /// It is written in the configuration of this id.
    Configuration(String),
    Unknown,
}

/// Reads a deployment. Its model stands under either of two spellings, or nowhere.
pub fn of_deployment(body: &[u8]) -> Deployed {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text =
        |pointer: &str| json.pointer(pointer).and_then(Value::as_str).filter(|s| !s.is_empty());
    let name = text("/details/resources/backend_details/model/name")
        .or_else(|| text("/details/resources/backendDetails/model/name"));
    if let Some(name) = name {
        return Deployed::Model(name.to_owned());
    }
    if text("/scenarioId") == Some("orchestration") {
        return Deployed::Orchestration;
    }
    match text("/configurationId") {
        // It becomes a part of a URL.
        Some(id) if id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => {
            Deployed::Configuration(id.to_owned())
        }
        _ => Deployed::Unknown,
    }
}

/// Reads a configuration.
pub fn of_configuration(body: &[u8]) -> Deployed {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let bindings = json["parameterBindings"].as_array().into_iter().flatten();
    let mut names =
        bindings.filter(|b| b["key"] == "modelName").filter_map(|b| b["value"].as_str());
    match names.next() {
        Some(name) => Deployed::Model(name.to_owned()),
        None => Deployed::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_none() {
        let model = |spelling: &str| {
            format!(
                r#"{{"details":{{"resources":{{"{spelling}":{{"model":{{"name":"gpt-4o"}}}}}}}}}}"#
            )
        };
        let found = || Deployed::Model("gpt-4o".into());
        let table = [
            (model("backend_details"), found()),
            (model("backendDetails"), found()),
            (
                r#"{"scenarioId":"orchestration","details":{"resources":{}}}"#.into(),
                Deployed::Orchestration,
            ),
            (
                r#"{"details":null,"configurationId":"a-1"}"#.into(),
                Deployed::Configuration("a-1".into()),
            ),
            (r#"{"configurationId":"../x"}"#.into(), Deployed::Unknown),
            ("no JSON".into(), Deployed::Unknown),
        ];
        for (body, expected) in table {
            assert_eq!(of_deployment(body.as_bytes()), expected, "{body}");
        }
        let configuration = br#"{"parameterBindings":[{"key":"modelVersion","value":"latest"},{"key":"modelName","value":"gpt-4o"}]}"#;
        assert_eq!(of_configuration(configuration), found());
        assert_eq!(of_configuration(b"{}"), Deployed::Unknown);
    }
}
