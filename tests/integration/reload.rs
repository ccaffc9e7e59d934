//! SIGHUP: what a reload changes, what it leaves, and what it says of both.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::{KeyKind, ThrowawayCa};
use ocsp_fcgi::time::{Clock, SystemClock};

use crate::support::fastcgi::Client;
use crate::support::mariadb::MariaDb;
use crate::support::ocsp::{Answer, CertId, NONCE, Request};
use crate::support::site::{Running, Served, Site};
use crate::support::{eventually, free_port, logged, run};

#[test]
fn a_reload_that_hangs_does_not_keep_it_from_its_end() {
    let mut world = Served::new("");
    let certificate = world.site.path("ca.crt");
    fs::remove_file(&certificate).unwrap();
    // Stands for a file system or a token that does not answer.
    let made = run(Command::new("mkfifo").arg(&certificate), "coreutils");
    assert!(made.status.success());
    world.responder.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        Answer::read(&world.responder.post(&world.site.about("0a1b").der())).statuses(),
        ["good"]
    );
    world.responder.signal(Signal::SIGTERM);
    let status = eventually("it ends", || world.responder.child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn a_reload_takes_the_new_key_and_certificate() {
    let world = Served::new("");
    let mut client = Client::tcp(world.responder.address());
    assert_eq!(
        Answer::read(&client.post(&world.site.about("0a1b").der()).body).statuses(),
        ["good"]
    );
    let renewed = ThrowawayCa::new("Test CA", KeyKind::Ed25519, SystemClock.now()).unwrap();
    renewed.identity.write(world.site.folder.path(), "ca").unwrap();
    world.responder.signal(Signal::SIGHUP);
    let request = Request::about(&CertId::new(&renewed.identity.certificate, "0a1b")).der();
    // Over the connection that was open before.
    let answer = eventually("the new key answers", || {
        let body = client.post(&request).body;
        (body.len() > 5).then(|| Answer::read(&body))
    });
    assert!(answer.is_signed_by(&renewed.identity.certificate));
    assert!(
        client.post(&world.site.about("0a1b").der()).body.len() == 5,
        "the old key is not asked for"
    );
    logged(&world.site.path("serve.log"), "reloaded: ");
}

#[test]
fn a_reload_takes_the_new_configuration() {
    let world = Served::new("");
    let nonce = || {
        let der = world.site.about("0a1b").with_nonce(b"n").der();
        Answer::read(&world.responder.post(&der)).extension(NONCE)
    };
    assert!(nonce().is_some());
    let port = world.responder.port;
    world.site.configure(&format!("port = {port}\n[answers]\nnonce = \"ignore\"\n"));
    world.responder.signal(Signal::SIGHUP);
    eventually("the nonce is ignored", || nonce().is_none().then_some(()));
}

#[test]
fn a_reload_is_rid_of_what_was_open_before() {
    let database = MariaDb::shared().database();
    database.insert("0x0a1b", "'Valid', NULL, NULL");
    let site = Site::new(KeyKind::P256);
    let port = free_port();
    let keys = database.keys();
    let config = site.write_config(&format!(
        "port = {port}\ncachefolder = \"cache\"\nitcert = \"ca.crt\"\nitkey = \"ca.key\"\n{keys}"
    ));
    let responder = Running::start(&config, port);
    let ask = || {
        let answer = responder.post(&site.about("0a1b").with_nonce(b"n").der());
        assert_eq!(Answer::read(&answer).statuses(), ["good"]);
        database.connections()
    };
    let before = ask();
    assert_eq!(before.len(), 1);
    responder.signal(Signal::SIGHUP);
    logged(&site.path("serve.log"), "reloaded: ");
    eventually("the connection of before is closed", || {
        database.connections().is_empty().then_some(())
    });
    let after = ask();
    assert!(after.len() == 1 && after != before);
}

#[test]
fn a_reload_tells_what_it_does_not_change() {
    let world = Served::new("");
    let (port, log) = (world.responder.port, world.site.path("serve.log"));
    for (more, told) in [
        ("[log]\nlevel = \"debug\"\n[listen]\nunix = \"other.sock\"\n", "port or [listen], [log]"),
        ("[limits]\nidle_timeout = \"59s\"\n", "[limits]"),
    ] {
        world.site.configure(&format!("port = {port}\n{more}"));
        // Each time, as it is not there yet.
        for _ in 0..2 {
            let before = logged(&log, "started: ").matches("reloaded: ").count();
            world.responder.signal(Signal::SIGHUP);
            let now = eventually("it is reloaded", || {
                let log = world.log();
                (log.matches("reloaded: ").count() > before).then_some(log)
            });
            let line = now.lines().rfind(|line| line.contains("needs a restart")).unwrap();
            let told = format!("changed, and needs a restart to take effect: {told}");
            assert!(line.ends_with(&told), "{line}");
            assert_eq!(now.matches("needs a restart").count(), before + 1, "{now}");
        }
    }
}

#[test]
fn a_reload_of_something_broken_changes_nothing_and_says_why() {
    let world = Served::new("");
    let path = |name| world.site.path(name);
    let good = |der: &[u8]| Answer::read(&world.responder.post(der)).statuses() == ["good"];
    let (key, config) = (fs::read(path("ca.key")).unwrap(), fs::read(path("config.toml")).unwrap());
    let other = KeyKind::P256.generate().unwrap().private_key_to_pem_pkcs8().unwrap();
    for (number, (file, content, reason)) in [
        ("ca.key", &b"no key"[..], "no private key in PEM or DER"),
        ("ca.key", &other, "the key does not belong to the certificate"),
        ("config.toml", b"port = 0\n", "port is 0"),
        ("config.toml", b"port = \n", "config.toml:1:"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(path(file), content).unwrap();
        world.responder.signal(Signal::SIGHUP);
        let log = eventually("the reload is refused", || {
            let log = world.log();
            (log.matches("not reloaded, going on as before").count() > number).then_some(log)
        });
        let last = log.lines().rfind(|line| line.contains("not reloaded")).unwrap();
        assert!(last.contains(reason), "wanted {reason:?} in {last}");
        assert!(
            good(&world.site.about("0a1b").der())
                && good(&world.site.about("0a1b").with_nonce(b"n").der())
        );
        fs::write(path("ca.key"), &key).unwrap();
        fs::write(path("config.toml"), &config).unwrap();
    }
    world.responder.signal(Signal::SIGHUP);
    logged(&world.site.path("serve.log"), ": reloaded: ");
    assert!(good(&world.site.about("0a1b").der()));
}
