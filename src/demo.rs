//! A throwaway CA, its signers and leaves: for the command `demo`, tests and benches.
//!
//! Not for keys that anybody relies on: nothing is protected by more than the
//! mode of its file.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef};

use crate::serial::Serial;
use crate::time::Timestamp;

/// The kinds of key that a responder can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standards'")]
pub enum KeyKind {
    Rsa2048,
    P256,
    P384,
    P521,
    Ed25519,
    Ed448,
}

/// A certificate with its key.
pub struct Identity {
    /// The certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

/// A self-signed CA.
pub struct ThrowawayCa {
    /// Its certificate and key.
    pub identity: Identity,
    not_before: Timestamp,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A CA.
    Authority,
    /// A server.
    Leaf,
    /// A delegated OCSP signer (RFC 6960 section 4.2.2.2).
    OcspSigner,
}

impl KeyKind {
    /// Makes a key.
    ///
    /// # Errors
    ///
    /// OpenSSL's.
    pub fn generate(self) -> Result<PKey<Private>, ErrorStack> {
        let on_curve =
            |curve| PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(curve)?)?);
        match self {
            Self::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?),
            Self::P256 => on_curve(Nid::X9_62_PRIME256V1),
            Self::P384 => on_curve(Nid::SECP384R1),
            Self::P521 => on_curve(Nid::SECP521R1),
            Self::Ed25519 => PKey::generate_ed25519(),
            Self::Ed448 => PKey::generate_ed448(),
        }
    }
}

impl ThrowawayCa {
    /// Makes a CA of this name whose certificate is valid for ten years from an
    /// hour before `now`.
    ///
    /// # Errors
    ///
    /// OpenSSL's.
    pub fn new(name: &str, kind: KeyKind, now: Timestamp) -> Result<Self, ErrorStack> {
        Self::with_key(name, kind.generate()?, now)
    }

    /// The same with a key that is there already.
    ///
    /// # Errors
    ///
    /// OpenSSL's.
    pub fn with_key(name: &str, key: PKey<Private>, now: Timestamp) -> Result<Self, ErrorStack> {
        let subject = common_name(name)?;
        let not_before = Timestamp::from_unix(now.unix() - 3_600);
        let serial = Serial::from_be_bytes(&[1]).unwrap_or_else(|_| unreachable!());
        let mut builder = unsigned(&subject, &key, &serial, (not_before, 3_650))?;
        builder.set_issuer_name(&subject)?;
        extend(&mut builder, Purpose::Authority)?;
        builder.sign(&key, digest_for(&key))?;
        Ok(Self { identity: Identity { certificate: builder.build(), key }, not_before })
    }

    /// Issues a certificate valid for `days` days.
    ///
    /// # Errors
    ///
    /// OpenSSL's.
    pub fn issue(
        &self,
        name: &str,
        serial: &Serial,
        (purpose, kind): (Purpose, KeyKind),
        days: u32,
    ) -> Result<Identity, ErrorStack> {
        let key = kind.generate()?;
        let mut builder = unsigned(&*common_name(name)?, &key, serial, (self.not_before, days))?;
        builder.set_issuer_name(self.identity.certificate.subject_name())?;
        extend(&mut builder, purpose)?;
        builder.sign(&self.identity.key, digest_for(&self.identity.key))?;
        Ok(Identity { certificate: builder.build(), key })
    }
}

impl Identity {
    /// Writes the certificate to `NAME.crt` and the key to `NAME.key` in a folder.
    ///
    /// # Errors
    ///
    /// OpenSSL's or the file system's.
    pub fn write(&self, folder: &Path, name: &str) -> io::Result<()> {
        self.write_certificate(&folder.join(format!("{name}.crt")))?;
        self.write_key(&folder.join(format!("{name}.key")))
    }

    /// Writes the certificate in PEM.
    ///
    /// # Errors
    ///
    /// OpenSSL's or the file system's.
    pub fn write_certificate(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.certificate.to_pem()?)
    }

    /// Writes the key in PEM (PKCS#8), for its owner only.
    ///
    /// # Errors
    ///
    /// OpenSSL's or the file system's.
    pub fn write_key(&self, path: &Path) -> io::Result<()> {
        write_private(path, &self.key.private_key_to_pem_pkcs8()?)
    }
}

/// Writes a file that only its owner can read.
///
/// # Errors
///
/// The file system's.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(content)
}

fn common_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

fn unsigned(
    subject: &X509NameRef,
    key: &PKey<Private>,
    serial: &Serial,
    (not_before, days): (Timestamp, u32),
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_subject_name(subject)?;
    builder.set_pubkey(key)?;
    let serial = BigNum::from_slice(serial.as_bytes())?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    let not_after = not_before.unix() + i64::from(days) * 86_400;
    builder.set_not_before(&*Asn1Time::from_unix(not_before.unix())?)?;
    builder.set_not_after(&*Asn1Time::from_unix(not_after)?)?;
    Ok(builder)
}

fn extend(builder: &mut X509Builder, purpose: Purpose) -> Result<(), ErrorStack> {
    match purpose {
        Purpose::Authority => {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
            builder.append_extension(
                KeyUsage::new()
                    .critical()
                    .key_cert_sign()
                    .crl_sign()
                    .digital_signature()
                    .build()?,
            )
        }
        Purpose::Leaf => builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?),
        Purpose::OcspSigner => {
            builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
            builder.append_extension(ExtendedKeyUsage::new().other("OCSPSigning").build()?)
        }
    }
}

fn digest_for(key: &PKey<Private>) -> MessageDigest {
    match key.id() {
        Id::ED25519 | Id::ED448 => MessageDigest::null(),
        _ => MessageDigest::sha256(),
    }
}
