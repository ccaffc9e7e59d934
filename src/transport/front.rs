//! Both tongues on one listener: FastCGI begins with its version, the octet 1,
//! HTTP with a letter.

use std::sync::Arc;

use fastcgi::connection::{Connection, Limits};
use fastcgi::record::FCGI_VERSION_1;
use fastcgi::server::{Activity, Advance, Protocol, Session};

use super::fastcgi::FastCgiExchange;
use super::http1::{Http1, Http1Session};
use crate::http::Exchange;
use crate::time::Clock;

/// What answers on every listener.
pub struct Front {
    fastcgi: Arc<FastCgiExchange>,
    limits: Limits,
    http: Http1,
}

/// A connection, in the tongue of its first octet.
pub enum FrontSession {
    /// A web server's.
    FastCgi(Connection<FastCgiExchange>),
    /// A client's own.
    Http(Http1Session),
}

impl Front {
    /// Hands every request to `handler`; `clock` gives HTTP its `Date`.
    #[must_use]
    pub fn new(handler: Arc<dyn Exchange>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        let fastcgi = Arc::new(FastCgiExchange::new(Arc::clone(&handler), limits.stdin_bytes));
        Self { fastcgi, limits, http: Http1::new(handler, clock, limits.stdin_bytes) }
    }
}

impl Protocol for Front {
    type Session = FrontSession;

    fn open(&self, first_octet: u8) -> FrontSession {
        if first_octet == FCGI_VERSION_1 {
            FrontSession::FastCgi(Connection::new(Arc::clone(&self.fastcgi), self.limits))
        } else {
            FrontSession::Http(self.http.session())
        }
    }
}

impl Session for FrontSession {
    fn advance(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        before_waiting: &dyn Fn(),
    ) -> Advance {
        match self {
            Self::FastCgi(connection) => connection.advance(input, output, before_waiting),
            Self::Http(connection) => connection.advance(input, output, before_waiting),
        }
    }

    fn activity(&self) -> Activity {
        match self {
            Self::FastCgi(connection) => connection.activity(),
            Self::Http(connection) => connection.activity(),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::FastCgi(connection) => connection.held(),
            Self::Http(connection) => connection.held(),
        }
    }
}
