//! What SAP's catalogue says of models (dossier 4.3).

/// The models there are to deploy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    pub entries: Vec<Entry>,
}

/// One model, in its latest version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    pub name: String,
    /// Orchestration serves it.
    pub orchestrates: bool,
}

impl Catalogue {
    /// What is said of the model that AI Core knows by this name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}
