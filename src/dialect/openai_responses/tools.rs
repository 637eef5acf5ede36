//! Tools of other kinds than functions, as functions: AI Core and other vendors know no others.

/// How the functions that a model is given are known to the client. Those that are not here are functions of the same name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    known: Vec<(String, Origin)>,
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
    /// By the names of the functions.
    pub fn new(known: Vec<(String, Origin)>) -> Tools {
        Tools { known }
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
