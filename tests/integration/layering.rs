//! Imports go one way: what `src/lib.rs` lists further down uses what stands above
//! it, never the reverse; and in layers 1, 2 and 4 neighbours leave each other alone.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn no_module_uses_what_stands_below_it() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = Map::read(&fs::read_to_string(sources.join("lib.rs")).unwrap());
    assert_eq!(map.0.len(), 7, "layers 0 to 6");
    let mut wrong = Vec::new();
    let mut uses = 0;
    for path in rust_files(&sources) {
        let place = path.strip_prefix(&sources).unwrap();
        let Some(module) = module(place) else { continue };
        let code = fs::read_to_string(&path).unwrap();
        uses += used(&code, &module).len();
        let of_file = map.wrong_uses(&module, &code);
        wrong.extend(of_file.into_iter().map(|used| format!("{}: {used}", place.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(uses > 100, "only {uses} uses found: are they written differently now?");
}

#[test]
fn each_wrong_import_is_found() {
    let map = Map::read(
        "// 0  words\npub mod time;\npub mod serial;\n// 1  protocols\npub mod ocsp;\npub mod http;\n\
         // 2  resources\npub mod store;\n// 3  decision\npub mod responder;\npub mod service;\n\
         // 4  transports\npub mod transport;\n// 5  composition\npub mod app;\npub mod config;\n",
    );
    for (module, code) in [
        ("time", "use crate::ocsp;"),
        ("ocsp", "use crate::http::HttpRequest;"),
        ("store::mysql", "use crate::responder::Responder;"),
        ("store::mysql::dial", "pub(crate) use crate::{time, responder::{self, Policy}};"),
        ("store::mysql", "    use super::super::service::Service;"),
        ("responder::gate", "fn x() { crate::app::responder() }"),
        ("transport::cgi", "use crate::store::StatusStore;"),
        ("transport::cgi", "use crate::responder::Reply;"),
        ("transport", "use crate::{\n    time,\n    app,\n};"),
        ("responder", "let _: crate::transport::X;"),
        ("ocsp", "use crate::nonsense;"),
    ] {
        assert_eq!(map.wrong_uses(module, code).len(), 1, "{module}: {code}");
    }
    for (module, code) in [
        ("ocsp", "use crate::time::Timestamp;"),
        ("ocsp::request", "use super::nonce::Nonce; use crate::ocsp::asn1;"),
        ("time", "use crate::serial::Serial;"),
        ("service", "use crate::responder::Responder;"),
        ("transport::fastcgi", "use super::meta::Meta; use crate::http::Body;"),
        ("transport::front", "use crate::service::Service;"),
        ("config::check", "use crate::app::X; use crate::{store, time};"),
        ("store", "// use crate::app;\n/// [`crate::app`]\nuse std::fs; // crate::app"),
        ("store", "mod tests {\n    use super::*;\n}"),
    ] {
        assert_eq!(map.wrong_uses(module, code), Vec::<String>::new(), "{module}: {code}");
    }
}

/// The modules of each layer, in order.
struct Map(Vec<Vec<String>>);

impl Map {
    /// Reads lines such as `// 1  protocols: …` and `pub mod ocsp;`.
    fn read(lib: &str) -> Self {
        let mut layers = Vec::new();
        for line in lib.lines() {
            let number = line.strip_prefix("// ").and_then(|line| line.chars().next());
            if number.is_some_and(|first| first.is_ascii_digit()) {
                layers.push(Vec::new());
            }
            let name = line.strip_prefix("pub mod ").and_then(|line| line.strip_suffix(';'));
            if let Some(name) = name {
                layers.last_mut().expect("a layer above the first module").push(name.to_owned());
            }
        }
        Self(layers)
    }

    fn layer(&self, module: &str) -> Option<usize> {
        self.0.iter().position(|layer| layer.iter().any(|name| name == module))
    }

    /// What the code of a module must not use.
    fn wrong_uses(&self, module: &str, code: &str) -> Vec<String> {
        let top = module.split("::").next().unwrap();
        let own = self.layer(top).unwrap_or_else(|| panic!("{top} is in no layer of src/lib.rs"));
        let allowed = |used: &str| {
            let Some(layer) = self.layer(used) else { return false };
            match layer {
                _ if used == top => true,
                // Transports know http and service of what stands above, and the words.
                0 => true,
                _ if own == 4 => used == "http" || used == "service",
                layer if layer == own => !LEAVE_NEIGHBOURS_ALONE.contains(&own),
                layer => layer < own,
            }
        };
        used(code, module).into_iter().filter(|used| !allowed(used)).collect()
    }
}

/// The top-level modules that code uses: by `crate::`, and by more `super::` than stay
/// inside its own.
fn used(code: &str, module: &str) -> Vec<String> {
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code: String = lines.collect::<Vec<_>>().join("\n");
    // Inside `mod tests` the file's own module is one `super` away.
    let (code, tests) = code.split_at(code.find("mod tests {").unwrap_or(code.len()));
    let depth = module.split("::").count();
    let mut used = roots(code, depth);
    used.extend(roots(tests, depth + 1));
    used
}

fn roots(code: &str, depth: usize) -> Vec<String> {
    let up = "super::".repeat(depth);
    let mut used = Vec::new();
    for root in ["crate::", up.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|it| it.is_alphanumeric() || "_:$".contains(it)) {
                continue;
            }
            used.extend(first_names(&code[at + root.len()..]));
        }
    }
    used
}

/// `time` of `time::Clock`, and each of `{time, app::{self, x}}`.
fn first_names(path: &str) -> Vec<String> {
    let Some(list) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, true);
    for (at, character) in list.char_indices() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            _ if start && !character.is_whitespace() => {
                names.push(name(&list[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

fn name(path: &str) -> String {
    path.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect()
}

/// `store::mysql` of `store/mysql.rs`; none of the crate's roots.
fn module(place: &Path) -> Option<String> {
    let path = place.with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
    let parts = parts.strip_suffix(&["mod"]).unwrap_or(&parts);
    match parts {
        ["lib" | "main"] => None,
        parts => Some(parts.join("::")),
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

const LEAVE_NEIGHBOURS_ALONE: [usize; 3] = [1, 2, 4];
