//! Connections to HTTP exchanges and back: what a web server or a client speaks.

use crate::http::HttpResponse;

pub mod cgi;
pub mod fastcgi;
pub mod front;
pub mod http1;
pub mod meta;

/// Appends a response as CGI and FastCGI have it: a `Status` field, header fields,
/// an empty line, the body (RFC 3875 section 6). `method` is that of the request.
pub fn write_cgi_response(response: &HttpResponse, method: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(b"Status: ");
    output.extend_from_slice(response.status.line().as_bytes());
    output.extend_from_slice(b"\r\n");
    response.write_fields(output);
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(response.content(method));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::caching::Caching;
    use crate::http::{Shared, Status};

    fn printed(response: &HttpResponse, method: &str) -> String {
        let mut output = Vec::new();
        write_cgi_response(response, method.as_bytes(), &mut output);
        String::from_utf8(output).unwrap()
    }

    // rule: FCG-5, WEB-2
    #[test]
    fn a_cgi_response_begins_with_its_status_and_ends_lines_with_crlf() {
        let answer = HttpResponse::ocsp(Shared::Static(b"0\x03\n\x01\x06"), Caching::NoStore);
        let head = "Status: 200 OK\r\nContent-Type: application/ocsp-response\r\n\
                    Content-Length: 5\r\nCache-Control: no-store\r\nX-Accel-Expires: 0\r\n\r\n";
        assert_eq!(printed(&answer, "POST"), format!("{head}0\x03\n\x01\x06"));
        assert_eq!(printed(&answer, "HEAD"), head);
    }

    // rule: WEB-4
    #[test]
    fn a_304_ends_with_its_head_and_states_no_length() {
        let mut answer = HttpResponse::ocsp(Shared::Static(b"0\x03\n\x01\x06"), Caching::NoStore);
        answer.status = Status::NotModified;
        let text = printed(&answer, "GET");
        assert!(text.starts_with("Status: 304 Not Modified\r\n") && text.ends_with("\r\n\r\n"));
        assert!(!text.contains("Content-Length"));
    }
}
