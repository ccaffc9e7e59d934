use crate::Effort;

pub fn measure(_: Effort) {}
