//! What holds for a CRL alone: as `openssl ca -gencrl` and Easy-RSA write it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ocsp_fcgi::demo::{KeyKind, ThrowawayCa};
use ocsp_fcgi::status::{Basis, CertRecord, CertStatus, RevocationReason};
use ocsp_fcgi::store::crl::{Authority, Crl, Options, Unlisted};
use ocsp_fcgi::store::{Finding, StatusStore};
use ocsp_fcgi::time::{Clock, FixedClock, SystemClock, Timestamp};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::x509::X509;

use crate::stores::{find, status, unavailable, until};
use crate::support::authority::{EasyRsa, OpensslCa, replace, serial};
use crate::support::ocsp::{
    NULL, UNHEARD_OF, children, critical_extension, extension, sequence, tlv,
};

// rule: ANS-1
// rule: ANS-2
#[test]
fn a_serial_on_the_list_is_revoked_and_any_other_unknown_unless_told_otherwise() {
    use RevocationReason::{CertificateHold, KeyCompromise, Superseded};
    let ca = OpensslCa::new("/CN=Test CA");
    let serials: Vec<String> = [
        ("plain", &[][..]),
        ("superseded", &["-crl_reason", "superseded"]),
        ("hold", &["-crl_hold", "holdInstructionReject"]),
        ("compromise", &["-crl_compromise", "20250102030405Z"]),
    ]
    .map(|(name, options)| {
        let serial = serial(&ca.issue(name, &[]));
        ca.revoke(name, options);
        serial
    })
    .into();
    let valid = serial(&ca.issue("valid", &[]));
    ca.write_crl("ca.crl", &[]);
    ca.openssl(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.der"]);
    ca.openssl(&["crl", "-in", "ca.crl", "-text", "-out", "text.crl"]);
    let reasons = [None, Some(Superseded), Some(CertificateHold), Some(KeyCompromise)];
    for name in ["ca.crl", "ca.der", "text.crl"] {
        let [unknown, good] = [Unlisted::Unknown, Unlisted::Good].map(|unlisted| {
            store(&ca.path(name), &ca.certificate(), unlisted, Arc::new(SystemClock))
        });
        for (serial, reason) in serials.iter().zip(reasons) {
            for store in [&unknown, &good] {
                let record = find(store, serial).unwrap().unwrap();
                let CertStatus::Revoked { time, reason: found } = record.status else { panic!() };
                assert_eq!((found, record.basis), (reason, Basis::Listed), "{name} {serial}");
                assert!(time > Timestamp::from_civil(2025, 1, 1, (0, 0, 0)).unwrap());
            }
        }
        for serial in [valid.as_str(), "77"] {
            assert_eq!(find(&unknown, serial).unwrap(), None, "{name}");
            let record = find(&good, serial).unwrap().unwrap();
            let Basis::Absence { until } = record.basis else { panic!("{record:?}") };
            let days = until.saturating_since(SystemClock.now()).as_secs() / 86_400;
            assert!(record.status == CertStatus::Good && (29..=30).contains(&days));
        }
        assert!(unknown.check().is_usable());
        let findings = good.check().findings;
        assert!(format!("{findings:?}").contains("revoked: 4, from 20"), "{findings:?}");
        assert!(matches!(findings.last(), Some(Finding::Warning(_))), "{findings:?}");
    }
}

#[test]
fn the_crl_of_easy_rsa_is_read_as_it_is() {
    let easy_rsa = EasyRsa::new();
    easy_rsa.easyrsa(&["gen-crl"]);
    let ca = X509::from_pem(&fs::read(easy_rsa.path("pki/ca.crt")).unwrap()).unwrap();
    let path = easy_rsa.path("pki/crl.pem");
    let store = store(&path, &ca, Unlisted::Unknown, Arc::new(SystemClock));
    assert_eq!(status(&store, "0a1b"), None, "an empty list");
    easy_rsa.easyrsa(&["build-server-full", "one", "nopass"]);
    easy_rsa.easyrsa(&["revoke", "one"]);
    easy_rsa.easyrsa(&["gen-crl"]);
    let one = fs::read_to_string(easy_rsa.path("pki/index.txt")).unwrap();
    let serial = one.split('\t').nth(3).unwrap();
    assert!(matches!(status(&store, serial), Some(CertStatus::Revoked { .. })), "{one}");
}

// rule: ANS-1
// rule: ANS-5
#[test]
fn outside_its_time_a_list_tells_what_is_revoked_and_nothing_else() {
    let ca = OpensslCa::new("/CN=Test CA");
    let serial = serial(&ca.issue("revoked", &[]));
    ca.revoke("revoked", &[]);
    let from_to = ["-crl_lastupdate", "20260101000000Z", "-crl_nextupdate", "20260201000000Z"];
    ca.write_crl("ca.crl", &from_to);
    let at_time = |month, day, time| {
        let now = Timestamp::from_civil(2026, month, day, time).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(FixedClock(now));
        store(&ca.path("ca.crl"), &ca.certificate(), Unlisted::Good, clock)
    };
    let at = |month, day| at_time(month, day, (0, 0, 0));
    for (store, problem) in [
        (at(2, 1), "ca.crl: ended on 2026-02-01T00:00:00Z"),
        (at(7, 1), "ca.crl: ended on 2026-02-01T00:00:00Z"),
    ] {
        assert!(unavailable(&store, "77").ends_with(problem), "{}", unavailable(&store, "77"));
        let record = find(&store, &serial).unwrap().unwrap();
        assert!(matches!(record.status, CertStatus::Revoked { .. }));
        assert_eq!(record.basis, Basis::Remembered, "no sign that the list can be used");
        assert!(!store.check().is_usable());
    }
    let during = at(1, 31);
    let until = Timestamp::from_civil(2026, 2, 1, (0, 0, 0)).unwrap();
    let expected = CertRecord { status: CertStatus::Good, basis: Basis::Absence { until } };
    assert_eq!(find(&during, "77").unwrap(), Some(expected));

    ca.write_crl("ca.crl", &["-crl_lastupdate", "20260301000000Z", "-crldays", "3000"]);
    let early = at(2, 27);
    assert!(unavailable(&early, "77").ends_with("begins only on 2026-03-01T00:00:00Z"));
    assert!(find(&at(3, 1), "77").is_ok());
    // The clock of the CA may be five minutes ahead.
    assert!(find(&at_time(2, 28, (23, 55, 0)), "77").is_ok());
    assert!(find(&at_time(2, 28, (23, 54, 59)), "77").is_err());
}

// rule: ANS-1
#[test]
fn a_list_of_another_ca_or_damaged_or_of_some_certificates_only_is_refused() {
    let ca = OpensslCa::new("/CN=Test CA");
    ca.issue("revoked", &[]);
    ca.revoke("revoked", &[]);
    ca.write_crl("ca.crl", &[]);
    ca.openssl(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.der"]);
    let der = fs::read(ca.path("ca.der")).unwrap();
    let pem = fs::read_to_string(ca.path("ca.crl")).unwrap();
    let stranger = OpensslCa::new("/CN=Another CA");
    stranger.write_crl("ca.crl", &[]);
    let impostor = OpensslCa::new("/CN=Test CA");
    impostor.write_crl("ca.crl", &[]);
    let of = |ca: &OpensslCa| fs::read(ca.path("ca.crl")).unwrap();
    let with = |extensions: &str| {
        ca.write_crl("some.crl", &["-crlexts", extensions]);
        fs::read(ca.path("some.crl")).unwrap()
    };
    ca.write_crl("sha1.crl", &["-md", "sha1"]);
    let sha1 = fs::read(ca.path("sha1.crl")).unwrap();
    let mut flipped = der.clone();
    let at = flipped.windows(3).position(|octets| octets == [0x02, 0x02, 0x0a]).unwrap() + 3;
    flipped[at] ^= 1; // another serial on the list
    for (content, problem) in [
        (of(&stranger), "of another CA"),
        (of(&impostor), "signature is not of the CA's key"),
        (flipped, "signature is not of the CA's key"),
        (der[..der.len() - 1].to_vec(), "neither a CRL in DER nor in PEM"),
        ([&der[..], b"\0"].concat(), "neither a CRL in DER nor in PEM"),
        (Vec::new(), "neither a CRL in DER nor in PEM"),
        (pem[..pem.len() - 30].into(), "its PEM has no end"),
        (pem.replacen("MI", "M!", 1).into(), "its PEM is no Base64"),
        (format!("{pem}{pem}").into(), "it has several CRLs"),
        (sha1, "signed by an algorithm that is not supported"),
        (with("of_servers"), "not for all certificates of the CA: onlyContainsUserCerts"),
        (with("of_reasons"), "not for all certificates of the CA: onlySomeReasons"),
        (with("indirect"), "not for all certificates of the CA: indirectCRL"),
        (with("of_changes"), "a delta CRL"),
        (with("unheard_of"), "with a critical extension that is not known: 1.2.3.4"),
    ] {
        let path = ca.path("tried.crl");
        fs::write(&path, content).unwrap();
        let store = store(&path, &ca.certificate(), Unlisted::Unknown, Arc::new(SystemClock));
        let cause = unavailable(&store, "0a1b");
        assert!(cause.contains(problem), "{problem}: {cause}");
        let finding = store.check().findings;
        assert!(matches!(&finding[..], [Finding::Problem(p)] if p.contains(problem)));
    }
    let tried = |content: &[u8], unlisted| {
        fs::write(ca.path("tried.crl"), content).unwrap();
        store(&ca.path("tried.crl"), &ca.certificate(), unlisted, Arc::new(SystemClock))
    };
    assert!(find(&tried(&with("heard_of"), Unlisted::Good), "0a1b").is_ok());
    let of_a_point = with("of_a_point");
    assert!(find(&tried(&of_a_point, Unlisted::Unknown), "0a1b").unwrap().is_some());
    let cause = unavailable(&tried(&of_a_point, Unlisted::Good), "0a1b");
    assert!(cause.contains("of one distribution point"), "{cause}");
}

// rule: ANS-1
#[test]
fn a_list_of_two_algorithms_or_with_an_entry_that_means_something_else_is_refused() {
    let ca = OpensslCa::new("/CN=Test CA");
    let serial = serial(&ca.issue("revoked", &[]));
    ca.revoke("revoked", &[]);
    ca.write_crl("ca.crl", &[]);
    ca.openssl(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.der"]);
    let der = fs::read(ca.path("ca.der")).unwrap();
    let tried = |content: Vec<u8>| {
        fs::write(ca.path("tried.crl"), content).unwrap();
        store(&ca.path("tried.crl"), &ca.certificate(), Unlisted::Good, Arc::new(SystemClock))
    };
    let with = |extension: Vec<u8>| {
        signed_anew(&ca, &der, |parts| {
            let entry = children(children(&parts[5])[0]);
            let entry = sequence(&[entry[0], entry[1], &sequence(&[&extension])]);
            parts[5] = sequence(&[&entry]);
        })
    };
    let told = status(&tried(with(extension(REASON_CODE, &[10, 1, 4]))), &serial);
    let Some(CertStatus::Revoked { reason, .. }) = told else { panic!("{told:?}") };
    assert_eq!(reason, Some(RevocationReason::Superseded));
    assert!(find(&tried(with(extension(UNHEARD_OF, NULL))), &serial).is_ok());
    let other_algorithm = signed_anew(&ca, &der, |parts| {
        *parts[1].last_mut().unwrap() += 1; // ecdsa-with-SHA384
    });
    for (content, problem) in [
        (other_algorithm, "its two signature algorithms differ"),
        // removeFromCRL: not revoked any more.
        (with(extension(REASON_CODE, &[10, 1, 8])), "a delta CRL"),
        (with(extension(CERTIFICATE_ISSUER, &sequence(&[]))), "an indirect CRL"),
        (
            with(critical_extension(UNHEARD_OF, NULL)),
            "with a critical extension that is not known: 1.2.3.4",
        ),
    ] {
        let cause = unavailable(&tried(content), &serial);
        assert!(cause.contains(problem), "{problem}: {cause}");
    }
}

#[test]
fn lists_signed_by_every_kind_of_key_are_verified() {
    for (kind, options) in [
        (KeyKind::Rsa2048, &["-md", "sha256"][..]),
        (KeyKind::Rsa2048, &["-md", "sha384"]),
        (KeyKind::Rsa2048, &["-md", "sha512"]),
        (KeyKind::Rsa2048, &[PSS, &["-md", "sha256"]].concat()),
        (KeyKind::Rsa2048, &[PSS, &["-md", "sha512", "-sigopt", "rsa_pss_saltlen:20"]].concat()),
        (KeyKind::P256, &["-md", "sha512"]),
        (KeyKind::P384, &["-md", "sha384"]),
        (KeyKind::P521, &["-md", "sha512"]),
        (KeyKind::Ed25519, &["-md", "null"]),
        (KeyKind::Ed448, &["-md", "null"]),
    ] {
        let ca = with_key(kind);
        ca.write_crl("ca.crl", &[options, &["-crlexts", "heard_of"]].concat());
        let [good, bad] =
            [ca.certificate(), OpensslCa::new("/CN=Test CA").certificate()].map(|certificate| {
                store(&ca.path("ca.crl"), &certificate, Unlisted::Good, Arc::new(SystemClock))
            });
        assert_eq!(status(&good, "77"), Some(CertStatus::Good), "{kind:?} {options:?}");
        assert!(unavailable(&bad, "77").contains("signature"), "{kind:?} {options:?}");
    }
}

// rule: ANS-1
#[test]
fn a_list_signed_over_sha_1_is_refused_by_either_padding() {
    let ca = with_key(KeyKind::Rsa2048);
    for padding in [&[][..], PSS] {
        ca.write_crl("ca.crl", &[padding, &["-md", "sha1", "-crlexts", "heard_of"]].concat());
        let path = ca.path("ca.crl");
        let store = store(&path, &ca.certificate(), Unlisted::Good, Arc::new(SystemClock));
        assert!(unavailable(&store, "77").contains("wanted SHA-2"), "{padding:?}");
    }
}

// rule: ANS-1
#[test]
fn a_new_list_is_seen_by_the_next_question_and_a_damaged_one_is_not_taken() {
    let ca = OpensslCa::new("/CN=Test CA");
    let serial = serial(&ca.issue("one", &[]));
    ca.write_crl("ca.crl", &[]);
    let path = ca.path("ca.crl");
    let store = store(&path, &ca.certificate(), Unlisted::Good, Arc::new(SystemClock));
    assert_eq!(status(&store, &serial), Some(CertStatus::Good));
    ca.revoke("one", &[]);
    ca.write_crl("ca.crl", &[]);
    assert!(matches!(status(&store, &serial), Some(CertStatus::Revoked { .. })));
    let whole = fs::read(&path).unwrap();
    let empty = OpensslCa::new("/CN=Test CA");
    empty.write_crl("ca.crl", &[]);
    for content in [&whole[..100], &fs::read(empty.path("ca.crl")).unwrap()] {
        replace(&path, content);
        assert!(matches!(status(&store, &serial), Some(CertStatus::Revoked { .. })));
        assert_eq!(status(&store, "77"), Some(CertStatus::Good), "for a moment");
    }
    replace(&path, &whole);
    until(|| store.check().is_usable());
    let _: &dyn StatusStore = &store;
}

// rule: ANS-1
#[test]
fn a_list_older_than_the_one_that_was_read_takes_no_revocation_back() {
    let ca = OpensslCa::new("/CN=Test CA");
    let serial = serial(&ca.issue("one", &[]));
    let path = ca.path("ca.crl");
    let at = |name: &str, time: &str| {
        ca.write_crl(name, &["-crl_lastupdate", time, "-crldays", "3000"]);
        fs::read(ca.path(name)).unwrap()
    };
    let first = at("ca.crl", "20260102000000Z");
    ca.revoke("one", &[]);
    let second = at("second.crl", "20260103000000Z");
    let of_before = at("third.crl", "20260101000000Z");
    fs::write(ca.path("crlnumber"), "01\n").unwrap();
    let with_a_lower_number = at("fourth.crl", "20260103000000Z");
    let store = || store(&path, &ca.certificate(), Unlisted::Good, Arc::new(SystemClock));
    let running = store();
    assert_eq!(status(&running, &serial), Some(CertStatus::Good));
    replace(&path, &second);
    assert!(matches!(status(&running, &serial), Some(CertStatus::Revoked { .. })));
    for older in [&first, &of_before, &with_a_lower_number] {
        replace(&path, older);
        assert!(matches!(status(&running, &serial), Some(CertStatus::Revoked { .. })));
        assert_eq!(status(&running, "77"), Some(CertStatus::Good), "for a moment");
    }
    replace(&path, &first);
    until(|| find(&running, "77").is_err());
    let cause = unavailable(&running, "77");
    let told = "ca.crl: older than the list that was read before: from 2026-01-02T00:00:00Z with \
                the number 0x01, that one from 2026-01-03T00:00:00Z with the number 0x02, wanted: \
                the newest one, or a restart, which takes the one that is there";
    assert!(cause.ends_with(told), "{cause}");
    assert!(matches!(status(&running, &serial), Some(CertStatus::Revoked { .. })));
    assert_eq!(status(&store(), &serial), Some(CertStatus::Good), "as after a restart");
    // The same one again, one without a number, and one of the same second.
    replace(&path, &second);
    until(|| status(&running, "77") == Some(CertStatus::Good));
    ca.write_crl("plain.crl", &["-crlexts", "heard_of"]);
    for newer in [at("fifth.crl", "20260103000000Z"), fs::read(ca.path("plain.crl")).unwrap()] {
        replace(&path, newer);
        assert!(running.check().is_usable(), "{:?}", running.check());
    }
}

// rule: ANS-1, ANS-5
#[test]
fn a_list_from_the_future_keeps_none_out_but_those_that_are_older_than_the_last_one() {
    let ca = OpensslCa::new("/CN=Test CA");
    let serial = serial(&ca.issue("one", &[]));
    let at = |time: &str| {
        ca.write_crl("new.crl", &["-crl_lastupdate", time, "-crldays", "3000"]);
        fs::read(ca.path("new.crl")).unwrap()
    };
    let older = at("20260101000000Z");
    let first = at("20260102000000Z");
    let of_the_future = at("20400101000000Z");
    ca.revoke("one", &[]);
    let right = at("20260103000000Z");
    let path = ca.path("ca.crl");
    replace(&path, &first);
    let store = store(&path, &ca.certificate(), Unlisted::Good, Arc::new(SystemClock));
    assert_eq!(status(&store, &serial), Some(CertStatus::Good));
    for _ in 0..2 {
        replace(&path, &of_the_future);
        assert!(unavailable(&store, &serial).contains("begins only on 2040-01-01"));
    }
    replace(&path, &older);
    // Nothing of it is said, and so what was read before says the same.
    assert!(unavailable(&store, &serial).contains("begins only on 2040-01-01"));
    replace(&path, &right);
    until(|| find(&store, &serial).is_ok());
    assert!(matches!(status(&store, &serial), Some(CertStatus::Revoked { .. })));
    replace(&path, &first);
    assert!(matches!(status(&store, &serial), Some(CertStatus::Revoked { .. })));
}

// rule: ANS-1
#[test]
fn a_list_that_begins_in_a_moment_is_in_use_and_keeps_older_ones_out() {
    let ca = OpensslCa::new("/CN=Test CA");
    let serial = serial(&ca.issue("one", &[]));
    let at = |time: &str| {
        ca.write_crl("new.crl", &["-crl_lastupdate", time, "-crldays", "3000"]);
        fs::read(ca.path("new.crl")).unwrap()
    };
    let older = at("20260102000000Z");
    ca.revoke("one", &[]);
    let in_two_minutes = at("20260103000200Z");
    let path = ca.path("ca.crl");
    let now = Timestamp::from_civil(2026, 1, 3, (0, 0, 0)).unwrap();
    replace(&path, &in_two_minutes);
    let store = store(&path, &ca.certificate(), Unlisted::Good, Arc::new(FixedClock(now)));
    assert_eq!(status(&store, "77"), Some(CertStatus::Good));
    replace(&path, &older);
    assert!(matches!(status(&store, &serial), Some(CertStatus::Revoked { .. })));
}

/// A CA with another key.
fn with_key(kind: KeyKind) -> OpensslCa {
    let ca = OpensslCa::new("/CN=Test CA");
    let throwaway = ThrowawayCa::new("Test CA", kind, SystemClock.now()).unwrap();
    throwaway.identity.write_certificate(&ca.path("ca.crt")).unwrap();
    throwaway.identity.write_key(&ca.path("ca.key")).unwrap();
    ca
}

fn store(path: &Path, ca: &X509, unlisted: Unlisted, clock: Arc<dyn Clock>) -> Crl {
    let subject = ca.subject_name().to_der().unwrap();
    let issuer = Authority { subject, key: ca.public_key().unwrap() };
    Crl::new(Options { path: path.to_owned(), unlisted, issuer }, clock)
}

/// A list whose parts were changed, signed once more by its CA.
fn signed_anew(ca: &OpensslCa, list: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let [tbs, algorithm, _] = children(list)[..] else { panic!("a list") };
    let mut parts: Vec<Vec<u8>> = children(tbs).into_iter().map(<[u8]>::to_vec).collect();
    change(&mut parts);
    let tbs = sequence(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let key = PKey::private_key_from_pem(&fs::read(ca.path("ca.key")).unwrap()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let signature = signer.sign_oneshot_to_vec(&tbs).unwrap();
    sequence(&[&tbs, algorithm, &tlv(3, &[&[0], &signature])])
}

const PSS: &[&str] = &["-sigopt", "rsa_padding_mode:pss"];
/// Content octets of 2.5.29.21 and 2.5.29.29.
const REASON_CODE: &[u8] = &[0x55, 29, 21];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 29, 29];
