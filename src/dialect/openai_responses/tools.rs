//! Tools of other kinds than functions, as functions: AI Core and other vendors know no others.

/// How the functions that a model is given are known to the client. Those that are not here are functions of the same name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    known: Vec<(String, Origin)>,
    /// What a response repeats of its request where AI Core was told something else: the key, and the client's own JSON.
    told: Vec<(&'static str, Vec<u8>)>,
}

/// A client's tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    pub name: String,
    pub namespace: Option<String>,
    /// Takes a text.
    pub is_custom: bool,
}

impl Tools {
    pub fn add(&mut self, function: String, origin: Origin) {
        self.known.push((function, origin));
    }

    /// A response is to repeat the client's own.
    pub fn tell(&mut self, key: &'static str, json: impl Into<Vec<u8>>) {
        self.told.push((key, json.into()));
    }

    /// What a response is to repeat.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.told.iter().map(|(key, json)| (*key, json.as_slice()))
    }

    /// By the names of the functions.
    pub fn new(known: Vec<(String, Origin)>) -> Tools {
        Tools { known, ..Tools::default() }
    }

    /// The tool that the model knows as this function, where it is another.
    pub fn origin(&self, function: &str) -> Option<&Origin> {
        self.known.iter().find(|(name, _)| name == function).map(|(_, origin)| origin)
    }
}

/// The function that stands for a tool.
pub fn function_name(name: &str, _namespace: Option<&str>) -> String {
    name.to_owned()
}
