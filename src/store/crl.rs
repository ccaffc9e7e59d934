//! A CRL (RFC 5280 section 5) as a source of statuses.
//!
//! It tells what is revoked, and nothing of what was issued: a serial that is not on it
//! is not known, unless the operator says that it is good. What a CRL does not say
//! after its nextUpdate, nobody says. One that is older than the list that was read before
//! would take revocations back, and is not taken.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openssl::pkey::{PKey, Public};
use serde::Deserialize;

use crate::serial::Serial;
use crate::status::{Basis, CertRecord, CertStatus};
use crate::store::crl::decode::List;
use crate::store::listing::Said;
use crate::store::walk::File;
use crate::store::watched::{Age, Changes, Watched};
use crate::store::{Finding, Report, StatusStore, StoreError, Walk, WalkError, Wanted};
use crate::time::{Clock, Timestamp, Validity};

mod decode;
mod signature;

/// A CRL file.
pub struct Options {
    /// The file, PEM or DER.
    pub path: PathBuf,
    /// What is said of a serial that is not on it.
    pub unlisted: Unlisted,
    /// The CA that has signed it.
    pub issuer: Authority,
}

/// The CA whose CRL is believed.
pub struct Authority {
    /// DER of its name.
    pub subject: Vec<u8>,
    /// Its key.
    pub key: PKey<Public>,
}

/// What is said of a serial that is not on a CRL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlisted {
    /// Nothing: the CRL does not tell whether it was issued.
    #[default]
    Unknown,
    /// That it is good, until the CRL's nextUpdate; also one that was never issued.
    Good,
}

/// A CRL as a [`StatusStore`].
pub struct Crl {
    file: Watched<List>,
    unlisted: Unlisted,
    clock: Arc<dyn Clock>,
}

/// Why a CRL says nothing now.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
struct NotNow {
    path: Arc<str>,
    problem: String,
}

impl Crl {
    /// Does not read the file yet.
    #[must_use]
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Self {
        let Options { path, unlisted, issuer } = options;
        let by = Arc::clone(&clock);
        let parse = move |octets: &[u8], before: Option<&List>| {
            let list = List::parse(octets, &issuer, unlisted)?;
            let Some(before) = before else { return Ok(list) };
            list.following(before, by.now().saturating_add(SLACK))
        };
        let file = Watched::new(&path, Changes::Anyhow, Arc::clone(&clock), parse);
        Self { file, unlisted, clock }
    }

    /// What there is to say about the file.
    #[must_use]
    pub fn check(&self) -> Report {
        let findings = match self.file.get() {
            Err(unusable) => vec![Finding::Problem(unusable.problem.to_string())],
            Ok(content) => {
                let list = &content.value;
                let Validity { this_update, next_update } = list.validity;
                let count = list.listing.len();
                let shown = format!("revoked: {count}, from {this_update} to {next_update}");
                let mut findings = vec![Finding::Fine(shown)];
                if let Err(problem) = self.is_current(&list.validity) {
                    findings.push(Finding::Problem(problem));
                }
                if list.unknown_reasons > 0 {
                    findings.push(Finding::Warning(format!(
                        "reasons that are not known: {}",
                        list.unknown_reasons
                    )));
                }
                if self.unlisted == Unlisted::Good {
                    findings.push(Finding::Warning(
                        "unlisted = \"good\": serials that were never issued are good too".into(),
                    ));
                }
                findings.extend(self.file.mount_warning());
                findings
            }
        };
        Report { place: self.file.shown().to_string(), findings }
    }

    fn is_current(&self, validity: &Validity) -> Result<(), String> {
        let now = self.clock.now();
        if now.saturating_add(SLACK) < validity.this_update {
            return Err(format!("begins only on {}", validity.this_update));
        }
        match now < validity.next_update {
            true => Ok(()),
            false => Err(format!("ended on {}", validity.next_update)),
        }
    }

    fn unlisted_until(&self, until: Timestamp) -> Option<CertRecord> {
        let basis = Basis::Absence { until };
        match self.unlisted {
            Unlisted::Unknown => None,
            Unlisted::Good => Some(CertRecord { status: CertStatus::Good, basis }),
        }
    }
}

impl StatusStore for Crl {
    fn find(&self, serial: &Serial) -> Result<Option<CertRecord>, StoreError> {
        let content = self.file.get().map_err(StoreError::unavailable)?;
        let validity = content.value.validity;
        let is_current = self.is_current(&validity);
        // What is on the list stays revoked, however old the list is.
        if let Some(Said::Revoked(time, reason)) = content.value.listing.find(serial) {
            let status = CertStatus::Revoked { time, reason };
            let basis = is_current.map_or(Basis::Remembered, |()| content.age.basis());
            return Ok(Some(CertRecord { status, basis }));
        }
        if let Age::OutOfDate(unusable) = content.age {
            return Err(StoreError::unavailable(unusable));
        }
        is_current.map_err(|problem| {
            StoreError::unavailable(NotNow { path: self.file.shown(), problem })
        })?;
        Ok(self.unlisted_until(validity.next_update))
    }

    fn read_ahead(&self) {
        self.file.read_ahead();
    }

    /// What is revoked: a CRL does not tell what else there is.
    fn walk(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        if wanted > Wanted::Serials {
            return Err(WalkError::NoDates(format!(
                "{}: a CRL does not tell the dates of certificates",
                self.file.shown()
            )));
        }
        let content = self.file.get().map_err(StoreError::unavailable)?;
        Ok(Box::new(File::new(content.value, |list| &list.listing, Vec::new())))
    }
}

/// How far the clock of the CA may be ahead.
const SLACK: Duration = Duration::from_secs(300);
