//! Tells a person what is going on: bars on a terminal, plain lines elsewhere, on standard error in both cases.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    terminal: bool,
}

/// Something that is counted up to its end.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Progress {
    pub(crate) fn on_stderr() -> Self {
        Self { terminal: io::stderr().is_terminal() }
    }

    /// One line about what begins now.
    pub(crate) fn say(self, line: &str) {
        // Nobody reads it any more: no reason to stop.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// A bar from 0 to `length`; without a terminal a line at its start.
    pub(crate) fn counting(self, what: &str, length: usize) -> Bar {
        if !self.terminal {
            self.say(&format!("{what}: {length}"));
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(length as u64).with_message(what.to_owned());
        let style = ProgressStyle::with_template("{msg:<40} {wide_bar} {pos}/{len} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bar(bar)
    }

    /// A spinner that lasts while something without a length goes on.
    pub(crate) fn waiting(self, what: &str) -> Bar {
        if !self.terminal {
            self.say(what);
            return Bar(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }
}

impl Bar {
    pub(crate) fn set(&self, position: usize) {
        self.0.set_position(position as u64);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
