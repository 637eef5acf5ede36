//! What SAP's catalogue says of models (dossier 4.3): how much they take, what they can do, and until when they are there.
//!
//! Any field may be missing or null, numbers may be strings, and what cannot be read is as good as missing.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::deployed::number;
use crate::dialect::Facts;
use crate::families;

/// How long before a model retires it is warned of.
const WARNING_DAYS: i64 = 30;

/// The models there are to deploy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    pub entries: Vec<Entry>,
}

/// One model, in its latest version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
    /// The vendor, for people.
    pub provider: Option<String>,
    /// In tokens, of input and output together.
    pub context_length: Option<u64>,
    /// `text`, `image`, …
    pub input_types: Vec<String>,
    /// `text-generation`, `embedding`, …
    pub capabilities: Vec<String>,
    pub is_deprecated: Option<bool>,
    pub retires: Option<Day>,
    /// Names of models.
    pub replacements: Vec<String>,
    /// Orchestration serves it. Left open: what it is where this is not told; taken not to be served.
    pub orchestrates: bool,
    pub streams: bool,
}

/// A day of the calendar: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

/// Reads the catalogue. What is none is an empty one.
pub fn parse(body: &[u8]) -> Catalogue {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let resources = json["resources"].as_array().into_iter().flatten();
    let mut entries: Vec<Entry> = vec![];
    for entry in resources.filter_map(entry) {
        if entries.iter().all(|known| known.name != entry.name) {
            entries.push(entry);
        }
    }
    Catalogue { entries }
}

/// Warnings for those of the deployed names `models` that retire within 30 days, or have: a sentence each.
pub fn retiring<'a>(
    catalogue: &Catalogue,
    models: impl IntoIterator<Item = &'a str>,
    today: Day,
) -> Vec<String> {
    let mut sentences: Vec<String> = vec![];
    for entry in models.into_iter().filter_map(|name| catalogue.find(name)) {
        let Some(sentence) = retirement(entry, today) else { continue };
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    sentences
}

fn retirement(entry: &Entry, today: Day) -> Option<String> {
    let (name, day) = (&entry.name, entry.retires?);
    let when = match day.0 - today.0 {
        left if left > WARNING_DAYS => return None,
        left if left < 0 => format!("model {name} retired on {day}"),
        0 => format!("model {name} retires today, {day}"),
        1 => format!("model {name} retires on {day}, in 1 day"),
        left => format!("model {name} retires on {day}, in {left} days"),
    };
    Some(match entry.replacements.as_slice() {
        [] => when,
        names => format!("{when}; SAP suggests {} instead", names.join(", ")),
    })
}

impl Catalogue {
    /// All that is in any of them; of a model what the first says.
    pub fn union<'a>(catalogues: impl IntoIterator<Item = &'a Catalogue>) -> Catalogue {
        let mut union = Catalogue::default();
        for entry in catalogues.into_iter().flat_map(|catalogue| &catalogue.entries) {
            if union.find(&entry.name).is_none() {
                union.entries.push(entry.clone());
            }
        }
        union
    }

    /// What is said of the model that AI Core knows by this name, in any of its spellings.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        let exact = self.entries.iter().find(|entry| entry.name == name);
        exact.or_else(|| self.entries.iter().find(|entry| families::is_same(&entry.name, name)))
    }
}

impl Entry {
    /// For lists of models.
    pub fn facts(&self) -> Facts {
        Facts {
            display_name: self.display_name.clone(),
            provider: self.provider.clone(),
            context_length: self.context_length,
            capabilities: self.capabilities.clone(),
            input_modalities: self.input_types.clone(),
            is_deprecated: self.is_deprecated,
            retirement_date: self.retires.map(|day| day.to_string()),
            suggested_replacements: self.replacements.clone(),
        }
    }
}

/// Its latest version is the one that says so, otherwise the last.
fn entry(json: &Value) -> Option<Entry> {
    let name = text(&json["model"])?;
    let versions = json["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let latest = versions.iter().find(|version| yes_or_no(&version["isLatest"]) == Some(true));
    let version = latest.or(versions.last()).unwrap_or(&Value::Null);
    let mut scenarios = json["allowedScenarios"].as_array().into_iter().flatten();
    Some(Entry {
        name,
        display_name: text(&json["displayName"]),
        provider: text(&json["provider"]),
        context_length: number(&version["contextLength"]).filter(|n| *n > 0),
        input_types: texts(&version["inputTypes"]),
        capabilities: texts(&version["capabilities"]),
        is_deprecated: yes_or_no(&version["deprecated"]),
        retires: version["retirementDate"].as_str().and_then(Day::parse),
        replacements: texts(&version["suggestedReplacements"]),
        orchestrates: scenarios.any(|allowed| allowed["scenarioId"] == "orchestration"),
        streams: yes_or_no(&version["streamingSupported"]).unwrap_or(false),
    })
}

fn text(json: &Value) -> Option<String> {
    json.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn texts(json: &Value) -> Vec<String> {
    match json {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

fn yes_or_no(json: &Value) -> Option<bool> {
    json.as_bool().or_else(|| json.as_str()?.trim().to_ascii_lowercase().parse().ok())
}

impl Day {
    /// From `2026-10-14`, alone or followed by a time (RFC 3339). The day is the one that is written, wherever that is.
    pub fn parse(text: &str) -> Option<Day> {
        let text = text.trim();
        let (date, rest) = (text.get(..10)?, text.get(10..)?);
        if !(rest.is_empty() || rest.starts_with(['T', 't', ' '])) {
            return None;
        }
        let part = |from: usize, to: usize| {
            let digits = date.get(from..to).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            digits?.parse::<i64>().ok()
        };
        let dashes = [4, 7].iter().all(|at| date.as_bytes().get(*at) == Some(&b'-'));
        let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
        let is_day = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        (dashes && is_day).then(|| Day(days_before(year, month) + day - 1))
    }

    /// The day on which this is, in UTC.
    pub fn of(time: SystemTime) -> Day {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Day((since_1970.as_secs() / 86400) as i64)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A guess that is a few years too near to 1970.
        let mut year = 1970 + self.0 / 366;
        while days_before(year, 1) > self.0 {
            year -= 1;
        }
        while days_before(year + 1, 1) <= self.0 {
            year += 1;
        }
        let month = (1..=12).rev().find(|m| days_before(year, *m) <= self.0).unwrap_or(1);
        write!(f, "{year:04}-{month:02}-{:02}", self.0 - days_before(year, month) + 1)
    }
}

/// From 1970-01-01 to the first of this month.
fn days_before(year: i64, month: i64) -> i64 {
    let leap_days = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    years + (1..month).map(|m| days_in(year, m)).sum::<i64>()
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// In the shape that is recorded (dossier 4.3), shortened.
    const BODY: &[u8] = br#"{"count": 5, "resources": [
        {"model": "gpt-4.1", "executableId": "azure-openai", "displayName": "GPT-4.1", "accessType": "Remote", "provider": "OpenAI",
         "allowedScenarios": [{"scenarioId": "foundation-models", "executableId": "azure-openai"},
                              {"scenarioId": "orchestration", "executableId": "orchestration"}],
         "versions": [
            {"name": "2025-04-14", "isLatest": true, "deprecated": true, "retirementDate": "2026-10-14T00:00:00Z",
             "contextLength": 1047576, "inputTypes": ["text", "image"], "capabilities": ["text-generation", "image-recognition"],
             "metadata": [{"elo": "n/a"}], "cost": [{"inputCost": "0.00225"}], "suggestedReplacements": ["gpt-5", "gpt-5-mini"],
             "streamingSupported": true, "orchestrationCapabilities": []},
            {"name": "2025-01-01", "isLatest": false, "deprecated": false, "contextLength": 7}]},
        {"model": "anthropic--claude-4.5-sonnet",
         "versions": [{"name": "1", "contextLength": 1}, {"name": "2", "contextLength": "200000", "deprecated": "false",
                       "retirementDate": "", "suggestedReplacements": null, "streamingSupported": "true"}]},
        {"model": "cohere-reranker-35", "displayName": null, "allowedScenarios": [null, 7], "versions": [null]},
        {"model": "", "displayName": "nameless"}, {"model": "gpt-4.1", "displayName": "again"}, 7, null
    ]}"#;

    #[test]
    fn entries() {
        let catalogue = parse(BODY);
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let expected = [
            Entry {
                name: "gpt-4.1".into(),
                display_name: Some("GPT-4.1".into()),
                provider: Some("OpenAI".into()),
                context_length: Some(1_047_576),
                input_types: texts(&["text", "image"]),
                capabilities: texts(&["text-generation", "image-recognition"]),
                is_deprecated: Some(true),
                retires: Day::parse("2026-10-14"),
                replacements: texts(&["gpt-5", "gpt-5-mini"]),
                orchestrates: true,
                streams: true,
            },
            Entry {
                name: "anthropic--claude-4.5-sonnet".into(),
                context_length: Some(200_000),
                is_deprecated: Some(false),
                streams: true,
                ..Entry::default()
            },
            Entry { name: "cohere-reranker-35".into(), ..Entry::default() },
        ];
        assert_eq!(catalogue.entries, expected);
        for body in ["", "[]", "{}", "null", r#"{"resources": null}"#, "<html>"] {
            assert_eq!(parse(body.as_bytes()), Catalogue::default(), "{body}");
        }
    }

    #[test]
    fn of_several_the_first_counts() {
        let entry =
            |name: &str, n| Entry { name: name.into(), context_length: n, ..Entry::default() };
        let a = Catalogue { entries: vec![entry("gpt-5", Some(1)), entry("o3", None)] };
        let b = Catalogue { entries: vec![entry("gpt-4o", Some(2)), entry("gpt-5", Some(3))] };
        let union = Catalogue::union([&a, &b]);
        let expected = vec![entry("gpt-5", Some(1)), entry("o3", None), entry("gpt-4o", Some(2))];
        assert_eq!(union.entries, expected);
    }

    #[test]
    fn found_in_any_spelling() {
        let catalogue = parse(BODY);
        let table = [
            ("gpt-4.1", "gpt-4.1"),
            ("claude-sonnet-4-5", "anthropic--claude-4.5-sonnet"),
            ("claude-sonnet-4-6", ""),
            ("gpt-4", ""),
        ];
        for (name, expected) in table {
            assert_eq!(catalogue.find(name).map_or("", |entry| &entry.name), expected, "{name}");
        }
    }

    #[test]
    fn who_retires_is_named_once() {
        let body = br#"{"resources": [
            {"model": "a", "versions": [{"retirementDate": "2026-10-14", "suggestedReplacements": ["b", "c"]}]},
            {"model": "b", "versions": [{"retirementDate": "2026-11-14T00:00:00Z"}]},
            {"model": "c", "versions": [{"retirementDate": "soon", "deprecated": true}]}]}"#;
        let catalogue = parse(body);
        let models = ["b", "a", "a", "c", "unknown"];
        let suggestion = "; SAP suggests b, c instead";
        let table = [
            ("2026-09-13", vec![]),
            ("2026-09-14", vec![format!("model a retires on 2026-10-14, in 30 days{suggestion}")]),
            ("2026-10-13", vec![format!("model a retires on 2026-10-14, in 1 day{suggestion}")]),
            ("2026-10-14", vec![format!("model a retires today, 2026-10-14{suggestion}")]),
            (
                "2026-10-15",
                vec![
                    "model b retires on 2026-11-14, in 30 days".to_owned(),
                    format!("model a retired on 2026-10-14{suggestion}"),
                ],
            ),
        ];
        for (today, expected) in table {
            let today = Day::parse(today).unwrap();
            assert_eq!(retiring(&catalogue, models, today), expected, "{today}");
        }
        let today = Day::parse("2026-10-14").unwrap();
        assert!(retiring(&catalogue, ["c"], today).is_empty());
        assert!(retiring(&Catalogue::default(), models, today).is_empty());
    }

    #[test]
    fn days() {
        let table = [
            ("1970-01-01", Some(0)),
            ("1970-03-01", Some(59)),
            ("1972-02-29", Some(789)),
            ("1999-12-31", Some(10_956)),
            ("2000-02-29T23:59:59.999+02:00", Some(11_016)),
            ("2026-10-14T00:00:00Z", Some(20_740)),
            (" 2100-03-01 00:00:00", Some(47_541)),
            ("1969-12-31", Some(-1)),
            ("2100-02-29", None),
            ("2026-13-01", None),
            ("2026-00-10", None),
            ("2026-04-31", None),
            ("2026-10-14x", None),
            ("2026/10/14", None),
            ("+026-10-14", None),
            ("14.10.2026", None),
            ("2026-1-4", None),
            ("20261014", None),
            ("2026-10-1\u{e4}", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(Day::parse(text).map(|day| day.0), expected, "{text}");
        }
        let mut previous = None;
        for n in (-719_528..-719_000).chain(-800..60_000) {
            let shown = Day(n).to_string();
            assert_eq!(Day::parse(&shown), Some(Day(n)), "{shown}");
            assert!(previous < Some(shown.clone()), "{shown}");
            previous = Some(shown);
        }
        let noon = UNIX_EPOCH + Duration::from_secs(20_740 * 86_400 + 43_200);
        assert_eq!(Day::of(noon).to_string(), "2026-10-14");
    }
}
