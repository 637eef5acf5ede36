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
    /// All that is in any of them; of a model what the first says.
    pub fn union<'a>(catalogues: impl IntoIterator<Item = &'a Catalogue>) -> Catalogue {
        let mut union = Catalogue::default();
        for entry in catalogues.into_iter().flat_map(|catalogue| &catalogue.entries) {
            if union.find(&entry.name).is_none() {
                union.entries.push(entry.clone());
            }
        }
        union
    }

    /// What is said of the model that AI Core knows by this name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}
