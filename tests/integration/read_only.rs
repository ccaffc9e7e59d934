//! A cache folder that becomes read-only while it is in use, as ext4 makes itself after an
//! error: what is overtaken cannot be removed from it.

use std::fs;

use nix::sys::signal::Signal;
use ocsp_fcgi::demo::KeyKind;
use ocsp_fcgi::status::{CertStatus, RevocationReason};

use crate::support::ocsp::{Answer, TRY_LATER};
use crate::support::site::{REVOKED_AT, Running, Site, revoked};
use crate::support::{eventually, free_port, logged};

// rule: ANS-6
#[test]
fn what_is_overtaken_and_cannot_be_removed_is_given_no_more() {
    let world = World::with_what_is_overtaken();
    assert_eq!(world.told(OVERTAKEN), "tryLater");
    world.remount("rw");
    assert_eq!(world.told(OVERTAKEN), "tryLater", "it is there still");
    world.show_store();
    eventually("the store answers again", || {
        (world.told(OVERTAKEN) == told_revoked()).then_some(())
    });
}

// rule: ANS-6
#[test]
fn a_reload_forgets_nothing_of_what_could_not_be_removed() {
    let world = World::with_what_is_overtaken();
    world.remount("rw");
    world.reload();
    assert_eq!(world.told(OVERTAKEN), "tryLater");
}

/// Another process may have found out, and not been able to remove it; or the one before.
// rule: ANS-6
#[test]
fn what_could_not_be_removed_is_not_given_as_good_by_who_has_found_it_in_the_folder() {
    let world = World::new();
    world.site.set_status(REVOKED, revoked(RevocationReason::KeyCompromise));
    assert_eq!(world.told(UNTOUCHED), "good");
    assert_eq!(world.told(REVOKED), told_revoked());
    world.remount("ro");
    world.hide_store();
    assert_eq!(world.told(UNTOUCHED), "good", "memory has it");
    world.reload();
    assert_eq!(world.told(UNTOUCHED), "tryLater");
    assert_eq!(world.told(REVOKED), told_revoked());
    world.remount("rw");
    assert_eq!(world.told(UNTOUCHED), "good");
}

/// A responder whose cache folder is a file system of its own.
struct World {
    site: Site,
    responder: Running,
}

impl World {
    fn new() -> Self {
        let site = Site::new(KeyKind::P256);
        for serial in [OVERTAKEN, UNTOUCHED] {
            site.set_status(serial, CertStatus::Good);
        }
        fs::create_dir(site.path("cache")).unwrap();
        let port = free_port();
        let config = site.configure(&format!("port = {port}\n[cache]\nfreshness = \"0s\"\n"));
        let responder = Running::start_mounted(&config, port, MOUNT);
        Self { site, responder }
    }

    /// Whose folder is read-only when it tells of a revocation, and whose store goes away then.
    fn with_what_is_overtaken() -> Self {
        let world = Self::new();
        assert_eq!(world.told(OVERTAKEN), "good");
        world.remount("ro");
        world.site.set_status(OVERTAKEN, revoked(RevocationReason::KeyCompromise));
        assert_eq!(world.told_by_nonce(OVERTAKEN), told_revoked());
        world.hide_store();
        world
    }

    /// `ro` or `rw`.
    fn remount(&self, mode: &str) {
        fs::write(self.site.path(mode), "").unwrap();
        let done = self.site.path(&format!("{mode}.done"));
        eventually("it is mounted otherwise", || fs::remove_file(&done).ok());
    }

    fn reload(&self) {
        self.responder.signal(Signal::SIGHUP);
        logged(&self.site.path("serve.log"), "reloaded");
    }

    fn hide_store(&self) {
        fs::rename(self.site.path("certs.db"), self.site.path("away.db")).unwrap();
    }

    fn show_store(&self) {
        fs::rename(self.site.path("away.db"), self.site.path("certs.db")).unwrap();
    }

    fn told(&self, serial: &str) -> String {
        self.said(&self.site.about(serial).der())
    }

    fn told_by_nonce(&self, serial: &str) -> String {
        self.said(&self.site.about(serial).with_nonce(b"nonce").der())
    }

    fn said(&self, question: &[u8]) -> String {
        match self.responder.post(question) {
            answer if answer == TRY_LATER => "tryLater".to_owned(),
            answer => Answer::read(&answer).statuses().concat(),
        }
    }
}

fn told_revoked() -> String {
    format!("revoked {REVOKED_AT} 1")
}

const OVERTAKEN: &str = "0a1b";
const UNTOUCHED: &str = "0c04";
const REVOKED: &str = "ff02";
/// Becomes what the file asks for that appears beside the configuration, as long as that is
/// there. (`remount` of the mount point alone repeats options that only root may give.)
const MOUNT: &str = "mount -t tmpfs none cache && { (
    while [ -e config.toml ]; do
        for mode in ro rw; do
            [ ! -e $mode ] ||
                { mount -t tmpfs -o remount,$mode none cache && mv $mode $mode.done; }
        done
        sleep 0.02
    done) & }";
