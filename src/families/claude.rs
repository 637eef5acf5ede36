//! What each version of Claude takes (dossier 5b.6, 5b.7, 8).

pub mod pass;
mod schema;
mod version;

pub use version::{Tier, Version};

use crate::chat::fit::{ANSWER_TOOL, ends_with_assistant, merged};
use crate::chat::{Block, CachePoint, Effort, Request, Role, Source, Thinking, ToolChoice, Turn};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::media;

/// The output's limit where the client sets none: room for an agent's long edits, and no more than one reply should cost.
const OUTPUT_DEFAULT: u64 = 32_000;
/// The smallest budget for thinking that is taken.
const BUDGET_MIN: u64 = 1_024;
/// What is left to the answer where a budget has to be cut.
const ANSWER_MIN: u64 = 4_096;
/// The most cache points of a request.
const CACHE_POINTS_MAX: usize = 4;

/// Whether a client's bytes can pass. What is to be JSON does not: Claude's deployments are not known to give it by
/// themselves, so the answer is had by a tool, which takes a conversion.
pub fn passes(body: &Envelope) -> bool {
    let is_given = |body: &Envelope, key| body.raw(key).is_some_and(|value| value != b"null");
    let config = body.raw("output_config").and_then(|raw| Envelope::parse(raw.to_vec()).ok());
    !is_given(body, "output_format") && !config.is_some_and(|config| is_given(&config, "format"))
}

/// Makes a request one that this model takes.
pub fn adapt(request: &mut Request, model: &str) -> Result<(), Error> {
    let version = Version::of(model);
    settle_output_max(request, version);
    settle_choice(request, version);
    settle_thinking(request, version);
    settle_sampling(request, version);
    settle_stop(request);
    settle_turns(request, version);
    settle_cache_points(request, version);
    settle_schemas(request)
}

/// Marks the ends of what stays the same from request to request: the tools, the system's texts, and the conversation up to
/// the last two turns of the user. Marks of the client's own are better.
pub fn add_cache_points(request: &mut Request, model: &str) {
    let is_marked = cache_points(request).iter().any(|point| point.is_some());
    if is_marked || !Version::of(model).caches() {
        return;
    }
    let mark = |blocks: &mut Vec<Block>| {
        if let Some(point) = blocks.last_mut().and_then(Block::cache) {
            *point = Some(CachePoint::FiveMinutes);
        }
    };
    if let Some(tool) = request.tools.last_mut() {
        tool.cache = Some(CachePoint::FiveMinutes);
    }
    mark(&mut request.system);
    let users = request.turns.iter_mut().rev().filter(|turn| turn.role == Role::User);
    users.take(2).for_each(|turn| mark(&mut turn.blocks));
}

fn settle_output_max(request: &mut Request, version: Version) {
    if request.output_max.is_some_and(|max| max > version.output_max()) {
        request.drop_field("max_tokens");
    }
    let output_max = request.output_max.unwrap_or(OUTPUT_DEFAULT);
    request.output_max = Some(output_max.clamp(1, version.output_max()));
}

/// Left open: what a model that always thinks makes of a forced tool; it is asked for in words, which nobody refuses.
fn settle_choice(request: &mut Request, version: Version) {
    if !version.always_thinks() || !is_forced(request) {
        return;
    }
    let wish = match request.tool_choice.replace(ToolChoice::Auto) {
        Some(ToolChoice::Named(name)) => format!("Answer by calling the tool {name}."),
        _ => "Answer by calling one of the tools.".to_owned(),
    };
    request.system.push(Block::text(wish));
    // Where the answer has to come as a call, the client forced nothing.
    if !request.tools.iter().any(|tool| tool.name.starts_with(ANSWER_TOOL)) {
        request.drop_field("tool_choice");
    }
}

fn is_forced(request: &Request) -> bool {
    matches!(request.tool_choice, Some(ToolChoice::Any | ToolChoice::Named(_)))
}

fn settle_thinking(request: &mut Request, version: Version) {
    let wanted = request.thinking.take();
    if wanted == Some(Thinking::Off) || is_forced(request) {
        request.thinking = least_thinking(version);
        // That it thinks less than wanted is no loss where nothing was wanted.
        let is_met = wanted.is_none_or(|w| w == Thinking::Off && !version.always_thinks());
        if !is_met {
            request.drop_field("reasoning_effort");
        }
        return;
    }
    let Some(wanted) = wanted else { return };
    if version.thinks() {
        request.thinking = match wanted {
            Thinking::Effort(Effort::Highest) if version.adapts() && !version.only_adapts() => {
                Some(Thinking::Effort(Effort::High))
            }
            Thinking::Budget(budget) if version.only_adapts() => {
                Some(Thinking::Effort(effort_of(budget)))
            }
            Thinking::Budget(budget) => with_budget(request, budget, version),
            wanted if version.adapts() => Some(wanted),
            Thinking::Effort(effort) => with_budget(request, budget_of(effort), version),
            _ => with_budget(request, budget_of(Effort::Medium), version),
        };
    }
    if request.thinking.is_none() {
        request.drop_field("reasoning_effort");
    }
}

/// As little as the model thinks if it is told so; only who thinks unasked is told.
fn least_thinking(version: Version) -> Option<Thinking> {
    match () {
        () if version.always_thinks() => Some(Thinking::Effort(Effort::Low)),
        () if version.thinks_unasked() => Some(Thinking::Off),
        () => None,
    }
}

fn budget_of(effort: Effort) -> u64 {
    match effort {
        Effort::Minimal => BUDGET_MIN,
        Effort::Low => 2_048,
        Effort::Medium => 8_192,
        Effort::High => 16_384,
        Effort::Highest | Effort::Max => 32_000,
    }
}

/// More than `High` is for those who ask for it by name.
fn effort_of(budget: u64) -> Effort {
    match budget {
        0..4_096 => Effort::Low,
        4_096..16_384 => Effort::Medium,
        _ => Effort::High,
    }
}

/// A budget is below the output's limit: that one is raised as far as the model goes, then the budget is cut. `None` where
/// the conversation or the model has no place for a budget.
fn with_budget(request: &mut Request, budget: u64, version: Version) -> Option<Thinking> {
    if is_thought_missing(&request.turns) {
        return None;
    }
    let budget = budget.max(BUDGET_MIN);
    let output_max = request.output_max?;
    if budget < output_max {
        return Some(Thinking::Budget(budget));
    }
    let raised = output_max.saturating_add(budget).min(version.output_max());
    let budget = budget.min(raised.saturating_sub(output_max.min(ANSWER_MIN)));
    if budget < BUDGET_MIN {
        return None;
    }
    request.output_max = Some(raised);
    Some(Thinking::Budget(budget))
}

/// Whether a turn of the tool loop that goes on does not begin with the thought that led to its calls: with a budget that is
/// refused. Where the model adapts, it is not (Anthropic's documentation of adaptive thinking).
fn is_thought_missing(turns: &[Turn]) -> bool {
    let is_result = |b: &Block| matches!(b, Block::ToolResult { .. });
    let is_call = |b: &Block| matches!(b, Block::ToolCall { .. });
    let is_loop = |turn: &&Turn| turn.role == Role::Assistant || turn.blocks.iter().any(is_result);
    let calling = turns.iter().rev().take_while(is_loop).filter(|t| t.blocks.iter().any(is_call));
    let is_thought = |b: Option<&Block>| matches!(b, Some(Block::Reasoning { seal: Some(_), .. }));
    calling.into_iter().any(|turn| !is_thought(turn.blocks.first()))
}

fn settle_sampling(request: &mut Request, version: Version) {
    // Others count to 2; what they mean by more than 1 is as much as there is.
    request.temperature = request.temperature.map(|t| t.clamp(0.0, 1.0));
    let (temperature, top_p) = (request.temperature, request.top_p);
    let is_thinking = is_thinking(request);
    if version.only_adapts() || (is_thinking && temperature != Some(1.0)) {
        request.temperature = None;
    }
    let has_both = request.temperature.is_some() && top_p.is_some();
    let is_low = is_thinking && top_p.is_some_and(|p| p < 0.95);
    if version.only_adapts() || is_low || (has_both && version.is_from(4, 1)) {
        request.top_p = None;
    }
    let is_seeded = request.seed.take().is_some();
    let is_lost = [
        ("temperature", temperature != request.temperature),
        ("top_p", top_p != request.top_p),
        ("seed", is_seeded),
        ("frequency_penalty", request.frequency_penalty.take().is_some()),
        ("presence_penalty", request.presence_penalty.take().is_some()),
    ];
    is_lost.into_iter().filter(|(_, lost)| *lost).for_each(|(name, _)| request.drop_field(name));
}

fn is_thinking(request: &Request) -> bool {
    request.thinking.is_some_and(|thinking| thinking != Thinking::Off)
}

/// A sequence of white space is refused.
fn settle_stop(request: &mut Request) {
    let count = request.stop.len();
    request.stop.retain(|sequence| !sequence.trim().is_empty());
    if request.stop.len() < count {
        request.drop_field("stop");
    }
}

fn settle_turns(request: &mut Request, version: Version) {
    for turn in request.turns.iter_mut().filter(|turn| turn.role == Role::Assistant) {
        drop_idle_thoughts(&mut turn.blocks, version);
    }
    request.turns.iter_mut().for_each(|turn| drop_blank_files(&mut turn.blocks));
    let turns = std::mem::take(&mut request.turns);
    request.turns = merged(turns.into_iter().filter(|turn| !turn.blocks.is_empty()).collect());
    if !ends_with_assistant(&request.turns) {
        return;
    }
    if version.adapts() || is_thinking(request) {
        let blocks = vec![Block::text("Continue.")];
        return request.turns.push(Turn { role: Role::User, blocks });
    }
    let last = request.turns.last_mut().and_then(|turn| turn.blocks.last_mut());
    if let Some(Block::Text { text, .. }) = last {
        *text = text.trim_end().into();
    }
}

/// A text without words is refused, also as a file.
fn drop_blank_files(blocks: &mut Vec<Block>) {
    blocks.retain(|block| !is_blank_file(block));
    for block in blocks {
        if let Block::ToolResult { content, .. } = block {
            content.retain(|block| !is_blank_file(block));
        }
    }
}

fn is_blank_file(block: &Block) -> bool {
    let Block::Media { source: Source::Base64 { media_type, data }, .. } = block else {
        return false;
    };
    let text = media_type.starts_with("text/").then(|| media::text(data)).flatten();
    text.is_some_and(|text| text.trim().is_empty())
}

/// A turn may not end with a thought; a model that does not think takes none.
fn drop_idle_thoughts(blocks: &mut Vec<Block>, version: Version) {
    let is_thought = |b: &Block| matches!(b, Block::Reasoning { .. });
    if !version.thinks() {
        blocks.retain(|b| !is_thought(b));
    }
    let end = blocks.iter().rposition(|b| !is_thought(b)).map_or(0, |last| last + 1);
    blocks.truncate(end);
}

fn settle_schemas(request: &mut Request) -> Result<(), Error> {
    let mut lost = vec![];
    for tool in &mut request.tools {
        lost.extend(schema::settle(tool)?);
    }
    lost.into_iter().for_each(|path| request.drop_field(path));
    Ok(())
}

/// At most so many; the last ones reach farthest. What lives for an hour comes before what lives for five minutes.
fn settle_cache_points(request: &mut Request, version: Version) {
    request.turns.iter_mut().flat_map(|t| &mut t.blocks).for_each(hoist_cache_point);
    let mut set: Vec<_> = cache_points(request).into_iter().filter(|p| p.is_some()).collect();
    let max = if version.caches() { CACHE_POINTS_MAX } else { 0 };
    let excess = set.len().saturating_sub(max);
    set.iter_mut().take(excess).for_each(|point| **point = None);
    let mut is_changed = excess > 0;
    let short = set.iter().position(|point| **point == Some(CachePoint::FiveMinutes));
    for point in set.into_iter().skip(short.unwrap_or(usize::MAX)) {
        is_changed |= *point == Some(CachePoint::OneHour);
        *point = Some(CachePoint::FiveMinutes);
    }
    if is_changed {
        request.drop_field("cache_control");
    }
}

/// A result has one mark, not its parts.
pub(super) fn hoist_cache_point(block: &mut Block) {
    let Block::ToolResult { content, cache, .. } = block else { return };
    for part in content.iter_mut().filter_map(Block::cache) {
        *cache = cache.or(part.take());
    }
}

/// Every place for a mark, in the order in which Claude reads them.
pub(super) fn cache_points(request: &mut Request) -> Vec<&mut Option<CachePoint>> {
    let tools = request.tools.iter_mut().map(|tool| &mut tool.cache);
    let system = request.system.iter_mut();
    let said = request.turns.iter_mut().flat_map(|turn| &mut turn.blocks);
    tools.chain(system.chain(said).filter_map(Block::cache)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{MediaKind, Seal, Tool};

    #[test]
    fn the_limit_of_the_output() {
        let table = [
            ("claude-opus-4-8", None, 32_000),
            ("claude-opus-4-8", Some(500_000), 128_000),
            ("claude-sonnet-4-5", Some(16), 16),
            ("claude-sonnet-4-5", Some(0), 1),
            ("claude-3-5-sonnet", None, 8_192),
        ];
        for (model, asked, expected) in table {
            let mut request = hi();
            request.output_max = asked;
            adapt(&mut request, model).unwrap();
            assert_eq!(request.output_max, Some(expected), "{model} {asked:?}");
            let is_cut = asked.is_some_and(|asked| asked > expected);
            assert_eq!(request.dropped == ["max_tokens"], is_cut, "{model} {asked:?}");
            assert_eq!(request.dropped.is_empty(), !is_cut, "{model} {asked:?}");
        }
    }

    #[test]
    fn thinking_by_version() {
        use self::Effort::*;
        use Thinking::*;
        const THREE_5: &str = "claude-3-5-sonnet";
        const OPUS_4: &str = "claude-opus-4-1";
        const FOUR_5: &str = "claude-sonnet-4-5";
        const FOUR_6: &str = "claude-sonnet-4-6";
        const FOUR_8: &str = "claude-opus-4-8";
        const FIVE: &str = "anthropic--claude-5-sonnet";
        #[rustfmt::skip]
        let table = [
            (THREE_5, None,    Off,              None,                  8_192),
            (THREE_5, None,    Effort(High),     None,                  8_192),
            (FOUR_5,  None,    Off,              None,                  32_000),
            (FOUR_5,  None,    Effort(Minimal),  Some(Budget(1_024)),   32_000),
            (FOUR_5,  None,    Effort(High),     Some(Budget(16_384)),  32_000),
            (FOUR_5,  None,    Effort(Highest),  Some(Budget(32_000)),  64_000),
            (FOUR_5,  None,    Adaptive,         Some(Budget(8_192)),   32_000),
            (FOUR_5,  None,    Budget(7),        Some(Budget(1_024)),   32_000),
            (FOUR_5,  Some(9), Effort(Low),      Some(Budget(2_048)),   2_057),
            (OPUS_4,  None,    Effort(Highest),  Some(Budget(27_904)),  32_000),
            (FOUR_6,  None,    Effort(Low),      Some(Effort(Low)),     32_000),
            (FOUR_6,  None,    Adaptive,         Some(Adaptive),        32_000),
            (FOUR_6,  None,    Budget(9_000),    Some(Budget(9_000)),   32_000),
            (FOUR_8,  None,    Off,              None,                  32_000),
            (FOUR_8,  None,    Effort(Highest),  Some(Effort(Highest)), 32_000),
            (FOUR_6,  None,    Effort(Highest),  Some(Effort(High)),    32_000),
            (FOUR_6,  None,    Effort(Max),      Some(Effort(Max)),     32_000),
            (FOUR_8,  None,    Effort(Max),      Some(Effort(Max)),     32_000),
            (FIVE,    None,    Off,              Some(Off),             32_000),
            (FIVE,    None,    Effort(Highest),  Some(Effort(Highest)), 32_000),
            (FOUR_8,  None,    Budget(2_000),    Some(Effort(Low)),     32_000),
            (FOUR_8,  None,    Budget(8_192),    Some(Effort(Medium)),  32_000),
            (FOUR_8,  None,    Budget(31_999),   Some(Effort(High)),    32_000),
        ];
        for (model, output_max, thinking, expected, raised) in table {
            let mut request = Request { output_max, thinking: Some(thinking), ..hi() };
            adapt(&mut request, model).unwrap();
            assert_eq!(request.thinking, expected, "{model} {thinking:?}");
            assert_eq!(request.output_max, Some(raised), "{model} {thinking:?}");
            let is_lost = expected.is_none() && thinking != Off;
            assert_eq!(request.dropped.len(), usize::from(is_lost), "{model} {thinking:?}");
        }
    }

    #[test]
    fn no_thinking_where_it_is_refused() {
        let thinking = Some(Thinking::Effort(Effort::Low));
        let forced = Request { tool_choice: Some(ToolChoice::Any), thinking, ..hi() };
        let sealed = Seal::Claude("s".into());
        let thought = |seal| Block::Reasoning { text: "hm".into(), seal };
        let in_loop = |first: Vec<Block>, then: Vec<Block>| {
            let calling = [first, vec![call()]].concat();
            let turns = [(Role::Assistant, calling), (Role::User, [vec![result()], then].concat())];
            let turns = turns.map(|(role, blocks)| Turn { role, blocks });
            Request { turns: [hi().turns, turns.into()].concat(), thinking, ..hi() }
        };
        let mut over = in_loop(vec![], vec![]);
        over.turns.push(Turn { role: Role::Assistant, blocks: vec![Block::text("done")] });
        over.turns.extend(hi().turns);
        let table = [
            (forced.clone(), "claude-sonnet-4-5", false),
            (forced, "claude-opus-4-8", false),
            (in_loop(vec![], vec![]), "claude-sonnet-4-5", false),
            (in_loop(vec![], vec![Block::text("and?")]), "claude-sonnet-4-5", false),
            (in_loop(vec![Block::text("so")], vec![]), "claude-sonnet-4-5", false),
            (in_loop(vec![thought(Some(sealed))], vec![]), "claude-sonnet-4-5", true),
            (in_loop(vec![], vec![]), "claude-opus-4-8", true),
            (over, "claude-sonnet-4-5", true),
        ];
        for (i, (mut request, model, is_on)) in table.into_iter().enumerate() {
            adapt(&mut request, model).unwrap();
            assert_eq!(request.thinking.is_some(), is_on, "{i} {model}");
            assert_eq!(request.dropped == ["reasoning_effort"], !is_on, "{i} {model}");
        }
    }

    #[test]
    fn models_that_think_unasked() {
        use Thinking::{Effort as Of, Off};
        type Row =
            (&'static str, Option<Thinking>, bool, Option<Thinking>, &'static [&'static str]);
        let low = Some(Of(Effort::Low));
        let high = Some(Of(Effort::High));
        let table: &[Row] = &[
            ("claude-sonnet-5", None, false, None, &[]),
            ("claude-sonnet-5", None, true, Some(Off), &[]),
            ("claude-sonnet-5", Some(Off), true, Some(Off), &[]),
            ("claude-sonnet-5", high, true, Some(Off), &["reasoning_effort"]),
            ("claude-sonnet-5-5", Some(Off), false, low, &["reasoning_effort"]),
            ("claude-sonnet-5-5", None, true, None, &["tool_choice"]),
            ("our-own-name", high, true, high, &["tool_choice"]),
        ];
        for (model, thinking, is_forced, expected, dropped) in table {
            let choice = is_forced.then(|| ToolChoice::Named("now".into()));
            let mut request = Request { thinking: *thinking, tool_choice: choice.clone(), ..hi() };
            adapt(&mut request, model).unwrap();
            assert_eq!(request.thinking, *expected, "{model} {thinking:?}");
            assert_eq!(request.dropped, *dropped, "{model} {thinking:?}");
            let is_asked = dropped.contains(&"tool_choice");
            let wish = Block::text("Answer by calling the tool now.");
            assert_eq!(request.system == [wish], is_asked, "{model} {thinking:?}");
            let expected = if is_asked { Some(ToolChoice::Auto) } else { choice };
            assert_eq!(request.tool_choice, expected, "{model} {thinking:?}");
        }
    }

    #[test]
    fn sampling_by_version() {
        type Sampling = (Option<f64>, Option<f64>);
        let none: &[&str] = &[];
        #[rustfmt::skip]
        let table: &[(&str, bool, Sampling, Sampling, &[&str])] = &[
            ("claude-sonnet-4-5", false, (Some(0.3), None),       (Some(0.3), None),      none),
            ("claude-sonnet-4-5", false, (Some(1.7), None),       (Some(1.0), None),      none),
            ("claude-sonnet-4-5", false, (Some(0.3), Some(0.9)),  (Some(0.3), None),      &["top_p"]),
            ("claude-4-sonnet",   false, (Some(0.3), Some(0.9)),  (Some(0.3), Some(0.9)), none),
            ("claude-sonnet-4-5", false, (None, Some(0.9)),       (None, Some(0.9)),      none),
            ("claude-sonnet-4-5", true,  (Some(0.3), None),       (None, None),           &["temperature"]),
            ("claude-sonnet-4-5", true,  (Some(1.0), None),       (Some(1.0), None),      none),
            ("claude-sonnet-4-5", true,  (Some(0.3), Some(0.97)), (None, Some(0.97)),     &["temperature"]),
            ("claude-sonnet-4-5", true,  (None, Some(0.9)),       (None, None),           &["top_p"]),
            ("claude-opus-4-7",   false, (Some(1.0), Some(1.0)),  (None, None),           &["temperature", "top_p"]),
        ];
        for (model, is_thinking, (temperature, top_p), expected, dropped) in table {
            let thinking = is_thinking.then_some(Thinking::Effort(Effort::Low));
            let mut request =
                Request { thinking, temperature: *temperature, top_p: *top_p, ..hi() };
            adapt(&mut request, model).unwrap();
            let found = (request.temperature, request.top_p);
            assert_eq!(found, *expected, "{model} {temperature:?} {top_p:?}");
            assert_eq!(request.dropped, *dropped, "{model} {temperature:?} {top_p:?}");
        }
    }

    #[test]
    fn what_claude_has_no_word_for() {
        let stop = vec!["\n\n".to_owned(), "END".to_owned()];
        let mut request = Request { stop, seed: Some(1), ..hi() };
        (request.frequency_penalty, request.presence_penalty) = (Some(0.1), Some(0.1));
        adapt(&mut request, "claude-sonnet-4-5").unwrap();
        assert_eq!(request.stop, ["END"]);
        assert_eq!(request.dropped, ["seed", "frequency_penalty", "presence_penalty", "stop"]);
        assert_eq!((request.seed, request.frequency_penalty), (None, None));
    }

    #[test]
    fn beginnings_of_replies() {
        let table = [
            ("claude-sonnet-4-5", None, "The answer:", 2),
            ("claude-sonnet-4-5", Some(Thinking::Adaptive), "The answer: \n", 3),
            ("claude-sonnet-4-6", None, "The answer: \n", 3),
            ("claude-opus-4-8", None, "The answer: \n", 3),
        ];
        for (model, thinking, expected, count) in table {
            let blocks = vec![
                Block::text("The answer: \n"),
                // Nobody takes a thought as the last block.
                Block::Reasoning { text: "hm".into(), seal: Some(Seal::Claude("s".into())) },
            ];
            let mut request = Request { thinking, ..hi() };
            request.turns.push(Turn { role: Role::Assistant, blocks });
            adapt(&mut request, model).unwrap();
            assert_eq!(request.turns[1].blocks, [Block::text(expected)], "{model}");
            assert_eq!(request.turns.len(), count, "{model}");
        }
    }

    #[test]
    fn files_without_words() {
        let file = |media_type: &str, data: &str| Block::Media {
            kind: MediaKind::File,
            source: Source::Base64 { media_type: media_type.into(), data: data.into() },
            name: None,
            cache: None,
            path: String::new(),
        };
        let kept = [Block::text("hi"), file("text/csv", "YSxi"), file("application/pdf", "IA==")];
        let blank = [file("text/plain", ""), file("text/plain", "IAo=")];
        let mut request = hi();
        request.turns[0].blocks = [&kept[..], &blank].concat();
        adapt(&mut request, "claude-sonnet-4-5").unwrap();
        assert_eq!(request.turns[0].blocks, kept);
    }

    #[test]
    fn old_models_see_no_thoughts() {
        let thought = Block::Reasoning { text: "hm".into(), seal: Some(Seal::Claude("s".into())) };
        let mut request = hi();
        request.turns.push(Turn { role: Role::Assistant, blocks: vec![thought] });
        request.turns.extend(hi().turns);
        adapt(&mut request, "claude-3-5-sonnet").unwrap();
        let blocks = vec![Block::text("hi"), Block::text("hi")];
        assert_eq!(request.turns, [Turn { role: Role::User, blocks }]);
    }

    #[test]
    fn cache_points_where_none_are() {
        let mut request = marked(&[]);
        add_cache_points(&mut request, "claude-3-5-sonnet");
        assert_eq!(points(&mut request), "--- - ----");
        add_cache_points(&mut request, "claude-opus-4-8");
        assert_eq!(points(&mut request), "--5 5 5--5");
        let mut own = marked(&[(1, CachePoint::OneHour)]);
        add_cache_points(&mut own, "claude-opus-4-8");
        assert_eq!(points(&mut own), "-1- - ----");
    }

    #[test]
    fn cache_points_are_few_and_in_order() {
        use CachePoint::{FiveMinutes as F, OneHour as H};
        type Marks = &'static [(usize, CachePoint)];
        let table: &[(&str, Marks, &str, bool)] = &[
            ("claude-opus-4-8", &[(0, H), (3, F), (7, F)], "1-- 5 ---5", false),
            ("claude-opus-4-8", &[(0, H), (3, F), (4, H), (7, H)], "1-- 5 5--5", true),
            (
                "claude-opus-4-8",
                &[(0, F), (1, F), (2, H), (3, H), (6, H), (7, F)],
                "--1 1 --15",
                true,
            ),
            ("claude-3-5-sonnet", &[(0, F)], "--- - ----", true),
        ];
        for (model, marks, expected, is_noted) in table {
            let mut request = marked(marks);
            adapt(&mut request, model).unwrap();
            assert_eq!(points(&mut request), *expected, "{model}");
            assert_eq!(request.dropped == ["cache_control"], *is_noted, "{expected}");
        }
    }

    #[test]
    fn a_mark_within_a_result_is_the_results() {
        let mut inner = Block::text("12:30");
        *inner.cache().unwrap() = Some(CachePoint::OneHour);
        let mut block = result();
        let Block::ToolResult { content, .. } = &mut block else { unreachable!() };
        content.push(inner);
        hoist_cache_point(&mut block);
        assert_eq!(block.cache(), Some(&mut Some(CachePoint::OneHour)));
        let Block::ToolResult { content, .. } = &mut block else { unreachable!() };
        assert_eq!(content[1].cache(), Some(&mut None));
    }

    /// Three tools, a text of the system, a call and its result between two texts, marked at these places.
    fn marked(marks: &[(usize, CachePoint)]) -> Request {
        let tool = |name: &str| Tool {
            name: name.into(),
            description: None,
            schema: None,
            cache: None,
            is_strict: false,
        };
        let turn = |role, block| Turn { role, blocks: vec![block] };
        let mut request = Request {
            tools: ["a", "b", "c"].map(tool).into(),
            system: vec![Block::text("Be brief.")],
            turns: vec![
                turn(Role::User, Block::text("hi")),
                turn(Role::Assistant, call()),
                turn(Role::User, result()),
            ],
            ..Request::default()
        };
        request.turns[2].blocks.push(Block::text("and?"));
        let mut points = cache_points(&mut request);
        marks.iter().for_each(|(at, point)| *points[*at] = Some(*point));
        request
    }

    /// Tools, system, turns.
    fn points(request: &mut Request) -> String {
        let letters = cache_points(request).into_iter().map(|point| match point {
            None => '-',
            Some(CachePoint::FiveMinutes) => '5',
            Some(CachePoint::OneHour) => '1',
        });
        let letters: String = letters.collect();
        format!("{} {} {}", &letters[..3], &letters[3..4], &letters[4..])
    }

    fn hi() -> Request {
        let turns = vec![Turn { role: Role::User, blocks: vec![Block::text("hi")] }];
        Request { turns, ..Request::default() }
    }

    fn call() -> Block {
        let (id, name, arguments) = ("c".into(), "now".into(), "{}".into());
        Block::ToolCall { id, name, arguments, seal: None, cache: None }
    }

    fn result() -> Block {
        let (id, name, content) = ("c".into(), "now".into(), vec![Block::text("12:00")]);
        Block::ToolResult { id, name, content, is_error: false, cache: None }
    }
}
