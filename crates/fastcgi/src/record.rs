//! FastCGI 1.0 records: octets to records and back (specification sections 3.3, 4, 5 and 8).
//!
//! Pure: no I/O, no state of a connection. The input is untrusted: lengths are
//! checked, nothing is allocated for them. What a record means is for `connection`.

use std::ops::Range;

/// The only version there is (section 8).
pub const FCGI_VERSION_1: u8 = 1;
/// Octets of a record's header (section 8).
pub const FCGI_HEADER_LEN: usize = 8;
/// The longest content of a record, in octets (section 8).
pub const FCGI_MAX_LENGTH: usize = 0xffff;
/// The request id of management records (section 3.3).
pub const FCGI_NULL_REQUEST_ID: u16 = 0;

/// A request begins (section 5.1).
pub const FCGI_BEGIN_REQUEST: u8 = 1;
/// The web server gives a request up (section 5.4).
pub const FCGI_ABORT_REQUEST: u8 = 2;
/// A request is over (section 5.5).
pub const FCGI_END_REQUEST: u8 = 3;
/// Name-value pairs of a request (section 5.2).
pub const FCGI_PARAMS: u8 = 4;
/// The body of a request (section 5.3).
pub const FCGI_STDIN: u8 = 5;
/// The answer (section 5.3).
pub const FCGI_STDOUT: u8 = 6;
/// Error text for the web server's log (section 5.3); never sent.
pub const FCGI_STDERR: u8 = 7;
/// A second body, for filters (section 5.3); ignored.
pub const FCGI_DATA: u8 = 8;
/// The web server asks for variables (section 4.1).
pub const FCGI_GET_VALUES: u8 = 9;
/// The answer to [`FCGI_GET_VALUES`].
pub const FCGI_GET_VALUES_RESULT: u8 = 10;
/// The answer to a management record of a type not known (section 4.2).
pub const FCGI_UNKNOWN_TYPE: u8 = 11;

/// Flag of [`FCGI_BEGIN_REQUEST`]: the connection stays after the answer (section 5.1).
pub const FCGI_KEEP_CONN: u8 = 1;
/// The role that answers an HTTP request (section 6.2).
pub const FCGI_RESPONDER: u16 = 1;
/// A role not offered (section 6.3).
pub const FCGI_AUTHORIZER: u16 = 2;
/// A role not offered (section 6.4).
pub const FCGI_FILTER: u16 = 3;

/// Variable of [`FCGI_GET_VALUES`]: how many connections are accepted at once.
pub const FCGI_MAX_CONNS: &[u8] = b"FCGI_MAX_CONNS";
/// Variable of [`FCGI_GET_VALUES`]: how many requests are served at once.
pub const FCGI_MAX_REQS: &[u8] = b"FCGI_MAX_REQS";
/// Variable of [`FCGI_GET_VALUES`]: whether a connection carries several requests at once.
pub const FCGI_MPXS_CONNS: &[u8] = b"FCGI_MPXS_CONNS";

/// How a request ended, as far as the protocol is concerned (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProtocolStatus {
    /// `FCGI_REQUEST_COMPLETE`: the normal end.
    RequestComplete = 0,
    /// `FCGI_CANT_MPX_CONN`: one request at a time on a connection.
    CantMpxConn = 1,
    /// `FCGI_OVERLOADED`: the request asks for more than there is.
    Overloaded = 2,
    /// `FCGI_UNKNOWN_ROLE`: only responders here.
    UnknownRole = 3,
}

/// One record of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// One of the types above, or any other.
    pub record_type: u8,
    /// The request it belongs to.
    pub request_id: u16,
    /// Its content, without the padding.
    pub content: &'a [u8],
    /// Octets of header, content and padding.
    pub len: usize,
}

/// Why octets are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another protocol, or none.
    #[error("FastCGI version {0}, must be {FCGI_VERSION_1}")]
    Version(u8),
}

/// Takes one record off `input`; `None` until it is whole.
///
/// # Errors
///
/// [`RecordError::Version`] as soon as the first octet is there and wrong.
pub fn split(input: &[u8]) -> Result<Option<Record<'_>>, RecordError> {
    match input.first() {
        None => return Ok(None),
        Some(&FCGI_VERSION_1) => {}
        Some(&version) => return Err(RecordError::Version(version)),
    }
    let Some((header, rest)) = input.split_first_chunk::<FCGI_HEADER_LEN>() else {
        return Ok(None);
    };
    let [_, record_type, id_1, id_0, length_1, length_0, padding, _] = *header;
    let length = usize::from(u16::from_be_bytes([length_1, length_0]));
    let padded = length + usize::from(padding);
    let (Some(content), true) = (rest.get(..length), rest.len() >= padded) else {
        return Ok(None);
    };
    let request_id = u16::from_be_bytes([id_1, id_0]);
    Ok(Some(Record { record_type, request_id, content, len: FCGI_HEADER_LEN + padded }))
}

/// Appends the end of a request (section 5.5).
pub fn push_end_request(output: &mut Vec<u8>, request_id: u16, status: ProtocolStatus) {
    push_header(output, FCGI_END_REQUEST, request_id, 8);
    // appStatus 0: what a CGI program's exit code would be.
    output.extend_from_slice(&[0, 0, 0, 0, status as u8, 0, 0, 0]);
}

/// Appends the answer to a management record of a type not known (section 4.2).
pub fn push_unknown_type(output: &mut Vec<u8>, record_type: u8) {
    push_header(output, FCGI_UNKNOWN_TYPE, FCGI_NULL_REQUEST_ID, 8);
    output.extend_from_slice(&[record_type, 0, 0, 0, 0, 0, 0, 0]);
}

/// Appends the answer to a question for variables (section 4.1): names, each with its number.
pub fn push_get_values_result<'n>(
    output: &mut Vec<u8>,
    values: impl Iterator<Item = (&'n [u8], usize)>,
) {
    let record = open(output, FCGI_GET_VALUES_RESULT, FCGI_NULL_REQUEST_ID);
    for (name, number) in values {
        let value = number.to_string();
        // Our own names and decimal numbers: always below the 128 octets of a short length.
        if let (Ok(name_len @ ..128), Ok(value_len @ ..128)) =
            (u8::try_from(name.len()), u8::try_from(value.len()))
        {
            output.extend_from_slice(&[name_len, value_len]);
            output.extend_from_slice(name);
            output.extend_from_slice(value.as_bytes());
        }
    }
    close(output, &record);
}

/// The answer to one request: what is written becomes STDOUT records.
///
/// It goes straight into the connection's output, so that a whole answer is one
/// write to the socket. Writing never fails.
#[derive(Debug)]
pub struct Stdout<'a> {
    output: &'a mut Vec<u8>,
    request_id: u16,
    record: Range<usize>,
}

impl<'a> Stdout<'a> {
    /// The answer to request `request_id`, appended to `output`.
    pub fn new(output: &'a mut Vec<u8>, request_id: u16) -> Self {
        let record = open(output, FCGI_STDOUT, request_id);
        Self { output, request_id, record }
    }

    /// Appends octets of the answer.
    pub fn extend_from_slice(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let content = self.output.len().saturating_sub(self.record.end);
            let room = STDOUT_LENGTH.saturating_sub(content);
            if room == 0 {
                close(self.output, &self.record);
                self.record = open(self.output, FCGI_STDOUT, self.request_id);
                continue;
            }
            let (now, later) = octets.split_at(room.min(octets.len()));
            self.output.extend_from_slice(now);
            octets = later;
        }
    }

    /// Ends the answer and the request.
    pub fn finish(self) {
        if self.output.len() > self.record.end {
            close(self.output, &self.record);
            push_header(self.output, FCGI_STDOUT, self.request_id, 0);
        } // else: the record just begun is the empty one that ends the stream.
        push_end_request(self.output, self.request_id, ProtocolStatus::RequestComplete);
    }
}

/// Begins a record whose length is not known yet; gives where its header lies.
fn open(output: &mut Vec<u8>, record_type: u8, request_id: u16) -> Range<usize> {
    let start = output.len();
    push_header(output, record_type, request_id, 0);
    start..output.len()
}

/// Ends the record begun at `header`: writes its length and padding.
fn close(output: &mut Vec<u8>, header: &Range<usize>) {
    let length = output.len().saturating_sub(header.end);
    let padding = length.wrapping_neg() % ALIGNMENT;
    output.resize(output.len() + padding, 0);
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let padding = u8::try_from(padding).unwrap_or(0);
    let header = output.get_mut(header.clone()).and_then(<[u8]>::first_chunk_mut);
    if let Some([_, _, _, _, length_1, length_0, padding_length, _]) = header {
        [*length_1, *length_0] = length;
        *padding_length = padding;
    }
}

fn push_header(output: &mut Vec<u8>, record_type: u8, request_id: u16, length: u8) {
    let [id_1, id_0] = request_id.to_be_bytes();
    output.extend_from_slice(&[FCGI_VERSION_1, record_type, id_1, id_0, 0, length, 0, 0]);
}

/// Records begin at multiples of this (section 3.3 recommends it).
const ALIGNMENT: usize = 8;
/// The longest content that needs no padding.
const STDOUT_LENGTH: usize = FCGI_MAX_LENGTH - FCGI_MAX_LENGTH % ALIGNMENT;

#[cfg(test)]
mod tests {
    use super::*;

    fn records(mut output: &[u8]) -> Vec<Record<'_>> {
        let mut records = Vec::new();
        while let Some(record) = split(output).expect("a record") {
            output = &output[record.len..];
            records.push(record);
        }
        assert!(output.is_empty(), "{} octets left", output.len());
        records
    }

    // rule: FCG-1
    #[test]
    fn a_record_is_none_until_its_padding_is_there() {
        let whole = [1, 5, 1, 2, 0, 2, 3, 0, b'h', b'i', 9, 9, 9];
        for end in 0..whole.len() {
            assert_eq!(split(&whole[..end]), Ok(None), "{end} octets");
        }
        let record = Record { record_type: 5, request_id: 0x102, content: b"hi", len: 13 };
        assert_eq!(split(&whole), Ok(Some(record)));
    }

    // rule: FCG-2
    #[test]
    fn a_wrong_version_is_told_by_its_first_octet() {
        assert_eq!(split(&[0]), Err(RecordError::Version(0)));
        assert_eq!(split(b"GET / HTTP/1.1"), Err(RecordError::Version(b'G')));
    }

    #[test]
    fn an_empty_answer_is_the_end_of_stdout_and_of_the_request() {
        let mut output = Vec::new();
        Stdout::new(&mut output, 7).finish();
        let types: Vec<_> = records(&output).iter().map(|r| (r.record_type, r.len)).collect();
        assert_eq!(types, [(FCGI_STDOUT, 8), (FCGI_END_REQUEST, 16)]);
    }

    #[test]
    fn an_answer_of_any_length_comes_back_whole_and_aligned() {
        for length in [1, 7, 8, 9, 65_527, 65_528, 65_529, 65_535, 65_536, 200_000] {
            let octets: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut output = b"before  ".to_vec();
            let mut stdout = Stdout::new(&mut output, 0xfffe);
            let (first, second) = octets.split_at(length / 3);
            stdout.extend_from_slice(first);
            stdout.extend_from_slice(second);
            stdout.finish();

            assert_eq!(output.len() % ALIGNMENT, 0);
            let records = records(&output[8..]);
            assert!(records.iter().all(|record| record.request_id == 0xfffe));
            let content: Vec<u8> = records[..records.len() - 1]
                .iter()
                .inspect(|record| assert_eq!(record.record_type, FCGI_STDOUT))
                .flat_map(|record| record.content)
                .copied()
                .collect();
            assert!(content == octets, "{length} octets");
            assert_eq!(records[records.len() - 2].content, b"");
            assert_eq!(records[records.len() - 1].record_type, FCGI_END_REQUEST);
        }
    }
}
