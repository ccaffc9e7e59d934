//! The documents say what the program does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ocsp_fcgi::config::{Config, Database, KEYS};
use ocsp_fcgi::signer::password::PasswordSource;
use ocsp_fcgi::store::crl::Unlisted;

mod defaults;
mod links;
mod manual;

#[test]
fn the_example_configuration_is_valid_and_has_no_warning() {
    let (config, warnings) = parse(EXAMPLE);
    assert!(warnings.is_empty());
    assert_eq!(config.listen.port, Some(9000));
    assert_eq!(config.issuers.len(), 1);
}

#[test]
fn the_example_configuration_has_every_key_once_in_its_table() {
    let mut table = "".to_owned();
    let mut written = Vec::new();
    for line in EXAMPLE.lines().map(|line| line.strip_prefix('#').unwrap_or(line)) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_matches(['[', ']']).to_owned();
        } else if let Some(key) = key(line) {
            written.push((table.clone(), key.to_owned()));
        }
    }
    let mut known: Vec<_> = KEYS
        .iter()
        .flat_map(|(table, keys)| keys.iter().map(|key| (table.to_string(), key.to_string())))
        .collect();
    written.sort();
    known.sort();
    assert_eq!(written, known);
}

#[test]
fn each_commented_key_of_the_example_stands_at_its_default() {
    let default = parse(EXAMPLE).0;
    let mut at_default = 0;
    for (line, key) in commented(of_one_ca()) {
        if NO_DEFAULT.contains(&key) {
            continue;
        }
        let (config, _) = parse(&uncommented(of_one_ca(), line));
        assert_eq!(words(&config), words(&default), "{line}");
        at_default += 1;
    }
    assert!(at_default > 25, "{at_default} keys have a default");
}

#[test]
fn all_defaults_of_the_example_can_be_written_at_once() {
    let mut text = of_one_ca().to_owned();
    for (line, key) in commented(of_one_ca()) {
        // It takes the place of cachedays.
        if !NO_DEFAULT.contains(&key) && key != "validity" {
            text = uncommented(&text, line);
        }
    }
    assert_eq!(words(&parse(&text).0), words(&parse(EXAMPLE).0));
}

#[test]
fn the_examples_of_the_socket_can_be_written() {
    let listening = uncommented(EXAMPLE, r#"#unix = "/run/ocsp-fcgi/ocsp-fcgi.sock""#);
    let listening = uncommented(&listening, r#"#unix_owner = "ocsp-fcgi""#);
    let listening = uncommented(&listening, r#"#unix_group = "www-data""#);
    let socket = parse(&listening).0.listen.unix.unwrap();
    assert_eq!(socket.path, Path::new("/run/ocsp-fcgi/ocsp-fcgi.sock"));
    assert_eq!(socket.owner.as_deref(), Some("ocsp-fcgi"));
    assert_eq!(socket.group.as_deref(), Some("www-data"));
}

#[test]
fn each_example_without_a_default_can_be_written() {
    let delegated = uncommented(EXAMPLE, r#"#itsigner = "/etc/ocsp-fcgi/responder.crt""#);
    assert!(parse(&delegated).0.issuers[0].signer.certificate.is_some());

    for (line, source) in [
        ("#itkey_password_file", PasswordSource::File("/etc/ocsp-fcgi/key-password".into())),
        ("#itkey_password_credential", PasswordSource::Credential("key-password".to_owned())),
        ("#itkey_password_env", PasswordSource::Variable("OCSP_KEY_PASSWORD".to_owned())),
    ] {
        let opened = uncommented(EXAMPLE, line);
        assert_eq!(parse(&opened).0.issuers[0].signer.key_password, Some(source));
    }

    let encrypted = EXAMPLE.replace("#tls = \"off\"", "tls = \"required\"");
    let encrypted = uncommented(&encrypted, r#"#tls_ca = "/etc/ocsp-fcgi/database-ca.crt""#);
    let Database::Mysql(options) = &parse(&encrypted).0.issuers[0].database else {
        panic!("not MySQL")
    };
    assert_ne!(options.tls, ocsp_fcgi::store::mysql::Tls::Off);

    let threads = uncommented(EXAMPLE, "#signing_threads = 2");
    assert_eq!(parse(&threads).0.limits.signing_threads, 2);

    let embedded = uncommented(EXAMPLE, r#"#sqlite = "/var/lib/ocsp-fcgi/status.db""#);
    let embedded = without(&embedded, &["dbip", "dbuser", "dbpassword", "dbname"]);
    assert!(matches!(parse(&embedded).0.issuers[0].database, Database::Sqlite(_)));

    let presigned = uncommented(EXAMPLE, "#folder =");
    let presigned = uncommented(&presigned, "#ca =");
    assert!(parse(&presigned).0.presigned.is_some());

    for (line, is_it) in [
        (
            "#index = \"/var/lib/ocsp-fcgi/i",
            (|database| matches!(database, Database::Index(_))) as IsIt,
        ),
        ("#crl = \"/var/lib/ocsp-fcgi/ca.crl", |database| matches!(database, Database::Crl(..))),
    ] {
        let without_a_server = without(EXAMPLE, &["dbip", "dbuser", "dbpassword", "dbname"]);
        let text = uncommented(&without_a_server, line);
        assert!(is_it(&parse(&text).0.issuers[0].database), "{line}");
        if line.starts_with("#crl") {
            let text = uncommented(&text, "#unlisted = \"good\"");
            let database = &parse(&text).0.issuers[0].database;
            assert!(matches!(database, Database::Crl(_, Unlisted::Good)));
        }
    }
    let reasons = uncommented(EXAMPLE, "#reasons =");
    let Database::Mysql(options) = &parse(&reasons).0.issuers[0].database else { panic!() };
    assert_eq!(options.mapping.reasons.len(), 2);

    let mut several = without(EXAMPLE, &["itcert", "itkey"]);
    for line in ["#[[issuer]]", "#certificate = \"/", "#key =", "#signer =", "#table = \"tls_certs"]
    {
        several = uncommented(&several, line);
    }
    for line in ["#key_password_file", "#key_password_credential", "#key_password_env"] {
        let opened = uncommented(&several, line);
        assert!(parse(&opened).0.issuers[0].signer.key_password.is_some(), "{line}");
    }
    let issuer = &parse(&several).0.issuers[0];
    assert!(issuer.signer.certificate.is_some());
    let Database::Mysql(options) = &issuer.database else { panic!("not MySQL") };
    assert_eq!(options.mapping.table, "tls_certs");
    let shared = uncommented(&several, "#issuer = ");
    let shared = uncommented(&shared, "#issuer_value = ");
    let Database::Mysql(options) = &parse(&shared).0.issuers[0].database else { panic!() };
    assert_eq!(options.mapping.issuer.as_deref(), Some("tls"));
}

#[test]
fn the_configurations_of_docs_sources_are_valid_and_have_no_warning() {
    let document = include_str!("../../docs/sources.md");
    let blocks = document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut whole = 0;
    for text in blocks {
        assert!(parse(text).1.is_empty(), "{text}");
        whole += 1;
    }
    assert_eq!(whole, 5);
}

#[test]
fn the_coverage_names_each_rule_and_each_test_that_names_it() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let coverage = fs::read_to_string(sources.join("docs/rfc-coverage.md")).unwrap();
    let rows: Vec<_> = coverage.lines().filter_map(rule_of_row).collect();
    let listed = listed_tests(&coverage);
    let mut named = BTreeSet::new();
    for folder in ["src", "crates", "tests"] {
        tests_that_name_a_rule(sources, &sources.join(folder), &mut named);
    }
    assert!(named.len() > 250, "{} tests: are rules written differently now?", named.len());
    let mut wrong = Vec::new();
    for rule in rules() {
        match rows.iter().filter(|row| **row == rule).count() {
            1 => {}
            rows => wrong.push(format!("{rule}: {rows} rows, wanted 1")),
        }
        if !named.iter().any(|(of, ..)| *of == rule) {
            wrong.push(format!("{rule}: no test names it (// rule: {rule})"));
        }
    }
    let known: Vec<_> = rules().collect();
    let unknown = rows.iter().copied().chain(named.iter().map(|(rule, ..)| &**rule));
    let unknown: BTreeSet<_> = unknown.filter(|rule| !known.iter().any(|of| of == rule)).collect();
    wrong.extend(unknown.into_iter().map(|rule| format!("{rule}: no such rule")));
    for (doing, some, others) in [("add", &named, &listed), ("remove", &listed, &named)] {
        for (rule, file, test) in some.difference(others) {
            wrong.push(format!("below \"- {rule}\" {doing}:\n  - `{file}` `{test}`"));
        }
    }
    assert!(wrong.is_empty(), "docs/rfc-coverage.md:\n{}", wrong.join("\n"));
}
type IsIt = fn(&Database) -> bool;

/// The example up to its last part, whose keys belong to a table that is not there.
fn of_one_ca() -> &'static str {
    EXAMPLE.split_once("#[[issuer]]").unwrap().0
}

fn parse(text: &str) -> (Config, Vec<ocsp_fcgi::config::Warning>) {
    Config::parse(text, Path::new("config.toml")).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Everything that a configuration says, but the password.
fn words(config: &Config) -> String {
    let Database::Mysql(options) = &config.issuers[0].database else {
        return format!("{config:?}");
    };
    let limits = (options.connections, options.connect_timeout, options.timeout);
    format!("{config:?} {limits:?} {:?} {:?}", options.retry_pause, options.tls)
}

/// The lines with a key that is commented out, and the key.
fn commented(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| Some((line, key(line.strip_prefix('#')?)?)))
}

/// The key of a line `key = value`.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(key)
}

/// `text`, where the one line that begins with `start` lost its `#`.
fn uncommented(text: &str, start: &str) -> String {
    let start = format!("\n{start}");
    assert_eq!(text.matches(&start).count(), 1, "{start}");
    text.replacen(&start, &start.replacen('#', "", 1), 1)
}

/// `text` without some keys.
fn without(text: &str, keys: &[&str]) -> String {
    let stays = |line: &&str| !key(line).is_some_and(|key| keys.contains(&key));
    text.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

/// A rule, and the file and name of a test of it.
type TestOfRule = (String, String, String);

/// The rules that the program keeps.
fn rules() -> impl Iterator<Item = String> {
    let groups = [("REQ", 10), ("ANS", 6), ("RSP", 7), ("WEB", 6), ("FCG", 5)];
    groups.into_iter().flat_map(|(group, last)| (1..=last).map(move |n| format!("{group}-{n}")))
}

/// `| REQ-1 | … |`
fn rule_of_row(line: &str) -> Option<&str> {
    let (id, _) = line.strip_prefix("| ")?.split_once(" |")?;
    let (group, number) = id.split_once('-')?;
    (group.len() == 3 && number.parse::<u8>().is_ok()).then_some(id)
}

/// The lines ``  - `file` `test` ``, each below a line `- RULE`.
fn listed_tests(coverage: &str) -> BTreeSet<TestOfRule> {
    let mut listed = BTreeSet::new();
    let mut rule = "";
    for line in coverage.lines() {
        if let Some(id) = line.strip_prefix("- ") {
            rule = id;
        } else if let Some(test) = line.strip_prefix("  - `") {
            let test = test.strip_suffix('`').and_then(|test| test.split_once("` `"));
            let (file, name) = test.unwrap_or_else(|| panic!("{line}: wanted `file` `test`"));
            let is_new = listed.insert((rule.to_owned(), file.to_owned(), name.to_owned()));
            assert!(is_new, "{rule}: {line} stands there twice");
        }
    }
    listed
}

/// The functions of the Rust files below `folder` that have a comment `// rule: …` in
/// front of them, or in their body.
fn tests_that_name_a_rule(sources: &Path, folder: &Path, named: &mut BTreeSet<TestOfRule>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_that_name_a_rule(sources, &path, named);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(sources).unwrap().to_str().unwrap();
            let code = fs::read_to_string(&path).unwrap();
            let of_file = named_in(&code).into_iter();
            named.extend(of_file.map(|(rule, test)| (rule, file.to_owned(), test)));
        }
    }
}

fn named_in(code: &str) -> Vec<(String, String)> {
    let mut named = Vec::new();
    let mut function = "";
    let mut rules = Vec::new();
    for line in code.lines().map(str::trim_start) {
        if let Some(ids) = line.strip_prefix("// rule:") {
            rules.extend(ids.split(',').map(str::trim));
        } else if !line.starts_with("//") && !line.starts_with("#[") {
            function = name_of_function(line).unwrap_or(function);
            named.extend(rules.drain(..).map(|rule| (rule.to_owned(), function.to_owned())));
        }
    }
    named
}

fn name_of_function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let (name, _) = line.strip_prefix("fn ")?.split_once(['(', '<'])?;
    Some(name)
}

const EXAMPLE: &str = include_str!("../../config.toml.example");
/// What stands in the example for its form; `password_file` names a file that must
/// exist.
const NO_DEFAULT: [&str; 18] = [
    "index",
    "crl",
    "unlisted",
    "issuer",
    "reasons",
    "folder",
    "ca",
    "itsigner",
    "itkey_password_file",
    "itkey_password_credential",
    "itkey_password_env",
    "unix",
    "unix_owner",
    "unix_group",
    "sqlite",
    "password_file",
    "tls_ca",
    "signing_threads",
];
