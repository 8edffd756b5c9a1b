//! Which of its certificates a listener shows: the name that a client asks for chooses.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificates::Pair;

/// The certificates of a listener, the default first.
#[derive(Debug)]
pub(super) struct Choice {
    pairs: Vec<Pair>,
}

impl Choice {
    /// Among these; at least one.
    pub(super) fn of(pairs: Vec<Pair>) -> Self {
        Choice { pairs }
    }

    /// The one for `asked`, lower-case: one that is called so before one that has a wildcard for it, and else the default. Of those
    /// that are as good the first whose key `signs` as the client understands.
    fn choose(&self, asked: Option<&str>, signs: impl Fn(&Pair) -> bool) -> &Pair {
        let fits = |pair: &&Pair, fit: Fit| {
            asked.is_some_and(|asked| pair.facts.names.iter().any(|name| fits(name, asked) == Some(fit)))
        };
        for fit in [Fit::Exact, Fit::Wildcard] {
            let fitting = || self.pairs.iter().filter(|pair| fits(pair, fit));
            if let Some(found) = fitting().find(|pair| signs(pair)).or_else(|| fitting().next()) {
                return found;
            }
        }
        let default = &self.pairs[0];
        let names = |pair: &Pair| pair.facts.names.iter().cloned().collect::<HashSet<_>>();
        let same = self.pairs.iter().filter(|pair| names(pair) == names(default));
        same.into_iter().find(|pair| signs(pair)).unwrap_or(default)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let offered: &[SignatureScheme] = hello.signature_schemes();
        let signs = |pair: &Pair| pair.key.key.choose_scheme(offered).is_some();
        Some(self.choose(asked.as_deref(), signs).key.clone())
    }
}

/// How well a certificate's name fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Exact,
    Wildcard,
}

/// A wildcard stands for one label (RFC 6125).
fn fits(name: &str, asked: &str) -> Option<Fit> {
    let asked = asked.strip_suffix('.').unwrap_or(asked);
    if name == asked {
        return Some(Fit::Exact);
    }
    let suffix = name.strip_prefix("*.")?;
    let (label, rest) = asked.split_once('.')?;
    (!label.is_empty() && rest == suffix).then_some(Fit::Wildcard)
}

#[cfg(test)]
mod tests;
