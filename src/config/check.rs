//! A file to [`Config`]: all problems at once, each with its place.
//!
//! Opens no key, certificate, socket or database; of files, reads the configuration
//! and the one that `password_file` names.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use log::LevelFilter;
use serde::Deserialize;

use crate::config::error::{ConfigErrors, Warning};
use crate::config::file::{Field, File, Section};
use crate::config::secrets::{self, Readers};
use crate::config::{
    Config, Database, Issuer, Listen, Log, Presigned, Signer, UnixSocket, answers, database, keys,
    sources, values,
};
use crate::responder::policy::Policy;
use crate::signer::password::PasswordSource;

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// Every problem of the file; among them, that others can read a password.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let (octets, readers) = secrets::read(path, FILE_OCTETS).map_err(|error| {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => "no such file".to_owned(),
                _ => format!("cannot be read, {error}"),
            };
            ConfigErrors::of_file(path, problem)
        })?;
        if octets.len() as u64 > FILE_OCTETS {
            let most = values::size_text(FILE_OCTETS);
            return Err(ConfigErrors::of_file(path, format!("too large, wanted at most {most}")));
        }
        let text = str::from_utf8(&octets).map_err(|error| {
            let (before, _) = octets.split_at(error.valid_up_to());
            let before = String::from_utf8_lossy(before);
            let problem = "not UTF-8, wanted a text file in UTF-8".to_owned();
            ConfigErrors::of_text(path, &before, before.len(), problem)
        })?;
        check(text, path, readers)
    }

    /// Checks `text` as if it came from `path`, whoever can read that.
    ///
    /// # Errors
    ///
    /// Every problem of the text.
    pub fn parse(text: &str, path: &Path) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        check(text, path, Readers::Chosen)
    }
}

fn check(
    text: &str,
    path: &Path,
    readers: Readers,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let mut file = File::parse(text, path);
    file.meant = keys::report_others(&file);
    let permissions = file.root().choice("permissions").or_default();
    let listen = listen(&file);
    let policy = answers::policy(&file);
    let database = database::read(&file, readers, permissions);
    let issuers = issuers(&file, &policy, database.as_ref());
    let presigned = presigned(&file);
    let cache = answers::cache(&file);
    let rsa_padding = file.section("answers").choice("rsa_padding").or_default();
    let limits = answers::limits(&file);
    let log = log(&file);
    let (warnings, errors) = file.report.finish(path, text);
    match (errors, issuers) {
        (None, Some(issuers)) => {
            let path = path.to_owned();
            let config = Config {
                path,
                listen,
                issuers,
                presigned,
                cache,
                policy,
                rsa_padding,
                limits,
                log,
                permissions,
            };
            Ok((config, warnings))
        }
        (Some(errors), _) => Err(errors),
        // Not reached: a part that is missing is reported. An error all the same,
        // for the operator's sake.
        (None, None) => Err(ConfigErrors::of_file(path, "incomplete".to_owned())),
    }
}

fn listen(file: &File<'_>) -> Listen {
    let section = file.section("listen");
    let port = file.root().number("port", 1..=65_535);
    let addresses = section.list("addresses", "an IP address, or an array of them", |value| {
        value.as_str()?.parse().ok()
    });
    let socket_path = section.field("unix", "a path of at most 107 octets", |value| {
        let path = section.resolve(value)?;
        (path.as_os_str().len() <= UNIX_PATH_OCTETS).then_some(path)
    });
    let owner = section.text("unix_owner");
    let group = section.text("unix_group");
    let mode = section.field("unix_mode", "an octal mode in quotes, such as \"0660\"", |value| {
        values::mode(value.as_str()?)
    });
    if let (Some(at), Some((one, other))) =
        (addresses.at, overlap(addresses.value.as_deref().unwrap_or_default()))
    {
        let problem = match one == other {
            true => format!("addresses has {one} twice"),
            false => format!("addresses has {one}, which {other} is part of, wanted: one of them"),
        };
        file.report.error(at, problem);
    }
    // Not errors: the socket may come from systemd, and the rest wait for its end.
    if let (Some(at), None) = (addresses.at, port.at) {
        file.report.warning(at, "addresses has no effect, wanted port with it".to_owned());
    }
    for (key, at) in [(owner.key, owner.at), (group.key, group.at), (mode.key, mode.at)] {
        if let (Some(at), None) = (at, socket_path.at) {
            file.report.warning(at, format!("{key} has no effect, wanted unix with it"));
        }
    }
    Listen {
        port: port.value.and_then(|port| port.try_into().ok()),
        addresses: addresses.or(Listen::loopback()),
        unix: socket_path.value.map(|path| UnixSocket {
            path,
            owner: owner.value,
            group: group.value,
            mode: mode.or(UNIX_MODE),
        }),
    }
}

/// Two addresses that cannot both be listened on with the same port.
fn overlap(addresses: &[IpAddr]) -> Option<(IpAddr, IpAddr)> {
    let has_too = |one: &IpAddr, other: &IpAddr| {
        one == other || (one.is_unspecified() && one.is_ipv4() == other.is_ipv4())
    };
    addresses.iter().enumerate().find_map(|(at, one)| {
        let mut others = addresses.iter().enumerate().filter(|(place, _)| *place != at);
        let (_, other) = others.find(|(_, other)| has_too(one, other))?;
        Some((*one, *other))
    })
}

fn issuers(file: &File<'_>, policy: &Policy, database: Option<&Database>) -> Option<Vec<Issuer>> {
    let tables = file.sections("issuer");
    let flat = flat_issuer(file, tables.first().map(|(at, _)| *at), policy, database);
    if tables.is_empty() {
        sources::report_issuer_column(file);
        return Some(vec![flat?]);
    }
    let mut seen = Vec::new();
    let issuers: Vec<Option<Issuer>> = tables
        .into_iter()
        .map(|(at, section)| {
            let of_issuer = sources::of_issuer(file, (at, &section), database);
            sources::report_same(file, (at, &section), &mut seen);
            issuer(file, (at, &section), policy, of_issuer)
        })
        .collect();
    issuers.into_iter().collect()
}

/// The keys of the one issuer that needs no table; an error beside `table`, where
/// there is one.
fn flat_issuer(
    file: &File<'_>,
    table: Option<usize>,
    policy: &Policy,
    database: Option<&Database>,
) -> Option<Issuer> {
    let root = file.root();
    let [certificate, key, signer] =
        ["itcert", "itkey", "itsigner"].map(|key| root.named_path(key));
    let password = key_password(
        &root,
        ["itkey_password_file", "itkey_password_credential", "itkey_password_env"],
    );
    if let Some(table) = table {
        let flat = [&certificate, &key, &signer]
            .into_iter()
            .find_map(|field| Some((field.key, field.at?)))
            .or_else(|| Some((password.key, password.at?)));
        if let Some(flat) = flat {
            file.report_both(("issuer", table), flat);
        }
        return None;
    }
    file.require(
        &[
            (&["itcert"], certificate.at, "the certificate of the CA"),
            (&["itkey"], key.at, "the key that signs the answers"),
        ],
        &["issuer", "itsigner"],
        "no CA, wanted itcert and itkey, or [[issuer]] with certificate and key",
    );
    sources::report_all_revoked(file, None, policy, database);
    Some(Issuer {
        certificate: certificate.value?,
        signer: Signer {
            key: key.value?,
            key_password: password.value,
            certificate: signer.value,
            from: None,
        },
        next: None,
        database: database?.clone(),
        policy: *policy,
    })
}

fn issuer(
    file: &File<'_>,
    (at, section): (usize, &Section<'_>),
    policy: &Policy,
    database: Option<Database>,
) -> Option<Issuer> {
    let [certificate, key, signer] =
        ["certificate", "key", "signer"].map(|key| section.named_path(key));
    for field in [&certificate, &key] {
        if field.at.is_none() && !file.meant.contains(&field.key) {
            let problem = format!("[[issuer]] without {}, wanted a path", field.key);
            file.report.error(at, problem);
        }
    }
    let password =
        key_password(section, ["key_password_file", "key_password_credential", "key_password_env"]);
    let next = next_signer(section);
    let policy = answers::policy_of_issuer(file, section, policy);
    sources::report_all_revoked(file, Some(section), &policy, database.as_ref());
    Some(Issuer {
        certificate: certificate.value?,
        signer: Signer {
            key: key.value?,
            key_password: password.value,
            certificate: signer.value,
            from: None,
        },
        next,
        database: database?,
        policy,
    })
}

fn presigned(file: &File<'_>) -> Option<Presigned> {
    let section = file.section("presigned");
    let [folder, ca] = ["folder", "ca"].map(|key| section.named_path(key));
    for (one, other) in [(&folder, &ca), (&ca, &folder)] {
        if let (Some(at), None) = (one.at, other.at) {
            let problem = format!("{} is given, wanted {} with it", one.key, other.key);
            file.report.error(at, problem);
        }
    }
    Some(Presigned { folder: folder.value?, ca: ca.value? })
}

fn next_signer(section: &Section<'_>) -> Option<Signer> {
    let [key, certificate] = ["next_key", "next_signer"].map(|key| section.named_path(key));
    let password = key_password(
        section,
        ["next_key_password_file", "next_key_password_credential", "next_key_password_env"],
    );
    let from = section.field(
        "next_from",
        "a date and time with its zone, such as 2027-01-31T12:00:00Z",
        |value| values::instant(value.as_datetime()?),
    );
    let others =
        [(certificate.key, certificate.at), (password.key, password.at), (from.key, from.at)];
    for (name, at) in others {
        if let (Some(at), None) = (at, key.at) {
            section.report().error(at, format!("{name} is given, wanted next_key with it"));
        }
    }
    Some(Signer {
        key: key.value?,
        key_password: password.value,
        certificate: certificate.value,
        from: from.value,
    })
}

/// The one of three keys that says where the password of a key comes from.
fn key_password(
    section: &Section<'_>,
    [file, credential, variable]: [&'static str; 3],
) -> Field<PasswordSource> {
    // A slip puts the password itself there.
    let credential = section.hidden(
        credential,
        "the name of a credential, as in LoadCredential=",
        values::credential_name,
    );
    let variable = section.hidden(
        variable,
        "the name of an environment variable: letters, digits and _",
        values::variable_name,
    );
    section.one_of(
        section.path(file).map(PasswordSource::File),
        [credential.map(PasswordSource::Credential), variable.map(PasswordSource::Variable)],
    )
}

fn log(file: &File<'_>) -> Log {
    let section = file.section("log");
    let level = match section.choice("level").or(Level::Info) {
        Level::Error => LevelFilter::Error,
        Level::Warn => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
        Level::Trace => LevelFilter::Trace,
        Level::Off => LevelFilter::Off,
    };
    Log { target: section.choice("target").or_default(), level }
}

/// The words of `log::LevelFilter` in lower case.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
    Off,
}

/// Far more than any configuration; a device does not fill the memory.
const FILE_OCTETS: u64 = 1 << 20;
/// `sun_path` of Linux, less its final NUL.
const UNIX_PATH_OCTETS: usize = 107;
const UNIX_MODE: u32 = 0o660;
