//! One deployment after the other, until one answers or the client has seen a part of an answer; and what is learnt from it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::{Call, Relay, Wanted, Way};
use crate::affinity::Key;
use crate::dialect::openai_responses::{kept, marks};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::log::cause;
use crate::models::{Deployment, Model};
use crate::routes::Action;

impl Relay {
    pub(super) fn try_deployments(
        &self,
        exchange: &Rc<Exchange>,
        model: &Model,
        call: &Call<'_>,
    ) -> Result<(), Error> {
        let order = self.order(exchange, model, call)?;
        let mut failure = Error::UnknownModel { name: call.model.clone(), known: vec![] };
        for deployment in order.into_iter().take(self.limits.tries as usize) {
            let began = Instant::now();
            exchange.next_try(deployment, began);
            // Its client may have sent the next turn before this one is over here.
            if let Some(key) = call.conversation {
                self.affinity.note(key, &deployment.mark, began);
            }
            let result = match &call.way {
                Way::Embeds(asked) => self.embed(exchange, model, deployment, call, asked),
                _ => self.call(exchange, deployment, call),
            };
            let has_content = exchange.has_content.get();
            self.learn(model, deployment, &Outcome::of(&result, call, has_content), began);
            match result {
                Err(error) if error.is_deployments_own() && !has_content => failure = error,
                result => return result,
            }
        }
        // Where there are others, the client is told when the first of them is worth asking again.
        if model.lanes.len() > 1 && matches!(failure.status(), 408 | 429 | 500..) {
            exchange.come_back_in(model.lanes.rest(Instant::now()).unwrap_or_default());
        }
        Err(failure)
    }

    /// The model's deployments, as they are to be tried. Whose ids are in the request comes first, else where its
    /// conversation is; these take no turn, so that all others are spread evenly.
    fn order<'a>(
        &self,
        exchange: &Exchange,
        model: &'a Model,
        call: &Call<'_>,
    ) -> Result<Vec<&'a Deployment>, Error> {
        let now = Instant::now();
        let place = |mark: &[u8]| model.deployments.iter().position(|d| d.mark.as_bytes() == mark);
        let owner = call.owner.as_ref();
        if let Some(owner) = owner.filter(|owner| owner.bound_by.is_some()) {
            let bound = place(owner.mark.as_bytes()).and_then(|place| model.deployments.get(place));
            return Ok(bound.into_iter().collect());
        }
        let preferred = match owner {
            Some(owner) => place(owner.mark.as_bytes()),
            None => call.conversation.and_then(|key| place(&self.affinity.find(key, now)?)),
        };
        let order = model.lanes.order(preferred, now);
        if let (true, Some((wait, error))) = (order.is_empty(), model.lanes.soonest(now)) {
            exchange.come_back_in(wait);
            return Err(error);
        }
        Ok(order.into_iter().filter_map(|place| model.deployments.get(place)).collect())
    }

    /// What the conversation of a request is known by, where that makes a difference.
    pub(super) fn conversation(&self, wanted: &Wanted<'_>, body: &Envelope) -> Option<Key> {
        let is_chat = !matches!(wanted.action, Action::Embeddings | Action::Rerank);
        if !is_chat || wanted.model.lanes.len() < 2 {
            return None;
        }
        let model = wanted.model.name.as_str();
        let text = |name: &str| body.raw(name).filter(|raw| matches!(raw, [b'"', _, .., b'"']));
        if let Some(name) = text("prompt_cache_key") {
            return Some(self.affinity.named(model, name));
        }
        let previous = text("previous_response_id")
            .and_then(|id| serde_json::from_slice::<String>(id).ok())
            .filter(|id| marks::unmarked(id).is_none());
        if let Some(id) = previous {
            let conversation = self.stored.conversation(&id, Instant::now())?;
            return self.affinity.begun(model, conversation.beginning(), true);
        }
        match body.raw("messages").or_else(|| body.raw("input"))? {
            text @ [b'"', ..] => self.affinity.begun(model, &kept::items_of(text), false),
            messages => self.affinity.begun(model, messages, false),
        }
    }

    fn learn(&self, model: &Model, deployment: &Deployment, outcome: &Outcome<'_>, began: Instant) {
        let (lane, own) = (&deployment.lane.health, &*deployment.memory.health);
        let has_others = model.lanes.len() > 1;
        let (health, other, error): (_, _, &Error) = match outcome {
            Outcome::Served => {
                lane.succeeded(began);
                own.succeeded(began);
                return;
            }
            Outcome::Unknown => {
                lane.left();
                return own.left();
            }
            Outcome::Refused(error) => (lane, own, error),
            Outcome::Failed(error) => (own, lane, error),
        };
        other.left();
        if let Error::Upstream { status: 404, .. } = error {
            self.bell.ring();
        }
        let rest = health.failed(error, told(error), Instant::now());
        if let Some(rest) = rest.filter(|_| has_others) {
            let (place, why) = (deployment.place(), cause(error));
            log::warn!("deployment {place} rests for {:.1} s: {why}", rest.as_secs_f32());
        }
    }
}

/// What a try says of the deployment that was asked.
enum Outcome<'a> {
    /// It answered, be it that the request was a bad one.
    Served,
    /// It failed.
    Failed(&'a Error),
    /// Its subaccount did: no requests left, or credentials that are refused.
    Refused(&'a Error),
    /// Nothing: the client has gone, or what failed had begun.
    Unknown,
}

impl<'a> Outcome<'a> {
    fn of(result: &'a Result<(), Error>, call: &Call<'_>, has_content: bool) -> Outcome<'a> {
        let Err(error) = result else { return Outcome::Served };
        let is_bound = call.owner.as_ref().is_some_and(|owner| owner.bound_by.is_some());
        match error {
            Error::ClientGone | Error::Internal => Outcome::Unknown,
            _ if has_content => Outcome::Unknown,
            // It is the response that is not there.
            Error::Upstream { status: 404, .. } if is_bound => Outcome::Served,
            Error::Upstream { status: 401 | 403 | 429, .. } => Outcome::Refused(error),
            Error::Timeout { .. } | Error::BadReply { .. } => Outcome::Failed(error),
            _ if error.is_deployments_own() => Outcome::Failed(error),
            _ => Outcome::Served,
        }
    }
}

/// When AI Core said to come back. Left open: only seconds are read, not a date, which no recording has.
fn told(error: &Error) -> Option<Duration> {
    let seconds = error.retry_after()?.trim().parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|told| !told.is_zero())
}
