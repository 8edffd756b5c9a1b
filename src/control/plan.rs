//! What another configuration changes, and what that does to what is open.

use std::fmt::{self, Display, Formatter};

use super::lifecycle::empties;
use crate::config::diff::Diff;
use crate::config::model::{Config, Drain};
use crate::config::{self, diff};
use crate::generation::Generation;
use crate::upstream::Instance;

/// A change of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What changes in the file.
    pub difference: Diff,
    /// What it does, for people; a sentence each.
    pub effects: Vec<String>,
}

impl Plan {
    /// From what runs to `next`.
    pub(super) fn of(before: &Generation, next: &Config) -> Self {
        let mut effects = Vec::new();
        for upstream in &before.upstreams {
            let Some(same) = next.upstreams.iter().find(|known| known.name == upstream.config.name) else {
                // It goes by the rules that it had: there are no others.
                let gone: Vec<&Instance> = upstream.named().iter().map(|gone| &**gone).collect();
                effects.extend(emptied(&upstream.config.name, &gone, &upstream.config.drain));
                continue;
            };
            let pairs = diff::pairs(&upstream.config, same);
            let stays = |index: usize| pairs.iter().position(|pair| *pair == Some(index));
            let is_emptied = |(index, instance): (usize, &_)| -> bool {
                let instance: &Instance = instance;
                match stays(index).map(|at| same.instances[at].state) {
                    None => true,
                    Some(state) => {
                        let changes = state != instance.config.state;
                        changes && empties(state) && !empties(instance.lifecycle.state())
                    }
                }
            };
            let going = upstream.named().iter().enumerate();
            let going = going.filter(|(index, instance)| is_emptied((*index, instance)));
            let going: Vec<&Instance> = going.map(|(_, instance)| &**instance).collect();
            effects.extend(emptied(&same.name, &going, &same.drain));
            if upstream.config.timeouts.ping.is_none() && same.timeouts.ping.is_some() {
                effects
                    .push(format!("upstream {}: pings begin with tunnels that open from now on", same.name));
            }
        }
        Plan { difference: diff::diff(&before.config, next), effects }
    }
}

/// `upstream app: blue-1 is drained: 3120 tunnels and 12 sessions close over 1m`.
fn emptied(upstream: &str, instances: &[&Instance], rules: &Drain) -> Option<String> {
    let tunnels: u32 = instances.iter().map(|instance| instance.load.tunnels()).sum();
    let others = instances.iter().map(|instance| instance.load.total()).sum::<u32>().saturating_sub(tunnels);
    let names: Vec<&str> = instances.iter().take(4).map(|instance| instance.name.as_str()).collect();
    let names = match instances.len() {
        0 => return None,
        1..=4 => names.join(", "),
        more => format!("{} and {} more", names.join(", "), more - names.len()),
    };
    let are = if instances.len() == 1 { "is" } else { "are" };
    let open: Vec<String> = [(tunnels, "tunnel"), (others, "session")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") })
        .collect();
    let close = if tunnels + others == 1 { "closes" } else { "close" };
    let open = if open.is_empty() {
        "nothing is open there".to_owned()
    } else {
        format!("{} {close} over {}", open.join(" and "), config::show_duration(rules.spread))
    };
    let grace = if rules.grace.is_zero() {
        String::new()
    } else {
        format!(" after {}", config::show_duration(rules.grace))
    };
    Some(format!("upstream {upstream}: {names} {are} drained: {open}{grace}"))
}

/// A line for each change, and then for each effect.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.difference)?;
        self.effects.iter().try_for_each(|effect| write!(f, "\n=> {effect}"))
    }
}
