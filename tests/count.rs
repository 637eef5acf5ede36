//! The estimate of tokens against counts of real tokenizers, recorded by `wire/count/measure.mjs`.
//!
//! The texts are written or generated for this test and were not in the fit; a dozen are cut from this repository, of which
//! other parts, or the same, were.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sap_ai_core_llm_proxy::chat::{
    Block, MediaKind, Request, Role, Source, Tool, ToolChoice, Turn,
};
use sap_ai_core_llm_proxy::estimate::{self, Vocabulary};

const VOCABULARIES: [(Vocabulary, &[&str]); 5] = [
    (Vocabulary::Claude, &["claude"]),
    (Vocabulary::ClaudeFrom4_7, &["claude_from_4_7"]),
    (Vocabulary::OpenAi, &["o200k"]),
    (Vocabulary::Gemini, &["gemma3"]),
    (Vocabulary::Other, &["llama3", "qwen3"]),
];

/// Of one to four kilobytes; longer requests are mixtures, and their errors cancel out.
const LEAST: f64 = 0.94;
const MOST: f64 = 1.25;

#[test]
fn estimates_err_high_and_not_by_much() {
    let mut faults = vec![];
    let mut table = String::new();
    for (vocabulary, tokenizers) in VOCABULARIES {
        let (mut counted, mut estimated, mut in_band, mut all) = (0, 0, 0, 0);
        for (name, counts) in counts() {
            let truth = tokenizers.iter().map(|t| counts[*t]).max().unwrap();
            let estimate = estimate::text(&text(&name), vocabulary);
            let ratio = estimate as f64 / truth as f64;
            counted += truth;
            estimated += estimate;
            all += 1;
            in_band += i32::from((1.0..=1.15).contains(&ratio));
            table += &format!("{vocabulary:?} {name} {truth} {ratio:.3}\n");
            if !(LEAST..=MOST).contains(&ratio) {
                faults.push(format!("{vocabulary:?}: {name}: {estimate} for {truth}, {ratio:.3}"));
            }
        }
        let ratio = estimated as f64 / counted as f64;
        table += &format!("{vocabulary:?} together {ratio:.3}, in band {in_band} of {all}\n");
        if !(1.02..=1.15).contains(&ratio) {
            faults.push(format!("{vocabulary:?}: together {ratio:.3}"));
        }
        if in_band * 100 < all * 80 {
            faults.push(format!("{vocabulary:?}: only {in_band} of {all} in the band"));
        }
    }
    assert!(faults.is_empty(), "{}\n\n{table}", faults.join("\n"));
    println!("{table}");
}

/// What a client of agents sends: all texts as one request.
#[test]
fn a_request_is_its_texts_and_a_little_more() {
    let texts: Vec<String> = counts().keys().map(|name| text(name)).collect();
    let turns = texts.iter().map(|text| turn(vec![Block::text(text.clone())])).collect();
    let request = Request { turns, ..Request::default() };
    for (vocabulary, _) in VOCABULARIES {
        let alone: u64 = texts.iter().map(|t| estimate::text(t, vocabulary)).sum();
        let whole = estimate::request(&request, vocabulary);
        let around = whole as i64 - alone as i64;
        assert!((50..400).contains(&around), "{vocabulary:?}: {around}");
    }
}

#[test]
fn every_part_of_a_request_counts() {
    let media = |kind, source| Block::Media {
        kind,
        source,
        name: None,
        cache: None,
        path: "messages[0]".to_owned(),
    };
    let png = "iVBORw0KGgoAAAANSUhEUgAAA+gAAAPo"; // 1000 by 1000
    let base64 = |media_type: &str, data: &str| Source::Base64 {
        media_type: media_type.to_owned(),
        data: data.to_owned(),
    };
    let url = || Source::Url("https://example.com/a".to_owned());
    let words = "how many words are in this text of ours, and why?".to_owned();
    let call = Block::ToolCall {
        id: "1".to_owned(),
        name: "Read".to_owned(),
        arguments: format!("{{\"path\":\"{words}\"}}"),
        seal: None,
        cache: None,
    };
    let result = |content| Block::ToolResult {
        id: "1".to_owned(),
        name: "Read".to_owned(),
        content,
        is_error: false,
        cache: None,
    };
    let cases = [
        (Block::text(words.clone()), 10..20, 10..20),
        (Block::Reasoning { text: words.clone(), seal: None }, 15..30, 10..30),
        (call, 45..70, 20..40),
        (result(vec![Block::text(words)]), 40..60, 15..30),
        (media(MediaKind::Image, base64("image/png", png)), 1_296..1_310, 765..766),
        (result(vec![media(MediaKind::Image, url())]), 1_568..1_610, 1_400..1_500),
        (media(MediaKind::File, base64("application/pdf", "JVBERi0x")), 2_000..3_200, 1_000..3_000),
        (media(MediaKind::File, base64("text/plain", "aGVsbG8gd29ybGQ=")), 2..4, 2..4),
        (media(MediaKind::Audio, base64("audio/wav", &"A".repeat(100_000))), 100..500, 100..500),
    ];
    for (block, claude, open_ai) in cases {
        for (vocabulary, expected) in [(Vocabulary::Claude, claude), (Vocabulary::OpenAi, open_ai)]
        {
            let request = |blocks| Request { turns: vec![turn(blocks)], ..Request::default() };
            let found = estimate::request(&request(vec![block.clone()]), vocabulary)
                - estimate::request(&request(vec![]), vocabulary);
            assert!(expected.contains(&found), "{vocabulary:?}: {found} for {block:?}");
        }
    }
}

#[test]
fn tools_bring_the_words_of_the_vendor() {
    let tool = Tool {
        name: "Read".to_owned(),
        description: Some("Reads a file.".to_owned()),
        schema: Some(r#"{"type":"object","properties":{}}"#.to_owned()),
        cache: None,
        is_strict: false,
    };
    let with = |tools, tool_choice| {
        let request = Request { tools, tool_choice, ..Request::default() };
        estimate::request(&request, Vocabulary::Claude)
    };
    let none = with(vec![], None);
    let one = with(vec![tool.clone()], Some(ToolChoice::Auto));
    let forced = with(vec![tool.clone()], Some(ToolChoice::Any));
    let two = with(vec![tool.clone(), tool], None);
    assert!((380..420).contains(&(one - none)), "{}", one - none);
    assert_eq!(one - forced, 346 - 313);
    assert!((35..70).contains(&(two - one)), "{}", two - one);
}

/// Linear and quick, whatever the text is.
#[test]
fn odd_texts() {
    let mut seed = 1u32;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(1_000_000)
    .collect();
    let texts = [
        "a".repeat(1_000_000),
        "A".repeat(1_000_000),
        " ".repeat(1_000_000),
        "\n".repeat(1_000_000),
        "\t \n".repeat(300_000),
        "9".repeat(1_000_000),
        "-".repeat(1_000_000),
        "é".repeat(500_000),
        "漢".repeat(300_000),
        "😀".repeat(250_000),
        "aB1".repeat(300_000),
        "\0".repeat(1_000_000),
        String::from_utf8_lossy(&random).into_owned(),
    ];
    for (vocabulary, _) in VOCABULARIES {
        assert_eq!(estimate::text("", vocabulary), 0);
        for tiny in ["a", " ", "\n", "é", "1", ".", "\0", "😀", "\u{301}", "aB", "HTTPs", "×"] {
            let found = estimate::text(tiny, vocabulary);
            assert!((1..=9).contains(&found), "{vocabulary:?}: {tiny:?} {found}");
        }
        for text in &texts {
            let start = Instant::now();
            let found = estimate::text(text, vocabulary);
            let name: String = text.chars().take(5).collect();
            // Without optimization it is some 30 times as slow.
            assert!(start.elapsed() < Duration::from_secs(2), "{name:?}: {:?}", start.elapsed());
            assert!((1_000..4_000_000).contains(&found), "{vocabulary:?}: {name:?} {found}");
        }
    }
}

fn turn(blocks: Vec<Block>) -> Turn {
    Turn { role: Role::User, blocks }
}

fn counts() -> BTreeMap<String, BTreeMap<String, u64>> {
    serde_json::from_str(&fs::read_to_string(folder().join("counts.json")).unwrap()).unwrap()
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join("texts").join(format!("{name}.txt"))).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/count")
}
