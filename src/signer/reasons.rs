//! OpenSSL's reasons, as text for the operator.

use std::fmt;

use openssl::error::{Error, ErrorStack};

/// Why OpenSSL refused, without its codes and source lines. Prints as
/// `pkcs11: The token was not present (Failed to open session on slot 1)`.
#[derive(Clone, Debug)]
pub struct Reasons(ErrorStack);

impl Reasons {
    /// What a provider says about a key that it did not load. `None`: nothing; that no
    /// decoder of OpenSSL's own took its file is no news.
    pub(super) fn of_provider(stack: ErrorStack) -> Option<Self> {
        let is_news = |error: &Error| {
            error.library() != Some("DECODER routines") || error.reason() != Some("unsupported")
        };
        stack.errors().iter().any(is_news).then_some(Self(stack))
    }
}

impl From<ErrorStack> for Reasons {
    fn from(stack: ErrorStack) -> Self {
        Self(stack)
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = Vec::new();
        for error in self.0.errors() {
            let library = error.library().unwrap_or("OpenSSL");
            let reason = match error.reason() {
                Some(reason) => reason.to_owned(),
                None => format!("error {:08X}", error.code()),
            };
            let text = match error.data() {
                Some(data) => format!("{library}: {reason} ({data})"),
                None => format!("{library}: {reason}"),
            };
            // Each decoder that OpenSSL tries says the same.
            if !told.contains(&text) {
                told.push(text);
            }
        }
        if told.is_empty() {
            return formatter.write_str("OpenSSL gives no reason");
        }
        formatter.write_str(&told.join("; "))
    }
}

impl std::error::Error for Reasons {}
