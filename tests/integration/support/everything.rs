//! What every web server in front must let through.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::process::Command;

use ocsp_fcgi::status::CertStatus;

use super::client::{
    Said, base64, escaped, get, padded, post, post_in_chunks, post_to, request, said,
};
use super::ocsp::MALFORMED;
use super::run;
use super::site::{Response, Site};
use super::web::WebServer;

/// A serial whose Base64 holds `//` and `+` wherever the serial begins.
const AWKWARD_SERIAL: &str = "7fffffffffffff00fbefbe00fbefbe00fbefbe";

/// What every web server in front must let through, on a site with certificates;
/// `too_large` is its status for a chunked body of more than 16 KiB.
#[track_caller]
pub fn assert_passes_everything_on(site: &Site, server: &WebServer, too_large: u16) {
    assert_answers_openssl(site, server);
    assert_answers_every_spelling_of_a_get(site, server);
    assert_states_what_caches_may_do(site, server);
    assert_refuses_what_is_no_request(site, server, too_large);
    assert_has_methods_and_a_page(site, server);
}

// rule: WEB-1
#[track_caller]
fn assert_answers_openssl(site: &Site, server: &WebServer) {
    for options in [&[][..], &["-sha256"], &["-no_nonce"], &["-sha256", "-no_nonce"]] {
        site.assert_three_answers(&server.url(), options);
    }
    site.assert_three_answers(&format!("{}/any/path/", server.url()), &["-no_nonce"]);
}

// rule: WEB-1
#[track_caller]
fn assert_answers_every_spelling_of_a_get(site: &Site, server: &WebServer) {
    site.issue("awkward", AWKWARD_SERIAL, Some(CertStatus::Good));
    let question = site.request("awkward", &["-no_nonce"]);
    let plain = base64(&question);
    assert!(plain.contains("//") && plain.contains('+') && plain.starts_with('M'), "{plain}");
    let wanted = server.client().post(&question).body;
    assert!(site.read_answer("awkward", &wanted).contains("awkward.crt: good"));
    let all: String = plain.bytes().map(|octet| format!("%{octet:02x}")).collect();
    for path in [
        format!("/{plain}"),
        format!("//{plain}"),
        format!("/{}", escaped(&question)),
        format!("/{}", escaped(&question).replace("%2F", "%2f")),
        format!("/{}", plain.replace('+', "-").replace('/', "_")),
        format!("/{}", plain.trim_end_matches('=')),
        format!("/{all}"),
        format!("/ocsp/{plain}"),
        format!("/ocsp//{}", escaped(&question)),
        format!("/a%2Fb/{}/{plain}", "long".repeat(100)),
        format!("/{}?query=/x", escaped(&question)),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sSg", "--path-as-is", "--max-time", "20"]).arg(server.url() + &path);
        let answer = run(&mut curl, "curl");
        let stderr = String::from_utf8_lossy(&answer.stderr);
        assert!(answer.stdout == wanted, "{path}: {stderr}{:?}", answer.stdout);
    }
}

// rule: WEB-2, WEB-3, WEB-4
#[track_caller]
fn assert_states_what_caches_may_do(site: &Site, server: &WebServer) {
    let mut client = server.client();
    let question = site.request("good", &["-no_nonce"]);
    let uri = format!("/{}", escaped(&question));
    let answer = client.get(&uri);
    assert_eq!(said(&question, &answer.body), Said::Good);
    assert_is_ocsp(&answer);
    let tag: String =
        openssl::sha::sha256(&answer.body).iter().map(|b| format!("{b:02x}")).collect();
    let tag = format!("\"{tag}\"");
    assert_eq!(answer.field("ETag"), Some(&*tag));
    for date in ["Last-Modified", "Expires"] {
        assert!(answer.field(date).unwrap().ends_with(" GMT"), "{}", answer.head);
    }
    let caching = answer.field("Cache-Control").unwrap();
    let (max_age, others) = caching.split_once(", ").unwrap();
    assert_eq!(others, "public, no-transform, must-revalidate");
    let max_age: u32 = max_age.strip_prefix("max-age=").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&max_age), "{caching}");
    assert_eq!(answer.field("Vary"), None, "{}", answer.head);
    // HEAD is GET without the body.
    let head = client.send(&request("HEAD", &uri, ""));
    assert_eq!((head.status(), head.field("ETag")), (200, Some(&*tag)));
    assert_eq!(head.field("Content-Length"), answer.field("Content-Length"));
    // Who has the answer is told so.
    for field in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let field = format!("If-None-Match: {field}\r\n");
        let same = client.send(&request("GET", &uri, &field));
        assert_eq!((same.status(), same.field("ETag")), (304, Some(&*tag)), "{field}");
        assert!(same.field("Cache-Control").is_some() && same.body.is_empty(), "{}", same.head);
    }
    let other = client.send(&request("GET", &uri, "If-None-Match: \"other\"\r\n"));
    assert_eq!((other.status(), other.body), (200, answer.body));
    // What is for one client, or no answer.
    for name in ["good", "unlisted"] {
        let question = site.request(name, if name == "good" { &[] } else { &["-no_nonce"] });
        let answer = client.post(&question);
        assert_ne!(said(&question, &answer.body), Said::Nothing);
        assert_is_ocsp(&answer);
        let wanted = if name == "good" { "max-age=0, private, " } else { "no-store" };
        assert!(answer.field("Cache-Control").unwrap().starts_with(wanted), "{}", answer.head);
        assert_eq!((answer.field("ETag"), answer.field("Expires")), (None, None));
    }
}

// rule: WEB-2, WEB-5
#[track_caller]
fn assert_refuses_what_is_no_request(site: &Site, server: &WebServer, too_large: u16) {
    let mut client = server.client();
    let question = site.request("good", &["-no_nonce"]);
    let cut = &question[..question.len() - 1];
    for request in [
        post(b"garbled"),
        post(cut),
        post(&[&question[..], b"\0"].concat()),
        post(b""),
        request("POST", "/", ""),
        post_in_chunks(cut, 7, ""),
        post(&[0x30; 16 * 1024]),
        get(&format!("/{}", escaped(&[&question[..], b"\0"].concat()))),
        get("/MHowAAAAAAAAAAAAAA"),
    ] {
        let answer = client.send(&request);
        let shown = String::from_utf8_lossy(&request);
        assert_eq!((answer.status(), &*answer.body), (200, MALFORMED), "{shown}");
        assert_is_ocsp(&answer);
        assert_eq!(answer.field("Cache-Control"), Some("no-store"));
    }
    // Too large: the request that it begins with is not answered.
    let large = padded(&question, 20_000);
    assert_eq!(server.client().post(&large).status(), 413);
    let answer = server.client().send(&post_in_chunks(&large, 4000, ""));
    assert_eq!(answer.status(), too_large, "{}", answer.head);
    assert_eq!(said(&question, &answer.body) == Said::Good, too_large == 200);
    // Nothing of all that is in the way of the next one.
    assert_eq!(said(&question, &client.post(&question).body), Said::Good);
    let largest = padded(&question, 16 * 1024);
    for request in [post(&largest), post_in_chunks(&largest, 4000, "")] {
        assert_eq!(said(&question, &client.send(&request).body), Said::Good);
    }
}

// rule: WEB-4, WEB-6
#[track_caller]
fn assert_has_methods_and_a_page(site: &Site, server: &WebServer) {
    let mut client = server.client();
    let question = site.request("good", &["-no_nonce"]);
    for method in ["PUT", "DELETE", "OPTIONS", "SEARCH"] {
        let answer = client.send(&post_to(method, "/", &question));
        let allow = Some("GET, HEAD, POST");
        assert_eq!((answer.status(), answer.field("Allow")), (405, allow), "{method}");
    }
    assert_eq!(client.send(&request("TRACE", "/", "")).status(), 405);
    for uri in ["/", "/index.html", "/.well-known/x", "/?q"] {
        let page = client.get(uri);
        assert_eq!((page.status(), page.field("Cache-Control")), (200, Some("no-store")), "{uri}");
        assert!(page.body.starts_with(b"This is an OCSP responder"), "{uri}");
    }
}

/// The status line and the fields that every OCSP answer has.
#[track_caller]
fn assert_is_ocsp(answer: &Response) {
    assert_eq!(answer.status(), 200, "{}", answer.head);
    assert_eq!(answer.field("Content-Type"), Some("application/ocsp-response"));
    assert_eq!(answer.field("Content-Length"), Some(&*answer.body.len().to_string()));
}
