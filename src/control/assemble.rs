//! From a configuration to a generation: loads what it names, and carries over what it shares with the one before.

use std::sync::Arc;

use super::secrets;
use super::surroundings::Surroundings;
use crate::certificates::Unusable;
use crate::config::Config;
use crate::config::model::StickyKey;
use crate::generation::Generation;
use crate::upstream::connect::Secured;
use crate::upstream::{Means, Upstream};

fn in_upstream(name: &str, unusable: &Unusable) -> String {
    format!("upstream {name}: tls: {}", unusable.why)
}

/// Whether what `config` names can be used. Makes nothing.
///
/// # Errors
/// What cannot.
pub(super) fn check(config: &Config, surroundings: &Surroundings) -> Result<(), String> {
    for upstream in &config.upstreams {
        if upstream.sticky.by.contains(&StickyKey::Cookie) {
            let keys = secrets::existing(&upstream.sticky.secret, surroundings.state.as_deref());
            keys.map_err(|error| format!("upstream {}: {error}", upstream.name))?;
        }
        if let Some(tls) = &upstream.tls {
            Secured::load(tls, None).map_err(|unusable| in_upstream(&upstream.name, &unusable))?;
        }
    }
    Ok(())
}

/// The generation of `config`. `before`: the one that it is to follow.
///
/// # Errors
/// When something that it names cannot be used.
pub(super) fn generation(
    config: Config,
    surroundings: &Surroundings,
    before: Option<&Generation>,
) -> Result<Generation, String> {
    let workers = config.workers.get();
    let mut upstreams = Vec::new();
    for upstream in &config.upstreams {
        let sealed = upstream.sticky.by.contains(&StickyKey::Cookie);
        let load = || secrets::load(&upstream.sticky.secret, surroundings.state.as_deref());
        let keys = sealed.then(load).transpose();
        let keys = keys.map_err(|error| format!("upstream {}: {error}", upstream.name))?;
        if let Some(keys) = &keys {
            tracing::info!(upstream = upstream.name, secret = keys.fingerprint(), "cookie secret");
        }
        let known = before.and_then(|before| before.upstream(&upstream.name));
        let were = known.and_then(|known| known.secured.as_ref());
        let secured = upstream.tls.as_ref().map(|tls| Secured::load(tls, were)).transpose();
        let secured = secured.map_err(|unusable| in_upstream(&upstream.name, &unusable))?;
        let means = Means { keys: keys.map(Arc::new), secured };
        let upstream = match known {
            None => Upstream::beginning(upstream.clone(), means, workers),
            Some(before) => Upstream::following(upstream.clone(), means, workers, before),
        };
        upstreams.push(Arc::new(upstream));
    }
    let stays =
        |known: &Arc<Upstream>| upstreams.iter().any(|upstream| upstream.config.name == known.config.name);
    let known = before.into_iter().flat_map(Generation::all);
    let leaving = known.filter(|known| !stays(known) && !known.is_empty()).cloned().collect();
    Ok(Generation { config, upstreams, leaving })
}
