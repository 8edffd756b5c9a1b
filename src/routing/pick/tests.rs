//! Follows with the next commit.
