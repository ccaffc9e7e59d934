//! The OCSP request in the URL of a GET (RFC 6960 appendix A.1, RFC 9919 section 6).
//!
//! Pure: no I/O, no policy, and no ASN.1 beyond the length of the outermost
//! SEQUENCE. The input is untrusted.

use std::ops::{ControlFlow, Range};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::uri::{path, percent_decode};

/// What the URL of a GET holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetRequest<'s> {
    /// The reading that was accepted, or else the first that is Base64 of a
    /// SEQUENCE of exactly the length that it states.
    Der(&'s [u8]),
    /// Something that begins like a request, and is none.
    Malformed,
    /// Nothing that looks like a request.
    Absent,
}

/// Finds the Base64 of a request in a raw request URI, absolute or not.
///
/// The Base64 begins with `M` after a slash and goes on to the end of the path;
/// where a prefix looks the same, each such place is tried, the leftmost first.
/// Percent-escapes are decoded once. Both alphabets may be mixed, padding may be
/// left out. Everything else is strict: no blanks, nothing after the padding,
/// unused bits zero, so that a text has one meaning. One repair is made: where a
/// server merged `//` and the length in the DER says that up to two characters are
/// missing, slashes are doubled until `accept` takes the outcome. Two slashes inside
/// one field (a serial number, a nonce) leave a doubt that no length settles; a client
/// that is misread sees a foreign CertID or nonce in its answer.
///
/// `accept` says whether a reading is a request that this responder can answer:
/// its DER parses and its issuer is known. The search ends with the first it takes; where
/// there is one reading only, it is not asked.
pub fn get_candidates<'s>(
    request_uri: &[u8],
    scratch: &'s mut Vec<u8>,
    accept: impl FnMut(&[u8]) -> bool,
) -> GetRequest<'s> {
    if request_uri.len() > LONGEST_URI {
        return GetRequest::Malformed;
    }
    scratch.clear();
    percent_decode(path(request_uri), scratch);
    let text = scratch.len();
    let padding = scratch.iter().rev().take_while(|&&byte| byte == b'=').count();
    let unpadded = text - padding;
    let mut search = Search { scratch, text, unpadded, first: None, tries: TRIES, accept };
    let found = match search.run() {
        ControlFlow::Break(accepted) => Ok(accepted),
        ControlFlow::Continue(none) => search.first.ok_or(none),
    };
    match found {
        Ok(der) => GetRequest::Der(scratch.get(der).unwrap_or_default()),
        Err(none) => none,
    }
}

/// The decoded path and, behind it, the reading under trial.
struct Search<'s, Accept> {
    scratch: &'s mut Vec<u8>,
    /// How much of `scratch` is the path.
    text: usize,
    /// How much of it stands before the padding at its end. Counted once: there may be
    /// as many signs as places where a request may begin.
    unpadded: usize,
    /// The DER of the first reading that was whole.
    first: Option<Range<usize>>,
    tries: u32,
    accept: Accept,
}

/// Whether there may be another reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    None,
    Several,
}

impl<Accept: FnMut(&[u8]) -> bool> Search<'_, Accept> {
    /// Tries each place where a request may begin. Breaks with what is accepted; otherwise
    /// says what there is if no reading was whole.
    fn run(&mut self) -> ControlFlow<Range<usize>, GetRequest<'static>> {
        let mut none = GetRequest::Absent;
        for start in 0..self.text {
            let before = start.checked_sub(1).and_then(|at| self.scratch.get(at));
            if before.is_some_and(|&byte| byte != b'/') {
                continue;
            }
            let Some(expected) = self.expected_length(start) else { continue };
            none = GetRequest::Malformed;
            self.readings_from(start, expected)?;
        }
        ControlFlow::Continue(none)
    }

    /// How many characters of Base64 without padding a request needs that begins at
    /// `start`; `None` where none begins.
    fn expected_length(&self, start: usize) -> Option<usize> {
        let characters: &[u8; 8] = self.scratch.get(start..self.text)?.first_chunk()?;
        if !characters.starts_with(b"M") {
            return None;
        }
        let mut head = [0; 6];
        ENGINE.decode_slice(characters.map(standard), &mut head).ok()?;
        Some((der_length(head)? * 4).div_ceil(3))
    }

    fn readings_from(&mut self, start: usize, expected: usize) -> ControlFlow<Range<usize>> {
        match expected.checked_sub(self.unpadded.saturating_sub(start)) {
            Some(0) => {
                let choice = if self.is_only(start) { Choice::None } else { Choice::Several };
                self.reading(start, [None; 2], choice)
            }
            Some(1) => self.each_slash(start, |search, slash| {
                search.reading(start, [Some(slash), None], Choice::Several)
            }),
            Some(2) => self.each_slash(start, |search, one| {
                let both = |search: &mut Self, two| {
                    search.reading(start, [Some(one), Some(two)], Choice::Several)
                };
                search.each_slash(one, both)
            }),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Whether the request that begins at `start` is the only one to be found, and so
    /// the outcome, accepted or not: nearly always. Then it is parsed once, not twice.
    fn is_only(&self, start: usize) -> bool {
        let later = self.scratch.get(start..self.text).unwrap_or_default();
        let mut begins = later.windows(2).zip(start + 1..).filter(|(pair, _)| *pair == b"/M");
        self.first.is_none() && begins.all(|(_, at)| self.expected_length(at).is_none())
    }

    fn each_slash(
        &mut self,
        from: usize,
        mut visit: impl FnMut(&mut Self, usize) -> ControlFlow<Range<usize>>,
    ) -> ControlFlow<Range<usize>> {
        for at in from..self.text {
            if self.tries == 0 {
                break;
            }
            if self.scratch.get(at) == Some(&b'/') {
                visit(self, at)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Decodes the text from `start`, with the slashes at these places doubled.
    fn reading(
        &mut self,
        start: usize,
        doubled: [Option<usize>; 2],
        choice: Choice,
    ) -> ControlFlow<Range<usize>> {
        let Some(tries) = self.tries.checked_sub(1) else { return ControlFlow::Continue(()) };
        self.tries = tries;
        let base64 = self.first.as_ref().map_or(self.text, |first| first.end);
        self.scratch.truncate(base64);
        let mut from = start;
        for slash in doubled.into_iter().flatten() {
            self.scratch.extend_from_within(from..slash + 1); // within `text`, in order
            self.scratch.push(b'/');
            from = slash + 1;
        }
        self.scratch.extend_from_within(from..self.text);
        self.scratch.iter_mut().skip(base64).for_each(|byte| *byte = standard(*byte));
        let der = self.scratch.len();
        self.scratch.resize(der + base64::decoded_len_estimate(der - base64), 0);
        let (input, output) = self.scratch.split_at_mut(der);
        let text = input.get(base64..).unwrap_or_default();
        let Ok(length) = ENGINE.decode_slice(text, output) else {
            return ControlFlow::Continue(());
        };
        let range = der..der + length;
        if choice == Choice::None
            || (self.accept)(self.scratch.get(range.clone()).unwrap_or_default())
        {
            return ControlFlow::Break(range);
        }
        self.first.get_or_insert(range);
        ControlFlow::Continue(())
    }
}

/// The URL-safe alphabet (RFC 4648 section 5) to the standard one.
fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// The whole length of a SEQUENCE, by its first octets.
fn der_length(head: [u8; 6]) -> Option<usize> {
    let [0x30, first, a, b, c, _] = head else { return None };
    let [a, b, c] = [a, b, c].map(usize::from);
    match first {
        0..=0x7f => Some(2 + usize::from(first)),
        0x81 => Some(3 + a),
        0x82 => Some(4 + (a << 8 | b)),
        0x83 => Some(5 + (a << 16 | b << 8 | c)),
        _ => None,
    }
}

/// Octets; a URL that is longer is malformed. RFC 6960 wants POST from 255 on.
const LONGEST_URI: usize = 64 * 1024;

/// Readings of one URL that are tried at most.
const TRIES: u32 = 64;

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    /// A real request: SHA-1 CertID and nonce, Base64 with three `+` or `/`.
    const REAL: &str = "MHoweDBRME8wTTAJBgUrDgMCGgUABBRGf2x685RgF9qF4azpunF6LM75OQQUwX3C7a\
        +au9Af8tx/tcfCxFkwR68CFAlOMV+mrbm8PqIFZKeyLubrqlXgoiMwITAfBgkrBgEFBQcwAQIEEgQQkcDcDZCP\
        zGR57CNCnt6eKg==";

    /// A SEQUENCE of 30 octets whose Base64 has `//` once, and one slash apart.
    const DOUBLED: &str = "MBwEGgAA/wAA//8AAAAAAAAAAAAAAAAAAAAAAAAA";

    fn base64_of(der: &[u8]) -> String {
        base64::engine::general_purpose::STANDARD.encode(der)
    }

    fn real() -> Vec<u8> {
        base64::engine::general_purpose::STANDARD.decode(REAL).unwrap()
    }

    /// The DER found in `uri`, when only `wanted` is acceptable.
    fn find(uri: &str, wanted: &[u8]) -> Option<Vec<u8>> {
        let mut scratch = Vec::new();
        match get_candidates(uri.as_bytes(), &mut scratch, |der| der == wanted) {
            GetRequest::Der(der) => Some(der.to_vec()),
            GetRequest::Malformed | GetRequest::Absent => None,
        }
    }

    fn assert_finds_real(uri: &str) {
        assert_eq!(find(uri, &real()), Some(real()), "{uri}");
    }

    fn kind(uri: &str) -> &'static str {
        match get_candidates(uri.as_bytes(), &mut Vec::new(), |_| false) {
            GetRequest::Der(_) => "der",
            GetRequest::Malformed => "malformed",
            GetRequest::Absent => "absent",
        }
    }

    // rule: WEB-1
    #[test]
    fn a_request_is_found_behind_any_prefix() {
        let prefixes = ["/", "//", "///", "/ocsp/", "/ocsp//", "/Mirror/MIT/", "/a%2Fb/M/", ""];
        for prefix in prefixes {
            assert_finds_real(&format!("{prefix}{REAL}"));
        }
        assert_finds_real(&format!("http://ocsp.example.com/{REAL}"));
        assert_finds_real(&format!("HTTPS://[2001:db8::1]:8080//ca/{REAL}?query=/MAQwAjAA"));
    }

    #[test]
    fn where_there_is_one_reading_nobody_is_asked_about_it() {
        let uri = format!("/Mirror/ocsp/{REAL}");
        let mut scratch = Vec::new();
        let found = get_candidates(uri.as_bytes(), &mut scratch, |_| unreachable!());
        assert_eq!(found, GetRequest::Der(&real()));
    }

    // rule: WEB-1
    #[test]
    fn of_two_whole_readings_the_accepted_one_is_given_and_else_the_first() {
        let decoded = |text| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        // The second part is the Base64 of a SEQUENCE, and so are both together.
        let [outer, inner] = ["MAf/MAQwAjAA", "MAQwAjAA"].map(decoded);
        for wanted in [&outer, &inner] {
            assert_eq!(find("/MAf/MAQwAjAA", wanted).as_ref(), Some(wanted));
        }
        assert_eq!(find("/MAf/MAQwAjAA", b"neither"), Some(outer));
    }

    // rule: WEB-1
    #[test]
    fn escapes_alphabets_and_padding_may_be_chosen_freely() {
        assert_finds_real(&format!("/{}", REAL.trim_end_matches('=')));
        assert_finds_real(&format!("/{}", REAL.replace('=', "%3d")));
        let upper = REAL.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        assert_finds_real(&format!("/{upper}"));
        assert_finds_real(&format!("/{}", upper.replace("%2B", "%2b").replace("%2F", "%2f")));
        assert_finds_real(&format!("/{}", REAL.replace('+', "-").replace('/', "_")));
        assert_finds_real(&format!("/{}", REAL.replacen('+', "-", 1)));
        let all: String = REAL.bytes().map(|byte| format!("%{byte:02x}")).collect();
        assert_finds_real(&format!("/{all}"));
    }

    // rule: WEB-1
    #[test]
    fn a_plus_is_never_a_blank_and_nothing_is_decoded_twice() {
        for spoilt in [
            REAL.replace('+', "%20"),
            REAL.replace('+', " "),
            REAL.replace('+', "%252B"),
            REAL.replace("==", "==="),
            REAL.replace("==", "==/"),
            REAL.replace("Kg==", "Kh=="),
            REAL.replace("Kg==", ""),
            REAL.replace('/', "%2"),
        ] {
            assert_eq!(kind(&format!("/{spoilt}")), "malformed", "{spoilt}");
        }
    }

    // rule: WEB-1
    #[test]
    fn slashes_that_a_server_merged_are_put_back() {
        let der = base64::engine::general_purpose::STANDARD.decode(DOUBLED).unwrap();
        let merged = DOUBLED.replace("//", "/");
        assert_eq!(find(&format!("/ocsp/{merged}"), &der), Some(der.clone()));
        assert_eq!(find(&format!("/ocsp/{DOUBLED}"), &der), Some(der));
        let twice = [b"0\x1e".as_slice(), &[0xff; 30]].concat();
        let merged = base64_of(&twice).replace("//", "/");
        assert_eq!(kind(&format!("/{merged}")), "malformed", "more is missing than is repaired");
    }

    // rule: WEB-1
    #[test]
    fn the_leftmost_whole_reading_is_given_when_none_is_accepted() {
        // Both segments are the Base64 of a SEQUENCE, and so are they together.
        let inner = "MAQwAjAA";
        assert_eq!(kind(&format!("/{inner}")), "der");
        assert_eq!(kind(&format!("/{inner}/{inner}")), "der");
        let der = base64::engine::general_purpose::STANDARD.decode(inner).unwrap();
        assert_eq!(find(&format!("/{inner}/{inner}"), b""), Some(der));
    }

    // rule: WEB-6
    #[test]
    fn other_urls_hold_no_request() {
        for uri in ["", "/", "*", "/favicon.ico", "/Main", "/?MHoweDBRME8", "http://M", "/M", "/%"]
        {
            assert_eq!(kind(uri), "absent", "{uri}");
        }
    }

    // rule: WEB-1
    #[test]
    fn a_hostile_url_costs_a_bounded_number_of_tries() {
        let slashes = format!("/MIIgAA{}", "/".repeat(10_921));
        let mut most = 0;
        for uri in [slashes, "/MIMAgAAA".repeat(7000), "/M".repeat(32_000)] {
            let mut tries = 0;
            get_candidates(uri.as_bytes(), &mut Vec::new(), |_| {
                tries += 1;
                false
            });
            assert!(tries <= TRIES, "{tries}");
            most = most.max(tries);
        }
        assert_eq!(most, TRIES);
        assert_eq!(kind(&"/a".repeat(40_000)), "malformed");
    }

    // rule: WEB-1
    #[test]
    fn padding_costs_no_more_than_other_characters_however_many_requests_may_begin() {
        let begins = "/MA".repeat(3000);
        let best = |last: &str| {
            let uri = format!("{begins}{}", last.repeat(begins.len()));
            let once = || {
                let start = Instant::now();
                assert_eq!(kind(&uri), "malformed");
                start.elapsed()
            };
            (0..5).map(|_| once()).min().unwrap()
        };
        // Counted anew for each, it costs some hundred times as much.
        let [padding, other] = ["=", "A"].map(best);
        assert!(padding < other * 20, "{padding:?} {other:?}");
    }

    proptest! {
        // rule: WEB-1
        #[test]
        fn every_spelling_of_a_url_leads_to_the_same_der(
            content in proptest::collection::vec(any::<u8>(), 4..300),
            prefix in "(/[A-Za-z0-9._-]{0,9}){0,3}/{1,3}",
            choices in proptest::collection::vec(0..5u8, 500),
            padding in 0..3u8,
        ) {
            let der = sequence(&content);
            let base64 = base64_of(&der);
            let mut uri = prefix;
            for (byte, choice) in base64.trim_end_matches('=').chars().zip(choices) {
                match (choice, byte) {
                    (0, _) => uri.push_str(&format!("%{:02x}", u32::from(byte))),
                    (1, _) => uri.push_str(&format!("%{:02X}", u32::from(byte))),
                    (2, '+') => uri.push('-'),
                    (2, '/') => uri.push('_'),
                    _ => uri.push(byte),
                }
            }
            let signs = base64.len() - base64.trim_end_matches('=').len();
            match padding {
                0 => {}
                1 => uri.push_str(&"=".repeat(signs)),
                _ => uri.push_str(&"%3D".repeat(signs)),
            }
            prop_assert_eq!(find(&uri, &der), Some(der));
        }

        // rule: WEB-1
        #[test]
        fn one_merged_run_of_slashes_is_always_repaired(
            before in proptest::collection::vec(any::<u8>(), 3..60),
            after in proptest::collection::vec(0..64u8, 0..60),
            run in 2..4usize,
        ) {
            // Slashes at a place that is no multiple of three octets, too.
            let mut bits = base64_of(&before).trim_end_matches('=').replace('/', "x");
            bits.push_str(&"/".repeat(run));
            bits.extend(after.iter().map(|_| 'A'));
            bits.truncate(bits.len() / 4 * 4);
            let content = base64::engine::general_purpose::STANDARD.decode(&bits).unwrap();
            let der = sequence(&content);
            let base64 = base64_of(&der);
            let merged = base64.replace("///", "/").replace("//", "/");
            prop_assume!(base64.len() - merged.len() <= 2 && merged.matches('/').count() < 9);
            prop_assert_eq!(find(&format!("/{merged}"), &der), Some(der));
        }

        // rule: WEB-1
        #[test]
        fn no_url_panics(uri in "(http://)?[/M%A-J=_+?a-f0-9]{0,200}", bytes in any::<Vec<u8>>()) {
            let mut scratch = Vec::new();
            get_candidates(uri.as_bytes(), &mut scratch, |_| false);
            get_candidates(&bytes, &mut scratch, |_| false);
        }
    }

    fn sequence(content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..=0x7f => vec![0x30, length as u8],
            0x80..=0xff => vec![0x30, 0x81, length as u8],
            _ => vec![0x30, 0x82, (length >> 8) as u8, length as u8],
        };
        [&head, content].concat()
    }
}
