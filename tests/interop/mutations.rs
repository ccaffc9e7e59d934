//! The request vectors of pyca/cryptography and thousands of mutations of each, sent
//! to the running binary; x509-ocsp, a parser that shares nothing with the
//! responder's, says which are requests.
//!
//! A request about foreign issuers is `unauthorized`, anything else
//! `malformedRequest`; nothing else is ever said, and the process lives on.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use der::Decode;
use ocsp_fcgi::ocsp::response::SignedAnswer;
use x509_ocsp::{BasicOcspResponse, OcspResponse, OcspResponseStatus};

use crate::programs::{python_program, said_by};
use crate::report::Report;
use crate::support::ocsp::{MALFORMED, UNAUTHORIZED};
use crate::world::{CERTIFICATES, World};

mod der_tree;
mod oracle;

use der_tree::{Node, Random, mutations};
use oracle::{Verdict, verdict};

pub fn run(report: &mut Report, worlds: &[World]) {
    let world = worlds.iter().find(|world| world.plan.name == "P-256").unwrap();
    let version = "import cryptography_vectors as v; print(v.__version__)";
    let version = said_by(python_program().args(["-c", version]), "interop.sh");
    report.version(&format!("cryptography_vectors {version}"));
    let mut connection = Connection::new(world);
    let mut random = Random(SEED);
    let vectors = vectors("req");
    assert!(vectors.len() >= 11, "{} request vectors", vectors.len());
    for (name, der) in &vectors {
        connection.ask_foreign(report, "request vectors", name, der);
        for mutation in mutations(der, &mut random) {
            connection.ask_foreign(report, "their mutations", name, &mutation);
        }
    }
    our_own(report, world, &mut connection, &mut random);
    responses(report);
    let said = world.site.ask("good", &world.responder.url(), &[]);
    report.says("alive at the end", "good.crt", &said, &["good.crt: good"]);
}

/// The response vectors: what the responder takes for an answer about one certificate
/// (it reads its own, and those of an offline CA) is one to x509-ocsp as well.
fn responses(report: &mut Report) {
    let vectors = vectors("resp");
    assert!(vectors.len() >= 16, "{} response vectors", vectors.len());
    for (name, der) in vectors {
        let (ours, theirs) = (SignedAnswer::from_der(&der).is_ok(), is_response(&der));
        report.holds("response vectors", &name, !ours || theirs, || format!("{ours} {theirs}"));
    }
}

fn is_response(der: &[u8]) -> bool {
    let bytes = OcspResponse::from_der(der).ok().and_then(|response| response.response_bytes);
    bytes.is_some_and(|bytes| BasicOcspResponse::from_der(bytes.response.as_bytes()).is_ok())
}

/// Mutations of questions that are answered, one of them signed: an answer repeats
/// the CertIDs, and is `good` for the serials of good certificates only.
fn our_own(report: &mut Report, world: &World, connection: &mut Connection, random: &mut Random) {
    let topic = "mutations of questions about our own";
    let [good, long, revoked] = [0, 1, 3].map(|at| CERTIFICATES[at].file());
    let questions = ["-cert", &good, "-cert", &revoked, "-sha256", "-cert", &long];
    let signature = ["-signer", &good, "-signkey", "good.key"];
    for options in [&[][..], &signature] {
        let mut command = world.site.openssl_ocsp();
        command.args(["-nonce", "-issuer", "ca.crt", "-reqout", "own.der"]);
        said_by(command.args(options).args(questions), "openssl");
        let der = fs::read(world.site.path("own.der")).unwrap();
        for mutation in mutations(&der, random) {
            let answer = connection.post(&mutation);
            let is_right = match (&answer[..], verdict(&mutation)) {
                (MALFORMED, verdict) => verdict == Verdict::Malformed,
                (_, Verdict::Malformed) => false,
                (UNAUTHORIZED, _) => true,
                (answer, _) => is_answer_to(answer, &mutation),
            };
            report.holds(topic, hex(&mutation), is_right, || hex(&answer));
        }
    }
}

fn is_answer_to(answer: &[u8], question: &[u8]) -> bool {
    let answer = OcspResponse::from_der(answer).unwrap();
    let bytes = answer.response_bytes.unwrap();
    let basic = Node::of(bytes.response.as_bytes()).unwrap();
    let answered = basic.child(0).unwrap().child(2).unwrap();
    let question = Node::of(question).unwrap();
    let tbs_request = question.child(0).unwrap();
    let list = tbs_request.children().iter().find(|part| part.tag() == 0x30).unwrap();
    let cert_ids = |list: &Node| -> Vec<Vec<u8>> {
        list.children().iter().map(|one| one.child(0).unwrap().der()).collect()
    };
    let is_well_founded = |single: &Node| {
        let serial = single.child(0).unwrap().child(3).unwrap().der();
        let serial = hex(&serial[2..]);
        let serial = serial.trim_start_matches("00");
        single.child(1).unwrap().tag() != GOOD
            || CERTIFICATES[..2].iter().any(|certificate| certificate.serial == serial)
    };
    answer.response_status == OcspResponseStatus::Successful
        && cert_ids(list) == cert_ids(answered)
        && answered.children().iter().all(is_well_founded)
}

/// A kept connection to the binary.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn new(world: &World) -> Self {
        let stream = TcpStream::connect(world.responder.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(BufReader::new(stream))
    }

    /// By POST; and by GET, where its first octets are a request's.
    fn ask_foreign(&mut self, report: &mut Report, topic: &str, name: &str, der: &[u8]) {
        let wanted = match verdict(der) {
            Verdict::Unauthorized => UNAUTHORIZED,
            Verdict::Malformed => MALFORMED,
        };
        let answer = self.post(der);
        let told = || format!("wanted {}, got {}", hex(wanted), hex(&answer));
        report.holds(topic, format_args!("{name} {}", hex(der)), answer == wanted, told);
        if is_framed(der) {
            let answer = self.get(der);
            let told = || format!("wanted {}, got {}", hex(wanted), hex(&answer));
            let topic = format!("{topic}, by GET");
            report.holds(&topic, format_args!("{name} {}", hex(der)), answer == wanted, told);
        }
    }

    fn post(&mut self, der: &[u8]) -> Vec<u8> {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", der.len());
        self.exchange(&[head.as_bytes(), der].concat())
    }

    fn get(&mut self, der: &[u8]) -> Vec<u8> {
        let text = BASE64_STANDARD.encode(der).replace('+', "%2B").replace('/', "%2F");
        self.exchange(format!("GET /{text} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.get_mut().write_all(request).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n", "{}", hex(request));
        let mut length = None;
        while line != "\r\n" {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "{}", hex(request));
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = Some(value.trim().parse().unwrap());
            }
        }
        let mut body = vec![0; length.expect("a Content-Length")];
        self.0.read_exact(&mut body).unwrap();
        assert!(!body.is_empty(), "{}", hex(request));
        body
    }
}

/// Whether it is a SEQUENCE of the length that it states, as a GET has to be.
fn is_framed(der: &[u8]) -> bool {
    match der {
        // Less than eight characters of Base64 are no request, and get the page.
        [0x30, short @ 4..=0x7f, rest @ ..] => rest.len() == usize::from(*short),
        [0x30, 0x81, long, rest @ ..] => rest.len() == usize::from(*long),
        [0x30, 0x82, high, low, rest @ ..] => {
            rest.len() == usize::from(*high) << 8 | usize::from(*low)
        }
        _ => false,
    }
}

/// The vectors whose names have this part.
fn vectors(part: &str) -> Vec<(String, Vec<u8>)> {
    let folder = "import cryptography_vectors as v; print(v.__path__[0])";
    let folder = said_by(python_program().args(["-c", folder]), "interop.sh");
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(format!("{folder}/x509/ocsp"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name.contains(part))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

const SEED: u64 = 0x6960_5019_9654_9919;
/// The tag of `good`.
const GOOD: u8 = 0x80;
