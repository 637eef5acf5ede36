//! The catalogue of models (dossier 4.3), in the shape of `models.json`. Figures are invented where
//! the dossier has none.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::deployments::{ORCHESTRATION, executable};

/// What the catalogue says of a model.
struct Row {
    model: &'static str,
    display_name: &'static str,
    provider: &'static str,
    /// Its latest.
    version: &'static str,
    /// In tokens; 0 for not told.
    context: u64,
    kind: Kind,
    cost: (&'static str, &'static str),
    /// What it answers with by orchestration; empty where it is not allowed there.
    orchestrated_as: &'static str,
}

impl Row {
    /// Orchestration serves it, and it answers with this name there.
    const fn by(self, orchestrated_as: &'static str) -> Row {
        Row { orchestrated_as, ..self }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    /// Text after thought.
    Thinking,
    Seeing,
    SeeingThinking,
    Media,
    Embedding,
    Rerank,
}

/// The models there are, by when they retire: model → the time, `""` for never.
pub(super) fn answer(retirements: &HashMap<String, String>) -> Value {
    let resources = ROWS.iter().map(|row| described(row, retirements)).collect::<Vec<_>>();
    json!({"count": resources.len(), "resources": resources})
}

pub(super) fn has(model: &str) -> bool {
    ROWS.iter().any(|row| row.model == model)
}

/// What a model that orchestration completes with answers with.
pub(super) fn orchestrated(model: &str) -> Option<&'static str> {
    let completes = |row: &&Row| !matches!(row.kind, Kind::Embedding | Kind::Rerank);
    let row = ROWS.iter().filter(completes).find(|row| row.model == model)?;
    (!row.orchestrated_as.is_empty()).then_some(row.orchestrated_as)
}

fn described(row: &Row, retirements: &HashMap<String, String>) -> Value {
    let serves = executable(row.model);
    let native = json!({"scenarioId": "foundation-models", "executableId": serves});
    let by_orchestration = json!({"scenarioId": ORCHESTRATION, "executableId": ORCHESTRATION});
    let scenarios = match (row.orchestrated_as, BY_ORCHESTRATION_ONLY.contains(&row.model)) {
        ("", _) => vec![native],
        (_, false) => vec![native, by_orchestration],
        (_, true) => vec![by_orchestration],
    };
    let mut versions = vec![latest(row, retirements)];
    if let Some((_, name, retired)) = OLDER.iter().find(|(model, ..)| *model == row.model) {
        let mut older = versions[0].clone();
        older["name"] = json!(name);
        older["isLatest"] = json!(false);
        older["deprecated"] = json!(true);
        older["retirementDate"] = json!(retired);
        versions.push(older);
    }
    json!({
        "model": row.model,
        "executableId": serves,
        "description": format!("{} (demo)", row.display_name),
        "displayName": row.display_name,
        "accessType": "Remote",
        "provider": row.provider,
        "allowedScenarios": scenarios,
        "versions": versions,
    })
}

fn latest(row: &Row, retirements: &HashMap<String, String>) -> Value {
    let usual = RETIRING.iter().find(|(model, ..)| *model == row.model);
    let date = retirements.get(row.model).map(String::as_str);
    let date = date.or(usual.map(|(_, date, _)| *date)).unwrap_or_default();
    let replacements = match usual {
        Some((.., replacement)) => vec![*replacement],
        None if date.is_empty() => vec![],
        None => vec!["gpt-5"],
    };
    let mut version = json!({
        "name": row.version,
        "isLatest": true,
        "deprecated": !date.is_empty(),
        "retirementDate": date,
        "contextLength": row.context,
        "inputTypes": row.kind.input_types(),
        "capabilities": row.kind.capabilities(),
        "metadata": [{"elo": "n/a"}],
        "cost": [{"inputCost": row.cost.0}, {"outputCost": row.cost.1}],
        "suggestedReplacements": replacements,
        "streamingSupported": !matches!(row.kind, Kind::Embedding | Kind::Rerank),
        "orchestrationCapabilities": [],
    });
    if row.context == 0
        && let Some(version) = version.as_object_mut()
    {
        version.remove("contextLength");
    }
    version
}

impl Kind {
    fn input_types(self) -> &'static [&'static str] {
        match self {
            Kind::Text | Kind::Thinking | Kind::Embedding | Kind::Rerank => &["text"],
            Kind::Seeing | Kind::SeeingThinking => &["text", "image"],
            Kind::Media => &["text", "image", "audio", "video"],
        }
    }

    fn capabilities(self) -> &'static [&'static str] {
        match self {
            Kind::Text => &["text-generation"],
            Kind::Thinking => &["text-generation", "reasoning"],
            Kind::Seeing => &["text-generation", "image-recognition"],
            Kind::SeeingThinking | Kind::Media => {
                &["text-generation", "image-recognition", "reasoning"]
            }
            Kind::Embedding => &["embedding"],
            Kind::Rerank => &["rerank"],
        }
    }
}

#[rustfmt::skip]
const ROWS: &[Row] = {
    use Kind::*;
    const OPENAI: &str = "OpenAI";
    const ANTHROPIC: &str = "Anthropic";
    const GOOGLE: &str = "Google";
    const fn row(
        model: &'static str,
        display_name: &'static str,
        provider: &'static str,
        version: &'static str,
        context: u64,
        kind: Kind,
        cost: (&'static str, &'static str),
    ) -> Row {
        Row { model, display_name, provider, version, context, kind, cost, orchestrated_as: "" }
    }
    &[
        row("gpt-4o", "GPT-4o", OPENAI, "2024-08-06", 128_000, Seeing, ("0.00281", "0.00902")).by("gpt-4o-2024-08-06"),
        row("gpt-4o-mini", "GPT-4o Mini", OPENAI, "2024-07-18", 128_000, Seeing, ("0.00017", "0.00054")).by("gpt-4o-mini-2024-07-18"),
        row("gpt-4.1", "GPT-4.1", OPENAI, "2025-04-14", 1_047_576, Seeing, ("0.00225", "0.00723")).by("gpt-4.1-2025-04-14"),
        row("gpt-4.1-nano", "GPT-4.1 Nano", OPENAI, "2025-04-14", 1_047_576, Seeing, ("0.00011", "0.00036")).by("gpt-4.1-nano-2025-04-14"),
        row("gpt-5", "GPT-5", OPENAI, "2025-08-07", 400_000, SeeingThinking, ("0.00141", "0.00902")).by("gpt-5-2025-08-07"),
        row("gpt-5-mini", "GPT-5 Mini", OPENAI, "2025-08-07", 400_000, SeeingThinking, ("0.00028", "0.0018")).by("gpt-5-mini-2025-08-07"),
        row("gpt-5.5", "GPT-5.5", OPENAI, "2026-03-05", 1_050_000, SeeingThinking, ("0.00562", "0.0271")).by("gpt-5.5-2026-03-05"),
        row("gpt-5.3-codex", "GPT-5.3 Codex", OPENAI, "2026-02-24", 400_000, SeeingThinking, ("0.00197", "0.0126")),
        row("o3", "o3", OPENAI, "2025-04-16", 200_000, SeeingThinking, ("0.00225", "0.00723")).by("o3-2025-04-16"),
        row("o4-mini", "o4-mini", OPENAI, "2025-04-16", 200_000, SeeingThinking, ("0.00124", "0.00397")).by("o4-mini-2025-04-16"),
        row("gpt-4", "GPT-4", OPENAI, "0613", 8_192, Text, ("0.0337", "0.0542")),
        row("text-embedding-3-small", "Text Embedding 3 Small", OPENAI, "1", 8_191, Embedding, ("0.00002", "0.00000")).by("text-embedding-3-small"),
        row("text-embedding-3-large", "Text Embedding 3 Large", OPENAI, "1", 8_191, Embedding, ("0.00013", "0.00000")).by("text-embedding-3-large"),
        row("text-embedding-ada-002", "Text Embedding Ada 002", OPENAI, "2", 8_191, Embedding, ("0.0001", "0.00000")),
        row("anthropic--claude-4.8-opus", "Claude 4.8 Opus", ANTHROPIC, "1", 1_000_000, SeeingThinking, ("0.0052", "0.023")).by("claude-opus-4-8"),
        row("anthropic--claude-4.6-opus", "Claude 4.6 Opus", ANTHROPIC, "1", 1_000_000, SeeingThinking, ("0.0052", "0.023")).by("claude-opus-4-6"),
        row("anthropic--claude-4.6-sonnet", "Claude 4.6 Sonnet", ANTHROPIC, "1", 1_000_000, SeeingThinking, ("0.00312", "0.0138")).by("claude-sonnet-4-6"),
        row("anthropic--claude-4.5-sonnet", "Claude 4.5 Sonnet", ANTHROPIC, "1", 200_000, SeeingThinking, ("0.00312", "0.0138")).by("claude-sonnet-4-5-20250929"),
        row("anthropic--claude-4.5-haiku", "Claude 4.5 Haiku", ANTHROPIC, "1", 200_000, SeeingThinking, ("0.00104", "0.0046")).by("claude-haiku-4-5-20251001"),
        row("anthropic--claude-3.5-sonnet", "Claude 3.5 Sonnet", ANTHROPIC, "2", 200_000, Seeing, ("0.00312", "0.0138")),
        row("amazon--nova-pro", "Nova Pro", "Amazon", "1", 300_000, Seeing, ("0.00096", "0.0031")).by("nova-pro"),
        row("amazon--titan-embed-text", "Titan Embed Text", "Amazon", "1.2", 8_192, Embedding, ("0.00011", "0.00000")).by("amazon--titan-embed-text"),
        row("gemini-2.5-pro", "Gemini 2.5 Pro", GOOGLE, "001", 1_048_576, Media, ("0.00141", "0.00902")).by("gemini-2.5-pro"),
        row("gemini-2.5-flash", "Gemini 2.5 Flash", GOOGLE, "001", 1_048_576, Media, ("0.00034", "0.00226")).by("gemini-2.5-flash"),
        row("gemini-3.5-flash", "Gemini 3.5 Flash", GOOGLE, "001", 1_048_576, Media, ("0.00169", "0.00812")).by("gemini-3.5-flash"),
        row("gemini-embedding", "Gemini Embedding", GOOGLE, "001", 2_048, Embedding, ("0.00017", "0.00000")).by("gemini-embedding"),
        row("mistralai--mistral-medium-instruct", "Mistral Medium Instruct", "Mistral AI", "2508", 131_072, Text, ("0.0006", "0.0020")).by("mistral-medium-2505"),
        row("meta--llama3.1-70b-instruct", "Llama 3.1 70B Instruct", "Meta", "latest", 131_072, Text, ("0.0012", "0.0012")),
        row("deepseek-ai--deepseek-r1", "DeepSeek R1", "DeepSeek", "latest", 131_072, Thinking, ("0.0007", "0.0028")),
        row("deepseek-ai--deepseek-v4", "DeepSeek V4", "DeepSeek", "latest", 131_072, Thinking, ("0.0006", "0.0019")).by("deepseek-v4"),
        row("qwen3-max", "Qwen3 Max", "Alibaba Cloud", "latest", 262_144, Text, ("0.0014", "0.0068")).by("qwen3-max"),
        row("nvidia--llama-3.2-nv-embedqa-1b", "Llama 3.2 NV EmbedQA 1B", "NVIDIA", "1", 8_192, Embedding, ("0.0001", "0.00000")).by("nvidia--llama-3.2-nv-embedqa-1b"),
        row("sonar-pro", "Sonar Pro", "Perplexity", "latest", 200_000, Text, ("0.0033", "0.0140")).by("sonar-pro"),
        row("cohere--command-a-reasoning", "Command A Reasoning", "Cohere", "08-2025", 256_000, Thinking, ("0.0028", "0.0090")).by("command-a-reasoning-08-2025"),
        row("cohere-reranker-35", "Rerank 3.5", "Cohere", "3.5", 0, Rerank, ("0.0020", "0")),
    ]
};
/// Cannot be deployed by themselves.
const BY_ORCHESTRATION_ONLY: [&str; 1] = ["deepseek-ai--deepseek-v4"];
/// Of what runs, none so soon that it would be warned of.
const RETIRING: [(&str, &str, &str); 4] = [
    ("gpt-4o", "2036-06-30T00:00:00Z", "gpt-5"),
    ("gpt-4", "2025-06-06T00:00:00Z", "gpt-4.1"),
    ("anthropic--claude-3.5-sonnet", "2036-10-28T00:00:00Z", "anthropic--claude-4.5-sonnet"),
    ("meta--llama3.1-70b-instruct", "2036-10-28T00:00:00Z", "mistralai--mistral-medium-instruct"),
];
/// Versions that are not the latest, and when they retired.
const OLDER: [(&str, &str, &str); 1] = [("gpt-4o", "2024-05-13", "2026-03-31T00:00:00Z")];
