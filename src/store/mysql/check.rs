//! What an administrator wants to know of each host (command `check`).

use std::sync::Arc;

use mysql::Conn;
use mysql::prelude::Queryable;

use crate::serial::Serial;
use crate::store::mapping::{Dialect, Mapping};
use crate::store::mysql::dial::{self, Dialler};
use crate::store::mysql::errors::words;
use crate::store::mysql::session;
use crate::store::{Finding, MOST_ROWS_COUNTED, Report};

pub(super) fn reports(dialler: &Arc<Dialler>) -> Vec<Report> {
    let hosts = 0..dialler.options.hosts.len();
    hosts
        .map(|host| Report { place: dialler.name(host), findings: findings(dialler, host) })
        .collect()
}

fn findings(dialler: &Arc<Dialler>, host: usize) -> Vec<Finding> {
    let mut conn = match dialler.connection(host) {
        Ok(conn) => conn,
        Err(problem) => return vec![Finding::Problem(problem)],
    };
    let mapping = &dialler.options.mapping;
    let table = Dialect::Mysql.quoted_table(&mapping.table);
    let problem = |error: mysql::Error| Finding::Problem(words(&error));
    let version = version(&mut conn).unwrap_or_else(problem);
    let asked = Finding::Fine(format!("asks {}", dialler.statement()));
    if let Err(error) = ask(&mut conn, &dialler.statement(), mapping) {
        return vec![version, asked, problem(error)];
    }
    let mut findings = vec![
        version,
        asked,
        rows(&mut conn, &table).unwrap_or_else(problem),
        key(&mut conn, mapping, &table).unwrap_or_else(problem),
        grants(&mut conn).unwrap_or_else(problem),
    ];
    findings.extend(behind(&mut conn).unwrap_or_else(|error| Some(problem(error))));
    findings
}

fn version(conn: &mut Conn) -> mysql::Result<Finding> {
    let version: String = session::first(conn, "SELECT VERSION()")?.unwrap_or_default();
    let cipher: Option<mysql::Row> = conn.query_first("SHOW STATUS LIKE 'Ssl_cipher'")?;
    let cipher = cipher.and_then(|row| row.get_opt::<String, _>(1)?.ok());
    Ok(Finding::Fine(match cipher.filter(|cipher| !cipher.is_empty()) {
        Some(cipher) => format!("server {version}, encrypted with {cipher}"),
        None => format!("server {version}"),
    }))
}

fn rows(conn: &mut Conn, table: &str) -> mysql::Result<Finding> {
    // Bounded: InnoDB counts by reading.
    let query = format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM {table} LIMIT {}) AS some_rows",
        MOST_ROWS_COUNTED + 1
    );
    Ok(Finding::rows(session::first(conn, &query)?.unwrap_or_default()))
}

/// Asks for a serial as each question does.
fn ask(conn: &mut Conn, statement: &str, mapping: &Mapping) -> mysql::Result<()> {
    let statement = conn.prep(statement)?;
    let parameters = mapping.parameters(&Serial::PROBE, Dialect::Mysql);
    dial::rows(conn, &statement, &parameters).map(drop)
}

fn key(conn: &mut Conn, mapping: &Mapping, table: &str) -> mysql::Result<Finding> {
    let parts: Vec<mysql::Row> = conn.query(format!("SHOW INDEX FROM {table}"))?;
    let parts = parts.iter().filter_map(|part| {
        let place: usize = part.get_opt("Seq_in_index")?.ok()?;
        let name: String = part.get_opt("Key_name")?.ok()?;
        // An expression has none.
        let column: Option<String> = part.get_opt("Column_name")?.ok()?;
        Some((name, place, column.unwrap_or_default()))
    });
    let mut keys: Vec<(String, Vec<String>)> = Vec::new();
    for (name, place, column) in parts {
        match keys.last_mut() {
            Some((last, columns)) if *last == name && place > 1 => columns.push(column),
            _ => keys.push((name, vec![column])),
        }
    }
    let found = keys.iter().find(|(_, columns)| serves(columns, mapping));
    Ok(match (found, &mapping.columns.issuer) {
        (Some((name, _)), _) => Finding::Fine(format!("rows are found by the key {name}")),
        (None, None) => Finding::Warning(format!(
            "{} has no key, so each question reads all rows",
            mapping.columns.serial
        )),
        (None, Some(issuer)) => Finding::Warning(format!(
            "no key begins with {} (and {issuer}), so each question reads many rows",
            mapping.columns.serial
        )),
    })
}

/// Whether a key on these columns leads to the rows of a serial.
fn serves(columns: &[String], mapping: &Mapping) -> bool {
    let is = |column: &String, name: &str| column.eq_ignore_ascii_case(name);
    let serial = mapping.columns.serial.as_str();
    match (columns, mapping.columns.issuer.as_deref()) {
        ([first, ..], _) if is(first, serial) => true,
        ([first, second, ..], Some(issuer)) => is(first, issuer) && is(second, serial),
        _ => false,
    }
}

fn grants(conn: &mut Conn) -> mysql::Result<Finding> {
    let grants: Vec<mysql::Row> = conn.query("SHOW GRANTS")?;
    let grants = grants.iter().filter_map(|row| row.get_opt::<String, _>(0)?.ok());
    let more: Vec<String> = grants.filter_map(|grant| beyond_select(&grant)).collect();
    Ok(match more.is_empty() {
        true => Finding::Fine("the account may only SELECT".into()),
        false => Finding::Warning(format!(
            "the account may do more than SELECT: {}; REVOKE it",
            more.join(", ")
        )),
    })
}

/// A server that may say what was true before, as its changes come from others. How far it is
/// behind only accounts with more rights may ask.
fn behind(conn: &mut Conn) -> mysql::Result<Option<Finding>> {
    // A number, or a word where it has more than two values.
    let is_read_only: Option<bool> =
        session::first(conn, "SELECT @@GLOBAL.read_only NOT IN ('0', 'OFF')")?;
    // Unknown without the plugin for groups. Before 8.0.14 a member does not wait.
    let waits: mysql::Result<Option<bool>> = session::first(
        conn,
        "SELECT @@GLOBAL.group_replication_group_name <> '' \
         AND @@SESSION.group_replication_consistency = 'BEFORE'",
    );
    if matches!(waits, Ok(Some(true))) {
        // A member answers when it is not behind (`session::set_up`).
        return Ok(session::is_out_of_its_group(conn).is_err().then(|| {
            Finding::Warning(
                "the account is not told whether this is a member of its group, so that one that \
                 has not joined again is believed; wanted: \
                 GRANT SELECT ON performance_schema.replication_group_members"
                    .into(),
            )
        }));
    }
    Ok((is_read_only == Some(true)).then(|| {
        Finding::Warning(
            "read only, as a replica is: what is revoked shows only when it has got there, however \
             long that takes"
                .into(),
        )
    }))
}

/// What a line of SHOW GRANTS allows besides reading: `INSERT, UPDATE on *.*`.
fn beyond_select(grant: &str) -> Option<String> {
    // A role, whose own grants are listed too, has no ON.
    let (privileges, rest) = grant.strip_prefix("GRANT ")?.split_once(" ON ")?;
    let object = rest.split(" TO ").next().unwrap_or_default();
    let mut beyond: Vec<&str> = split(privileges)
        .into_iter()
        .filter(|name| !matches!(name.split(" (").next(), Some("SELECT" | "USAGE" | "SHOW VIEW")))
        .collect();
    if rest.ends_with("WITH GRANT OPTION") {
        beyond.push("GRANT OPTION");
    }
    (!beyond.is_empty()).then(|| format!("{} on {object}", beyond.join(", ")))
}

/// Splits at commas that are not between the parentheses of a list of columns.
fn split(privileges: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let at_comma = |character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    };
    privileges.split(at_comma).map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_account_may_besides_reading_is_named() {
        let more = |grant| beyond_select(grant).unwrap_or_default();
        assert_eq!(more("GRANT USAGE ON *.* TO `cert`@`%` IDENTIFIED BY PASSWORD '*0'"), "");
        assert_eq!(more("GRANT SELECT ON `certs`.`list_certs` TO `cert`@`%`"), "");
        assert_eq!(more("GRANT SELECT (`cert_num`, `status`) ON `a`.`b` TO `c`@`%`"), "");
        assert_eq!(more("GRANT `reader` TO `cert`@`%`"), "");
        assert_eq!(
            more("GRANT SELECT, INSERT, UPDATE (`a`, `b`) ON `c`.* TO `d`@`%`"),
            "INSERT, UPDATE (`a`, `b`) on `c`.*"
        );
        assert_eq!(
            more("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"),
            "ALL PRIVILEGES, GRANT OPTION on *.*"
        );
    }
}
