//! Which Claude a name means (dossier 8), and what each takes.

/// A version as a model's name tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub tier: Tier,
    pub number: (u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Opus,
    Sonnet,
    Haiku,
    Other,
}

impl Version {
    /// From `anthropic--claude-4.5-sonnet`, `claude-sonnet-4-5-20250929`, `claude-3-5-sonnet-latest`, `claude-opus-4-8[1m]`
    /// and the like, whatever else they say. Left open: a name without a number is taken for the newest.
    pub fn of(model: &str) -> Version {
        let said = Said::by(model.split('[').next().unwrap_or(""));
        let mut numbers = said.numbers.into_iter();
        let major = numbers.next().unwrap_or(u32::MAX);
        Version {
            tier: said.tier.unwrap_or(Tier::Other),
            number: (major, numbers.next().unwrap_or(0)),
        }
    }

    /// The version that a name says in one of the vendor's or AI Core's ways, and says nothing else: `claude-sonnet-4-5`,
    /// `anthropic--claude-4.5-sonnet`, `4.5-sonnet`, `claude-sonnet-4-5@20250929`, `claude-3-5-sonnet-latest`,
    /// `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `anthropic/claude-sonnet-4.5`.
    pub fn named(name: &str) -> Option<Version> {
        let said = Said::by(name);
        let number = match said.numbers[..] {
            [major] => (major, 0),
            [major, minor] => (major, minor),
            _ => return None,
        };
        said.tier.filter(|_| !said.has_more).map(|tier| Version { tier, number })
    }

    /// `sonnet`.
    pub fn role(self) -> &'static str {
        TIERS.iter().find(|(_, tier)| *tier == self.tier).map_or("", |(word, _)| word)
    }

    /// The vendor's name, without a date: `claude-sonnet-4-5`, `claude-3-5-sonnet`.
    pub fn vendors_name(self) -> String {
        let (role, number) = (self.role(), self.number_with("-"));
        match self.is_from(4, 0) {
            true => format!("claude-{role}-{number}"),
            false => format!("claude-{number}-{role}"),
        }
    }

    /// For people: `Claude Sonnet 4.5`.
    pub fn display_name(self) -> String {
        let (first, rest) = self.role().split_at(1);
        format!("Claude {}{rest} {}", first.to_ascii_uppercase(), self.number_with("."))
    }

    fn number_with(self, point: &str) -> String {
        match self.number {
            (major, 0) => major.to_string(),
            (major, minor) => format!("{major}{point}{minor}"),
        }
    }

    pub fn is_from(self, major: u32, minor: u32) -> bool {
        self.number >= (major, minor)
    }

    /// The most tokens of a reply.
    pub fn output_max(self) -> u64 {
        match self.tier {
            _ if !self.is_from(3, 5) => 4_096,
            _ if !self.is_from(3, 7) => 8_192,
            _ if self.is_from(5, 0) => 128_000,
            Tier::Opus if self.is_from(4, 6) => 128_000,
            Tier::Opus if !self.is_from(4, 5) => 32_000,
            _ => 64_000,
        }
    }

    pub fn caches(self) -> bool {
        self.is_from(3, 7)
    }

    pub fn thinks(self) -> bool {
        self.is_from(3, 7)
    }

    /// Thinks as much as it sees fit.
    pub fn adapts(self) -> bool {
        self.is_from(4, 6)
    }

    /// Takes neither budgets nor sampling parameters.
    pub fn only_adapts(self) -> bool {
        self.is_from(4, 7)
    }

    /// Thinks unless it is told not to.
    pub fn thinks_unasked(self) -> bool {
        self.is_from(5, 0)
    }

    /// Left open: since 5.5 thinking cannot be switched off, nor can a tool be forced beside it.
    pub fn always_thinks(self) -> bool {
        self.is_from(5, 5)
    }
}

const TIERS: &[(&str, Tier)] =
    &[("opus", Tier::Opus), ("sonnet", Tier::Sonnet), ("haiku", Tier::Haiku)];

/// What a name says of a version, word by word.
#[derive(Default)]
struct Said {
    tier: Option<Tier>,
    /// The first ones that stand together. A longer number is a date.
    numbers: Vec<u32>,
    /// There is more in the name than one version and what may stand beside it.
    has_more: bool,
    /// No number that follows is the version's.
    is_over: bool,
}

impl Said {
    fn by(name: &str) -> Said {
        let name = name.to_ascii_lowercase();
        let is_between = |c: char| !c.is_ascii_alphanumeric();
        let mut said = Said {
            has_more: name.chars().any(|c| is_between(c) && !"-_./:@".contains(c)),
            ..Said::default()
        };
        let mut last = "";
        for word in name.split(is_between).filter(|word| !word.is_empty()) {
            said.add(word, last);
            last = word;
        }
        said
    }

    fn add(&mut self, word: &str, last: &str) {
        if let Some((_, tier)) = TIERS.iter().find(|(known, _)| *known == word) {
            self.has_more |= self.tier.is_some();
            self.tier = self.tier.or(Some(*tier));
        } else if !is_number(word) {
            self.has_more |= !is_aside(word);
        } else if self.numbers.is_empty() || (is_number(last) && !self.is_over) {
            self.numbers.extend(word.parse::<u32>());
            self.has_more |= word.len() > 1 && word.starts_with('0');
        } else {
            // Bedrock's revisions have a number of their own: `v1:0`.
            self.is_over = true;
            self.has_more |= !is_revision(last);
        }
    }
}

/// Words that do not make another model: the maker, a date, and Bedrock's regions and revisions.
fn is_aside(word: &str) -> bool {
    const ASIDES: &[&str] =
        &["anthropic", "claude", "latest", "us", "eu", "apac", "global", "jp", "au", "ca"];
    ASIDES.contains(&word) || is_revision(word) || is_date(word)
}

fn is_revision(word: &str) -> bool {
    matches!(word, "v1" | "v2")
}

fn is_number(word: &str) -> bool {
    (1..=2).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit())
}

fn is_date(word: &str) -> bool {
    word.len() == 8 && word.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        use Tier::*;
        let table = [
            ("anthropic--claude-4.8-opus", Opus, (4, 8), 128_000),
            ("anthropic--claude-4.6-opus", Opus, (4, 6), 128_000),
            ("anthropic--claude-4.6-sonnet", Sonnet, (4, 6), 64_000),
            ("anthropic--claude-4.5-opus", Opus, (4, 5), 64_000),
            ("anthropic--claude-4.5-haiku", Haiku, (4, 5), 64_000),
            ("anthropic--claude-4-opus", Opus, (4, 0), 32_000),
            ("claude-opus-4-1-20250805", Opus, (4, 1), 32_000),
            ("anthropic--claude-4-sonnet", Sonnet, (4, 0), 64_000),
            ("claude-sonnet-4-20250514", Sonnet, (4, 0), 64_000),
            ("claude-sonnet-4-5-20250929", Sonnet, (4, 5), 64_000),
            ("claude-opus-4-8[1m]", Opus, (4, 8), 128_000),
            ("claude-3-7-sonnet-latest", Sonnet, (3, 7), 64_000),
            ("claude-3-5-sonnet-20241022", Sonnet, (3, 5), 8_192),
            ("anthropic--claude-3-haiku", Haiku, (3, 0), 4_096),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", Sonnet, (4, 5), 64_000),
            ("anthropic--claude-5-sonnet", Sonnet, (5, 0), 128_000),
            ("claude-sonnet-latest", Sonnet, (u32::MAX, 0), 128_000),
            ("our-own-name", Other, (u32::MAX, 0), 128_000),
        ];
        for (name, tier, number, output_max) in table {
            let version = Version::of(name);
            assert_eq!(version, Version { tier, number }, "{name}");
            assert_eq!(version.output_max(), output_max, "{name}");
        }
    }

    #[test]
    fn a_name_names_one_version_or_none() {
        let table = [
            ("claude-sonnet-4-5", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5-latest", "claude-sonnet-4-5"),
            ("anthropic--claude-4.5-sonnet", "claude-sonnet-4-5"),
            ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
            ("4.5-sonnet", "claude-sonnet-4-5"),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("claude-sonnet-4-20250514", "claude-sonnet-4"),
            ("claude-sonnet-4-0", "claude-sonnet-4"),
            ("anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku"),
            ("Claude-3-5-Sonnet-20241022", "claude-3-5-sonnet"),
            ("jp.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("claude-4.5-sonnet", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5-turbo", ""),
            ("claude-4-sonnet-5", ""),
            ("claude-sonnet-4-05", ""),
            ("claude-sonnet-4-20250514-5", ""),
            ("claude-sonnet-4-5-v1:5:1", ""),
            ("claude-sonnet-4[5]", ""),
            ("claude-sonnet-4-*", ""),
            ("claude-sonnet-4-5é", ""),
            ("sonnet-haiku-4", ""),
            ("sonnet", ""),
            ("claude-4-5", ""),
            ("claude-sonnet-4-5-1", ""),
            ("gpt-4-5-sonnet", ""),
            ("", ""),
        ];
        for (name, expected) in table {
            let found = Version::named(name).map(Version::vendors_name);
            assert_eq!(found.unwrap_or_default(), expected, "{name}");
        }
        let version = Version::named("anthropic--claude-4.5-sonnet").unwrap();
        assert_eq!(version.display_name(), "Claude Sonnet 4.5");
    }
}
