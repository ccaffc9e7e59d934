//! The URI of a key on a token (RFC 7512), and the PEM by which OpenSSL's
//! pkcs11-provider loads it.

#![expect(clippy::result_large_err, reason = "the size of the asn1 crate's ParseError is its own")]

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A PKCS#11 URI. Prints without its PIN.
pub struct TokenUri(Zeroizing<String>);

impl TokenUri {
    /// The URI in the octets of a key file: as it is, on the first line, or in a PEM
    /// file of pkcs11-provider.
    pub(super) fn find(octets: &[u8]) -> Option<Self> {
        let text = str::from_utf8(octets).ok()?.trim();
        if text.starts_with("pkcs11:") {
            let line = text.lines().next().unwrap_or_default();
            return Some(Self(Zeroizing::new(line.trim_end().to_owned())));
        }
        let (_, rest) = text.split_once(BEGIN)?;
        let (base64, _) = rest.split_once(END)?;
        let base64: Zeroizing<String> = Zeroizing::new(base64.split_ascii_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(&*base64).ok()?);
        let file: UriFile<'_> = asn1::parse_single(&der).ok()?;
        Some(Self(Zeroizing::new(file.uri.as_str().to_owned())))
    }

    /// As a PEM file of pkcs11-provider.
    pub(super) fn to_pem(&self) -> Option<Zeroizing<String>> {
        let description = asn1::VisibleString::new(DESCRIPTION)?;
        let file = UriFile { description, uri: asn1::Utf8String::new(&self.0) };
        let der = Zeroizing::new(asn1::write_single(&file).ok()?);
        let base64 = Zeroizing::new(STANDARD.encode(&*der));
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
        Some(Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))))
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = self.0.strip_prefix("pkcs11:").unwrap_or_default();
        // The PIN belongs behind the `?`, but a slip may have put it before.
        let path = written.split('?').next().unwrap_or_default();
        let shown: Vec<&str> = path
            .split([';', '&'])
            .filter(|attribute| {
                let name = attribute.split('=').next().unwrap_or_default();
                SHOWN.contains(&name)
            })
            .collect();
        write!(formatter, "pkcs11:{}", shown.join(";"))
    }
}

#[derive(asn1::Asn1Read, asn1::Asn1Write)]
struct UriFile<'a> {
    description: asn1::VisibleString<'a>,
    uri: asn1::Utf8String<'a>,
}

const DESCRIPTION: &str = "PKCS#11 Provider URI v1.0";
const BEGIN: &str = "-----BEGIN PKCS#11 PROVIDER URI-----";
const END: &str = "-----END PKCS#11 PROVIDER URI-----";
/// What tells a token and a key (RFC 7512 section 2.3), and holds no secret.
const SHOWN: [&str; 8] =
    ["token", "manufacturer", "serial", "model", "object", "type", "id", "slot-id"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_found_as_it_is_and_in_pem() {
        let written = "pkcs11:token=ocsp;object=rsa;type=private";
        let uri = TokenUri::find(format!("\n{written}\r\n# a note\n").as_bytes()).unwrap();
        assert_eq!(*uri.0, written);
        let pem = uri.to_pem().unwrap();
        assert!(pem.lines().all(|line| line.len() <= 64), "{}", *pem);
        assert_eq!(*TokenUri::find(pem.as_bytes()).unwrap().0, written);
        assert!(TokenUri::find(b"-----BEGIN PRIVATE KEY-----\n").is_none());
        assert!(TokenUri::find(b"\xff").is_none());
    }

    #[test]
    fn no_pin_is_shown() {
        for written in [
            "pkcs11:token=a;object=b?pin-value=123456",
            "pkcs11:token=a;pin-value=123456;object=b",
            "pkcs11:token=a;object=b&pin-value=123456",
            "pkcs11:token=a;object=b?module-path=/x&pin-source=file:/123456",
        ] {
            let uri = TokenUri::find(written.as_bytes()).unwrap();
            assert_eq!(uri.to_string(), "pkcs11:token=a;object=b", "{written}");
        }
    }
}
