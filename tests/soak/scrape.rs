//! What the proxy says of itself at `/metrics`.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::http::Wire;

/// One scrape: samples by name and labels, as they are written.
#[derive(Debug, Default)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, f64>);

/// A connection over which to scrape again and again.
#[derive(Debug)]
pub(crate) struct Scraper {
    address: SocketAddr,
    wire: Option<Wire>,
}

impl Scraper {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Scraper { address, wire: None }
    }

    /// # Errors
    /// When there is no answer within 20 s.
    pub(crate) async fn scrape(&mut self) -> io::Result<Scrape> {
        match tokio::time::timeout(Duration::from_secs(20), self.ask()).await {
            Ok(scrape) => scrape,
            Err(late) => Err(late.into()),
        }
    }

    async fn ask(&mut self) -> io::Result<Scrape> {
        // The metrics listener ends connections that are old or at rest.
        if let Some(kept) = self.wire.take()
            && let Ok(scrape) = self.ask_on(kept).await
        {
            return Ok(scrape);
        }
        let fresh = Wire::connect(self.address).await?;
        self.ask_on(fresh).await
    }

    async fn ask_on(&mut self, mut wire: Wire) -> io::Result<Scrape> {
        wire.send("GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n").await?;
        let head = wire.answer().await?;
        let body = wire.body(&head).await?;
        if head.field("connection") != Some("close") {
            self.wire = Some(wire);
        }
        Ok(Scrape::parse(&String::from_utf8_lossy(&body)))
    }
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Scrape(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum of the samples of `name` that have all of `labels`.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name)
            .filter(|(sample, _)| labels.iter().all(|(key, value)| label(sample, key) == Some(value)))
            .map(|(_, value)| value)
            .sum()
    }

    /// The same, as a count.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels) as u64
    }

    /// All samples of `name`: each with its labels.
    pub(crate) fn samples(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let (plain, labelled) = (name.to_owned(), format!("{name}{{"));
        self.0
            .iter()
            .filter(move |(sample, _)| **sample == plain || sample.starts_with(&labelled))
            .map(|(sample, value)| (sample.as_str(), *value))
    }

    /// Reloads that are over, whichever way they went.
    pub(crate) fn reloads(&self) -> u64 {
        self.count("stickyd_config_reloads_total", &[])
    }
}

/// The value of a sample's label.
pub(crate) fn label<'s>(sample: &'s str, name: &str) -> Option<&'s str> {
    let labels = sample.split_once('{')?.1;
    let begin = labels.find(&format!("{name}=\""))? + name.len() + 2;
    labels[begin..].split('"').next()
}
