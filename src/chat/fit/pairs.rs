//! Calls and their results, side by side.

use std::collections::{HashMap, VecDeque};

use super::{Block, Fit, Role, Turn, digest, plain};

/// Each turn's calls are answered, all of them and first, in the turn that follows. A call that never was says so; a result
/// of no call becomes a text. Ids are made to fit, and each names one call only.
pub fn paired(mut turns: Vec<Turn>, fit: &Fit) -> Vec<Turn> {
    let mut results = results(&mut turns).into_iter();
    let mut paired: Vec<Turn> = Vec::with_capacity(turns.len());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for mut turn in turns {
        if turn.role == Role::User {
            turn.blocks = turn.blocks.into_iter().flat_map(to_text_if_result).collect();
            push(&mut paired, turn);
            continue;
        }
        let mut answers = vec![];
        for call in turn.blocks.iter_mut().filter(|b| is_call(b)) {
            let result = results.next().flatten().unwrap_or_else(interrupted);
            answers.push(answered(call, result, fit, &mut seen));
        }
        push(&mut paired, turn);
        push(&mut paired, Turn { role: Role::User, blocks: answers });
    }
    paired
}

fn push(turns: &mut Vec<Turn>, turn: Turn) {
    match turns.last_mut() {
        _ if turn.blocks.is_empty() => {}
        Some(last) if last.role == turn.role => last.blocks.extend(turn.blocks),
        _ => turns.push(turn),
    }
}

fn is_call(block: &Block) -> bool {
    matches!(block, Block::ToolCall { .. })
}

/// The calls of one turn that have the same id.
#[derive(Default)]
struct Called {
    turn: usize,
    /// Those without a result yet, by their places among all calls.
    unanswered: VecDeque<usize>,
    /// The turn of the last result.
    answered_in: usize,
}

/// The results, taken out of the turns, for each call in order. A result is of the last turn before it that calls with its
/// id, since some clients count their calls anew in each turn; calls of one turn with the same id are answered in order.
fn results(turns: &mut [Turn]) -> Vec<Option<Block>> {
    let mut results = vec![];
    let mut called: HashMap<String, Called> = HashMap::new();
    for (i, turn) in turns.iter_mut().enumerate() {
        if turn.role == Role::User {
            let blocks = std::mem::take(&mut turn.blocks).into_iter();
            turn.blocks = blocks.filter_map(|b| untaken(b, i, &mut called, &mut results)).collect();
            continue;
        }
        for block in &turn.blocks {
            let Block::ToolCall { id, .. } = block else { continue };
            let calls = called.entry(id.clone()).or_default();
            if calls.turn != i {
                *calls = Called { turn: i, ..Called::default() };
            }
            calls.unanswered.push_back(results.len());
            results.push(None);
        }
    }
    results
}

/// The block, if it is not the result of a call.
fn untaken(
    block: Block,
    turn: usize,
    called: &mut HashMap<String, Called>,
    results: &mut [Option<Block>],
) -> Option<Block> {
    let Block::ToolResult { id, .. } = &block else { return Some(block) };
    let Some(calls) = called.get_mut(id) else { return Some(block) };
    match calls.unanswered.pop_front() {
        Some(place) => {
            results[place] = Some(block);
            calls.answered_in = turn;
            None
        }
        // Given twice by some clients: the first counts.
        None if calls.answered_in == turn => None,
        None => Some(block),
    }
}

fn interrupted() -> Block {
    Block::ToolResult {
        id: String::new(),
        name: String::new(),
        content: vec![Block::text("The call was interrupted; it has no result.")],
        is_error: true,
        cache: None,
    }
}

/// The result of this call, which is made to fit.
fn answered(
    call: &mut Block,
    mut result: Block,
    fit: &Fit,
    seen: &mut HashMap<String, usize>,
) -> Block {
    let Block::ToolCall { id, name, arguments, .. } = call else { return result };
    *arguments = object(std::mem::take(arguments));
    let count = seen.entry(id.clone()).or_insert(0);
    *count += 1;
    *id = fitting_id(id, *count, fit.id_max);
    if let Block::ToolResult { id: of, name: tool, .. } = &mut result {
        of.clone_from(id);
        tool.clone_from(name);
    }
    result
}

/// A result whose call is not in the conversation: its text, and what else is in it.
fn to_text_if_result(block: Block) -> Vec<Block> {
    let Block::ToolResult { content, .. } = block else { return vec![block] };
    let (mut blocks, others): (Vec<_>, Vec<_>) =
        content.into_iter().partition(|b| matches!(b, Block::Media { .. }));
    let texts = others.iter().filter_map(|b| match b {
        Block::Text { text, .. } => Some(&**text),
        _ => None,
    });
    let texts = texts.collect::<Vec<_>>().join("\n");
    blocks.insert(0, Block::text(format!("Result of an earlier tool call: {texts}")));
    blocks
}

/// An id of the right letters and length, the same for the same `id` and `count`.
pub fn fitting_id(id: &str, count: usize, max: usize) -> String {
    let fits = !id.is_empty() && id.len() <= max && id.chars().all(plain);
    if fits && count == 1 {
        return id.to_owned();
    }
    let suffix = format!("_{:08x}", digest(id) as u32 ^ count as u32);
    let mut new: String = id.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    new.truncate(max.saturating_sub(suffix.len()));
    new + &suffix
}

/// Arguments as a JSON object, which they are but for replies that were cut off.
fn object(arguments: String) -> String {
    let is_object = arguments.trim_start().starts_with('{')
        && serde_json::from_str::<serde::de::IgnoredAny>(&arguments).is_ok();
    match arguments.trim() {
        "" | "null" => "{}".to_owned(),
        _ if is_object => arguments,
        other => serde_json::json!({ "arguments": other }).to_string(),
    }
}
