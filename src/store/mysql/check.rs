//! What an administrator wants to know of each host (command `check`).

use std::sync::Arc;

use mysql::Conn;
use mysql::prelude::Queryable;

use crate::store::mysql::dial::{Dialler, quoted_table, words};
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
    let table = quoted_table(&dialler.options.table);
    let problem = |error: mysql::Error| Finding::Problem(words(&error));
    let version = version(&mut conn).unwrap_or_else(problem);
    if let Err(error) = conn.prep(dialler.statement()) {
        return vec![version, problem(error)];
    }
    vec![
        version,
        rows(&mut conn, &table).unwrap_or_else(problem),
        key(&mut conn, &table).unwrap_or_else(problem),
        grants(&mut conn).unwrap_or_else(problem),
    ]
}

fn version(conn: &mut Conn) -> mysql::Result<Finding> {
    let version: Option<String> = conn.query_first("SELECT VERSION()")?;
    let cipher: Option<(String, String)> = conn.query_first("SHOW STATUS LIKE 'Ssl_cipher'")?;
    let version = version.unwrap_or_default();
    Ok(Finding::Fine(match cipher.map(|(_, cipher)| cipher).filter(|cipher| !cipher.is_empty()) {
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
    Ok(Finding::rows(conn.query_first(query)?.unwrap_or_default()))
}

fn key(conn: &mut Conn, table: &str) -> mysql::Result<Finding> {
    let query =
        format!("SHOW INDEX FROM {table} WHERE Column_name = 'cert_num' AND Seq_in_index = 1");
    let indexes: Vec<mysql::Row> = conn.query(query)?;
    let names: Vec<String> = indexes.iter().filter_map(|row| row.get("Key_name")).collect();
    Ok(match names.first() {
        Some(name) => Finding::Fine(format!("rows are found by the key {name}")),
        None => Finding::Warning("cert_num has no key, so each question reads all rows".into()),
    })
}

fn grants(conn: &mut Conn) -> mysql::Result<Finding> {
    let grants: Vec<String> = conn.query("SHOW GRANTS")?;
    let more: Vec<String> = grants.iter().filter_map(|grant| beyond_select(grant)).collect();
    Ok(match more.is_empty() {
        true => Finding::Fine("the account may only SELECT".into()),
        false => Finding::Warning(format!(
            "the account may do more than SELECT: {}; REVOKE it",
            more.join(", ")
        )),
    })
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
