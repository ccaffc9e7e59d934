//! ocsp-fcgi: an OCSP responder behind nginx or Apache.
pub mod logging;
pub mod serial;
pub mod status;
pub mod time;

pub mod http;

pub mod store;

pub mod responder;

pub mod transport;

pub mod config;
