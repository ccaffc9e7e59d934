//! A responder in this process, over a real SQLite table, key and cache folder, whose
//! clock, store and key the tests hold up or move.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use ocsp_fcgi::cache::{Memory, ResponseCache};
use ocsp_fcgi::demo::{KeyKind, Purpose};
use ocsp_fcgi::ocsp::{self, ErrorStatus};
use ocsp_fcgi::responder::ahead::{AheadError, Due, Seen};
use ocsp_fcgi::responder::issuers::{Issuer, Issuers, TakeOver};
use ocsp_fcgi::responder::policy::{NonIssued, Policy};
use ocsp_fcgi::responder::presigned::Presigned;
use ocsp_fcgi::responder::signing::Signing;
use ocsp_fcgi::responder::{Capacity, Reply, Responder};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::signer::certificate::Certificate;
use ocsp_fcgi::signer::key::{self, Key, KeySource};
use ocsp_fcgi::signer::private_file::ReadableByOthers;
use ocsp_fcgi::signer::{RsaPadding, Signer};
use ocsp_fcgi::status::{CertRecord, CertStatus, IssuerId, RevocationReason};
use ocsp_fcgi::store::sqlite::{Options, Sqlite};
use ocsp_fcgi::store::{Mapping, StatusStore, StoreError, Walk, WalkError, Wanted};
use ocsp_fcgi::time::{Clock, SystemClock, Timestamp};

use super::ocsp::{Answer, CertId, Request, SHA256, SHA384};
use super::site::{self, Site};

/// A responder with one place at its key.
pub struct World {
    pub site: Arc<Site>,
    pub clock: Arc<Moved>,
    responder: Arc<Responder>,
    signing: Arc<Signing>,
    reads: Mutex<Receiver<()>>,
    then: Arc<Mutex<Option<Then>>>,
    /// The same question by several names: hashes of the issuer by SHA-1, by SHA-256 and so on.
    pub sha1: Vec<u8>,
    pub sha256: Vec<u8>,
    pub sha384: Vec<u8>,
}

/// What happens once, between the reading of a row and its use.
pub type Then = Box<dyn FnOnce() + Send>;

/// The system's clock, or one that stands still where the test has put it.
#[derive(Default)]
pub struct Moved(AtomicI64);

impl World {
    pub fn new(freshness: Duration) -> Self {
        Self::of(Arc::new(Site::with_certificates(KeyKind::P256)), freshness, 10, None)
    }

    /// Whose signer has a successor from then on.
    pub fn with_successor(freshness: Duration, from: Timestamp) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        site.delegate(Purpose::OcspSigner);
        Self::of(Arc::new(site), freshness, 10, Some(from))
    }

    /// Another process, in which the successor of [`World::with_successor`] signs from then
    /// on.
    pub fn succeeding(other: &Self, freshness: Duration, from: Timestamp) -> Self {
        Self::of(Arc::clone(&other.site), freshness, 10, Some(from))
    }

    /// Another process over the same table and cache folder.
    pub fn beside(other: &Self, freshness: Duration) -> Self {
        Self::of(Arc::clone(&other.site), freshness, 10, None)
    }

    /// With so many places for questions that are no repeats.
    pub fn with_places(slow: usize, freshness: Duration) -> Self {
        Self::of(Arc::new(Site::with_certificates(KeyKind::P256)), freshness, slow, None)
    }

    /// With one such place, and a store that was found away at `past`, the window of the answer
    /// to the question by SHA-1 being over, and is back since.
    pub fn whose_store_was_away(window: Duration, past: Timestamp) -> Self {
        let world = Self::with_places(1, window);
        assert_eq!(world.told(&world.sha1), "good");
        world.hide_store();
        world.at(past);
        assert_eq!(world.told(&world.sha1), "good");
        world.show_store();
        world
    }

    fn of(site: Arc<Site>, freshness: Duration, slow: usize, successor: Option<Timestamp>) -> Self {
        let clock = Arc::new(Moved::default());
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
        let cache = |signer: &Signer| {
            let memory = Arc::clone(&memory);
            ResponseCache::new(memory, Some(&folder), signer.certificate().der())
        };
        let mut issuer = Issuer::new(IssuerId(0), certificate(), policy, Arc::new(store));
        let own = cache(&signer);
        issuer.add(signer, own, TakeOver::BeforeTheEnd);
        if let Some(from) = successor {
            let source = KeySource {
                path: site.path("signer.key"),
                password: None,
                others: ReadableByOthers::Refuse,
            };
            let key = key::load(&source).unwrap();
            let certificate = Certificate::load(&site.path("signer.crt")).unwrap();
            let next = Signer::new(key, certificate, RsaPadding::Pkcs1).unwrap();
            let own = cache(&next);
            issuer.add(next, own, TakeOver::At(from));
        }
        let signing = Arc::new(Signing::new(1, 10));
        let capacity = Capacity { slow, signing: Arc::clone(&signing) };
        let (issuers, presigned) =
            (Issuers::new(vec![issuer]).with_others_in(&folder), Presigned::default());
        let clock_of_it: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let responder = Responder::new(issuers, presigned, policy, clock_of_it, capacity);
        let sha1 = Request::about(&CertId::new(&identity.certificate, "0a1b")).der();
        let hashed =
            |hash| Request::about(&CertId::hashed(hash, &identity.certificate, "0a1b")).der();
        let (sha256, sha384) = (hashed(SHA256), hashed(SHA384));
        let (responder, reads) = (Arc::new(responder), Mutex::new(reads));
        Self { site, clock, responder, signing, reads, then, sha1, sha256, sha384 }
    }

    /// The question by SHA-1 with a nonce.
    pub fn nonce(&self) -> Vec<u8> {
        self.site.about("0a1b").with_nonce(b"nonce").der()
    }

    /// Puts the clock there.
    pub fn at(&self, now: Timestamp) {
        self.clock.0.store(now.unix(), Ordering::Relaxed);
    }

    /// What happens once the next row has been read, before it is used.
    pub fn then(&self, then: Then) {
        *self.then.lock().unwrap() = Some(then);
    }

    /// The database goes away, or comes back.
    pub fn hide_store(&self) {
        fs::rename(self.site.path("certs.db"), self.site.path("away.db")).unwrap();
    }

    pub fn show_store(&self) {
        fs::rename(self.site.path("away.db"), self.site.path("certs.db")).unwrap();
    }

    pub fn revoke(&self, serial: &str) {
        self.site.set_status(serial, revoked());
    }

    /// Writes a row that cannot be understood.
    pub fn spoil(&self, serial: &str) {
        let table = rusqlite::Connection::open(self.site.path("certs.db")).unwrap();
        table.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
        let sql = "UPDATE list_certs SET status = 'Maybe' WHERE cert_num = '0x' || ?1";
        assert_eq!(table.execute(sql, [serial]).unwrap(), 1);
    }

    /// What `cache warm` finds due, and writes, about the question by SHA-1, having seen
    /// `status` in its row at that time.
    pub fn warm(&self, status: CertStatus, at: Timestamp) -> (Due, Result<Due, AheadError>) {
        self.warm_after(status, at, || ())
    }

    /// The same, where something happens between the two.
    pub fn warm_after(
        &self,
        status: CertStatus,
        at: Timestamp,
        meanwhile: impl FnOnce(),
    ) -> (Due, Result<Due, AheadError>) {
        let certificate = &self.site.ca.identity.certificate;
        let der = CertId::new(certificate, "0a1b").der();
        let cert_id = ocsp::CertId::from_der(&der).unwrap();
        let issuer = self.responder.issuers().find(&cert_id, self.responder.now()).unwrap();
        let place = (issuer, issuer.cache().disk().unwrap());
        let age = self.clock.now().saturating_since(at).saturating_sub(Duration::from_secs(1));
        let begun = Instant::now().checked_sub(age).unwrap();
        let seen = Seen { record: CertRecord::listed(status), at, begun };
        let due = self.responder.due(place, &cert_id, seen, Duration::ZERO);
        meanwhile();
        (due, self.responder.sign_ahead(place, &cert_id, seen, due))
    }

    pub fn told(&self, der: &[u8]) -> String {
        told(&self.responder.respond(der, &|| ()))
    }

    pub fn ask(&self, der: &[u8]) -> thread::JoinHandle<Reply> {
        let (responder, der) = (Arc::clone(&self.responder), der.to_vec());
        thread::spawn(move || responder.respond(&der, &|| ()))
    }

    /// How many rows were read since this was asked last.
    pub fn reads(&self) -> usize {
        self.reads.lock().unwrap().try_iter().count()
    }

    pub fn wait_for_a_read(&self) {
        self.reads.lock().unwrap().recv_timeout(LONG).expect("a row is read for the question");
    }

    /// Does something while another question, whose row is just being read, takes a place.
    pub fn while_a_row_is_read(&self, other: &[u8], something: impl FnOnce()) {
        let ((arrive, arrived), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        self.then(Box::new(move || {
            arrive.send(()).unwrap();
            let _either_way = released.recv();
        }));
        let other = self.ask(other);
        arrived.recv_timeout(LONG).expect("a row is read");
        something();
        drop(release);
        other.join().unwrap();
    }

    /// What is told to the question by SHA-1, which waits for its signature, its row read,
    /// for as long as `meanwhile` takes.
    pub fn told_after(&self, meanwhile: impl FnOnce()) -> String {
        self.told_to_after(&self.sha1, meanwhile)
    }

    /// The same for another question.
    pub fn told_to_after(&self, der: &[u8], meanwhile: impl FnOnce()) -> String {
        let barrier = Arc::new(Barrier::new(2));
        let (signing, held) = (Arc::clone(&self.signing), Arc::clone(&barrier));
        let holder = thread::spawn(move || {
            signing.run(LONG, move || {
                held.wait();
                held.wait();
            })
        });
        barrier.wait();
        self.reads(); // those of before
        let waiting = self.ask(der);
        self.wait_for_a_read();
        meanwhile();
        barrier.wait();
        assert_eq!(holder.join().unwrap(), Ok(()));
        told(&waiting.join().unwrap())
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        match self.0.load(Ordering::Relaxed) {
            0 => SystemClock.now(),
            second => Timestamp::from_unix(second),
        }
    }
}

/// As [`World::revoke`] writes it, and as [`World::told`] tells it.
pub fn revoked() -> CertStatus {
    site::revoked(RevocationReason::KeyCompromise)
}

/// A store that tells when a row has been read.
struct Told {
    store: Sqlite,
    told: Sender<()>,
    then: Arc<Mutex<Option<Then>>>,
}

impl StatusStore for Told {
    fn find(&self, serial: &Serial) -> Result<Option<CertRecord>, StoreError> {
        let found = self.store.find(serial);
        let _nobody_listens = self.told.send(());
        let then = self.then.lock().unwrap().take();
        if let Some(then) = then {
            then();
        }
        found
    }

    fn walk(&self, wanted: Wanted) -> Result<Box<dyn Walk + '_>, WalkError> {
        self.store.walk(wanted)
    }
}

pub fn told(reply: &Reply) -> String {
    match reply {
        Reply::Kept(entry) => Answer::read(entry.der()).statuses().concat(),
        Reply::WithNonce(der) => Answer::read(der).statuses().concat(),
        Reply::Error(ErrorStatus::Unauthorized) => "unauthorized".to_owned(),
        Reply::Error(ErrorStatus::TryLater) => "tryLater".to_owned(),
        Reply::Error(ErrorStatus::InternalError) => "internalError".to_owned(),
        other => panic!("{other:?}"),
    }
}

const LONG: Duration = Duration::from_secs(20);
