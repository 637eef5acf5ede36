//! The house keeps its own rules: floors, homes of crates, no unwrap, no forbidden words.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which module may name which crate. A crate that is not here is one that is used everywhere: `log`, `serde_json`.
const HOMES: &[(&str, &[&str])] = &[
    ("tiny_http", &["server"]),
    ("threadpool", &["server"]),
    ("httparse", &["gate", "demo"]),
    ("ureq", &["aicore"]),
    ("webpki_roots", &["aicore"]),
    ("rcgen", &["certificate"]),
    ("pico_args", &["cli"]),
    ("simple_logger", &["log"]),
    ("signal_hook", &["main"]),
    ("subtle", &["auth"]),
    ("sha2", &["auth"]),
    ("base64", &["media", "demo"]),
    ("flate2", &["encoding"]),
    ("ruzstd", &["encoding"]),
    ("rustls", &["aicore", "certificate", "gate"]),
];

/// Words that the design bans from names.
const BANNED: &[&str] = &["utils", "helpers", "common"];

#[test]
fn floors_are_kept() {
    let floors = floors();
    let mut faults = vec![];
    for (path, text) in sources() {
        let module = module_of(&path);
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(floor) = floors.get(&module) else {
            faults.push(format!("{}: {module} is not on the map in lib.rs", path.display()));
            continue;
        };
        for named in modules_named(&text) {
            match floors.get(&named) {
                Some(other) if other > floor => {
                    faults.push(format!(
                        "{}: floor {floor} names {named} of floor {other}",
                        path.display()
                    ));
                }
                _ => {}
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_map_names_every_module() {
    let floors = floors();
    let mut modules: Vec<String> = sources().iter().map(|(path, _)| module_of(path)).collect();
    modules.retain(|m| m != "main" && m != "lib");
    modules.sort();
    modules.dedup();
    let on_map: Vec<String> = floors.keys().cloned().collect();
    assert_eq!(modules, on_map);
}

#[test]
fn crates_have_homes() {
    let mut faults = vec![];
    for (path, text) in sources() {
        let module = module_of(&path);
        for (name, homes) in HOMES {
            let is_named = code_of(&text).contains(&format!("{name}::"));
            if is_named && !homes.contains(&module.as_str()) {
                faults.push(format!("{}: names {name}, at home in {homes:?}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_card_is_kept() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let card = [
        "tiny_http",
        "ureq",
        "serde",
        "serde_json",
        "rustls",
        "webpki-roots",
        "log",
        "simple_logger",
        "threadpool",
        "pico-args",
    ];
    for name in card {
        assert!(manifest.lines().any(|l| l.starts_with(&format!("{name} ="))), "{name}");
    }
    for name in ["tokio", "hyper", "async-std", "reqwest"] {
        let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
        assert!(!lock.contains(&format!("name = \"{name}\"")), "{name} in Cargo.lock");
    }
}

#[test]
fn dialects_do_not_know_each_other() {
    let folder = root().join("src/dialect");
    let mut names = vec![];
    for (path, _) in sources() {
        if path.parent() == Some(&folder) && path.file_stem().is_none_or(|n| n != "reading") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    assert!(names.len() > 5, "{names:?}");
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with(&folder)) {
        let code = code_of(&text);
        for name in &names {
            let is_own = path.components().any(|c| {
                let part = c.as_os_str().to_string_lossy();
                part == name.as_str() || part == format!("{name}.rs")
            });
            // `dialect::{a, b}` names several.
            let named = code.split("dialect::").skip(1).any(|rest| {
                let rest = rest.split(';').next().unwrap_or(rest);
                rest.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
            });
            assert!(is_own || !named, "{} names {name}", path.display());
        }
        for clock in ["Instant::now", "SystemTime", "std::fs", "std::net", "thread::"] {
            assert!(!code.contains(clock), "{}: {clock} under dialect/", path.display());
        }
    }
}

#[test]
fn nothing_a_peer_says_can_panic_by_unwrap() {
    let mut faults = vec![];
    for (path, text) in sources() {
        for (number, line) in code_of(&text).lines().enumerate() {
            let banned =
                [".unwrap()", ".expect(\"", "panic!(", "todo!(", "unimplemented!(", "dbg!("];
            if banned.iter().any(|b| line.contains(b)) {
                faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_are_the_fields() {
    for (path, text) in sources() {
        let module = module_of(&path);
        assert!(!BANNED.contains(&module.as_str()), "{}", path.display());
        let code = code_of(&text);
        assert!(!code.contains("fn get_"), "{}: a getter is called by its field", path.display());
    }
}

/// `| 2 · who, where, what | [`routes`] … |` → routes: 2.
fn floors() -> BTreeMap<String, u8> {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut floors = BTreeMap::new();
    for line in map.lines().filter_map(|l| l.strip_prefix("//! | ")) {
        let Some(floor) = line.chars().next().and_then(|c| c.to_digit(10)) else { continue };
        for name in line.split("[`").skip(1).filter_map(|part| part.split("`]").next()) {
            floors.insert(name.to_owned(), floor as u8);
        }
    }
    assert!(floors.len() > 15, "the map is not where it was");
    floors
}

/// The crate's own modules that a text names: `crate::a::…`, `use crate::{a, b::c}`.
fn modules_named(text: &str) -> Vec<String> {
    let code = code_of(text);
    let mut names = vec![];
    for part in code.split("crate::").skip(1) {
        let group = match part.strip_prefix('{') {
            Some(inner) => inner.split('}').next().unwrap_or(""),
            None => part,
        };
        let is_group = part.starts_with('{');
        for item in group.split(',') {
            let name: String =
                item.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !name.is_empty() {
                names.push(name);
            }
            if !is_group {
                break;
            }
        }
    }
    names
}

/// The text without its comments and tests.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// `src/gate/head.rs` → gate.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// All files of src, but tests that stand in files of their own.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 20);
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
