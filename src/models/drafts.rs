//! Which models there are: what the configuration names, what was discovered, and what orchestration serves beside.

use std::sync::{Arc, OnceLock};

use super::{Known, LookUp, Made, Model, Place, Source, lanes, matches};
use crate::config::{self, Config};
use crate::families::{self, Family};

/// In this order: as configured, as discovered, by orchestration. Faults begin with their JSON path.
pub(super) fn drafts<'a>(
    config: &Config,
    sources: &[Source<'a>],
    faults: &mut Vec<String>,
) -> Vec<Draft<'a>> {
    let mut drafts = vec![];
    for source in sources {
        of_configuration(config, source, &mut drafts, faults);
    }
    for source in sources.iter().filter(|source| source.config.discovers) {
        of_findings(config, source, &mut drafts);
    }
    if config.orchestrates {
        by_orchestration(config, sources, &mut drafts);
    }
    drafts
}

/// A model that is to be made.
pub(super) struct Draft<'a> {
    name: String,
    family: &'static Family,
    /// As configured by `families`.
    configured: Option<&'static Family>,
    /// Nothing says what it is.
    is_unknown: bool,
    urls: Vec<DraftUrl<'a>>,
}

struct DraftUrl<'a> {
    /// Where it stands in the configuration, if it does.
    path: String,
    url: String,
    group: usize,
    source: Source<'a>,
}

impl Draft<'_> {
    pub(super) fn model(&self, config: &Config, known: &Arc<Known>) -> Result<Model, Vec<String>> {
        let deployed_name = families::deployed_name(&self.name);
        let made = Made { deployed_name, family: self.family, api_version: &config.api_version };
        let mut faults = vec![];
        let deployments = self.urls.iter().filter_map(|DraftUrl { path, url, group, source }| {
            let weight = source.config.weight;
            let place = Place { subaccount: source.subaccount, group: *group, weight };
            let made = made.deployment(url, &place, known);
            let deployment = made.map_err(|e| faults.push(format!("{path}: {e}"))).ok()?;
            if let Some(quota) = &source.findings.quota {
                let limit = quota.iter().find(|(model, _)| model == deployed_name);
                deployment.lane.limit(limit.map(|(_, per_minute)| *per_minute));
            }
            Some(deployment)
        });
        let deployments: Vec<_> = deployments.collect();
        let model = Model {
            name: self.name.clone(),
            family: self.family,
            lanes: lanes(config.balance, &deployments),
            deployments,
            deployed_name: deployed_name.to_owned(),
            looked_up: self.is_unknown.then(|| LookUp {
                family: self.configured,
                api_version: config.api_version.clone(),
                balance: config.balance,
                known: known.clone(),
                found: OnceLock::new(),
            }),
        };
        let told = model.deployments.first().and_then(|first| first.memory.told.get());
        if let Some(told) = told.cloned() {
            model.found(told).map_err(|e| vec![e])?;
        }
        if faults.is_empty() { Ok(model) } else { Err(faults) }
    }

    fn has(&self, url: &str) -> bool {
        self.urls.iter().any(|known| known.url == url)
    }
}

fn of_configuration<'a>(
    config: &Config,
    source: &Source<'a>,
    drafts: &mut Vec<Draft<'a>>,
    faults: &mut Vec<String>,
) {
    for (name, urls) in &source.config.deployment_models {
        let configured = match family_of(name, config) {
            Ok(family) => family,
            Err(fault) => {
                // Of several subaccounts each would tell of it.
                faults.extend(Some(fault).filter(|fault| !faults.contains(fault)));
                continue;
            }
        };
        let at = config::field(&source.config.path, "deployment_models");
        let urls = urls.iter().enumerate().map(|(i, url)| DraftUrl {
            path: format!("{at}[{name:?}][{i}]"),
            url: url.trim_end_matches('/').to_owned(),
            group: 0,
            source: *source,
        });
        let is_unknown = families::told(name).is_none();
        let draft = draft(drafts, name, configured, is_unknown);
        draft.urls.extend(urls);
    }
}

/// What is configured as well is there already.
fn of_findings<'a>(config: &Config, source: &Source<'a>, drafts: &mut Vec<Draft<'a>>) {
    let found = source.findings.deployments.iter().flatten();
    for found in found.filter(|found| !found.is_orchestration) {
        if drafts.iter().any(|draft| draft.has(&found.url)) {
            continue;
        }
        let configured = family_of(&found.model, config).ok().flatten();
        let draft = draft(drafts, &found.model, configured, false);
        draft.urls.push(DraftUrl {
            path: found.url.clone(),
            url: found.url.clone(),
            group: found.group,
            source: *source,
        });
    }
}

/// What has no deployment of its own, by orchestration, which serves what the catalogue says. An alias that somebody wrote
/// for such a name comes first.
fn by_orchestration<'a>(config: &Config, sources: &[Source<'a>], drafts: &mut Vec<Draft<'a>>) {
    let own = drafts.len();
    let family = families::by_name("orchestration");
    for source in sources.iter().filter(|source| source.config.discovers) {
        let found = source.findings.deployments.iter().flatten();
        let catalogue = source.findings.catalogue.iter().flat_map(|known| &known.entries);
        for entry in catalogue.filter(|entry| entry.orchestrates) {
            let is_own = |draft: &Draft<'_>| families::is_same(&draft.name, &entry.name);
            let is_alias = config.aliases.iter().any(|(alias, _)| *alias == entry.name);
            if is_alias || drafts[..own].iter().any(is_own) {
                continue;
            }
            for found in found.clone().filter(|found| found.is_orchestration) {
                let draft = draft(drafts, &entry.name, family, false);
                draft.urls.push(DraftUrl {
                    path: found.url.clone(),
                    url: found.url.clone(),
                    group: found.group,
                    source: *source,
                });
            }
        }
    }
}

/// The draft of this name, a new one where there is none.
fn draft<'d, 'a>(
    drafts: &'d mut Vec<Draft<'a>>,
    name: &str,
    configured: Option<&'static Family>,
    is_unknown: bool,
) -> &'d mut Draft<'a> {
    let at = drafts.iter().position(|draft| draft.name == name).unwrap_or_else(|| {
        drafts.push(Draft {
            name: name.to_owned(),
            family: configured.unwrap_or_else(|| families::of_model(name)),
            configured,
            is_unknown,
            urls: vec![],
        });
        drafts.len() - 1
    });
    &mut drafts[at]
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
