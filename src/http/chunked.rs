//! The chunked transfer coding (RFC 9112 section 7.1), receiving side.
//!
//! Pure: takes octets as they come and appends the data to a buffer. Extensions and
//! trailers are skipped. The input is untrusted; lines end with CRLF and nothing
//! else, because proxies differ about a bare LF here.

/// Where a chunked body stands.
#[derive(Debug)]
pub struct Chunked {
    limit: usize,
    next: Next,
}

/// What [`Chunked::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More octets are needed.
    More,
    /// The body is whole, its trailers are read.
    Done,
    /// The body would exceed the limit.
    TooLarge,
    /// This is not the chunked coding.
    Malformed,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Size,
    Data { remaining: usize },
    DataEnd,
    Trailers,
}

impl Chunked {
    /// Begins a body of at most `limit` octets.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, next: Next::Size }
    }

    /// Takes what can be taken off `input` and appends the data in it to `body`,
    /// which is empty at the first call. How much was taken does not depend on how
    /// the input was cut; a line that is not whole stays.
    pub fn advance(&mut self, input: &mut &[u8], body: &mut Vec<u8>) -> Progress {
        loop {
            let step = match self.next {
                Next::Size => self.size(input, body.len()),
                Next::Data { remaining } => self.data(remaining, input, body),
                Next::DataEnd => self.data_end(input),
                Next::Trailers => trailers(input),
            };
            if let Err(progress) = step {
                return progress;
            }
        }
    }

    fn size(&mut self, input: &mut &[u8], received: usize) -> Result<(), Progress> {
        let line = input.get(..LINE_LIMIT).unwrap_or(input);
        // httparse takes an empty size for 0, and a bare LF as part of an extension.
        if line.first().is_some_and(|digit| !digit.is_ascii_hexdigit()) {
            return Err(Progress::Malformed);
        }
        let (length, size) = match httparse::parse_chunk_size(line) {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) if line.len() < LINE_LIMIT => return Err(Progress::More),
            _ => return Err(Progress::Malformed),
        };
        let (line, rest) = input.split_at_checked(length).ok_or(Progress::Malformed)?;
        if line.iter().filter(|&&byte| byte == b'\n').count() != 1 {
            return Err(Progress::Malformed);
        }
        let size = usize::try_from(size).map_err(|_| Progress::TooLarge)?;
        if size > self.limit.saturating_sub(received) {
            return Err(Progress::TooLarge);
        }
        *input = rest;
        self.next = if size == 0 { Next::Trailers } else { Next::Data { remaining: size } };
        Ok(())
    }

    fn data(
        &mut self,
        remaining: usize,
        input: &mut &[u8],
        body: &mut Vec<u8>,
    ) -> Result<(), Progress> {
        let (data, rest) = input.split_at_checked(remaining).unwrap_or((input, b""));
        body.extend_from_slice(data);
        *input = rest;
        let remaining = remaining - data.len();
        if remaining > 0 {
            self.next = Next::Data { remaining };
            return Err(Progress::More);
        }
        self.next = Next::DataEnd;
        Ok(())
    }

    fn data_end(&mut self, input: &mut &[u8]) -> Result<(), Progress> {
        match **input {
            [b'\r', b'\n', ..] => {
                *input = input.get(2..).unwrap_or_default();
                self.next = Next::Size;
                Ok(())
            }
            [] | [b'\r'] => Err(Progress::More),
            _ => Err(Progress::Malformed),
        }
    }
}

/// Skips the trailer fields and the empty line behind them.
fn trailers(input: &mut &[u8]) -> Result<(), Progress> {
    let section = input.get(..TRAILERS_LIMIT).unwrap_or(input);
    let mut fields = [httparse::EMPTY_HEADER; 16];
    match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => {
            // The parser takes an LF alone for the end of a line.
            let lines =
                section.get(..length).unwrap_or_default().split_inclusive(|it| *it == b'\n');
            if !lines.into_iter().all(|line| line.ends_with(b"\r\n")) {
                return Err(Progress::Malformed);
            }
            *input = input.get(length..).unwrap_or_default();
            Err(Progress::Done)
        }
        Ok(httparse::Status::Partial) if section.len() < TRAILERS_LIMIT => Err(Progress::More),
        _ => Err(Progress::Malformed),
    }
}

/// Octets of a chunk's first line with its extensions.
const LINE_LIMIT: usize = 1024;

/// Octets of all trailer fields.
const TRAILERS_LIMIT: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `input` in pieces that end at `cuts`.
    fn feed(input: &[u8], cuts: &[usize]) -> (Progress, Vec<u8>, usize) {
        let (mut body, mut taken) = (Vec::new(), 0);
        let mut chunked = Chunked::new(20);
        for &end in cuts.iter().chain([&input.len()]) {
            let mut rest = &input[taken..end.max(taken)];
            let progress = chunked.advance(&mut rest, &mut body);
            taken = end.max(taken) - rest.len();
            if progress != Progress::More {
                return (progress, body, taken);
            }
        }
        (Progress::More, body, taken)
    }

    // rule: WEB-5
    #[test]
    fn chunks_are_put_together_wherever_the_input_is_cut() {
        let input = b"5;name=\"v\"\r\nhello\r\n00A \r\n, world 12\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        for cut in 0..input.len() {
            let (progress, body, taken) = feed(input, &[cut]);
            assert_eq!((progress, &body[..]), (Progress::Done, &b"hello, world 12"[..]), "{cut}");
            assert_eq!(&input[taken..], b"NEXT");
        }
    }

    // rule: WEB-5
    #[test]
    fn a_body_over_the_limit_is_told_before_it_is_read() {
        assert_eq!(feed(b"15\r\n", &[]).0, Progress::TooLarge);
        assert_eq!(feed(b"14\r\n", &[]).0, Progress::More);
        assert_eq!(feed(b"1\r\nx\r\n14\r\n", &[]).0, Progress::TooLarge);
        assert_eq!(feed(b"ffffffffffffffff\r\n", &[]).0, Progress::TooLarge);
    }

    #[test]
    fn what_is_not_the_coding_is_malformed() {
        let endless = format!("1;{}", "x".repeat(LINE_LIMIT));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(TRAILERS_LIMIT));
        for input in [
            "\r\n",
            ";\r\n",
            "x\r\n",
            "-1\r\n",
            "1\nx",
            "1;\n\r\nx",
            "1\r\nxy",
            "1\r\nx\n",
            "0x1\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\n",
            "0\r\nA: b\n\r\n",
            &endless,
            &trailers,
        ] {
            assert_eq!(feed(input.as_bytes(), &[]).0, Progress::Malformed, "{input:.20}");
        }
    }

    proptest! {
        #[test]
        fn pieces_and_the_whole_come_to_the_same(
            input in "([0-9a-f]{1,2}(;[a-z\n]{0,3})?\r\n[a-z]{0,12}\r?\n){0,4}(0\r\n)?(T: x\r?\n)?\r?\n",
            mut cuts in proptest::collection::vec(0..60usize, 0..6),
        ) {
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(input.len()));
            cuts.sort_unstable();
            prop_assert_eq!(feed(input.as_bytes(), &cuts), feed(input.as_bytes(), &[]));
        }
    }
}
