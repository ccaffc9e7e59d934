//! Looks at some rows as questions would.

use crate::logging::{chain, quoted};
use crate::store::{Finding, Report, StatusStore, StoreError, WalkError, Wanted};

/// The reports of a database, and what its first rows say, where it can be asked at all.
pub(super) fn with_rows(mut reports: Vec<Report>, store: &dyn StatusStore) -> Vec<Report> {
    if let Some(report) = reports.iter_mut().find(|report| report.is_usable()) {
        match findings(store) {
            Ok(None) if !report.findings.contains(&Finding::rows(0)) => {
                let warning = "the table has rows, and none of this CA".to_owned();
                report.findings.push(Finding::Warning(warning));
            }
            Ok(findings) => report.findings.extend(findings.into_iter().flatten()),
            // A key that is good for questions may be slow for this.
            Err(error) => {
                let warning = format!("rows were not looked at: {}", chain(&error));
                report.findings.push(Finding::Warning(warning));
            }
        }
    }
    reports
}

/// `None`: the CA has none.
fn findings(store: &dyn StatusStore) -> Result<Option<Vec<Finding>>, WalkError> {
    let Some(page) = store.walk(Wanted::Serials)?.next_page()? else { return Ok(None) };
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
        let (example, number) = (all.first()?, all.len());
        Some(format!("{number} of {looked_at} rows looked at {what}, as {example}"))
    };
    let wanted = "not as serial in [database.values] has it";
    let unreadable =
        told(&unreadable, &format!("have a serial number that cannot be read, {wanted}"));
    // One beside others is of no certificate, and no question can ask for it.
    let unreadable = unreadable.map(match serials.is_empty() {
        true => Finding::Problem,
        false => Finding::Warning,
    });
    let lost = told(&lost, &format!("are not found by their serial number, {wanted}"));
    let broken = told(&broken, "cannot be understood, and get internalError");
    let others = [lost, broken].into_iter().flatten().map(Finding::Problem);
    Ok(Some(unreadable.into_iter().chain(others).collect()))
}
