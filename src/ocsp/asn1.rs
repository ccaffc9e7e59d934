//! The ASN.1 of RFC 6960 section 4 as declarations, in its order and names.
//!
//! What an answer repeats byte for byte, or what is checked by hand, is a `Tlv`.

#![expect(clippy::result_large_err, reason = "the size of the crate's ParseError is the crate's")]

use asn1::{
    Asn1Read, Asn1Write, BitString, Enumerated, ObjectIdentifier, SequenceOf, SequenceOfWriter,
    Tlv, X509GeneralizedTime,
};

/// id-pkix-ocsp-basic (section 4.2.1).
pub const ID_PKIX_OCSP_BASIC: ObjectIdentifier = asn1::oid!(1, 3, 6, 1, 5, 5, 7, 48, 1, 1);
/// id-pkix-ocsp-nonce (section 4.4.1).
pub const ID_PKIX_OCSP_NONCE: ObjectIdentifier = asn1::oid!(1, 3, 6, 1, 5, 5, 7, 48, 1, 2);
/// id-pkix-ocsp-response (section 4.4.3).
pub const ID_PKIX_OCSP_RESPONSE: ObjectIdentifier = asn1::oid!(1, 3, 6, 1, 5, 5, 7, 48, 1, 4);
/// id-pkix-ocsp-archive-cutoff (section 4.4.4).
pub const ID_PKIX_OCSP_ARCHIVE_CUTOFF: ObjectIdentifier = asn1::oid!(1, 3, 6, 1, 5, 5, 7, 48, 1, 6);
/// id-pkix-ocsp-pref-sig-algs (section 4.4.7).
pub const ID_PKIX_OCSP_PREF_SIG_ALGS: ObjectIdentifier = asn1::oid!(1, 3, 6, 1, 5, 5, 7, 48, 1, 8);
/// id-pkix-ocsp-extended-revoke (section 4.4.8).
pub const ID_PKIX_OCSP_EXTENDED_REVOKE: ObjectIdentifier =
    asn1::oid!(1, 3, 6, 1, 5, 5, 7, 48, 1, 9);

// 4.1.1 Request Syntax

/// OCSPRequest.
#[derive(Asn1Read)]
pub struct OcspRequest<'a> {
    /// The request proper.
    pub tbs_request: TbsRequest<'a>,
    /// A signature over it; not checked.
    #[explicit(0)]
    pub optional_signature: Option<Signature<'a>>,
}

/// TBSRequest.
#[derive(Asn1Read)]
pub struct TbsRequest<'a> {
    /// Not `DEFAULT`: v1 written out is tolerated, as some clients send it.
    #[explicit(0)]
    pub version: Option<u8>,
    /// GeneralName of the asker; not used.
    #[explicit(1)]
    pub requestor_name: Option<Tlv<'a>>,
    /// The questions.
    pub request_list: SequenceOf<'a, Request<'a>, 1>,
    /// Extensions of the request as a whole. Not `SIZE (1..MAX)`: BouncyCastle's
    /// PKIXRevocationChecker sends an empty list when it has none.
    #[explicit(2)]
    pub request_extensions: Option<SequenceOf<'a, Extension<'a>>>,
}

/// Signature.
#[derive(Asn1Read)]
pub struct Signature<'a> {
    /// AlgorithmIdentifier.
    pub signature_algorithm: AlgorithmIdentifier<'a>,
    /// The signature.
    pub signature: BitString<'a>,
    /// Certificates of the asker.
    #[explicit(0)]
    pub certs: Option<SequenceOf<'a, Tlv<'a>>>,
}

/// Request.
#[derive(Asn1Read)]
pub struct Request<'a> {
    /// CertID, kept as it came.
    pub req_cert: Tlv<'a>,
    /// Extensions of this question.
    #[explicit(0)]
    pub single_request_extensions: Option<SequenceOf<'a, Extension<'a>>>,
}

/// CertID.
#[derive(Asn1Read)]
pub struct CertId<'a> {
    /// The hash function of the next two.
    pub hash_algorithm: AlgorithmIdentifier<'a>,
    /// Hash of the issuer's name.
    pub issuer_name_hash: &'a [u8],
    /// Hash of the issuer's key.
    pub issuer_key_hash: &'a [u8],
    /// CertificateSerialNumber; any INTEGER, so that superfluous zeros can be tolerated.
    pub serial_number: Tlv<'a>,
}

/// CertID, for writing.
#[derive(Asn1Write)]
pub struct CertIdWriter<'a> {
    /// The hash function of the next two.
    pub hash_algorithm: AlgorithmIdentifier<'a>,
    /// Hash of the issuer's name.
    pub issuer_name_hash: &'a [u8],
    /// Hash of the issuer's key.
    pub issuer_key_hash: &'a [u8],
    /// CertificateSerialNumber.
    pub serial_number: asn1::BigUint<'a>,
}

/// AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
#[derive(Asn1Read, Asn1Write, Clone, PartialEq, Eq)]
pub struct AlgorithmIdentifier<'a> {
    /// Which algorithm.
    pub algorithm: ObjectIdentifier,
    /// ANY DEFINED BY it.
    pub parameters: Option<Tlv<'a>>,
}

/// Extension (RFC 5280 section 4.1).
#[derive(Asn1Read, Asn1Write, Clone)]
pub struct Extension<'a> {
    /// Which extension.
    pub extn_id: ObjectIdentifier,
    /// Whether one that does not know it must refuse.
    #[default(false)]
    pub critical: bool,
    /// DER of its value.
    pub extn_value: &'a [u8],
}

/// PreferredSignatureAlgorithm (section 4.4.7.1).
#[derive(Asn1Read)]
pub struct PreferredSignatureAlgorithm<'a> {
    /// AlgorithmIdentifier, kept as it came.
    pub sig_identifier: Tlv<'a>,
    /// SMIMECapability; not used, as each key here has one kind.
    pub cert_identifier: Option<Tlv<'a>>,
}

// 4.2.1 Response Syntax

/// OCSPResponse.
#[derive(Asn1Read, Asn1Write)]
pub struct OcspResponse<'a> {
    /// OCSPResponseStatus.
    pub response_status: Enumerated,
    /// Present with `successful` only.
    #[explicit(0)]
    pub response_bytes: Option<ResponseBytes<'a>>,
}

/// ResponseBytes.
#[derive(Asn1Read, Asn1Write)]
pub struct ResponseBytes<'a> {
    /// id-pkix-ocsp-basic.
    pub response_type: ObjectIdentifier,
    /// DER of a BasicOCSPResponse.
    pub response: &'a [u8],
}

/// BasicOCSPResponse.
#[derive(Asn1Read)]
pub struct BasicOcspResponse<'a> {
    /// ResponseData, kept as it came: it is what the signature is over.
    pub tbs_response_data: Tlv<'a>,
    /// AlgorithmIdentifier.
    pub signature_algorithm: Tlv<'a>,
    /// The signature.
    pub signature: BitString<'a>,
    /// The delegated signer's certificate.
    #[explicit(0)]
    pub certs: Option<SequenceOf<'a, Tlv<'a>>>,
}

/// BasicOCSPResponse, for writing.
#[derive(Asn1Write)]
pub struct BasicOcspResponseWriter<'a> {
    /// ResponseData.
    pub tbs_response_data: Tlv<'a>,
    /// AlgorithmIdentifier.
    pub signature_algorithm: Tlv<'a>,
    /// The signature.
    pub signature: BitString<'a>,
    /// The delegated signer's certificate.
    #[explicit(0)]
    pub certs: Option<SequenceOfWriter<'a, Tlv<'a>>>,
}

/// ResponseData, of our own answers in the cache and of those that others have signed.
#[derive(Asn1Read)]
pub struct ResponseData<'a> {
    /// v1 is the only version, and never written.
    #[explicit(0)]
    #[default(0u8)]
    pub version: u8,
    /// Who signed.
    pub responder_id: ResponderId<'a>,
    /// When.
    pub produced_at: X509GeneralizedTime,
    /// An answer for each question.
    pub responses: SequenceOf<'a, SingleResponse<'a>, 1>,
    /// Extensions of the response as a whole.
    #[explicit(1)]
    pub response_extensions: Option<SequenceOf<'a, Extension<'a>, 1>>,
}

/// ResponseData, for writing. The version is the default and so left out.
#[derive(Asn1Write)]
pub struct ResponseDataWriter<'a> {
    /// Who signed.
    pub responder_id: ResponderId<'a>,
    /// When.
    pub produced_at: X509GeneralizedTime,
    /// An answer for each question.
    pub responses: SequenceOfWriter<'a, SingleResponseWriter<'a>>,
    /// Extensions of the response as a whole.
    #[explicit(1)]
    pub response_extensions: Option<SequenceOfWriter<'a, Extension<'a>>>,
}

/// ResponderID.
#[derive(Asn1Read, Asn1Write, Clone, PartialEq, Eq)]
pub enum ResponderId<'a> {
    /// The signer's subject.
    #[explicit(1)]
    ByName(Tlv<'a>),
    /// SHA-1 of the signer's public key.
    #[explicit(2)]
    ByKey(&'a [u8]),
}

/// SingleResponse, for writing.
#[derive(Asn1Write)]
pub struct SingleResponseWriter<'a> {
    /// CertID of the question, repeated byte for byte.
    pub cert_id: Tlv<'a>,
    /// The answer.
    pub cert_status: CertStatus,
    /// The latest instant at which it was known to be correct.
    pub this_update: X509GeneralizedTime,
    /// The instant by which newer information will be available.
    #[explicit(0)]
    pub next_update: Option<X509GeneralizedTime>,
    /// Extensions of this answer.
    #[explicit(1)]
    pub single_extensions: Option<SequenceOfWriter<'a, Extension<'a>>>,
}

/// SingleResponse.
#[derive(Asn1Read)]
pub struct SingleResponse<'a> {
    /// CertID of the question, repeated byte for byte.
    pub cert_id: Tlv<'a>,
    /// The answer.
    pub cert_status: CertStatus,
    /// The latest instant at which it was known to be correct.
    pub this_update: X509GeneralizedTime,
    /// The instant by which newer information will be available.
    #[explicit(0)]
    pub next_update: Option<X509GeneralizedTime>,
    /// Extensions of this answer.
    #[explicit(1)]
    pub single_extensions: Option<SequenceOf<'a, Extension<'a>, 1>>,
}

/// CertStatus.
#[derive(Asn1Read, Asn1Write)]
pub enum CertStatus {
    /// Not revoked.
    #[implicit(0)]
    Good(()),
    /// Revoked.
    #[implicit(1)]
    Revoked(RevokedInfo),
    /// Not known.
    #[implicit(2)]
    Unknown(()),
}

/// RevokedInfo.
#[derive(Asn1Read, Asn1Write)]
pub struct RevokedInfo {
    /// When.
    pub revocation_time: X509GeneralizedTime,
    /// CRLReason.
    #[explicit(0)]
    pub revocation_reason: Option<Enumerated>,
}
