//! Config to running parts: the one place that puts them together.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use crate::cache::{self, Files, Memory, ResponseCache};
use crate::config::{self, Config, Database, NamedPath};
use crate::logging::quoted;
use crate::ocsp::IssuerHashes;
use crate::responder::issuers::{Issuer, Issuers, TakeOver};
use crate::responder::presigned::{Presigned, PresignedAnswer, PresignedError};
use crate::responder::signing::Signing;
use crate::responder::{Capacity, Responder};
use crate::signer::Signer;
use crate::signer::certificate::{Authority, Certificate, NoCheck};
use crate::signer::key::{self, Key, KeySource, PasswordUse};
use crate::status::IssuerId;
use crate::store::mysql;
use crate::time::{Clock, SystemClock, Timestamp};

mod stores;
mod succession;

pub use stores::crl;
use stores::{Reading, Stores};
use succession::{Candidate, Order, Succession};

/// What lives as long as the process, through every reload.
pub struct Shared {
    signing: Arc<Signing>,
    stores: Stores,
}

/// A CA and who signs for it, as read from their files.
pub struct Identity {
    /// The CA's certificate.
    pub certificate: Certificate,
    /// Who signs, in order, and when each takes over.
    pub signers: Vec<(Signer, TakeOver)>,
    /// Why nobody signs any more, where all have ended.
    pub over: Option<String>,
    /// What is not as it should be, but no reason to refuse.
    pub warnings: Vec<String>,
}

/// The CAs so far: no CertID may name two of them.
#[derive(Default)]
pub struct Named<'a>(Vec<(&'a Path, IssuerHashes)>);

/// When keys are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// With their certificates, so that one that is not as it should be is found out now.
    AtOnce,
    /// When one is first to sign: an answer that is kept needs none.
    WhenNeeded,
}

impl Shared {
    /// For a process that starts with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::reading(config, Reading::Ahead)
    }

    fn reading(config: &Config, reading: Reading) -> Self {
        let limits = &config.limits;
        let signing = Arc::new(Signing::new(limits.signing_threads, limits.signing_queue));
        Self { signing, stores: Stores::new(reading) }
    }
}

impl<'a> Named<'a> {
    /// Adds a CA whose certificate was read from `named`.
    ///
    /// # Errors
    ///
    /// Another one has its name and its key: the second would never be asked about.
    pub fn add(&mut self, named: &'a NamedPath, certificate: &Certificate) -> Result<()> {
        let path = named.path.as_path();
        let hashes = certificate.hashes();
        if let Some((other, _)) = self.0.iter().find(|(_, other)| other == hashes) {
            let [other, path] = [other, path].map(Path::display);
            return Err(anyhow!(
                "certificates {other} and {path} have the same name and the same key, which is all \
                 that a question names a CA by, wanted: one [[issuer]] for both"
            )
            .context(named.place.clone()));
        }
        self.0.push((path, hashes.clone()));
        Ok(())
    }
}

/// Builds the responder that `config` describes; the warnings are for the log.
///
/// # Errors
///
/// A key or certificate that cannot be read, or may not sign; where one has ended, only if
/// that leaves no CA to answer about. The store is not connected to: it may come later.
pub fn responder(config: &Config, shared: &Shared, keys: Keys) -> Result<(Responder, Vec<String>)> {
    let memory = Arc::new(Memory::new(config.cache.memory));
    let mut warnings = Vec::new();
    let (mut issuers, mut over, mut named) = (Vec::new(), Vec::new(), Named::default());
    for (id, settings) in (0..).zip(&config.issuers) {
        let mut identity = identity(config, settings, keys, SystemClock.now())?;
        warnings.append(&mut identity.warnings);
        warnings.extend(not_of_a_ca(&identity.certificate, &settings.certificate.path));
        over.extend(identity.over);
        named.add(&settings.certificate, &identity.certificate)?;
        let store = shared.stores.store(settings, &identity.certificate)?;
        let mut issuer = Issuer::new(IssuerId(id), identity.certificate, settings.policy, store);
        for (signer, take_over) in identity.signers {
            let folder = config.cache.folder.as_deref();
            let cache = ResponseCache::new(Arc::clone(&memory), folder, signer.certificate().der());
            issuer.add(signer, cache.with_files(config.cache.files), take_over);
        }
        issuers.push(issuer);
    }
    match over.first() {
        Some(reason) if over.len() == issuers.len() => return Err(anyhow!(reason.clone())),
        _ => {}
    }
    let unanswered = |reason| format!("{reason}; its CA is not answered about, the others are");
    warnings.extend(over.into_iter().map(unanswered));
    let workers = config.limits.workers;
    let capacity = Capacity {
        slow: workers.saturating_sub((workers / 4).max(1)).max(1),
        signing: Arc::clone(&shared.signing),
    };
    let clock = Arc::new(SystemClock);
    let presigned = presigned(config, &mut warnings)?;
    let issuers = match &config.cache.folder {
        Some(folder) => Issuers::new(issuers).with_others_in(folder),
        None => Issuers::new(issuers),
    };
    let responder = Responder::new(issuers, presigned, config.policy, clock, capacity);
    Ok((responder, warnings))
}

/// As [`responder`], for a process that answers one question and then ends.
///
/// # Errors
///
/// As for [`responder`].
pub fn responder_for_one(mut config: Config, keys: Keys) -> Result<(Responder, Vec<String>)> {
    let in_mysql = |issuer: &config::Issuer| matches!(issuer.database, Database::Mysql(_));
    if config.issuers.iter().any(in_mysql) {
        // In the background, while certificates and keys are read.
        mysql::get_ready();
    }
    // Nothing else will be left of the answer.
    config.cache.files = Files::AtOnce;
    responder(&config, &Shared::reading(&config, Reading::WhenAsked), keys)
}

/// Reads and checks a CA's certificate and who signs for it.
///
/// # Errors
///
/// As for [`responder`].
pub fn identity(
    config: &Config,
    issuer: &config::Issuer,
    keys: Keys,
    now: Timestamp,
) -> Result<Identity> {
    let mut warnings = Vec::new();
    let certificate = certificate(&issuer.certificate)?;
    let mut candidate = |settings: &config::Signer, order| {
        let NamedPath { path, place } =
            settings.certificate.as_ref().unwrap_or(&issuer.certificate);
        let signer = signer(config, settings, (&certificate, path), keys, &mut warnings)?;
        Candidate::new((signer, path.clone()), (order, settings.from), &certificate, now)
            .with_context(|| not_allowed(path, &issuer.certificate.path))
            .context(place.clone())
    };
    let present = candidate(&issuer.signer, Order::Present)?;
    let next = issuer.next.as_ref().map(|next| candidate(next, Order::Next)).transpose()?;
    let Succession { signers, over, warning } =
        Succession::of(present, next, (&certificate, issuer));
    warnings.extend(warning);
    for one in &signers {
        warn_of_missing_no_check(&one.signer, &certificate, &one.path, &mut warnings);
    }
    if let Some(last) = signers.last() {
        warnings.extend(ending(last.certificate(), &certificate, now));
    }
    let signers = signers.into_iter().map(|one| (one.signer, one.take_over)).collect();
    Ok(Identity { certificate, signers, over, warnings })
}

/// Why a certificate in the place of a CA's, from the file at `path`, is none: nobody asks
/// about what it has issued.
#[must_use]
pub fn not_of_a_ca(certificate: &Certificate, path: &Path) -> Option<String> {
    (certificate.authority() == Authority::No).then(|| {
        format!(
            "certificate {}: is no CA's (by basicConstraints or extendedKeyUsage), so that no \
             question is about it, wanted: that of the CA; that of a delegated signer is signer \
             (itsigner)",
            path.display()
        )
    })
}

fn certificate(named: &NamedPath) -> Result<Certificate> {
    Certificate::load(&named.path).with_context(|| named.place.clone())
}

fn signer(
    config: &Config,
    settings: &config::Signer,
    (issuer, path): (&Certificate, &Path),
    keys: Keys,
    warnings: &mut Vec<String>,
) -> Result<Signer> {
    let source = KeySource {
        path: settings.key.path.clone(),
        password: settings.key_password.clone(),
        others: config.permissions,
    };
    let certificate = match &settings.certificate {
        None => issuer.clone(),
        Some(named) => certificate(named)?,
    };
    let place = || settings.key.place.clone();
    let signer = match keys {
        Keys::AtOnce => {
            let key = load(&source, warnings).with_context(place)?;
            Signer::new(key, certificate, config.rsa_padding)
        }
        Keys::WhenNeeded => Signer::put_off(source, certificate, config.rsa_padding),
    };
    let key = settings.key.path.display();
    signer
        .with_context(|| format!("key {key} with certificate {}", path.display()))
        .with_context(place)
}

fn load(source: &KeySource, warnings: &mut Vec<String>) -> Result<Key> {
    let key = key::load(source)?;
    warnings.extend(key.exposed.iter().map(ToString::to_string));
    if let (PasswordUse::Needless, Some(password)) = (key.password_use, &source.password) {
        let path = source.path.display();
        warnings.push(format!("key {path}: not encrypted, the {password} has no effect"));
    }
    Ok(key)
}

fn warn_of_missing_no_check(
    signer: &Signer,
    issuer: &Certificate,
    path: &Path,
    warnings: &mut Vec<String>,
) {
    let is_delegated = signer.certificate().der() != issuer.der();
    if is_delegated && signer.certificate().no_check() == NoCheck::Absent {
        warnings.push(format!(
            "certificate {}: without the extension id-pkix-ocsp-nocheck some clients ask for the \
             signer's own status",
            path.display()
        ));
    }
}

/// Has every key sign once, so that one that cannot is found out at the start.
///
/// # Errors
///
/// Names the first key that does not sign.
pub fn try_out(responder: &Responder) -> Result<()> {
    // One that has ended may have lost its key: it signs only where the clock is wrong.
    let now = SystemClock.now();
    let acting = responder.issuers().iter().flat_map(Issuer::each_acting);
    for acting in acting.filter(|acting| acting.ends() > now) {
        let signer = acting.signer();
        signer
            .try_out()
            .with_context(|| format!("the key of {}", signer.certificate().subject()))?;
    }
    Ok(())
}

/// Reads and verifies the answers signed elsewhere. One that cannot be given is a
/// warning, since the others can.
///
/// # Errors
///
/// The folder or the certificates of the CAs cannot be read.
pub fn presigned(config: &Config, warnings: &mut Vec<String>) -> Result<Presigned> {
    let Some(settings) = &config.presigned else { return Ok(Presigned::default()) };
    let now = SystemClock.now();
    let (folder, ca) = (&settings.folder, &settings.ca);
    let (presigned, refused) = Presigned::load(&folder.path, &ca.path, now).map_err(|error| {
        let named = if matches!(error, PresignedError::Folder(..)) { folder } else { ca };
        anyhow!(error).context(named.place.clone())
    })?;
    for error in refused {
        warnings.push(format!("{:#}, not given", anyhow!(error)));
    }
    // What is over has been told.
    let lasting = presigned.iter().filter(|answer| answer.validity().next_update > now);
    warnings.extend(presigned_endings(lasting, now));
    Ok(presigned)
}

fn presigned_endings<'p>(
    answers: impl Iterator<Item = &'p PresignedAnswer>,
    now: Timestamp,
) -> impl Iterator<Item = String> {
    answers.filter(move |answer| answer.ends_soon(now)).map(|answer| {
        let path = quoted(answer.path().display()).to_string();
        let ends = answer.validity().next_update;
        format!("pre-signed answer ends soon, and needs a successor: file={path} ends={ends}")
    })
}

/// What an operator should know of certificates that end within 30 days of `now`, and
/// of pre-signed answers that end soon.
#[must_use]
pub fn endings(responder: &Responder, now: Timestamp) -> Vec<String> {
    let last = |issuer: &Issuer| {
        // A predecessor may end: it has a successor.
        let last = issuer.each_acting().last()?;
        ending(last.signer().certificate(), issuer.certificate(), now)
    };
    let presigned = presigned_endings(responder.presigned_answers().iter(), now);
    responder.issuers().iter().filter_map(last).chain(presigned).collect()
}

fn ending(signer: &Certificate, issuer: &Certificate, now: Timestamp) -> Option<String> {
    let ends = signer.not_after().min(issuer.not_after());
    let left = ends.saturating_since(now);
    (left < WARN_BEFORE_END).then(|| {
        format!(
            "no answer reaches further than {ends}, when a certificate ends: days={} signer={} \
             issuer={}",
            left.as_secs() / 86_400,
            quoted(signer.subject()),
            quoted(issuer.subject()),
        )
    })
}

/// Removes cached answers that nobody will be given again; how many.
///
/// # Errors
///
/// A folder that cannot be listed.
pub fn sweep(config: &Config, responder: &Responder) -> Result<usize> {
    let Some(folder) = &config.cache.folder else { return Ok(0) };
    let signers: Vec<&[u8]> = responder
        .issuers()
        .iter()
        .flat_map(Issuer::each_acting)
        .map(|acting| acting.signer().certificate().der())
        .collect();
    let longest = config.issuers.iter().map(|issuer| issuer.policy.validity).max();
    cache::survey::sweep(folder, &signers, longest.unwrap_or_default(), SystemClock.now())
        .map_err(|error| anyhow!(error).context(format!("cache folder {}", folder.display())))
}

fn not_allowed(signer: &Path, issuer: &Path) -> String {
    format!("certificate {} may not sign for {}", signer.display(), issuer.display())
}

/// 30 days.
const WARN_BEFORE_END: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);
