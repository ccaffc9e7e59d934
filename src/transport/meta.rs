//! CGI meta-variables (RFC 3875 section 4.1) to an HTTP request, for CGI and FastCGI.
//!
//! No I/O: variables and body come from the caller. What a web
//! server sets is trusted no more than what the client sent.

use crate::http::{Body, HttpRequest, decimal};

/// The variables that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'a> {
    method: &'a [u8],
    request_uri: &'a [u8],
    if_none_match: &'a [u8],
    content_length: Option<u64>,
}

/// The meta-variables that are read, as they came; empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variables<'a> {
    request_method: &'a [u8],
    request_uri: &'a [u8],
    content_length: &'a [u8],
    http_if_none_match: &'a [u8],
    script_name: &'a [u8],
    path_info: &'a [u8],
    query_string: &'a [u8],
}

impl<'a> Variables<'a> {
    /// Their names.
    pub const NAMES: [&'static str; 7] = [
        "REQUEST_METHOD",
        "REQUEST_URI",
        "CONTENT_LENGTH",
        "HTTP_IF_NONE_MATCH",
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
    ];

    /// REQUEST_METHOD.
    #[must_use]
    pub fn request_method(&self) -> &'a [u8] {
        self.request_method
    }

    /// Keeps a variable that matters, in place of an earlier one of its name; others
    /// are let pass.
    pub fn set(&mut self, name: &[u8], value: &'a [u8]) {
        let place = match name {
            b"REQUEST_METHOD" => &mut self.request_method,
            b"REQUEST_URI" => &mut self.request_uri,
            b"CONTENT_LENGTH" => &mut self.content_length,
            b"HTTP_IF_NONE_MATCH" => &mut self.http_if_none_match,
            b"SCRIPT_NAME" => &mut self.script_name,
            b"PATH_INFO" => &mut self.path_info,
            b"QUERY_STRING" => &mut self.query_string,
            _ => return,
        };
        *place = value;
    }
}

/// One walk over the variables: a web server sends two dozen.
impl<'a, N: AsRef<[u8]>> FromIterator<(N, &'a [u8])> for Variables<'a> {
    fn from_iter<I: IntoIterator<Item = (N, &'a [u8])>>(pairs: I) -> Self {
        let mut variables = Self::default();
        for (name, value) in pairs {
            variables.set(name.as_ref(), value);
        }
        variables
    }
}

/// Why the variables make no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Nobody that speaks CGI set them: a web server without its `fastcgi_params`,
    /// or a person at a shell.
    #[error(
        "REQUEST_METHOD is not set: it comes from the web server, by CGI or FastCGI \
         (nginx: include fastcgi_params)"
    )]
    NoMethod,
    /// Answered with 400.
    #[error("CONTENT_LENGTH is not a number")]
    ContentLength,
}

impl<'a> Meta<'a> {
    /// Reads the variables. `scratch` is used only where the web server sets no
    /// REQUEST_URI.
    ///
    /// # Errors
    ///
    /// [`MetaError::NoMethod`] without REQUEST_METHOD, [`MetaError::ContentLength`]
    /// where CONTENT_LENGTH is neither empty nor all digits.
    pub fn read(variables: &Variables<'a>, scratch: &'a mut Vec<u8>) -> Result<Self, MetaError> {
        // nginx passes every variable of its list, empty where it has no value.
        let method = Some(variables.request_method).filter(|method| !method.is_empty());
        let method = method.ok_or(MetaError::NoMethod)?;
        let content_length = content_length(variables.content_length)?;
        let if_none_match = variables.http_if_none_match;
        let mut request_uri = variables.request_uri;
        if request_uri.is_empty() {
            let path = [variables.script_name, variables.path_info];
            request_uri = assemble(path, variables.query_string, scratch);
        }
        Ok(Self { method, request_uri, if_none_match, content_length })
    }

    /// The method, as sent.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.method
    }

    /// Octets of the body, where the web server knows: not so for a chunked one
    /// under Apache. More than can be counted is `u64::MAX`.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The request whose body is `stdin`: what came on standard input up to its end,
    /// or as much of it as makes clear that it exceeds `limit`.
    #[must_use]
    pub fn request(&self, stdin: &'a [u8], limit: usize) -> HttpRequest<'a> {
        self.with_body(self.body(stdin, limit))
    }

    /// The request with a body that the caller has judged already.
    #[must_use]
    pub fn with_body(&self, body: Body<'a>) -> HttpRequest<'a> {
        let Self { method, request_uri, if_none_match, .. } = *self;
        HttpRequest { method, request_uri, body, if_none_match }
    }

    fn body(&self, stdin: &'a [u8], limit: usize) -> Body<'a> {
        // No more than CONTENT_LENGTH octets are the body (RFC 3875 section 4.2).
        let length =
            self.content_length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        match length.unwrap_or(stdin.len()) {
            length if length > limit => Body::TooLarge,
            length => stdin.get(..length).map_or(Body::Incomplete, Body::Whole),
        }
    }
}

fn content_length(text: &[u8]) -> Result<Option<u64>, MetaError> {
    if text.is_empty() {
        return Ok(None);
    }
    decimal(text).map(Some).ok_or(MetaError::ContentLength)
}

/// The request URI as far as it can be had from decoded variables (RFC 3875
/// section 4.1.5).
fn assemble<'a>(path: [&[u8]; 2], query: &[u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    for byte in path.into_iter().flatten() {
        // Decoded already: what would mean something once more is escaped again.
        match byte {
            b'%' => scratch.extend_from_slice(b"%25"),
            b'?' => scratch.extend_from_slice(b"%3F"),
            b'#' => scratch.extend_from_slice(b"%23"),
            _ => scratch.push(*byte),
        }
    }
    if !query.is_empty() {
        scratch.push(b'?');
        scratch.extend_from_slice(query);
    }
    scratch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn read<'a>(pairs: Pairs<'a>, scratch: &'a mut Vec<u8>) -> Result<Meta<'a>, MetaError> {
        let pairs = pairs.iter().map(|(name, value)| (name, value.as_bytes()));
        Meta::read(&pairs.collect(), scratch)
    }

    fn uri(variables: Pairs<'_>) -> String {
        let variables = [&[("REQUEST_METHOD", "GET")], variables].concat();
        let mut scratch = Vec::new();
        let meta = read(&variables, &mut scratch).unwrap();
        String::from_utf8(meta.request(b"", 9).request_uri.to_vec()).unwrap()
    }

    fn body(content_length: &str, stdin: &'static [u8]) -> Result<Body<'static>, MetaError> {
        let variables = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", content_length)];
        read(&variables, &mut Vec::new()).map(|meta| match meta.request(stdin, 5).body {
            Body::Whole(bytes) => Body::Whole(&stdin[..bytes.len()]),
            Body::Incomplete => Body::Incomplete,
            Body::TooLarge => Body::TooLarge,
        })
    }

    // rule: WEB-1
    #[test]
    fn the_raw_request_uri_is_preferred() {
        let raw = ("REQUEST_URI", "/ocsp/MHo%2Bw//x?y");
        assert_eq!(uri(&[raw, ("PATH_INFO", "/MHo+w/x")]), "/ocsp/MHo%2Bw//x?y");
    }

    #[test]
    fn of_two_variables_of_one_name_the_later_counts_and_each_name_has_a_place() {
        let mut variables = Variables::default();
        for value in [&b"earlier"[..], b"later"] {
            Variables::NAMES.iter().for_each(|name| variables.set(name.as_bytes(), value));
            variables.set(b"SERVER_NAME", b"other");
        }
        let text = format!("{variables:?}");
        let later = format!("{:?}", b"later");
        assert_eq!(text.matches(&later).count(), Variables::NAMES.len(), "{text}");
    }

    // rule: WEB-1
    #[test]
    fn without_it_the_decoded_parts_are_put_together() {
        let parts = [("REQUEST_URI", ""), ("SCRIPT_NAME", "/ocsp"), ("PATH_INFO", "/a%2B?#+b")];
        assert_eq!(uri(&parts), "/ocsp/a%252B%3F%23+b");
        assert_eq!(uri(&[("PATH_INFO", "/a"), ("QUERY_STRING", "b=c")]), "/a?b=c");
        assert_eq!(uri(&[]), "");
    }

    // rule: FCG-5
    #[test]
    fn content_length_says_how_much_of_stdin_is_the_body() {
        assert_eq!(body("3", b"abc"), Ok(Body::Whole(b"abc")));
        assert_eq!(body("2", b"abc"), Ok(Body::Whole(b"ab")));
        assert_eq!(body("", b"abc"), Ok(Body::Whole(b"abc")));
        assert_eq!(body("4", b"abc"), Ok(Body::Incomplete));
        assert_eq!(body("0", b""), Ok(Body::Whole(b"")));
    }

    // rule: WEB-5
    #[test]
    fn a_body_over_the_limit_is_told_by_its_length_alone() {
        assert_eq!(body("6", b""), Ok(Body::TooLarge));
        assert_eq!(body("", b"abcdef"), Ok(Body::TooLarge));
        assert_eq!(body("99999999999999999999999999", b"abc"), Ok(Body::TooLarge));
        assert_eq!(body("5", b"abcdef"), Ok(Body::Whole(b"abcde")));
    }

    #[test]
    fn a_content_length_that_is_no_number_is_an_error() {
        for text in ["-1", "+1", "1 ", "0x1", "1,1", "abc", "\u{661}"] {
            assert_eq!(body(text, b""), Err(MetaError::ContentLength), "{text}");
        }
    }

    #[test]
    fn a_missing_method_is_told_to_the_person_who_started_it() {
        for variables in [&[][..], &[("REQUEST_METHOD", "")]] {
            assert_eq!(read(variables, &mut Vec::new()).unwrap_err(), MetaError::NoMethod);
        }
        assert!(MetaError::NoMethod.to_string().starts_with("REQUEST_METHOD is not set"));
    }

    // rule: WEB-4
    #[test]
    fn if_none_match_is_passed_on() {
        let variables = [("REQUEST_METHOD", "GET"), ("HTTP_IF_NONE_MATCH", "\"x\"")];
        let mut scratch = Vec::new();
        let meta = read(&variables, &mut scratch).unwrap();
        assert_eq!(meta.with_body(Body::Whole(b"")).if_none_match, b"\"x\"");
    }

    proptest! {
        #[test]
        fn no_variables_panic(values in proptest::collection::vec(any::<Vec<u8>>(), 3), limit: u16) {
            let mut scratch = Vec::new();
            let value = |name: &str| values.get(name.len() % 5).map_or(&b""[..], Vec::as_slice);
            let variables = Variables::NAMES.iter().map(|name| (name, value(name))).collect();
            if let Ok(meta) = Meta::read(&variables, &mut scratch) {
                let _ = meta.request(b"0123456789", usize::from(limit));
            }
        }
    }
}
