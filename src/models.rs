//! A model's name → the deployments that serve it.
//!
//! Found in this order: the name as configured; an alias of just this name; the name with or without `anthropic--`, or the
//! same Claude in another spelling; such an alias; an alias that is a pattern, the first that fits; and for a Claude that is
//! not deployed, an alias called as its role is, `opus`, `sonnet` or `haiku`. Never another model. A `[1m]` at a name's end is
//! a wish and not a part of it, unless a name or an alias is written with it. Its family is what `families` in the
//! configuration says, else what its name tells, else what is deployed there.

mod names;

pub use names::{Names, long_context, matches};

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::aicore::Url;
use crate::auth;
use crate::config::Config;
use crate::deployed::Deployed;
use crate::error::Error;
use crate::families::{self, Family};
use crate::healing::{Cure, Remembered};

/// The models there are.
#[derive(Debug)]
pub struct Models {
    models: Vec<Model>,
    aliases: Vec<(String, String)>,
}

/// One model and its deployments, all of one family.
#[derive(Debug)]
pub struct Model {
    pub name: String,
    pub family: &'static Family,
    pub deployments: Vec<Deployment>,
    next: AtomicUsize,
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
    found: OnceLock<Box<Model>>,
}

/// One deployment, with the URLs of what it serves.
#[derive(Debug)]
pub struct Deployment {
    /// The last part of its URL, for the log.
    pub id: String,
    pub subaccount: usize,
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
    pub remembered: Remembered,
    /// The same of its Responses API, which refuses what the other wants.
    pub remembered_of_responses: Remembered,
    /// What it has is `other`.
    pub is_other: AtomicBool,
}

impl Models {
    /// Fails with one line a fault, each beginning with its JSON path.
    pub fn new(config: &Config) -> Result<Models, Vec<String>> {
        let mut models: Vec<Model> = vec![];
        let mut faults = vec![];
        for (index, subaccount) in config.subaccounts.iter().enumerate() {
            for (name, urls) in &subaccount.deployment_models {
                let configured = match family_of(name, config) {
                    Ok(family) => family,
                    Err(fault) => {
                        faults.push(fault);
                        continue;
                    }
                };
                let family = configured.unwrap_or_else(|| families::of_model(name));
                let deployed_name = families::deployed_name(name);
                let deployments = urls.iter().enumerate().filter_map(|(i, url)| {
                    deployment(url, index, deployed_name, family, &config.api_version)
                        .map_err(|e| faults.push(format!("deployment_models[{name:?}][{i}]: {e}")))
                        .ok()
                });
                let deployments: Vec<_> = deployments.collect();
                match models.iter_mut().find(|m| m.name == *name) {
                    Some(model) => model.deployments.extend(deployments),
                    None => models.push(Model {
                        name: name.clone(),
                        family,
                        deployments,
                        next: AtomicUsize::new(0),
                        deployed_name: deployed_name.to_owned(),
                        looked_up: families::told(name).is_none().then(|| LookUp {
                            family: configured,
                            api_version: config.api_version.clone(),
                            found: OnceLock::new(),
                        }),
                    }),
                }
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
    pub fn found(&self, deployed: &Deployed) -> Result<&Model, String> {
        let Some(look_up) = &self.looked_up else { return Ok(self) };
        let (told, deployed_name) = match deployed {
            Deployed::Model(name) => (families::told(name), name.as_str()),
            Deployed::Orchestration => (families::by_name("orchestration"), self.name.as_str()),
            Deployed::Configuration(_) | Deployed::Unknown => (None, self.name.as_str()),
        };
        let family = look_up.family.or(told).unwrap_or(self.family);
        let again = |d: &Deployment| {
            deployment(&d.base, d.subaccount, deployed_name, family, &look_up.api_version)
        };
        let model = Model {
            name: self.name.clone(),
            family,
            deployments: self.deployments.iter().map(again).collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
            deployed_name: deployed_name.to_owned(),
            looked_up: None,
        };
        log::info!(
            "model {}: {} is deployed, of the {} family",
            self.name,
            deployed_name,
            family.name
        );
        Ok(look_up.found.get_or_init(|| Box::new(model)))
    }

    /// The deployments in the order in which to try them: one after the other has the first place.
    pub fn in_turn(&self) -> impl Iterator<Item = &Deployment> {
        let first = match self.deployments.len() {
            1 => 0,
            n => self.next.fetch_add(1, Ordering::Relaxed) % n,
        };
        let (before, after) = self.deployments.split_at(first);
        after.iter().chain(before)
    }
}

impl Deployment {
    /// A kept response of this id, and what the rest of the path and query says of it.
    pub fn response(&self, id: &str, rest: &str) -> Result<Url, String> {
        Url::parse(&format!("{}/responses/{id}{rest}", self.base))
    }

    /// What helped once is done to all requests of the same API from now on.
    pub fn remember(&self, remembered: &Remembered, cure: Cure) {
        log::warn!("deployment {}: requests go without `{cure}`, which it refuses", self.id);
        remembered.add(cure);
    }
}

/// As `families` in the configuration has it.
fn family_of(name: &str, config: &Config) -> Result<Option<&'static Family>, String> {
    let Some((pattern, family)) = config.families.iter().find(|(p, _)| matches(p, name)) else {
        return Ok(None);
    };
    families::by_name(family).map(Some).ok_or_else(|| {
        format!(
            "families[{pattern:?}]: there is no family {family:?}; there are: {}",
            families::names()
        )
    })
}

fn deployment(
    url: &str,
    subaccount: usize,
    deployed_name: &str,
    family: &Family,
    api_version: &str,
) -> Result<Deployment, String> {
    let base = url.trim_end_matches('/');
    let at = |path: &str| {
        let path = path.replace("{version}", api_version).replace("{model}", deployed_name);
        Url::parse(&format!("{base}{path}"))
    };
    let service = family.service.as_ref();
    let embeddings = service.and_then(|s| s.embeddings.as_ref());
    Url::parse(base)?;
    Ok(Deployment {
        id: base.rsplit('/').next().unwrap_or(base).to_owned(),
        subaccount,
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
        remembered: Remembered::default(),
        remembered_of_responses: Remembered::default(),
        is_other: AtomicBool::new(false),
    })
}
