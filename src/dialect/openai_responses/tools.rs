//! Tools of other kinds than functions, as functions: AI Core and other vendors know no others.
//!
//! A custom tool takes a text, which becomes the one argument of a function; a namespace is a list of tools, which stand
//! beside the others under longer names. The search for tools that a client runs itself, and in which Codex hides those of MCP
//! servers, is a function, too; what it found are further functions. Tools that OpenAI runs are left out and named.
//!
//! Left open: what a model makes of a custom tool's grammar that nobody holds it to. It is told the grammar in words.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::freeform::INPUT;
use crate::chat::ToolChoice;
use crate::chat::fit::{digest, plain};
use crate::dialect::reading::{self, list, readable};
use crate::envelope::{Envelope, items, quoted};
use crate::error::Error;

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
    pub kind: ToolKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolKind {
    Function,
    /// Takes a text.
    Custom,
    /// Finds further tools, for the client itself.
    Search,
}

impl Tools {
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

/// The longest name of a function at OpenAI.
const NAME_MAX: usize = 64;

/// The function that stands for a tool: its name behind that of its namespace, made to fit.
pub fn function_name(name: &str, namespace: Option<&str>) -> String {
    let full = match namespace.map(|space| space.trim_end_matches('_')) {
        Some(space) if !space.is_empty() => format!("{space}__{name}"),
        _ => name.to_owned(),
    };
    let mut fitting: String = full.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if fitting.len() > NAME_MAX || fitting != full {
        let suffix = format!("_{:08x}", digest(&full) as u32);
        fitting.truncate(NAME_MAX - suffix.len());
        fitting.push_str(&suffix);
    }
    fitting
}

/// What a request lets its model call.
#[derive(Debug, Default)]
pub struct Offered {
    pub functions: Vec<Function>,
    /// `None` where the client says nothing, or nothing that is left.
    pub choice: Option<ToolChoice>,
    pub tools: Tools,
    /// What the model is not told, as it may stand in a header.
    pub dropped: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema, as the client wrote it.
    pub schema: Option<String>,
    pub is_strict: bool,
    /// As `/responses` has it: the client's own bytes, where it is a function there, too.
    pub json: String,
}

impl Offered {
    /// Reads the tools of a request, those that its items define, and those of items that came before.
    pub fn read(body: &Envelope, history: &[u8]) -> Result<Offered, Error> {
        let mut reader = Reader::default();
        if let Some(raw) = body.raw("tools").filter(|raw| *raw != b"null") {
            reader.list(raw, "tools")?;
            reader.settle()?;
        }
        for (input, path) in [(history, "previous_response_id"), (input_of(body), "input")] {
            for (i, tools) in defined_in(input) {
                reader.list(tools, &format!("{path}[{i}].tools"))?;
                reader.settle_later();
            }
        }
        let Reader { found, types, .. } = reader;
        let has_lost = !types.is_empty();
        let (functions, known): (Vec<_>, Vec<_>) =
            found.into_iter().map(|Found { function, origin }| (function, origin)).unzip();
        let named = functions.iter().zip(known);
        let known = named.filter_map(|(f, origin)| Some((f.name.clone(), origin?))).collect();
        let dropped = reading::tools_of(types);
        let mut offered = Offered { functions, choice: None, tools: Tools::new(known), dropped };
        offered.choose(body, has_lost)?;
        Ok(offered)
    }

    /// The choice, as `/responses` has it.
    pub fn choice_json(&self) -> Option<String> {
        self.choice.as_ref().map(|choice| match choice {
            ToolChoice::Auto => quoted("auto"),
            ToolChoice::None => quoted("none"),
            ToolChoice::Any => quoted("required"),
            ToolChoice::Named(name) => json!({"type": "function", "name": name}).to_string(),
        })
    }

    /// `has_lost`: tools are left out, so that the choice may name one of them.
    fn choose(&mut self, body: &Envelope, has_lost: bool) -> Result<(), Error> {
        const KEY: &str = "tool_choice";
        let Some(wire) = Choice::read(body)? else { return Ok(()) };
        let name = wire.name();
        self.choice = match (wire.r#type.as_deref(), name) {
            (Some("auto"), _) => Some(ToolChoice::Auto),
            (Some("none"), _) => Some(ToolChoice::None),
            (Some("required" | "any"), _) => Some(ToolChoice::Any),
            (Some("allowed_tools"), _) => self.allow(&wire)?,
            (None | Some("function" | "custom" | "tool"), Some(name)) => {
                match self.function(name, wire.namespace.as_deref()) {
                    Some(function) => Some(ToolChoice::Named(function.name.clone())),
                    None if has_lost => self.drop_choice(KEY),
                    None => {
                        let why = format!("{name:?} is none of the tools");
                        return Err(Error::bad_request(KEY, why));
                    }
                }
            }
            (None | Some("function" | "custom" | "tool"), None) => {
                return Err(Error::bad_request("tool_choice.name", "a tool's name is expected"));
            }
            // A tool that OpenAI runs.
            (Some(_), _) => self.drop_choice(KEY),
        };
        if self.functions.is_empty() {
            let is_lost = matches!(self.choice, Some(ToolChoice::Any | ToolChoice::Named(_)));
            if is_lost && has_lost {
                self.dropped.push(KEY.to_owned());
            }
            self.choice = None;
        }
        Ok(())
    }

    /// Only some of the tools may be called: the model is told of no others.
    fn allow(&mut self, wire: &Choice) -> Result<Option<ToolChoice>, Error> {
        let choice = match wire.mode.as_deref() {
            None | Some("auto") => ToolChoice::Auto,
            Some("required") => ToolChoice::Any,
            Some(_) => {
                let why = "auto or required is expected";
                return Err(Error::bad_request("tool_choice.mode", why));
            }
        };
        let Some(allowed) = &wire.tools else {
            return Err(Error::bad_request("tool_choice.tools", "a list of tools is expected"));
        };
        let mut stay = vec![];
        for tool in allowed {
            let is_callable =
                matches!(tool.r#type.as_deref(), None | Some("function" | "custom" | "tool"));
            let function = tool.name().filter(|_| is_callable);
            let function = function.and_then(|name| self.function(name, tool.namespace.as_deref()));
            match function {
                Some(function) => stay.push(function.name.clone()),
                None => self.dropped.push("tool_choice.tools[]".to_owned()),
            }
        }
        self.dropped.dedup();
        self.functions.retain(|function| stay.contains(&function.name));
        Ok(Some(choice))
    }

    fn drop_choice(&mut self, key: &str) -> Option<ToolChoice> {
        self.dropped.push(key.to_owned());
        None
    }

    /// The function that stands for the client's tool; also by its own name.
    fn function(&self, name: &str, namespace: Option<&str>) -> Option<&Function> {
        let is_it = |f: &&Function| match self.tools.origin(&f.name) {
            Some(origin) => origin.name == name && origin.namespace.as_deref() == namespace,
            None => f.name == name && namespace.is_none(),
        };
        let own = function_name(name, namespace);
        self.functions.iter().find(is_it).or_else(|| self.functions.iter().find(|f| f.name == own))
    }
}

/// The JSON of a request's items.
pub fn input_of(body: &Envelope) -> &[u8] {
    body.raw("input").filter(|raw| raw.starts_with(b"[")).unwrap_or(b"[]")
}

/// The search for tools: its type, which is its function's name, too.
pub const SEARCH: &str = "tool_search";
/// Who runs it, where that is not OpenAI.
pub const CLIENT: &str = "client";

/// What a search was asked, from a function's arguments: an object.
pub fn search_arguments(arguments: &str) -> String {
    let object = serde_json::from_str::<Map<String, Value>>(arguments);
    object.map_or_else(|_| "{}".to_owned(), |_| arguments.to_owned())
}

/// What a search found, as its function's result.
pub fn search_result(tools: Option<&RawValue>) -> String {
    let mut reader = Reader::default();
    let found = tools.map(|tools| reader.list(tools.get().as_bytes(), "tools"));
    let names: Vec<_> = reader.found.iter().map(|f| f.function.name.as_str()).collect();
    match found {
        Some(Ok(())) if !names.is_empty() => {
            format!("Found these tools, which can be called from now on: {}", names.join(", "))
        }
        _ => "Found no tools.".to_owned(),
    }
}

/// The types of items that are no part of the conversation, but tools from then on.
pub const DEFINING: [&str; 2] = ["additional_tools", "tool_search_output"];

/// The lists of tools among items, each with the item's place.
fn defined_in(input: &[u8]) -> Vec<(usize, &[u8])> {
    if DEFINING.iter().all(|kind| memchr::memmem::find(input, kind.as_bytes()).is_none()) {
        return vec![];
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        r#type: Option<String>,
        #[serde(borrow)]
        tools: Option<&'a RawValue>,
    }
    let each = items(input).unwrap_or_default().into_iter().enumerate();
    let defined = each.filter_map(|(i, item)| {
        let item = serde_json::from_slice::<Item>(item).ok()?;
        let is_defining = DEFINING.contains(&item.r#type.as_deref()?);
        Some((i, item.tools.filter(|_| is_defining)?.get().as_bytes()))
    });
    defined.collect()
}

/// Also where the choice is a word: its type.
#[derive(Default, Deserialize)]
struct Choice {
    r#type: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    /// As chat completions have it.
    function: Option<Named>,
    mode: Option<String>,
    tools: Option<Vec<Choice>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Choice {
    fn read(body: &Envelope) -> Result<Option<Choice>, Error> {
        const EXPECTED: &str = "none, auto, required, {\"type\":\"function\",\"name\":…} or an object with another `type`";
        if body.raw("tool_choice").is_some_and(|raw| raw.starts_with(b"\"")) {
            let word = body.get::<String>("tool_choice", EXPECTED)?;
            let is_known = |word: &str| ["auto", "none", "required", "any"].contains(&word);
            return match word.filter(|word| is_known(word)) {
                None => Err(Error::bad_request("tool_choice", format!("{EXPECTED} is expected"))),
                r#type => Ok(Some(Choice { r#type, ..Choice::default() })),
            };
        }
        body.get("tool_choice", EXPECTED)
    }

    fn name(&self) -> Option<&str> {
        self.function.as_ref().map(|f| &f.name).or(self.name.as_ref()).map(String::as_str)
    }
}

/// A list of tools, on its way to functions.
#[derive(Default)]
struct Reader {
    found: Vec<Found>,
    /// How many of them are settled: their names differ.
    settled: usize,
    /// Of those that are left out.
    types: Vec<String>,
}

struct Found {
    function: Function,
    /// Where the client knows it otherwise.
    origin: Option<Origin>,
}

/// With its function inside, as chat completions have it, or flat.
#[derive(Deserialize)]
#[serde(expecting = "a tool, which is an object")]
struct WireTool<'a> {
    r#type: Option<String>,
    name: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    strict: Option<bool>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    /// Who runs a search.
    execution: Option<String>,
}

/// Of a custom tool.
#[derive(Deserialize)]
struct WireFormat {
    syntax: Option<String>,
    definition: Option<String>,
}

/// A namespace.
struct Space {
    name: String,
    /// Told with its first tool.
    description: Option<String>,
}

impl Reader {
    fn list(&mut self, raw: &[u8], path: &str) -> Result<(), Error> {
        self.tools(&readable(raw), path, &mut None)
    }

    fn tools(&mut self, json: &[u8], path: &str, space: &mut Option<Space>) -> Result<(), Error> {
        let wire = list::<WireTool>(json, path)?;
        let raw = items(json).unwrap_or_default();
        for (i, (wire, raw)) in wire.into_iter().zip(raw).enumerate() {
            self.tool(wire, raw, &format!("{path}[{i}]"), space)?;
        }
        Ok(())
    }

    fn tool(
        &mut self,
        wire: WireTool,
        raw: &[u8],
        path: &str,
        space: &mut Option<Space>,
    ) -> Result<(), Error> {
        let found = match (wire.r#type.as_deref(), wire.function) {
            (None | Some("function"), Some(function)) => {
                let path = format!("{path}.function");
                let why =
                    |e: serde_json::Error| Error::bad_request(&path, reading::without_place(&e));
                let inner = serde_json::from_str(function.get()).map_err(why)?;
                plain_function(inner, function.get().as_bytes(), &path, space)?
            }
            (None | Some("function"), None) => plain_function(wire, raw, path, space)?,
            (Some("custom"), _) if wire.input_schema.is_none() => custom(wire, path, space)?,
            // Anthropic's word for a function.
            (Some("custom"), _) => plain_function(wire, raw, path, space)?,
            (Some("namespace"), _) if space.is_none() => return self.namespace(wire, path),
            (Some(SEARCH), _) if space.is_none() && wire.execution.as_deref() == Some(CLIENT) => {
                search(wire)
            }
            (Some(kind), _) => {
                self.types.push(kind.to_owned());
                return Ok(());
            }
        };
        self.found.push(found);
        Ok(())
    }

    fn namespace(&mut self, wire: WireTool, path: &str) -> Result<(), Error> {
        let name = named(wire.name, path)?;
        let description = wire.description.filter(|d| !d.trim().is_empty());
        let mut space = Some(Space { name, description });
        match wire.tools {
            None => Ok(()),
            Some(tools) => self.tools(tools.get().as_bytes(), &format!("{path}.tools"), &mut space),
        }
    }

    /// Names differ.
    fn settle(&mut self) -> Result<(), Error> {
        let mut names: Vec<&str> = self.found.iter().map(|f| f.function.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let why = format!("two tools are called {:?}; names must differ", twice[0]);
            return Err(Error::bad_request("tools", why));
        }
        self.settled = self.found.len();
        Ok(())
    }

    /// What a conversation brings again is known already.
    fn settle_later(&mut self) {
        for found in self.found.split_off(self.settled) {
            let is_new = self.found.iter().all(|f| f.function.name != found.function.name);
            self.found.extend(is_new.then_some(found));
        }
        self.settled = self.found.len();
    }
}

fn named(name: Option<String>, path: &str) -> Result<String, Error> {
    let name = name.filter(|name| !name.is_empty());
    name.ok_or_else(|| Error::bad_request(format!("{path}.name"), "a tool's name is expected"))
}

/// What AI Core knows of a function. The rest is for those who search for tools, or run them.
const KEYS: &[&str] = &["type", "name", "description", "parameters", "strict"];

fn plain_function(
    wire: WireTool,
    raw: &[u8],
    path: &str,
    space: &mut Option<Space>,
) -> Result<Found, Error> {
    let own = named(wire.name, path)?;
    let (name, origin) = placed(&own, space, ToolKind::Function);
    let own_description = wire.description.filter(|d| !d.trim().is_empty());
    let description = with_space(own_description.clone(), space);
    let schema = wire.parameters.or(wire.input_schema).map(|s| s.get().to_owned());
    let mut json = Envelope::parse(raw.to_vec()).map_err(|e| match e {
        Error::BadRequest { path: key, why } => Error::bad_request(format!("{path}.{key}"), why),
        e => e,
    })?;
    if json.raw("parameters").is_none() {
        json.rename("input_schema", "parameters");
    }
    json.retain(|key, _| KEYS.contains(&key));
    if json.raw("type") != Some(br#""function""#) {
        json.set("type", quoted("function"));
    }
    if name != own {
        json.set("name", quoted(&name));
    }
    if let Some(description) = description.as_ref().filter(|_| description != own_description) {
        json.set("description", quoted(description));
    }
    let json = String::from_utf8_lossy(&json.into_bytes()).into_owned();
    let is_strict = wire.strict == Some(true) && schema.is_some();
    Ok(Found { function: Function { name, description, schema, is_strict, json }, origin })
}

/// A tool that takes a text.
fn custom(wire: WireTool, path: &str, space: &mut Option<Space>) -> Result<Found, Error> {
    let own = named(wire.name, path)?;
    let (name, origin) = placed(&own, space, ToolKind::Custom);
    let mut description = with_space(wire.description, space).unwrap_or_default();
    let format = wire.format.and_then(|raw| serde_json::from_str::<WireFormat>(raw.get()).ok());
    let grammar = format.and_then(|f| Some((f.syntax, f.definition?)));
    if !description.trim().is_empty() {
        description.push_str("\n\n");
    }
    description.push_str(&format!(
        "To call it, put the whole text, exactly as it is to be, into the string `{INPUT}`."
    ));
    if let Some((syntax, definition)) = grammar {
        let syntax = match syntax.as_deref() {
            Some("regex") => "match this regular expression".to_owned(),
            Some(syntax) => format!("follow this grammar ({syntax})"),
            None => "follow this grammar".to_owned(),
        };
        description.push_str(&format!(" The text has to {syntax}:\n{definition}"));
    }
    let schema = json!({
        "type": "object",
        "properties": {INPUT: {"type": "string", "description": "The whole text."}},
        "required": [INPUT],
        "additionalProperties": false,
    });
    let json = json!({
        "type": "function",
        "name": name,
        "description": description,
        "parameters": schema,
        "strict": false,
    });
    let (json, schema) = (json.to_string(), Some(schema.to_string()));
    let (description, is_strict) = (Some(description), false);
    Ok(Found { function: Function { name, description, schema, is_strict, json }, origin })
}

/// The search for further tools. It has no name but its type.
fn search(wire: WireTool) -> Found {
    let name = SEARCH.to_owned();
    let schema = wire.parameters.map_or(r#"{"type":"object"}"#, |schema| schema.get()).to_owned();
    let description = wire.description.filter(|d| !d.trim().is_empty());
    let told = description.as_ref().map(|d| format!(r#","description":{}"#, quoted(d)));
    let json = format!(
        r#"{{"type":"function","name":"{SEARCH}"{},"parameters":{schema},"strict":false}}"#,
        told.unwrap_or_default()
    );
    let origin = Some(Origin { name: name.clone(), namespace: None, kind: ToolKind::Search });
    Found {
        function: Function { name, description, schema: Some(schema), is_strict: false, json },
        origin,
    }
}

/// The function's name, and whose it is where that is not its own.
fn placed(own: &str, space: &Option<Space>, kind: ToolKind) -> (String, Option<Origin>) {
    let namespace = space.as_ref().map(|space| space.name.clone());
    if namespace.is_none() && kind == ToolKind::Function {
        return (own.to_owned(), None);
    }
    let name = function_name(own, namespace.as_deref());
    (name, Some(Origin { name: own.to_owned(), namespace, kind }))
}

/// The first tool of a namespace says what that is for.
fn with_space(own: Option<String>, space: &mut Option<Space>) -> Option<String> {
    let Some(space) = space else { return own };
    let Some(of_all) = space.description.take() else { return own };
    let prefix = function_name("", Some(&space.name));
    let of_all = format!("Of all tools whose names begin with `{prefix}`: {of_all}");
    Some(own.map_or(of_all.clone(), |own| format!("{own}\n\n{of_all}")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn offered(body: &Value) -> Result<Offered, Error> {
        Offered::read(&Envelope::parse(body.to_string().into_bytes()).unwrap(), b"")
    }

    fn names(offered: &Offered) -> Vec<&str> {
        offered.functions.iter().map(|f| f.name.as_str()).collect()
    }

    #[test]
    fn names_of_functions() {
        let long = "x".repeat(70);
        let cut = format!("{}_{:08x}", "x".repeat(55), digest(&long) as u32);
        for (name, namespace, expected) in [
            ("f", None, "f"),
            ("f", Some(""), "f"),
            ("f", Some("__"), "f"),
            ("f", Some("mcp__x__"), "mcp__x__f"),
            ("f", Some("a"), "a__f"),
            (&*long, None, &*cut),
        ] {
            let found = function_name(name, namespace);
            assert_eq!(found, expected, "{name} {namespace:?}");
            assert!(found.len() <= NAME_MAX);
        }
        // What differs stays different.
        let odd = ["a.b", "a b", "a_b", "\u{fc}"].map(|name| function_name(name, None));
        assert!(odd.iter().all(|name| name.chars().all(plain)), "{odd:?}");
        assert!(odd[0] != odd[1] && odd[1] != odd[2] && odd[0].starts_with("a_b_"), "{odd:?}");
    }

    #[test]
    fn a_function_keeps_its_bytes() {
        let own = r#"{"type":"function", "name":"f","description":"d","strict":false,"parameters":{"a":1.10, "b":[]}}"#;
        let body = format!(r#"{{"tools":[{own}],"tool_choice":{{"type":"function","name":"f"}}}}"#);
        let offered = Offered::read(&Envelope::parse(body.into_bytes()).unwrap(), b"").unwrap();
        let function = &offered.functions[0];
        assert_eq!(function.json, own);
        assert_eq!(function.schema.as_deref(), Some(r#"{"a":1.10, "b":[]}"#));
        assert_eq!(offered.tools, Tools::default());
        assert_eq!(offered.choice_json().as_deref(), Some(r#"{"name":"f","type":"function"}"#));
    }

    #[test]
    fn other_kinds_become_functions() {
        let of_text = |name: &str, description: &str| {
            json!({"type": "function", "name": name, "description": description, "strict": false, "parameters": {
                "type": "object", "properties": {"input": {"type": "string", "description": "The whole text."}},
                "required": ["input"], "additionalProperties": false}})
        };
        let said =
            "To call it, put the whole text, exactly as it is to be, into the string `input`.";
        let table = [
            // Chat's, Anthropic's, and what is said for those who search.
            (
                json!({"type": "function", "function": {"name": "f", "parameters": {}, "x": 1}}),
                vec![json!({"name": "f", "parameters": {}, "type": "function"})],
            ),
            (
                json!({"type": "custom", "name": "f", "input_schema": {"a": 1}}),
                vec![json!({"type": "function", "name": "f", "parameters": {"a": 1}})],
            ),
            (
                json!({"type": "function", "name": "f", "defer_loading": true, "strict": null}),
                vec![json!({"type": "function", "name": "f", "strict": null})],
            ),
            (json!({"type": "custom", "name": "c"}), vec![of_text("c", said)]),
            (
                json!({"type": "custom", "name": "c", "description": "Does.", "format": {"type": "text"}}),
                vec![of_text("c", &format!("Does.\n\n{said}"))],
            ),
            (
                json!({"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}}),
                vec![of_text(
                    "c",
                    &format!("{said} The text has to follow this grammar (lark):\nstart: /a/"),
                )],
            ),
            (
                json!({"type": "namespace", "name": "n", "description": "All.", "tools": [
                    {"type": "function", "name": "f", "description": "d", "strict": false},
                    {"type": "custom", "name": "c"}, {"type": "namespace", "name": "deep", "tools": []}]}),
                vec![
                    json!({"type": "function", "name": "n__f", "strict": false,
                        "description": "d\n\nOf all tools whose names begin with `n__`: All."}),
                    of_text("n__c", said),
                ],
            ),
            (json!({"type": "namespace", "name": "n"}), vec![]),
            (json!({"type": "web_search", "external_web_access": true}), vec![]),
            (json!({"type": "local_shell"}), vec![]),
        ];
        for (tool, expected) in table {
            let offered = offered(&json!({"tools": [tool]})).unwrap();
            let found = offered.functions.iter().map(|f| serde_json::from_str(&f.json).unwrap());
            assert_eq!(found.collect::<Vec<Value>>(), expected, "{tool}");
            for function in &offered.functions {
                let json: Value = serde_json::from_str(&function.json).unwrap();
                assert_eq!(json["name"], function.name);
                assert_eq!(json["description"].as_str(), function.description.as_deref());
                let schema = function.schema.as_deref().map(|s| serde_json::from_str(s).unwrap());
                assert_eq!(json.get("parameters").cloned(), schema);
            }
        }
    }

    #[test]
    fn the_way_back() {
        let offered = offered(&json!({"tools": [
            {"type": "function", "name": "f"},
            {"type": "custom", "name": "apply_patch"},
            {"type": "namespace", "name": "mcp__a__", "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]},
            {"type": "tool_search", "execution": "client", "description": "Finds."},
            {"type": "tool_search"}, {"type": "web_search"}, {"type": "web_search"},
        ]}))
        .unwrap();
        assert_eq!(names(&offered), ["f", "apply_patch", "mcp__a__f", "mcp__a__c", "tool_search"]);
        let origin = |name| offered.tools.origin(name).cloned();
        let expected = |name: &str, namespace: Option<&str>, kind| {
            let (name, namespace) = (name.to_owned(), namespace.map(str::to_owned));
            Some(Origin { name, namespace, kind })
        };
        assert_eq!(origin("f"), None);
        assert_eq!(origin("apply_patch"), expected("apply_patch", None, ToolKind::Custom));
        assert_eq!(origin("mcp__a__f"), expected("f", Some("mcp__a__"), ToolKind::Function));
        assert_eq!(origin("mcp__a__c"), expected("c", Some("mcp__a__"), ToolKind::Custom));
        assert_eq!(origin("tool_search"), expected("tool_search", None, ToolKind::Search));
        assert_eq!(offered.dropped, ["tools[] of type tool_search", "tools[] of type web_search"]);
    }

    #[test]
    fn a_search_for_tools() {
        for (arguments, asked) in [
            (r#"{"query":"a\n"}"#, r#"{"query":"a\n"}"#),
            ("", "{}"),
            ("[1]", "{}"),
            (r#"{"a""#, "{}"),
        ] {
            assert_eq!(search_arguments(arguments), asked);
        }
        let found = json!([
            {"type": "namespace", "name": "mcp__a", "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]},
            {"type": "function", "name": "h"}, {"type": "web_search"},
        ]);
        let result = |json: &str| search_result(serde_json::from_str(json).ok());
        assert!(result(&found.to_string()).ends_with(" from now on: mcp__a__f, mcp__a__g, h"));
        for none in ["[]", "[5]", r#"{"a":1}"#, "[", ""] {
            assert_eq!(result(none), "Found no tools.");
        }
    }

    #[test]
    fn choices() {
        let tools = json!([
            {"type": "function", "name": "f"}, {"type": "custom", "name": "c"}, {"type": "web_search"},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
        ]);
        let all = ["f", "c", "n__g"];
        let named = |name: &str| Some(ToolChoice::Named(name.to_owned()));
        let table = [
            (json!(null), None, &all[..], false),
            (json!("auto"), Some(ToolChoice::Auto), &all, false),
            (json!("none"), Some(ToolChoice::None), &all, false),
            (json!("required"), Some(ToolChoice::Any), &all, false),
            (json!({"type": "function", "name": "f"}), named("f"), &all, false),
            (json!({"type": "function", "function": {"name": "f"}}), named("f"), &all, false),
            (json!({"type": "custom", "name": "c"}), named("c"), &all, false),
            (
                json!({"type": "function", "name": "g", "namespace": "n"}),
                named("n__g"),
                &all,
                false,
            ),
            (json!({"type": "function", "name": "n__g"}), named("n__g"), &all, false),
            // Of what is left out nothing is said.
            (json!({"type": "web_search"}), None, &all, true),
            (json!({"type": "mcp", "server_label": "s", "name": "f"}), None, &all, true),
            (json!({"type": "function", "name": "gone"}), None, &all, true),
            (
                json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "c"}, {"type": "function", "name": "g", "namespace": "n"}]}),
                Some(ToolChoice::Any),
                &["c", "n__g"],
                false,
            ),
            (
                json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}),
                Some(ToolChoice::Auto),
                &["f"],
                true,
            ),
            (
                json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}),
                None,
                &[],
                true,
            ),
        ];
        for (choice, expected, left, is_named) in table {
            let offered = offered(&json!({"tools": tools, "tool_choice": choice})).unwrap();
            assert_eq!((&offered.choice, &*names(&offered)), (&expected, left), "{choice}");
            let dropped = offered.dropped.iter().any(|name| name.starts_with("tool_choice"));
            assert_eq!(dropped, is_named, "{choice}: {:?}", offered.dropped);
        }
        // No choice without tools.
        for choice in ["auto", "required", "none"] {
            assert_eq!(offered(&json!({"tool_choice": choice})).unwrap().choice, None);
        }
        let lost = offered(&json!({"tools": [{"type": "web_search"}], "tool_choice": "required"}))
            .unwrap();
        assert_eq!((lost.choice, lost.dropped.last().unwrap().as_str()), (None, "tool_choice"));
    }

    #[test]
    fn what_the_conversation_brings_is_there_once() {
        let f = json!({"type": "function", "name": "f", "description": "first"});
        let again = json!({"type": "function", "name": "f", "description": "second"});
        let g =
            json!({"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]});
        let body = json!({"tools": [f], "input": [
            {"type": "message", "role": "user", "content": "additional_tools"},
            {"type": "tool_search_output", "call_id": "c", "tools": [again, g]},
            {"type": "additional_tools", "tools": [g, {"type": "custom", "name": "c"}, {"type": "web_search"}]},
        ]});
        let history =
            br#"[{"type":"additional_tools","tools":[{"type":"function","name":"old"}]}]"#;
        let body = Envelope::parse(body.to_string().into_bytes()).unwrap();
        let offered = Offered::read(&body, history).unwrap();
        assert_eq!(names(&offered), ["f", "old", "n__g", "c"]);
        assert_eq!(offered.functions[0].description.as_deref(), Some("first"));
        assert_eq!(offered.dropped, ["tools[] of type web_search"]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_path() {
        let table = [
            (json!({"tools": 5}), "tools"),
            (json!({"tools": [5]}), "tools[0]"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
            (json!({"tools": [{"type": "custom", "name": ""}]}), "tools[0].name"),
            (json!({"tools": [{"type": "function", "function": {}}]}), "tools[0].function.name"),
            (json!({"tools": [{"type": "function", "function": 5}]}), "tools[0].function"),
            (json!({"tools": [{"type": "namespace", "tools": []}]}), "tools[0].name"),
            (
                json!({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}),
                "tools[0].tools[0].name",
            ),
            (json!({"tools": [{"name": "f"}, {"name": "f"}]}), "tools"),
            (
                json!({"tools": [{"name": "n__f"}, {"type": "namespace", "name": "n", "tools": [{"name": "f"}]}]}),
                "tools",
            ),
            (
                json!({"input": [{"type": "additional_tools", "tools": [{"type": "function"}]}]}),
                "input[0].tools[0].name",
            ),
            (json!({"tool_choice": "much"}), "tool_choice"),
            (json!({"tool_choice": 5}), "tool_choice"),
            (
                json!({"tools": [{"name": "f"}], "tool_choice": {"type": "function", "name": "g"}}),
                "tool_choice",
            ),
            (json!({"tool_choice": {"type": "function"}}), "tool_choice.name"),
            (json!({"tool_choice": {"type": "allowed_tools"}}), "tool_choice.tools"),
            (
                json!({"tool_choice": {"type": "allowed_tools", "mode": "x", "tools": []}}),
                "tool_choice.mode",
            ),
        ];
        for (body, path) in table {
            let error = offered(&body).unwrap_err();
            assert_eq!(error.param(), Some(path), "{body}: {error}");
        }
    }
}
