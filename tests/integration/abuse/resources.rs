//! What peers cost: memory, descriptors, threads and time of the processor stay within
//! their bounds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{World, ask};
use crate::support::fastcgi::{
    Client, KEEP, PARAMS, RESPONDER, STDIN, begin, pairs, record, stream,
};
use crate::support::ocsp::{Answer, CertId, Request};
use crate::support::{eventually, logged};

// rule: FCG-2, FCG-3
#[test]
fn ten_thousand_that_connect_and_leave_cost_nothing() {
    let world = World::new("");
    world.warm_up();
    let before = (world.resident_kib(), world.descriptors());
    for number in 0..10_000 {
        let peer = TcpStream::connect(world.address()).unwrap();
        if number % 2 == 0 {
            // With a reset, which may come before accept().
            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        }
    }
    world.assert_alive();
    eventually("descriptors are closed", || (world.descriptors() <= before.1 + 2).then_some(()));
    let grown = world.resident_kib().saturating_sub(before.0);
    assert!(grown < 8 * 1024, "{grown} KiB more");
    // One connect-and-close made a rival spin a core for ever. Whatever else the machine
    // does, an idle process gets no time of the processor.
    let used = world.processor_ticks();
    std::thread::sleep(Duration::from_millis(300));
    assert!(world.processor_ticks() - used <= 10, "it spins");
}

// rule: FCG-3
#[test]
fn without_descriptors_it_goes_on_and_recovers() {
    let world = World::new("");
    world.warm_up();
    // accept() fails with EMFILE as soon as a few connections are open.
    world.limit_descriptors(world.descriptors() + 3);
    let mut peers: Vec<_> = (0..50).map(|_| TcpStream::connect(world.address()).unwrap()).collect();
    for peer in &mut peers {
        let _closed_for_another = peer.write_all(b"POST / HTTP/1.1\r\nContent-Le");
    }
    logged(&world.site.path("serve.log"), "connections have to wait");
    drop(peers);
    eventually("it answers again", || {
        let answer = ask(world.address(), &world.about("0a1b"))?;
        (answer.len() > 5 && Answer::read(&answer).statuses() == ["good"]).then_some(())
    });
    logged(&world.site.path("serve.log"), "connections are accepted again");
}

// rule: FCG-3
#[test]
fn connections_leave_descriptors_for_the_database_and_the_cache() {
    let world = World::limited("", 40);
    logged(&world.site.path("serve.log"), "fewer connections than configured");
    let _idle: Vec<_> = (0..200)
        .map(|_| {
            let mut peer = TcpStream::connect(world.address()).unwrap();
            let _closed_for_another = peer.write_all(b"\r\n"); // known, and idle again
            peer
        })
        .collect();
    for serial in ["0a1b", "ff02", "0c03"].into_iter().cycle().take(20) {
        // The first of its kind needs the database.
        Answer::read(&world.responder.post(&world.about(serial)));
    }
}

// rule: FCG-2
#[test]
fn thousands_of_idle_connections_cost_no_thread_and_little_memory() {
    // The other ends are in this process; whoever logs in is allowed 1024 descriptors at first.
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.map(|now| now.max(4096));
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    let world = World::new("[limits]\nworkers = 16\nsigning_queue = 8\n");
    world.warm_up();
    let before = world.resident_kib();
    let idle: Vec<_> = (0..3000)
        .map(|number| {
            let mut peer = TcpStream::connect(world.address()).unwrap();
            // Some have never said anything, some are between two requests.
            if number % 2 == 0 {
                peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            }
            peer
        })
        .collect();
    for _ in 0..20 {
        let answer = world.responder.post(&world.about("0a1b"));
        assert_eq!(Answer::read(&answer).statuses(), ["good"]);
    }
    assert!(world.threads() <= 16 + 6, "{} threads", world.threads());
    let grown = world.resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB for {} connections", idle.len());
    // They are all still there.
    for mut peer in idle.into_iter().step_by(500) {
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        peer.read_to_string(&mut page).unwrap();
        assert!(page.contains("This is an OCSP responder"));
    }
}

// rule: FCG-2
#[test]
fn peers_that_ask_and_never_read_leave_workers_for_those_who_do() {
    let world = World::new("[limits]\nworkers = 16\nsigning_queue = 8\nread_timeout = \"60s\"\n");
    let kept = world.about("0a1b");
    Answer::read(&world.responder.post(&kept));
    let questions = b"GET / HTTP/1.1\r\n\r\n".repeat(100_000); // a page of text for each
    let peers: Vec<_> = (0..40)
        .map(|_| {
            let mut peer = TcpStream::connect(world.address()).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&peer, 2048).unwrap();
            peer.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let _taken_or_closed = peer.write_all(&questions);
            peer
        })
        .collect();
    // Longer than a post here waits, if they hold all workers.
    for _ in 0..10 {
        Answer::read(&world.responder.post(&kept));
        Answer::read(&world.responder.post(&world.about("ff02")));
    }
    drop(peers);
}

// rule: FCG-2
#[test]
fn bodies_that_never_end_take_a_bounded_part_of_the_memory() {
    let world = World::new("[limits]\nread_timeout = \"60s\"\n");
    world.warm_up();
    let before = world.resident_kib();
    let most = 3 << 20; // as request_bytes
    let piece = vec![0; most - 1];
    let mut peers = Vec::new();
    for number in 0..100 {
        let mut peer = TcpStream::connect(world.address()).unwrap();
        if number % 2 == 0 {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {most}\r\n\r\n");
            let _taken_or_closed = peer.write_all(head.as_bytes());
            let _taken_or_closed = peer.write_all(&piece);
        } else {
            let params = pairs(&[("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/")]);
            let records =
                [begin(1, RESPONDER, KEEP), stream(PARAMS, 1, &params, 65_528, 0)].concat();
            let _taken_or_closed = peer.write_all(&records);
            for content in piece.chunks(65_528) {
                let _taken_or_closed = peer.write_all(&record(STDIN, 1, content, 0));
            }
        }
        peers.push(peer);
    }
    world.assert_alive();
    let mut last = 0;
    let resident = eventually("all is read", || {
        std::thread::sleep(Duration::from_millis(200));
        let before = std::mem::replace(&mut last, world.resident_kib());
        (before == last).then_some(last)
    });
    let grown = resident.saturating_sub(before);
    assert!(grown < 120 * 1024, "{grown} KiB more");
    assert!(grown > 30 * 1024, "{grown} KiB: nothing has come in");
    drop(peers);
}

// rule: ANS-3
#[test]
fn serials_that_were_never_issued_take_no_memory() {
    let world = World::new("");
    world.warm_up();
    let mut client = Client::tcp(world.address());
    let mut ask_many = |first: u32| {
        for number in first..first + 2000 {
            let serial = format!("0e{number:06x}");
            let request = Request::about(&CertId::new(&world.ca(), &serial)).der();
            assert!(client.post(&request).body.len() > 100);
        }
    };
    ask_many(0);
    let before = world.resident_kib();
    ask_many(10_000);
    ask_many(20_000);
    let grown = world.resident_kib().saturating_sub(before);
    assert!(grown < 1500, "{grown} KiB for 4000 serials: they are kept");
}

#[test]
fn a_cache_in_memory_keeps_to_its_size() {
    let world = World::new("[cache]\nmemory = \"256KiB\"\n");
    let ca = world.ca();
    let ledger = rusqlite::Connection::open(world.site.path("certs.db")).unwrap();
    ledger.execute_batch("BEGIN").unwrap();
    for number in 0..3000 {
        let sql = "INSERT INTO list_certs (cert_num, cert) VALUES (?, '')";
        ledger.execute(sql, [format!("0x0d{number:06x}")]).unwrap();
    }
    ledger.execute_batch("COMMIT").unwrap();
    let mut client = Client::tcp(world.address());
    let mut ask_many = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let serial = format!("0d{number:06x}");
            let request = Request::about(&CertId::new(&ca, &serial)).der();
            assert_eq!(Answer::read(&client.post(&request).body).statuses(), ["good"]);
        }
    };
    ask_many(0..1000);
    let before = world.resident_kib();
    ask_many(1000..3000);
    let grown = world.resident_kib().saturating_sub(before);
    assert!(grown < 1500, "{grown} KiB for 2000 answers");
}
