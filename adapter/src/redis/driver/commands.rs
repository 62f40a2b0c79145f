//! Commands of one call, and what became of those of a transaction.

use super::Reply;

/// Commands that a link sends in one go: none of another caller comes between them.
#[derive(Debug, Default)]
pub(crate) struct Commands<'a> {
    words: Vec<&'a [u8]>,
    /// Where each command ends.
    ends: Vec<usize>,
}

impl<'a> Commands<'a> {
    /// Adds one; the first word is its name.
    pub(crate) fn push<const N: usize>(&mut self, words: [&'a [u8]; N]) {
        const { assert!(N > 0) };
        self.words.extend(words);
        self.ends.push(self.words.len());
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[&'a [u8]]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.words[std::mem::replace(&mut start, end)..end])
    }
}

/// Takes the answers of `MULTI`, so many commands and `EXEC`; gives those of the commands, or why none was carried out.
pub(crate) fn executed(
    replies: &mut impl Iterator<Item = Reply>,
    commands: usize,
) -> Result<Vec<Reply>, String> {
    // What is refused, is so when it is queued; EXEC then says no more than that something was.
    let queued: Vec<Reply> = replies.by_ref().take(1 + commands).collect();
    let executed = replies.next();
    match queued.into_iter().find(|reply| matches!(reply, Reply::Error(_))).or(executed) {
        Some(Reply::Array(of_each)) => Ok(of_each),
        Some(Reply::Error(error)) => Err(error),
        _ => Err("a transaction was answered with something else".to_owned()),
    }
}
