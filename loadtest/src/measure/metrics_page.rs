//! What a node counts, read from its metrics page.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Every sample of a page, by its name with labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MetricsPage(BTreeMap<String, f64>);

impl MetricsPage {
    /// Asks the ops listener at `address`.
    ///
    /// # Errors
    /// It does not answer, or not with metrics.
    pub(crate) fn fetch(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("the ops listener is gone")?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("the metrics page does not come")?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            bail!("the metrics page was answered with: {}", answer.lines().next().unwrap_or_default());
        }
        Ok(Self::parse(&answer))
    }

    /// Lines of the text format; whatever else there is counts for nothing.
    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| line.starts_with("broadgate_")).filter_map(sample).collect())
    }

    /// How much a sample is more than it was; one that was not there was 0.
    pub(crate) fn growth(&self, before: &Self, sample: &str) -> f64 {
        let value = |page: &Self| page.0.get(sample).copied().unwrap_or(0.0);
        value(self) - value(before)
    }

    /// The samples of these families that have grown, and by how much.
    pub(crate) fn grown(&self, before: &Self, families: &[&str]) -> BTreeMap<String, u64> {
        let is_wanted = |name: &str| families.iter().any(|family| name.split('{').next() == Some(*family));
        let names = self.0.keys().filter(|name| is_wanted(name));
        let grown = names.map(|name| (name.clone(), self.growth(before, name)));
        grown.filter(|(_, by)| *by > 0.0).map(|(name, by)| (name, by as u64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_grown_is_seen_by_family() {
        let before =
            MetricsPage::parse("# HELP broadgate_a x\nbroadgate_a{r=\"x\"} 3\nbroadgate_b 5\nother 1\n");
        let after = MetricsPage::parse("broadgate_a{r=\"x\"} 3\nbroadgate_a{r=\"y\"} 2\nbroadgate_b 6\n");
        let grown = after.grown(&before, &["broadgate_a"]);
        assert_eq!(grown.into_iter().collect::<Vec<_>>(), [("broadgate_a{r=\"y\"}".to_owned(), 2)]);
        assert_eq!(after.growth(&before, "broadgate_b"), 1.0);
        assert_eq!(after.growth(&before, "broadgate_none"), 0.0);
    }
}
