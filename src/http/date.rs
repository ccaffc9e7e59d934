//! Dates as HTTP writes them: IMF-fixdate (RFC 9110 section 5.6.7).
//!
//! Only the printing: this responder compares entity tags and never reads a date.

use crate::time::{Civil, Timestamp};

/// A date such as `Sun, 06 Nov 1994 08:49:37 GMT`: always 29 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImfFixdate([u8; 29]);

impl ImfFixdate {
    /// Writes `moment` out; nothing is allocated.
    #[must_use]
    pub fn new(moment: Timestamp) -> Self {
        let Civil { year, month, day, hour, minute, second, weekday } = moment.civil();
        let [d1, d2, d3] = **WEEKDAYS.get(usize::from(weekday)).unwrap_or(&b"Mon");
        let [m1, m2, m3] = **MONTHS.get(usize::from(month.wrapping_sub(1))).unwrap_or(&b"Jan");
        let [day1, day2] = two_digits(day);
        let [century1, century2] = two_digits((year / 100) as u8);
        let [year1, year2] = two_digits((year % 100) as u8);
        let [hour1, hour2] = two_digits(hour);
        let [minute1, minute2] = two_digits(minute);
        let [second1, second2] = two_digits(second);
        #[rustfmt::skip] // one line for each part of the date
        let text = [
            d1, d2, d3, b',', b' ',
            day1, day2, b' ', m1, m2, m3, b' ',
            century1, century2, year1, year2, b' ',
            hour1, hour2, b':', minute1, minute2, b':', second1, second2,
            b' ', b'G', b'M', b'T',
        ];
        Self(text)
    }

    /// The text, ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn two_digits(number: u8) -> [u8; 2] {
    [b'0' + number / 10 % 10, b'0' + number % 10]
}

const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(year: u16, month: u8, day: u8, time: (u8, u8, u8)) -> String {
        let moment = Timestamp::from_civil(year, month, day, time).unwrap();
        String::from_utf8(ImfFixdate::new(moment).as_bytes().to_vec()).unwrap()
    }

    // rule: WEB-3
    #[test]
    fn a_date_is_printed_as_in_the_example_of_the_rfc() {
        assert_eq!(text(1994, 11, 6, (8, 49, 37)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(2024, 2, 29, (23, 59, 59)), "Thu, 29 Feb 2024 23:59:59 GMT");
    }

    // rule: WEB-3
    #[test]
    fn the_first_and_the_last_day_of_the_calendar_have_four_digits_of_year() {
        assert_eq!(text(1, 1, 1, (0, 0, 0)), "Mon, 01 Jan 0001 00:00:00 GMT");
        assert_eq!(text(9999, 12, 31, (23, 59, 59)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
