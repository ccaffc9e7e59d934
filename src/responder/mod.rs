//! The decisions.
pub mod policy;
