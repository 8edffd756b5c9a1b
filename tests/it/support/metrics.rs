//! Reading what the proxy shows at `/metrics`.

use std::net::SocketAddr;

use super::Socket;

/// One scrape.
#[derive(Debug)]
pub(crate) struct Scrape(String);

impl Scrape {
    pub(crate) fn of(address: SocketAddr) -> Self {
        let mut socket = Socket::connect(address);
        socket.send("GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n");
        let answer = socket.answer();
        assert_eq!(answer.status(), 200, "{}", answer.head);
        Scrape(String::from_utf8(answer.body).unwrap())
    }

    /// The sum of the samples that have all of `labels`; a sample that is not there counts as 0.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let known =
            self.0.lines().any(|line| line.starts_with("# TYPE ") && line.contains(&format!(" {name} ")));
        assert!(known, "there is no metric {name}");
        self.0
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let (labels, value) = match rest.strip_prefix('{') {
                    Some(rest) => rest.split_once("} ")?,
                    None => ("", rest.strip_prefix(' ')?),
                };
                let has = |wanted: &String| labels.split(',').any(|label| label == wanted);
                wanted.iter().all(has).then(|| value.parse::<f64>().unwrap())
            })
            .sum()
    }
}
