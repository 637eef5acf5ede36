//! What the AI API tells of a subaccount: its deployments, the catalogue of models, its quota (dossier 4.1, 4.3, 4.5).

use std::sync::Arc;

use crate::aicore::AiCore;
use crate::catalogue::Catalogue;
use crate::subaccount::Subaccount;

/// What was found out. `None`: it could not be asked, and what was known before still holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Those that run, the newest of a model first.
    pub deployments: Option<Vec<Found>>,
    pub catalogue: Option<Catalogue>,
    /// Requests a minute by model.
    pub quota: Option<Vec<(String, u32)>>,
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

/// Asks the AI API.
pub fn discover(_aicore: &Arc<AiCore>, _subaccount: &Subaccount) -> Findings {
    Findings::default()
}
