//! An upstream as a rebalance looks at it: which of its instances have a share, what they carry, whether it is a time for that.
//!
//! Must not: close anything.

use crate::config::model::{Check, InstanceState};

use super::health::{State, WHOLE};
use super::skew::{self, Carried, Skewed};
use super::{Instance, Upstream};

impl Upstream {
    /// How unevenly its instances carry its tunnels, in their order: all numbers are tunnels, and [`Skewed::moves`] is what a rebalance
    /// would close now. Where `rebalance.max_skew` is off, by [`skew::ASSUMED`]. Nothing is beyond when its checks are not believed.
    /// `away`: clients that were moved a moment ago and are not back yet; 0 for who only wants to look.
    pub fn skewed(&self, away: u32) -> Vec<Skewed> {
        let believed = self.believes_checks();
        let carried = |instance: &Instance| Carried {
            tunnels: instance.load.tunnels(),
            weight: instance.config.weight,
            room: instance.config.max_tunnels.map(|most| most.saturating_sub(instance.load.total())),
            takes_part: believed && instance.takes_part(),
        };
        let carried: Vec<_> = self.instances.iter().map(|instance| carried(instance)).collect();
        skew::skewed(&carried, self.config.rebalance.max_skew.unwrap_or(skew::ASSUMED), away)
    }

    /// Nothing else moves its clients: no instance that has to be empty has a tunnel yet, none has come back a moment ago, and none
    /// has still to be checked for the first time. Otherwise a rebalance waits, whatever [`Upstream::skewed`] says.
    pub fn is_settled(&self) -> bool {
        let checked = self.config.health.check != Check::Off;
        let unsettled = |instance: &Instance| {
            let empties = match instance.lifecycle.state() {
                InstanceState::Drain | InstanceState::Maintain => true,
                InstanceState::Ready | InstanceState::Cordon => instance.vitals.state() == State::Down,
            };
            if empties {
                return instance.load.tunnels() > 0;
            }
            instance.vitals.share() != WHOLE || (checked && instance.vitals.state() == State::Unknown)
        };
        !self.instances.iter().any(|instance| unsettled(instance))
    }
}

impl Instance {
    /// It takes new clients as they come, like the others.
    fn takes_part(&self) -> bool {
        self.state() == InstanceState::Ready
            && self.vitals.passes()
            && self.vitals.share() == WHOLE
            && !self.config.backup
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::upstream::load::OpenTunnel;

    const THREE: &str =
        "\"a:1\", { address = \"b:1\", max_tunnels = 9 }, { address = \"c:1\", backup = true }";

    fn upstream(more: &str) -> Upstream {
        of(THREE, more)
    }

    fn of(instances: &str, more: &str) -> Upstream {
        let text = format!(
            "listen = \"127.0.0.1:80\"\n[upstream.app]\nsticky.by = []\n{more}\ninstances = [{instances}]\n"
        );
        let config = config::parse(&text, "test.toml").unwrap_or_else(|report| panic!("{report}")).config;
        Upstream::new(config.upstreams[0].clone(), None, 1)
    }

    fn tunnels(upstream: &Upstream, counts: [usize; 3]) -> Vec<OpenTunnel> {
        let of = |(instance, count)| std::iter::repeat_n(instance, count);
        upstream.instances.iter().zip(counts).flat_map(of).cloned().map(OpenTunnel::begin).collect()
    }

    /// What moves from each.
    fn moves(upstream: &Upstream) -> Vec<u32> {
        upstream.skewed(0).iter().map(|one| one.moves).collect()
    }

    #[test]
    fn who_has_a_share() {
        let upstream = upstream("rebalance.max_skew = 1.5");
        let _open = tunnels(&upstream, [16, 0, 5]);
        let b = &upstream.instances[1];
        // Half of 16, half more; the backup is apart.
        assert_eq!(moves(&upstream), [4, 0, 0]);
        for state in [InstanceState::Cordon, InstanceState::Drain, InstanceState::Maintain] {
            b.lifecycle.wants(state);
            assert_eq!(moves(&upstream), [0, 0, 0], "{state:?}");
        }
        b.lifecycle.wants(InstanceState::Ready);
        for (state, share, expected) in
            [(State::Up, 100, 4), (State::Up, 99, 0), (State::Degraded, 100, 0), (State::Down, 100, 0)]
        {
            b.vitals.publish(state, share);
            assert_eq!(moves(&upstream), [expected, 0, 0], "{state:?} {share}");
        }
    }

    #[test]
    fn nobody_is_moved_when_checks_are_not_believed() {
        let upstream = of("\"a:1\", \"b:1\", \"c:1\", \"d:1\", \"e:1\"", "");
        let _open = tunnels(&upstream, [16, 0, 0]);
        let fails = |index: usize| upstream.instances[index].vitals.publish(State::Degraded, 100);
        fails(2);
        fails(3);
        assert_eq!(moves(&upstream)[0], 9);
        fails(4);
        assert!(!upstream.believes_checks());
        assert_eq!(moves(&upstream), [0; 5]);
    }

    #[test]
    fn what_it_would_do_is_known_when_it_is_off() {
        let upstream = upstream("");
        let _open = tunnels(&upstream, [16, 0, 0]);
        let found = upstream.skewed(0);
        assert_eq!(found[0], Skewed { fair: Some(8), beyond: 6, moves: 6 });
        assert_eq!(found[1], Skewed { fair: Some(8), beyond: 0, moves: 0 });
        assert_eq!(found[2], Skewed::default());
        // b takes 9, and 8 of those are on their way already.
        assert_eq!(upstream.skewed(8)[0].moves, 1);
    }

    #[test]
    fn what_it_waits_for() {
        let check = |state: InstanceState, health: (State, u8), open: usize, expected: bool| {
            let upstream = upstream("");
            let _open = tunnels(&upstream, [9, open, 0]);
            upstream.instances.iter().for_each(|instance| instance.vitals.publish(State::Up, 100));
            let b = &upstream.instances[1];
            b.lifecycle.wants(state);
            b.vitals.publish(health.0, health.1);
            assert_eq!(upstream.is_settled(), expected, "{state:?} {health:?} {open}");
        };
        let up = (State::Up, 100);
        check(InstanceState::Ready, up, 3, true);
        check(InstanceState::Cordon, up, 3, true);
        check(InstanceState::Drain, up, 1, false);
        check(InstanceState::Drain, up, 0, true);
        check(InstanceState::Maintain, up, 1, false);
        check(InstanceState::Ready, (State::Down, 100), 1, false);
        check(InstanceState::Ready, (State::Down, 100), 0, true);
        check(InstanceState::Ready, (State::Up, 50), 0, false);
        check(InstanceState::Ready, (State::Unknown, 100), 0, false);
        check(InstanceState::Ready, (State::Degraded, 100), 2, true);
        check(InstanceState::Maintain, (State::Unknown, 100), 0, true);
    }
}
