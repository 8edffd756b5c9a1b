//! How clients are met over TLS, and until when that can go on.

use std::collections::BTreeMap;

use super::{Exposition, sum};
use crate::observe::metrics::labels::Handshake;
use crate::observe::metrics::table;
use crate::observe::metrics::text::Text;

/// The certificates of a listener.
#[derive(Debug)]
pub struct CertificatesView {
    /// Its address.
    pub listener: String,
    /// What each is called, and when it ceases to be valid, in seconds since the epoch.
    pub expiry: Vec<(String, i64)>,
    /// How often changed files were put in force.
    pub renewals: u64,
    /// How often changed files could not be used.
    pub refusals: u64,
}

pub(super) fn show(text: &mut Text, exposition: &Exposition<'_>) {
    let mut samples = text.family(table::TLS_HANDSHAKES);
    for (name, shards) in &exposition.listeners {
        for result in Handshake::ALL {
            samples.int(&[name, result.as_str()], sum(shards, |shard| shard.handshakes(*result)));
        }
    }
    let mut samples = text.family(table::TLS_CERTIFICATE_EXPIRY);
    for CertificatesView { listener, expiry, .. } in &exposition.certificates {
        // Two of one name are told apart by nothing: the first that expires is what matters.
        let mut first: BTreeMap<&str, i64> = BTreeMap::new();
        for (subject, ends) in expiry {
            first.entry(subject).and_modify(|first| *first = (*first).min(*ends)).or_insert(*ends);
        }
        for (subject, ends) in first {
            samples.int(&[listener, subject], u64::try_from(ends).unwrap_or(0));
        }
    }
    let mut samples = text.family(table::TLS_CERTIFICATE_RELOADS);
    for CertificatesView { listener, renewals, refusals, .. } in &exposition.certificates {
        samples.int(&[listener, "ok"], *renewals);
        samples.int(&[listener, "refused"], *refusals);
    }
}
