//! Many different questions, each asked once, and every answer read: wrk cannot stop at
//! the last one, nor tell an error of OCSP from an answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Outcome;
use crate::process;
use crate::support::client::{Client, Said, post, said};

/// The questions, and what the answers are to say.
pub struct Each<'q> {
    pub address: SocketAddr,
    pub questions: &'q [Vec<u8>],
    /// Kept connections, each with a thread.
    pub connections: usize,
    /// The processes under test.
    pub counted: Vec<u32>,
}

/// How often each thing was said.
pub type Tally = BTreeMap<&'static str, usize>;

impl Each<'_> {
    pub fn run(&self) -> (Outcome, Tally) {
        let before = process::processor_time(&self.counted);
        let start = Instant::now();
        let next = AtomicUsize::new(0);
        let all = Mutex::new((Tally::new(), Vec::new(), 0));
        thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| self.ask(&next, &all));
            }
        });
        let time = start.elapsed();
        let after = process::processor_time(&self.counted);
        let (tally, times, octets) = all.into_inner().unwrap();
        let failed = tally.get("nothing").copied().unwrap_or_default() as u64;
        (Outcome { failed, ..outcome((times, octets), time, after - before, &self.counted) }, tally)
    }

    fn ask(&self, next: &AtomicUsize, all: &Mutex<(Tally, Vec<Duration>, usize)>) {
        let mut client = Client::connect(self.address);
        let (mut tally, mut times, mut octets) = (Tally::new(), Vec::new(), 0);
        while let Some(question) = self.questions.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            let response = client.send(&post(question));
            times.push(start.elapsed());
            octets += response.head.len() + response.body.len();
            *tally.entry(in_a_word(question, &response.body)).or_default() += 1;
        }
        let mut all = all.lock().unwrap();
        tally.into_iter().for_each(|(said, times)| *all.0.entry(said).or_default() += times);
        all.1.extend(times);
        all.2 += octets;
    }
}

/// What an answer says to its question; "nothing" if it is none.
pub fn in_a_word(question: &[u8], answer: &[u8]) -> &'static str {
    match said(question, answer) {
        Said::Good => "good",
        Said::Revoked => "revoked",
        Said::Unknown => "unknown",
        Said::Nothing if answer == TRY_LATER => "tryLater",
        Said::Nothing => "nothing",
    }
}

/// The same question for so long, by 16 clients that open a connection for each: what
/// OpenSSL's responder, which closes each, can be asked by.
pub fn closing(address: SocketAddr, question: &[u8], time: Duration, counted: &[u32]) -> Outcome {
    let head = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", question.len());
    let request = [head.as_bytes(), question].concat();
    let before = process::processor_time(counted);
    let start = Instant::now();
    let all = Mutex::new((Vec::new(), 0));
    let ask = || {
        while start.elapsed() < time {
            let asked = Instant::now();
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&request).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            let mut all = all.lock().unwrap();
            all.0.push(asked.elapsed());
            all.1 += answer.len();
        }
    };
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(ask);
        }
    });
    let taken = start.elapsed();
    let processor = process::processor_time(counted) - before;
    outcome(all.into_inner().unwrap(), taken, processor, counted)
}

/// What answers that took such times, and had so many octets together, come to.
fn outcome(
    (mut times, octets): (Vec<Duration>, usize),
    taken: Duration,
    processor: Duration,
    counted: &[u32],
) -> Outcome {
    times.sort_unstable();
    let answers = times.len();
    let at = |part: usize| times[(answers * part / 100).min(answers - 1)];
    Outcome {
        answers: answers as u64,
        rate: answers as f64 / taken.as_secs_f64(),
        octets: octets as f64 / answers as f64,
        failed: 0,
        p50: at(50),
        p99: at(99),
        max: at(100),
        processor: processor.as_secs_f64() * 1e6 / answers as f64,
        resident: counted.iter().map(|pid| process::resident(*pid)).sum(),
    }
}

/// The OCSP error tryLater (RFC 6960 section 4.2.1).
const TRY_LATER: &[u8] = b"0\x03\n\x01\x03";
