//! How much room the cache of nginx takes.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ocsp_fcgi::demo::KeyKind;

use super::{LONG, cache};
use crate::support::client::{Said, escaped, get, padded, post, said};
use crate::support::files;
use crate::support::nginx::{nginx, serve};
use crate::support::site::Site;

// rule: WEB-3
#[test]
fn one_question_written_in_ever_new_ways_takes_no_more_room_than_the_zone_has_keys() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, LONG);
    let nginx = nginx(&site);
    let question = site.request("good", &["-no_nonce"]);
    let uri = escaped(&question);
    let good = AtomicUsize::new(0);
    thread::scope(|scope| {
        for part in 0..4 {
            let (nginx, question, uri, good) = (&nginx, &question, &uri, &good);
            scope.spawn(move || {
                let mut client = nginx.client();
                for number in 0..WAYS / 4 {
                    let answer = client.get(&format!("/{part}/{number}/{uri}"));
                    if said(question, &answer.body) == Said::Good {
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let of = |path: &PathBuf| path.metadata().map_or(0, |file| file.blocks() * 512);
    let taken: u64 = files(&site.path("nginx-cache")).iter().map(of).sum();
    // A block for each of 16,000 keys; of 40,000 questions they would be 160 MiB.
    assert!(taken < 80 << 20, "{taken}");
    let good = good.into_inner();
    assert!(good > WAYS * 99 / 100, "{good}");
}

// rule: WEB-3
#[test]
fn a_question_whose_key_is_long_is_answered_and_not_kept() {
    let site = Site::with_certificates(KeyKind::P256);
    let _responder = serve(&site, LONG);
    let nginx = nginx(&site);
    let question = site.request("good", &["-no_nonce"]);
    let mut client = nginx.client();
    for (size, wanted) in [(999, "HIT"), (1000, "MISS")] {
        let uri = escaped(&question);
        let uri = format!("/{}/{uri}", "x".repeat(size - 2 - uri.len()));
        for request in [get(&uri), post(&padded(&question, size))] {
            client.send(&request);
            let answer = client.send(&request);
            assert_eq!((said(&question, &answer.body), cache(&answer)), (Said::Good, wanted));
        }
    }
}

const WAYS: usize = 40_000;
