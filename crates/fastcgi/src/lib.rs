//! FastCGI 1.0, the application side.

pub mod server;
