//! The answers of the real binary, read by OpenSSL's client.

use ocsp_fcgi::demo::KeyKind;

use crate::support::site::Site;

// rule: RSP-6
#[test]
fn openssl_verifies_answers_of_every_kind_of_key() {
    let kinds = [
        KeyKind::Rsa2048,
        KeyKind::P256,
        KeyKind::P384,
        KeyKind::P521,
        KeyKind::Ed25519,
        KeyKind::Ed448,
    ];
    for kind in kinds {
        let site = Site::with_certificates(kind);
        let responder = site.serve("");
        site.assert_three_answers(&responder.url(), &[]);
        site.assert_three_answers(&responder.url(), &["-sha256"]);
        site.assert_three_answers(&responder.url(), &["-no_nonce"]);
    }
}
