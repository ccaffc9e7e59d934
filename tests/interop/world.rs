//! The responders that every client meets: each kind of CA key, with its own
//! signature and with a delegated one; and certificates of every status, which
//! name their responder.

use std::path::PathBuf;

use ocsp_fcgi::demo::{Identity, KeyKind, Purpose};
use ocsp_fcgi::serial::Serial;
use ocsp_fcgi::status::{CertStatus, RevocationReason};
use ocsp_fcgi::time::Timestamp;
use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::extension::{ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};

use crate::support::free_port;
use crate::support::ocsp::{sequence, tlv};
use crate::support::site::{REVOKED_AT, Running, Site};

/// A CA, its certificates, and the responder that serves them.
pub struct World {
    pub plan: Plan,
    pub site: Site,
    pub responder: Running,
}

/// What a world is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub ca: KeyKind,
    pub signer: Signer,
    /// `[answers]` of the configuration.
    pub answers: &'static str,
}

/// Whose key signs the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The CA's.
    Ca,
    /// One with a certificate for that.
    Delegated(KeyKind),
    /// The same, whose certificate says that nobody need check it (id-pkix-ocsp-nocheck).
    Unchecked(KeyKind),
}

/// A certificate that clients ask about: its file is `NAME.crt`.
#[derive(Clone, Copy, Debug)]
pub struct Certificate {
    pub name: &'static str,
    pub serial: &'static str,
    pub status: Status,
}

/// What its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Good,
    /// At [`REVOKED_AT`].
    Revoked(Option<RevocationReason>),
    /// It has none.
    Unlisted,
}

pub const PLANS: &[Plan] = &[
    Plan { name: "RSA-2048", ca: KeyKind::Rsa2048, signer: Signer::Ca, answers: "" },
    Plan {
        name: "RSA-2048 delegated",
        ca: KeyKind::Rsa2048,
        signer: Signer::Delegated(KeyKind::Rsa2048),
        answers: "",
    },
    Plan { name: "P-256", ca: KeyKind::P256, signer: Signer::Ca, answers: "" },
    Plan {
        name: "P-256 delegated",
        ca: KeyKind::P256,
        signer: Signer::Unchecked(KeyKind::P256),
        answers: "back_date = \"5m\"",
    },
    Plan { name: "P-384", ca: KeyKind::P384, signer: Signer::Ca, answers: "" },
    Plan {
        name: "P-384 delegated",
        ca: KeyKind::P384,
        signer: Signer::Unchecked(KeyKind::P384),
        answers: "",
    },
    Plan { name: "Ed25519", ca: KeyKind::Ed25519, signer: Signer::Ca, answers: "" },
    Plan {
        name: "Ed25519 delegated",
        ca: KeyKind::Ed25519,
        signer: Signer::Unchecked(KeyKind::Ed25519),
        answers: "",
    },
    Plan {
        name: "RSA-2048 PSS",
        ca: KeyKind::Rsa2048,
        signer: Signer::Ca,
        answers: "rsa_padding = \"pss\"",
    },
    Plan {
        name: "P-256 by name",
        ca: KeyKind::P256,
        signer: Signer::Ca,
        answers: "responder_id = \"name\"",
    },
    Plan {
        name: "RSA-2048, P-256 delegated by name",
        ca: KeyKind::Rsa2048,
        signer: Signer::Unchecked(KeyKind::P256),
        answers: "responder_id = \"name\"",
    },
    Plan {
        name: "P-256 without nonce",
        ca: KeyKind::P256,
        signer: Signer::Ca,
        answers: "nonce = \"ignore\"",
    },
];

/// What the rows say, and `unlisted`, which has none.
pub const CERTIFICATES: &[Certificate] = &[
    Certificate { name: "good", serial: "0a1b", status: Status::Good },
    Certificate {
        name: "good-long",
        serial: "f0e1d2c3b4a5968778695a4b3c2d1e0f01020304", // 20 octets and a sign octet
        status: Status::Good,
    },
    revoked("unspecified", "c000", None),
    revoked("keyCompromise", "c001", Some(RevocationReason::KeyCompromise)),
    revoked("cACompromise", "c002", Some(RevocationReason::CaCompromise)),
    revoked("affiliationChanged", "c003", Some(RevocationReason::AffiliationChanged)),
    revoked("superseded", "c004", Some(RevocationReason::Superseded)),
    revoked("cessationOfOperation", "c005", Some(RevocationReason::CessationOfOperation)),
    revoked("certificateHold", "c006", Some(RevocationReason::CertificateHold)),
    revoked("privilegeWithdrawn", "c009", Some(RevocationReason::PrivilegeWithdrawn)),
    revoked("aACompromise", "c00a", Some(RevocationReason::AaCompromise)),
    Certificate { name: "unlisted", serial: "0c03", status: Status::Unlisted },
];

const fn revoked(
    name: &'static str,
    serial: &'static str,
    reason: Option<RevocationReason>,
) -> Certificate {
    Certificate { name, serial, status: Status::Revoked(reason) }
}

/// A world for each plan.
pub fn all() -> Vec<World> {
    PLANS.iter().map(|plan| World::new(*plan)).collect()
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let site = Site::new(plan.ca);
        let port = free_port();
        for certificate in CERTIFICATES {
            issue(&site, certificate, port);
            let time = Timestamp::from_unix(REVOKED_AT);
            match certificate.status {
                Status::Good => site.set_status(certificate.serial, CertStatus::Good),
                Status::Revoked(reason) => {
                    site.set_status(certificate.serial, CertStatus::Revoked { time, reason });
                }
                Status::Unlisted => {}
            }
        }
        let key = delegate(&site, plan.signer);
        let config = site.write_config(&format!(
            "port = {port}\ncachedays = 3\ncachefolder = \"cache\"\nitcert = \"ca.crt\"\n{key}\n\
             [answers]\n{}\n[database]\nsqlite = \"certs.db\"\n",
            plan.answers
        ));
        let responder = Running::start(&config, port);
        Self { plan, site, responder }
    }

    /// The certificate of the key that signs.
    pub fn signer(&self) -> PathBuf {
        self.site.path(if self.is_delegated() { "signer.crt" } else { "ca.crt" })
    }

    pub fn is_delegated(&self) -> bool {
        self.plan.signer != Signer::Ca
    }

    /// Whether a nonce comes back.
    pub fn echoes(&self) -> bool {
        !self.plan.answers.contains("ignore")
    }

    /// Whether Ed25519 is part of it, which some clients do not have.
    pub fn is_edwards(&self) -> bool {
        self.plan.ca == KeyKind::Ed25519
    }

    pub fn is_pss(&self) -> bool {
        self.plan.answers.contains("pss")
    }
}

impl Certificate {
    pub fn file(&self) -> String {
        format!("{}.crt", self.name)
    }

    /// How the clients' programs in `clients/` say the status: `good`,
    /// `revoked keyCompromise 1767323045`, `revoked - 1767323045`, `unknown`.
    pub fn status_text(&self) -> String {
        match self.status {
            Status::Good => "good".to_owned(),
            Status::Unlisted => "unknown".to_owned(),
            Status::Revoked(reason) => {
                let reason = reason.map_or("-", |_| self.name);
                format!("revoked {reason} {REVOKED_AT}")
            }
        }
    }
}

/// The configuration's key, and the delegated signer where there is one.
fn delegate(site: &Site, signer: Signer) -> &'static str {
    let identity = match signer {
        Signer::Ca => return "itkey = \"ca.key\"",
        Signer::Delegated(kind) => {
            let serial = Serial::from_hex("d1").unwrap();
            site.ca.issue("Signer", &serial, (Purpose::OcspSigner, kind), 365).unwrap()
        }
        Signer::Unchecked(kind) => {
            let key = kind.generate().unwrap();
            let mut builder = start(site, "Unchecked Signer", "d2", &key);
            let usage = KeyUsage::new().critical().digital_signature().build().unwrap();
            builder.append_extension(usage).unwrap();
            let purpose = ExtendedKeyUsage::new().other("OCSPSigning").build().unwrap();
            builder.append_extension(purpose).unwrap();
            builder.append_extension(extension("1.3.6.1.5.5.7.48.1.5", &[5, 0])).unwrap();
            Identity { certificate: sign(site, builder), key }
        }
    };
    identity.write(site.folder.path(), "signer").unwrap();
    "itkey = \"signer.key\"\nitsigner = \"signer.crt\""
}

/// Issues `NAME.crt` with `NAME.key`, for TLS servers and clients on this machine.
fn issue(site: &Site, certificate: &Certificate, port: u16) {
    let key = KeyKind::P256.generate().unwrap();
    let mut builder = start(site, certificate.name, certificate.serial, &key);
    let purpose = ExtendedKeyUsage::new().server_auth().client_auth().build().unwrap();
    builder.append_extension(purpose).unwrap();
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(Some(&site.ca.identity.certificate), None))
        .unwrap();
    builder.append_extension(names).unwrap();
    let url = format!("http://localhost:{port}/ocsp");
    let access = extension("1.3.6.1.5.5.7.1.1", &authority_information_access(&url));
    builder.append_extension(access).unwrap();
    let identity = Identity { certificate: sign(site, builder), key };
    identity.write(site.folder.path(), certificate.name).unwrap();
}

fn start(site: &Site, name: &str, serial: &str, key: &PKey<Private>) -> X509Builder {
    let ca = &site.ca.identity.certificate;
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject.build()).unwrap();
    builder.set_issuer_name(ca.subject_name()).unwrap();
    builder.set_pubkey(key).unwrap();
    let serial = BigNum::from_slice(Serial::from_hex(serial).unwrap().as_bytes()).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_not_before(ca.not_before()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(365).unwrap()).unwrap();
    builder
}

fn sign(site: &Site, mut builder: X509Builder) -> X509 {
    let key = &site.ca.identity.key;
    let digest = match key.id() {
        Id::ED25519 | Id::ED448 => MessageDigest::null(),
        _ => MessageDigest::sha256(),
    };
    builder.sign(key, digest).unwrap();
    builder.build()
}

fn extension(oid: &str, value: &[u8]) -> X509Extension {
    let oid = Asn1Object::from_str(oid).unwrap();
    let value = Asn1OctetString::new_from_bytes(value).unwrap();
    X509Extension::new_from_der(&oid, false, &value).unwrap()
}

/// AuthorityInfoAccessSyntax with one id-ad-ocsp (RFC 5280 section 4.2.2.1).
fn authority_information_access(url: &str) -> Vec<u8> {
    let uri = tlv(0x86, &[url.as_bytes()]);
    sequence(&[&sequence(&[b"\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01", &uri])])
}
