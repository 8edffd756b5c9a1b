//! What must not change while the file does: the counters of instances that stay, their health, the size of the process.

use std::collections::BTreeMap;

use super::KEPT;
use crate::file::File;
use crate::scrape::{Scrape, label};
use crate::site::{Process, Site};
use crate::tally::Tally;

/// Memory may grow by so much over all reloads, by the slope of the later two thirds: a hundredth of it, and what an allocator
/// needs to breathe, in kilobytes.
const GROWTH_PART: f64 = 0.01;
const GROWTH: f64 = 1_024.0;

/// Kilobytes that the events take which are kept of so many reloads (at most 4 096; a reload has one or two, of 0.4 kB).
const EVENTS: f64 = 1_024.0;

/// Files may be more or fewer by this: connections that are kept for the next requests.
const FILES: u64 = 64;

#[derive(Debug)]
pub(super) struct Watch {
    at_begin: Process,
    /// Counters of instances that stay, by what they are called without the instance's name.
    counters: BTreeMap<String, f64>,
    /// After how many reloads the process was how big.
    series: Vec<(u64, Process)>,
}

impl Watch {
    pub(super) fn new(site: &Site, file: &File, scrape: &Scrape) -> Self {
        let counters = counters(scrape, file).collect();
        Watch { at_begin: site.process(), counters, series: Vec::new() }
    }

    /// Nothing that is counted has gone back; all of them are up.
    pub(super) fn look(&mut self, site: &Site, file: &File, tally: &Tally, scrape: &Scrape) {
        let now: BTreeMap<String, f64> = counters(scrape, file).collect();
        for (counter, before) in &self.counters {
            let now = now.get(counter).copied().unwrap_or(f64::NAN);
            if now.is_nan() || now < *before {
                tally.violated(format!("{counter} was {before} and is {now}"));
            }
        }
        self.counters = now;
        for slot in 0..KEPT {
            let name = file.name(slot);
            if scrape.count("stickyd_instance_up", &[("instance", &name)]) != 1 {
                tally.violated(format!("instance {name} is not up"));
            }
        }
        let process = site.process();
        if process.threads != self.at_begin.threads || process.files.abs_diff(self.at_begin.files) > FILES {
            tally.violated(format!("threads or files: {process:?}, at the begin {:?}", self.at_begin));
        }
    }

    pub(super) fn sample(&mut self, reloads: u64, site: &Site) {
        self.series.push((reloads, site.process()));
    }

    /// Says how the process grew, and whether that is too much.
    pub(super) fn judge(&self, site: &Site, tally: &Tally) {
        println!(
            "\nafter reloads: RSS kB, files, threads of the proxy ({} counters watched)",
            self.counters.len()
        );
        for (reloads, Process { resident, files, threads }) in &self.series {
            println!("  {reloads:>6}: {resident:7} {files:5} {threads:3}");
        }
        let later: Vec<(f64, f64)> = self.series[self.series.len() / 3..]
            .iter()
            .map(|(reloads, process)| (*reloads as f64, process.resident as f64))
            .collect();
        let all = self.series.last().map_or(0.0, |(reloads, _)| *reloads as f64);
        let growth = slope(&later) * all;
        let limit = self.at_begin.resident as f64 * GROWTH_PART + GROWTH + EVENTS;
        println!(
            "memory by its slope: {:+.2} kB a reload, {growth:+.0} kB over all, of {} kB; at most {limit:.0} kB",
            slope(&later),
            site.process().resident
        );
        // Over few reloads a slope says nothing.
        if all >= 300.0 && growth > limit {
            tally.violated(format!("memory grows by {growth:.0} kB"));
        }
    }
}

/// Counters of instances that stay, with the number of the instance in place of its name.
fn counters<'s>(scrape: &'s Scrape, file: &'s File) -> impl Iterator<Item = (String, f64)> + 's {
    scrape.0.iter().filter_map(|(sample, value)| {
        let name = sample.split('{').next()?;
        let counts = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
        let instance = label(sample, "instance")?;
        let slot = File::slot(instance).filter(|slot| *slot <= KEPT && counts)?;
        // A name that it had before would be another instance.
        (instance == file.name(slot))
            .then(|| (sample.replace(&format!("\"{instance}\""), &slot.to_string()), *value))
    })
}

/// The least squares' slope of points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
    });
    if below == 0.0 { 0.0 } else { above / below }
}
