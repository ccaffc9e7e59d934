//! Certificate serial numbers and their spellings (RFC 5280 section 4.1.2.2).

use std::fmt;

use crate::hex;

/// The longest serial accepted, in octets. RFC 5280 allows 20; certificates
/// with longer ones exist, so the parser is more lenient.
pub const MAX_OCTETS: usize = 32;

/// A non-negative certificate serial number of 1 to 32 octets.
///
/// Held as the magnitude without leading zero octets (the number zero is one
/// zero octet), so two spellings of one number are equal and hash alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial {
    octets: [u8; MAX_OCTETS],
    len: u8,
}

/// Why octets or text are no serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// An INTEGER without content octets.
    #[error("the serial number is empty")]
    Empty,
    /// The first octet of the INTEGER has its high bit set.
    #[error("the serial number is negative")]
    Negative,
    /// More than [`MAX_OCTETS`], leading zeros included.
    #[error("the serial number is longer than {MAX_OCTETS} octets")]
    TooLong,
    /// Text with something other than digits in it.
    #[error("the serial number has a character that is no digit")]
    NotDigits,
}

impl Serial {
    /// Zero, which no CA gives out (RFC 5280 section 4.1.2.2): to try a question with.
    pub const PROBE: Self = Self { octets: [0; MAX_OCTETS], len: 1 };

    /// Takes the content octets of a DER INTEGER, sign octet and superfluous
    /// leading zeros included.
    ///
    /// # Errors
    ///
    /// [`SerialError::Empty`], [`SerialError::Negative`] or [`SerialError::TooLong`].
    pub fn from_integer_content(content: &[u8]) -> Result<Self, SerialError> {
        match content.first() {
            None => Err(SerialError::Empty),
            Some(first) if *first >= 0x80 => Err(SerialError::Negative),
            Some(_) => Self::from_be_bytes(content),
        }
    }

    /// Takes a big-endian magnitude, with or without leading zeros.
    ///
    /// # Errors
    ///
    /// [`SerialError::Empty`] or [`SerialError::TooLong`].
    pub fn from_be_bytes(octets: &[u8]) -> Result<Self, SerialError> {
        if octets.is_empty() {
            return Err(SerialError::Empty);
        }
        // One octet more for the sign octet of a DER INTEGER.
        if octets.len() > MAX_OCTETS + 1 {
            return Err(SerialError::TooLong);
        }
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        let magnitude = octets.get(zeros.min(octets.len() - 1)..).unwrap_or_default();
        let mut serial = Self { octets: [0; MAX_OCTETS], len: 0 };
        serial
            .octets
            .get_mut(..magnitude.len())
            .ok_or(SerialError::TooLong)?
            .copy_from_slice(magnitude);
        serial.len = u8::try_from(magnitude.len()).map_err(|_| SerialError::TooLong)?;
        Ok(serial)
    }

    /// Reads hexadecimal digits in either case, with or without `0x`, colons
    /// between octets allowed (as `openssl x509 -serial` and browsers print it).
    ///
    /// # Errors
    ///
    /// [`SerialError`], as for octets; [`SerialError::NotDigits`] for other text.
    pub fn from_hex(text: &str) -> Result<Self, SerialError> {
        let digits = text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text);
        // One octet more for the sign octet of a DER INTEGER.
        let mut octets = [0; MAX_OCTETS + 1];
        let mut count = 0_usize;
        let mut overlong = false;
        for character in digits.chars().rev().filter(|character| *character != ':') {
            let digit = character.to_digit(16).ok_or(SerialError::NotDigits)?;
            let digit = u8::try_from(digit).map_err(|_| SerialError::NotDigits)?;
            // Two digits for each, the lower one first.
            match octets.iter_mut().rev().nth(count / 2) {
                Some(octet) => *octet |= digit << (count % 2 * 4),
                None => overlong = true,
            }
            count += 1;
        }
        match count {
            0 => Err(SerialError::Empty),
            _ if overlong => Err(SerialError::TooLong),
            _ => Self::from_be_bytes(&octets),
        }
    }

    /// Reads decimal digits.
    ///
    /// # Errors
    ///
    /// [`SerialError`], as for octets; [`SerialError::NotDigits`] for other text.
    pub fn from_decimal(text: &str) -> Result<Self, SerialError> {
        if text.is_empty() {
            return Err(SerialError::Empty);
        }
        let mut octets = [0; MAX_OCTETS];
        for character in text.chars() {
            let mut carry = character.to_digit(10).ok_or(SerialError::NotDigits)?;
            for octet in octets.iter_mut().rev() {
                let sum = u32::from(*octet) * 10 + carry;
                [.., *octet] = sum.to_be_bytes();
                carry = sum >> 8;
            }
            if carry != 0 {
                return Err(SerialError::TooLong);
            }
        }
        Self::from_be_bytes(&octets)
    }

    /// The magnitude, big-endian, without leading zeros; at least one octet.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Lower-case hexadecimal, two digits an octet, without prefix: `0a1b`.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::text(self.as_bytes())
    }

    /// Decimal digits without leading zeros.
    #[must_use]
    pub fn to_decimal(&self) -> String {
        let mut rest = self.as_bytes().to_vec();
        let mut digits = Vec::new();
        while rest.iter().any(|octet| *octet != 0) {
            let mut remainder = 0;
            for octet in &mut rest {
                let part = remainder << 8 | u32::from(*octet);
                *octet = u8::try_from(part / 10).unwrap_or_default(); // as the remainder is below 10
                remainder = part % 10;
            }
            digits.extend(char::from_digit(remainder, 10));
        }
        if digits.is_empty() {
            digits.push('0');
        }
        digits.iter().rev().collect()
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Serial(0x{self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: REQ-5
    #[test]
    fn leading_zeros_and_the_sign_octet_do_not_make_another_serial() {
        let plain = Serial::from_be_bytes(&[0xff, 1]).unwrap();
        for content in [&[0, 0xff, 1][..], &[0, 0, 0xff, 1]] {
            assert_eq!(Serial::from_integer_content(content), Ok(plain));
        }
        for text in ["ff01", "0xFF01", "0x00ff01", "FF:01", "0xfF01"] {
            assert_eq!(Serial::from_hex(text), Ok(plain), "{text}");
        }
        assert_eq!(Serial::from_hex("a1b"), Serial::from_hex("0x0A1B"));
        assert_eq!(plain.to_string(), "ff01");
    }

    #[test]
    fn decimal_and_hexadecimal_are_the_same_number() {
        for (hex, decimal) in [
            ("00", "0"),
            ("0a1b", "2587"),
            ("ffffffffffffffff", "18446744073709551615"),
            (
                "094e315fa6adb9bc3ea20564a7b22ee6ebaa55e0",
                "53124676113289339881255524899894931150852478432",
            ),
        ] {
            let serial = Serial::from_hex(hex).unwrap();
            assert_eq!(serial.to_decimal(), decimal);
            assert_eq!(Serial::from_decimal(&format!("00{decimal}")), Ok(serial));
        }
        let most = Serial::from_be_bytes(&[0xff; MAX_OCTETS]).unwrap().to_decimal();
        assert!(Serial::from_decimal(&most).is_ok());
        assert_eq!(Serial::from_decimal(&format!("{most}0")), Err(SerialError::TooLong));
        assert_eq!(Serial::from_decimal(""), Err(SerialError::Empty));
        assert_eq!(Serial::from_decimal("-1"), Err(SerialError::NotDigits));
    }

    // rule: REQ-5
    #[test]
    fn empty_negative_and_overlong_integers_are_refused() {
        assert_eq!(Serial::from_integer_content(&[]), Err(SerialError::Empty));
        assert_eq!(Serial::from_integer_content(&[0x80]), Err(SerialError::Negative));
        assert_eq!(Serial::from_integer_content(&[1; 33]), Err(SerialError::TooLong));
        assert!(Serial::from_integer_content(&[1; 32]).is_ok());
        assert!(Serial::from_integer_content(&[0; 34]).is_err());
        assert_eq!(Serial::from_integer_content(&[0]).unwrap().as_bytes(), [0]);
        assert_eq!(Serial::from_hex("0x"), Err(SerialError::Empty));
        assert_eq!(Serial::from_hex("0xg"), Err(SerialError::NotDigits));
    }
}
