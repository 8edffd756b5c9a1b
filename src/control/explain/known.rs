//! What is known besides the configuration: by the running process everything, by a file nothing.

use std::sync::Arc;

use super::{Member, MemberNow, words};
use crate::affinity::cookie::{Binding, Keys};
use crate::affinity::ip_hash::InstanceHash;
use crate::affinity::rest::Rest;
use crate::affinity::sid::table::Table;
use crate::config::model::{self, Config};
use crate::control::{Surroundings, secrets};
use crate::generation::Generation;
use crate::http::candidate;
use crate::local::clock;
use crate::routing::pick::{Candidate, Client, Health, Need, Sid};
use crate::upstream::load::Home;
use crate::upstream::{Instance, Upstream};

/// Who is asked.
#[derive(Clone, Copy)]
pub(super) enum Source<'k> {
    /// A configuration, and where its secrets may be.
    File(&'k Config, &'k Surroundings),
    /// The running process.
    Process { generation: &'k Generation, sids: &'k Table<Home>, rest: &'k Rest },
}

/// The same about one upstream.
#[derive(Clone, Copy)]
pub(super) enum Known<'k> {
    File(&'k model::Upstream, &'k Surroundings),
    Process { upstream: &'k Upstream, sids: &'k Table<Home>, rest: &'k Rest },
}

impl<'k> Source<'k> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Source::File(..) => "file",
            Source::Process { .. } => "process",
        }
    }

    /// Of the upstream at this place of the configuration.
    pub(super) fn of_upstream(&self, index: usize) -> Known<'k> {
        match *self {
            Source::File(config, surroundings) => Known::File(&config.upstreams[index], surroundings),
            Source::Process { generation, sids, rest } => {
                Known::Process { upstream: &generation.upstreams[index], sids, rest }
            }
        }
    }
}

impl<'k> Known<'k> {
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Known::Process { .. })
    }

    /// What the file says of it; of a process, names that are expanded are the instances that they come to.
    pub(super) fn upstream(&self) -> &'k model::Upstream {
        match self {
            Known::File(upstream, _) => upstream,
            Known::Process { upstream, .. } => &upstream.config,
        }
    }

    /// A name of which nobody here knows the instances.
    pub(super) fn has_unknown(&self) -> Option<&'k str> {
        match self {
            Known::File(upstream, _) => upstream.expanded().next().map(|name| name.host.as_str()),
            Known::Process { .. } => None,
        }
    }

    /// Of its instances, those that are leaving too.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Known::File(upstream, _) => upstream.instances.iter().map(|known| known.name.clone()).collect(),
            Known::Process { upstream, .. } => {
                upstream.instances.iter().map(|known| known.name.clone()).collect()
            }
        }
    }

    pub(super) fn session(&self, sid: &str) -> Sid {
        match self {
            Known::File(..) => Sid::Unknown,
            Known::Process { upstream, sids, .. } => {
                candidate::known_session(sids, upstream, sid, clock::coarse().since_boot())
            }
        }
    }

    /// The secrets of its cookie; `None`: they are not here.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn keys(&self) -> Result<Option<Arc<Keys>>, String> {
        match self {
            Known::File(upstream, surroundings) => {
                let keys = secrets::existing(&upstream.sticky.secret, surroundings.state.as_deref());
                keys.map(|keys| keys.map(Arc::new))
                    .map_err(|problem| format!("`upstream.{}.sticky`: {problem}", upstream.name))
            }
            Known::Process { upstream, .. } => Ok(upstream.keys.clone()),
        }
    }

    /// The instance that a cookie's binding names, if it is still there.
    pub(super) fn bound(&self, binding: &Binding, keys: &Keys) -> Option<usize> {
        match self {
            Known::File(upstream, _) => {
                let token = |known: &model::Instance| keys.instance_tokens(&upstream.name, &known.name);
                let tokens: Vec<_> = upstream.instances.iter().map(token).collect();
                binding.instance_of(tokens.iter().map(Vec::as_slice))
            }
            Known::Process { upstream, .. } => upstream.bound(binding),
        }
    }

    /// The instances as this client is placed among them. `binding`: of its cookie.
    pub(super) fn candidates(
        &self,
        by_load: bool,
        client: Client<'_>,
        binding: Option<[u8; 8]>,
    ) -> Vec<Candidate> {
        match self {
            // As a proxy sees them that has just begun and found everything well.
            Known::File(upstream, _) => {
                let candidate = |known: &model::Instance| Candidate {
                    backup: known.backup,
                    state: known.state,
                    ..Candidate::ready(InstanceHash::of(&upstream.name, &known.name), known.weight)
                };
                upstream.instances.iter().map(candidate).collect()
            }
            Known::Process { upstream, rest, .. } => {
                let mut candidates: Vec<_> = candidate::candidates(upstream, by_load).collect();
                if !matches!(client.need, Need::Session(_)) {
                    let who = candidate::who(upstream, binding, client.address);
                    let now = clock::coarse().since_boot();
                    candidate::mark_away(&mut candidates, upstream, rest, who, now);
                }
                candidates
            }
        }
    }

    /// What is shown of the instances.
    pub(super) fn members(&self, candidates: &[Candidate]) -> Vec<Member> {
        match self {
            Known::File(upstream, _) => upstream.instances.iter().map(words::member).collect(),
            Known::Process { upstream, .. } => {
                let member = |(known, candidate): (&Arc<Instance>, &Candidate)| {
                    let now = MemberNow {
                        health: match candidate.health {
                            Health::Up => "up",
                            Health::Degraded | Health::Silent => "degraded",
                            Health::Down => "down",
                        },
                        evidence: known.vitals.evidence(),
                        share: candidate.share,
                        full: candidate.full,
                        away: candidate.away,
                    };
                    Member { state: candidate.state.as_str(), now: Some(now), ..words::member(&known.config) }
                };
                upstream.instances.iter().zip(candidates).map(member).collect()
            }
        }
    }
}
