//! The shipped `examples/nginx.conf` with the real nginx: what its cache gives, and
//! above all what it must never give.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::CertStatus;

use crate::support::client::{
    Client, Said, about, escaped, get, padded, post, post_in_chunks, post_to, request, said,
};
use crate::support::everything::assert_passes_everything_on;
use crate::support::nginx::{HeldSocket, nginx, nginx_before, serve, socket};
use crate::support::ocsp::MALFORMED;
use crate::support::site::{Response, Site};
use crate::support::web::{Dice, Relay, revoked, serve_anything};
use crate::support::{OnDrop, eventually};

mod room;

// rule: WEB-1, WEB-2, WEB-3, WEB-4, WEB-5, WEB-6, FCG-4
#[test]
fn nginx_passes_everything_on_over_the_unix_socket() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "");
    assert_passes_everything_on(&site, &nginx(&site), 413);
}

// rule: FCG-4
#[test]
fn nginx_reaches_the_responder_by_tcp_too() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = serve(&site, "");
    let nginx = nginx_before(&site, &format!("server {};", responder.address()));
    site.assert_three_answers(&nginx.url(), &[]);
}

// rule: WEB-3
#[test]
fn a_repeat_is_given_from_the_cache_of_nginx() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = serve(&site, LONG);
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let question = site.request("good", &["-no_nonce"]);
    let uri = format!("/{}", escaped(&question));
    let requests = [get(&uri), post(&question), request("HEAD", &uri, "")];
    let first: Vec<Response> = requests.iter().map(|request| client.send(request)).collect();
    assert!(first.iter().all(|answer| cache(answer) == "MISS"));
    drop(responder);
    for (request, first) in requests.iter().zip(&first) {
        let again = client.send(request);
        assert_eq!(cache(&again), "HIT");
        assert_eq!((&again.body, again.field("ETag")), (&first.body, first.field("ETag")));
        assert_eq!(again.field("Content-Length"), first.field("Content-Length"));
        // What is between the responder and nginx stays there.
        assert_eq!(again.field("X-Accel-Expires"), None);
    }
    let tag = format!("If-None-Match: {}\r\n", first[0].field("ETag").unwrap());
    let same = client.send(&request("GET", &uri, &tag));
    assert_eq!((same.status(), cache(&same), same.body.len()), (304, "HIT", 0));
    // Nothing else is there.
    for other in [post(&site.request("revoked", &["-no_nonce"])), get("/"), get(&format!("/{uri}"))]
    {
        assert_eq!(client.send(&other).status(), 502);
    }
}

// rule: WEB-3, ANS-3
#[test]
fn answers_for_one_client_and_refusals_are_never_kept() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = serve(&site, LONG);
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let stranger = Site::with_certificates(KeyKind::P256);
    let nonce = site.request("good", &[]);
    let unlisted = site.request("unlisted", &["-no_nonce"]);
    let foreign = stranger.request("good", &["-no_nonce"]);
    let mut requests = vec![post(b""), get("/"), post(b"garbled"), get("/MHowAAAAAAAAAAAAAA")];
    requests.push(post_to("PUT", "/", b"x"));
    for question in [nonce, unlisted, foreign] {
        requests.push(get(&format!("/{}", escaped(&question))));
        requests.push(post(&question));
    }
    for _ in 0..3 {
        for request in &requests {
            let answer = client.send(request);
            assert!(["MISS", "BYPASS", ""].contains(&cache(&answer)), "{}", answer.head);
        }
    }
    drop(responder);
    for request in &requests {
        assert_eq!(client.send(request).status(), 502, "{}", String::from_utf8_lossy(request));
    }
}

// rule: ANS-3
#[test]
fn many_who_ask_for_what_is_not_kept_do_not_wait_for_each_other() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "");
    let nginx = nginx(&site);
    let question = site.request("unlisted", &["-no_nonce"]);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = nginx.client();
                for _ in 0..60 {
                    assert_eq!(said(&question, &client.post(&question).body), Said::Unknown);
                }
            });
        }
    });
    // A fraction of a second; with fastcgi_cache_lock, eight.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

// rule: WEB-1, ANS-6
#[test]
fn method_uri_and_body_are_apart_in_the_key() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, LONG);
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let good = site.request("good", &["-no_nonce"]);
    let revoked = site.request("revoked", &["-no_nonce"]);
    let uri = format!("/{}", escaped(&good));
    // HEAD first, so that its answer without a body is there to be given to the others.
    let head = client.send(&request("HEAD", &uri, ""));
    assert_eq!((head.status(), head.body.len()), (200, 0));
    let of_get = client.get(&uri);
    assert_eq!((cache(&of_get), said(&good, &of_get.body)), ("MISS", Said::Good));
    // The URI decides a GET whatever its body says, and the body a POST.
    for _ in 0..2 {
        for (method, wanted) in [("GET", Said::Good), ("POST", Said::Revoked)] {
            let answer = client.send(&post_to(method, &uri, &revoked));
            assert_eq!(said(&good, &answer.body) == Said::Good, wanted == Said::Good);
            assert_eq!(said(&revoked, &answer.body) == Said::Revoked, wanted == Said::Revoked);
        }
        // A body that is a GET's URI, or the rest of a key.
        for body in [uri.as_bytes(), &[b"\n", &good[..]].concat()] {
            assert_eq!(client.post(body).body, MALFORMED);
        }
        let page = client.send(&post_to("GET", "/", &good));
        assert!(page.body.starts_with(b"This is"), "{}", page.head);
        assert_eq!(said(&good, &client.post(&good).body), Said::Good);
    }
    // Cut elsewhere, the same octets are another request.
    let with_prefix = [b"A", &good[..]].concat();
    assert_eq!(said(&good, &client.send(&post_to("POST", "/A", &good)).body), Said::Good);
    assert_eq!(client.post(&with_prefix).body, MALFORMED);
    let (start, end) = good.split_at(20);
    let start: String = start.iter().map(|octet| format!("%{octet:02x}")).collect();
    assert_eq!(client.send(&post_to("POST", &format!("/{start}"), end)).body, MALFORMED);
    // Escaped twice is no Base64.
    let twice = client.get(&uri.replace('%', "%25"));
    assert_eq!((twice.status(), said(&good, &twice.body)), (200, Said::Nothing));
    // A line break in the URI, where the key has one.
    let forged =
        [format!("POST /%0A{} ", escaped(&good)).as_bytes(), &post(&revoked)[7..]].concat();
    assert_eq!(said(&revoked, &client.send(&forged).body), Said::Revoked);
    for separator in [" ", "\t", "\u{b}"] {
        let raw = format!("GET /x{separator}{} HTTP/1.1\r\nHost: x\r\n\r\n", escaped(&good));
        let status = Client::connect(nginx.address).try_send(&[raw.as_bytes()]);
        assert!(status.is_ok_and(|answer| answer.status() == 400), "{raw:?}");
    }
}

// rule: WEB-4
#[test]
fn no_header_field_changes_what_is_in_the_cache() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, LONG);
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let question = site.request("good", &["-no_nonce"]);
    for (field, wanted) in [
        ("If-None-Match: *", 304),
        ("If_None_Match: *", 200),
        ("Accept-Encoding: gzip", 200),
        ("Range: bytes=0-9", 200),
        ("Cache-Control: no-store", 200),
    ] {
        let uri = format!("/{}/{}", field.replace([':', ' ', '*'], ""), escaped(&question));
        let first = client.send(&request("GET", &uri, &format!("{field}\r\n")));
        assert_eq!(first.field("Content-Encoding"), None);
        assert_eq!((first.status(), cache(&first)), (wanted, "MISS"), "{field}");
        let second = client.get(&uri);
        assert_eq!((second.status(), cache(&second)), (200, "HIT"), "{field}");
        assert_eq!(said(&question, &second.body), Said::Good);
    }
}

// rule: ANS-6
#[test]
fn a_body_that_is_not_in_memory_never_gets_the_answer_to_another() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, LONG);
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let questions = [
        (site.request("good", &["-no_nonce"]), Said::Good),
        (site.request("revoked", &["-no_nonce"]), Said::Revoked),
    ];
    // nginx counts what frames a chunk into its buffer: small bodies go to a file too.
    let extension = format!(";{}", "x".repeat(1000));
    let mut seen = Vec::new();
    for size in [0, 1000, 8000, 16 * 1024 - 1, 16 * 1024] {
        for round in 0..2 {
            for (question, wanted) in &questions {
                let body = if size == 0 { question.clone() } else { padded(question, size) };
                let piece = if size == 0 { 1 } else { 50 };
                for request in [
                    post(&body),
                    post_in_chunks(&body, body.len(), ""),
                    post_in_chunks(&body, piece, ""),
                    post_in_chunks(&body, piece, &extension),
                ] {
                    let middle = request.len() / 2;
                    let pieces = [&request[..30], &request[30..middle], &request[middle..]];
                    let whole = [&request[..]];
                    let pieces = if round == 0 { &pieces[..] } else { &whole[..] };
                    let answer = client.try_send(pieces).unwrap();
                    assert_eq!(said(question, &answer.body), *wanted, "{size} {}", answer.head);
                    seen.push(cache(&answer).to_owned());
                }
            }
        }
    }
    for wanted in ["MISS", "HIT", "BYPASS"] {
        assert!(seen.iter().any(|status| status == wanted), "no {wanted} in {seen:?}");
    }
    for (question, _) in &questions {
        let large = padded(question, 16 * 1024 + 1);
        for request in
            [post(&large), post_in_chunks(&large, 5000, ""), post_in_chunks(&large, 9, "")]
        {
            assert_eq!(nginx.client().send(&request).status(), 413);
        }
    }
}

// rule: ANS-6
#[test]
fn no_two_of_thousands_of_questions_at_once_share_an_answer() {
    let site = Site::with_certificates(KeyKind::P256);
    for serial in 0x1000..0x1018 {
        let status = if serial % 3 == 0 { revoked() } else { CertStatus::Good };
        site.set_status(&format!("{serial:x}"), status);
    }
    let _responder = serve(&site, "");
    let nginx = nginx(&site);
    let templates = [&["-no_nonce"][..], &["-no_nonce", "-sha256"]];
    let templates = templates.map(|options| site.request("good", options));
    let hits = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..6 {
            let (nginx, templates, hits) = (&nginx, &templates, &hits);
            scope.spawn(move || {
                let mut dice = Dice(thread);
                let mut client = nginx.client();
                for _ in 0..500 {
                    // Some of them were never issued.
                    let serial = 0x1000 + u16::try_from(dice.below(26)).unwrap();
                    let question = about(&templates[dice.below(2)], serial);
                    let answer = client.send(&match dice.below(5) {
                        0 | 1 => get(&format!("/{}", escaped(&question))),
                        2 => post_in_chunks(&question, 1 + dice.below(80), ""),
                        3 => post(&padded(&question, 700 + dice.below(4))),
                        _ => post(&question),
                    });
                    let wanted = match serial {
                        0x1018.. => Said::Unknown,
                        serial if serial % 3 == 0 => Said::Revoked,
                        _ => Said::Good,
                    };
                    assert_eq!(said(&question, &answer.body), wanted, "{serial:x} {}", answer.head);
                    hits.fetch_add(usize::from(cache(&answer) == "HIT"), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(hits.into_inner() > 1000);
}

// rule: ANS-6
#[test]
fn a_revocation_shows_through_the_cache_of_nginx_within_the_freshness_window() {
    const FRESHNESS: Duration = Duration::from_secs(4);
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "[cache]\nfreshness = \"4s\"\n");
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let question = site.request("good", &["-no_nonce"]);
    let requests = [post(&question), get(&format!("/{}", escaped(&question)))];
    let (mut hits, mut revoked_at) = (0, None);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        if revoked_at.is_none() && start.elapsed() > Duration::from_secs(3) {
            site.set_status("0a1b", revoked());
            revoked_at = Some(Instant::now());
        }
        for request in &requests {
            let late = revoked_at.is_some_and(|at: Instant| at.elapsed() >= FRESHNESS);
            let answer = client.send(request);
            let says = said(&question, &answer.body);
            assert!(says == Said::Revoked || (says == Said::Good && !late), "{}", answer.head);
            assert!(says == Said::Good || revoked_at.is_some());
            hits += usize::from(cache(&answer) == "HIT");
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert!(hits > 50, "{hits}");
}

// rule: ANS-6
#[test]
fn nginx_gives_no_answer_beyond_its_window_though_the_responder_is_down() {
    let site = Site::with_certificates(KeyKind::P256);
    let responder = serve(&site, "[cache]\nfreshness = \"3s\"\n");
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let question = site.request("good", &["-no_nonce"]);
    assert_eq!(said(&question, &client.post(&question).body), Said::Good);
    drop(responder);
    let asked = Instant::now();
    while client.post(&question).status() == 200 {
        assert!(asked.elapsed() < Duration::from_secs(3));
    }
    for _ in 0..5 {
        assert_eq!(client.post(&question).status(), 502);
    }
}

// rule: ANS-6
#[test]
fn nginx_gives_no_old_answer_another_window_and_goes_by_the_tag_alone() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "[cache]\nfreshness = \"3s\"\n");
    let nginx = nginx(&site);
    let mut client = nginx.client();
    let question = get(&format!("/{}", escaped(&site.request("good", &["-no_nonce"]))));
    let first = client.send(&question);
    assert_eq!(cache(&first), "MISS");
    let since = format!("If-Modified-Since: {}\r\n", first.field("Last-Modified").unwrap());
    let uri = format!("/{}", escaped(&site.request("good", &["-no_nonce"])));
    let again = client.send(&request("GET", &uri, &since));
    assert_eq!((cache(&again), again.status()), ("HIT", 200));
    // With the store away the answer is given, but is to be repeated by nobody.
    std::fs::rename(site.path("certs.db"), site.path("away.db")).unwrap();
    std::thread::sleep(Duration::from_millis(3200));
    for _ in 0..3 {
        let again = client.send(&question);
        assert_eq!((cache(&again), &again.body), ("EXPIRED", &first.body));
    }
}

// rule: ANS-6
#[test]
fn nginx_keeps_nothing_that_has_no_x_accel_expires() {
    let cacheable = "Content-Type: application/ocsp-response\r\nContent-Length: 4\r\n\
                     Cache-Control: max-age=3600, public\r\n\
                     Expires: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    let site = Site::new(KeyKind::P256);
    serve_anything(&socket(&site), cacheable);
    let nginx = nginx(&site);
    let mut client = nginx.client();
    for request in [get("/"), post(b"x")] {
        let answers = [0, 1, 2].map(|_| client.send(&request));
        assert!(answers.iter().all(|answer| answer.status() == 200 && cache(answer) == "MISS"));
        assert!(answers[0].body != answers[1].body && answers[1].body != answers[2].body);
    }
}

// rule: FCG-1
#[test]
fn nginx_keeps_its_connection_to_the_responder() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, "");
    let relay = Relay::start(&site.path("relay.sock"), &socket(&site));
    let nginx = nginx_before(&site, &format!("server unix:{};", site.path("relay.sock").display()));
    let mut client = nginx.client();
    let question = site.request("good", &[]);
    for number in 0..100 {
        // Not HEAD: nginx closes after a response without the body that it announces.
        let request = match number % 4 {
            0 => get(&format!("/{}", escaped(&question))),
            1 => post_to("PUT", "/", b"x"),
            2 => post(b"garbled"),
            _ => post(&question),
        };
        assert!([200, 405].contains(&client.send(&request).status()));
    }
    assert_eq!(relay.count(), 1);
}

// rule: FCG-4
#[test]
fn a_restart_behind_a_socket_that_stays_costs_no_answer() {
    let site = Site::with_certificates(KeyKind::P256);
    let socket = HeldSocket::new(&site);
    let mut responder = socket.serve(&site);
    let nginx = nginx(&site);
    let question = site.request("unlisted", &["-no_nonce"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = nginx.client();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.post(&question);
                    assert_eq!(answer.status(), 200, "{}", answer.head);
                    assert_eq!(said(&question, &answer.body), Said::Unknown);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = OnDrop(&stop);
        for _ in 0..4 {
            let before = answered.load(Ordering::Relaxed);
            let more = || (answered.load(Ordering::Relaxed) > before + 50).then_some(());
            eventually("questions are answered", more);
            responder.signal(Signal::SIGTERM);
            assert!(responder.child.wait().unwrap().success());
            responder = socket.serve(&site);
        }
    });
}

#[test]
fn nginx_finds_a_killed_responder_again_as_soon_as_it_is_back() {
    let site = Site::with_certificates(KeyKind::P256);
    let mut responder = serve(&site, "");
    let nginx = nginx(&site);
    let question = site.request("unlisted", &["-no_nonce"]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = nginx.client();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.post(&question);
                    let right = said(&question, &answer.body) == Said::Unknown;
                    assert!(right || answer.status() == 502, "{}", answer.head);
                }
            });
        }
        let _stop = OnDrop(&stop);
        for _ in 0..3 {
            responder.signal(Signal::SIGKILL);
            responder.child.wait().unwrap();
            assert_eq!(nginx.client().post(&question).status(), 502);
            responder = serve(&site, "");
            let is_back = || (nginx.client().post(&question).status() == 200).then_some(());
            eventually("nginx finds the responder", is_back);
        }
    });
}

/// A window that no test outlasts.
const LONG: &str = "[cache]\nfreshness = \"1h\"\n";

/// What nginx's cache had to do with an answer.
fn cache(answer: &Response) -> &str {
    answer.field("X-Cache").unwrap_or_default()
}
