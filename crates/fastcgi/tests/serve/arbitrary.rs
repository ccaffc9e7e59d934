//! Whatever comes: no panic, no more consumed than there was, no memory beyond the limits.

use fastcgi::connection::Limits;
use fastcgi::params::Params;
use fastcgi::record as fcgi;
use fastcgi::server::Then;
use proptest::prelude::*;

use crate::streams::Feed;
use crate::support::{After, padded, request};

const LIMITS: Limits = Limits { params_bytes: 500, stdin_bytes: 500, connections: 1 };

/// Feeds pieces until the connection is over. `Feed` checks what is consumed.
fn survive<'a>(pieces: impl Iterator<Item = &'a [u8]>) {
    let mut feed = Feed::new(LIMITS);
    for piece in pieces {
        if feed.feed(piece) != Then::Read {
            break;
        }
        // Less than one record is ever left.
        assert!(feed.leftover.len() < 8 + 0xffff + 0xff);
    }
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        Just(vec![]),
        Just(vec![0, 1, 1, 0, 0, 0, 0, 0]),
        Just(b"\x01\x01ab".to_vec()),
        prop::collection::vec(any::<u8>(), 0..100),
    ];
    let record_type = prop_oneof![4 => 1..6_u8, 1 => any::<u8>()];
    (record_type, 0..3_u16, content, any::<u8>())
        .prop_map(|(record_type, id, content, padding)| padded(record_type, id, &content, padding))
}

proptest! {
    // rule: FCG-2
    #[test]
    fn any_octets_are_survived(octets: Vec<u8>, piece in 1..64_usize) {
        survive(octets.chunks(piece));
    }

    // rule: FCG-2
    #[test]
    fn any_records_are_survived(
        records in prop::collection::vec(any_record(), 0..40),
        piece in 1..200_usize,
    ) {
        survive(records.concat().chunks(piece));
    }

    // rule: FCG-2
    #[test]
    fn a_mutated_request_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        piece in 1..200_usize,
    ) {
        let mut octets = [
            request(1, After::Keep, "/first", b"body"),
            request(1, After::Keep, "/second", &[b'x'; 300]),
        ]
        .concat();
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        survive(octets.chunks(piece));
    }

    // rule: FCG-2
    #[test]
    fn any_octets_are_pairs_or_an_error(octets: Vec<u8>) {
        if let Ok(params) = Params::parse(&octets) {
            let total: usize = params.iter().map(|(name, value)| 2 + name.len() + value.len()).sum();
            prop_assert!(total <= octets.len());
        }
    }

    // rule: FCG-1
    #[test]
    fn a_record_comes_back_as_it_was_written(
        record_type: u8,
        id: u16,
        content: Vec<u8>,
        padding: u8,
        rest: Vec<u8>,
    ) {
        let octets = padded(record_type, id, &content, padding);
        let len = octets.len();
        let octets = [octets, rest].concat();
        let record = fcgi::Record { record_type, request_id: id, content: &content, len };
        prop_assert_eq!(fcgi::split(&octets), Ok(Some(record)));
    }
}
