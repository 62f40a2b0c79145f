//! Keeps what others send from filling the log.

/// At most so many lines in so much time. Pure: time is an argument.
#[derive(Debug)]
pub(super) struct LogBound {
    max_lines: u32,
    window_ms: u64,
    window_start_ms: u64,
    lines: u32,
    left_out: u64,
}

impl LogBound {
    pub(super) fn new(max_lines: u32, window_ms: u64) -> Self {
        Self { max_lines, window_ms, window_start_ms: 0, lines: 0, left_out: 0 }
    }

    /// Whether to write a line now; if so, how many were left out since the last one.
    pub(super) fn allow(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms >= self.window_start_ms + self.window_ms {
            self.window_start_ms = now_ms;
            self.lines = 0;
        }
        if self.lines >= self.max_lines {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_bound_are_counted_and_told_in_the_next_window() {
        let mut bound = LogBound::new(2, 1000);
        assert_eq!([0, 1, 2, 999].map(|now_ms| bound.allow(now_ms)), [Some(0), Some(0), None, None]);
        assert_eq!([1000, 1001, 1002].map(|now_ms| bound.allow(now_ms)), [Some(2), Some(0), None]);
        assert_eq!(bound.allow(5000), Some(1));
    }
}
