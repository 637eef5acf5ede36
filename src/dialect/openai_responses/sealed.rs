//! What the `encrypted_content` of our own items holds: it is for us alone, and comes back in the next request.
//!
//! Not secret from the client, whose own conversation it is: base64 behind a word that says whose and which version it is.

use serde::{Deserialize, Serialize};

use crate::chat::Seal;
use crate::media;

/// What has to survive until the next turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Sealed {
    /// A thought.
    Thought { text: String, seal: Option<Seal> },
    /// The seal of a call, by the call's id.
    Call { id: String, seal: Seal },
    /// What a conversation came to.
    Summary(String),
}

/// No mark of a deployment begins so.
const PREFIX: &str = "proxy1.";

/// As an item's `encrypted_content`.
pub fn pack(sealed: &Sealed) -> String {
    // It is made of strings alone, which can be written.
    let json = serde_json::to_vec(&Wire::of(sealed)).unwrap_or_default();
    format!("{PREFIX}{}", media::base64_url(&json))
}

/// `None` for what is not ours.
pub fn unpack(content: &str) -> Option<Sealed> {
    let json = media::of_base64_url(content.strip_prefix(PREFIX)?)?;
    Some(serde_json::from_slice::<Wire>(&json).ok()?.read())
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wire {
    Thought { text: String, seal: Option<WireSeal> },
    Call { id: String, seal: WireSeal },
    Summary(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireSeal {
    Claude(String),
    Redacted(String),
    Gemini(String),
    OpenAi { id: String, encrypted: String },
}

impl Wire {
    fn of(sealed: &Sealed) -> Wire {
        match sealed.clone() {
            Sealed::Thought { text, seal } => Wire::Thought { text, seal: seal.map(WireSeal::of) },
            Sealed::Call { id, seal } => Wire::Call { id, seal: WireSeal::of(seal) },
            Sealed::Summary(text) => Wire::Summary(text),
        }
    }

    fn read(self) -> Sealed {
        match self {
            Wire::Thought { text, seal } => {
                Sealed::Thought { text, seal: seal.map(WireSeal::read) }
            }
            Wire::Call { id, seal } => Sealed::Call { id, seal: seal.read() },
            Wire::Summary(text) => Sealed::Summary(text),
        }
    }
}

impl WireSeal {
    fn of(seal: Seal) -> WireSeal {
        match seal {
            Seal::Claude(signature) => WireSeal::Claude(signature),
            Seal::ClaudeRedacted(data) => WireSeal::Redacted(data),
            Seal::Gemini(signature) => WireSeal::Gemini(signature),
            Seal::OpenAi { id, encrypted } => WireSeal::OpenAi { id, encrypted },
        }
    }

    fn read(self) -> Seal {
        match self {
            WireSeal::Claude(signature) => Seal::Claude(signature),
            WireSeal::Redacted(data) => Seal::ClaudeRedacted(data),
            WireSeal::Gemini(signature) => Seal::Gemini(signature),
            WireSeal::OpenAi { id, encrypted } => Seal::OpenAi { id, encrypted },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let (id, encrypted) = ("rs_1".to_owned(), "0a0a0a0a.g\u{e4}".to_owned());
        for seal in [
            Seal::Claude("c".into()),
            Seal::ClaudeRedacted(String::new()),
            Seal::Gemini("\"\n".into()),
            Seal::OpenAi { id, encrypted },
        ] {
            for sealed in [
                Sealed::Thought { text: "h\u{fc} \u{1f44b}".into(), seal: Some(seal.clone()) },
                Sealed::Thought { text: String::new(), seal: None },
                Sealed::Call { id: "c".into(), seal },
                Sealed::Summary("all\0".into()),
            ] {
                let packed = pack(&sealed);
                let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
                assert!(packed.bytes().all(is_plain), "{packed}");
                assert_eq!(unpack(&packed), Some(sealed));
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        let packed = pack(&Sealed::Summary("a".into()));
        for other in [
            "",
            "proxy1.",
            "gAAAAABo",
            "0a0a0a0a.gAAAA",
            "proxy1.e30",
            "proxy1.\u{e4}",
            "proxy2.e30",
        ] {
            assert_eq!(unpack(other), None, "{other}");
        }
        assert_eq!(unpack(&packed.to_uppercase()), None);
        for end in 0..packed.len() {
            assert_eq!(unpack(&packed[..end]), None, "{end}");
        }
    }
}
