//! OpenAI's Responses as an Azure deployment of AI Core serves them (dossier 5a), from gpt-5 on.
//!
//! ```text
//! POST   responses                    create, streamed or not
//! GET    responses/{id}               what is kept of it; DELETE forgets it
//! POST   responses/{id}/cancel        of one made in the background
//! GET    responses/{id}/input_items   what it was made of, the latest first
//! POST   responses/compact            a conversation made short
//! ```
//!
//! The api-version does not matter. A deployment knows its own ids only, and opens only what it
//! encrypted itself. A response made in the background is queued, in progress at the first look and
//! completed at the second.
//!
//! Left open by the dossier, and decided as OpenAI's own service does it: the words of most
//! refusals, ids of at most 64 characters, an answer's item that comes back without its thought,
//! lists that hold what came before, too. `model` has to be there and is not looked at. What Azure's
//! page does not list (`prompt`, `conversation`, `context_management`) is unknown. A function that
//! does not say `strict` is shown as a strict one and taken as it is.

mod check;
mod items;
mod kept;
mod listing;
mod prompt;
mod reply;
mod seal;

use serde_json::{Map, Value, json};

use super::super::literal::ordered;
use super::super::openai::{now, present};
use super::super::story::tokens;
use super::super::{Answer, Call, ai_api_error, lock};
use super::check::refusal;
use items::Context;
use kept::{Entry, Stage};
pub(in crate::demo) use kept::{Kept, spoken_before};
use reply::Reply;
use seal::sealed;

type Object = Map<String, Value>;

pub(super) fn is_path(suffix: &str) -> bool {
    suffix == "responses" || suffix.starts_with("responses/")
}

pub(super) fn serve(call: &Call<'_>) -> Result<Answer, Answer> {
    let path = call.suffix.strip_prefix("responses").unwrap_or_default();
    let path = path.split('/').skip(1).collect::<Vec<_>>();
    match (call.method, path.as_slice()) {
        ("POST", []) => create(call),
        ("POST", ["compact"]) => compact(call),
        ("GET", [id]) => look(call, id),
        ("DELETE", [id]) => forget(call, id),
        ("POST", [id, "cancel"]) => cancel(call, id),
        ("GET", [id, "input_items"]) => listing::input_items(call, id),
        _ => Err(ai_api_error(404, "01020404", "No such path in this deployment", call.suffix)),
    }
}

fn create(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = super::check::object(call.body)?;
    check::create(&request, call.deployment)?;
    let context = items::context(call, &request)?;
    check::json_is_asked_for(&request, &context.items)?;
    let is_cut = present(&request, "truncation") == Some(&json!("auto"));
    let input_tokens = input_tokens(&request, &context);
    if input_tokens > call.deployment.context_tokens && !is_cut {
        let why = "Your input exceeds the context window of this model. Please adjust your input \
                   and try again.";
        return Err(refusal(why, json!("input"), json!("context_length_exceeded")));
    }
    let reply = Reply::new(call, &request, &context.items, input_tokens);
    let streams = request.get("stream") == Some(&json!(true));
    let in_background = request.get("background") == Some(&json!(true)) && !streams;
    let is_given = call.fault.status == 0 && !call.fault.no_answer;
    if is_given && request.get("store") != Some(&json!(false)) {
        let previous = present(&request, "previous_response_id").and_then(Value::as_str);
        let entry = Entry {
            id: reply.id(),
            previous: previous.map(str::to_owned),
            input: context.input,
            response: reply.whole(),
            stage: if in_background { Stage::Queued } else { Stage::Done },
        };
        lock(call.kept).put(call.deployment, entry);
    }
    Ok(match (streams, in_background) {
        (true, _) => Answer::stream(reply.frames()).with_error(reply.throttled()),
        (_, true) => written(&reply.begun("queued")),
        _ => written(&reply.whole()),
    })
}

fn input_tokens(request: &Object, context: &Context) -> usize {
    let of_items = context.items.iter().map(|item| {
        let images = items::parts(item).filter(|part| part["type"] == "input_image").count();
        let more = ["arguments", "name"].map(|key| item[key].as_str().map_or(0, str::len));
        4 + tokens(items::text_of(item).len() + more.iter().sum::<usize>()) + images * 85
    });
    let of_others = ["instructions", "tools"]
        .map(|key| request.get(key).map_or(0, |value| tokens(value.to_string().len())));
    3 + of_items.sum::<usize>() + of_others.iter().sum::<usize>()
}

fn look(call: &Call<'_>, id: &str) -> Result<Answer, Answer> {
    if call.query.split('&').any(|pair| pair == "stream=true") {
        let why = "This response cannot be streamed because it was not created with \
                   background=true and stream=true.";
        return Err(refusal(why, Value::Null, Value::Null));
    }
    let mut kept = lock(call.kept);
    let entry = kept.entry(call.deployment, id)?;
    entry.stage = match entry.stage {
        Stage::Queued => Stage::InProgress,
        Stage::InProgress => Stage::Done,
        stage => stage,
    };
    Ok(written(&entry.shown()))
}

fn forget(call: &Call<'_>, id: &str) -> Result<Answer, Answer> {
    lock(call.kept).remove(call.deployment, id)?;
    Ok(written(&json!({"id": id, "object": "response", "deleted": true})))
}

fn cancel(call: &Call<'_>, id: &str) -> Result<Answer, Answer> {
    let mut kept = lock(call.kept);
    let entry = kept.entry(call.deployment, id)?;
    if entry.response["background"] != json!(true) {
        let why = "Cannot cancel a synchronous response.";
        return Err(refusal(why, Value::Null, Value::Null));
    }
    if matches!(entry.stage, Stage::Queued | Stage::InProgress) {
        entry.stage = Stage::Cancelled;
    }
    Ok(written(&entry.shown()))
}

/// The user's messages stay as they are, the rest goes into one item.
fn compact(call: &Call<'_>) -> Result<Answer, Answer> {
    let request = super::check::object(call.body)?;
    check::compact(&request)?;
    let context = items::context(call, &request)?;
    let input_tokens = input_tokens(&request, &context);
    let is_users = |item: &Value| item["type"] == "message" && item["role"] == "user";
    let (mut output, rest): (Vec<_>, Vec<_>) = context.items.into_iter().partition(is_users);
    let id = format!("cmp_Demo{:024}", call.number);
    let short = format!("{} items before", rest.len());
    let content = sealed(call.deployment, &id, &short);
    output.push(json!({"id": id, "type": "compaction", "encrypted_content": content}));
    Ok(written(&json!({
        "id": format!("resp_Demo{:024}", call.number),
        "object": "response.compaction",
        "created_at": now(),
        "output": output,
        "usage": reply::usage(input_tokens, tokens(short.len()) + 64, 64),
    })))
}

/// In OpenAI's order of keys.
fn written(value: &Value) -> Answer {
    Answer::guess(200, ordered(value))
}
