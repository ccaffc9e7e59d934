//! What is told while an answer is made whose row was read before it changed.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;
use std::{fs, thread};

use ocsp_fcgi::cache::{Memory, ResponseCache};
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::ocsp::ErrorStatus;
use ocsp_fcgi::responder::issuers::{Issuer, Issuers, TakeOver};
use ocsp_fcgi::responder::policy::{NonIssued, Policy};
use ocsp_fcgi::responder::presigned::Presigned;
use ocsp_fcgi::responder::signing::Signing;
use ocsp_fcgi::responder::{Capacity, Reply, Responder};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::signer::certificate::Certificate;
use ocsp_fcgi::signer::key::Key;
use ocsp_fcgi::signer::{RsaPadding, Signer};
use ocsp_fcgi::status::{CertRecord, CertStatus, IssuerId, RevocationReason};
use ocsp_fcgi::store::sqlite::{Options, Sqlite};
use ocsp_fcgi::store::{Mapping, StatusStore, StoreError, Walk, WalkError, Wanted};
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use crate::support::files;
use crate::support::ocsp::{Answer, CertId, Request, SHA256};
use crate::support::site::{REVOKED_AT, Site};

// rule: ANS-6
#[test]
fn who_is_overtaken_while_it_waits_for_its_signature_does_not_call_it_good() {
    let world = World::new(Duration::from_secs(3600));
    let told = world.told_after(|| {
        world.site.set_status("0a1b", CertStatus::Unknown);
        // By its other name: told at once, as nothing has to be signed.
        assert_eq!(world.told(&world.sha256), "unauthorized");
    });
    assert_eq!(told, "unauthorized");
    assert_eq!(world.told(&world.sha1), "unauthorized");
    // Not for a moment either, in which another process could have found it.
    assert!(!world.site.path("cache").exists());
}

// rule: ANS-6
#[test]
fn the_row_of_an_answer_that_has_waited_long_for_its_signature_is_read_once_more() {
    let world = World::new(Duration::from_secs(3600));
    let mut since = 0;
    let told = world.told_after(|| {
        thread::sleep(LONG_WAIT);
        since = SystemClock.now().unix();
    });
    assert_eq!(told, "good");
    assert_eq!(world.reads.lock().unwrap().try_iter().count(), 1);
    // Kept as of then; the kernel's clock for files may be a tick behind.
    let modified = |path: &PathBuf| path.metadata().unwrap().mtime();
    let kept: Vec<i64> = files(&world.site.path("cache")).iter().map(modified).collect();
    assert!(matches!(kept[..], [second] if second >= since - 1), "{kept:?} {since}");
}

// rule: ANS-6
#[test]
fn what_another_process_has_changed_during_a_long_wait_for_the_signature_counts() {
    let world = World::new(Duration::from_secs(3600));
    let told = world.told_after(|| {
        // Nobody tells: no question meets the new row here.
        world.site.set_status("0a1b", CertStatus::Unknown);
        thread::sleep(LONG_WAIT);
    });
    assert_eq!(told, "unauthorized");
    assert!(!world.site.path("cache").exists());
}

// rule: ANS-5
#[test]
fn an_answer_is_kept_although_the_store_has_gone_while_it_waited_for_its_signature() {
    let world = World::new(Duration::from_secs(3600));
    let told = world.told_after(|| {
        fs::rename(world.site.path("certs.db"), world.site.path("away.db")).unwrap();
        thread::sleep(LONG_WAIT);
    });
    assert_eq!(told, "good");
    assert_eq!(world.told(&world.sha1), "good");
    assert_eq!(files(&world.site.path("cache")).len(), 1);
}

// rule: ANS-5, ANS-6
#[test]
fn who_is_overtaken_while_it_confirms_an_answer_leaves_nothing_that_calls_it_good() {
    let world = Arc::new(World::new(Duration::ZERO));
    assert_eq!(world.told(&world.sha1), "good");
    let within = Arc::clone(&world);
    *world.then.lock().unwrap() = Some(Box::new(move || {
        within.site.set_status("0a1b", CertStatus::Unknown);
        assert_eq!(within.told(&within.sha256), "unauthorized");
        fs::rename(within.site.path("certs.db"), within.site.path("away.db")).unwrap();
    }));
    assert_eq!(world.told(&world.sha1), "tryLater");
    assert!(files(&world.site.path("cache")).is_empty());
}

// rule: ANS-6
#[test]
fn nobody_waits_for_an_answer_whose_row_was_read_longer_ago_than_the_window() {
    let world = World::new(Duration::from_secs(1));
    let mut second = None;
    let first = world.told_after(|| {
        let reason = Some(RevocationReason::KeyCompromise);
        let time = Timestamp::from_unix(REVOKED_AT);
        world.site.set_status("0a1b", CertStatus::Revoked { time, reason });
        thread::sleep(Duration::from_secs(1));
        second = Some(world.ask(&world.sha1));
        world.wait_for_a_read();
    });
    let second = told(&second.unwrap().join().unwrap());
    assert_eq!([first, second], [(); 2].map(|()| format!("revoked {REVOKED_AT} 1")));
}

/// A responder with one place at its key.
struct World {
    site: Site,
    responder: Arc<Responder>,
    signing: Arc<Signing>,
    reads: Mutex<Receiver<()>>,
    then: Arc<Mutex<Option<Then>>>,
    /// The same question by two names: hashes of the issuer by SHA-1 and by SHA-256.
    sha1: Vec<u8>,
    sha256: Vec<u8>,
}

/// What happens once, between the reading of a row and its use.
type Then = Box<dyn FnOnce() + Send>;

impl World {
    fn new(freshness: Duration) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        let identity = &site.ca.identity;
        let certificate = || Certificate::new(identity.certificate.clone()).unwrap();
        let (told, reads) = mpsc::channel();
        let (path, mapping) = (site.path("certs.db"), Mapping::of_table("list_certs"));
        let then = Arc::default();
        let store = Sqlite::open(Options { path, mapping });
        let store = Told { store, told, then: Arc::clone(&then) };
        let policy = Policy { freshness, non_issued: NonIssued::Unauthorized, ..Policy::default() };
        let key = Key::in_memory(identity.key.clone());
        let signer = Signer::new(key, certificate(), RsaPadding::Pkcs1).unwrap();
        let (memory, folder) = (Arc::new(Memory::new(1 << 20)), site.path("cache"));
        let cache = ResponseCache::new(memory, Some(&folder), signer.certificate().der());
        let mut issuer = Issuer::new(IssuerId(0), certificate(), policy, Arc::new(store));
        issuer.add(signer, cache, TakeOver::BeforeTheEnd);
        let signing = Arc::new(Signing::new(1, 10));
        let capacity = Capacity { slow: 10, signing: Arc::clone(&signing) };
        let (issuers, presigned) = (Issuers::new(vec![issuer]), Presigned::default());
        let responder = Responder::new(issuers, presigned, policy, Arc::new(SystemClock), capacity);
        let sha1 = Request::about(&CertId::new(&identity.certificate, "0a1b")).der();
        let sha256 = CertId::hashed(SHA256, &identity.certificate, "0a1b");
        let sha256 = Request::about(&sha256).der();
        let (responder, reads) = (Arc::new(responder), Mutex::new(reads));
        Self { site, responder, signing, reads, then, sha1, sha256 }
    }

    fn told(&self, der: &[u8]) -> String {
        told(&self.responder.respond(der, &|| ()))
    }

    fn ask(&self, der: &[u8]) -> thread::JoinHandle<Reply> {
        let (responder, der) = (Arc::clone(&self.responder), der.to_vec());
        thread::spawn(move || responder.respond(&der, &|| ()))
    }

    fn wait_for_a_read(&self) {
        self.reads.lock().unwrap().recv_timeout(LONG).expect("a row is read for the question");
    }

    /// What is told to the question by SHA-1, which waits for its signature, its row read,
    /// for as long as `meanwhile` takes.
    fn told_after(&self, meanwhile: impl FnOnce()) -> String {
        let barrier = Arc::new(Barrier::new(2));
        let (signing, held) = (Arc::clone(&self.signing), Arc::clone(&barrier));
        let holder = thread::spawn(move || {
            signing.run(LONG, move || {
                held.wait();
                held.wait();
            })
        });
        barrier.wait();
        let waiting = self.ask(&self.sha1);
        self.wait_for_a_read();
        meanwhile();
        barrier.wait();
        assert_eq!(holder.join().unwrap(), Ok(()));
        told(&waiting.join().unwrap())
    }
}

/// A store that tells when a row has been read.
struct Told {
    store: Sqlite,
    told: Sender<()>,
    then: Arc<Mutex<Option<Then>>>,
}

impl StatusStore for Told {
    fn find(&self, issuer: IssuerId, serial: &Serial) -> Result<Option<CertRecord>, StoreError> {
        let found = self.store.find(issuer, serial);
        let _nobody_listens = self.told.send(());
        let then = self.then.lock().unwrap().take();
        if let Some(then) = then {
            then();
        }
        found
    }

    fn walk(&self, issuer: IssuerId, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        self.store.walk(issuer, wanted)
    }
}

fn told(reply: &Reply) -> String {
    match reply {
        Reply::Kept(entry) => Answer::read(entry.der()).statuses().concat(),
        Reply::Error(ErrorStatus::Unauthorized) => "unauthorized".to_owned(),
        Reply::Error(ErrorStatus::TryLater) => "tryLater".to_owned(),
        other => panic!("{other:?}"),
    }
}

const LONG: Duration = Duration::from_secs(20);
/// For a signature, so that the row is read once more.
const LONG_WAIT: Duration = Duration::from_secs(2);
