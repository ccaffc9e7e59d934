//! Servers that refuse, are silent, stop and come back.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::CertStatus;
use ocsp_fcgi::store::Mapping;
use ocsp_fcgi::store::mysql::{Host, Mysql};

use crate::stores::{find, status, unavailable, until};
use crate::support::mariadb::{Database, MariaDb};
use crate::support::run;
use crate::support::site::{Site, mounted};

#[test]
fn the_second_host_is_asked_when_the_first_refuses() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for first in [tcp(closed), Host::Unix("/nonexistent/socket".into()), name("nowhere.invalid")] {
        let store = Mysql::new(database.options(&[first.clone(), database.server.tcp()]));
        for _ in 0..3 {
            assert_eq!(status(&store, "05"), Some(CertStatus::Good), "{first}");
        }
    }
}

#[test]
fn a_silent_first_host_delays_many_callers_at_once_and_not_one_after_the_other() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    // Accepts by its queue, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = tcp(silent.local_addr().unwrap().port());
    let mut options = database.options(&[first, database.server.unix()]);
    options.connections = 5;
    options.timeout = Duration::from_secs(1);
    options.retry_pause = Duration::from_secs(60);
    let store = Mysql::new(options);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| assert_eq!(status(&store, "05"), Some(CertStatus::Good)));
        }
    });
    let all = start.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_millis(1900)).contains(&all), "{all:?}");
    let start = Instant::now();
    (0..20).for_each(|_| assert_eq!(status(&store, "05"), Some(CertStatus::Good)));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn the_preferred_host_is_asked_again_once_it_is_back() {
    let database = MariaDb::shared().database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("socket");
    let mut options = database.options(&[Host::Unix(link.clone()), database.server.tcp()]);
    options.retry_pause = Duration::from_millis(50);
    let store = Mysql::new(options);
    assert!(clients(&store, &database).iter().all(|client| client.starts_with("127.0.0.1:")));
    let Host::Unix(socket) = database.server.unix() else { panic!() };
    std::os::unix::fs::symlink(socket, &link).unwrap();
    until(|| clients(&store, &database) == ["localhost"]);
}

/// Where the connections to the database come from, once it was asked.
fn clients(store: &Mysql, database: &Database<'_>) -> Vec<String> {
    assert_eq!(status(store, "05"), Some(CertStatus::Good));
    let user = &database.name;
    database
        .server
        .rows(&format!("SELECT host FROM information_schema.processlist WHERE user = '{user}'"))
}

#[test]
fn a_connection_to_a_less_preferred_host_is_closed_when_it_comes_back_too_late() {
    let database = MariaDb::shared().database();
    for serial in ["0x05", "0x07"] {
        database.insert(serial, "'Valid', NULL, NULL");
    }
    // A question about 0x07 takes its time.
    database.run(
        "CREATE VIEW slow AS SELECT cert_num, \
         IF(cert_num = '0x07' AND SLEEP(2), status, status) AS status, \
         revocation_time, revocation_reason FROM list_certs",
    );
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("socket");
    let mut options = database.options(&[Host::Unix(link.clone()), database.server.tcp()]);
    options.retry_pause = Duration::from_millis(50);
    options.mapping = Mapping::of_table("slow");
    let store = Mysql::new(options);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| status(&store, "07"));
        until(|| clients(&store, &database).len() > 1);
        let Host::Unix(socket) = database.server.unix() else { panic!() };
        std::os::unix::fs::symlink(socket, &link).unwrap();
        until(|| clients(&store, &database).iter().any(|client| client == "localhost"));
        assert_eq!(slow.join().unwrap(), Some(CertStatus::Good));
    });
    until(|| clients(&store, &database) == ["localhost"]);
}

// rule: ANS-5
#[test]
fn while_the_server_is_stopped_questions_fail_at_once_and_it_is_found_again() {
    let server = MariaDb::start();
    let database = server.database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let mut options = database.options(&[server.tcp()]);
    options.retry_pause = Duration::from_secs(1);
    let store = Mysql::new(options);
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    server.stop();
    assert!(unavailable(&store, "05").contains("refused"));
    let start = Instant::now();
    for _ in 0..500 {
        assert!(unavailable(&store, "05").starts_with("not tried again yet"));
    }
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    server.start_again();
    until(|| find(&store, "05").is_ok());
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));

    // A restart that nobody asked during is not noticed at all.
    server.stop();
    server.start_again();
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
}

// rule: ANS-5
#[test]
fn a_server_that_falls_silent_costs_each_caller_a_bounded_time() {
    let server = MariaDb::start();
    let database = server.database();
    for host in [server.unix(), server.tcp()] {
        let mut options = database.options(&[host]);
        options.connect_timeout = Duration::from_millis(200);
        options.timeout = Duration::from_millis(200);
        options.retry_pause = Duration::from_millis(100);
        let store = Mysql::new(options);
        assert_eq!(status(&store, "05"), None);
        server.freeze();
        until(|| find(&store, "05").is_err());
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            let before = Instant::now();
            std::thread::scope(|scope| {
                (0..8).for_each(|_| drop(scope.spawn(|| unavailable(&store, "05"))));
            });
            let took = before.elapsed();
            assert!(took < Duration::from_millis(1500), "{took:?}");
        }
        server.thaw();
        until(|| find(&store, "05").is_ok());
    }
}

#[test]
fn a_first_host_that_falls_silent_costs_all_who_ask_one_time_out() {
    let server = MariaDb::start();
    let database = server.database();
    database.insert("0x05", "'Valid', NULL, NULL");
    let (second, name) = (MariaDb::shared(), &database.name);
    let user = database.options(&[]);
    for sql in [
        format!("CREATE DATABASE {name}"),
        format!(
            "CREATE TABLE {name}.list_certs (cert_num varchar(50) PRIMARY KEY, status text, \
             revocation_time datetime, revocation_reason text)"
        ),
        format!("INSERT INTO {name}.list_certs VALUES ('0x05', 'Valid', NULL, NULL)"),
        format!("CREATE USER {name} IDENTIFIED BY '{}'", user.password),
        format!("GRANT SELECT ON {name}.* TO {name}"),
    ] {
        second.run(&sql);
    }
    let mut options = database.options(&[server.tcp(), second.tcp()]);
    options.timeout = Duration::from_secs(1);
    options.connections = 1;
    let store = Mysql::new(options);
    assert_eq!(status(&store, "05"), Some(CertStatus::Good));
    server.freeze();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| assert_eq!(status(&store, "05"), Some(CertStatus::Good)));
        }
    });
    let took = start.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_millis(1900)).contains(&took), "{took:?}");
    server.thaw();
}

#[test]
fn of_a_name_with_several_addresses_the_last_is_reached_though_the_others_are_silent() {
    let server = MariaDb::start_with(&["--bind-address=127.0.0.13"]);
    let database = server.database();
    let Host::Tcp { port, .. } = server.tcp() else { unreachable!() };
    let silent = ["127.0.0.11", "127.0.0.12"].map(|address| {
        let listener = TcpListener::bind((address, port)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let filling = TcpStream::connect((address, port)).unwrap();
        (listener, filling)
    });
    let site = Site::new(KeyKind::P256);
    let keys = database.keys().replacen("dbip", &format!("dbip = \"many.test:{port}\" #"), 1);
    let config = site.write_config(&format!(
        "itcert = \"ca.crt\"\nitkey = \"ca.key\"\ncachefolder = \"cache\"\n{keys}\
         [database]\nconnect_timeout = \"1s\"\ntimeout = \"500ms\"\n"
    ));
    let hosts = [11, 12, 13].map(|last| format!("127.0.0.{last} many.test\n")).concat();
    std::fs::write(site.path("hosts"), hosts).unwrap();
    let mut check = mounted(&config, "mount --bind hosts /etc/hosts", "check");
    let output = run(&mut check, "util-linux");
    let told = String::from_utf8_lossy(&output.stdout);
    let line = format!("ok       database many.test:{port}");
    assert!(told.contains(&line), "{told}{}", String::from_utf8_lossy(&output.stderr));
    drop(silent);
}

fn tcp(port: u16) -> Host {
    Host::Tcp { host: "127.0.0.1".into(), port }
}

fn name(host: &str) -> Host {
    Host::Tcp { host: host.into(), port: 3306 }
}
