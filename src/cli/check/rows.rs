//! Looks at some rows as questions would.

use crate::logging::{chain, quoted};
use crate::store::{Finding, Report, StatusStore, StoreError, WalkError, Wanted};

/// The reports of a database, and what its first rows say, where it can be asked at all.
pub(super) fn with_rows(mut reports: Vec<Report>, store: &dyn StatusStore) -> Vec<Report> {
    if let Some(report) = reports.iter_mut().find(|report| report.is_usable()) {
        match findings(store) {
            Ok(findings) => report.findings.extend(findings),
            Err(error) => {
                report.findings.push(Finding::Problem(format!("rows: {}", chain(&error))));
            }
        }
    }
    reports
}

fn findings(store: &dyn StatusStore) -> Result<Vec<Finding>, WalkError> {
    let Some(page) = store.walk(Wanted::Serials)?.next_page()? else { return Ok(Vec::new()) };
    let serials: Vec<_> = page.listed.iter().map(|listed| listed.serial).collect();
    let mut lost = Vec::new();
    let mut broken = Vec::new();
    for (serial, found) in serials.iter().zip(store.find_many(&serials)?) {
        match found {
            Ok(Some(_)) => {}
            Ok(None) => lost.push(serial.to_string()),
            Err(StoreError::BadRow { key, problem }) => {
                broken.push(format!("{}: {problem}", quoted(key)));
            }
            Err(error) => broken.push(format!("{serial}: {}", chain(&error))),
        }
    }
    let unreadable: Vec<_> = page.unreadable.iter().map(|key| quoted(key).to_string()).collect();
    let looked_at = serials.len() + unreadable.len();
    let told = |all: &[String], what: &str| {
        let example = all.first()?;
        let number = all.len();
        Some(Finding::Problem(format!(
            "{number} of {looked_at} rows looked at {what}, as {example}"
        )))
    };
    let wanted = "not as serial in [database.values] has it";
    Ok([
        told(&unreadable, &format!("have a serial number that cannot be read, {wanted}")),
        told(&lost, &format!("are not found by their serial number, {wanted}")),
        told(&broken, "cannot be understood, and get internalError"),
    ]
    .into_iter()
    .flatten()
    .collect())
}
