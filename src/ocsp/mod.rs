//! The OCSP codec: requests out of DER, answers into it (RFC 6960 section 4).
//!
//! Pure: no I/O, no clock, no policy, no key.

pub mod algorithm;
pub mod asn1;
pub mod cert_id;
mod extensions;
pub mod nonce;
pub mod request;
pub mod response;
mod usual;

pub use algorithm::SignatureAlgorithm;
pub use cert_id::{CertId, HashAlgorithm, IssuerHashes, Parameters, Spelling};
pub use nonce::Nonce;
pub use request::{Request, RequestError};
pub use response::{Answer, ErrorStatus, ResponderId, SingleAnswer};
