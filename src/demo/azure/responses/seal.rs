//! Encrypted contents: they open only at the deployment that made them, for the item they were made
//! for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::super::{Answer, Deployment};
use super::super::check::refusal;

pub(super) fn sealed(deployment: &Deployment, item_id: &str, text: &str) -> String {
    let inside = format!("{}\n{item_id}\n{text}", deployment.id);
    let bytes = [&seal(&inside)[..], inside.as_bytes()].concat();
    format!("{FIRST}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The id of the item it was made for. Refuses what is not of this deployment or, should that be
/// known, not of this item.
pub(super) fn verify(
    deployment: &Deployment,
    item_id: Option<&str>,
    given: &str,
) -> Result<String, Answer> {
    let reason = match opened(given) {
        None => "could not be decrypted or parsed",
        Some((of, _)) if of != deployment.id => {
            "organization_id did not match the target organization"
        }
        Some((_, item)) if item_id.is_some_and(|id| id != item.as_str()) => {
            "item_id did not match the target item id"
        }
        Some((_, item)) => return Ok(item),
    };
    let first = given.chars().take(4).collect::<String>();
    let why = format!(
        "The encrypted content {first}... could not be verified. Reason: Encrypted content \
         {reason}."
    );
    Err(refusal(&why, Value::Null, json!("invalid_encrypted_content")))
}

/// Of which deployment and which item.
fn opened(given: &str) -> Option<(String, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(given.strip_prefix(FIRST)?).ok()?;
    let (sealed, inside) = bytes.split_at_checked(SEAL_BYTES)?;
    let inside = std::str::from_utf8(inside).ok().filter(|inside| seal(inside) == sealed)?;
    let mut lines = inside.splitn(3, '\n');
    Some((lines.next()?.to_owned(), lines.next()?.to_owned()))
}

fn seal(inside: &str) -> Vec<u8> {
    crate::auth::digest(format!("sealed\n{inside}"))[..SEAL_BYTES].to_vec()
}

const FIRST: &str = "gAAAAAB";
const SEAL_BYTES: usize = 12;
