//! ocsp-fcgi: an OCSP responder behind nginx or Apache.
//!
//! A module uses only what stands above it here; those of layers 1, 2 and 4 leave
//! their neighbours alone too.

// 0  words: values that all layers share; no I/O but the log
pub mod digest;
pub mod hex;
pub mod logging;
pub mod serial;
pub mod status;
pub mod time;

// 1  protocols: octets to values and back; no I/O, no clock, no policy
pub mod http;
pub mod ocsp;

// 2  resources: keys, tables, files; the three do not know each other
pub mod cache;
pub mod signer;
pub mod store;

// 3  decision: a request to an answer
pub mod responder;
pub mod service;

// 4  transports: a connection to an exchange and back
pub mod transport;

// 5  composition
pub mod app;
pub mod config;
pub mod demo;
pub mod warming;

// 6  commands
pub mod cli;
