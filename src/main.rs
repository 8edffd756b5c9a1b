//! The `stickyd` binary.

fn main() {}
