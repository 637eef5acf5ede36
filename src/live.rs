//! The relay that serves now, and what replaces it: a configuration that was changed, deployments that came or went.
//!
//! A request is served from its beginning to its end by one relay. Another one takes over what was learnt and what is kept,
//! and serves the requests that come after. So nothing in flight is dropped, and no lock is held while a request is served.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::catalogue::{self, Day};
use crate::config::{self, Config, Limits, Problems, Stamp};
use crate::discovery::{self, Findings};
use crate::families;
use crate::models::matches;
use crate::relay::Relay;
use crate::subaccount::Subaccount;

/// The relay that serves now.
pub struct Live(RwLock<Arc<Relay>>);

/// Wakes the keeper before its time.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<Rung>,
    was_rung: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Rung {
    /// What is deployed is not what it was taken for.
    discover: bool,
    /// The configuration is to be read again.
    reload: bool,
}

/// How often is looked after what.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Whether files have changed.
    pub files: Duration,
    /// What is deployed.
    pub discovery: Duration,
    /// The same, while something could not be asked or somebody rang.
    pub soon: Duration,
}

/// Reads the configuration again, as it was read at the start.
pub type Read = Box<dyn Fn() -> Result<Config, Problems> + Send>;

/// How often models that retire are warned of.
const RETIREMENTS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Replaces the relay when it is time to.
struct Keeper {
    live: Weak<Live>,
    bell: Arc<Bell>,
    read: Read,
    config: Config,
    /// By the names of subaccounts.
    findings: HashMap<String, Findings>,
    /// When models that retire were last warned of.
    warned: Option<Instant>,
    pace: Pace,
    /// As they were when they were last read.
    read_stamps: Vec<Option<Stamp>>,
    /// As they were when they were last looked at.
    seen_stamps: Vec<Option<Stamp>>,
}

impl Live {
    pub fn new(relay: Relay) -> Arc<Live> {
        Arc::new(Live(RwLock::new(Arc::new(relay))))
    }

    /// The relay for a request that comes now.
    pub fn relay(&self) -> Arc<Relay> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps it up to date from now on, in a thread of its own. What is received comes when everything was looked at once.
    pub fn keep(
        self: &Arc<Live>,
        config: Config,
        pace: Pace,
        read: Read,
    ) -> Result<Receiver<()>, String> {
        let stamps = stamps(&config.files);
        let keeper = Keeper {
            live: Arc::downgrade(self),
            bell: self.relay().bell.clone(),
            read,
            config,
            findings: HashMap::new(),
            warned: None,
            pace,
            read_stamps: stamps.clone(),
            seen_stamps: stamps,
        };
        let (first, looked) = channel();
        let thread = thread::Builder::new().name("keeper".into());
        thread.spawn(move || keeper.run(&first)).map_err(|e| format!("no thread: {e}"))?;
        Ok(looked)
    }

    fn replace(&self, relay: Relay) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(relay);
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            files: Duration::from_secs(2),
            discovery: Duration::from_secs(5 * 60),
            soon: Duration::from_secs(30),
        }
    }
}

impl Bell {
    /// Something that was taken for deployed is not there.
    pub fn ring(&self) {
        self.wake(|rung| rung.discover = true);
    }

    /// The configuration is to be read again.
    pub fn reload(&self) {
        self.wake(|rung| rung.reload = true);
    }

    fn wake(&self, why: impl FnOnce(&mut Rung)) {
        why(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.was_rung.notify_all();
    }

    /// Whether it was rung, within this time.
    fn wait(&self, time: Duration) -> Rung {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |rung: &mut Rung| !rung.discover && !rung.reload;
        let waited = self.was_rung.wait_timeout_while(rung, time, quiet);
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl Keeper {
    fn run(mut self, first: &Sender<()>) {
        self.discover();
        self.check_configured();
        // Who started it may not be waiting any more.
        let _ = first.send(());
        let (mut discovered, mut is_asked) = (Instant::now(), false);
        loop {
            let rung = self.bell.wait(self.pace.files);
            if self.live.strong_count() == 0 {
                return;
            }
            if rung.reload || self.files_changed() {
                self.reload();
            }
            is_asked |= rung.discover;
            let is_soon = is_asked || self.is_in_the_dark();
            let every = if is_soon { self.pace.soon } else { self.pace.discovery };
            if discovered.elapsed() >= every {
                self.discover();
                (discovered, is_asked) = (Instant::now(), false);
            }
        }
    }

    /// Asks what is deployed.
    fn discover(&mut self) {
        let Some(live) = self.live.upgrade() else { return };
        let relay = live.relay();
        let before = self.findings.clone();
        ask(&relay, relay.subaccounts(), &self.config, &mut self.findings);
        if self.findings != before {
            match relay.next(&self.config, &self.findings) {
                Ok(next) => self.replace(&live, next),
                Err(faults) => {
                    log::error!("what was discovered cannot be served: {}", faults.join("; "));
                }
            }
        }
        self.warn_of_retirements(&live.relay());
    }

    /// Reads the configuration again; a bad one changes nothing.
    fn reload(&mut self) {
        let Some(live) = self.live.upgrade() else { return };
        self.read_stamps = stamps(&self.config.files);
        let refused = |why: &dyn fmt::Display| {
            let why = why.to_string().replace('\n', "; ");
            log::error!(
                "the configuration was changed and is refused, the old one serves on: {why}"
            );
        };
        let config = match (self.read)() {
            Ok(config) => config,
            Err(problems) => return refused(&problems),
        };
        let relay = live.relay();
        let mut next = match relay.next(&config, &HashMap::new()) {
            Ok(next) => next,
            Err(faults) => return refused(&faults.join("; ")),
        };
        // What was written since it was read is read again.
        if config.files != self.config.files {
            self.read_stamps = stamps(&config.files);
        }
        self.seen_stamps.clone_from(&self.read_stamps);
        for fixed in fixed(&self.config, &config) {
            log::warn!("{fixed} was changed, which takes effect with the next start");
        }
        // What is new is looked at before anybody asks for it.
        let before = relay.subaccounts();
        let is_new = |new: &&Arc<Subaccount>| !before.iter().any(|old| Arc::ptr_eq(old, new));
        let (new, old): (Vec<_>, Vec<_>) = next.subaccounts().iter().partition(is_new);
        let mut findings = self.findings.clone();
        findings.retain(|name, _| old.iter().any(|old| old.name == *name));
        let new: Vec<_> = new.into_iter().cloned().collect();
        ask(&next, &new, &config, &mut findings);
        next = match next.next(&config, &findings) {
            Ok(next) => next,
            Err(faults) => return refused(&faults.join("; ")),
        };
        log::info!("the configuration was read again");
        (self.config, self.findings) = (config, findings);
        self.replace(&live, next);
        self.check_configured();
    }

    fn replace(&self, live: &Live, next: Relay) {
        let before = live.relay();
        let names = |relay: &Relay| -> BTreeSet<String> {
            relay.models.all().iter().map(|model| model.name.clone()).collect()
        };
        let (old, new) = (names(&before), names(&next));
        for (what, names) in [("new", &new - &old), ("gone", &old - &new)] {
            // At the start all are new.
            if !names.is_empty() && !old.is_empty() {
                let names: Vec<_> = names.into_iter().collect();
                log::info!("models that are {what}: {}", names.join(", "));
            }
        }
        live.replace(next);
    }

    /// A subaccount that is to tell what there is has not told it yet.
    fn is_in_the_dark(&self) -> bool {
        self.config.subaccounts.iter().filter(|subaccount| subaccount.discovers).any(|subaccount| {
            self.findings.get(&subaccount.name).is_none_or(|found| found.deployments.is_none())
        })
    }

    /// Whether what the configuration says is deployed is deployed so.
    fn check_configured(&self) {
        let family_of = |name: &str| {
            let configured = self.config.families.iter().find(|(p, _)| matches(p, name));
            let configured = configured.and_then(|(_, family)| families::by_name(family));
            configured.or_else(|| families::told(name))
        };
        for subaccount in &self.config.subaccounts {
            let Some(findings) = self.findings.get(&subaccount.name) else { continue };
            for warning in discovery::mismatches(subaccount, findings, family_of) {
                log::warn!("{warning}");
            }
        }
    }

    /// At the start, and once a day.
    fn warn_of_retirements(&mut self, relay: &Relay) {
        if self.warned.is_some_and(|warned| warned.elapsed() < RETIREMENTS_EVERY) {
            return;
        }
        self.warned = Some(Instant::now());
        let models = relay.models.all().iter().map(|model| model.deployed_name());
        for warning in catalogue::retiring(&relay.catalogue, models, Day::of(SystemTime::now())) {
            log::warn!("{warning}");
        }
    }

    /// Once they have stopped changing: an editor may be at it.
    fn files_changed(&mut self) -> bool {
        let now = stamps(&self.config.files);
        let is_still = now == self.seen_stamps;
        self.seen_stamps = now;
        is_still && self.seen_stamps != self.read_stamps
    }
}

/// All of them at the same time. What one does not tell is what it told before.
fn ask(
    relay: &Relay,
    whom: &[Arc<Subaccount>],
    config: &Config,
    findings: &mut HashMap<String, Findings>,
) {
    let aicore = relay.aicore();
    let found: Vec<_> = thread::scope(|scope| {
        let asked = whom.iter().map(|subaccount| {
            scope.spawn(|| (subaccount.name.clone(), discovery::discover(aicore, subaccount)))
        });
        let asked: Vec<_> = asked.collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    for (name, found) in found {
        let discovers = config.subaccounts.iter().any(|s| s.name == name && s.discovers);
        let known = findings.entry(name).or_default();
        for problem in found.problems.iter().filter(|problem| !known.problems.contains(problem)) {
            // Where the configuration says what there is, the service key need not be able to tell it.
            let level = if discovers { log::Level::Warn } else { log::Level::Debug };
            log::log!(level, "{problem}");
        }
        known.deployments = found.deployments.or(known.deployments.take());
        known.catalogue = found.catalogue.or(known.catalogue.take());
        known.quota = found.quota.or(known.quota.take());
        known.all = found.all.or(known.all.take());
        known.problems = found.problems;
    }
}

/// What is different and cannot be changed while it runs.
fn fixed(old: &Config, new: &Config) -> Vec<&'static str> {
    let (a, b) = (&old.limits, &new.limits);
    let of_server = |l: &Limits| {
        let times = [l.client_idle_ms_max, l.client_stall_ms_max, l.client_write_ms_max];
        (l.connections_max, times, l.stop_ms_max)
    };
    let of_vault = |l: &Limits| (l.vault_entries_max, l.vault_bytes_max, l.vault_age_ms_max);
    let of_responses =
        |l: &Limits| (l.responses_entries_max, l.responses_bytes_max, l.responses_age_ms_max);
    let table = [
        ("host", old.host != new.host),
        ("port", old.port != new.port),
        ("tls", (&old.tls.cert, &old.tls.key) != (&new.tls.cert, &new.tls.key)),
        ("log", old.log.level != new.log.level || old.log.format != new.log.format),
        ("limits of connections and clients", of_server(a) != of_server(b)),
        ("limits.vault_…", of_vault(a) != of_vault(b)),
        ("limits.responses_…", of_responses(a) != of_responses(b)),
    ];
    table.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| config::stamp(file)).collect()
}
