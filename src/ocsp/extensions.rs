//! The extensions of a request and of its questions (RFC 6960 section 4.4).
//!
//! Pure: no I/O, no policy. The input is untrusted.

use asn1::ObjectIdentifier;

use crate::ocsp::asn1 as syntax;
use crate::ocsp::nonce::Nonce;
use crate::ocsp::request::RequestError;

/// Where an extension stands: none that we know belongs to a single question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Request,
    Question,
}

/// What the extensions of a request ask for.
#[derive(Clone, Default)]
pub(super) struct Extensions<'a> {
    pub(super) nonce: Option<Nonce<'a>>,
    pub(super) preferred: Option<asn1::SequenceOf<'a, syntax::PreferredSignatureAlgorithm<'a>>>,
}

/// Reads the extensions of a request, or of a question, each of them once: to walk over
/// the list is to parse it.
pub(super) fn extensions<'a>(
    list: Option<impl Iterator<Item = syntax::Extension<'a>>>,
    level: Level,
) -> Result<Extensions<'a>, RequestError> {
    let mut found = Extensions::default();
    let Some(list) = list else { return Ok(found) };
    let mut earlier: [Option<ObjectIdentifier>; MAX_EXTENSIONS] = [const { None }; MAX_EXTENSIONS];
    for (at, extension) in list.enumerate() {
        let oid = extension.extn_id;
        if earlier.iter().map_while(Option::as_ref).any(|other| *other == oid) {
            return Err(RequestError::DuplicateExtension);
        }
        match (level, &oid) {
            (Level::Request, &syntax::ID_PKIX_OCSP_NONCE) => {
                found.nonce = Some(Nonce::from_extension(extension.extn_value)?);
            }
            // id-pkix-ocsp-basic is all there is, and is sent whatever the list
            // holds (section 4.4.3).
            (Level::Request, &syntax::ID_PKIX_OCSP_RESPONSE) => {}
            (Level::Request, &syntax::ID_PKIX_OCSP_PREF_SIG_ALGS) => {
                let preferred = asn1::parse_single(extension.extn_value);
                found.preferred = Some(preferred.map_err(|_| RequestError::PreferredAlgorithms)?);
            }
            _ if extension.critical => return Err(RequestError::CriticalExtension),
            _ => {}
        }
        *earlier.get_mut(at).ok_or(RequestError::NotDer)? = Some(oid);
    }
    Ok(found)
}

/// The search for duplicates is quadratic, so an attacker must not choose the number.
const MAX_EXTENSIONS: usize = 32;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_extension_is_parsed_once_and_a_second_of_its_kind_is_found() {
        let oid = |last: u8| ObjectIdentifier::from_der(&[0x55, 0x1d, last]).unwrap();
        let parsed = |oids: &[u8]| {
            let count = Cell::new(0);
            let list = oids.iter().map(|last| {
                count.set(count.get() + 1);
                syntax::Extension { extn_id: oid(*last), critical: false, extn_value: b"" }
            });
            let outcome = extensions(Some(list), Level::Question).map(|_| ());
            (outcome, count.get())
        };
        let mut oids: Vec<u8> = (0..32).collect();
        assert_eq!(parsed(&oids), (Ok(()), 32));
        for first in 0..31 {
            oids[31] = first;
            assert_eq!(parsed(&oids), (Err(RequestError::DuplicateExtension), 32), "{first}");
        }
        assert_eq!(parsed(&[7, 7, 8]), (Err(RequestError::DuplicateExtension), 2));
        assert_eq!(parsed(&(0..33).collect::<Vec<_>>()).0, Err(RequestError::NotDer));
    }
}
