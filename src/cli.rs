//! The command line → [`Command`]: pure data, nothing is read or run here.
//!
//! pico-args takes the options out; before it, every word that begins with `-` is held against the command's table, so that a
//! mistyped one is named with the nearest there is.

use crate::config::{self, LogFormat, nearest};
use log::LevelFilter;
use pico_args::Arguments;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

pub const HELP: &str = "\
sap-ai-core-llm-proxy: gives OpenAI and Anthropic clients the models on SAP AI Core

Usage:
  sap-ai-core-llm-proxy [serve] [OPTIONS]      run the proxy
  sap-ai-core-llm-proxy ask [OPTIONS] TEXT…    send TEXT to the running proxy, print the answer
  sap-ai-core-llm-proxy hash-key [KEY]         print a client key as sha256:<hex>, for config.json;
                                               without KEY it is read from standard input

Options of serve:
  --config PATH         configuration file (default: config.json)
  --host HOST           address to listen on (default: 127.0.0.1)
  --port PORT           port to listen on (default: 5000, with --https 8443; 0: any free one)
  --https               serve HTTPS; without a certificate under cert/ one is made
  --cert PATH           certificate chain, PEM (with --https)
  --key PATH            its private key, PEM (with --https)
  --demo                serve a simulated AI Core: needs no account and no configuration
  --no-auth             let everyone in without a key; only on a loopback host
  --log-level LEVEL     off, error, warn, info, debug or trace (default: info)
  --debug               short for --log-level debug
  --log-format FORMAT   text or json (default: text)

Options of ask:
  --model MODEL         model to ask (default: the first one of the proxy)
  --no-stream           wait for the whole answer
  --api-key KEY         client key, where the configuration has only sha256: forms
  --config, --host, --port, --https    as for serve: where the proxy runs

  -h, --help            print this
  -V, --version         print the version

Exit codes: 0 done, 1 failed while running, 2 bad command line or configuration.
";

#[derive(Debug, PartialEq)]
pub enum Command {
    Serve(Serve),
    Ask(Ask),
    /// The key, or `None`: on standard input.
    HashKey(Option<String>),
    Help,
    Version,
}

#[derive(Debug, Default, PartialEq)]
pub struct Serve {
    /// `None`: what there is: `config.json`, or the environment.
    pub config: Option<PathBuf>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub https: bool,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub demo: bool,
    pub no_auth: bool,
    pub log_level: Option<LevelFilter>,
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Ask {
    pub config: Option<PathBuf>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub https: bool,
    pub model: Option<String>,
    pub no_stream: bool,
    pub api_key: Option<String>,
    pub text: String,
}

/// What is wrong with the command line, for the person who wrote it.
#[derive(Debug, PartialEq)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.0.ends_with('?') { "" } else { "." };
        write!(f, "{}{end} --help shows what there is", self.0)
    }
}

impl std::error::Error for Usage {}

impl From<pico_args::Error> for Usage {
    fn from(error: pico_args::Error) -> Usage {
        Usage(match error {
            pico_args::Error::OptionWithoutAValue(flag) => format!("{flag} needs a value"),
            other => other.to_string(),
        })
    }
}

/// `args` are those after the program's name.
pub fn parse(args: Vec<OsString>) -> Result<Command, Usage> {
    let mut words = args;
    let literal = match words.iter().position(|word| word == "--") {
        Some(at) => words.split_off(at).split_off(1),
        None => Vec::new(),
    };
    let mut args = Arguments::from_vec(words);
    let name = args.subcommand()?;
    match name.as_deref() {
        None | Some("serve") => serve(args, literal),
        Some("ask") => ask(args, literal),
        Some("hash-key") => hash_key(args, literal),
        Some("help") => Ok(Command::Help),
        Some(other) => Err(Usage(unknown("command", other, &COMMANDS))),
    }
}

const COMMANDS: [&str; 4] = ["serve", "ask", "hash-key", "help"];

/// A flag, and whether a value follows it.
type Flag = (&'static str, bool);

const COMMON: [Flag; 4] = [("--help", false), ("-h", false), ("--version", false), ("-V", false)];

const SERVE: [Flag; 11] = [
    ("--config", true),
    ("--host", true),
    ("--port", true),
    ("--https", false),
    ("--cert", true),
    ("--key", true),
    ("--demo", false),
    ("--no-auth", false),
    ("--log-level", true),
    ("--debug", false),
    ("--log-format", true),
];

const ASK: [Flag; 7] = [
    ("--config", true),
    ("--host", true),
    ("--port", true),
    ("--https", false),
    ("--model", true),
    ("--no-stream", false),
    ("--api-key", true),
];

fn serve(mut args: Arguments, literal: Vec<OsString>) -> Result<Command, Usage> {
    if let Some(command) = checked(&mut args, &SERVE)? {
        return Ok(command);
    }
    let debug = args.contains("--debug");
    let log_level = value(&mut args, "--log-level", config::log_level)?;
    if debug && log_level.is_some() {
        return Err(Usage("--debug and --log-level exclude each other".to_string()));
    }
    let serve = Serve {
        config: value(&mut args, "--config", path)?,
        host: value(&mut args, "--host", config::host)?,
        port: value(&mut args, "--port", port)?,
        https: args.contains("--https"),
        cert: value(&mut args, "--cert", path)?,
        key: value(&mut args, "--key", path)?,
        demo: args.contains("--demo"),
        no_auth: args.contains("--no-auth"),
        log_level: if debug { Some(LevelFilter::Debug) } else { log_level },
        log_format: value(&mut args, "--log-format", config::log_format)?,
    };
    nothing_left(args, literal)?;
    if !serve.https && (serve.cert.is_some() || serve.key.is_some()) {
        return Err(Usage("--cert and --key are for --https: add it".to_string()));
    }
    Ok(Command::Serve(serve))
}

fn ask(mut args: Arguments, literal: Vec<OsString>) -> Result<Command, Usage> {
    if let Some(command) = checked(&mut args, &ASK)? {
        return Ok(command);
    }
    let ask = Ask {
        config: value(&mut args, "--config", path)?,
        host: value(&mut args, "--host", config::host)?,
        port: value(&mut args, "--port", port)?,
        https: args.contains("--https"),
        model: value(&mut args, "--model", text)?,
        no_stream: args.contains("--no-stream"),
        api_key: value(&mut args, "--api-key", text)?,
        text: words(args, literal)?.join(" "),
    };
    if ask.text.trim().is_empty() {
        return Err(Usage("ask needs a TEXT, as in: ask 'What is SAP AI Core?'".to_string()));
    }
    Ok(Command::Ask(ask))
}

fn hash_key(mut args: Arguments, literal: Vec<OsString>) -> Result<Command, Usage> {
    if let Some(command) = checked(&mut args, &[])? {
        return Ok(command);
    }
    let mut words = words(args, literal)?;
    if words.len() > 1 {
        return Err(Usage("hash-key takes one KEY".to_string()));
    }
    Ok(Command::HashKey(words.pop()))
}

/// Refuses flags that the command does not have. Gives the command where help or version is asked for instead.
fn checked(args: &mut Arguments, flags: &[Flag]) -> Result<Option<Command>, Usage> {
    let flags = [flags, &COMMON].concat();
    let mut given: Vec<&str> = Vec::new();
    let words = args.clone().finish();
    let mut words = words.iter().map(|word| word.to_str().unwrap_or_default());
    while let Some(word) = words.next() {
        if !is_flag(word) {
            continue;
        }
        let (name, equals) = word.split_once('=').map_or((word, false), |(name, _)| (name, true));
        let Some((_, takes_value)) = flags.iter().find(|(flag, _)| *flag == name) else {
            let known: Vec<&str> = flags.iter().map(|(flag, _)| *flag).collect();
            return Err(Usage(unknown("option", name, &known)));
        };
        if given.contains(&name) {
            return Err(Usage(format!("{name} is given twice")));
        }
        given.push(name);
        match (takes_value, equals) {
            (true, false) if words.next().is_none_or(is_flag) => {
                return Err(Usage(format!(
                    "{name} needs a value (one that begins with - as {name}=…)"
                )));
            }
            (false, true) => return Err(Usage(format!("{name} takes no value"))),
            _ => {}
        }
    }
    if args.contains(["-h", "--help"]) {
        return Ok(Some(Command::Help));
    }
    Ok(args.contains(["-V", "--version"]).then_some(Command::Version))
}

/// A word with white space in it is text for `ask`, whatever it begins with.
fn is_flag(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && !word.split('=').next().unwrap_or("").contains(' ')
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} {word}: did you mean {near}?"),
        None => format!("unknown {what} {word}"),
    }
}

fn value<T>(
    args: &mut Arguments,
    flag: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Usage> {
    args.opt_value_from_fn(flag, parse).map_err(|error| match error {
        pico_args::Error::Utf8ArgumentParsingFailed { value, cause } => {
            Usage(format!("{flag} {value}: {cause}"))
        }
        pico_args::Error::NonUtf8Argument => Usage(format!("{flag}: the value is not UTF-8")),
        other => other.into(),
    })
}

fn text(text: &str) -> Result<String, String> {
    Ok(text.to_string())
}

fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "not a port: write a number from 1 to 65535, or 0 for any free one".into())
}

fn nothing_left(args: Arguments, literal: Vec<OsString>) -> Result<(), Usage> {
    let words = words(args, literal)?;
    match words.first() {
        None => Ok(()),
        Some(word) if COMMANDS.contains(&word.as_str()) => {
            Err(Usage(format!("write the command first: sap-ai-core-llm-proxy {word} …")))
        }
        Some(word) => Err(Usage(format!("serve takes no {word}"))),
    }
}

fn words(args: Arguments, literal: Vec<OsString>) -> Result<Vec<String>, Usage> {
    let words = args.finish().into_iter().chain(literal).map(OsString::into_string);
    words.collect::<Result<_, _>>().map_err(|_| Usage("an argument is not UTF-8".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Result<Command, String> {
        parse(line.iter().map(OsString::from).collect()).map_err(|usage| usage.0)
    }

    #[test]
    fn commands_and_options_are_understood() {
        let all = Serve {
            config: Some("a.json".into()),
            host: Some("::1".into()),
            port: Some(80),
            https: true,
            cert: Some("c.pem".into()),
            key: Some("k.pem".into()),
            demo: true,
            no_auth: true,
            log_level: Some(LevelFilter::Debug),
            log_format: Some(LogFormat::Json),
        };
        let line = "serve --config a.json --host [::1] --port=80 --https --cert c.pem --key=k.pem \
                    --demo --no-auth --debug --log-format json";
        let line: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(parsed(&line), Ok(Command::Serve(all)));
        let quiet = Serve { log_level: Some(LevelFilter::Warn), ..Serve::default() };
        assert_eq!(parsed(&["--log-level", "warn"]), Ok(Command::Serve(quiet)));
        let ask = |text: &str, model: Option<&str>| {
            let model = model.map(String::from);
            Ok(Command::Ask(Ask { model, text: text.to_string(), ..Ask::default() }))
        };
        let hash = |key: Option<&str>| Ok(Command::HashKey(key.map(String::from)));
        for (line, expected) in [
            (&[][..], Ok(Command::Serve(Serve::default()))),
            (&["--help"], Ok(Command::Help)),
            (&["ask", "-h"], Ok(Command::Help)),
            (&["help"], Ok(Command::Help)),
            (&["serve", "-V"], Ok(Command::Version)),
            (&["ask", "--model", "o3", "two", "words"], ask("two words", Some("o3"))),
            (&["ask", "- a list", "--", "--model"], ask("- a list --model", None)),
            (&["hash-key"], hash(None)),
            (&["hash-key", "k"], hash(Some("k"))),
            (&["hash-key", "--", "-k"], hash(Some("-k"))),
        ] {
            assert_eq!(parsed(line), expected, "{line:?}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (line, expected) in [
            ("--prot 80", "unknown option --prot: did you mean --port?"),
            ("--no_auth", "unknown option --no_auth: did you mean --no-auth?"),
            ("-x", "unknown option -x"),
            ("--model gpt-4o", "unknown option --model"),
            ("sevre", "unknown command sevre: did you mean serve?"),
            ("frobnicate", "unknown command frobnicate"),
            ("--config x ask hi", "write the command first: sap-ai-core-llm-proxy ask …"),
            ("serve now", "serve takes no now"),
            ("--port", "--port needs a value (one that begins with - as --port=…)"),
            ("--cert --key k.pem", "--cert needs a value (one that begins with - as --cert=…)"),
            ("--port=", "--port needs a value"),
            ("--port 1 --port 2", "--port is given twice"),
            ("--https=yes", "--https takes no value"),
            (
                "--port 65536",
                "--port 65536: not a port: write a number from 1 to 65535, or 0 for any free one",
            ),
            (
                "--host http://x",
                "--host http://x: not a host: write an IP address or a name, such as 127.0.0.1, without scheme and port",
            ),
            (
                "--log-level loud",
                "--log-level loud: not a level: write off, error, warn, info, debug or trace",
            ),
            ("--log-format xml", "--log-format xml: not a format: write text or json"),
            ("--debug --log-level info", "--debug and --log-level exclude each other"),
            ("--cert c.pem", "--cert and --key are for --https: add it"),
            ("ask", "ask needs a TEXT, as in: ask 'What is SAP AI Core?'"),
            ("hash-key a b", "hash-key takes one KEY"),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(parsed(&words), Err(expected.to_string()), "{line}");
        }
    }

    #[test]
    fn help_shows_every_option() {
        for (flag, _) in SERVE.iter().chain(&ASK).chain(&COMMON) {
            assert!(HELP.contains(flag), "{flag}");
        }
    }
}
