//! Dates in msgpack, as the text that `JSON.stringify` makes of a JavaScript `Date`.

use std::fmt::Write;

/// JavaScript's dates reach 100,000,000 days around 1970; beyond, a date is invalid and becomes `null`.
const MAX_MS: i128 = 8_640_000_000_000_000;

/// Milliseconds since 1970 of an extension that is a date to notepack, or `None` if it is none.
///
/// Type -1 is msgpack's timestamp of 32, 64 or 96 bits; type 0 with a fixed length of 8 is notepack 2.x's date.
/// notepack tells them apart by marker, so a timestamp of 64 bits must be a fixed extension and one of 96 must not.
pub(super) fn milliseconds(kind: i8, data: &[u8], fixed: bool) -> Option<i128> {
    match (kind, fixed, data.len()) {
        (0, true, 8) => Some(i64::from_be_bytes(data.try_into().ok()?).into()),
        (-1, true, 4) => Some(i128::from(u32::from_be_bytes(data.try_into().ok()?)) * 1000),
        (-1, true, 8) => {
            let bits = u64::from_be_bytes(data.try_into().ok()?);
            let (nanoseconds, seconds) = (bits >> 34, bits & 0x3_ffff_ffff);
            Some(i128::from(seconds) * 1000 + i128::from(nanoseconds) / 1_000_000)
        }
        (-1, false, 12) => {
            let (nanoseconds, seconds) = data.split_at(4);
            let nanoseconds = u32::from_be_bytes(nanoseconds.try_into().ok()?);
            let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
            // JavaScript cuts the fraction of a millisecond off towards 1970, as this division does.
            Some((i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)) / 1_000_000)
        }
        _ => None,
    }
}

/// Appends the date as JSON: `"2026-11-21T10:00:00.000Z"`, or `null` where JavaScript has no such date.
pub(super) fn push_json(out: &mut String, milliseconds: i128) {
    if milliseconds.abs() > MAX_MS {
        out.push_str("null");
        return;
    }
    let days = milliseconds.div_euclid(86_400_000);
    let time = milliseconds.rem_euclid(86_400_000);
    let (year, month, day) = civil_date(days);
    // ECMAScript's "expanded years" have a sign and six digits.
    let written = match year {
        0..=9999 => write!(out, "\"{year:04}"),
        _ => write!(out, "\"{year:+07}"),
    };
    let (hours, minutes) = (time / 3_600_000, time / 60_000 % 60);
    let (seconds, milliseconds) = (time / 1000 % 60, time % 1000);
    written
        .and_then(|()| {
            write!(out, "-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}Z\"")
        })
        .expect("writing to a String does not fail");
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar without end.
///
/// Counts from 0000-03-01, so that the leap day is the last of its year and months have a regular length.
fn civil_date(days_since_1970: i128) -> (i128, i128, i128) {
    const DAYS_FROM_YEAR_0_MARCH: i128 = 719_468;
    const DAYS_PER_400_YEARS: i128 = 146_097;
    let days = days_since_1970 + DAYS_FROM_YEAR_0_MARCH;
    let era = days.div_euclid(DAYS_PER_400_YEARS);
    let day_of_era = days.rem_euclid(DAYS_PER_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_javascript_does() {
        for (milliseconds, expected) in [
            (0, "\"1970-01-01T00:00:00.000Z\""),
            (-1, "\"1969-12-31T23:59:59.999Z\""),
            (951_782_400_000, "\"2000-02-29T00:00:00.000Z\""),
            (1_700_000_000_123, "\"2023-11-14T22:13:20.123Z\""),
            (4_107_542_400_000, "\"2100-03-01T00:00:00.000Z\""),
            (253_402_300_800_000, "\"+010000-01-01T00:00:00.000Z\""),
            (-62_167_219_200_001, "\"-000001-12-31T23:59:59.999Z\""),
            (8_640_000_000_000_000, "\"+275760-09-13T00:00:00.000Z\""),
            (-8_640_000_000_000_000, "\"-271821-04-20T00:00:00.000Z\""),
            (8_640_000_000_000_001, "null"),
        ] {
            let mut out = String::new();
            push_json(&mut out, milliseconds);
            assert_eq!(out, expected, "{milliseconds}");
        }
    }
}
