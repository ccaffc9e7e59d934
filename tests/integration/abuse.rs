//! Peers that mean harm, or are broken, beside good ones: those are answered all the
//! while, and the process keeps its size.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ocsp_fcgi::demo::KeyKind;

use crate::support::fastcgi::{
    Client, KEEP, PARAMS, RESPONDER, STDIN, begin, pairs, post, record, stream,
};
use crate::support::ocsp::{Answer, MALFORMED, TRY_LATER};
use crate::support::site::{PROGRAM, Running, Site};
use crate::support::{OnDrop, eventually, free_port, run};

mod resources;

// rule: FCG-2, REQ-1
#[test]
fn good_clients_are_answered_whatever_others_send() {
    let world = World::new("[limits]\nread_timeout = \"300ms\"\nrequest_bytes = \"64KiB\"\n");
    world.warm_up();
    let before = world.resident_kib();
    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let _end = OnDrop(&done);
        for tongue in 0..2 {
            let (world, done, answered) = (&world, &done, &answered);
            scope.spawn(move || {
                let mut client = Client::tcp(world.address());
                while !done.load(Ordering::Relaxed) {
                    let der = world.about("0a1b");
                    let started = Instant::now();
                    let answer = match tongue {
                        0 => client.post(&der).body,
                        _ => world.responder.post(&der),
                    };
                    assert_eq!(Answer::read(&answer).statuses(), ["good"]);
                    assert!(started.elapsed() < Duration::from_secs(5), "kept waiting");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let evil = evil_inputs(&world.about("0a1b"));
        std::thread::scope(|scope| {
            for part in evil.chunks(evil.len().div_ceil(4)) {
                let address = world.address();
                scope.spawn(move || {
                    for _ in 0..3 {
                        part.iter().for_each(|input| send_and_leave(address, input));
                    }
                });
            }
        });
    });
    assert!(answered.into_inner() > 50);
    world.assert_alive();
    let grown = world.resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB more");
}

// rule: FCG-2
#[test]
fn a_peer_that_never_ends_is_cut_off() {
    let world = World::new("[limits]\nread_timeout = \"300ms\"\nrequest_bytes = \"64KiB\"\n");
    let before = world.resident_kib();
    let chunk = [b'x'; 32 * 1024];
    let params = record(PARAMS, 1, &[0; 60_000], 0);
    let stdin = record(STDIN, 1, &chunk, 0);
    let head = pairs(&[("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/")]);
    let open = [begin(1, RESPONDER, KEEP), stream(PARAMS, 1, &head, 65_535, 0)].concat();
    let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let http_chunk = [&b"8000\r\n"[..], &chunk, b"\r\n"].concat();
    for (what, start, forever) in [
        ("a header", b"GET / HTTP/1.1\r\nX: ".to_vec(), &chunk[..]),
        ("headers", b"GET / HTTP/1.1\r\n".to_vec(), b"X-Header: x\r\n"),
        ("a request line", b"GET /".to_vec(), &chunk),
        ("a chunked body", chunked.clone(), &http_chunk),
        ("a chunk's extension", [&chunked[..], b"1;"].concat(), &chunk),
        ("a chunk's length", chunked.clone(), b"0000000000000000"),
        ("trailers", [&chunked[..], b"0\r\n"].concat(), b"X-Trailer: x\r\n"),
        ("params", begin(1, RESPONDER, KEEP), &params),
        ("stdin", open, &stdin),
    ] {
        let mut peer = TcpStream::connect(world.address()).unwrap();
        peer.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        let _refused = peer.write_all(&start);
        let started = Instant::now();
        let mut sent = 0;
        // Until it is closed, by reset: what is sent then is not read.
        while peer.write_all(forever).is_ok() {
            sent += forever.len();
            assert!(started.elapsed() < Duration::from_secs(15), "{what} goes on after {sent}");
            if forever.len() < 100 {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }
    world.assert_alive();
    let grown = world.resident_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB more");
}

// rule: FCG-2
#[test]
fn slow_peers_hold_nobody_up_and_are_cut_off() {
    // As few workers as can be, and many more slow peers.
    let world = World::new("[limits]\nworkers = 2\nsigning_queue = 1\nread_timeout = \"1s\"\n");
    let der = world.about("0a1b");
    let whole = post(1, KEEP, &der);
    let mut slow: Vec<_> = (0..60)
        .map(|number| {
            let mut peer = TcpStream::connect(world.address()).unwrap();
            let start = match number % 3 {
                0 => &b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nx"[..],
                1 => b"GET /",
                _ => &whole[..30],
            };
            peer.write_all(start).unwrap();
            peer
        })
        .collect();
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(Answer::read(&world.responder.post(&der)).statuses(), ["good"]);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // A drop now and then does not make a request last.
    for peer in &mut slow {
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _closed = peer.write_all(b"x");
        let ended = match peer.read(&mut [0; 1000]) {
            Ok(count) => count == 0 || peer.read(&mut [0; 1000]).is_ok_and(|count| count == 0),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(ended);
    }
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
}

/// What no good client sends, whole or cut.
fn evil_inputs(der: &[u8]) -> Vec<Vec<u8>> {
    let whole = post(1, KEEP, der);
    let mut inputs = vec![
        Vec::new(),
        b"\0".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), // TLS
        vec![0xff; 10_000],
        vec![1; 10_000],
        vec![b'A'; 200_000],
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(),
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_vec(),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /MFwwWjBYMFYwVDAJ%".to_vec(),
        [b"GET /", "M/".repeat(8000).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat(),
        [b"GET /", "/MIIB".repeat(3000).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat(),
        [&b"POST / HTTP/1.1\r\nContent-Length: 60000\r\n\r\n"[..], &[0x30; 60_000]].concat(),
        record(9, 0, &[0x80; 100], 0),
        record(9, 0, &[0xff, 0xff, 0xff, 0xff, 0xff], 0),
        record(PARAMS, 1, b"never begun", 0),
        begin(1, RESPONDER, KEEP).repeat(500),
        [begin(1, RESPONDER, KEEP), record(STDIN, 1, b"too early", 0)].concat(),
        [begin(1, RESPONDER, KEEP), stream(PARAMS, 1, &[0; 20_000], 65_535, 0)].concat(),
        [begin(1, RESPONDER, KEEP), stream(PARAMS, 1, &[0x7f; 999], 65_535, 0)].concat(),
        [begin(1, RESPONDER, KEEP), stream(PARAMS, 1, &[0xff; 400_000], 60_000, 0)].concat(),
        record(1, 1, b"short", 0),
        record(77, 0, &[0; 60_000], 255).repeat(20),
        [&[2][..], &whole[1..]].concat(),
    ];
    inputs.extend((1..whole.len()).step_by(7).map(|end| whole[..end].to_vec()));
    inputs.extend((0..whole.len()).step_by(5).map(|at| {
        let mut changed = whole.clone();
        changed[at] ^= 0x81;
        changed
    }));
    inputs
}

/// Sends as much as is taken, and goes, now and then without a word.
fn send_and_leave(address: SocketAddr, input: &[u8]) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let _refused = peer.write_all(input);
    match input.len() % 3 {
        0 => {}
        1 => drop(peer.shutdown(Shutdown::Write)),
        _ => drop(peer.read(&mut [0; 4096])),
    }
}

/// One answer over a connection of its own, if there is one.
fn ask(address: SocketAddr, der: &[u8]) -> Option<Vec<u8>> {
    let mut peer = TcpStream::connect(address).ok()?;
    peer.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let head = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", der.len());
    peer.write_all(&[head.as_bytes(), der].concat()).ok()?;
    let mut response = Vec::new();
    peer.read_to_end(&mut response).ok()?;
    let end = response.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(response[end + 4..].to_vec())
}

struct World {
    responder: Running,
    site: Site,
}

impl World {
    fn new(more: &str) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        Self { responder: site.serve(more), site }
    }

    /// With at most so many descriptors.
    fn limited(more: &str, descriptors: u32) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        let port = free_port();
        let config = site.configure(&format!("port = {port}\n{more}"));
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}:{descriptors}"));
        command.args([PROGRAM, "serve", "--config"]).arg(config).stdin(Stdio::null());
        command.stderr(fs::File::create(site.path("serve.log")).unwrap());
        let child = command.spawn().expect("apt-get install util-linux");
        let responder = Running { child, port };
        eventually("it listens", || TcpStream::connect(responder.address()).ok());
        Self { responder, site }
    }

    fn ca(&self) -> openssl::x509::X509 {
        self.site.ca.identity.certificate.clone()
    }

    fn about(&self, serial: &str) -> Vec<u8> {
        self.site.about(serial).der()
    }

    fn address(&self) -> SocketAddr {
        self.responder.address()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.site.path("serve.log")).unwrap()
    }

    /// So that what is there once is there before it is measured.
    fn warm_up(&self) {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        self.responder.post(&self.about("0a1b"));
                        assert_eq!(self.responder.post(b""), MALFORMED);
                    }
                });
            }
        });
    }

    #[track_caller]
    fn assert_alive(&self) {
        let answer = self.responder.post(&self.about("0a1b"));
        assert_eq!(Answer::read(&answer).statuses(), ["good"]);
        assert!(!self.log().contains("panic"), "{}", self.log());
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.responder.child.id());
        fs::read_to_string(path).unwrap()
    }

    fn status(&self, name: &str) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn resident_kib(&self) -> usize {
        self.status("VmRSS")
    }

    fn threads(&self) -> usize {
        self.status("Threads")
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.responder.child.id())).unwrap().count()
    }

    /// Takes descriptors away from the process that runs.
    fn limit_descriptors(&self, descriptors: usize) {
        let mut command = Command::new("prlimit");
        command.arg("--pid").arg(self.responder.child.id().to_string());
        let limited = run(command.arg(format!("--nofile={descriptors}:")), "util-linux");
        assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
    }

    /// Time of the processor in its ticks, mostly hundredths of a second.
    fn processor_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

// rule: ANS-5
#[test]
fn a_flood_of_nonces_leaves_room_for_kept_answers_whose_row_is_to_be_read() {
    flood_and_ask_for_what_is_kept(|site, number, time| {
        let nonce = [&number.to_be_bytes()[..], &time.to_be_bytes()].concat();
        site.about("0a1b").with_nonce(&nonce).der()
    });
}

// rule: ANS-5
#[test]
fn a_flood_of_serials_that_were_never_issued_leaves_room_likewise() {
    flood_and_ask_for_what_is_kept(|site, number, time| {
        site.about(&format!("0e{number:08x}{time:08x}")).der()
    });
}

/// What a thread of a flood asks, by its number, for so many times.
type Flood = fn(&Site, u32, u32) -> Vec<u8>;

fn flood_and_ask_for_what_is_kept(flood: Flood) {
    let site = Site::with_certificates(KeyKind::Rsa2048);
    let responder = site.serve(
        "[cache]\nfreshness = \"0s\"\n\
         [limits]\nworkers = 8\nsigning_threads = 1\nsigning_queue = 7\n",
    );
    let kept = site.about("0a1b").der();
    assert_eq!(Answer::read(&responder.post(&kept)).statuses(), ["good"]);
    let (done, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _end = OnDrop(&done);
        for number in 0..7 {
            let (site, responder, done, refused) = (&site, &responder, &done, &refused);
            scope.spawn(move || {
                let mut times = 0..;
                while !done.load(Ordering::Relaxed) {
                    let answer = responder.post(&flood(site, number, times.next().unwrap()));
                    refused.fetch_add(usize::from(answer == TRY_LATER), Ordering::Relaxed);
                }
            });
        }
        eventually("more is asked than can be signed", || {
            (refused.load(Ordering::Relaxed) > 0).then_some(())
        });
        for time in 0..300 {
            let answer = responder.post(&kept);
            assert_ne!(answer, TRY_LATER, "the {time}th time");
        }
    });
}
