//! The way of a request, from its first byte to its last.
//!
//! [`Relay::handle`] is the list: route, authenticate, read the body, find the model, adapt the body, try its deployments
//! one after the other, and pass the reply on. Knows neither the sockets towards clients nor the HTTP library towards AI
//! Core: a client is a [`Client`], AI Core an [`AiCore`].

mod exchange;
mod responses;
mod tries;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Deserialize;

use exchange::Exchange;

use crate::affinity::{Affinity, Key};
use crate::aicore::{
    AiCore, FetchSettings, Fetcher, HeaderText, Method, Request, Response, Settings, URLS_MAX, Url,
};
use crate::auth::Auth;
use crate::catalogue::Catalogue;
use crate::chat::Source;
use crate::config::{self, Config, Limits, Stamp};
use crate::convert::{Conversion, ForClient};
use crate::deployed::{self, Deployed};
use crate::dialect::openai_chat::{self, ChatCompletions, PassStream, Quirks};
use crate::dialect::openai_responses::marks::{self, Owner};
use crate::dialect::{
    Asked, ClientDialect, Target, anthropic, embeddings, openai_responses, rerank,
};
use crate::discovery::Findings;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::families::{Grammar, Passes, Service, claude};
use crate::healing::{CURES_MAX, Cure, Remembered};
use crate::live::Bell;
use crate::models::{self, Deployment, Known, Model, Models};
use crate::routes::{Action, Route, route};
use crate::stored::Stored;
use crate::subaccount::{Subaccount, Told};
use crate::vault::{Bounds, Vault};
use crate::{healing, local, media, upstream_error};

/// What is read of an error answer.
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// One request of a client, and the way back to it. All methods take `&self`: while a reply is awaited, keep-alives are
/// written from within the wait.
pub trait Client {
    fn method(&self) -> &str;
    /// Path and query.
    fn target(&self) -> &str;
    /// A header by its lower-case name.
    fn header(&self, name: &str) -> Option<&str>;
    fn address(&self) -> IpAddr;
    /// Reads the body; called at most once.
    fn body(&self, bytes_max: usize) -> Result<Vec<u8>, Error>;
    /// The client's socket, to see when it hangs up.
    fn socket(&self) -> Option<BorrowedFd<'_>>;
    /// A whole answer.
    fn answer(&self, head: &Head, body: &[u8]) -> Result<(), Error>;
    /// The head of an answer in parts; goes out with the first of them.
    fn begin(&self, head: &Head);
    /// A part, sent at once.
    fn part(&self, bytes: &[u8]) -> Result<(), Error>;
    /// The last part, and a clean end.
    fn end(&self, bytes: &[u8]) -> Result<(), Error>;
    /// An end that the client can tell from a clean one.
    fn abort(&self);
}

/// Headers of an answer, their names in lower case.
pub type Headers = Vec<(&'static str, Cow<'static, str>)>;

/// The head of an answer. Framing and connection headers are the client's own business.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: u16,
    pub headers: Headers,
}

/// Everything that requests share. It never changes: what a new configuration or a discovery changes is another relay,
/// and who began with this one ends with it.
pub struct Relay {
    pub models: Models,
    pub catalogue: Catalogue,
    fetcher: Fetcher,
    vault: Arc<Vault>,
    stored: Arc<Stored>,
    adds_cache_points: bool,
    auth: Arc<Auth>,
    subaccounts: Vec<Arc<Subaccount>>,
    known: Arc<Known>,
    affinity: Arc<Affinity>,
    /// Wakes who knows what is deployed: something is not as it was.
    pub bell: Arc<Bell>,
    /// The longest connect and the longest silence that AI Core is called with.
    timing: (Duration, Duration),
    /// The file of further roots it is trusted by.
    roots: Option<(PathBuf, Option<Stamp>)>,
    aicore: Arc<AiCore>,
    limits: Limits,
    cors_origins: Vec<String>,
    json: HeaderText,
    event_stream: HeaderText,
}

impl Relay {
    /// Fails with one line a fault of the configuration.
    pub fn new(config: &Config) -> Result<Relay, Vec<String>> {
        Relay::made(config, &HashMap::new(), None)
    }

    /// The one that takes this one's place, with what is known by the names of subaccounts. What was learnt lives on.
    pub fn next(
        &self,
        config: &Config,
        findings: &HashMap<String, Findings>,
    ) -> Result<Relay, Vec<String>> {
        Relay::made(config, findings, Some(self))
    }

    fn made(
        config: &Config,
        findings: &HashMap<String, Findings>,
        before: Option<&Relay>,
    ) -> Result<Relay, Vec<String>> {
        let settings = Settings {
            connect_max: Duration::from_millis(config.limits.upstream_connect_ms_max),
            idle_max: Duration::from_millis(config.limits.upstream_idle_ms_max),
            extra_roots: config.upstream_ca.clone(),
            identity: None,
        };
        let fetching = FetchSettings {
            enabled: config.limits.fetch_images,
            allowed: config.limits.fetch_images_from.clone(),
            bytes_max: config.limits.image_bytes_max,
            time_max: Duration::from_millis(config.limits.image_ms_max),
            extra_roots: config.upstream_ca.clone(),
        };
        let one = |e: String| vec![e];
        let of_ca = |e: String| one(format!("upstream_ca: {e}"));
        // Its connections live on as well, and access tokens, unless the file of roots has changed.
        let roots =
            settings.extra_roots.as_deref().map(|file| (file.to_owned(), config::stamp(file)));
        let timing = (settings.connect_max, settings.idle_max);
        let same = before.filter(|before| before.timing == timing && before.roots == roots);
        let aicore = match same {
            Some(before) => before.aicore.clone(),
            None => Arc::new(AiCore::new(&settings).map_err(of_ca)?),
        };
        let subaccount = |config: &config::Subaccount| {
            let before = same.into_iter().flat_map(|before| &before.subaccounts);
            match before.into_iter().find(|before| before.is_of(config)) {
                Some(before) => Ok(before.clone()),
                None => Subaccount::new(config, &settings).map(Arc::new),
            }
        };
        let subaccounts = config.subaccounts.iter().map(subaccount);
        let subaccounts = subaccounts.collect::<Result<Vec<_>, _>>().map_err(one)?;
        let known = before.map(|before| before.known.clone()).unwrap_or_default();
        let nothing = Findings::default();
        let sources = config.subaccounts.iter().zip(&subaccounts).map(|(config, subaccount)| {
            let findings = findings.get(&config.name).unwrap_or(&nothing);
            models::Source { config, subaccount, findings }
        });
        let sources: Vec<_> = sources.collect();
        let catalogues = sources.iter().filter_map(|source| source.findings.catalogue.as_ref());
        Ok(Relay {
            models: Models::new(config, &sources, &known)?,
            catalogue: Catalogue::union(catalogues),
            auth: match before.filter(|before| before.auth.is_of(&config.client_keys)) {
                // Who guesses is not forgotten.
                Some(before) => before.auth.clone(),
                None => Arc::new(Auth::new(config.client_keys.clone())),
            },
            subaccounts,
            known,
            affinity: before.map(|before| before.affinity.clone()).unwrap_or_default(),
            bell: before.map(|before| before.bell.clone()).unwrap_or_default(),
            timing,
            roots,
            aicore,
            fetcher: Fetcher::new(&fetching).map_err(of_ca)?,
            vault: match before {
                Some(before) => before.vault.clone(),
                None => Arc::new(Vault::new(vault_bounds(&config.limits))),
            },
            stored: match before {
                Some(before) => before.stored.clone(),
                None => Arc::new(Stored::new(stored_bounds(&config.limits))),
            },
            adds_cache_points: config.adds_cache_points,
            limits: config.limits.clone(),
            cors_origins: cors_origins(config),
            json: HeaderText::new("application/json").map_err(one)?,
            event_stream: HeaderText::new("text/event-stream").map_err(one)?,
        })
    }

    pub fn subaccounts(&self) -> &[Arc<Subaccount>] {
        &self.subaccounts
    }

    pub fn aicore(&self) -> &Arc<AiCore> {
        &self.aicore
    }

    /// Answers one request, and logs it.
    pub fn handle(&self, client: Rc<dyn Client>) {
        let exchange = Rc::new(Exchange::new(client, self));
        let result = route(exchange.client.method(), exchange.client.target())
            .map_err(|error| unless_websocket(error, &*exchange.client))
            .and_then(|route| self.answer(&exchange, route));
        if let Err(error) = result {
            exchange.fail(&error);
        }
        exchange.log();
    }

    fn answer(&self, exchange: &Rc<Exchange>, route: Route) -> Result<(), Error> {
        match route.action {
            Action::Preflight => {
                return exchange.answer_empty(204, self.preflight_headers(exchange));
            }
            Action::Root | Action::Health => return exchange.answer_json(200, local::health()),
            Action::Ready => {
                let (status, body) = local::ready(&self.models, self.can_authenticate());
                return exchange.answer_json(status, body);
            }
            _ => {}
        }
        self.authenticate(exchange)?;
        match route.action {
            Action::Models => {
                let target = exchange.client.target();
                exchange.answer_json(
                    200,
                    local::models(&self.models, &self.catalogue, exchange.dialect, target)?,
                )
            }
            Action::Model => {
                let name = route.name.as_deref().unwrap_or("");
                exchange.answer_json(
                    200,
                    local::model(&self.models, &self.catalogue, name, exchange.dialect)?,
                )
            }
            Action::Telemetry => exchange.answer_json(200, "{}"),
            Action::Response
            | Action::DeleteResponse
            | Action::CancelResponse
            | Action::InputItems => self.kept_response(exchange, &route),
            _ => self.relay(exchange, &route),
        }
    }

    /// Before the body is read. Who guesses is slowed.
    fn authenticate(&self, exchange: &Exchange) -> Result<(), Error> {
        let client = &exchange.client;
        if self.auth.admits(|name| client.header(name)) {
            return Ok(());
        }
        std::thread::sleep(self.auth.failed(client.address(), Instant::now()));
        Err(Error::Unauthorized)
    }

    /// A request that AI Core answers.
    fn relay(&self, exchange: &Rc<Exchange>, route: &Route) -> Result<(), Error> {
        let mut body = Envelope::parse(exchange.read_body(self.limits.body_bytes_max)?)?;
        let name = match &route.name {
            Some(name) => name.clone(),
            None => body.get::<String>("model", "a model's name, a string,")?.ok_or_else(|| {
                Error::bad_request("model", "missing; GET /v1/models lists what there is")
            })?,
        };
        exchange.line.borrow_mut().model = name.chars().take(200).collect();
        let (model, is_long_context) = self.models.find(&name)?;
        let model = match model.known() {
            Some(known) => known,
            None => self.look_up(exchange, model)?,
        };
        let service = served(model, route.action)?;
        if route.action == Action::CountTokens {
            return exchange.answer_json(200, local::count(&body, model)?);
        }
        let can_stream = [Action::ChatCompletions, Action::Responses, Action::Messages];
        let is_stream = can_stream.contains(&route.action)
            && body.get::<bool>("stream", "true or false")?.unwrap_or(false);
        if is_stream {
            exchange.will_stream(self);
        }
        let action = route.action;
        let wanted = Wanted { action, name: &name, model, is_long_context, is_stream };
        let conversation = self.conversation(&wanted, &body);
        let (grammar, api) = spoken(service, &wanted, &body);
        let (bytes, way) = match action {
            Action::Embeddings => embeddings_way(exchange, service, &body)?,
            Action::Rerank => rerank_way(exchange, model, &body)?,
            _ => self.chat_way(exchange, &wanted, grammar.ok_or(Error::Internal)?, &mut body)?,
        };
        let owner = match api {
            Api::Responses => responses::owner(model, &bytes)?,
            Api::Own => None,
        };
        let call = Call { action, api, is_stream, bytes, way, owner, conversation, model: name };
        self.try_deployments(exchange, model, &call).map_err(|e| responses::named(e, &call.bytes))
    }

    /// A chat request: its bytes go on where the model's deployments speak the client's grammar, otherwise it is converted.
    fn chat_way<'a>(
        &self,
        exchange: &Rc<Exchange>,
        wanted: &Wanted<'_>,
        grammar: &Grammar,
        body: &'a mut Envelope,
    ) -> Result<(Cow<'a, [u8]>, Way), Error> {
        let model = wanted.model.deployed_name();
        match (wanted.action, grammar.passes) {
            (Action::ChatCompletions, Passes::OpenAi { edit, quirks })
                if !openai_responses::is_meant(body) =>
            {
                exchange.line.borrow_mut().dropped = edit(body, model)?;
                let wants_usage = wanted.is_stream && ask_for_usage(body, quirks)?;
                Ok((body.to_bytes(), Way::Passes { wants_usage, quirks }))
            }
            (Action::Responses | Action::Compact, Passes::Responses { edit }) => {
                openai_responses::check(body)?;
                self.recall(body)?;
                let (mut dropped, tools) = edit(body, model)?;
                if wanted.action == Action::Compact {
                    dropped.extend(openai_responses::settle_compact(body));
                }
                exchange.line.borrow_mut().dropped = dropped;
                Ok((body.to_bytes(), Way::PassesResponses(tools.into())))
            }
            (Action::Messages, Passes::Anthropic { edit }) if claude::passes(body) => {
                anthropic::Messages.check(body)?;
                let bytes = body.to_bytes().len();
                self.fetch_media(exchange, bytes, |named| claude::pass::each_url(body, named))?;
                let betas = exchange.client.header("anthropic-beta");
                let is_long_context = wanted.is_long_context;
                let asked = claude::pass::Asked { model, betas, is_long_context };
                exchange.line.borrow_mut().dropped = edit(body, &asked)?;
                Ok((body.to_bytes(), Way::PassesMessages))
            }
            _ => {
                let (bytes, conversion) = self.convert(exchange, wanted, grammar, body)?;
                Ok((bytes.into(), Way::Converted(conversion.into())))
            }
        }
    }

    /// A chat request for a model whose deployments speak another grammar: its body, and how its reply is converted.
    fn convert(
        &self,
        exchange: &Rc<Exchange>,
        wanted: &Wanted<'_>,
        grammar: &Grammar,
        body: &Envelope,
    ) -> Result<(Vec<u8>, Conversion), Error> {
        let asked = self.understood(wanted.action, body)?;
        let mut request = asked.request;
        if !grammar.dialect.takes_urls() {
            let bytes = body.to_bytes().len();
            self.fetch_media(exchange, bytes, |named| request.each_url(named))?;
        }
        self.vault.restore(&mut request, Instant::now());
        let head = local::reply_head(wanted.name);
        let keeping = self.keeping(wanted.action, body, &head);
        let model = wanted.model.deployed_name();
        let target = Target { model, is_stream: wanted.is_stream };
        let converted = Conversion::prepare(
            grammar,
            &mut request,
            &target,
            self.adds_cache_points,
            ForClient { writer: asked.writer, head, keeping },
            self.vault.clone(),
        );
        exchange.note_dropped(request.dropped.iter().map(|path| path.to_string()).collect());
        let converted = converted.and_then(|(bytes, conversion)| match grammar.passes {
            Passes::Anthropic { .. } if wanted.is_long_context => {
                let (bytes, lost) = claude::pass::lengthened(bytes, model)?;
                exchange.note_dropped(lost.into_iter().map(Cow::into_owned).collect());
                Ok((bytes, conversion))
            }
            _ => Ok((bytes, conversion)),
        });
        converted.map_err(|error| match error {
            Error::Refused { path, what } => {
                Error::Refused { path: exchange.dialect.field(&path).into_owned(), what }
            }
            Error::BadRequest { path, why } => {
                Error::bad_request(exchange.dialect.field(&path), why)
            }
            error => error,
        })
    }

    /// A client's request in words of our own.
    fn understood(&self, action: Action, body: &Envelope) -> Result<Asked, Error> {
        let read = |client: &dyn ClientDialect| {
            client.check(body)?;
            client.decode(body)
        };
        match action {
            Action::Messages => read(&anthropic::Messages),
            Action::Responses => self.with_memory(body, |responses| read(responses)),
            Action::Compact => self.with_memory(body, |responses| responses.decode_compact(body)),
            _ if openai_responses::is_meant(body) => {
                let asked = self.with_memory(body, |responses| read(responses))?;
                let wants_usage = wants_usage(body)?;
                Ok(Asked { writer: Box::new(openai_chat::Writer { wants_usage }), ..asked })
            }
            _ => read(&ChatCompletions),
        }
    }

    /// Asks the AI API what a deployment of the model serves. Where it does not say, the model is what its name was taken
    /// for.
    #[inline(never)]
    fn look_up<'a>(&self, exchange: &Rc<Exchange>, model: &'a Model) -> Result<&'a Model, Error> {
        let mut failure = None;
        for deployment in &model.deployments {
            match self.ask_what_is_deployed(exchange, deployment) {
                Ok(Some(Deployed::Unknown)) => {}
                Ok(Some(deployed)) => {
                    return model.found(deployed).map_err(|what| Error::BadReply { what });
                }
                Ok(None) => return Ok(model),
                Err(Error::ClientGone) => return Err(Error::ClientGone),
                // Another subaccount may know.
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error),
            None => model.found(Deployed::Unknown).map_err(|what| Error::BadReply { what }),
        }
    }

    /// `None`: the service key may not ask.
    fn ask_what_is_deployed(
        &self,
        exchange: &Rc<Exchange>,
        deployment: &Deployment,
    ) -> Result<Option<Deployed>, Error> {
        let of = |what: &str, id: &str| {
            let (path, group) = (format!("/lm/{what}/{id}"), deployment.group());
            deployment.subaccount.ask(&self.aicore, &path, group, Some(exchange.clone()))
        };
        let deployed = match of("deployments", &deployment.id)? {
            Told::This(body) => deployed::of_deployment(&body),
            Told::NotThere => Deployed::Unknown,
            Told::Nothing => return Ok(None),
        };
        let Deployed::Configuration(id) = &deployed else { return Ok(Some(deployed)) };
        Ok(match of("configurations", id)? {
            Told::This(body) => Some(deployed::of_configuration(&body)),
            Told::NotThere => Some(Deployed::Unknown),
            Told::Nothing => None,
        })
    }

    /// Gets what URLs name, which is to be put into the request itself.
    fn fetch_media(
        &self,
        exchange: &Rc<Exchange>,
        body_bytes: usize,
        each: impl FnOnce(&mut Named<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut room = self.limits.body_bytes_max.saturating_sub(body_bytes) / 4 * 3;
        let began = Instant::now();
        let mut count = 0;
        each(&mut |url, path| {
            count += 1;
            if began.elapsed() > Duration::from_millis(self.limits.image_ms_max) {
                let why = "not fetched in time (`limits.image_ms_max`); send data: URLs";
                return Err(Error::bad_request(path, why));
            }
            if count > URLS_MAX {
                let why = format!("more than {URLS_MAX} URLs in one request; send data: URLs");
                return Err(Error::bad_request(path, why));
            }
            let fetched = self.fetcher.fetch(url, path, room, Some(exchange.clone()))?;
            room = room.saturating_sub(fetched.bytes.len());
            let data = media::base64(&fetched.bytes);
            Ok(Source::Base64 { media_type: fetched.media_type, data })
        })
    }

    /// One deployment: its answer, passed on.
    fn call(
        &self,
        exchange: &Rc<Exchange>,
        deployment: &Deployment,
        call: &Call<'_>,
    ) -> Result<(), Error> {
        let mut response = match self.post(exchange, deployment, call, &call.bytes) {
            Err(refusal) => match call.unstreamed(&refusal) {
                Some(whole) => return self.call_unstreamed(exchange, deployment, call, whole),
                None => return Err(refusal),
            },
            Ok(response) => response,
        };
        if call.is_stream {
            return match &call.way {
                Way::Passes { wants_usage, quirks } => {
                    let mut stream = PassStream::new(&call.model, *wants_usage, *quirks);
                    exchange.pass_stream(response, &mut stream)
                }
                Way::PassesMessages => {
                    let mut stream = anthropic::PassStream::new(&call.model);
                    exchange.pass_stream(response, &mut stream)
                }
                Way::PassesResponses(tools) => {
                    let mark = &deployment.mark;
                    let mut stream = openai_responses::PassStream::new(&call.model, tools, mark);
                    exchange.pass_stream(response, &mut stream)
                }
                Way::Converted(conversion) => {
                    exchange.pass_stream(response, &mut conversion.stream(&deployment.mark))
                }
                Way::Embeds(_) | Way::Ranks(_) => Err(Error::Internal),
            };
        }
        let body = response.read_all(self.limits.reply_bytes_max)?;
        let (body, usage) = match &call.way {
            Way::Passes { quirks, .. } => openai_chat::pass_reply(body, &call.model, *quirks)?,
            Way::PassesMessages => anthropic::pass_reply(body, &call.model)?,
            Way::PassesResponses(tools) => {
                openai_responses::pass_reply(body, &call.model, tools, &deployment.mark)?
            }
            Way::Converted(conversion) => conversion.whole(&body, &deployment.mark)?,
            Way::Ranks(asked) => (asked.reply(body, &call.model)?, None),
            Way::Embeds(_) => return Err(Error::Internal),
        };
        exchange.line.borrow_mut().usage = usage;
        exchange.answer_json(200, body)
    }

    /// A model that gives no stream: its whole reply, as the stream the client wants.
    fn call_unstreamed(
        &self,
        exchange: &Rc<Exchange>,
        deployment: &Deployment,
        call: &Call<'_>,
        bytes: Vec<u8>,
    ) -> Result<(), Error> {
        let Way::Converted(conversion) = &call.way else { return Err(Error::Internal) };
        let mut response = self.post(exchange, deployment, call, &bytes)?;
        let body = response.read_all(self.limits.reply_bytes_max)?;
        let (frames, usage) = conversion.whole_as_stream(&body, &deployment.mark)?;
        exchange.line.borrow_mut().usage = usage;
        exchange.end_stream(&frames)
    }

    /// One deployment, as often as it takes: vectors of one and the same origin.
    #[inline(never)]
    fn embed(
        &self,
        exchange: &Rc<Exchange>,
        model: &Model,
        deployment: &Deployment,
        call: &Call<'_>,
        asked: &embeddings::Asked,
    ) -> Result<(), Error> {
        let mut reply = asked.reply();
        for body in asked.bodies(model.deployed_name()) {
            let response = self.post(exchange, deployment, call, &body);
            let mut response = response.map_err(|error| reply.failed(error))?;
            let room = self.limits.reply_bytes_max.saturating_sub(reply.bytes());
            reply.add(&response.read_all(room)?)?;
        }
        let (body, usage) = reply.finish(&call.model);
        exchange.line.borrow_mut().usage = Some(usage);
        exchange.answer_json(200, body)
    }

    /// Sends the request; an answer with a good status. A refused access token is renewed once. Left open by the dossier:
    /// whether a 403 means the token or missing rights; it is treated as a 401.
    ///
    /// Not inlined: what sending needs of the stack is not held while a stream of minutes is passed on.
    #[inline(never)]
    fn post(
        &self,
        exchange: &Rc<Exchange>,
        deployment: &Deployment,
        call: &Call<'_>,
        bytes: &[u8],
    ) -> Result<Response, Error> {
        let mut is_other = deployment.memory.is_other.load(Ordering::Relaxed);
        let mut url = call.url(deployment, is_other).ok_or(Error::Internal)?;
        let credentials = &deployment.subaccount.credentials;
        let (bytes, foreign) = match call.api {
            Api::Responses => marks::body_for(bytes, &deployment.mark),
            Api::Own => (Cow::Borrowed(bytes), vec![]),
        };
        exchange.note_dropped(foreign.into_iter().map(Cow::into_owned).collect());
        let remembered = call.remembered(deployment);
        let (mut body, removed) = remembered.apply(&bytes);
        exchange.note_dropped(removed);
        let mut cures: Vec<Cure> = vec![];
        let (mut has_renewed, mut has_turned) = (false, false);
        loop {
            let token = credentials.access_token(&self.aicore)?;
            let headers = self.headers(deployment, &token.authorization, call.is_stream);
            let request =
                Request { url, headers: &headers, method: Method::Post(&body), silence_max: None };
            deployment.lane.count(Instant::now());
            exchange.line.borrow_mut().upstream_id = None;
            let mut response = self.aicore.send(&request, Some(exchange.clone()))?;
            let upstream_id = response.header("x-request-id").map(str::to_owned);
            exchange.line.borrow_mut().upstream_id = upstream_id;
            if (200..300).contains(&response.status) {
                exchange.note_dropped(cures.iter().map(Cure::to_string).collect());
                let lasting = cures.into_iter().filter(Cure::is_lasting);
                lasting.for_each(|cure| deployment.remember(remembered, cure));
                deployment.memory.is_other.store(is_other, Ordering::Relaxed);
                return Ok(response);
            }
            let error = error_of(&mut response);
            match response.status {
                401 | 403 if !has_renewed && credentials.discard(&token) => {
                    has_renewed = true;
                }
                404 if !has_turned && call.other(deployment).is_some() => {
                    (is_other, has_turned) = (!is_other, true);
                    url = call.url(deployment, is_other).ok_or(Error::Internal)?;
                }
                _ => match healed(&error, &body, &cures) {
                    Some((cure, better)) => {
                        body = better.into();
                        cures.push(cure);
                    }
                    None => return Err(error),
                },
            }
        }
    }

    /// Of a request to a deployment.
    fn headers<'a>(
        &'a self,
        deployment: &'a Deployment,
        authorization: &'a HeaderText,
        is_stream: bool,
    ) -> Vec<(&'static str, &'a HeaderText)> {
        let mut headers = vec![
            ("authorization", authorization),
            ("content-type", &self.json),
            ("accept", if is_stream { &self.event_stream } else { &self.json }),
        ];
        headers.extend(deployment.group().map(|group| ("ai-resource-group", group)));
        headers
            .extend(deployment.subaccount.tenant.as_ref().map(|tenant| ("ai-tenant-id", tenant)));
        headers
    }

    /// In one subaccount at least.
    fn can_authenticate(&self) -> Result<(), Error> {
        let mut failure = Error::Internal;
        for subaccount in &self.subaccounts {
            match subaccount.credentials.access_token(&self.aicore) {
                Ok(_) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn preflight_headers(&self, exchange: &Exchange) -> Headers {
        let wanted = exchange.client.header("access-control-request-headers");
        vec![
            ("access-control-allow-methods", "GET, POST, DELETE, OPTIONS".into()),
            (
                "access-control-allow-headers",
                wanted.unwrap_or("authorization, content-type").to_owned().into(),
            ),
            ("access-control-max-age", "86400".into()),
        ]
    }

    fn allows_all_origins(&self) -> bool {
        self.cors_origins.iter().any(|o| o == "*")
    }

    /// The value of Access-Control-Allow-Origin for this client, if any.
    fn allowed_origin(&self, origin: Option<&str>) -> Option<Cow<'static, str>> {
        if self.allows_all_origins() {
            return Some("*".into());
        }
        let origin = origin?;
        self.cors_origins
            .iter()
            .find(|o| o.trim_end_matches('/') == origin)
            .map(|_| origin.to_owned().into())
    }
}

/// What is asked for, and of which model.
struct Wanted<'a> {
    action: Action,
    /// The name the client used.
    name: &'a str,
    model: &'a Model,
    is_long_context: bool,
    is_stream: bool,
}

/// A call that any deployment of its model can answer.
struct Call<'a> {
    /// The name the client used.
    model: String,
    bytes: Cow<'a, [u8]>,
    action: Action,
    api: Api,
    is_stream: bool,
    way: Way,
    /// Whose ids it holds.
    owner: Option<Owner>,
    conversation: Option<Key>,
}

/// Which of a deployment's APIs is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    /// The one of its family.
    Own,
    /// OpenAI's Responses.
    Responses,
}

/// How the reply reaches the client.
enum Way {
    /// Its bytes go on.
    Passes {
        wants_usage: bool,
        quirks: Quirks,
    },
    /// As Anthropic's Messages have it.
    PassesMessages,
    /// As OpenAI's Responses have it.
    PassesResponses(Box<openai_responses::Tools>),
    Converted(Box<Conversion>),
    Embeds(Box<embeddings::Asked>),
    Ranks(Box<rerank::Asked>),
}

impl Call<'_> {
    /// The body that asks for a whole reply, where this refusal of a stream is answered so.
    fn unstreamed(&self, refusal: &Error) -> Option<Vec<u8>> {
        match &self.way {
            Way::Converted(conversion) if self.is_stream => {
                conversion.unstreamed(&self.bytes, refusal)
            }
            _ => None,
        }
    }

    fn url<'a>(&self, deployment: &'a Deployment, is_other: bool) -> Option<&'a Url> {
        let usual = match self.action {
            Action::Embeddings => deployment.embeddings.as_ref(),
            Action::Rerank => deployment.rerank.as_ref(),
            Action::Compact if self.api == Api::Responses => deployment.compact.as_ref(),
            _ if self.api == Api::Responses => deployment.responses.as_ref(),
            _ if self.is_stream => deployment.stream.as_ref(),
            _ => deployment.chat.as_ref(),
        };
        self.other(deployment).filter(|_| is_other).or(usual)
    }

    fn other<'a>(&self, deployment: &'a Deployment) -> Option<&'a Url> {
        match self.action {
            Action::Embeddings => deployment.other_embeddings.as_ref(),
            Action::Rerank => None,
            _ if self.api == Api::Responses => None,
            _ => deployment.other.as_ref(),
        }
    }

    /// What helped its API before.
    fn remembered<'a>(&self, deployment: &'a Deployment) -> &'a Remembered {
        match self.api {
            Api::Own => &deployment.memory.remembered,
            Api::Responses => &deployment.memory.remembered_of_responses,
        }
    }
}

fn vault_bounds(limits: &Limits) -> Bounds {
    Bounds {
        entries_max: limits.vault_entries_max,
        bytes_max: limits.vault_bytes_max,
        age_max: Duration::from_millis(limits.vault_age_ms_max),
    }
}

fn stored_bounds(limits: &Limits) -> Bounds {
    Bounds {
        entries_max: limits.responses_entries_max,
        bytes_max: limits.responses_bytes_max,
        age_max: Duration::from_millis(limits.responses_age_ms_max),
    }
}

/// Where no key is asked for, any web page that a user visits could call the proxy, and read its answers: so only origins
/// that are named may.
fn cors_origins(config: &Config) -> Vec<String> {
    let is_open = config.client_keys.is_empty();
    config.cors_origins.iter().filter(|origin| !(is_open && *origin == "*")).cloned().collect()
}

/// Codex asks for a WebSocket at the path of the Responses API before it makes do with HTTP.
fn unless_websocket(error: Error, client: &dyn Client) -> Error {
    let upgrade = client.header("upgrade").unwrap_or("");
    match error {
        Error::WrongMethod { .. } if upgrade.eq_ignore_ascii_case("websocket") => {
            Error::NoWebSocket
        }
        error => error,
    }
}

/// Which API of the model's deployments answers, and what it speaks.
fn spoken<'a>(
    service: &'a Service,
    wanted: &Wanted<'_>,
    body: &Envelope,
) -> (Option<&'a Grammar>, Api) {
    let model = wanted.model.deployed_name();
    let is_of = |actions: &[Action]| actions.contains(&wanted.action);
    let responses = service.responses.as_ref().filter(|responses| {
        is_of(&[Action::Responses, Action::Compact]) && (responses.is_there)(model)
            || is_of(&[Action::ChatCompletions, Action::Messages])
                && (responses.is_needed)(model, body)
    });
    match responses {
        Some(responses) => (Some(&responses.grammar), Api::Responses),
        None => (service.grammar.as_ref(), Api::Own),
    }
}

/// How a model is served, if it is one for this action.
fn served(model: &Model, action: Action) -> Result<&'static Service, Error> {
    let can = |service: &&Service| match action {
        Action::Embeddings => service.embeddings.is_some(),
        Action::Rerank => service.rerank_path.is_some(),
        _ => service.grammar.is_some(),
    };
    let (name, family) = (&model.name, model.family.name);
    let cannot = match action {
        Action::Embeddings => "makes no embeddings",
        Action::Rerank => "ranks no documents",
        _ => "answers no chat requests",
    };
    model.family.service.as_ref().filter(can).ok_or_else(|| {
        Error::bad_request("model", format!("`{name}` is of the {family} family, which {cannot}"))
    })
}

/// Gives what a URL names, which stands at a JSON path of the client's request.
type Named<'a> = dyn FnMut(&str, &str) -> Result<Source, Error> + 'a;

/// A request for embeddings: its body, or what takes several.
fn embeddings_way<'a>(
    exchange: &Exchange,
    service: &Service,
    body: &'a Envelope,
) -> Result<(Cow<'a, [u8]>, Way), Error> {
    let Some(shape) = service.embeddings.as_ref().and_then(|e| e.shape) else {
        return Ok((body.to_bytes(), Way::Passes { wants_usage: false, quirks: Quirks::None }));
    };
    let asked = embeddings::Asked::decode(body, shape)?;
    exchange.line.borrow_mut().dropped.clone_from(&asked.dropped);
    Ok((Cow::Borrowed(b""), Way::Embeds(asked.into())))
}

/// Documents to rank: a body for the model.
fn rerank_way<'a>(
    exchange: &Exchange,
    model: &Model,
    body: &Envelope,
) -> Result<(Cow<'a, [u8]>, Way), Error> {
    let asked = rerank::Asked::decode(body)?;
    exchange.line.borrow_mut().dropped.clone_from(&asked.dropped);
    let bytes = asked.encode(model.deployed_name());
    Ok((bytes.into(), Way::Ranks(asked.into())))
}

/// Whether a client of chat completions asks for the usage of its stream.
fn wants_usage(body: &Envelope) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct StreamOptions {
        include_usage: Option<bool>,
    }
    let options = body.get::<StreamOptions>("stream_options", "an object with `include_usage`")?;
    Ok(options.and_then(|o| o.include_usage).unwrap_or(false))
}

/// Asks AI Core for the usage of a stream, for the log. Whether the client had asked for it.
fn ask_for_usage(body: &mut Envelope, quirks: Quirks) -> Result<bool, Error> {
    let raw = body.raw("stream_options").filter(|raw| *raw != b"null").map(<[u8]>::to_vec);
    let Some(raw) = raw else {
        if quirks.has_usage_option() {
            body.set("stream_options", r#"{"include_usage":true}"#);
        } else {
            body.remove("stream_options");
        }
        return Ok(false);
    };
    let wants_usage = wants_usage(body)?;
    if !quirks.has_usage_option() {
        body.remove("stream_options");
        return Ok(wants_usage);
    }
    if !wants_usage {
        let mut options = Envelope::parse(raw)?;
        options.set("include_usage", "true");
        body.set("stream_options", String::from_utf8_lossy(&options.to_bytes()));
    }
    Ok(wants_usage)
}

/// What an error asks for, where it can be had and has not been tried.
fn healed(error: &Error, body: &[u8], cures: &[Cure]) -> Option<(Cure, Vec<u8>)> {
    let cure = healing::cure(error, body)?;
    let is_new = cures.len() < CURES_MAX && !cures.contains(&cure);
    let better = is_new.then(|| cure.apply(body)).flatten()?;
    Some((cure, better))
}

fn error_of(response: &mut Response) -> Error {
    let retry_after = response.header("retry-after").map(str::to_owned);
    // Where the body cannot be read, the status says enough.
    let body = response.read_all(ERROR_BYTES_MAX).unwrap_or_default();
    upstream_error::from_response(response.status, &body, retry_after)
}
