//! A subaccount: a service key, the resource groups in which models are deployed, and the AI API that tells of them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::aicore::{AiCore, HeaderText, Method, Request, Settings, Url, Watch};
use crate::config::{self, ServiceKey};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::upstream_error;

/// The longest silence of the AI API.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// What is read of its answer: a list of some ten thousand deployments.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// One subaccount, ready to be asked.
#[derive(Debug)]
pub struct Subaccount {
    pub name: String,
    key: ServiceKey,
    resource_groups: Vec<String>,
    pub credentials: Arc<Credentials>,
    /// At least one. What the configuration names is in the first.
    pub groups: Vec<HeaderText>,
    /// Left open by the dossier (3): few clients send it; the original does, so it is sent where the key has it.
    pub tenant: Option<HeaderText>,
    /// A configuration's id → the model written in it, if one is: once it was looked up, since none ever changes.
    pub configurations: Mutex<HashMap<String, Option<String>>>,
}

/// What the AI API says of something.
#[derive(Debug)]
pub enum Told {
    This(Vec<u8>),
    NotThere,
    /// The service key may not ask: a right that inference does not need.
    Nothing,
}

impl Subaccount {
    /// Fails where the service key cannot be used: each error names what is at fault by its JSON path. `settings` are those
    /// of every call; a token host that wants a certificate is called by its own.
    pub fn new(config: &config::Subaccount, settings: &Settings) -> Result<Subaccount, String> {
        let key_path = config::field(&config.path, "service_key_json");
        let groups = config.resource_groups.iter().map(|group| {
            HeaderText::new(group)
                .map_err(|e| format!("{}: {e}", config::field(&config.path, "resource_group")))
        });
        let credentials = Credentials::new(&config.service_key, &key_path, settings)?;
        let tenant = config.service_key.identity_zone_id.as_deref().map(HeaderText::new);
        Ok(Subaccount {
            name: config.name.clone(),
            key: config.service_key.clone(),
            resource_groups: config.resource_groups.clone(),
            credentials: Arc::new(credentials.of(&config.name)),
            groups: groups.collect::<Result<_, _>>()?,
            tenant: tenant.transpose().map_err(|e| format!("identityzoneid: {e}"))?,
            configurations: Mutex::default(),
        })
    }

    /// Whether the URL is of the AI API's own host: to no other may an access token go that nobody has told us of.
    pub fn is_home(&self, url: &Url) -> bool {
        Url::parse(&self.key.api_url).is_ok_and(|home| url.is_of_host(&home))
    }

    /// Whether this is what it was made of, so that its access token serves on.
    pub fn is_of(&self, config: &config::Subaccount) -> bool {
        self.name == config.name
            && self.key == config.service_key
            && self.resource_groups == config.resource_groups
    }

    /// What tells tenants apart: each has a token host of its own, whatever its keys and groups.
    pub fn tenant_key(&self) -> &str {
        &self.key.token_url
    }

    /// `GET {AI_API_URL}/v2{path}`; a refused access token is renewed once. What the AI API says of the tenant as a whole
    /// needs no group (dossier 4.5).
    pub fn ask(
        &self,
        aicore: &Arc<AiCore>,
        path: &str,
        group: Option<&HeaderText>,
        watch: Option<Rc<dyn Watch>>,
    ) -> Result<Told, Error> {
        let url = Url::parse(&format!("{}{path}", self.key.api_url));
        let url = url.map_err(|what| Error::BadReply { what })?;
        let accept = HeaderText::new("application/json").map_err(|_| Error::Internal)?;
        let mut has_renewed = false;
        loop {
            let access = self.credentials.access_token(aicore)?;
            let mut headers = vec![("authorization", &access.authorization), ("accept", &accept)];
            headers.extend(group.map(|group| ("ai-resource-group", group)));
            let silence_max = Some(SILENCE_MAX);
            let request =
                Request { url: &url, headers: &headers, method: Method::Get, silence_max };
            let mut response = aicore.send(&request, watch.clone())?;
            let body = response.read_all(ANSWER_BYTES_MAX)?;
            match response.status {
                200..300 => return Ok(Told::This(body)),
                401 if !has_renewed && self.credentials.discard(&access) => has_renewed = true,
                400 | 404 => return Ok(Told::NotThere),
                401 | 403 => return Ok(Told::Nothing),
                _ => return Err(upstream_error::from_response(response.status, &body, None)),
            }
        }
    }
}
