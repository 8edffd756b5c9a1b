//! The way to the process that has taken over, for threads that serve: it hears of sessions that begin here, and is asked for those
//! that are not known here.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::channel::Channel;
use super::estate::{find, left};
use super::wire::{Answered, Carried, Life, Offered, Sid, decode, encode, in_pieces};
use crate::affinity::sid::table::{Known, SidKey};
use crate::control::publisher::Publisher;
use crate::http::heir::{Answer, Place, Successor};
use crate::local::clock::Moment;
use crate::upstream::load::Home;

/// Sessions that have begun while the table was read, by their keys.
#[derive(Clone, Debug)]
pub(super) struct Begun(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    keys: Vec<SidKey>,
    most: usize,
    missed: u64,
}

impl Begun {
    /// At most so many: as many as the table has.
    pub(super) fn at_most(most: usize) -> Self {
        Begun(Arc::new(Mutex::new(Noted { most, ..Noted::default() })))
    }

    /// All of them; and how many there were besides.
    pub(super) fn take(&self) -> (Vec<SidKey>, u64) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut noted.keys), noted.missed)
    }
}

impl Successor for Begun {
    fn hears(&mut self, known: &Known<Place<'_>>, _: Moment) -> Answer<()> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.keys.len() < noted.most {
            noted.keys.push(known.key);
        } else {
            noted.missed += 1;
        }
        Answer::Is(())
    }

    fn knows(&mut self, _: SidKey, _: Moment) -> Answer<Option<Known<Home>>> {
        Answer::Is(None)
    }

    fn loads(&mut self, _: Moment) -> Answer<()> {
        Answer::Is(())
    }
}

/// The way to the process that serves.
#[derive(Debug)]
pub(super) struct Line {
    later: Channel,
    publisher: Arc<Publisher>,
    /// Instances of which it was told that they have tunnels, by their numbers.
    loaded: HashSet<u32>,
}

impl Line {
    pub(super) fn new(later: Channel, publisher: Arc<Publisher>) -> Self {
        Line { later, publisher, loaded: HashSet::new() }
    }

    /// What instances carry, of those that carry something or did when this was asked last. The tunnels of processes that linger
    /// longer are this one's to tell.
    fn carried(&mut self) -> Vec<Carried> {
        let generation = self.publisher.current();
        let mut carried = Vec::new();
        for upstream in &generation.upstreams {
            for instance in upstream.named() {
                let tunnels = instance.load.everywhere();
                let had = if tunnels > 0 {
                    !self.loaded.insert(instance.id)
                } else {
                    self.loaded.remove(&instance.id)
                };
                if tunnels > 0 || had {
                    let (upstream, instance) = (upstream.config.name.clone(), instance.name.clone());
                    carried.push(Carried { upstream, instance, tunnels });
                }
            }
        }
        carried
    }

    /// Says something, and waits for an answer for which `of` gives something. Those that were late before are passed over.
    fn asks<T>(&self, message: &Offered, until: Moment, of: impl Fn(Answered) -> Option<T>) -> io::Result<T> {
        self.later.within(left(until))?;
        self.later.send(&encode(message), &[])?;
        loop {
            let received = self.later.receive()?.ok_or(io::ErrorKind::BrokenPipe)?;
            if let Ok(answer) = decode(&received.bytes)
                && let Some(of) = of(answer)
            {
                return Ok(of);
            }
            if left(until).is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.later.within(left(until))?;
        }
    }
}

fn answer<T>(of: io::Result<T>) -> Answer<T> {
    match of {
        Ok(of) => Answer::Is(of),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Answer::Late,
        Err(_) => Answer::Gone,
    }
}

impl Successor for Line {
    /// One that is late is told of the next all the same.
    fn hears(&mut self, known: &Known<Place<'_>>, until: Moment) -> Answer<()> {
        let Place { upstream, instance, sid_hash } = known.home;
        let sid = Sid::of(known, (&upstream.config.name, &instance.name), Life::Polling, sid_hash);
        let key = sid.key();
        answer(self.asks(&Offered::Sids(vec![sid]), until, |answer| {
            (answer == Answered::Heard { of: key }).then_some(())
        }))
    }

    fn knows(&mut self, key: SidKey, until: Moment) -> Answer<Option<Known<Home>>> {
        let sid = self.asks(&Offered::Ask(key.number()), until, |answer| match answer {
            Answered::Known { of, sid } if of == key.number() => Some(sid),
            _ => None,
        });
        answer(sid.map(|sid| {
            let generation = self.publisher.current();
            let sid = *sid?;
            let instance = find(&generation, &sid.upstream, &sid.instance)?.clone();
            let home = Home::living(instance, sid.by.into(), sid.hash);
            Some(sid.known(home))
        }))
    }

    fn loads(&mut self, until: Moment) -> Answer<()> {
        let carried = self.carried();
        let say = |piece: &Offered| {
            self.later.within(left(until))?;
            self.later.send(&encode(piece), &[])
        };
        answer(in_pieces(carried, Offered::Load, say))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::heir::Heir;
    use crate::local::clock;

    /// Both ends: what this process asks by, and where it is answered.
    fn line() -> (Heir, Channel) {
        let text = "listen = \":80\"\n[upstream.app]\ninstances = [\"a:1\"]\n";
        let loaded = crate::config::parse(text, "test.toml").unwrap_or_else(|report| panic!("{report}"));
        let generation =
            crate::generation::Generation { config: loaded.config, upstreams: vec![], leaving: vec![] };
        let publisher = Arc::new(Publisher::new(Arc::new(arc_swap::ArcSwap::from_pointee(generation))));
        let (later, theirs) = Channel::pair().unwrap();
        let heir = Heir::default();
        heir.is(Line::new(later, publisher));
        (heir, theirs)
    }

    /// The regression: each unknown session waited for a process that hung, one after the other.
    #[test]
    fn one_that_hangs_is_not_asked_for_a_while() {
        let (heir, theirs) = line();
        let begin = clock::now();
        for number in 0..100 {
            assert!(heir.ask(SidKey::of(number)).is_none());
        }
        let took = clock::now().since(begin);
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert!(heir.is_there(), "it may only be slow");
        theirs.within(Duration::from_millis(1)).unwrap();
        let asked = std::iter::from_fn(|| theirs.receive().ok()).count();
        assert_eq!(asked, 1);
        // After that it is asked again; and what it answers to another question is not believed.
        std::thread::sleep(Duration::from_millis(1_100));
        theirs.send(&encode(&Answered::Known { of: 0, sid: None }), &[]).unwrap();
        assert!(heir.ask(SidKey::of(7)).is_none());
        assert_eq!(decode(&theirs.receive().unwrap().unwrap().bytes), Ok(Offered::Ask(7)));
    }

    /// The regression: one that had ended was asked for ever.
    #[test]
    fn one_that_has_ended_is_gone() {
        let (heir, theirs) = line();
        drop(theirs);
        assert!(heir.ask(SidKey::of(1)).is_none());
        assert!(!heir.is_there());
    }

    /// The regression: those of a table with a million sessions that began meanwhile were kept whole, and one too many ended all.
    #[test]
    fn what_has_begun_is_bounded_and_counted() {
        let begun = Begun::at_most(2);
        begun.0.lock().unwrap().keys = vec![SidKey::of(1), SidKey::of(2)];
        begun.0.lock().unwrap().missed = 3;
        assert_eq!(begun.take(), (vec![SidKey::of(1), SidKey::of(2)], 3));
    }
}
