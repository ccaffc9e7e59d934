//! A cache folder that takes no files, for a time at least, as where the disk is full: what is
//! not in it cannot be taken back by other processes.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use ocsp_fcgi::time::{Clock, SystemClock};

use crate::support::files;
use crate::support::responder::World;

// rule: ANS-6
#[test]
fn what_has_no_file_as_none_could_be_written_is_not_given_as_good_without_the_store() {
    let world = full();
    assert_eq!(world.told(&world.sha1), "good");
    assert_eq!(told_without_store_once_another_is_told_of_a_revocation(&world), "tryLater");
}

// rule: ANS-6
#[test]
fn nor_is_it_where_there_was_room_again_when_another_was_told() {
    let world = full();
    assert_eq!(world.told(&world.sha1), "good");
    make_room(&world);
    assert_eq!(told_without_store_once_another_is_told_of_a_revocation(&world), "tryLater");
}

// rule: ANS-6
#[test]
fn it_is_given_again_once_it_has_its_file() {
    let world = full();
    assert_eq!(world.told(&world.sha1), "good");
    assert_eq!(world.told(&world.sha1), "good", "within the window nobody asks");
    make_room(&world);
    world.at(SystemClock.now().saturating_add(WINDOW * 2));
    assert_eq!(world.told(&world.sha1), "good");
    assert_eq!(files(&world.site.path("cache")).len(), 1);
    world.hide_store();
    world.at(SystemClock.now().saturating_add(WINDOW * 4));
    assert_eq!(world.told(&world.sha1), "good");
}

/// Its folder reads as empty, and takes nothing.
fn full() -> World {
    let world = World::new(WINDOW);
    symlink("room", world.site.path("cache")).unwrap();
    world
}

fn make_room(world: &World) {
    fs::create_dir(world.site.path("room")).unwrap();
}

/// Told after the window.
fn told_without_store_once_another_is_told_of_a_revocation(world: &World) -> String {
    let other = World::beside(world, WINDOW);
    other.revoke("0a1b");
    assert!(other.told(&other.nonce()).starts_with("revoked"));
    world.hide_store();
    world.at(SystemClock.now().saturating_add(WINDOW * 2));
    world.told(&world.sha1)
}

const WINDOW: Duration = Duration::from_secs(10);
