//! OpenClaw.
fn main() {}
