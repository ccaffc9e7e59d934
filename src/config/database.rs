//! The table `[database]`: MySQL, SQLite or a file, and what each needs.

use std::io;
use std::time::Duration;

use crate::config::file::{Field, File};
use crate::config::secrets::{self, Readers};
use crate::config::{Database, mapping, sources, values};
use crate::signer::private_file::ReadableByOthers;
use crate::store::{Mapping, mysql, sqlite};

/// Reads `[database]`: where the statuses of the CAs come from that have no file of
/// their own. `None`: what is wrong is reported, or no CA needs it.
pub(super) fn read(
    file: &File<'_>,
    readers: Readers,
    permissions: ReadableByOthers,
) -> Option<Database> {
    let section = file.section("database");
    let sqlite = section.path("sqlite");
    let own_file = sources::file(file, &section);
    let mapping = mapping::read(file);
    let Some((key, at)) = sqlite.at.map(|at| (sqlite.key, at)).or(own_file.place) else {
        return mysql(file, mapping, readers, permissions).map(Database::Mysql);
    };
    for (table, other) in MYSQL_KEYS {
        if let Some(other_at) = file.section(table).at(other) {
            file.report_both((other, other_at), (key, at));
        }
    }
    if sqlite.at.is_none() {
        sources::report_mapping(file, (key, at));
        return own_file.database;
    }
    if let Some(other) = own_file.place {
        file.report_both(other, (key, at));
    }
    Some(Database::Sqlite(sqlite::Options { path: sqlite.value?, mapping: mapping? }))
}

fn mysql(
    file: &File<'_>,
    mapping: Option<Mapping>,
    readers: Readers,
    permissions: ReadableByOthers,
) -> Option<mysql::Options> {
    let section = file.section("database");
    let hosts = file.root().list("dbip", HOST, |value| values::host(value.as_str()?));
    let user = file.root().text("dbuser");
    let name = file.root().text("dbname");
    let own_password = file.root().secret("dbpassword");
    let password_file = password_file(file, permissions);
    let timeout = |key, default| section.duration(key, MILLISECOND..=MINUTE, default).or(default);
    let connections = section.number("connections", 1..=1_024).or(CONNECTIONS);
    let [connect_timeout, answer_timeout, retry_pause] = [
        timeout("connect_timeout", CONNECT_TIMEOUT),
        timeout("timeout", TIMEOUT),
        timeout("retry_pause", RETRY_PAUSE),
    ];
    let tls = tls(file);

    if let (Some(at), Some(other)) = (own_password.at, password_file.at) {
        file.report_both((password_file.key, other), (own_password.key, at));
    }
    if let (Some(at), Readers::Everyone) = (own_password.at, readers)
        && own_password.value.as_ref().is_some_and(|password| !password.is_empty())
    {
        let what = (own_password.key, at);
        secrets::report_exposed(&file.report, what, &file.path, permissions);
    }
    let password_at = own_password.at.or(password_file.at);
    let is_given = [hosts.at, user.at, name.at, password_at].iter().any(Option::is_some);
    if is_given || sources::is_database_needed(file) {
        file.require(
            &[
                (&["dbip"], hosts.at, "the host of the database"),
                (&["dbuser"], user.at, "an account that may SELECT"),
                (&["dbname"], name.at, "the name of the database"),
                (
                    &["dbpassword", "password_file"],
                    password_at,
                    "the password, or password_file in [database]",
                ),
            ],
            &["sqlite", "index", "crl", "database"],
            "no database, wanted dbip, dbuser, dbname and dbpassword, or one of sqlite, index \
             and crl in [database]",
        );
    }
    Some(mysql::Options {
        hosts: hosts.value?,
        user: user.value?,
        password: own_password.value.or(password_file.value)?,
        name: name.value?,
        mapping: mapping?,
        connections,
        renew_after: RENEW_AFTER,
        connect_timeout,
        timeout: answer_timeout,
        retry_pause,
        tls,
    })
}

/// The first line of the file that `password_file` names.
fn password_file(file: &File<'_>, permissions: ReadableByOthers) -> Field<String> {
    let Field { key, at, value: path } = file.section("database").path("password_file");
    let (Some(offset), Some(path)) = (at, path) else { return Field { key, at, value: None } };
    let shown = path.display();
    let value = match secrets::read(&path, PASSWORD_FILE_OCTETS) {
        Ok((octets, readers)) => {
            if readers == Readers::Everyone {
                secrets::report_exposed(&file.report, (key, offset), &path, permissions);
            }
            let line = octets.split(|&octet| octet == b'\n').next().unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let password = str::from_utf8(line).ok().map(str::to_owned);
            let password = password
                .filter(|text| !text.is_empty() && text.len() as u64 <= PASSWORD_FILE_OCTETS);
            if password.is_none() {
                let problem =
                    format!("{key} {shown} has no password, wanted one in its first line");
                file.report.error(offset, problem);
            }
            password
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            file.report.error(offset, format!("{key} {shown} does not exist"));
            None
        }
        Err(error) => {
            file.report.error(offset, format!("{key} {shown} cannot be read, {error}"));
            None
        }
    };
    Field { key, at, value }
}

fn tls(file: &File<'_>) -> mysql::Tls {
    #[derive(Clone, Copy, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        Off,
        Required,
    }
    let section = file.section("database");
    let mode = section.choice::<Mode>("tls");
    let ca = section.path("tls_ca");
    match (mode.value, ca.at) {
        (Some(Mode::Required), _) => mysql::Tls::Required { ca: ca.value },
        (mode, Some(at)) => {
            if mode.is_some() || section.at("tls").is_none() {
                file.report.error(at, "tls_ca is given, wanted tls = \"required\" with it".into());
            }
            mysql::Tls::Off
        }
        _ => mysql::Tls::Off,
    }
}

const MYSQL_KEYS: [(&str, &str); 11] = [
    ("", "dbip"),
    ("", "dbuser"),
    ("", "dbname"),
    ("", "dbpassword"),
    ("database", "password_file"),
    ("database", "connections"),
    ("database", "connect_timeout"),
    ("database", "timeout"),
    ("database", "retry_pause"),
    ("database", "tls"),
    ("database", "tls_ca"),
];
const HOST: &str = "a host, host:port, [v6]:port or /path/of/socket, or an array of them";
const CONNECTIONS: usize = 16;
/// The crate for MySQL reads into a buffer of 4 MiB for each connection, and uses all of it
/// before it begins anew: some 50 octets for each question. So it stays below 512 KiB.
const RENEW_AFTER: u32 = 8_192;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const PASSWORD_FILE_OCTETS: u64 = 4_096;
