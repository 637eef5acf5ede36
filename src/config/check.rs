//! What `config.rs` reads with: one JSON value at a path → a checked Rust value, or a noted problem and `None`.

use super::environment::Environment;
use super::json::Json;
use super::{Problem, is_loopback};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub struct Reader {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// What was read beside.
    pub files: Vec<PathBuf>,
    /// Worth telling, though nothing is wrong.
    pub notes: Vec<String>,
    pub environment: Environment,
    folder: PathBuf,
}

/// The entries of an object, looked up by key.
pub struct Fields<'j>(&'j [(String, Json)]);

impl<'j> Fields<'j> {
    /// `null` is the same as absent.
    pub fn of(&self, key: &str) -> Option<&'j Json> {
        let entry = self.0.iter().find(|(name, _)| name == key)?;
        Some(&entry.1).filter(|json| !matches!(json, Json::Null))
    }
}

impl Reader {
    pub fn new(folder: &Path, environment: &Environment) -> Reader {
        Reader {
            problems: Vec::new(),
            warnings: Vec::new(),
            files: Vec::new(),
            notes: Vec::new(),
            environment: environment.clone(),
            folder: folder.to_path_buf(),
        }
    }

    pub fn problem(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), why: why.into() });
    }

    /// Of several subaccounts each may say the same.
    pub fn warn(&mut self, path: impl Into<String>, why: impl Into<String>) {
        let warning = Problem { path: path.into(), why: why.into() };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    pub fn wrong_kind(&mut self, path: &str, found: &Json, wanted: &str) {
        let path = if path.is_empty() { "config.json" } else { path };
        self.problem(
            path.trim_end_matches(": "),
            format!("found {}: write {wanted}", found.kind()),
        );
    }

    /// Of entries with the same key only the last stays, as every JSON library has it.
    pub fn merge_repeated(&mut self, path: &str, json: &mut Json) {
        match json {
            Json::Object(entries) => {
                let mut kept: Vec<(String, Json)> = Vec::new();
                for (key, value) in entries.drain(..) {
                    match kept.iter_mut().find(|(name, _)| *name == key) {
                        Some(before) => {
                            self.warn(field(path, &key), "written twice: only the last one counts");
                            before.1 = value;
                        }
                        None => kept.push((key, value)),
                    }
                }
                kept.iter_mut().for_each(|(key, v)| self.merge_repeated(&field(path, key), v));
                *entries = kept;
            }
            Json::List(items) => items
                .iter_mut()
                .enumerate()
                .for_each(|(nth, item)| self.merge_repeated(&format!("{path}[{nth}]"), item)),
            _ => {}
        }
    }

    /// An object with the keys `known`; others warn.
    pub fn fields<'j>(&mut self, path: &str, json: &'j Json, known: &[&str]) -> Option<Fields<'j>> {
        let fields = self.any_fields(path, json, "an object, as in {\"key\": …}")?;
        for (key, _) in fields.0 {
            if !known.contains(&key.as_str()) && !key.starts_with(['_', '$']) {
                let near = did_you_mean(key, known.iter().copied());
                self.warn(field(path, key), format!("unknown key, ignored{near}"));
            }
        }
        Some(fields)
    }

    /// An object with any keys.
    pub fn any_fields<'j>(
        &mut self,
        path: &str,
        json: &'j Json,
        wanted: &str,
    ) -> Option<Fields<'j>> {
        match json {
            Json::Object(entries) => Some(Fields(entries)),
            other => {
                self.wrong_kind(path, other, wanted);
                None
            }
        }
    }

    /// The entries of an object whose keys are names, without comments.
    pub fn entries<'j>(
        &mut self,
        path: &str,
        json: &'j Json,
        wanted: &str,
    ) -> Option<Vec<&'j (String, Json)>> {
        let fields = self.any_fields(path, json, wanted)?;
        Some(fields.0.iter().filter(|(key, _)| !key.starts_with(['_', '$'])).collect())
    }

    /// The items of a list with their paths; none where it is no list.
    pub fn list<'j>(
        &mut self,
        path: &str,
        json: &'j Json,
        wanted: &str,
    ) -> Vec<(String, &'j Json)> {
        let Json::List(items) = json else {
            self.wrong_kind(path, json, wanted);
            return Vec::new();
        };
        items.iter().enumerate().map(|(nth, item)| (format!("{path}[{nth}]"), item)).collect()
    }

    /// Name → name, as in `aliases`.
    pub fn names(&mut self, path: &str, json: Option<&Json>, what: &str) -> Vec<(String, String)> {
        let Some(json) = json else { return Vec::new() };
        let wanted = format!("an object of names and a {what} each, as in {{\"gpt-*\": \"…\"}}");
        let mut names = Vec::new();
        for (name, value) in self.entries(path, json, &wanted).unwrap_or_default() {
            let path = entry(path, name);
            if !self.name(&path, name) {
                continue;
            }
            if let Some(value) = self.text(&path, value, &format!("the name of a {what}")) {
                names.push((name.clone(), value.to_string()));
            }
        }
        names
    }

    /// Whether this key of an object can be a name.
    pub fn name(&mut self, path: &str, name: &str) -> bool {
        let bad = match name {
            _ if name.trim().is_empty() => "an empty name: write the model's",
            _ if name.trim() != name => "white space around the name: remove it",
            _ if is_placeholder(name) => "still a placeholder: write the model's name",
            _ => return true,
        };
        self.problem(path, bad);
        false
    }

    /// Text that is there: not empty, no white space around it, no placeholder. Never quoted in a problem.
    pub fn text<'j>(&mut self, path: &str, json: &'j Json, wanted: &str) -> Option<&'j str> {
        let Json::Text(text) = json else {
            self.wrong_kind(path, json, wanted);
            return None;
        };
        let bad = match text {
            _ if text.trim().is_empty() => format!("empty: write {wanted}"),
            _ if text.trim() != text => "white space around it: remove it".to_string(),
            _ if text.chars().any(char::is_control) => {
                "a line break or the like in it: remove it".into()
            }
            _ if is_placeholder(text) => format!("still a placeholder: write {wanted}"),
            _ => return Some(text),
        };
        self.problem(path, bad);
        None
    }

    pub fn secret<'j>(&mut self, path: &str, json: &'j Json) -> Option<&'j str> {
        self.text(path, json, "a string of your own")
    }

    pub fn required_secret(&mut self, path: &str, json: Option<&Json>) -> Option<String> {
        const WANTED: &str = "the string in SAP's service key";
        match json {
            Some(json) => self.text(path, json, WANTED).map(str::to_string),
            None => {
                self.problem(path, format!("missing: write {WANTED}"));
                None
            }
        }
    }

    /// A certificate or a private key. On its way through environments its line ends often became `\\n`, spelled out.
    pub fn required_pem(&mut self, path: &str, json: Option<&Json>) -> Option<String> {
        let why = match json {
            None => "missing: write the PEM text in SAP's service key",
            Some(Json::Text(text)) => {
                let text = text.replace("\\n", "\n");
                if text.contains("-----BEGIN ") && text.contains("-----END ") {
                    return Some(text);
                }
                "not a PEM text: write it as in SAP's service key, from -----BEGIN to -----END"
            }
            Some(other) => {
                self.wrong_kind(path, other, "the PEM text in SAP's service key");
                return None;
            }
        };
        self.problem(path, why);
        None
    }

    /// Text that is sent in a header.
    pub fn header_text(&mut self, path: &str, json: Option<&Json>) -> Option<String> {
        let text = self.text(path, json?, "a name")?;
        if text.bytes().all(|b| b.is_ascii_graphic()) {
            return Some(text.to_string());
        }
        self.problem(path, "only letters, digits and signs of ASCII can be sent in a header");
        None
    }

    /// Text that `parse` takes. Its error says what would be right.
    pub fn parsed<T>(
        &mut self,
        path: &str,
        json: Option<&Json>,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(path, json?, "a string")?;
        parse(text).map_err(|why| self.problem(path, why)).ok()
    }

    pub fn whole_number(
        &mut self,
        path: &str,
        json: Option<&Json>,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let wanted = format!("a whole number from {least} to {most}");
        match json? {
            Json::Number(Some(n)) if (least..=most).contains(n) => return Some(*n),
            Json::Number(_) => self.problem(path, format!("out of range: write {wanted}")),
            Json::Text(_) => {
                self.problem(path, format!("found a string: write {wanted}, without quotes"));
            }
            other => self.wrong_kind(path, other, &wanted),
        }
        None
    }

    pub fn yes_or_no(&mut self, path: &str, json: Option<&Json>) -> Option<bool> {
        match json? {
            Json::Bool(value) => return Some(*value),
            Json::Text(_) => {
                self.problem(path, "found a string: write true or false, without quotes");
            }
            other => self.wrong_kind(path, other, "true or false"),
        }
        None
    }

    /// A path, relative ones to the folder of the configuration.
    pub fn path(&mut self, path: &str, json: Option<&Json>) -> Option<PathBuf> {
        let text = self.text(path, json?, "the path of a file")?;
        Some(self.folder.join(text))
    }

    pub fn existing_file(&mut self, path: &str, json: Option<&Json>) -> Option<PathBuf> {
        let file = self.path(path, json)?;
        self.files.push(file.clone());
        if let Err(error) = std::fs::File::open(&file) {
            self.problem(path, format!("{} cannot be read ({error})", file.display()));
        }
        Some(file)
    }

    /// An absolute http or https URL, without trailing slashes.
    pub fn url(&mut self, path: &str, json: &Json) -> Option<String> {
        let text = self.text(path, json, "a URL, as in https://…")?;
        let url = url(text).map_err(|why| self.problem(path, why)).ok()?;
        if url.starts_with("http://") && !is_loopback(host_of(&url)) {
            self.warn(path, "plain http: keys and prompts travel unencrypted. Write https");
        }
        Some(url)
    }

    pub fn required_url(&mut self, path: &str, json: Option<&Json>) -> Option<String> {
        match json {
            Some(json) => self.url(path, json),
            None => {
                self.problem(path, "missing: write the URL in SAP's service key");
                None
            }
        }
    }

    /// Warns if the file at `path` can be read by others than its owner.
    pub fn warn_if_readable(&mut self, at: &str, path: &Path, what: &str) {
        if readable_by_others(path) {
            let why = format!("{what} and others can read it: chmod 600 {}", path.display());
            self.warn(at, why);
        }
    }
}

/// The path of a key of an object, in a known place: `limits.tries`.
pub fn field(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match plain {
        true if path.is_empty() || path.ends_with(": ") => format!("{path}{key}"),
        true => format!("{path}.{key}"),
        false => entry(path, key),
    }
}

/// The path of a key that is a name: `aliases["gpt-4"]`.
pub fn entry(path: &str, key: &str) -> String {
    format!("{path}[{key:?}]")
}

/// The known word that `word` may have been meant to be; case, `_` and `-` do not count.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let bare = |text: &str| -> Vec<char> {
        text.to_lowercase().chars().filter(|c| !matches!(c, '_' | '-')).collect()
    };
    let word = bare(word);
    let near = known.into_iter().map(|name| (distance(&word, &bare(name)), name)).min()?;
    let far = (word.len() / 2).min(2.max(word.len() / 3));
    (near.0 <= far).then_some(near.1)
}

pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map(|near| format!(". Did you mean `{near}`?")).unwrap_or_default()
}

/// Edit distance (Levenshtein), row by row.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Whether group or others may read the file; false where it cannot be told.
pub fn readable_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o044 != 0)
}

/// Text that an example had and nobody replaced. A real secret may hold any sign, so only whole shapes count.
fn is_placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let marked = ["<your", "<hidden", "your-", "your_"];
    (text.starts_with('<') && text.ends_with('>'))
        || marked.iter().any(|mark| begins_a_word(&lower, mark))
        || lower.starts_with("xxxx")
        || ["changeme", "change-me", "change_me", "todo", "…", "...", "sk-..."].contains(&&*lower)
}

fn begins_a_word(text: &str, mark: &str) -> bool {
    text.match_indices(mark).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric()))
}

/// Whether a client can send this key in a header.
pub fn client_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("empty: write a key".to_string());
    }
    if key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err("a key is sent in a header: write letters, digits and signs of ASCII, no white space"
        .into())
}

pub fn hex_digest(hex: &str) -> Result<[u8; 32], String> {
    let wrong = || "after sha256: come 64 hex digits, as `hash-key` prints them".to_string();
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (nth, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * nth..2 * nth + 2], 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}

/// An Azure `api-version`: it goes into a query as it is.
pub fn version(text: &str) -> Result<String, String> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
        return Ok(text.to_string());
    }
    Err("not an API version: write one such as 2025-04-01-preview".to_string())
}

/// What browsers send as `Origin`: scheme and host, no path.
pub fn origin(text: &str) -> Result<String, String> {
    let wrong =
        "not an origin: write *, or scheme and host, as in https://chat.example, without a path";
    match text.split_once("://") {
        None if text == "*" => Ok(text.to_string()),
        Some((scheme, host)) if !scheme.is_empty() && !host.is_empty() => {
            let plain = host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#,".contains(&b));
            if plain { Ok(text.to_string()) } else { Err(wrong.to_string()) }
        }
        _ => Err(wrong.to_string()),
    }
}

/// Scheme in lower case, trailing slashes cut. The errors do not quote it: it may hold a password.
fn url(text: &str) -> Result<String, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("not an absolute URL: write it from https:// on".to_string());
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err("neither http nor https: write a URL that begins with https://".to_string());
    }
    if !rest.bytes().all(|b| b.is_ascii_graphic() && !b"<>{}\"\\^`|".contains(&b)) {
        return Err(
            "a sign that no URL has (a placeholder, a space?): write the URL as SAP shows it"
                .into(),
        );
    }
    if let Some(at) = rest.find(['?', '#']) {
        return Err(format!("cut everything from `{}` on", &rest[at..at + 1]));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user name or password before the host: remove it".to_string());
    }
    let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let (host, port) = port.map_or((authority, None), |(host, port)| (host, Some(port)));
    if host.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("no host, or a port that is none: write https://HOST/…".to_string());
    }
    Ok(format!("{scheme}://{}", rest.trim_end_matches('/')))
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

/// What was pasted after the deployment: the part behind its id, or an endpoint that the proxy itself appends.
pub fn sub_path(url: &str) -> Option<&str> {
    if let Some(at) = url.find("/deployments/") {
        let id = &url[at + "/deployments/".len()..];
        return id.find('/').map(|slash| &id[slash..]);
    }
    let endpoints = [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/responses",
        "/invoke",
        "/messages",
        "/invoke-with-response-stream",
        "/converse",
        "/converse-stream",
        "/completion",
    ];
    endpoints.into_iter().find(|end| url.ends_with(end))
}
