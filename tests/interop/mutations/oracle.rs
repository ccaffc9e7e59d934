//! Which octets are a request that the responder has to understand: x509-ocsp's
//! word, and the rules of the protocol on top of it.
//!
//! x509-ocsp knows less than the responder takes; what it would refuse for that alone
//! is put away before it reads (`without_leniencies`).

use der::asn1::{ObjectIdentifier, OctetString};
use der::{Decode, Encode};
use x509_ocsp::{CertId, OcspRequest, Request};

use super::der_tree::Node;

use x509_cert::ext::Extension;

/// What a request about foreign issuers is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unauthorized,
    Malformed,
}

pub fn verdict(der: &[u8]) -> Verdict {
    if is_request(der).is_some() { Verdict::Unauthorized } else { Verdict::Malformed }
}

fn is_request(der: &[u8]) -> Option<()> {
    let mut tree = Node::of(der)?;
    bits_are_zero(&tree).then_some(())?;
    without_leniencies(&mut tree);
    let der = tree.der();
    let request = OcspRequest::from_der(&der).ok()?;
    (request.to_der().ok()? == der).then_some(())?;
    let tbs_request = &request.tbs_request;
    (!tbs_request.request_list.is_empty()).then_some(())?;
    extensions(tbs_request.request_extensions.as_deref(), KNOWN)?;
    tbs_request.request_list.iter().try_for_each(question)
}

fn question(request: &Request) -> Option<()> {
    let CertId { hash_algorithm, serial_number, .. } = &request.req_cert;
    serial_number.as_bytes().first().is_some_and(|first| *first < 0x80).then_some(())?;
    // REQ-3: NULL or nothing.
    if HASHES.contains(&hash_algorithm.oid.to_string().as_str()) {
        let parameters = hash_algorithm.parameters.as_ref().map(|any| any.to_der().unwrap());
        matches!(parameters.as_deref(), None | Some([5, 0])).then_some(())?;
    }
    extensions(request.single_request_extensions.as_deref(), &[])
}

fn extensions(list: Option<&[Extension]>, known: &[&str]) -> Option<()> {
    let list = list.unwrap_or_default();
    for (at, extension) in list.iter().enumerate() {
        let id = extension.extn_id;
        let is_twice = list[..at].iter().any(|other| other.extn_id == id);
        let is_known = known.contains(&id.to_string().as_str());
        (!is_twice && (is_known || !extension.critical)).then_some(())?;
        if is_known && id.to_string() == NONCE {
            let nonce = OctetString::from_der(extension.extn_value.as_bytes()).ok()?;
            (1..=128).contains(&nonce.as_bytes().len()).then_some(())?;
        }
    }
    Some(())
}

/// Takes out what the rules allow, or the responder does not look at, and x509-ocsp
/// does not take.
fn without_leniencies(request: &mut Node) {
    rewrite_oids(request);
    let Some([tbs_request, rest @ ..]) = children(request) else { return };
    // REQ-7: the asker's certificates are not looked at.
    if let [signature] = rest
        && let Some([signature]) = children(signature)
        && let Node::Branch(_, parts) = signature
        && let [_, _, Node::Branch(0xa0, certs)] = &parts[..]
        && matches!(&certs[..], [Node::Branch(0x30, _)])
    {
        parts.truncate(2);
    }
    let Node::Branch(0x30, parts) = tbs_request else { return };
    // REQ-1: the version may be written out.
    if matches!(&parts[..], [Node::Branch(0xa0, version), ..]
        if matches!(&version[..], [Node::Leaf(2, number)] if number == &[0]))
    {
        parts.remove(0);
    }
    // The name of the asker is not looked at.
    if matches!(&parts[..], [Node::Branch(0xa1, name), Node::Branch(0x30, _), ..] if name.len() == 1)
    {
        parts.remove(0);
    }
    let Some(list) = parts.first_mut().and_then(children) else { return };
    for question in list {
        if let Some([cert_id, ..]) = children(question)
            && let Some([_, _, _, Node::Leaf(2, serial)]) = children(cert_id)
        {
            shorten(serial);
            forget_parameters(&mut children(cert_id).unwrap()[0]);
        }
    }
}

/// Whether the unused bits of the signature are (X.690 section 11.2.1), which
/// x509-ocsp does not look at.
fn bits_are_zero(request: &Node) -> bool {
    let signature = request.child(1).and_then(|signature| signature.child(0)?.child(1));
    match signature {
        Some(Node::Leaf(3, content)) => match &content[..] {
            [unused @ 0..8, .., last] => last & !(0xff << unused) == 0,
            _ => true,
        },
        _ => true,
    }
}

fn children(node: &mut Node) -> Option<&mut [Node]> {
    match node {
        Node::Branch(_, children) => Some(children),
        Node::Leaf(..) => None,
    }
}

/// REQ-5: superfluous zeros, and up to 32 octets.
fn shorten(serial: &mut Vec<u8>) {
    let zeros = serial.iter().take_while(|octet| **octet == 0).count();
    let magnitude = serial.len() - zeros;
    if serial.len() > 33 || magnitude > 32 || serial.first().is_none_or(|first| *first >= 0x80) {
        return;
    }
    serial.drain(..serial.len() - magnitude.min(19));
    if serial.first().is_none_or(|first| *first >= 0x80) {
        serial.insert(0, 0);
    }
}

/// Those of a hash function that is not known are not looked at.
fn forget_parameters(hash_algorithm: &mut Node) {
    if let Node::Branch(0x30, parts) = hash_algorithm
        && let [Node::Leaf(6, oid), _] = &parts[..]
        && ObjectIdentifier::from_bytes(oid)
            .is_ok_and(|oid| !HASHES.contains(&oid.to_string().as_str()))
    {
        parts.truncate(1);
    }
}

/// It has no OIDs whose first two arcs take more than one octet: they get a known start.
fn rewrite_oids(node: &mut Node) {
    match node {
        Node::Leaf(6, oid) if oid.first().is_some_and(|first| *first > 0x80) => oid.insert(0, 0x2a),
        Node::Leaf(..) => {}
        Node::Branch(_, children) => children.iter_mut().for_each(rewrite_oids),
    }
}

const HASHES: &[&str] = &[
    "1.3.14.3.2.26",
    "2.16.840.1.101.3.4.2.1",
    "2.16.840.1.101.3.4.2.2",
    "2.16.840.1.101.3.4.2.3",
];
const NONCE: &str = "1.3.6.1.5.5.7.48.1.2";
/// Nonce, acceptable responses, preferred signature algorithms.
const KNOWN: &[&str] = &[NONCE, "1.3.6.1.5.5.7.48.1.4", "1.3.6.1.5.5.7.48.1.8"];
