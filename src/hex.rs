//! Octets as hexadecimal digits.

/// Appends two lower-case digits for each octet.
pub fn push(text: &mut String, octets: &[u8]) {
    text.reserve(octets.len() * 2);
    text.extend(octets.iter().copied().flat_map(pair).map(char::from));
}

/// Two lower-case digits for each octet.
#[must_use]
pub fn text(octets: &[u8]) -> String {
    let mut text = String::new();
    push(&mut text, octets);
    text
}

/// The two lower-case digits of an octet, in ASCII.
#[must_use]
pub fn pair(octet: u8) -> [u8; 2] {
    [octet >> 4, octet & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 })
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_octet_has_two_digits() {
        assert_eq!(super::text(&[]), "");
        for octet in 0..=u8::MAX {
            assert_eq!(super::text(&[octet, 0xa9]), format!("{octet:02x}a9"));
        }
    }
}
