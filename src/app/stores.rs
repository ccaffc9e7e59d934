//! Where the statuses of each CA come from.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result};

use crate::config::{self, Database};
use crate::signer::certificate::Certificate;
use crate::store::StatusStore;
use crate::store::crl::{self, Authority, Crl, Unlisted};
use crate::store::index_txt::IndexTxt;
use crate::store::mysql::Mysql;
use crate::store::sqlite::Sqlite;
use crate::time::SystemClock;

/// The stores of files, as long as a responder has them. What one has read last so stays
/// through a reload: a file that cannot be used then, or is older than that, takes no
/// revocation back.
pub(super) struct Stores {
    files: Mutex<Vec<(StatusFile, Weak<dyn StatusStore>)>>,
    reading: Reading,
}

/// When the files of stores are read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Before the first question.
    Ahead,
    /// For the first question about their CA.
    WhenAsked,
}

/// What the store of a file is made of.
#[derive(PartialEq, Eq)]
enum StatusFile {
    Index(PathBuf),
    Crl { path: PathBuf, unlisted: Unlisted, ca_der: Vec<u8> },
}

impl Stores {
    /// None yet.
    pub fn new(reading: Reading) -> Self {
        Self { files: Mutex::default(), reading }
    }

    /// That of a CA, as it is configured.
    pub fn store(
        &self,
        settings: &config::Issuer,
        certificate: &Certificate,
    ) -> Result<Arc<dyn StatusStore>> {
        match settings.database.clone() {
            Database::Mysql(options) => Ok(Arc::new(Mysql::new(options))),
            Database::Sqlite(options) => Ok(Arc::new(Sqlite::open(options))),
            Database::Index(path) => self.of(StatusFile::Index(path.clone()), || {
                Ok(Arc::new(IndexTxt::new(path, Arc::new(SystemClock))))
            }),
            Database::Crl(path, unlisted) => {
                let ca_der = certificate.der().to_vec();
                let file = StatusFile::Crl { path: path.clone(), unlisted, ca_der };
                self.of(file, || Ok(Arc::new(crl(path, unlisted, certificate)?)))
            }
        }
    }

    /// The store of this file that a responder has, or else a new one.
    fn of(
        &self,
        file: StatusFile,
        make: impl FnOnce() -> Result<Arc<dyn StatusStore>>,
    ) -> Result<Arc<dyn StatusStore>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(_, store)| store.strong_count() > 0);
        let known = files.iter().find(|(known, _)| *known == file);
        if let Some(store) = known.and_then(|(_, store)| store.upgrade()) {
            return Ok(store);
        }
        let store = make()?;
        if self.reading == Reading::Ahead {
            store.read_ahead();
        }
        files.push((file, Arc::downgrade(&store)));
        Ok(store)
    }
}

/// A CRL of the CA with this certificate.
///
/// # Errors
///
/// OpenSSL's, about the key of the certificate.
pub fn crl(path: PathBuf, unlisted: Unlisted, certificate: &Certificate) -> Result<Crl> {
    let key = certificate.x509().public_key().context("the CA's public key")?;
    let subject = certificate.subject_der().to_vec();
    let options = crl::Options { path, unlisted, issuer: Authority { subject, key } };
    Ok(Crl::new(options, Arc::new(SystemClock)))
}
