//! What each wrong configuration prints: tests/data/config-errors. And a few that
//! are right.

#![allow(clippy::unwrap_used)] // also in what the tests call

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocsp_fcgi::config::{Config, Database, Issuer};
use ocsp_fcgi::store::mysql::Host;
use proptest::prelude::*;

#[test]
fn each_wrong_configuration_prints_what_stands_beside_it() {
    let mut cases: Vec<PathBuf> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 20, "{} cases in {FOLDER}", cases.len());
    let differing: Vec<String> = cases.iter().filter_map(|case| difference(case)).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn the_file_of_the_earlier_responder_works_unchanged() {
    let (config, warnings) = Config::parse(NINE_KEYS, Path::new("/srv/ocsp/config.toml")).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(config.policy.validity, Duration::from_secs(3 * 86_400));
    assert_eq!(config.listen.port, Some(9000));
    assert_eq!(config.cache.folder.as_deref(), Some(Path::new("/srv/ocsp/cache/")));
    let [issuer] = &config.issuers[..] else { panic!("one CA") };
    assert_eq!(issuer.certificate.path, Path::new("/var/public_files/it_cert.crt"));
    assert_eq!(issuer.signer.key.path, Path::new("/var/private_files/it_privkey.pem"));
    assert_eq!(issuer.signer.certificate, None);
    let Database::Mysql(options) = &issuer.database else { panic!("MySQL") };
    assert_eq!(options.hosts, [Host::Tcp { host: "127.0.0.1".to_owned(), port: 3306 }]);
    assert_eq!((options.user.as_str(), options.password.as_str()), ("cert", "certdata"));
    assert_eq!((options.name.as_str(), options.mapping.table.as_str()), ("certs", "list_certs"));
}

#[test]
fn several_issuers_keep_their_order() {
    let text = r#"
        [[issuer]]
        certificate = "a.crt"
        key = "a.pem"
        [[issuer]]
        certificate = "b.crt"
        key = "b.pem"
        signer = "/b/signer.crt"
        table = "b_certs"
        [database]
        sqlite = "status.db"
    "#;
    let (config, _) = Config::parse(text, Path::new("/etc/x/config.toml")).unwrap();
    let [a, b] = &config.issuers[..] else { panic!("two CAs") };
    assert_eq!(a.certificate.path, Path::new("/etc/x/a.crt"));
    let signer = b.signer.certificate.as_ref().unwrap();
    assert_eq!(signer.path, Path::new("/b/signer.crt"));
    let table = |issuer: &Issuer| match &issuer.database {
        Database::Sqlite(options) => options.mapping.table.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!([a, b].map(table), ["list_certs", "b_certs"]);
}

#[test]
fn days_may_be_fractions() {
    let text = NINE_KEYS.replace("cachedays = 3 ", "cachedays = 0.5 ");
    let (config, _) = Config::parse(&text, Path::new("config.toml")).unwrap();
    assert_eq!(config.policy.validity, Duration::from_secs(43_200));
}

#[test]
fn few_workers_have_a_shorter_queue() {
    let text = format!("{NINE_KEYS}\n[limits]\nworkers = 10\n");
    let (config, _) = Config::parse(&text, Path::new("config.toml")).unwrap();
    assert_eq!(config.limits.signing_queue, 5);
}

#[test]
fn keys_without_effect_are_warned_about() {
    let text = NINE_KEYS.replace("port = 9000", "").replace("cachefolder = \"cache/\"", "");
    let text = format!(
        "{text}[listen]\naddresses = \"::1\"\nunix_mode = \"0600\"\n[cache]\nfiles = \"at-once\"\n"
    );
    let (_, warnings) = Config::parse(&text, Path::new("config.toml")).unwrap();
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "config.toml:11:13: addresses has no effect, wanted port with it",
            "config.toml:12:13: unix_mode has no effect, wanted unix with it",
            "config.toml:14:9: files has no effect, wanted cachefolder with it",
        ]
    );
}

#[test]
fn a_file_with_a_password_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "my config.toml", NINE_KEYS, 0o644);
    let shown = path.display();
    assert_eq!(
        Config::load(&path).unwrap_err().to_string(),
        format!(
            "{shown}:6:14: dbpassword can be read by every user of this machine, \
             wanted: chmod o= '{shown}' (or permissions = \"warn\")"
        )
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(Config::load(&path).unwrap().1.is_empty());
}

#[test]
fn a_file_with_a_password_that_others_can_read_is_warned_about_when_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{NINE_KEYS}permissions = \"warn\"\n");
    let path = written(folder.path(), "config.toml", &text, 0o604);
    let (_, warnings) = Config::load(&path).unwrap();
    let [warning] = &warnings[..] else { panic!("one warning: {warnings:?}") };
    assert!(warning.to_string().ends_with(&format!("wanted: chmod o= {}", path.display())));
}

#[test]
fn a_file_without_a_password_may_be_read_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let text = NINE_KEYS.replace("certdata", "");
    let path = written(folder.path(), "config.toml", &text, 0o644);
    assert!(Config::load(&path).unwrap().1.is_empty());
}

#[test]
fn the_password_is_the_first_line_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let password = written(folder.path(), "password", " se cret\r\nsecond\n", 0o600);
    let text = NINE_KEYS.replace("dbpassword = \"certdata\"", "");
    let text = format!("{text}[database]\npassword_file = \"password\"\n");
    let path = written(folder.path(), "config.toml", &text, 0o644);
    let Database::Mysql(options) = &Config::load(&path).unwrap().0.issuers[0].database else {
        panic!("MySQL")
    };
    assert_eq!(options.password, " se cret");

    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Config::load(&path).unwrap_err().to_string();
    assert!(refused.contains("password_file can be read by every user"), "{refused}");
    assert!(refused.contains(&format!("chmod o= {}", password.display())), "{refused}");

    written(folder.path(), "password", "\n", 0o600);
    let refused = Config::load(&path).unwrap_err().to_string();
    assert!(refused.ends_with("has no password, wanted one in its first line"), "{refused}");
}

#[test]
fn one_file_of_two_cas_is_found_out_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("sub")).unwrap();
    std::os::unix::fs::symlink(path("there"), path("link")).unwrap();
    std::os::unix::fs::symlink(folder.path(), path("self")).unwrap();
    fs::write(path("there"), "").unwrap();
    fs::write(path("other"), "").unwrap();
    let is_refused = |key: &str, [one, other]: [&str; 2]| {
        let issuer =
            |file| format!("[[issuer]]\ncertificate = \"a\"\nkey = \"b\"\n{key} = {file:?}\n");
        let text = issuer(one) + &issuer(other);
        match Config::parse(&text, &path("config.toml")) {
            Ok(_) => false,
            Err(errors) => {
                let wanted = format!("{key} is {other}, as that of another [[issuer]]");
                assert!(errors.to_string().contains(&wanted), "{errors}");
                true
            }
        }
    };
    for name in ["there", "missing"] {
        let absolute = path(name).display().to_string();
        let [up, twice] = [format!("sub/../{name}"), format!(".//self/{name}")];
        for spelling in [name, &absolute, &up, &twice] {
            assert!(is_refused("index", [name, spelling]), "{spelling}");
            assert!(is_refused("crl", [spelling, name]), "{spelling}");
            assert!(!is_refused("index", ["other", spelling]), "{spelling}");
        }
    }
    assert!(is_refused("index", ["there", "link"]));
    assert!(!is_refused("index", ["there", "missing"]));
}

#[test]
fn a_file_that_is_missing_or_no_text_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let message = || Config::load(&path).unwrap_err().to_string();
    assert_eq!(message(), format!("{}: no such file", path.display()));

    fs::write(&path, b"port = 9000\ndbname = \"caf\xe9\"\n").unwrap();
    let expected = format!("{}:2:14: not UTF-8, wanted a text file in UTF-8", path.display());
    assert_eq!(message(), expected);

    fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert_eq!(message(), format!("{}: too large, wanted at most 1MiB", path.display()));

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(message().starts_with(&format!("{}: cannot be read, ", path.display())));
}

#[test]
fn every_known_key_is_read() {
    for (table, keys) in ocsp_fcgi::config::KEYS {
        let header = match table {
            "" => String::new(),
            "issuer" => "[[issuer]]\n".to_owned(),
            _ => format!("[{table}]\n"),
        };
        for key in keys {
            let text = format!("{header}{key} = 1979-05-27\n");
            let printed = Config::parse(&text, Path::new("config.toml")).unwrap_err().to_string();
            assert!(printed.contains(&format!(": {key} is ")), "[{table}] {key}: {printed}");
        }
    }
}

#[test]
fn no_message_repeats_a_password() {
    let text = NINE_KEYS.replace("\"certdata\"", "[\"hunter2\"]");
    let unclosed = NINE_KEYS.replace("\"certdata\"", "\"hunter2");
    let bare = NINE_KEYS.replace("\"certdata\"", "hunter2");
    for text in [text, unclosed, bare] {
        let printed = Config::parse(&text, Path::new("config.toml")).unwrap_err().to_string();
        assert!(printed.contains(":6:"), "{printed}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = Config::parse(&text, Path::new("config.toml"));
    }

    #[test]
    fn no_toml_panics(
        lines in prop::collection::vec((KEY, "[=:. ]{0,2}", VALUE), 0..12)
    ) {
        let text: String =
            lines.iter().map(|(key, sign, value)| format!("{key}{sign}{value}\n")).collect();
        let _ = Config::parse(&text, Path::new("config.toml"));
    }

    #[test]
    fn no_value_panics(key in KEY, value in VALUE) {
        for (table, keys) in ocsp_fcgi::config::KEYS {
            let header = if table.is_empty() { String::new() } else { format!("[{table}]") };
            let lines: String = keys.iter().map(|known| format!("{known} = {value}\n")).collect();
            let text = format!("{header}\n{lines}{key} = {value}\n");
            let _ = Config::parse(&text, Path::new("config.toml"));
        }
    }
}

/// What is printed about `case`, where that is not what stands beside it.
fn difference(case: &Path) -> Option<String> {
    let text = fs::read_to_string(case).unwrap();
    let errors = Config::parse(&text, case).unwrap_err();
    // Without the folder, as if the program ran there.
    let printed = format!("{errors}\n").replace(&format!("{FOLDER}/"), "");
    let expected = fs::read_to_string(case.with_extension("stderr")).unwrap_or_default();
    (printed != expected).then(|| format!("{} prints\n{printed}not\n{expected}", case.display()))
}

fn written(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

const FOLDER: &str = "tests/data/config-errors";
const KEY: &str = r#"[a-z]{1,4}|"[^"]{0,4}"|dbip|port|dbuser|\[[a-z]{1,4}\]|\[\[issuer\]\]|cache"#;
const VALUE: &str = r#"[0-9]{1,20}|-?[0-9]{1,20}[.][0-9]{1,4}|"\PC{0,8}"|nan|\[("[^"]{0,4}",?){0,3}\]|\PC{0,8}|"[0-9]{1,20}(ms|s|m|h|d|GiB)""#;
/// The file as the earlier responder documents it.
const NINE_KEYS: &str = r#"cachedays = 3                 # days that an answer is valid (valid certificates)
dbip = "127.0.0.1"            # database host
dbuser = "cert"
port = 9000                   # 1 to 65535
dbname = "certs"
dbpassword = "certdata"
cachefolder = "cache/"        # relative or absolute; created when missing
itcert = "/var/public_files/it_cert.crt"      # the issuing (intermediate) CA's certificate
itkey = "/var/private_files/it_privkey.pem"   # its private key
"#;
