//! TOML to a configuration that the program can run on, or every reason why not.
//!
//! ```text
//! raw (private: the spanned tree, walked by hand) -> validate (collects every problem) -> model
//!                                                     report (line, column, caret, did-you-mean)
//! ```
//!
//! This folder imports nothing of the crate; nobody else can name a raw type.

pub mod model;

pub use model::Config;
