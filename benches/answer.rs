//! What one answer costs, part by part: `cargo bench --bench answer`. Figures are for
//! comparing one run's lines with each other; machines differ.

#![allow(missing_docs, reason = "criterion's macros make functions without")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up ends")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use criterion::{Criterion, criterion_group, criterion_main};
use fastcgi::connection::{Application, Connection, Limits, Request as FastCgiRequest};
use fastcgi::record::Stdout;
use fastcgi::server::Session;
use ocsp_fcgi::cache::{Memory, ResponseCache};
use ocsp_fcgi::demo::{KeyKind, ThrowawayCa};
use ocsp_fcgi::http::{Body, Exchange, HttpRequest};
use ocsp_fcgi::ocsp::response::{ExtendedRevoke, assemble};
use ocsp_fcgi::ocsp::{Answer, Request, ResponderId, SingleAnswer};
use ocsp_fcgi::responder::issuers::{Issuer, Issuers, TakeOver};
use ocsp_fcgi::responder::policy::Policy;
use ocsp_fcgi::responder::presigned::Presigned;
use ocsp_fcgi::responder::signing::Signing;
use ocsp_fcgi::responder::{Capacity, Responder};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::service::Service;
use ocsp_fcgi::signer::certificate::Certificate;
use ocsp_fcgi::signer::key::Key;
use ocsp_fcgi::signer::{RsaPadding, Signer};
use ocsp_fcgi::status::{CertStatus, IssuerId};
use ocsp_fcgi::store::Mapping;
use ocsp_fcgi::store::ledger::SqliteLedger;
use ocsp_fcgi::store::sqlite::{Options, Sqlite};
use ocsp_fcgi::time::{Clock, SystemClock, Validity};
use ocsp_fcgi::transport::fastcgi::FastCgiExchange;
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspRequest};
use openssl::x509::X509;

fn codec(criterion: &mut Criterion) {
    let ca = ThrowawayCa::new("Bench CA", KeyKind::P256, SystemClock.now()).unwrap();
    let der = request(&ca.identity.certificate);
    criterion.bench_function("decode a request", |bencher| {
        bencher.iter(|| Request::from_der(black_box(&der), 100).unwrap().single().is_some());
    });
    let signer = signer(&ca);
    let parsed = Request::from_der(&der, 100).unwrap();
    let responder_id = ResponderId::ByKey(signer.certificate().hashes().key_sha1());
    let now = SystemClock.now();
    let validity = Validity { this_update: now, next_update: now.saturating_add(DAY) };
    let single = SingleAnswer {
        cert_id: parsed.first().der(),
        status: CertStatus::Good,
        validity,
        archive_cutoff: None,
    };
    criterion.bench_function("encode an answer", |bencher| {
        bencher.iter(|| {
            let answer = Answer {
                responder_id: &responder_id,
                produced_at: now,
                responses: vec![single],
                nonce: None,
                extended_revoke: ExtendedRevoke::Absent,
            };
            let to_be_signed = answer.to_be_signed().unwrap();
            assemble(&to_be_signed, signer.algorithm(), &[7; 70], None).unwrap()
        });
    });
}

fn signatures(criterion: &mut Criterion) {
    let kinds = [
        (KeyKind::Rsa2048, "sign RSA-2048"),
        (KeyKind::P256, "sign P-256"),
        (KeyKind::P384, "sign P-384"),
        (KeyKind::Ed25519, "sign Ed25519"),
    ];
    for (kind, name) in kinds {
        let ca = ThrowawayCa::new("Bench CA", kind, SystemClock.now()).unwrap();
        let signer = signer(&ca);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| signer.sign(black_box(&[1; 200]), signer.algorithm()).unwrap());
        });
    }
}

fn exchanges(criterion: &mut Criterion) {
    let ca = ThrowawayCa::new("Bench CA", KeyKind::P256, SystemClock.now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let service = Arc::new(service(&ca, folder.path()));
    let der = request(&ca.identity.certificate);
    let post = HttpRequest {
        method: b"POST",
        request_uri: b"/",
        body: Body::Whole(&der),
        if_none_match: b"",
    };
    criterion.bench_function("repeat by POST", |bencher| {
        bencher.iter(|| service.handle(black_box(&post), &|| ()));
    });
    let text = base64::engine::general_purpose::STANDARD.encode(&der);
    let uri = format!("/{}", text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
    let get = HttpRequest {
        method: b"GET",
        request_uri: uri.as_bytes(),
        body: Body::Whole(b""),
        if_none_match: b"",
    };
    criterion.bench_function("repeat by GET", |bencher| {
        bencher.iter(|| service.handle(black_box(&get), &|| ()));
    });
    let input = fastcgi_request(&der);
    let exchange = FastCgiExchange::new(Arc::clone(&service) as _, 1 << 20);
    let mut connection = Connection::new(Arc::new(exchange), Limits::default());
    let mut output = Vec::new();
    criterion.bench_function("repeat by POST over FastCGI", |bencher| {
        bencher.iter(|| {
            output.clear();
            connection.advance(black_box(&input), &mut output, &|| ()).consumed
        });
    });
    let mut connection = Connection::new(Arc::new(Nothing), Limits::default());
    criterion.bench_function("FastCGI alone", |bencher| {
        bencher.iter(|| {
            output.clear();
            connection.advance(black_box(&input), &mut output, &|| ()).consumed
        });
    });
}

/// Answers nothing, so that the codec is all there is to measure.
struct Nothing;

impl Application for Nothing {
    fn respond(&self, _: &FastCgiRequest<'_>, _: &mut Stdout<'_>, _: &dyn Fn()) {}
}

fn service(ca: &ThrowawayCa, folder: &std::path::Path) -> Service {
    let (path, table) = (folder.join("certs.db"), "list_certs");
    let ledger = SqliteLedger::new(path.clone(), table);
    ledger.create_table().unwrap();
    let serial = Serial::from_be_bytes(&[7]).unwrap();
    ledger.write(&serial, CertStatus::Good, "PEM").unwrap();
    // As long as the benchmark runs, so that it measures repeats only.
    let policy = Policy { freshness: DAY, ..Policy::default() };
    let certificate = Certificate::new(ca.identity.certificate.clone()).unwrap();
    let store = Arc::new(Sqlite::open(Options { path, mapping: Mapping::of_table(table) }));
    let mut issuer = Issuer::new(IssuerId(0), certificate, policy, store);
    let signer = signer(ca);
    let memory = Arc::new(Memory::new(1 << 20));
    let cache = ResponseCache::new(memory, None, signer.certificate().der());
    issuer.add(signer, cache, TakeOver::BeforeTheEnd);
    let capacity = Capacity { slow: 4, signing: Arc::new(Signing::new(2, 2)) };
    let issuers = Issuers::new(vec![issuer]);
    let clock = Arc::new(SystemClock);
    Service::new(Responder::new(issuers, Presigned::default(), policy, clock, capacity))
}

fn signer(ca: &ThrowawayCa) -> Signer {
    let certificate = Certificate::new(ca.identity.certificate.clone()).unwrap();
    Signer::new(Key::in_memory(ca.identity.key.clone()), certificate, RsaPadding::Pkcs1).unwrap()
}

fn request(issuer: &X509) -> Vec<u8> {
    let mut request = OcspRequest::new().unwrap();
    let id = OcspCertId::from_cert(MessageDigest::sha1(), &leaf(issuer), issuer).unwrap();
    request.add_id(id).unwrap();
    request.to_der().unwrap()
}

/// Any certificate with the serial 7 and the issuer's name: only these are asked about.
fn leaf(issuer: &X509) -> X509 {
    let mut builder = X509::builder().unwrap();
    builder.set_issuer_name(issuer.subject_name()).unwrap();
    let serial = openssl::bn::BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.build()
}

/// As nginx sends it with the shipped configuration: one record of each type.
fn fastcgi_request(body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut params = Vec::new();
    for (name, value) in
        [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/"), ("CONTENT_LENGTH", length.as_str())]
    {
        params.extend([name.len(), value.len()].map(|length| u8::try_from(length).unwrap()));
        params.extend_from_slice(name.as_bytes());
        params.extend_from_slice(value.as_bytes());
    }
    let mut octets = record(1, &[0, 1, 1, 0, 0, 0, 0, 0]);
    for (kind, content) in [(4, &params[..]), (4, b""), (5, body), (5, b"")] {
        octets.extend(record(kind, content));
    }
    octets
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[1, kind, 0, 1, high, low, 0, 0][..], content].concat()
}

const DAY: Duration = Duration::from_secs(86_400);

criterion_group!(benches, codec, signatures, exchanges);
criterion_main!(benches);
