//! Which model a name leads to. The one place that knows: the relay asks it, and the check of the configuration.

use crate::families::claude::Version;
use crate::families::is_same;

/// How many aliases may lead to one another.
const ALIAS_DEPTH_MAX: usize = 8;
/// What Claude Code puts behind a name to say that a context of a million is wished for.
const LONG_CONTEXT: &str = "[1m]";

/// The names there are.
#[derive(Debug)]
pub struct Names<'a> {
    pub models: Vec<&'a str>,
    /// Name or pattern → name.
    pub aliases: &'a [(String, String)],
}

impl<'a> Names<'a> {
    /// The place of the model among `models`, and whether its long context is wished for.
    pub fn find(&self, name: &str) -> Option<(usize, bool)> {
        let (mut wanted, mut is_long) = (name, false);
        for _ in 0..=ALIAS_DEPTH_MAX {
            let (bare, has_suffix) = long_context(wanted);
            is_long |= has_suffix;
            match self.exact(wanted).or_else(|| self.step(bare))? {
                Step::Model(at) => return Some((at, is_long)),
                Step::Alias(target) => wanted = target,
            }
        }
        None
    }

    /// Where a name leads that has no `[1m]`.
    fn step(&self, name: &str) -> Option<Step<'a>> {
        let role = || Version::named(name).map(Version::role);
        self.exact(name)
            .or_else(|| self.model(|known| is_same(known, name)))
            .or_else(|| self.alias(name, |alias| !is_pattern(alias) && is_same(alias, name)))
            .or_else(|| self.alias(name, |alias| matches(alias, name)))
            .or_else(|| role().and_then(|role| self.alias(name, |alias| alias == role)))
    }

    fn exact(&self, name: &str) -> Option<Step<'a>> {
        self.model(|known| known == name).or_else(|| self.alias(name, |alias| alias == name))
    }

    fn model(&self, fits: impl Fn(&str) -> bool) -> Option<Step<'a>> {
        self.models.iter().position(|known| fits(known)).map(Step::Model)
    }

    /// One that leads back to `name` leads nowhere.
    fn alias(&self, name: &str, fits: impl Fn(&str) -> bool) -> Option<Step<'a>> {
        let alias = self.aliases.iter().find(|(alias, target)| fits(alias) && target != name);
        alias.map(|(_, target)| Step::Alias(target))
    }
}

/// Where a name leads.
enum Step<'a> {
    Model(usize),
    Alias(&'a str),
}

/// A name without the `[1m]` at its end, and whether it was there.
pub fn long_context(name: &str) -> (&str, bool) {
    let at = name.len().saturating_sub(LONG_CONTEXT.len());
    match name.split_at_checked(at) {
        Some((bare, end)) if end.eq_ignore_ascii_case(LONG_CONTEXT) => (bare, true),
        _ => (name, false),
    }
}

/// Whether an alias is no name but a pattern for names.
pub fn is_pattern(alias: &str) -> bool {
    alias.contains('*')
}

/// Whether `name` is what `pattern`, with any number of `*`, means.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_finds_every_other_and_no_other_model() {
        let spellings = [
            "claude-sonnet-4-5",
            "claude-sonnet-4-5-20250929",
            "claude-sonnet-4-5@20250929",
            "claude-sonnet-4-5-latest",
            "anthropic--claude-4.5-sonnet",
            "claude-4.5-sonnet",
            "4.5-sonnet",
            "anthropic/claude-sonnet-4.5",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ];
        let others = ["claude-sonnet-4", "claude-opus-4-5", "claude-sonnet-4-6", "claude-sonnet"];
        for configured in spellings {
            let names = Names { models: vec!["gpt-5", configured], aliases: &[] };
            for asked in spellings {
                assert_eq!(names.find(asked), Some((1, false)), "{asked} of {configured}");
                let long = format!("{asked}[1M]");
                assert_eq!(names.find(&long), Some((1, true)), "{long} of {configured}");
            }
            for asked in others {
                assert_eq!(names.find(asked), None, "{asked} of {configured}");
            }
        }
    }

    #[test]
    fn aliases_that_go_round_end() {
        let aliases = [("a", "b"), ("b", "a"), ("haiku", "claude-haiku-9")];
        let aliases = aliases.map(|(alias, target)| (alias.to_owned(), target.to_owned()));
        let names = Names { models: vec!["gpt-5"], aliases: &aliases };
        for asked in ["a", "haiku", "claude-haiku-9", "claude-haiku-8"] {
            assert_eq!(names.find(asked), None, "{asked}");
        }
    }

    #[test]
    fn patterns() {
        let table = [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4", false),
            ("gpt-*", "gpt-4o", true),
            ("*", "", true),
            ("*-mini", "gpt-5-mini", true),
            ("*-mini", "gpt-5-mini-x", false),
            ("claude-*-4*", "claude-sonnet-4-5", true),
            ("claude-*-4*", "claude-4", false),
            ("a*a", "a", false),
            ("a*b*c", "aXbYc", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
