//! Command line → configuration → command, and the exit codes: 0 done, 1 failed while running, 2 bad command line or
//! configuration. Nothing else.

use std::fmt::{Display, Write};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sap_ai_core_llm_proxy::certificate::{self, Files, Reloading};
use sap_ai_core_llm_proxy::cli::{self, Command};
use sap_ai_core_llm_proxy::config::{self, Config, Environment, Loaded, LogFormat, Problems};
use sap_ai_core_llm_proxy::demo::{self, Demo};
use sap_ai_core_llm_proxy::live::{self, Bell, Live, Pace};
use sap_ai_core_llm_proxy::relay::Relay;
use sap_ai_core_llm_proxy::server::Server;
use sap_ai_core_llm_proxy::{ask, log};

/// The longest that the start waits for what is deployed.
const DISCOVERY_MAX: Duration = Duration::from_secs(10);

type Reader = Box<dyn Fn() -> Result<Loaded, Problems> + Send>;

/// Why it ended badly.
enum Failure {
    /// Exit code 1.
    Running(String),
    /// Exit code 2.
    Input(String),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(end(failure)),
    }
}

/// Says why it ended badly; the exit code.
fn end(failure: Failure) -> u8 {
    let (text, code) = match failure {
        Failure::Running(text) => (text, 1),
        Failure::Input(text) => (text, 2),
    };
    eprintln!("sap-ai-core-llm-proxy: {text}");
    code
}

fn run() -> Result<(), Failure> {
    match cli::parse(std::env::args_os().skip(1).collect()).map_err(input)? {
        Command::Serve(options) => serve(&options),
        Command::Ask(options) => ask(options),
        Command::HashKey(key) => hash_key(key),
        Command::Help => print(cli::HELP),
        Command::Version => {
            print(concat!("sap-ai-core-llm-proxy ", env!("CARGO_PKG_VERSION"), "\n"))
        }
    }
}

fn serve(options: &cli::Serve) -> Result<(), Failure> {
    let simulated = match options.demo {
        true => Some(Demo::start(demo::Options::default()).map_err(running)?),
        false => None,
    };
    let read = reader(options, simulated.as_ref());
    let Loaded { config, warnings, notes } = read().map_err(input)?;
    let level = options.log_level.or(config.log.level).unwrap_or(::log::LevelFilter::Info);
    log::start(level, options.log_format.or(config.log.format).unwrap_or(LogFormat::Text));
    if simulated.is_none() {
        warnings.iter().for_each(|w| ::log::warn!("{w}"));
        notes.iter().for_each(|note| ::log::info!("{note}"));
    }

    let host = options.host.as_deref().or(config.host.as_deref());
    let port = options.port.or(config.port);
    let (host, port) = config::address(host, port, options.https);
    if let Some(problem) = config::client_keys_problem(&config, options.no_auth, &host) {
        return Err(input(problem));
    }
    let relay = Relay::new(&config).map_err(|faults| input(faults.join("\n")))?;
    let files = match options.https {
        true => Some(certificates(options, &config, &host)?),
        false => None,
    };
    let ca = files.as_ref().and_then(|f| f.ca.clone());
    let tls = files.map(Reloading::new).transpose().map_err(input)?;
    let live = Live::new(relay);
    let again = again(read, options, host.clone());
    let looked = live.keep(config.clone(), Pace::default(), again).map_err(running)?;
    if config.subaccounts.iter().any(|subaccount| subaccount.discovers) {
        // Without what is discovered there would be models missing. It goes on in the background.
        let _ = looked.recv_timeout(DISCOVERY_MAX);
    }
    let relay = live.relay();
    let models = models(&relay, &config);
    let bell = relay.bell.clone();
    let server = Server::start(live, &config.limits, &host, port, tls).map_err(running)?;

    let base_url = base_url(&host, server.address().port(), options.https);
    let opening = opening(&base_url, &config, &server);
    let hints = hints(&base_url, simulated.is_some(), ca.as_deref());
    // Nobody may be reading; that is no reason not to serve.
    let _ = print(&format!("{opening}{models}{hints}"));
    until_told_to_stop(server, &bell)
}

/// Reads the configuration, as often as it is called.
fn reader(options: &cli::Serve, simulated: Option<&Demo>) -> Reader {
    let (path, environment) = (options.config.clone(), Environment::of_process());
    match simulated.map(|demo| demo.config_json().to_string()) {
        Some(json) => Box::new(move || config::from_json(&json, Path::new(""))),
        None => Box::new(move || config::load(path.as_deref(), &environment)),
    }
}

/// Reads it while the server runs: what forbids serving at the start forbids it then, too.
fn again(read: Reader, options: &cli::Serve, host: String) -> live::Read {
    let (no_auth, is_demo) = (options.no_auth, options.demo);
    Box::new(move || {
        let Loaded { config, warnings, .. } = read()?;
        warnings.iter().filter(|_| !is_demo).for_each(|w| ::log::warn!("{w}"));
        match config::client_keys_problem(&config, no_auth, &host) {
            Some(problem) => Err(Problems(vec![problem])),
            None => Ok(config),
        }
    })
}

fn certificates(options: &cli::Serve, config: &Config, host: &str) -> Result<Files, Failure> {
    let cert = options.cert.as_deref().or(config.tls.cert.as_deref());
    let key = options.key.as_deref().or(config.tls.key.as_deref());
    certificate::locate_or_make(cert, key, Path::new(""), host).map_err(input)
}

/// Where clients find the proxy, and what it will not do.
fn opening(base_url: &str, config: &Config, server: &Server) -> String {
    let limits = &config.limits;
    let mut text = format!(
        "Base URL for OpenAI clients: {base_url}\nBase URL for Anthropic clients: {}\nLimits: {} connections, request bodies of {} KiB, silences of \
         AI Core of {} s, {} deployments a request\n",
        base_url.trim_end_matches("/v1"),
        server.connections_max(),
        limits.body_bytes_max / 1024,
        limits.upstream_idle_ms_max / 1000,
        limits.tries,
    );
    if config.client_keys.is_empty() {
        text.push_str("No client keys: everyone on this machine may use it.\n");
    }
    text
}

/// How to trust the CA that was made, and how to try the demo at once.
fn hints(base_url: &str, is_demo: bool, ca: Option<&Path>) -> String {
    let mut text = String::new();
    if let Some(ca) = ca {
        let _ = writeln!(text, "{}", certificate::trust_hints(ca, base_url));
    }
    if is_demo {
        let trust = ca.map(|ca| format!(" --cacert {}", ca.display())).unwrap_or_default();
        let _ = writeln!(
            text,
            "\nA simulated AI Core answers. Try it:\n\n  curl -N{trust} {base_url}/chat/completions \\\n    \
             -H 'Authorization: Bearer sk-demo' -H 'Content-Type: application/json' \\\n    \
             -d '{{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
        );
    }
    text
}

/// The models, and where each goes.
fn models(relay: &Relay, config: &Config) -> String {
    let mut text = String::from("Models:\n");
    for model in relay.models.all() {
        let ids: Vec<String> = model.deployments.iter().map(|d| d.place()).collect();
        let _ = writeln!(text, "  {} → {} {}", model.name, model.family.name, ids.join(", "));
    }
    if relay.models.all().is_empty() {
        text.push_str(
            "  none: nothing runs in the resource group, or AI Core cannot be asked now\n",
        );
    }
    for (name, target) in &config.aliases {
        let _ = writeln!(text, "  {name} → alias of {target}");
    }
    text
}

fn base_url(host: &str, port: u16, https: bool) -> String {
    let host = match host {
        "0.0.0.0" | "::" | "[::]" => "localhost".to_owned(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{}://{host}:{port}/v1", if https { "https" } else { "http" })
}

/// The first SIGINT or SIGTERM ends the server gently, the second at once. SIGHUP has the configuration read again.
fn until_told_to_stop(server: Server, bell: &Arc<Bell>) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]);
    let mut signals = signals.map_err(running)?;
    let mut signals = signals.forever();
    let mut until_end = || {
        for signal in signals.by_ref() {
            match signal {
                SIGHUP => bell.reload(),
                _ => return,
            }
        }
    };
    until_end();
    ::log::info!("Stopping; waiting for requests in flight. Once more to end at once");
    let second = std::thread::Builder::new().spawn(move || {
        if server.stop() > 0 {
            ::log::warn!("Requests in flight were cut off");
        }
        std::process::exit(0);
    });
    second.map_err(running)?;
    until_end();
    // At once: whatever a return would end first, the simulated AI Core for one, would end the requests in flight, and the
    // thread that waits for them would call it a good end.
    std::process::exit(end(Failure::Running("ended at once, as told".into())).into())
}

fn ask(options: cli::Ask) -> Result<(), Failure> {
    let config = match config::load(options.config.as_deref(), &Environment::of_process()) {
        Ok(loaded) => Some(loaded.config),
        Err(_) if options.api_key.is_some() && options.config.is_none() => None,
        Err(problems) => return Err(input(problems)),
    };
    let config = config.as_ref();
    let host = options.host.as_deref().or(config.and_then(|c| c.host.as_deref()));
    let (host, port) =
        config::address(host, options.port.or(config.and_then(|c| c.port)), options.https);
    let ca = PathBuf::from("cert/ca.pem");
    let question = ask::Question {
        base_url: base_url(&host, port, options.https),
        key: options.api_key.or_else(|| config.and_then(|c| c.plain_key.clone())),
        ca: (options.https && ca.exists()).then_some(ca),
        model: options.model,
        is_stream: !options.no_stream,
        text: options.text,
    };
    ask::ask(&question, &mut std::io::stdout().lock()).map_err(running)
}

fn hash_key(key: Option<String>) -> Result<(), Failure> {
    let key = match key {
        Some(key) => key,
        None => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).map_err(running)?;
            text.trim().to_owned()
        }
    };
    print(&format!("{}\n", config::hash_key(&key).map_err(input)?))
}

/// A closed pipe (`… | head`) is no fault worth a panic.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(running)
}

fn running(e: impl Display) -> Failure {
    Failure::Running(e.to_string())
}

fn input(e: impl Display) -> Failure {
    Failure::Input(e.to_string())
}
