//! What the name of a Gemini model tells.

use std::ops::RangeInclusive;

use crate::chat::Effort;

/// A model by its name. One that does not say its version is taken for the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    version: (u32, u32),
    tier: Tier,
    /// Whether it makes images.
    is_image: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Pro,
    Flash,
    FlashLite,
    Unknown,
}

impl Model {
    pub fn of(name: &str) -> Model {
        let rest = name.strip_prefix("gemini-").unwrap_or(name);
        let has = |word| rest.split('-').any(|part| part == word);
        let tier = match () {
            () if has("lite") => Tier::FlashLite,
            () if has("flash") => Tier::Flash,
            () if has("pro") => Tier::Pro,
            () => Tier::Unknown,
        };
        let number = rest.split('-').next().unwrap_or(rest);
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        let version = match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => (major, minor),
            _ => (u32::MAX, 0),
        };
        Model { version, tier, is_image: has("image") }
    }

    pub fn thinks(self) -> bool {
        self.version >= (2, 5) && !self.is_image
    }

    /// Whether thinking is measured in levels, not in a budget.
    pub fn takes_levels(self) -> bool {
        self.version >= (3, 0)
    }

    /// Whether a call without its thought signature is refused.
    pub fn wants_signatures(self) -> bool {
        self.version >= (3, 0)
    }

    /// The lowest level. Left open by the dossier: only some models of the flash kind are said to know MINIMAL, those from
    /// 3.7 on not; LOW is known by all.
    pub fn effort_min(self) -> Effort {
        match self.tier {
            Tier::FlashLite => Effort::Minimal,
            Tier::Flash if self.version < (3, 7) => Effort::Minimal,
            _ => Effort::Low,
        }
    }

    /// The level that is meant by this one: the first Pro with levels knows LOW and HIGH.
    pub fn level(self, effort: Effort) -> Effort {
        match effort.clamp(self.effort_min(), Effort::High) {
            Effort::Medium if self.version == (3, 0) && self.tier == Tier::Pro => Effort::High,
            effort => effort,
        }
    }

    /// The budgets for thinking that are taken, beside 0 where it can be switched off.
    pub fn budgets(self) -> RangeInclusive<u64> {
        match self.tier {
            Tier::Pro | Tier::Unknown => 128..=32_768,
            Tier::Flash => 1..=24_576,
            Tier::FlashLite => 512..=24_576,
        }
    }

    /// The budget that is nearest to not thinking at all.
    pub fn budget_min(self) -> u64 {
        match self.tier {
            Tier::Pro | Tier::Unknown => *self.budgets().start(),
            Tier::Flash | Tier::FlashLite => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let table = [
            ("gemini-2.5-pro", (2, 5), Tier::Pro),
            ("gemini-2.5-flash", (2, 5), Tier::Flash),
            ("gemini-2.5-flash-lite", (2, 5), Tier::FlashLite),
            ("gemini-3-pro-preview", (3, 0), Tier::Pro),
            ("gemini-3.1-flash-lite", (3, 1), Tier::FlashLite),
            ("gemini-3.10-flash-001", (3, 10), Tier::Flash),
            ("gemini-1.5-pro", (1, 5), Tier::Pro),
            ("gemini-2.5-flash-image", (2, 5), Tier::Flash),
            ("gemini-flash-latest", (u32::MAX, 0), Tier::Flash),
            ("our-own", (u32::MAX, 0), Tier::Unknown),
        ];
        for (name, version, tier) in table {
            let is_image = name.contains("image");
            assert_eq!(Model::of(name), Model { version, tier, is_image }, "{name}");
        }
    }

    #[test]
    fn versions_decide() {
        let table = [
            ("gemini-2.0-flash", false, false, Effort::Minimal),
            ("gemini-2.5-flash", true, false, Effort::Minimal),
            ("gemini-2.5-flash-image", false, false, Effort::Minimal),
            ("gemini-3.5-flash", true, true, Effort::Minimal),
            ("gemini-3.7-flash", true, true, Effort::Low),
            ("gemini-3.7-flash-lite", true, true, Effort::Minimal),
            ("gemini-3.1-pro", true, true, Effort::Low),
        ];
        for (name, thinks, takes_levels, effort_min) in table {
            let model = Model::of(name);
            assert_eq!(model.thinks(), thinks, "{name}");
            assert_eq!(model.takes_levels(), takes_levels, "{name}");
            assert_eq!(model.effort_min(), effort_min, "{name}");
        }
    }
}
