//! The template language, as far as it bites: `{{?name}}` is a placeholder, any other `{{`, `{%` or
//! `{#` an error.

use serde_json::{Map, Value};

/// Fills templates, and remembers which values were used.
pub(super) struct Template<'a> {
    values: &'a Map<String, Value>,
    defaults: &'a Map<String, Value>,
    used: Vec<String>,
}

impl<'a> Template<'a> {
    pub fn new(values: &'a Map<String, Value>, defaults: &'a Map<String, Value>) -> Template<'a> {
        Template { values, defaults, used: Vec::new() }
    }

    /// The messages with every text of theirs rendered; `Err` says what is wrong.
    pub fn render(&mut self, value: &Value) -> Result<Value, String> {
        match value {
            Value::Array(all) => all.iter().map(|one| self.render(one)).collect(),
            Value::Object(object) => {
                let entries = object.iter().map(|(key, value)| {
                    let rendered = match value {
                        Value::String(text) if ["content", "text"].contains(&key.as_str()) => {
                            Value::from(self.text(text)?)
                        }
                        Value::Array(_) if key == "content" => self.render(value)?,
                        other => other.clone(),
                    };
                    Ok((key.clone(), rendered))
                });
                entries.collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
            other => Ok(other.clone()),
        }
    }

    /// Values that no template asked for.
    pub fn end(&self) -> Result<(), String> {
        let unused = self.values.keys().filter(|name| !self.used.contains(name));
        let unused = unused.map(|name| format!("'{name}'")).collect::<Vec<_>>();
        if unused.is_empty() {
            return Ok(());
        }
        Err(format!("Unused parameters: [{}]", unused.join(", ")))
    }

    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut rest = text;
        let mut rendered = String::new();
        while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
            let (before, opened) = rest.split_at(at);
            rendered.push_str(before);
            let inside = opened.strip_prefix("{{").and_then(|inside| inside.split_once("}}"));
            let name = inside.and_then(|(inside, _)| inside.trim().strip_prefix('?'));
            let (Some(name), Some((_, after))) = (name, inside) else {
                let shown = opened.chars().take(20).collect::<String>();
                return Err(format!("template error: unexpected {shown:?}"));
            };
            let value = self.values.get(name).or_else(|| self.defaults.get(name));
            let Some(value) = value else {
                return Err(format!("Missing required parameters: ['{name}']"));
            };
            rendered.push_str(value.as_str().unwrap_or_default());
            self.used.push(name.to_owned());
            rest = after;
        }
        rendered.push_str(rest);
        Ok(rendered)
    }
}
