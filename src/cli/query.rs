//! The words of a query, which a web server hands to a CGI program as its arguments
//! (RFC 3875 section 4.4): a stranger's words, not the operator's.
//!
//! A wrapper in front of the program may have added words of its own (`exec ocsp-fcgi cgi
//! --config FILE "$@"`), or have handed on none. So those are left out that may be the
//! stranger's, and the others count.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::http::uri::percent_decode;

/// The words of a query without `=`; others are handed to nobody.
pub struct Query {
    /// The words, one by one.
    words: Vec<Vec<u8>>,
    /// All of them, as they came and decoded.
    texts: [Vec<u8>; 2],
}

impl Query {
    /// The query of a CGI program, if its words are among the arguments.
    pub fn of_arguments(query: &[u8]) -> Option<Self> {
        if query.is_empty() || query.contains(&b'=') {
            return None;
        }
        let words = query.split(|&byte| byte == b'+').map(|word| plain(&decoded(word)));
        let texts = [query.to_vec(), decoded(query)].map(|text| spaced(plain(&text)));
        Some(Self { words: words.collect(), texts })
    }

    /// The words of a command line that nobody but the operator has written. The first is
    /// the name of the program.
    ///
    /// Where all words of the query stand at the end, in their order, what is in front of
    /// them is the operator's: each comes once. Where they do not, a wrapper or the web
    /// server has split, cut, moved or left them out, and each word counts as the
    /// stranger's that is a part of the query. But a stranger who has not written FILE has
    /// not written `--config FILE`: without it another configuration would answer.
    pub fn others(&self, mut line: Vec<OsString>) -> Vec<OsString> {
        if let Some(before @ 1..) = line.len().checked_sub(self.words.len()) {
            let last = line.iter().skip(before).map(|word| plain(word.as_bytes()));
            if last.eq(self.words.iter().cloned()) {
                line.truncate(before);
                return line;
            }
        }
        let stays = |at: usize, word: &OsString| {
            let is_option = NAMES_A_FILE.iter().any(|option| word == option);
            let file = line.get(at + 1).filter(|_| is_option);
            at == 0 || !self.may_hold(word) || file.is_some_and(|file| !self.may_hold(file))
        };
        let others = line.iter().enumerate().filter(|(at, word)| stays(*at, word));
        others.map(|(_, word)| word.clone()).collect()
    }

    /// Whether a word may have been taken from the query.
    fn may_hold(&self, word: &OsStr) -> bool {
        let word = spaced(plain(word.as_bytes()));
        word.is_empty()
            || self.texts.iter().any(|text| text.windows(word.len()).any(|part| part == word))
    }
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    percent_decode(text, &mut output);
    output
}

/// Without the backslashes by which web servers keep a word from the shell: Apache puts
/// one before each special character. And without zeros, which no argument has.
fn plain(word: &[u8]) -> Vec<u8> {
    word.iter().copied().filter(|byte| !matches!(byte, b'\\' | 0)).collect()
}

/// With what parts words as blanks.
fn spaced(mut text: Vec<u8>) -> Vec<u8> {
    for byte in &mut text {
        if *byte == b'+' || byte.is_ascii_whitespace() {
            *byte = b' ';
        }
    }
    text
}

/// The options that have a file behind them, in a word of its own.
const NAMES_A_FILE: [&str; 2] = ["-c", "--config"];

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts of a command line, its words parted by blanks.
    fn others(query: &str, line: &str) -> String {
        let line = line.split(' ').map(OsString::from).collect();
        let query = Query::of_arguments(query.as_bytes()).unwrap();
        query.others(line).join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn words_of_a_query_are_left_out_behind_those_of_a_wrapper() {
        for (query, words) in [
            ("x", "x"),
            ("--help", "--help"),
            ("cgi", "cgi"),
            ("--config+X", "--config X"),
            ("--config%3Devil", "--config=evil"),
            ("%2d%2dconfig+%7Eevil", r"--config \~evil"),
            (r"a%5Cb+c;d", r"a\\b c\;d"),
            ("a++b", "a  b"),
            ("serve+100%+%zz", "serve 100% %zz"),
        ] {
            for own in ["ocsp-fcgi", "ocsp-fcgi cgi --config X", "ocsp-fcgi -c X"] {
                assert_eq!(others(query, &format!("{own} {words}")), own, "{query}");
            }
        }
    }

    #[test]
    fn words_of_a_wrapper_that_hands_none_on_stay() {
        for query in ["x", "serve", "-", "c", "config", "-c", "--config", "x--config", "Y+Y", "%"] {
            let line = "ocsp-fcgi cgi --config X";
            assert_eq!(others(query, line), line, "{query}");
        }
        for query in ["x", "X+c", "cgi", "--config"] {
            assert_eq!(others(query, "ocsp-fcgi --config=X"), "ocsp-fcgi --config=X", "{query}");
        }
        assert_eq!(others("cgi", "ocsp-fcgi cgi --config X"), "ocsp-fcgi --config X");
        assert_eq!(others("--config+X", "ocsp-fcgi --config X cgi"), "ocsp-fcgi cgi");
        // Not told apart; and the option without its file ends the program.
        assert_eq!(others("X", "ocsp-fcgi --config X cgi"), "ocsp-fcgi --config cgi");
    }

    #[test]
    fn no_part_of_a_query_counts_wherever_a_wrapper_has_put_it() {
        for (query, line) in [
            // In front of its own words.
            ("--config+evil", "ocsp-fcgi --config evil cgi"),
            ("--config%3Devil", "ocsp-fcgi --config=evil cgi"),
            // Split once more by a shell; empty words are gone then.
            ("a%20--config%20evil", "ocsp-fcgi cgi a --config evil"),
            ("--config%0Aevil++", "ocsp-fcgi cgi --config evil"),
            ("%09--config%09evil", "ocsp-fcgi cgi --config evil"),
            // Not split, or not decoded, or the first word alone.
            ("--config%3Devil+b", "ocsp-fcgi cgi --config=evil+b"),
            ("--config%3Devil+b", "ocsp-fcgi --config%3Devil+b cgi"),
            ("--config%3Devil+b", "ocsp-fcgi cgi --config=evil"),
            // Cut by a server at an octet 0, or after so many words.
            ("--config%3Devil%00+b", "ocsp-fcgi cgi --config=evil b"),
            ("--config+evil+b+c", "ocsp-fcgi cgi --config evil b"),
            // Twice.
            ("--config+evil", "ocsp-fcgi --config evil cgi --config evil x"),
            (r"%2D-config%3D\evil;", r"ocsp-fcgi cgi --config=\\evil\; x"),
        ] {
            let counts = others(query, line);
            assert!(!counts.contains("evil") && !counts.contains("--config"), "{query}: {counts}");
        }
    }
}
