//! How soon a change of the table shows, and what is given while the store is gone.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::time::{Clock, SystemClock};

use crate::support::ocsp::{
    Answer, CertId, EXTENDED_REVOKE, Request, SHA256, TRY_LATER, UNAUTHORIZED, statuses,
};
use crate::support::site::{REVOKED_AT, Response, Running, Site, http, revoked};
use crate::support::{client, eventually, files, free_port, logged};

// rule: ANS-6
#[test]
fn a_revocation_shows_within_the_window_in_every_process() {
    let world = World::new(3, "freshness = \"1s\"\n");
    let der = world.about("0a1b");
    for responder in &world.responders {
        assert_eq!(statuses(&responder.post(&der)), ["good"]);
    }
    world.sql(
        "UPDATE list_certs SET status = 'Revoked', revocation_time = '2026-01-02 03:04:05', \
         revocation_reason = 'superseded' WHERE cert_num = '0x0a1b'",
    );
    let changed = Instant::now();
    let wanted = format!("revoked {REVOKED_AT} 4");
    for (number, responder) in world.responders.iter().enumerate() {
        loop {
            let asked = changed.elapsed();
            let statuses = statuses(&responder.post(&der));
            if statuses == [wanted.as_str()] {
                break;
            }
            assert_eq!(statuses, ["good"]);
            assert!(asked < Duration::from_secs(1), "process {number}: after {asked:?}");
        }
    }
    for responder in world.responders.iter().cycle().take(30) {
        assert_eq!(statuses(&responder.post(&der)), [wanted.as_str()]);
    }
}

// rule: ANS-6
#[test]
fn without_a_window_each_answer_says_what_the_row_says() {
    let world = World::new(2, "freshness = \"0s\"\n");
    let der = world.about("0a1b");
    let hold = revoked(RevocationReason::CertificateHold);
    let taken_back = revoked(RevocationReason::PrivilegeWithdrawn);
    for (status, wanted) in [
        (CertStatus::Good, "good".to_owned()),
        (hold, format!("revoked {REVOKED_AT} 6")),
        (CertStatus::Good, "good".to_owned()), // the hold is released
        (taken_back, format!("revoked {REVOKED_AT} 9")),
        (hold, format!("revoked {REVOKED_AT} 6")), // another reason
        (CertStatus::Unknown, "unknown".to_owned()), // the row is deleted
        (CertStatus::Good, "good".to_owned()),
    ] {
        world.site.set_status("0a1b", status);
        for responder in world.responders.iter().cycle().take(6) {
            let response = post(responder, &der);
            assert_eq!(statuses(&response.body), [wanted.as_str()]);
            let accel = response.field("X-Accel-Expires");
            assert_eq!(accel, Some("0"), "the web server in front is to ask each time, too");
        }
        if status == CertStatus::Unknown {
            assert_eq!(files(&world.site.path("cache")).len(), 0, "of a deleted row");
        }
    }
}

// rule: ANS-6
#[test]
fn a_hold_that_is_released_and_a_row_that_is_deleted_show_within_the_window() {
    let world = World::new(1, "freshness = \"1s\"\n");
    let der = world.about("0a1b");
    let responder = &world.responders[0];
    for (status, wanted) in [
        (revoked(RevocationReason::CertificateHold), "revoked"),
        (CertStatus::Good, "good"),
        (CertStatus::Unknown, "unknown"),
    ] {
        world.site.set_status("0a1b", status);
        let changed = Instant::now();
        eventually(wanted, || statuses(&responder.post(&der))[0].starts_with(wanted).then_some(()));
        assert!(changed.elapsed() < Duration::from_millis(2500), "{wanted}");
    }
}

// rule: ANS-6
#[test]
fn an_sqlite_file_that_another_one_is_copied_over_is_read_anew() {
    let site = Site::new(KeyKind::P256);
    // Made by the same statements, as an export does it: its counter of changes is the same.
    let export = |name: &str, row: &str| {
        let file = rusqlite::Connection::open(site.path(name)).unwrap();
        let sql = "CREATE TABLE list_certs (cert_num TEXT PRIMARY KEY, status TEXT, \
                   revocation_time TEXT, revocation_reason TEXT, cert TEXT)";
        file.execute_batch(sql).unwrap();
        let sql = format!("INSERT INTO list_certs VALUES ('0x0a1b', {row}, NULL, '')");
        file.execute_batch(&sql).unwrap();
    };
    export("yesterday.db", "'Valid', NULL");
    export("today.db", "'Revoked', '2026-01-02 03:04:05'");
    fs::copy(site.path("yesterday.db"), site.path("certs.db")).unwrap();
    let responder = site.serve("");
    let ask = || statuses(&responder.post(&site.about("0a1b").with_nonce(b"n").der()));
    assert_eq!(ask(), ["good"]);
    fs::copy(site.path("today.db"), site.path("certs.db")).unwrap();
    assert_eq!(ask(), [format!("revoked {REVOKED_AT} -")]);
}

// rule: ANS-5
#[test]
fn what_a_killed_writer_leaves_of_an_sqlite_file_is_told_by_name() {
    let site = Site::with_certificates(KeyKind::P256);
    // A writer whose changes have begun to reach the file, and whose journal has stayed.
    let writer = rusqlite::Connection::open(site.path("certs.db")).unwrap();
    let fill = "PRAGMA cache_size = 5; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                LIMIT 3000) INSERT INTO list_certs (cert_num, status, cert) \
                SELECT printf('0x0c%04x', i), 'Valid', hex(zeroblob(100)) FROM n";
    writer.execute_batch(fill).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE list_certs SET cert = 'x' || cert").unwrap();
    let left = site.path("left.db");
    fs::copy(site.path("certs.db"), &left).unwrap();
    fs::copy(site.path("certs.db-journal"), site.path("left.db-journal")).unwrap();
    writer.execute_batch("ROLLBACK").unwrap();
    drop(writer);
    for name in ["certs.db-journal", "certs.db"] {
        fs::rename(site.path(&name.replace("certs", "left")), site.path(name)).unwrap();
    }
    let responder = site.serve("");
    let der = site.about("0a1b").der();
    assert_eq!(responder.post(&der), TRY_LATER);
    logged(&site.path("serve.log"), "a writer was killed half-way");
    let mended = rusqlite::Connection::open(site.path("certs.db")).unwrap();
    mended.query_row("SELECT count(*) FROM list_certs", [], |_| Ok(())).unwrap();
    eventually("it is read again", || (responder.post(&der) != TRY_LATER).then_some(()));
    assert_eq!(statuses(&responder.post(&der)), ["good"]);
}

// rule: ANS-5, ANS-6
#[test]
fn while_the_store_is_gone_kept_answers_go_on_and_others_are_try_later() {
    let world = World::new(2, "freshness = \"0s\"\n");
    let responder = &world.responders[0];
    let (good, bad) = (world.about("0a1b"), world.about("ff02"));
    let other_hash = world.hashed("0a1b");
    let (kept, kept_bad) = (responder.post(&good), responder.post(&bad));
    world.hide_store();
    for _ in 0..5 {
        assert_eq!(responder.post(&good), kept);
        assert_eq!(responder.post(&bad), kept_bad);
        assert_eq!(responder.post(&world.about("0c03")), TRY_LATER);
        assert_eq!(responder.post(&other_hash), TRY_LATER, "this question was never answered");
    }
    // With a nonce too: signed anew, and reaching no further than what is known. The
    // second process knows it from the folder alone.
    for responder in world.responders.iter().rev() {
        let nonce = responder.post(&world.request("0a1b").with_nonce(b"n").der());
        assert_eq!(Answer::read(&nonce).times().2, Answer::read(&kept).times().2);
        assert_eq!(statuses(&nonce), ["good"]);
        assert_eq!(responder.post(&good), kept);
    }
    world.show_store();
    // By itself, and then with the news.
    world.site.set_status("0a1b", revoked(RevocationReason::Superseded));
    eventually("the store is back", || {
        statuses(&responder.post(&good))[0].starts_with("revoked").then_some(())
    });
    assert_eq!(statuses(&responder.post(&world.about("0c03"))), ["unknown"]);
    let log = logged(&world.site.path("beside-0/serve.log"), "status store answers again");
    assert_eq!(log.matches("status store unavailable, answering from the cache").count(), 1);
}

// rule: ANS-5
#[test]
fn kept_answers_end_with_the_store_where_the_configuration_says_so() {
    let world = World::new(1, "freshness = \"0s\"\nstore_down = \"try-later\"\n");
    let responder = &world.responders[0];
    let der = world.about("0a1b");
    assert_eq!(statuses(&responder.post(&der)), ["good"]);
    world.hide_store();
    for _ in 0..5 {
        assert_eq!(responder.post(&der), TRY_LATER);
        assert_eq!(responder.post(&world.request("0a1b").with_nonce(b"n").der()), TRY_LATER);
    }
    world.show_store();
    assert_eq!(statuses(&responder.post(&der)), ["good"]);
}

// rule: ANS-5, ANS-6
#[test]
fn whoever_has_seen_a_revocation_says_nothing_good_again_with_the_store_gone() {
    // Seen by the question itself, or by one with a nonce, or by one of several.
    // Or in other words: by another hash function.
    for seen in [Seen::Alone, Seen::WithNonce, Seen::AmongOthers, Seen::ByAnotherHash] {
        for status in [revoked(RevocationReason::KeyCompromise), CertStatus::Unknown] {
            let world = World::new(1, "freshness = \"0s\"\n");
            let responder = &world.responders[0];
            let der = world.about("0a1b");
            assert_eq!(statuses(&responder.post(&der)), ["good"]);
            world.site.set_status("0a1b", status);
            let request = world.request("0a1b");
            let statuses = statuses(&responder.post(&match seen {
                Seen::Alone => request.der(),
                Seen::WithNonce => request.with_nonce(b"n").der(),
                Seen::ByAnotherHash => world.hashed("0a1b"),
                Seen::AmongOthers => {
                    let first = CertId::new(&world.site.ca.identity.certificate, "ff02").der();
                    let cert_ids = vec![first, request.cert_ids[0].clone()];
                    Request { cert_ids, ..Request::default() }.der()
                }
            }));
            assert_ne!(statuses.last().unwrap(), "good");
            world.hide_store();
            for _ in 0..5 {
                let der = responder.post(&der);
                assert!(der == TRY_LATER || !self::statuses(&der).contains(&"good".to_owned()));
            }
        }
    }
}

// rule: ANS-5, ANS-6
#[test]
fn what_another_process_has_seen_counts_while_the_store_is_gone() {
    let world = World::new(2, "freshness = \"0s\"\n");
    let der = world.about("0a1b");
    let [first, second] = &world.responders[..] else { panic!("two") };
    for round in 0..3 {
        world.site.set_status("0a1b", CertStatus::Good);
        // Also when all happens within one second, which is what is written down.
        let now = SystemClock.now();
        while SystemClock.now() == now {
            sleep(Duration::from_millis(5));
        }
        assert_eq!(statuses(&first.post(&der)), ["good"]);
        world.site.set_status("0a1b", revoked(RevocationReason::KeyCompromise));
        assert!(statuses(&second.post(&der))[0].starts_with("revoked"));
        world.hide_store();
        for _ in 0..20 {
            let answer = first.post(&der);
            assert!(statuses(&answer)[0].starts_with("revoked"), "round {round}");
        }
        world.show_store();
    }
}

// rule: WEB-3, ANS-6
#[test]
fn the_web_server_in_front_is_told_no_more_than_what_is_left_of_the_window() {
    let world = World::new(1, "freshness = \"4s\"\n");
    let der = world.about("0a1b");
    let start = Instant::now();
    let mut confirmed = None;
    let mut longest = 0;
    while start.elapsed() < Duration::from_millis(2500) {
        let before = start.elapsed();
        let response = post(&world.responders[0], &der);
        let confirmed = *confirmed.get_or_insert(start.elapsed());
        let accel: u64 = response.field("X-Accel-Expires").unwrap().parse().unwrap();
        longest = longest.max(accel);
        // Counted from the first answer, nobody but nginx gives it after 4 s.
        let end = before + Duration::from_secs(accel);
        assert!(end <= confirmed + Duration::from_secs(4), "{end:?} {confirmed:?}");
        sleep(Duration::from_millis(50));
    }
    assert!(longest >= 1, "nginx has something to repeat");
}

// rule: ANS-6, RSP-3
#[test]
fn at_half_of_its_validity_an_answer_is_signed_anew() {
    // Of 118 s, 58 s are over at the start.
    let more = "freshness = \"0s\"\n[answers]\nvalidity = \"118s\"\nback_date = \"58s\"\n";
    let world = World::new(2, more);
    let der = world.about("0a1b");
    let first = world.responders[0].post(&der);
    let (this_update, produced_at, next_update) = Answer::read(&first).times();
    assert_eq!((produced_at - this_update, next_update - this_update), (58, 118));
    let anew = eventually("it is signed anew", || {
        let now = SystemClock.now().unix();
        let answer = world.responders[1].post(&der);
        // From the folder, until half of it is over.
        assert!(answer != first || now - this_update <= 59 + 1, "{}", now - this_update);
        (answer != first).then_some(answer)
    });
    let (_, produced_anew, next_anew) = Answer::read(&anew).times();
    assert!(produced_anew - this_update >= 59, "not before half of it is over");
    assert!(next_anew > next_update);
}

// rule: ANS-6, RSP-3
#[test]
fn an_answer_is_signed_anew_where_it_is_longer_than_answers_are_now() {
    let site = Site::with_certificates(KeyKind::P256);
    let der = site.about("0a1b").der();
    let spans = ["30d", "1h", "30d"].map(|validity| {
        let port = free_port();
        let config = site.write_config(&format!(
            "port = {port}\ncachefolder = \"cache\"\nitcert = \"ca.crt\"\nitkey = \"ca.key\"\n\
             [database]\nsqlite = \"certs.db\"\n[cache]\nfreshness = \"0s\"\n\
             [answers]\nvalidity = \"{validity}\"\nback_date = \"10m\"\n"
        ));
        let answer = Running::start(&config, port).post(&der);
        let (this_update, produced_at, next_update) = Answer::read(&answer).times();
        assert_eq!(produced_at - this_update, 600);
        next_update - this_update
    });
    // That the last one might be longer is no reason before half of it is over.
    assert_eq!(spans, [30 * 86_400, 3_600, 3_600]);
}

#[test]
fn a_certificate_that_is_good_again_is_logged_unless_it_was_on_hold() {
    let site = Site::with_certificates(KeyKind::P256);
    let der = site.about("0a1b").der();
    let responder = site.serve("[cache]\nfreshness = \"0s\"\n");
    let line = "was revoked and is good now, is the source one of before: issuer=0 serial=0a1b";
    for reason in [RevocationReason::CertificateHold, RevocationReason::Superseded] {
        let log = fs::read_to_string(site.path("serve.log")).unwrap();
        assert!(!log.contains(line), "{log}");
        for status in [revoked(reason), CertStatus::Good] {
            site.set_status("0a1b", status);
            responder.post(&der);
        }
    }
    logged(&site.path("serve.log"), line);
}

// rule: ANS-3
#[test]
fn what_was_never_issued_is_asked_for_each_time() {
    for (policy, wanted) in
        [("unknown", None), ("unauthorized", Some(UNAUTHORIZED)), ("revoked", None)]
    {
        let more = format!("freshness = \"1h\"\n[answers]\nnon_issued = \"{policy}\"\n");
        let world = World::new(1, &more);
        let der = world.about("0c03");
        let responder = &world.responders[0];
        let answer = responder.post(&der);
        match wanted {
            Some(error) => assert_eq!(answer, error),
            None if policy == "revoked" => {
                assert!(Answer::read(&answer).extension(EXTENDED_REVOKE).is_some());
            }
            None => assert_eq!(statuses(&answer), ["unknown"]),
        }
        // Whatever the window: it may be issued the next moment.
        world.site.set_status("0c03", CertStatus::Good);
        assert_eq!(statuses(&responder.post(&der)), ["good"], "{policy}");
    }
}

#[derive(Clone, Copy)]
enum Seen {
    Alone,
    WithNonce,
    ByAnotherHash,
    AmongOthers,
}

/// A site with processes that share its cache folder.
struct World {
    responders: Vec<Running>,
    site: Site,
}

impl World {
    /// `more` begins in the table `[cache]`.
    fn new(processes: usize, more: &str) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        let responders = (0..processes).map(|number| site.serve_beside(number, more)).collect();
        Self { responders, site }
    }

    fn request(&self, serial: &str) -> Request {
        self.site.about(serial)
    }

    fn about(&self, serial: &str) -> Vec<u8> {
        self.request(serial).der()
    }

    fn hashed(&self, serial: &str) -> Vec<u8> {
        let ca = &self.site.ca.identity.certificate;
        Request::about(&CertId::hashed(SHA256, ca, serial)).der()
    }

    fn sql(&self, statement: &str) {
        let connection = rusqlite::Connection::open(self.site.path("certs.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.execute_batch(statement).unwrap();
    }

    fn hide_store(&self) {
        fs::rename(self.site.path("certs.db"), self.site.path("away.db")).unwrap();
    }

    fn show_store(&self) {
        fs::rename(self.site.path("away.db"), self.site.path("certs.db")).unwrap();
    }
}

fn post(responder: &Running, der: &[u8]) -> Response {
    http(responder.address(), &client::post(der))
}
