//! Somebody switches from the earlier responder: its configuration, its table, its
//! rows and the command that its documentation shows, unchanged.

use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::store::mysql::Host;

use crate::support::mariadb::MariaDb;
use crate::support::ocsp::{Answer, CertId, Request, SHA512, TRY_LATER};
use crate::support::site::{PROGRAM, Running, Site};
use crate::support::{OnDrop, eventually, free_port, run};

// rule: ANS-1, ANS-2, REQ-5, RSP-1
#[test]
fn the_command_of_its_documentation_works_with_its_file_and_its_table() {
    let world = World::new(MariaDb::shared(), "certs_asked");
    let url = world.responder.url();
    for hash in [&[][..], &["-sha256"]] {
        for (name, wanted) in [
            ("minimal", &["minimal.crt: good"][..]),
            ("octets", &["octets.crt: good"]),
            (
                "signed",
                &[
                    "signed.crt: revoked",
                    "Reason: keyCompromise",
                    "Revocation Time: Jan  2 03:04:05 2026 GMT",
                ],
            ),
            ("upper", &["upper.crt: revoked", "Revocation Time: Feb 29 00:00:00 2024 GMT"]),
            ("expired", &["expired.crt: good"]),
            ("unlisted", &["unlisted.crt: unknown"]),
        ] {
            // openssl ocsp -issuer … -cert … -url http://localhost:9000 -resp_text
            let said = world.site.ask(name, &url, &[hash, &["-resp_text"]].concat());
            for line in wanted.iter().chain(&[
                "Response verify OK",
                "OCSP Response Status: successful (0x0)",
                "Signature Algorithm: sha256WithRSAEncryption",
            ]) {
                assert!(said.contains(line), "{name} {hash:?}: wanted {line:?} in\n{said}");
            }
            let key_hash = CertId::new(&world.site.ca.identity.certificate, "01").key_hash;
            let key_hash: String = key_hash.iter().map(|octet| format!("{octet:02X}")).collect();
            assert!(said.contains(&format!("Responder Id: {key_hash}")), "{said}");
        }
    }
    // Cached for three days, in its folder.
    let answer = Answer::read(&world.responder.post(&world.about("0a1b").der()));
    let (this_update, _, next_update) = answer.times();
    assert_eq!(next_update - this_update, 3 * 86_400);
    assert!(world.site.path("cache").is_dir());
}

// rule: WEB-1
#[test]
fn a_get_of_a_request_that_openssl_made_is_answered_too() {
    // The earlier responder read the body of whatever came.
    let world = World::new(MariaDb::shared(), "certs_got");
    for (name, wanted) in [("minimal", "good"), ("signed", "revoked 1767323045 1")] {
        for options in [&[][..], &["-no_nonce"]] {
            let path = STANDARD.encode(world.site.request(name, options));
            let path = path.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
            let mut command = Command::new("curl");
            command.args(["-sS", "--max-time", "20"]);
            let output = run(command.arg(format!("{}/{path}", world.responder.url())), "curl");
            assert_eq!(Answer::read(&output.stdout).statuses(), [wanted]);
        }
    }
}

// rule: ANS-5, ANS-6
#[test]
fn a_database_that_stops_and_starts_under_load_makes_nothing_good_that_is_not() {
    let server = MariaDb::start();
    let world = World::new(&server, "certs_down");
    let kept = world.about("0a1b").der();
    assert_eq!(Answer::read(&world.responder.post(&kept)).statuses(), ["good"]);
    // Asked by hash functions and with nonces that nothing is kept for.
    let ca = &world.site.ca.identity.certificate;
    let unkept = [
        Request::about(&CertId::new(ca, "ff02")).with_nonce(b"n").der(),
        Request::about(&CertId::hashed(SHA512, ca, "ff02")).with_nonce(b"n").der(),
    ];
    let done = AtomicBool::new(false);
    let [right, try_later] = [const { AtomicUsize::new(0) }; 2];
    std::thread::scope(|scope| {
        let _end = OnDrop(&done);
        for number in 0..4 {
            let (world, kept, unkept) = (&world, &kept, &unkept);
            let (done, right, try_later) = (&done, &right, &try_later);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    // What is kept is given all the while.
                    let answer = Answer::read(&world.responder.post(kept));
                    assert_eq!(answer.statuses(), ["good"]);
                    let answer = world.responder.post(&unkept[number % 2]);
                    if answer == TRY_LATER {
                        try_later.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(Answer::read(&answer).statuses(), ["revoked 1767323045 1"]);
                        right.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for _ in 0..2 {
            let more = |counter: &AtomicUsize| {
                let before = counter.load(Ordering::Relaxed);
                eventually("more answers of this kind", || {
                    (counter.load(Ordering::Relaxed) > before + 10).then_some(())
                });
            };
            more(&right);
            server.stop();
            more(&try_later);
            server.start_again();
            more(&right);
        }
    });
    // Back, and with the news, which shows after the window at the latest.
    server.run(
        "UPDATE certs_down.list_certs SET status = 'Revoked', \
         revocation_time = '2026-01-02 03:04:05', revocation_reason = 'superseded' \
         WHERE cert_num = '0xa1b'",
    );
    let with_nonce = world.about("0a1b").with_nonce(b"n").der();
    let answer = Answer::read(&world.responder.post(&with_nonce));
    assert_eq!(answer.statuses(), ["revoked 1767323045 4"], "this one asks the row");
    // And whoever has seen it gives the kept answer no more.
    let answer = Answer::read(&world.responder.post(&kept));
    assert_eq!(answer.statuses(), ["revoked 1767323045 4"]);
}

/// The table of the earlier responder, as its documentation has it.
const TABLE: &str = "CREATE TABLE `list_certs` (
  `cert_num` varchar(50) NOT NULL,
  `revocation_time` datetime DEFAULT NULL,
  `revocation_reason` enum('unspecified','key_compromise','ca_compromise','affiliation_changed',
    'superseded','cessation_of_operation','certificate_hold','privilege_withdrawn','aa_compromise')
    DEFAULT NULL,
  `cert` blob NOT NULL,
  `status` enum('Valid','Revoked') NOT NULL DEFAULT 'Valid',
  PRIMARY KEY (`cert_num`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

/// Its configuration. Only the paths, the ports, and the name of the database are this
/// test's: the files have no fixed place here, and others use the same server.
fn configuration(site: &Site, database: &str, database_port: u16, port: u16) -> String {
    let folder = site.folder.path().display();
    format!(
        r#"cachedays = 3                 # days that an answer is valid (valid certificates)
dbip = "127.0.0.1:{database_port}"            # database host
dbuser = "{database}"
port = {port}                   # 1 to 65535
dbname = "{database}"
dbpassword = "certdata"
cachefolder = "cache/"        # relative or absolute; created when missing
itcert = "{folder}/it_cert.crt"      # the issuing (intermediate) CA's certificate
itkey = "{folder}/it_privkey.pem"   # its private key
"#
    )
}

struct World {
    responder: Running,
    site: Site,
}

impl World {
    fn new(server: &MariaDb, database: &str) -> Self {
        let site = Site::new(KeyKind::Rsa2048);
        site.ca.identity.write_certificate(&site.path("it_cert.crt")).unwrap();
        site.ca.identity.write_key(&site.path("it_privkey.pem")).unwrap();
        for sql in [
            &format!("CREATE DATABASE {database}"),
            &format!("CREATE USER {database} IDENTIFIED BY 'certdata'"),
            &format!("GRANT SELECT ON {database}.* TO {database}"),
            &TABLE.replacen("`list_certs`", &format!("{database}.`list_certs`"), 1),
        ] {
            server.run(sql);
        }
        for (name, serial, row) in [
            // Python's hex(): no leading zero; octets; octets of the DER INTEGER.
            ("minimal", "0a1b", Some(("0xa1b", "NULL, NULL, 'Valid'"))),
            ("octets", "0c0d0e", Some(("0x0C0D0E", "NULL, NULL, 'Valid'"))),
            (
                "signed",
                "ff02",
                Some(("0x00FF02", "'2026-01-02 03:04:05', 'key_compromise', 'Revoked'")),
            ),
            (
                "upper",
                "abcdef0123",
                Some(("0xABCDEF0123", "'2024-02-29', 'unspecified', 'Revoked'")),
            ),
            ("unlisted", "0f0f", None),
        ] {
            site.issue(name, serial, None);
            if let Some((cert_num, values)) = row {
                let pem = fs::read_to_string(site.path(&format!("{name}.crt"))).unwrap();
                server.run(&format!(
                    "INSERT INTO {database}.list_certs (cert_num, revocation_time, \
                     revocation_reason, status, cert) VALUES ('{cert_num}', {values}, '{pem}')"
                ));
            }
        }
        // Answers are given for expired certificates as for all others.
        let serial = ocsp_fcgi::serial::Serial::from_hex("0e0e").unwrap();
        let leaf = (ocsp_fcgi::demo::Purpose::Leaf, KeyKind::P256);
        let expired = site.ca.issue("expired.test", &serial, leaf, 0).unwrap();
        expired.write_certificate(&site.path("expired.crt")).unwrap();
        server.run(&format!(
            "INSERT INTO {database}.list_certs (cert_num, cert) VALUES ('0xe0e', '')"
        ));
        let Host::Tcp { port: database_port, .. } = server.tcp() else { panic!("no port") };
        let port = free_port();
        site.write_config(&configuration(&site, database, database_port, port));
        Self { responder: serve_in_its_folder(&site, port), site }
    }

    fn about(&self, serial: &str) -> Request {
        self.site.about(serial)
    }
}

/// With config.toml in the working directory, as the earlier responder was started.
fn serve_in_its_folder(site: &Site, port: u16) -> Running {
    let log = fs::File::create(site.path("serve.log")).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("serve").current_dir(site.folder.path()).env_remove("OCSP_FCGI_CONFIG");
    let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
    let mut running = Running { child, port };
    eventually("it listens", || {
        if let Some(status) = running.child.try_wait().unwrap() {
            panic!("{status}: {}", fs::read_to_string(site.path("serve.log")).unwrap());
        }
        TcpStream::connect(running.address()).ok()
    });
    running
}
