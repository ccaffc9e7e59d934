//! Serves FastCGI requests: meta-variables and stdin in, stdout out.

use std::cell::RefCell;
use std::sync::Arc;

use fastcgi::connection::{Application, Request, Stdin};
use fastcgi::record::Stdout;
use trouble::Trouble;

use super::meta::{Meta, MetaError};
use super::write_cgi_response;
use crate::http::{Body, Exchange, HttpResponse, Status};

/// The exchange behind a FastCGI connection.
pub struct FastCgiExchange {
    handler: Arc<dyn Exchange>,
    body_limit: usize,
    no_method: Trouble,
}

impl FastCgiExchange {
    /// Hands requests of at most `body_limit` octets to `handler`.
    #[must_use]
    pub fn new(handler: Arc<dyn Exchange>, body_limit: usize) -> Self {
        Self { handler, body_limit, no_method: Trouble::new(log::Level::Warn) }
    }
}

impl Application for FastCgiExchange {
    fn respond(&self, request: &Request<'_>, stdout: &mut Stdout<'_>, before_waiting: &dyn Fn()) {
        BUFFERS.with_borrow_mut(|(uri, output)| {
            output.clear();
            match Meta::read(&request.params.iter().collect(), uri) {
                Ok(meta) => {
                    let request = match request.stdin {
                        Stdin::Whole(stdin) => meta.request(stdin, self.body_limit),
                        Stdin::TooLarge => meta.with_body(Body::TooLarge),
                    };
                    let response = self.handler.handle(&request, before_waiting);
                    write_cgi_response(&response, meta.method(), output);
                }
                Err(error) => {
                    if error == MetaError::NoMethod {
                        let what = format_args!("not a request of a web server: error={error}");
                        self.no_method.begin(what);
                    }
                    let refusal = HttpResponse::refusal(Status::BadRequest);
                    write_cgi_response(&refusal, b"", output);
                }
            }
            stdout.extend_from_slice(output);
        });
    }
}

thread_local! {
    /// A URI put together from its parts, and the response: kept from one request
    /// to the next.
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}
