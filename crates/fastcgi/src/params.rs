//! Name-value pairs (FastCGI 1.0 section 3.4).
//!
//! Names and values are octets, never text: a URL with `%ff` in it is an ordinary
//! value behind nginx. Borrowed from the input, nothing is copied. The input is
//! untrusted: lengths are checked once, in [`Params::parse`].

use std::fmt;
use std::iter;

/// The name-value pairs of one request, in the order they came.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    octets: &'a [u8], // private: only `parse` makes one, so that no pair is cut short
}

/// Why octets are no name-value pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// A length is cut short, or says more than there is.
    #[error("name-value pair at octet {0} is longer than the stream")]
    Truncated(usize),
}

impl<'a> Params<'a> {
    /// Takes a whole PARAMS stream.
    ///
    /// # Errors
    ///
    /// [`ParamsError::Truncated`] where a length points past the end.
    pub fn parse(octets: &'a [u8]) -> Result<Self, ParamsError> {
        let mut rest = octets;
        while !rest.is_empty() {
            let Some((_, _, later)) = split_pair(rest) else {
                return Err(ParamsError::Truncated(octets.len() - rest.len()));
            };
            rest = later;
        }
        Ok(Self { octets })
    }

    /// The value of `name`; the last one where it came more than once, as in a
    /// CGI environment that the web server has set twice.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&'a [u8]> {
        let name = name.as_ref();
        self.iter().filter(|(other, _)| *other == name).last().map(|(_, value)| value)
    }

    /// All pairs, name first.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.octets;
        iter::from_fn(move || {
            let (name, value, later) = split_pair(rest)?;
            rest = later;
            Some((name, value))
        })
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.iter().map(|(name, value)| (name.escape_ascii(), value.escape_ascii()));
        f.debug_map().entries(pairs.map(|(n, v)| (n.to_string(), v.to_string()))).finish()
    }
}

/// Takes one pair off `octets`: name, value and what follows.
fn split_pair(octets: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_length, rest) = split_length(octets)?;
    let (value_length, rest) = split_length(rest)?;
    let (name, rest) = rest.split_at_checked(name_length)?;
    let (value, rest) = rest.split_at_checked(value_length)?;
    Some((name, value, rest))
}

/// Takes a length off `octets`: one octet, or four with the highest bit set.
fn split_length(octets: &[u8]) -> Option<(usize, &[u8])> {
    match octets {
        [length @ ..0x80, rest @ ..] => Some((usize::from(*length), rest)),
        [a, b, c, d, rest @ ..] => {
            let length = u32::from_be_bytes([a & 0x7f, *b, *c, *d]);
            Some((usize::try_from(length).ok()?, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(octets: &[u8]) -> Vec<(&[u8], &[u8])> {
        Params::parse(octets).expect("pairs").iter().collect()
    }

    // rule: FCG-1
    #[test]
    fn lengths_of_one_and_of_four_octets_mean_the_same() {
        let wanted: [(&[u8], &[u8]); 1] = [(b"ab", b"c")];
        assert_eq!(pairs(b"\x02\x01abc"), wanted);
        assert_eq!(pairs(b"\x80\0\0\x02\x01abc"), wanted);
        assert_eq!(pairs(b"\x02\x80\0\0\x01abc"), wanted);
        assert_eq!(pairs(b"\x80\0\0\x02\x80\0\0\x01abc"), wanted);
    }

    // rule: FCG-1
    #[test]
    fn names_and_values_are_octets() {
        let params = Params::parse(b"\x03\x02URI/\xff\x01\0\xfe").unwrap();
        assert_eq!(params.get("URI"), Some(&b"/\xff"[..]));
        assert_eq!(params.get(b"\xfe"), Some(&b""[..]));
        assert_eq!(params.get("uri"), None);
        assert_eq!(format!("{params:?}"), r#"{"URI": "/\\xff", "\\xfe": ""}"#);
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let params = Params::parse(b"\x01\x01ab\x01\x01ac").unwrap();
        assert_eq!(params.get("a"), Some(&b"c"[..]));
    }

    // rule: FCG-2
    #[test]
    fn eight_thousand_empty_pairs_are_pairs() {
        assert_eq!(pairs(&[0; 16_000]).len(), 8_000);
    }

    // rule: FCG-2
    #[test]
    fn a_length_that_points_past_the_end_is_an_error() {
        for bad in [
            &b"\x01"[..],
            b"\x01\x01",
            b"\x01\x01a",
            b"\x80",
            b"\x80\0\0",
            b"\0\x80\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xff\xff\xff\xff\xff\xff\xff\xffab",
            b"\x00\xff\xff\xff\xff",
        ] {
            assert_eq!(Params::parse(bad).unwrap_err(), ParamsError::Truncated(0), "{bad:?}");
        }
        assert_eq!(Params::parse(b"\0\0\x01").unwrap_err(), ParamsError::Truncated(2));
    }
}
