//! What the Responses API remembers: kept by AI Core for the models that have that API there, else by us ([`Stored`]). Whose
//! a response is, is written in its id.
//!
//! [`Stored`]: crate::stored::Stored

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use super::exchange::Exchange;
use super::{Relay, error_of};
use crate::aicore::{Method, Request, Response, Url};
use crate::convert::Keeping;
use crate::dialect::openai_responses::marks::{self, Owner};
use crate::dialect::openai_responses::{self, PassStream, Responses, Tools, kept};
use crate::dialect::{Asked, ReplyHead};
use crate::envelope::{Envelope, field};
use crate::error::Error;
use crate::models::{Deployment, Model};
use crate::routes::{Action, Route, query};

/// What may be asked about a kept response.
const PARAMETERS: &[&str] = &[
    "include",
    "include[]",
    "stream",
    "starting_after",
    "include_obfuscation",
    "limit",
    "order",
    "after",
];
const PREVIOUS: &str = "previous_response_id";
const ANOTHERS: &str =
    "SAP AI Core keeps it for another model. Send the conversation itself as `input`.";
const LOST: &str = "it is not kept here (any more). Send the conversation itself as `input`.";

impl Relay {
    /// A request about a response that is kept.
    pub(super) fn kept_response(
        &self,
        exchange: &Rc<Exchange>,
        route: &Route,
    ) -> Result<(), Error> {
        let id = route.name.as_deref().unwrap_or("");
        let lost = || no_response("", id, "it is not kept here (any more).");
        let is_id = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if !is_id(id) {
            return Err(lost());
        }
        if let Some((mark, own)) = marks::unmarked(id) {
            // Without an id the path would be another one.
            let own = Some(own).filter(|own| !own.is_empty()).ok_or_else(lost)?;
            let (model, deployment) = self.models.marked(mark).ok_or_else(lost)?;
            exchange.line.borrow_mut().model.clone_from(&model.name);
            exchange.next_try(deployment, Instant::now());
            return self.kept_by_ai_core(exchange, route.action, &model.name, deployment, &own);
        }
        let turn = self.stored.find(id, Instant::now()).ok_or_else(lost)?;
        match route.action {
            Action::DeleteResponse => {
                self.stored.delete(id);
                exchange.answer_json(200, kept::deleted(id))
            }
            Action::CancelResponse => {
                let why =
                    "only a response with `background` can be cancelled; this one is complete";
                Err(Error::bad_request("response_id", why))
            }
            Action::InputItems => {
                let asked = query(exchange.client.target());
                exchange.answer_json(200, kept::input_items(&turn.input, id, &asked)?)
            }
            _ if wants_stream(exchange) => {
                let why =
                    "only a response with `background` is streamed again; this one is complete";
                Err(Error::bad_request("stream", why))
            }
            _ => exchange.answer_json(200, turn.response.clone()),
        }
    }

    /// Asks the deployment that keeps it.
    #[inline(never)]
    fn kept_by_ai_core(
        &self,
        exchange: &Rc<Exchange>,
        action: Action,
        model: &str,
        deployment: &Deployment,
        id: &str,
    ) -> Result<(), Error> {
        let mark = &deployment.mark;
        let asked = asked(exchange.client.target(), mark);
        let is_stream = action == Action::Response && wants_stream(exchange);
        let (method, rest) = match action {
            Action::DeleteResponse => (Method::Delete, String::new()),
            Action::CancelResponse => (Method::Post(b""), "/cancel".to_owned()),
            Action::InputItems => (Method::Get, format!("/input_items{asked}")),
            _ => (Method::Get, asked),
        };
        let url = deployment.response(id, &rest);
        let url = url.map_err(|why| Error::bad_request("query", why))?;
        if is_stream {
            exchange.will_stream(self);
        }
        let mut response = self.send(exchange, deployment, &url, method, is_stream)?;
        if response.status == 404 {
            return Err(no_response(
                "",
                &marks::marked(id, mark),
                "SAP AI Core does not keep it (any more).",
            ));
        }
        if !(200..300).contains(&response.status) {
            return Err(error_of(&mut response));
        }
        let tools = Tools::default();
        if is_stream {
            return exchange.pass_stream(response, &mut PassStream::new(model, &tools, mark));
        }
        let body = response.read_all(self.limits.reply_bytes_max)?;
        // Left open: whether a deletion is answered with a body.
        if action == Action::DeleteResponse && body.is_empty() {
            return exchange.answer_json(200, kept::deleted(&marks::marked(id, mark)));
        }
        let (body, _) = openai_responses::pass_reply(body, model, &tools, mark)?;
        exchange.answer_json(200, body)
    }

    /// A refused access token is renewed once.
    fn send(
        &self,
        exchange: &Rc<Exchange>,
        deployment: &Deployment,
        url: &Url,
        method: Method<'_>,
        is_stream: bool,
    ) -> Result<Response, Error> {
        let credentials = &deployment.subaccount.credentials;
        let mut has_renewed = false;
        loop {
            let token = credentials.access_token(&self.aicore)?;
            let headers = self.headers(deployment, &token.authorization, is_stream);
            let request = Request { url, headers: &headers, method, silence_max: None };
            let response = self.aicore.send(&request, Some(exchange.clone()))?;
            let is_refused = matches!(response.status, 401 | 403);
            if !is_refused || has_renewed || !credentials.discard(&token) {
                return Ok(response);
            }
            has_renewed = true;
        }
    }

    /// Where a request goes on from a response that is kept here, or refers to items of one, these become part of its input:
    /// the model's deployments do not know them.
    pub(super) fn recall(&self, body: &mut Envelope) -> Result<(), Error> {
        let room = self.room(body);
        let previous = previous(body)?.filter(|id| marks::unmarked(id).is_none());
        let history = previous.map(|id| self.history(&id, &room)).transpose()?;
        let input = body.raw("input").unwrap_or(b"[]");
        if history.is_some() && !matches!(input, [b'"' | b'[', ..] | b"null") {
            return Err(Error::bad_request("input", "a string or a list of items is expected"));
        }
        let joined = history.map(|history| kept::joined(&history, &kept::items_of(input)));
        let item = |id: &str| self.kept_item(id, &room);
        let resolved = kept::resolved(joined.as_deref().unwrap_or(input), &item)?;
        if joined.is_some() {
            body.remove(PREVIOUS);
        }
        if let Some(input) = resolved.or(joined) {
            body.set_raw("input", input);
        }
        Ok(())
    }

    /// Reads a request that may go on from a response.
    pub(super) fn with_memory(
        &self,
        body: &Envelope,
        read: impl FnOnce(&Responses<'_>) -> Result<Asked, Error>,
    ) -> Result<Asked, Error> {
        let room = self.room(body);
        let history = match previous(body)? {
            Some(id) => self.history(&id, &room)?,
            None => vec![],
        };
        let item = |id: &str| self.kept_item(id, &room);
        read(&Responses { history: &history, item: &item })
    }

    fn history(&self, id: &str, room: &Room) -> Result<Vec<u8>, Error> {
        let why = match marks::unmarked(id) {
            Some(_) => ANOTHERS,
            None => LOST,
        };
        let all = self.stored.conversation(id, Instant::now());
        let all = all.ok_or_else(|| no_response(PREVIOUS, id, why))?;
        room.take(all.bytes())?;
        Ok(all.items())
    }

    fn kept_item(&self, id: &str, room: &Room) -> Result<Option<String>, Error> {
        let item = self.stored.item(id, Instant::now());
        room.take(item.as_ref().map_or(0, String::len))?;
        Ok(item)
    }

    fn room(&self, body: &Envelope) -> Room {
        let bytes_max = self.limits.body_bytes_max;
        Room { left: Cell::new(bytes_max.saturating_sub(body.to_bytes().len())), bytes_max }
    }

    /// Responses are kept unless the client says otherwise.
    pub(super) fn keeping(
        &self,
        action: Action,
        body: &Envelope,
        head: &ReplyHead,
    ) -> Option<Keeping> {
        let is_kept = action == Action::Responses && body.raw("store") != Some(b"false");
        is_kept.then(|| Keeping {
            stored: self.stored.clone(),
            id: format!("resp_{}", head.id),
            input: kept::items_of(body.raw("input").unwrap_or(b"[]")),
            previous: previous(body).ok().flatten(),
        })
    }
}

/// How much of what is kept a request may use: as much as a client may send. One item can be referred to a thousand times.
struct Room {
    left: Cell<usize>,
    bytes_max: usize,
}

impl Room {
    fn take(&self, bytes: usize) -> Result<(), Error> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or(Error::TooLarge { bytes_max: self.bytes_max })?);
        Ok(())
    }
}

/// Whose ids a request for this model holds.
pub(super) fn owner(model: &Model, body: &[u8]) -> Result<Option<Owner>, Error> {
    let Some(owner) = marks::owner(body) else { return Ok(None) };
    if model.deployments.iter().any(|deployment| deployment.mark == owner.mark) {
        return Ok(Some(owner));
    }
    match owner.bound_by {
        Some((path, id)) => Err(no_response(path, &id, ANOTHERS)),
        None => Ok(None),
    }
}

/// An error about the response that a request goes on from names it as the client knows it.
pub(super) fn named(error: Error, body: &[u8]) -> Error {
    let Error::Upstream { status: 400 | 404, message, .. } = &error else { return error };
    let id = field(body, PREVIOUS).and_then(|id| serde_json::from_slice::<String>(id).ok());
    match id.and_then(|id| Some((marks::unmarked(&id)?.1, id))) {
        Some((own, id)) if message.contains(&own) => no_response(
            PREVIOUS,
            &id,
            "SAP AI Core does not keep it (any more). Send the conversation itself as `input`.",
        ),
        _ => error,
    }
}

fn previous(body: &Envelope) -> Result<Option<String>, Error> {
    body.get::<String>(PREVIOUS, "the id of a response, a string,")
}

fn no_response(path: &'static str, id: &str, why: &'static str) -> Error {
    Error::NoSuchResponse { path, id: id.chars().take(200).collect(), why }
}

fn wants_stream(exchange: &Exchange) -> bool {
    query(exchange.client.target()).iter().any(|(key, value)| key == "stream" && value == "true")
}

/// The part of a target that asks about a response, with AI Core's own ids.
fn asked(target: &str, mark: &str) -> String {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let is_known = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or("");
        PARAMETERS.contains(&key.to_ascii_lowercase().replace("%5b%5d", "[]").as_str())
    };
    let pairs: Vec<_> = query.split('&').filter(is_known).collect();
    if pairs.is_empty() {
        return String::new();
    }
    format!("?{}", pairs.join("&").replace(&format!("_{mark}_"), "_"))
}
