//! Requests of every kind, good and bad, and the answers of the real binary: read by
//! OpenSSL's client, by x509-ocsp, and octet by octet.

use std::fs;

use ocsp_fcgi::demo::{KeyKind, Purpose};
use openssl::x509::X509;

use crate::support::ocsp::{Answer, Request, children, raw_basic};
use crate::support::site::{Running, Site};

mod requests;
mod signatures;
mod statuses;

#[derive(Clone, Copy)]
enum Signs {
    Itself,
    ByDelegate,
}

/// A site that is served.
struct World {
    responder: Running,
    site: Site,
    signs: Signs,
}

impl World {
    fn new(kind: KeyKind) -> Self {
        Self::with(kind, "")
    }

    fn with(kind: KeyKind, more: &str) -> Self {
        let site = Site::with_certificates(kind);
        Self { responder: site.serve(more), site, signs: Signs::Itself }
    }

    fn signed(signs: Signs, more: &str) -> Self {
        let site = Site::with_certificates(KeyKind::P256);
        let port = crate::support::free_port();
        let (signer, key) = match signs {
            Signs::Itself => ("", "ca.key"),
            Signs::ByDelegate => {
                site.delegate(Purpose::OcspSigner);
                ("itsigner = \"signer.crt\"", "signer.key")
            }
        };
        let config = site.write_config(&configuration(port, signer, key, more));
        Self { responder: Running::start(&config, port), site, signs }
    }

    fn ca(&self) -> X509 {
        self.site.ca.identity.certificate.clone()
    }

    fn signer(&self) -> X509 {
        match self.signs {
            Signs::Itself => self.ca(),
            Signs::ByDelegate => {
                X509::from_pem(&fs::read(self.site.path("signer.crt")).unwrap()).unwrap()
            }
        }
    }

    /// notAfter of the signer, in seconds since the epoch.
    fn not_after(&self) -> i64 {
        let epoch = openssl::asn1::Asn1Time::from_unix(0).unwrap();
        let since = epoch.diff(self.signer().not_after()).unwrap();
        i64::from(since.days) * 86_400 + i64::from(since.secs)
    }

    fn about(&self, serial: &str) -> Request {
        self.site.about(serial)
    }

    fn post(&self, request: &Request) -> Vec<u8> {
        self.responder.post(&request.der())
    }

    #[track_caller]
    fn ask(&self, request: &Request) -> Answer {
        Answer::read(&self.post(request))
    }

    fn sql(&self, statement: &str) {
        let connection = rusqlite::Connection::open(self.site.path("certs.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection.execute_batch(statement).unwrap();
    }

    /// The same table as other programs make it: anything goes in.
    fn without_checks(&self) {
        self.sql(
            "CREATE TABLE free (cert_num TEXT PRIMARY KEY, revocation_time, revocation_reason, \
             cert, status); INSERT INTO free SELECT cert_num, revocation_time, revocation_reason, \
             cert, status FROM list_certs; DROP TABLE list_certs; \
             ALTER TABLE free RENAME TO list_certs",
        );
    }
}

/// Without `cachedays`, so that `more` may say `validity`.
fn configuration(port: u16, signer: &str, key: &str, more: &str) -> String {
    format!(
        "port = {port}\nitcert = \"ca.crt\"\n{signer}\nitkey = \"{key}\"\n\
         cachefolder = \"cache\"\n{more}[database]\nsqlite = \"certs.db\"\n"
    )
}

/// The parts of ResponseData.
fn data(der: &[u8]) -> Vec<Vec<u8>> {
    children(children(&raw_basic(der))[0]).into_iter().map(<[u8]>::to_vec).collect()
}
