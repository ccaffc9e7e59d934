//! Who signs for a CA, the present signer or the next one or both in turn, by when their
//! certificates are valid.

use std::path::PathBuf;

use super::not_allowed;
use crate::config;
use crate::responder::issuers::TakeOver;
use crate::signer::Signer;
use crate::signer::certificate::{Certificate, NotAllowed};
use crate::time::Timestamp;

/// Who may sign for a CA, if not now.
pub(super) struct Candidate {
    pub signer: Signer,
    /// Of the certificate.
    pub path: PathBuf,
    pub take_over: TakeOver,
    /// The certificate is no longer valid, or not yet.
    barred: Option<NotAllowed>,
}

/// Which of the two that the configuration names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Present,
    Next,
}

/// Who signs for a CA.
pub(super) struct Succession {
    /// In order.
    pub signers: Vec<Candidate>,
    /// Why none of them signs now.
    pub over: Option<String>,
    /// Why one is left out, or when nobody signs.
    pub warning: Option<String>,
}

impl Succession {
    pub fn of(
        present: Candidate,
        next: Option<Candidate>,
        ca: (&Certificate, &config::Issuer),
    ) -> Self {
        match (present.barred, next) {
            (None, None) => Self::all(vec![present]),
            (None, Some(next)) => match never_signs(&next, &present, ca) {
                None => Self {
                    warning: nobody_between(&present, &next, ca.0),
                    ..Self::all(vec![present, next])
                },
                Some(reason) => {
                    let path = next.path.display();
                    let left_out =
                        format!("certificate {path}: {reason}, the present signer goes on");
                    Self { warning: Some(left_out), ..Self::all(vec![present]) }
                }
            },
            (Some(reason), None) => {
                Self { over: Some(may_not(&present, reason, ca)), ..Self::all(vec![present]) }
            }
            (Some(present_reason), Some(next)) => match next.barred {
                None => {
                    let (path, on) = (present.path.display(), present.certificate().not_after());
                    let over = format!("certificate {path}: ended on {on}, its successor signs");
                    // Both, as the clock may be wrong: with the right one its turn may be yet to
                    // come.
                    Self { warning: Some(over), ..Self::all(vec![present, next]) }
                }
                Some(reason) => {
                    let over = format!(
                        "{}, and neither may {}: {reason}",
                        may_not(&present, present_reason, ca),
                        next.path.display()
                    );
                    // The next one signs as soon as it is valid.
                    Self { over: Some(over), ..Self::all(vec![present, next]) }
                }
            },
        }
    }

    fn all(signers: Vec<Candidate>) -> Self {
        Self { signers, over: None, warning: None }
    }
}

impl Candidate {
    /// One that is to take over at `from`, if that is given.
    ///
    /// # Errors
    ///
    /// Why it may never sign for this CA, or is to do so before it is valid.
    pub fn new(
        (signer, path): (Signer, PathBuf),
        (order, from): (Order, Option<Timestamp>),
        ca: &Certificate,
        now: Timestamp,
    ) -> Result<Self, NotAllowed> {
        let certificate = signer.certificate();
        let waits =
            order == Order::Next && from.is_none_or(|from| from >= certificate.not_before());
        let barred = match certificate.may_sign_for(ca, now) {
            Ok(()) => None,
            Err(reason @ NotAllowed::Ended(_)) => Some(reason),
            Err(reason @ NotAllowed::NotYet(_)) if waits => Some(reason),
            Err(reason) => return Err(reason),
        };
        let take_over = from.map_or(TakeOver::BeforeTheEnd, TakeOver::At);
        Ok(Self { signer, path, take_over, barred })
    }

    pub fn certificate(&self) -> &Certificate {
        self.signer.certificate()
    }
}

/// Why a successor will sign nothing: its turn would come after its end.
fn never_signs(
    next: &Candidate,
    present: &Candidate,
    (ca, settings): (&Certificate, &config::Issuer),
) -> Option<String> {
    let ends = |one: &Candidate| one.certificate().not_after().min(ca.not_after());
    let validity = settings.policy.validity;
    let takes_over = next.take_over.instant(next.certificate(), ends(present), validity);
    match next.barred {
        Some(NotAllowed::Ended(on)) => Some(format!("ended on {on}")),
        _ if ends(next) <= takes_over => {
            Some(format!("ends on {}, before it would take over on {takes_over}", ends(next)))
        }
        _ => None,
    }
}

/// That a successor begins only when its predecessor has ended.
fn nobody_between(present: &Candidate, next: &Candidate, ca: &Certificate) -> Option<String> {
    let ends = present.certificate().not_after().min(ca.not_after());
    let begins = next.certificate().not_before();
    (begins > ends).then(|| {
        format!(
            "certificate {}: begins on {begins}, after that of the present signer has ended on \
             {ends}: nobody signs in between",
            next.path.display()
        )
    })
}

fn may_not(
    one: &Candidate,
    reason: NotAllowed,
    (_, settings): (&Certificate, &config::Issuer),
) -> String {
    format!("{}: {reason}", not_allowed(&one.path, &settings.certificate.path))
}
