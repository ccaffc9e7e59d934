//! The keys about the database: MySQL or SQLite, and what each needs.

use std::io;
use std::time::Duration;

use crate::config::file::{Field, File, Section};
use crate::config::secrets::{self, Readers};
use crate::config::{Database, Permissions, values};
use crate::store::{mysql, sqlite};

/// Reads where statuses come from. `None`: what is wrong is reported.
pub(super) fn read(
    file: &File<'_>,
    readers: Readers,
    permissions: Permissions,
) -> Option<Database> {
    let section = file.section("database");
    let sqlite = section.path("sqlite");
    let table = table(&section).or(TABLE.to_owned());
    let Some(sqlite_at) = sqlite.at else {
        return mysql(file, table, readers, permissions).map(Database::Mysql);
    };
    for (table, key) in MYSQL_KEYS {
        if let Some(at) = file.section(table).at(key) {
            file.report_both((key, at), ("sqlite", sqlite_at));
        }
    }
    Some(Database::Sqlite(sqlite::Options { path: sqlite.value?, table }))
}

fn mysql(
    file: &File<'_>,
    table: String,
    readers: Readers,
    permissions: Permissions,
) -> Option<mysql::Options> {
    let section = file.section("database");
    let hosts = file.root().list("dbip", HOST, values::host);
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
    file.require(
        &[
            (&["dbip"], hosts.at, "the host of the database"),
            (&["dbuser"], user.at, "an account that may SELECT"),
            (&["dbname"], name.at, "the name of the database"),
            (
                &["dbpassword", "password_file"],
                own_password.at.or(password_file.at),
                "the password, or password_file in [database]",
            ),
        ],
        &["sqlite", "database"],
        "no database, wanted dbip, dbuser, dbname and dbpassword, or sqlite in [database]",
    );
    Some(mysql::Options {
        hosts: hosts.value?,
        user: user.value?,
        password: own_password.value.or(password_file.value)?,
        name: name.value?,
        table,
        connections,
        connect_timeout,
        timeout: answer_timeout,
        retry_pause,
        tls,
    })
}

/// The first line of the file that `password_file` names.
fn password_file(file: &File<'_>, permissions: Permissions) -> Field<String> {
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

/// The name of a table, of the database or of one issuer.
pub(super) fn table(section: &Section<'_>) -> Field<String> {
    let wanted = "a name, or two with a point between, of letters, digits, _ and $";
    section.field("table", wanted, |value| values::table_name(value.as_str()?))
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
/// The table of the earlier responder.
pub(super) const TABLE: &str = "list_certs";
const HOST: &str = "a host, host:port, [v6]:port or /path/of/socket, or an array of them";
const CONNECTIONS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const PASSWORD_FILE_OCTETS: u64 = 4_096;
