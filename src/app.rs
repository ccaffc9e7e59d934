//! Config to running parts: the one place that puts them together.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use crate::cache::{self, Memory, ResponseCache};
use crate::config::{self, Config, Database, Permissions};
use crate::responder::gate::Gate;
use crate::responder::issuers::{Issuer, Issuers};
use crate::responder::{Capacity, Responder};
use crate::signer::Signer;
use crate::signer::certificate::{Certificate, NoCheck};
use crate::signer::key::{self, ReadableByOthers};
use crate::status::IssuerId;
use crate::store::StatusStore;
use crate::store::mysql::Mysql;
use crate::store::sqlite::Sqlite;
use crate::time::{Clock, SystemClock, Timestamp};

/// What lives as long as the process, through every reload.
pub struct Shared {
    signing: Arc<Gate>,
}

/// A CA and what signs for it, as read from their files.
pub struct Identity {
    /// The CA's certificate.
    pub certificate: Certificate,
    /// What signs.
    pub signer: Signer,
    /// What is not as it should be, but no reason to refuse.
    pub warnings: Vec<String>,
}

impl Shared {
    /// For a process that starts with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        Self { signing: Arc::new(Gate::new(limits.signing_threads, limits.signing_queue)) }
    }
}

/// Builds the responder that `config` describes; the warnings are for the log.
///
/// # Errors
///
/// A key or certificate that cannot be read, or may not sign. The store is not
/// connected to: it may come later.
pub fn responder(config: &Config, shared: &Shared) -> Result<(Responder, Vec<String>)> {
    let memory = Arc::new(Memory::new(config.cache.memory));
    let mut warnings = Vec::new();
    let mut issuers = Vec::new();
    for (id, issuer) in (0..).zip(&config.issuers) {
        let mut identity = identity(config, issuer, SystemClock.now())?;
        warnings.append(&mut identity.warnings);
        let folder = config.cache.folder.as_deref();
        let signer_der = identity.signer.certificate().der();
        let cache = ResponseCache::new(Arc::clone(&memory), folder, signer_der);
        let responder_id = config.policy.responder_id;
        issuers.push(Issuer::new(
            IssuerId(id),
            identity.certificate,
            identity.signer,
            responder_id,
            (store(&config.database, issuer.table.as_deref()), cache),
        ));
    }
    let workers = config.limits.workers;
    let capacity = Capacity {
        slow: workers.saturating_sub((workers / 4).max(1)).max(1),
        signing: Arc::clone(&shared.signing),
    };
    let clock = Arc::new(SystemClock);
    let responder = Responder::new(Issuers::new(issuers), config.policy, clock, capacity);
    Ok((responder, warnings))
}

/// Reads and checks a CA's certificate and what signs for it.
///
/// # Errors
///
/// As for [`responder`].
pub fn identity(config: &Config, issuer: &config::Issuer, now: Timestamp) -> Result<Identity> {
    let mut warnings = Vec::new();
    let others = match config.permissions {
        Permissions::Refuse => ReadableByOthers::Refuse,
        Permissions::Warn => ReadableByOthers::Accept,
    };
    let certificate = Certificate::load(&issuer.certificate)?;
    let signer_path = issuer.signer_certificate.as_ref().unwrap_or(&issuer.certificate);
    let signer_certificate = Certificate::load(signer_path)?;
    let key = key::load(&issuer.key, others)?;
    if let Some(mode) = key::mode_readable_by_others(&issuer.key)? {
        let path = issuer.key.display();
        warnings.push(format!("key {path}: others can read it (mode {mode:04o})"));
    }
    let signer = Signer::new(key, signer_certificate, config.rsa_padding).with_context(|| {
        format!("key {} with certificate {}", issuer.key.display(), signer_path.display())
    })?;
    signer
        .certificate()
        .may_sign_for(&certificate, now)
        .with_context(|| not_allowed(signer_path, &issuer.certificate))?;
    let is_delegated = signer.certificate().der() != certificate.der();
    if is_delegated && signer.certificate().no_check() == NoCheck::Absent {
        warnings.push(format!(
            "certificate {}: without the extension id-pkix-ocsp-nocheck some clients ask for the \
             signer's own status",
            signer_path.display()
        ));
    }
    for (path, ending) in [(signer_path, signer.certificate()), (&issuer.certificate, &certificate)]
    {
        let left = ending.not_after().saturating_since(now);
        if left < WARN_BEFORE_END {
            let days = left.as_secs() / 86_400;
            warnings.push(format!(
                "certificate {}: ends in {days} days, on {}, and no answer reaches further",
                path.display(),
                ending.not_after()
            ));
        }
        if !is_delegated {
            break;
        }
    }
    Ok(Identity { certificate, signer, warnings })
}

fn store(database: &Database, table: Option<&str>) -> Arc<dyn StatusStore> {
    match with_table(database, table) {
        Database::Mysql(options) => Arc::new(Mysql::new(options)),
        Database::Sqlite(options) => Arc::new(Sqlite::open(options)),
    }
}

/// The database as one issuer sees it: with its own table, if it has one.
#[must_use]
pub fn with_table(database: &Database, table: Option<&str>) -> Database {
    let mut database = database.clone();
    if let Some(table) = table {
        match &mut database {
            Database::Mysql(options) => table.clone_into(&mut options.table),
            Database::Sqlite(options) => table.clone_into(&mut options.table),
        }
    }
    database
}

/// Removes cached answers that nobody will be given again; how many.
///
/// # Errors
///
/// A folder that cannot be listed.
pub fn sweep(config: &Config, responder: &Responder) -> Result<usize> {
    let Some(folder) = &config.cache.folder else { return Ok(0) };
    let signers: Vec<&[u8]> =
        responder.issuers().iter().map(|issuer| issuer.signer().certificate().der()).collect();
    cache::disk::sweep(folder, &signers, config.policy.validity, SystemClock.now())
        .map_err(|error| anyhow!(error).context(format!("cache folder {}", folder.display())))
}

fn not_allowed(signer: &Path, issuer: &Path) -> String {
    format!("certificate {} may not sign for {}", signer.display(), issuer.display())
}

/// 30 days.
const WARN_BEFORE_END: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);
