//! Which keys there are; where others stand in a file, and what was perhaps meant.

use crate::config::error::printable;
use crate::config::file::{File, Number, Section};

/// Every key there is, by table; the first table is the top of the file.
pub const KEYS: [(&str, &[&str]); 11] = [
    (
        "",
        &[
            "cachedays",
            "dbip",
            "dbuser",
            "port",
            "dbname",
            "dbpassword",
            "cachefolder",
            "itcert",
            "itkey",
            "itkey_password_file",
            "itkey_password_credential",
            "itkey_password_env",
            "itsigner",
            "permissions",
        ],
    ),
    ("listen", &["addresses", "unix", "unix_owner", "unix_group", "unix_mode"]),
    (
        "database",
        &[
            "sqlite",
            "index",
            "crl",
            "unlisted",
            "table",
            "password_file",
            "connections",
            "connect_timeout",
            "timeout",
            "retry_pause",
            "tls",
            "tls_ca",
        ],
    ),
    ("cache", &["files", "freshness", "memory", "store_down"]),
    (
        "answers",
        &[
            "validity",
            "non_issued_validity",
            "back_date",
            "non_issued",
            "nonce",
            "responder_id",
            "rsa_padding",
            "max_age",
            "archive",
            "requests",
        ],
    ),
    (
        "limits",
        &[
            "workers",
            "connections",
            "request_bytes",
            "request_certificates",
            "read_timeout",
            "idle_timeout",
            "signing_threads",
            "signing_queue",
        ],
    ),
    ("log", &["target", "level"]),
    ("presigned", &["folder", "ca"]),
    (
        "issuer",
        &[
            "certificate",
            "key",
            "key_password_file",
            "key_password_credential",
            "key_password_env",
            "signer",
            "next_key",
            "next_key_password_file",
            "next_key_password_credential",
            "next_key_password_env",
            "next_signer",
            "next_from",
            "table",
            "issuer_value",
            "index",
            "crl",
            "unlisted",
            "validity",
            "non_issued_validity",
            "non_issued",
            "nonce",
            "responder_id",
            "archive",
        ],
    ),
    // Last, as who writes `certificate` in a wrong place means that of an issuer.
    (
        "database.columns",
        &["serial", "status", "revocation_time", "revocation_reason", "issuer", "certificate"],
    ),
    ("database.values", &["serial", "good", "revoked", "reasons", "time_zone"]),
];

/// The keys of one table.
pub(super) fn of_table(name: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(table, _)| *table == name).map_or(&[], |(_, keys)| keys)
}

/// Reports each unknown key and each table that is none; gives the keys that were
/// perhaps meant, which need not be reported as missing.
pub(super) fn report_others(file: &File<'_>) -> Vec<&'static str> {
    let mut meant = Vec::new();
    for (table, keys) in KEYS {
        if table.is_empty() {
            let known: Vec<_> = keys.iter().copied().chain(tables_in("")).collect();
            meant.extend(others_of(file, file.root(), &known));
            continue;
        }
        let known: Vec<_> = keys.iter().copied().chain(tables_in(table)).collect();
        let number = if table == SEVERAL { Number::Several } else { Number::One };
        if !file.require_table(table, number) {
            meant.push(table);
        }
        let sections = match number {
            Number::One => vec![file.section(table)],
            Number::Several => {
                file.sections(table).into_iter().map(|(_, section)| section).collect()
            }
        };
        for section in sections {
            meant.extend(others_of(file, section, &known));
        }
    }
    meant
}

/// The same for one table.
fn others_of(file: &File<'_>, section: Section<'_>, known: &[&'static str]) -> Vec<&'static str> {
    // A table whose end is missing holds the keys of the next.
    if !file.report.is_toml() {
        return Vec::new();
    }
    let mut meant = Vec::new();
    for (key, at) in section.keys().filter(|(key, _)| !known.contains(key)) {
        let hint = if let Some((table, key)) = elsewhere(key) {
            meant.push(key);
            format!("its place is {}", place(table))
        } else if let Some(guess) = closest(key, known) {
            meant.push(guess);
            format!("perhaps {guess} was meant")
        } else {
            format!("wanted one of {}", known.join(", "))
        };
        let here = match section.name() {
            "" => String::new(),
            table => format!(" in {}", place(table)),
        };
        file.report.error(at, format!("unknown key {}{here}, {hint}", printable(key)));
    }
    meant
}

/// The key of the same name in another table.
fn elsewhere(key: &str) -> Option<(&'static str, &'static str)> {
    KEYS.iter().find_map(|(table, keys)| {
        keys.iter().find(|known| **known == key).map(|known| (*table, *known))
    })
}

/// The known key that `key` may be a slip of.
fn closest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > LONGEST_SLIP {
        return None;
    }
    let written = key.to_lowercase().replace('-', "_");
    let most = (written.len() / 3).max(1);
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&written, known), *known))
        .filter(|&(distance, _)| distance <= most)
        .min()
        .map(|(_, known)| known)
}

fn place(table: &str) -> String {
    match table {
        "" => "before the first [table]".to_owned(),
        SEVERAL => format!("[[{table}]]"),
        _ => format!("[{table}]"),
    }
}

/// The tables in another; those at the top of the file in the one without a name.
fn tables_in(outer: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(move |(name, _)| match name.rsplit_once('.') {
        Some((before, inner)) => (before == outer).then_some(inner),
        None => (outer.is_empty() && !name.is_empty()).then_some(*name),
    })
}

/// The one table that may stand several times.
const SEVERAL: &str = "issuer";
const LONGEST_SLIP: usize = 40;
