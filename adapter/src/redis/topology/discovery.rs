//! Servers that know where the master is: sentinels, or any server of a cluster.
//!
//! Owns the link to the one that answered last, which is asked again for as long as it answers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;

use super::super::{
    driver::{Link, LinkError, RedisDriver, Reply, Timeouts},
    endpoint::Endpoint,
};

/// How long one may take before the next is asked as well: a machine that is gone does not even refuse.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long an answer may take on a link that is up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Reasons that are told when nobody answers.
const MAX_REASONS: usize = 3;

/// See the module.
pub(super) struct Discovery {
    driver: RedisDriver,
    timeouts: Timeouts,
    last: Mutex<Option<(Endpoint, Link)>>,
    /// Who is asked first; another one each time that a link is given up.
    first: AtomicUsize,
}

impl Discovery {
    pub(super) fn new(driver: RedisDriver, connect_timeout: Duration) -> Self {
        let timeouts = Timeouts { connect: connect_timeout, response: Some(ANSWER_TIMEOUT) };
        Self { driver, timeouts, last: Mutex::default(), first: AtomicUsize::default() }
    }

    /// What one of them answers, if `read` takes it. The one that answered last is asked alone; where it fails, all are.
    pub(super) async fn ask<const N: usize, T>(
        &self,
        sources: &[Endpoint],
        question: [&str; N],
        read: impl Fn(Reply, &Endpoint) -> Result<T, LinkError>,
    ) -> Result<T, LinkError> {
        // Whoever else asks meanwhile makes a link of its own.
        let last = self.last.lock().take();
        if let Some((source, link)) = last
            && let Ok(answer) = self.ask_one(source, Some(link), question, &read).await
        {
            return Ok(answer);
        }
        let first = self.first.fetch_add(1, Ordering::Relaxed) % sources.len().max(1);
        let in_turn = sources[first..].iter().chain(&sources[..first]);
        let mut asked: FuturesUnordered<_> = (0..)
            .zip(in_turn)
            .map(|(place, source)| {
                let read = &read;
                async move {
                    tokio::time::sleep(HEAD_START * place).await;
                    let answer = self.ask_one(source.clone(), None, question, read).await;
                    answer.map_err(|error| format!("{}: {error}", source.address))
                }
            })
            .collect();
        let mut reasons = Vec::new();
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(answer) => return Ok(answer),
                Err(reason) => reasons.push(reason),
            }
        }
        reasons.truncate(MAX_REASONS);
        Err(LinkError::Failed(format!("nobody tells where the master is ({})", reasons.join("; "))))
    }

    /// The link is given up: who told the wrong address is not to be asked first again.
    pub(super) fn distrust(&self) {
        self.last.lock().take();
    }

    async fn ask_one<const N: usize, T>(
        &self,
        source: Endpoint,
        link: Option<Link>,
        question: [&str; N],
        read: impl Fn(Reply, &Endpoint) -> Result<T, LinkError>,
    ) -> Result<T, LinkError> {
        let mut link = match link {
            Some(link) => link,
            None => self.driver.connect(&source, self.timeouts, |_, _| {}).await?,
        };
        let answer = read(link.query(question).await?, &source)?;
        *self.last.lock() = Some((source, link));
        Ok(answer)
    }
}
