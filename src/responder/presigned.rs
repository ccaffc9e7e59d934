//! Answers signed elsewhere, by an offline root about its intermediates for example:
//! verified when they are loaded, given until their nextUpdate.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ocsp::{OcspFlag, OcspResponse};
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};

use crate::http::caching::Representation;
use crate::ocsp::response::{HasNonce, single_answers};
use crate::ocsp::{CertId, SingleAnswer};
use crate::serial::Serial;
use crate::signer::reasons::Reasons;
use crate::status::CertStatus;
use crate::time::{Timestamp, Validity};

/// The answers of a folder, found by CertID.
#[derive(Default)]
pub struct Presigned {
    by_serial: HashMap<Serial, Vec<PresignedAnswer>>,
}

/// One answer, about one of the certificates in it.
pub struct PresignedAnswer {
    path: Arc<Path>,
    cert_id: Vec<u8>,
    representation: Representation,
    status: CertStatus,
    validity: Validity,
}

/// Why an answer is not given.
#[derive(Debug, thiserror::Error)]
pub enum PresignedError {
    /// The folder cannot be read.
    #[error("folder {0}")]
    Folder(PathBuf, #[source] io::Error),
    /// A file cannot be read.
    #[error("pre-signed answer {0}")]
    Read(PathBuf, #[source] io::Error),
    /// The file of the certificates that it is to be verified by cannot be read.
    #[error("certificates {0}")]
    Authorities(PathBuf, #[source] io::Error),
    /// It holds no certificates.
    #[error("certificates {0}: no X.509 certificates in PEM")]
    NoCertificates(PathBuf, #[source] Reasons),
    /// The file holds something else.
    #[error("pre-signed answer {0}: not a successful OCSPResponse in DER with a nextUpdate")]
    NotAnAnswer(PathBuf),
    /// It was made for one client, and the others would refuse it.
    #[error("pre-signed answer {0}: with a nonce, wanted: one without (openssl ocsp -no_nonce)")]
    WithNonce(PathBuf),
    /// Clients would not accept it.
    #[error("pre-signed answer {0}: its signature is not of the CA, or not of a signer of the CA")]
    NotVerified(PathBuf, #[source] Reasons),
    /// It is over, or one of several in it is.
    #[error("pre-signed answer {0}: it ended on {1}")]
    Ended(PathBuf, Timestamp),
}

impl Presigned {
    /// Reads every file of a folder whose name does not begin with a dot; verifies
    /// each answer by the CAs of a PEM file. Those that cannot be given come back as
    /// errors beside the others; one that is over is found all the same.
    ///
    /// # Errors
    ///
    /// The folder or the CAs cannot be read.
    pub fn load(
        folder: &Path,
        authorities: &Path,
        now: Timestamp,
    ) -> Result<(Self, Vec<PresignedError>), PresignedError> {
        let pem = fs::read(authorities)
            .map_err(|error| PresignedError::Authorities(authorities.to_owned(), error))?;
        let trust = Trust::new(&pem).map_err(|error| {
            PresignedError::NoCertificates(authorities.to_owned(), error.into())
        })?;
        let mut loaded = Self::default();
        let mut refused = Vec::new();
        let entries = fs::read_dir(folder)
            .map_err(|error| PresignedError::Folder(folder.to_owned(), error))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_ours(path))
            .collect();
        paths.sort();
        for path in paths {
            let added = fs::read(&path)
                .map_err(|error| PresignedError::Read(path.clone(), error))
                .and_then(|der| loaded.add(&path, &der, &trust, now));
            refused.extend(added.err());
        }
        Ok((loaded, refused))
    }

    /// The answer to a question, whether it is over or not; of several, the newest that has
    /// begun at `now`, and of the same second one that is not good.
    #[must_use]
    pub fn find(&self, cert_id: &CertId<'_>, now: Timestamp) -> Option<&PresignedAnswer> {
        let answers = self.by_serial.get(&cert_id.serial())?;
        answers
            .iter()
            .filter(|answer| {
                CertId::from_der(&answer.cert_id).is_ok_and(|other| other.asks_the_same(cert_id))
            })
            .max_by_key(|answer| {
                let this_update = answer.validity.this_update;
                (this_update <= now, this_update, answer.status != CertStatus::Good)
            })
    }

    /// Every answer, those that are over too.
    pub fn iter(&self) -> impl Iterator<Item = &PresignedAnswer> {
        self.by_serial.values().flatten()
    }

    fn add(
        &mut self,
        path: &Path,
        der: &[u8],
        trust: &Trust,
        now: Timestamp,
    ) -> Result<(), PresignedError> {
        let not_an_answer = || PresignedError::NotAnAnswer(path.to_owned());
        let (answers, nonce) = single_answers(der).map_err(|_| not_an_answer())?;
        if nonce == HasNonce::Yes {
            return Err(PresignedError::WithNonce(path.to_owned()));
        }
        // One that is over is not given, and neither is an older one in its place that may last
        // longer: what it said first does not count again.
        let earliest = answers.iter().map(|answer| answer.validity.next_update).min();
        let ended = earliest.filter(|next_update| *next_update <= now);
        let begun = answers.iter().map(|answer| answer.validity.this_update).max();
        let valid = if ended.is_some() { begun.unwrap_or(now) } else { now };
        trust
            .verify(der, valid)
            .map_err(|error| PresignedError::NotVerified(path.to_owned(), error.into()))?;
        let path: Arc<Path> = Arc::from(path);
        let mut all = Vec::new();
        for SingleAnswer { cert_id, status, validity, .. } in answers {
            let serial = CertId::from_der(cert_id).map_err(|_| not_an_answer())?.serial();
            let next_update = validity.next_update.min(ended.unwrap_or(validity.next_update));
            let validity = Validity { next_update, ..validity };
            let representation = Representation::new(Arc::from(der), &validity);
            let (path, cert_id) = (Arc::clone(&path), cert_id.to_vec());
            all.push((serial, PresignedAnswer { path, cert_id, representation, status, validity }));
        }
        for (serial, answer) in all {
            self.by_serial.entry(serial).or_default().push(answer);
        }
        match ended {
            Some(on) => Err(PresignedError::Ended(path.to_path_buf(), on)),
            None => Ok(()),
        }
    }
}

impl PresignedAnswer {
    /// The file that it came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The reply, ready to be sent.
    #[must_use]
    pub fn representation(&self) -> &Representation {
        &self.representation
    }

    /// thisUpdate and nextUpdate.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether less than a quarter of its time is left: the operator should have the
    /// next one signed.
    #[must_use]
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        let Validity { this_update, next_update } = self.validity;
        next_update.saturating_since(now) < next_update.saturating_since(this_update) / 4
    }
}

/// The CAs whose answers are believed.
struct Trust(Stack<X509>);

impl Trust {
    fn new(pem: &[u8]) -> Result<Self, ErrorStack> {
        let mut authorities = Stack::new()?;
        for authority in X509::stack_from_pem(pem)? {
            authorities.push(authority)?;
        }
        Ok(Self(authorities))
    }

    /// As clients do it at that time: the signer is the CA, or was issued by it for the purpose.
    fn verify(&self, der: &[u8], at: Timestamp) -> Result<(), ErrorStack> {
        let mut parameters = X509VerifyParam::new()?;
        // The CA named here is the end of the chain, self-signed or not.
        parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        parameters.set_time(at.unix());
        let mut store = X509StoreBuilder::new()?;
        store.set_param(&parameters)?;
        for authority in &self.0 {
            store.add_cert(authority.to_owned())?;
        }
        let basic = OcspResponse::from_der(der)?.basic()?;
        basic.verify(&self.0, &store.build(), OcspFlag::empty())
    }
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(".");
    !name.starts_with('.') && path.is_file()
}
