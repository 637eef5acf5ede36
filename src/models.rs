//! A model's name → the deployments that serve it.
//!
//! Found in this order: the name as configured; an alias of just this name; the name with or without `anthropic--`, or the
//! same Claude in another spelling; such an alias; an alias that is a pattern, the first that fits; and for a Claude that is
//! not deployed, an alias called as its role is, `opus`, `sonnet` or `haiku`. Never another model. A `[1m]` at a name's end is
//! a wish and not a part of it, unless a name or an alias is written with it. Its family is what `families` in the
//! configuration says, else what its name tells, else what is deployed there.

mod drafts;
mod names;

pub use names::{Names, long_context, matches};

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use crate::aicore::{HeaderText, Url};
use crate::auth;
use crate::balance::{Health, Lane, Lanes, Member};
use crate::config::{self, Config};
use crate::deployed::Deployed;
use crate::discovery::Findings;
use crate::error::Error;
use crate::families::{self, Family};
use crate::healing::{Cure, Remembered};
use crate::subaccount::Subaccount;

/// The models there are.
#[derive(Debug)]
pub struct Models {
    models: Vec<Model>,
    aliases: Vec<(String, String)>,
}

/// A subaccount, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub config: &'a config::Subaccount,
    pub subaccount: &'a Arc<Subaccount>,
    pub findings: &'a Findings,
}

/// What is known of deployments and lanes: it lives on when models are made anew.
#[derive(Debug, Default)]
pub struct Known {
    lanes: Registry<(String, String), Lane>,
    memories: Registry<(String, String), Memory>,
}

/// One model and its deployments, all of one family.
#[derive(Debug)]
pub struct Model {
    pub name: String,
    pub family: &'static Family,
    pub deployments: Vec<Deployment>,
    /// By their places in `deployments`.
    pub lanes: Lanes,
    /// The name by which AI Core knows it.
    deployed_name: String,
    /// Its name says nothing of it: what it is, once it is known.
    looked_up: Option<LookUp>,
}

/// A model that has to be looked up.
#[derive(Debug)]
struct LookUp {
    /// As configured by `families`.
    family: Option<&'static Family>,
    api_version: String,
    balance: config::Balance,
    known: Arc<Known>,
    found: OnceLock<Box<Model>>,
}

/// One deployment, with the URLs of what it serves.
#[derive(Debug)]
pub struct Deployment {
    /// The last part of its URL, for the log.
    pub id: String,
    pub subaccount: Arc<Subaccount>,
    /// Its resource group, a place among the subaccount's.
    group: usize,
    weight: u32,
    base: String,
    pub chat: Option<Url>,
    pub stream: Option<Url>,
    /// See [`Service::other_path`](crate::families::Service).
    pub other: Option<Url>,
    pub embeddings: Option<Url>,
    /// See [`Embeddings::other_path`](crate::families::Embeddings).
    pub other_embeddings: Option<Url>,
    pub rerank: Option<Url>,
    /// OpenAI's Responses API, where its model has it.
    pub responses: Option<Url>,
    pub compact: Option<Url>,
    /// What ids of what it keeps are marked with: 8 hexadecimal digits.
    pub mark: String,
    /// What AI Core counts together with it.
    pub lane: Arc<Lane>,
    pub memory: Arc<Memory>,
}

/// What was learnt of a deployment, for one model.
#[derive(Debug, Default)]
pub struct Memory {
    pub health: Arc<Health>,
    pub remembered: Remembered,
    /// The same of its Responses API, which refuses what the other wants.
    pub remembered_of_responses: Remembered,
    /// What it has is `other`.
    pub is_other: AtomicBool,
    /// What the AI API told of it.
    told: OnceLock<Deployed>,
}

/// A deployment that had failed is asked again.
#[derive(Debug)]
pub struct Trial {
    lane: Arc<Lane>,
    memory: Arc<Memory>,
    place: String,
    began: Instant,
}

impl Trial {
    /// It answers: both have to be well for that.
    pub fn succeeded(&self) {
        if self.lane.health.succeeded(self.began) | self.memory.health.succeeded(self.began) {
            log::info!("deployment {} serves again", self.place);
        }
    }
}

impl Models {
    /// Fails with one line a fault, each beginning with its JSON path.
    pub fn new(
        config: &Config,
        sources: &[Source<'_>],
        known: &Arc<Known>,
    ) -> Result<Models, Vec<String>> {
        let mut faults = vec![];
        let mut models = vec![];
        for draft in drafts::drafts(config, sources, &mut faults) {
            match draft.model(config, known) {
                Ok(model) => models.push(model),
                Err(mut found) => faults.append(&mut found),
            }
        }
        models.retain(|m| !m.deployments.is_empty());
        let models = Models { models, aliases: config.aliases.clone() };
        if faults.is_empty() { Ok(models) } else { Err(faults) }
    }

    /// The model of this name, and whether its long context is wished for. 404 with the names there are.
    pub fn find(&self, name: &str) -> Result<(&Model, bool), Error> {
        let models = self.models.iter().map(|model| model.name.as_str()).collect();
        let found = Names { models, aliases: &self.aliases }.find(name);
        let found = found.and_then(|(at, is_long)| Some((self.models.get(at)?, is_long)));
        let name = || name.chars().take(200).collect();
        found.ok_or_else(|| Error::UnknownModel { name: name(), known: self.names() })
    }

    /// The deployment that marks its ids with this, and its model.
    pub fn marked(&self, mark: &str) -> Option<(&Model, &Deployment)> {
        let known = self.models.iter().map(|model| model.known().unwrap_or(model));
        known
            .flat_map(|model| model.deployments.iter().map(move |deployment| (model, deployment)))
            .find(|(_, deployment)| deployment.mark == mark)
    }

    /// All models, in the order of the configuration.
    pub fn all(&self) -> &[Model] {
        &self.models
    }

    /// What a client may ask for: the models' names, and the aliases that are no patterns.
    pub fn listed(&self) -> Vec<(&str, &Model)> {
        let models = self.models.iter().map(|m| (m.name.as_str(), m));
        let aliases = self.aliases.iter().filter(|(name, _)| !names::is_pattern(name));
        let aliases =
            aliases.filter_map(|(name, _)| Some((name.as_str(), self.find(name).ok()?.0)));
        models.chain(aliases).collect()
    }

    fn names(&self) -> Vec<String> {
        self.listed().into_iter().map(|(name, _)| name.to_owned()).collect()
    }
}

impl Model {
    /// The name by which AI Core knows it.
    pub fn deployed_name(&self) -> &str {
        &self.deployed_name
    }

    /// The model, as far as it need not be looked up.
    pub fn known(&self) -> Option<&Model> {
        match &self.looked_up {
            None => Some(self),
            Some(look_up) => look_up.found.get().map(Box::as_ref),
        }
    }

    /// The model, now that it is known what is deployed; `None`: nobody can tell, so it is what its name was taken for.
    pub fn found(&self, deployed: Deployed) -> Result<&Model, String> {
        let Some(look_up) = &self.looked_up else { return Ok(self) };
        let (told, deployed_name) = match &deployed {
            Deployed::Model(name) => (families::told(name), name.as_str()),
            Deployed::Orchestration => (families::by_name("orchestration"), self.name.as_str()),
            Deployed::Configuration(_) | Deployed::Unknown => (None, self.name.as_str()),
        };
        let family = look_up.family.or(told).unwrap_or(self.family);
        let made = Made { deployed_name, family, api_version: &look_up.api_version };
        let again = |d: &Deployment| {
            let place = Place { subaccount: &d.subaccount, group: d.group, weight: d.weight };
            made.deployment(&d.base, &place, &look_up.known)
        };
        let deployments = self.deployments.iter().map(again).collect::<Result<Vec<_>, _>>()?;
        let model = Model {
            name: self.name.clone(),
            family,
            lanes: lanes(look_up.balance, &deployments),
            deployments,
            deployed_name: deployed_name.to_owned(),
            looked_up: None,
        };
        log::info!(
            "model {}: {} is deployed, of the {} family",
            self.name,
            deployed_name,
            family.name
        );
        // It need not be asked again for models that are made anew.
        let told = self.deployments.first().map(|first| &first.memory.told);
        told.map(|told| told.get_or_init(|| deployed));
        Ok(look_up.found.get_or_init(|| Box::new(model)))
    }
}

impl Deployment {
    pub fn group(&self) -> Option<&HeaderText> {
        self.subaccount.groups.get(self.group)
    }

    /// It is asked: where it or its lane had failed, the others wait for what comes of it.
    pub fn trial(&self, began: Instant) -> Option<Trial> {
        let is_one = self.lane.health.begin(began) | self.memory.health.begin(began);
        is_one.then(|| {
            let (lane, memory) = (self.lane.clone(), self.memory.clone());
            Trial { lane, memory, place: self.place(), began }
        })
    }

    /// For the log, where there are several subaccounts.
    pub fn place(&self) -> String {
        match self.subaccount.name.as_str() {
            "default" => self.id.clone(),
            name => format!("{name}/{}", self.id),
        }
    }

    /// A kept response of this id, and what the rest of the path and query says of it.
    pub fn response(&self, id: &str, rest: &str) -> Result<Url, String> {
        Url::parse(&format!("{}/responses/{id}{rest}", self.base))
    }

    /// What helped once is done to all requests of the same API from now on.
    pub fn remember(&self, remembered: &Remembered, cure: Cure) {
        log::warn!("deployment {}: requests go without `{cure}`, which it refuses", self.place());
        remembered.add(cure);
    }
}

fn lanes(balance: config::Balance, deployments: &[Deployment]) -> Lanes {
    let members = deployments.iter().map(|deployment| Member {
        lane: deployment.lane.clone(),
        weight: deployment.weight,
        health: deployment.memory.health.clone(),
    });
    Lanes::new(balance, members)
}

/// How deployments of a model are made.
struct Made<'a> {
    deployed_name: &'a str,
    family: &'a Family,
    api_version: &'a str,
}

/// Where a deployment is.
struct Place<'a> {
    subaccount: &'a Arc<Subaccount>,
    group: usize,
    weight: u32,
}

impl Made<'_> {
    fn deployment(
        &self,
        url: &str,
        place: &Place<'_>,
        known: &Known,
    ) -> Result<Deployment, String> {
        let (base, deployed_name) = (url.trim_end_matches('/'), self.deployed_name);
        let at = |path: &str| {
            let path = path.replace("{version}", self.api_version);
            Url::parse(&format!("{base}{}", path.replace("{model}", deployed_name)))
        };
        let service = self.family.service.as_ref();
        let embeddings = service.and_then(|s| s.embeddings.as_ref());
        Url::parse(base)?;
        let tenant = place.subaccount.tenant_key();
        Ok(Deployment {
            id: base.rsplit('/').next().unwrap_or(base).to_owned(),
            subaccount: place.subaccount.clone(),
            group: place.group,
            weight: place.weight,
            base: base.to_owned(),
            chat: service.map(|s| at(s.chat_path)).transpose()?,
            stream: service.map(|s| at(s.stream_path)).transpose()?,
            other: service.and_then(|s| s.other_path).map(at).transpose()?,
            embeddings: embeddings.map(|e| at(e.path)).transpose()?,
            other_embeddings: embeddings.and_then(|e| e.other_path).map(at).transpose()?,
            rerank: service.and_then(|s| s.rerank_path).map(at).transpose()?,
            responses: service.and_then(|s| s.responses).map(|r| at(r.path)).transpose()?,
            compact: service
                .and_then(|s| s.responses)
                .map(|r| at(&format!("{}/compact", r.path)))
                .transpose()?,
            mark: auth::digest(base)[..4].iter().map(|byte| format!("{byte:02x}")).collect(),
            lane: known.lanes.of((tenant.to_owned(), deployed_name.to_owned())),
            memory: known.memories.of((base.to_owned(), deployed_name.to_owned())),
        })
    }
}

/// What is shared by all who know its key, as long as one of them is there.
#[derive(Debug)]
struct Registry<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for Registry<K, T> {
    fn default() -> Registry<K, T> {
        Registry(Mutex::default())
    }
}

impl<K: Hash + Eq, T: Default> Registry<K, T> {
    fn of(&self, key: K) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = known.get(&key).and_then(Weak::upgrade) {
            return there;
        }
        known.retain(|_, weak| weak.strong_count() > 0);
        let new = Arc::new(T::default());
        known.insert(key, Arc::downgrade(&new));
        new
    }
}
