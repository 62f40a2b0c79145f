//! Medians over rounds, and the ratios between them: noise of a shared host cancels that way.

use serde::Serialize;

/// One figure over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` if there is no value.
    pub(crate) fn over(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }

    /// Median to median; `None` if that makes no sense.
    pub(crate) fn ratio_to(self, base: Self) -> Option<f64> {
        (base.median > 0.0).then(|| self.median / base.median)
    }
}

/// `count` per second; `None` for no time at all.
pub(crate) fn per_second(count: u64, time: std::time::Duration) -> Option<f64> {
    (!time.is_zero()).then(|| count as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_median_ignores_outliers() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some((3.0, 3.0, 3.0))),
            (vec![4.0, 2.0], Some((3.0, 2.0, 4.0))),
            (vec![100.0, 1.0, 2.0], Some((2.0, 1.0, 100.0))),
        ] {
            let spread = Spread::over(values.clone());
            assert_eq!(spread.map(|spread| (spread.median, spread.min, spread.max)), expected, "{values:?}");
        }
    }

    #[test]
    fn ratios_are_between_medians() {
        let server = Spread::over([90.0, 190.0, 290.0]).expect("values");
        let bare = Spread::over([100.0, 200.0, 900.0]).expect("values");
        assert_eq!(server.ratio_to(bare), Some(0.95));
        assert_eq!(server.ratio_to(Spread::over([0.0]).expect("a value")), None);
    }

    #[test]
    fn rates_need_time() {
        assert_eq!(per_second(10, Duration::from_millis(500)), Some(20.0));
        assert_eq!(per_second(10, Duration::ZERO), None);
    }
}
