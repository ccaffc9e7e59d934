//! A request target: its path, and what its percent-escapes stand for (RFC 3986, RFC 9112
//! section 3.2).
//!
//! Pure. The input is untrusted.

/// The path of a request target in origin-form or absolute-form (RFC 9112 section 3.2).
pub(crate) fn path(request_uri: &[u8]) -> &[u8] {
    let end = request_uri.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let uri = request_uri.get(..end.unwrap_or(request_uri.len())).unwrap_or_default();
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else { return uri };
    let authority_and_path = uri.get(scheme.len()..).unwrap_or_default();
    let slash = authority_and_path.iter().position(|&byte| byte == b'/');
    slash.and_then(|at| authority_and_path.get(at..)).unwrap_or_default()
}

/// Appends `text`, its percent-escapes decoded once.
pub(crate) fn percent_decode(text: &[u8], output: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        let (before, escape) = rest.split_at(at);
        output.extend_from_slice(before);
        let octet = match escape {
            [_, high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        // A `%` that escapes nothing stays: Base64 has none, so it spoils the reading.
        output.push(octet.unwrap_or(b'%'));
        rest = escape.get(if octet.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    output.extend_from_slice(rest);
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: WEB-1
    #[test]
    fn the_path_is_what_stands_between_the_authority_and_the_query() {
        for (uri, wanted) in [
            ("/a/b?c", "/a/b"),
            ("/a#b?c", "/a"),
            ("HTTP://[2001:db8::1]:80/a//b?c", "/a//b"),
            ("https://ocsp.example.com", ""),
            ("/http://a/b", "/http://a/b"),
            ("?a", ""),
            ("", ""),
            ("*", "*"),
        ] {
            assert_eq!(path(uri.as_bytes()), wanted.as_bytes(), "{uri}");
        }
    }

    // rule: WEB-1
    #[test]
    fn escapes_are_decoded_once_and_what_is_none_stays() {
        for (text, wanted) in [
            ("%2B%2f%3d", "+/="),
            ("a%20b+c", "a b+c"),
            ("%252B", "%2B"),
            ("%", "%"),
            ("%2", "%2"),
            ("%2%2B", "%2+"),
            ("%+1", "%+1"),
            ("%g0%0g", "%g0%0g"),
        ] {
            let mut output = b"before ".to_vec();
            percent_decode(text.as_bytes(), &mut output);
            assert_eq!(output, [b"before ", wanted.as_bytes()].concat(), "{text}");
        }
    }
}
