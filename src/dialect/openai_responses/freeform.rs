//! Tools that take a text and not JSON: to a model they are functions with this text as their one argument.

/// The argument's name.
pub const INPUT: &str = "input";

/// The text in such arguments, as far as it has come.
#[derive(Debug, Default)]
pub struct Freeform {}

impl Freeform {
    /// More of the arguments' JSON; what it holds of the text is appended to `text`.
    pub fn push(&mut self, _json: &str, _text: &mut String) {}
}
