//! Two configurations to what changed from one to the other.
//!
//! Pure. Must not: read a file, or decide what is done about a change.

use std::collections::HashMap;

use super::model::{Instance, Upstream};

/// For each instance of `new`, the index of the one in `old` that it goes on as: the one of its name, else one with its
/// address that nobody has by name. No index comes twice.
///
/// Names go first because cookies hold names. So when two instances swap names, each goes on under its name and has
/// another address, just as when an orchestrator gives them each other's.
pub fn pairs(old: &Upstream, new: &Upstream) -> Vec<Option<usize>> {
    let of_old = || old.instances.iter().enumerate();
    let by_name: HashMap<&str, usize> =
        of_old().map(|(index, instance)| (instance.name.as_str(), index)).collect();
    let mut pairs: Vec<Option<usize>> =
        new.instances.iter().map(|instance| by_name.get(instance.name.as_str()).copied()).collect();

    let mut is_left = vec![true; old.instances.len()];
    pairs.iter().flatten().for_each(|&index| is_left[index] = false);
    let mut by_address: HashMap<String, usize> = of_old()
        .filter(|(index, _)| is_left[*index])
        .map(|(index, instance)| (place(instance), index))
        .collect();
    for (pair, instance) in pairs.iter_mut().zip(&new.instances).filter(|(pair, _)| pair.is_none()) {
        *pair = by_address.remove(&place(instance));
    }
    pairs
}

/// Its address as it is compared: names of hosts have no case, and a dot at their end means nothing here.
fn place(instance: &Instance) -> String {
    format!("{}:{}", instance.host.to_ascii_lowercase().trim_end_matches('.'), instance.port)
}

#[cfg(test)]
mod tests;
