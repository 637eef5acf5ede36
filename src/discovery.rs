//! What the AI API tells of a subaccount: its deployments, the catalogue of models, its quota (dossier 4.1, 4.3, 4.5).
//!
//! Left open: pages that overlap or repeat, since deployments come and go between them. A deployment counts once, and a
//! page with nothing new is the last. A stopped one is not asked for its model.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, PoisonError};

use crate::aicore::{AiCore, HeaderText, Url};
use crate::catalogue::{self, Catalogue};
use crate::config;
use crate::deployed::{self, Deployed, Listed};
use crate::error::Error;
use crate::families::{self, Family};
use crate::quota;
use crate::subaccount::{Subaccount, Told};

/// Deployments on a page, and pages of a resource group.
const PAGE: usize = 500;
const PAGES_MAX: usize = 100;
/// Configurations that one discovery looks up; the next goes on from there.
const LOOK_UPS_MAX: usize = 200;
const NAME_BYTES_MAX: usize = 128;

/// What was found out. `None`: it could not be asked, and what was known before still holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Those that run, in the order of their models' names, the newest of a model first. A resource group that may not be
    /// asked has none.
    pub deployments: Option<Vec<Found>>,
    pub catalogue: Option<Catalogue>,
    /// Requests a minute by model.
    pub quota: Option<Vec<(String, u32)>>,
    /// All that are listed, whatever their status; `None` as well where a resource group may not be asked.
    pub all: Option<Vec<Listed>>,
    /// What to warn of, a sentence each, which begins with the subaccount; the same as long as nothing changes.
    pub problems: Vec<String>,
}

/// A deployment that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Empty for orchestration, which serves many.
    pub model: String,
    /// Without a trailing slash.
    pub url: String,
    /// Its resource group: a place in `Subaccount::groups`.
    pub group: usize,
    pub is_orchestration: bool,
}

/// Asks the AI API. Takes as long as it does; a catalogue or quota that it does not tell this service key is no problem.
pub fn discover(aicore: &Arc<AiCore>, subaccount: &Subaccount) -> Findings {
    let mut asking = Asking { aicore, subaccount, problems: vec![] };
    let mut findings = Findings::default();
    match asking.listing() {
        // The rest would fare no better.
        Err(error) => asking.problem(format!("its deployments cannot be listed: {error}")),
        Ok(mut listing) => {
            if listing.groups > 0 {
                findings.deployments = Some(asking.running(&mut listing.all));
            }
            if listing.groups == subaccount.groups.len() {
                findings.all = Some(listing.all);
            }
            let group = subaccount.groups.first();
            let models = asking.maybe("/lm/scenarios/foundation-models/models", group);
            let models = models.map(|body| catalogue::parse(&body));
            findings.catalogue = models.filter(|catalogue| !catalogue.entries.is_empty());
            let limits = asking.maybe("/admin/quota/model", None);
            findings.quota = limits.map(|body| quota::limits(&body));
        }
    }
    findings.problems = asking.problems;
    findings
}

/// Warnings for the URLs of the configuration that will not do what they are there for, each beginning with its JSON path.
/// `family_of` is the family that a model's name has, by the configuration or by itself, if it has one.
pub fn mismatches(
    config: &config::Subaccount,
    findings: &Findings,
    family_of: impl Fn(&str) -> Option<&'static Family>,
) -> Vec<String> {
    let Some(all) = &findings.all else { return vec![] };
    let mut warnings = vec![];
    for (name, urls) in &config.deployment_models {
        let models = config::field(&config.path, "deployment_models");
        for (index, url) in urls.iter().enumerate() {
            let id = url.trim_end_matches('/').rsplit('/').next().unwrap_or(url);
            let listed = all.iter().find(|listed| listed.id == id);
            let Some(why) = mismatch(listed, config, family_of(name)) else { continue };
            // One URL need not stand in a list.
            let place = if urls.len() > 1 { format!("[{index}]") } else { String::new() };
            warnings.push(format!("{models}[{name:?}]{place}: {why}"));
        }
    }
    warnings
}

fn mismatch(
    listed: Option<&Listed>,
    config: &config::Subaccount,
    family: Option<&'static Family>,
) -> Option<String> {
    let groups = config.resource_groups.iter().map(|group| format!("{group:?}"));
    let groups: Vec<_> = groups.collect();
    let Some(listed) = listed else {
        let groups = groups.join(" and ");
        return Some(format!(
            "there is no deployment of this id in the resource group {groups}: correct the URL or \
             `resource_group`"
        ));
    };
    if !listed.is_running() {
        let status = if listed.status.is_empty() { "of no status" } else { &listed.status };
        return Some(format!("this deployment is {status}: start it, or remove the URL"));
    }
    if let (Some(own), Some(first)) = (groups.get(listed.group), groups.first())
        && listed.group > 0
    {
        return Some(format!(
            "this deployment is in the resource group {own}, but what is written here is asked for in \
             {first}, the first: leave it to discovery, or put {own} first"
        ));
    }
    let (served, what) = match &listed.model {
        Some(model) => (families::told(model), model.as_str()),
        None if listed.is_orchestration => (families::by_name("orchestration"), "orchestration"),
        None => (None, ""),
    };
    let (family, served) = (family?, served?);
    (family.name != served.name).then(|| {
        format!(
            "this deployment serves {what:?}, of the family {}, and would be asked as one of the family \
             {}: correct the URL, or the name, or `families`",
            served.name, family.name
        )
    })
}

/// What one discovery works with.
struct Asking<'a> {
    aicore: &'a Arc<AiCore>,
    subaccount: &'a Subaccount,
    problems: Vec<String>,
}

/// What is deployed, and how many resource groups have told it.
#[derive(Default)]
struct Listing {
    all: Vec<Listed>,
    groups: usize,
}

impl Asking<'_> {
    /// The deployments of all groups. Fails where one could not be asked.
    fn listing(&mut self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut ids = HashSet::new();
        for (index, group) in self.subaccount.groups.iter().enumerate() {
            let Some(deployments) = self.pages(group)? else { continue };
            listing.groups += 1;
            let new = deployments.into_iter().filter(|listed| ids.insert(listed.id.clone()));
            listing.all.extend(new.map(|listed| Listed { group: index, ..listed }));
        }
        Ok(listing)
    }

    /// The deployments of a group, each once; `None` where it may not be asked.
    fn pages(&mut self, group: &HeaderText) -> Result<Option<Vec<Listed>>, Error> {
        let mut all = vec![];
        let mut ids = HashSet::new();
        let mut skip = 0;
        for _ in 0..PAGES_MAX {
            let path = format!("/lm/deployments?$top={PAGE}&$skip={skip}");
            let body = match self.ask(&path, Some(group))? {
                Told::This(body) => body,
                refused => {
                    self.refused(group, &refused);
                    return Ok(None);
                }
            };
            let page = deployed::list(&body).ok_or_else(|| Error::BadReply {
                what: "SAP AI Core's answer is no list of deployments.".into(),
            })?;
            skip += page.deployments.len();
            let before = all.len();
            let named = page.deployments.into_iter().filter(|listed| !listed.id.is_empty());
            all.extend(named.filter(|listed| ids.insert(listed.id.clone())));
            if all.len() == before || skip >= page.count {
                return Ok(Some(all));
            }
        }
        let (group, most) = (group.shown(), PAGES_MAX * PAGE);
        self.problem(format!(
            "the resource group {group:?} has more than {most} deployments: the rest is left out"
        ));
        Ok(Some(all))
    }

    fn refused(&mut self, group: &HeaderText, told: &Told) {
        let why = match told {
            Told::NotThere => "there is no such resource group",
            _ => "the service key may not list them",
        };
        let group = group.shown();
        self.problem(format!(
            "the deployments in the resource group {group:?} are not told: {why}"
        ));
    }

    /// Those of `all` that can be asked. Models that had to be looked up are noted.
    fn running(&mut self, all: &mut [Listed]) -> Vec<Found> {
        self.look_up(all);
        let running = all.iter().filter(|listed| listed.is_running());
        let mut found: Vec<_> =
            running.filter_map(|listed| Some((self.found(listed)?, listed))).collect();
        found.sort_by(|(a, listed_a), (b, listed_b)| {
            a.model.cmp(&b.model).then_with(|| listed_b.created_at.cmp(&listed_a.created_at))
        });
        found.into_iter().map(|(found, _)| found).collect()
    }

    fn found(&mut self, listed: &Listed) -> Option<Found> {
        let model = match &listed.model {
            Some(model) => model.as_str(),
            None if listed.is_orchestration => "",
            None => return None,
        };
        let is_name = model.len() <= NAME_BYTES_MAX && model.bytes().all(|b| b.is_ascii_graphic());
        let why = match Url::parse(&listed.url) {
            _ if listed.url.is_empty() => return None,
            _ if !is_name => "its model's name is none",
            Err(_) => "its URL is none of http or https",
            Ok(_) if listed.url.contains(['?', '#']) => "its URL has a query",
            Ok(url) if !self.subaccount.is_home(&url) => {
                "its URL is not of the AI API's host, and no other gets an access token unasked; \
                 write it under `deployment_models` if it is right"
            }
            Ok(_) => {
                return Some(Found {
                    model: model.to_owned(),
                    url: listed.url.clone(),
                    group: listed.group,
                    is_orchestration: listed.is_orchestration,
                });
            }
        };
        self.problem(format!("the deployment {:?} is left out: {why}", listed.id));
        None
    }

    /// Names the models of those that run and have them in their configurations.
    fn look_up(&mut self, all: &mut [Listed]) {
        let lock = || self.subaccount.configurations.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::take(&mut *lock());
        let mut known: HashMap<String, Option<String>> = HashMap::new();
        let mut look_ups = 0;
        for listed in all.iter_mut().filter(|listed| listed.is_running()) {
            let Some(id) = &listed.configuration else { continue };
            let told = known.get(id).or_else(|| before.get(id)).cloned();
            let told = match told {
                Some(told) => told,
                None if look_ups == LOOK_UPS_MAX => continue,
                None => {
                    look_ups += 1;
                    let Some(told) = self.configured(id, listed) else { continue };
                    told
                }
            };
            listed.model.clone_from(&told);
            known.insert(id.clone(), told);
        }
        *lock() = known;
    }

    /// The model that a configuration names, if it does; `None` where it cannot be asked now.
    fn configured(&mut self, id: &str, listed: &Listed) -> Option<Option<String>> {
        let group = self.subaccount.groups.get(listed.group);
        let why = match self.ask(&format!("/lm/configurations/{id}"), group) {
            Ok(Told::This(body)) => match deployed::of_configuration(&body) {
                Deployed::Model(model) => return Some(Some(model)),
                _ => {
                    log::debug!("deployment {:?}: its configuration names no model", listed.id);
                    return Some(None);
                }
            },
            Ok(_) => "the service key may not see its configuration".to_owned(),
            Err(error) => error.to_string(),
        };
        self.problem(format!(
            "which model the deployment {:?} serves is not told: {why}",
            listed.id
        ));
        None
    }

    /// What there need not be.
    fn maybe(&mut self, path: &str, group: Option<&HeaderText>) -> Option<Vec<u8>> {
        match self.ask(path, group) {
            Ok(Told::This(body)) => return Some(body),
            Ok(Told::NotThere | Told::Nothing) => {
                log::debug!("subaccount {:?}: {path} is not told", self.subaccount.name);
            }
            Err(error) => self.problem(format!("{path} cannot be read: {error}")),
        }
        None
    }

    fn ask(&self, path: &str, group: Option<&HeaderText>) -> Result<Told, Error> {
        self.subaccount.ask(self.aicore, path, group, None)
    }

    /// Part of it may be AI Core's own words: one line it is all the same.
    fn problem(&mut self, what: String) {
        let what = what.replace(|c: char| c.is_control(), " ");
        self.problems.push(format!("subaccount {:?}: {what}", self.subaccount.name));
    }
}
