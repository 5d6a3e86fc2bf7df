//! Numbers and times as people read them.

use std::time::{Duration, SystemTime};

pub(super) use super::super::summary::plural;
pub(super) use crate::api::excerpt::grouped;
use crate::api::utc::Utc;

/// Returns a rate as a number with as many digits as matter.
pub(super) fn per_second(count: u64, period: Duration) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with few digits"
    )]
    let rate = count as f64 / period.as_secs_f64().max(1e-9);
    match rate {
        ..10.0 => format!("{rate:.1}"),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is neither negative nor larger than a count in a nanosecond"
        )]
        _ => grouped(rate.round() as u64),
    }
}

/// Returns a duration with as many digits as matter: `1.2 ms`, `42.3 s`, `3 h 05 min`.
pub(super) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => {
            let nanos = duration.as_nanos();
            let seconds = duration.as_secs_f64();
            match nanos {
                0 => "0 s".to_owned(),
                1..1_000 => format!("{nanos} ns"),
                1_000..1_000_000 => format!("{:.1} µs", seconds * 1e6),
                _ => format!("{:.1} ms", seconds * 1e3),
            }
        }
        1..10 => format!("{:.2} s", duration.as_secs_f64()),
        10..120 => format!("{:.1} s", duration.as_secs_f64()),
        120..7200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns a round duration without needless digits.
pub(super) fn tick(duration: Duration) -> String {
    let text = time(duration);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => text,
    }
}

/// Returns a time of the system's clock, such as `2025-11-29 14:06:31 UTC`.
pub(super) fn utc(time: SystemTime) -> String {
    let utc = Utc::from(time);
    format!("{} {} UTC", utc.date(), utc.time())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn times_have_the_digits_that_matter() {
        for (nanos, text) in [
            (0, "0 s"),
            (812, "812 ns"),
            (20_480, "20.5 µs"),
            (1_234_000, "1.2 ms"),
            (999_000_000, "999.0 ms"),
            (4_100_000_000, "4.10 s"),
            (42_318_000_000, "42.3 s"),
            (185_000_000_000, "3 min 05 s"),
            (11_100_000_000_000, "3 h 05 min"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(tick(Duration::from_secs(5)), "5 s");
        assert_eq!(tick(Duration::from_millis(200)), "200 ms");
        assert_eq!(tick(Duration::from_millis(2500)), "2.5 s");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_764_425_191, "2025-11-29 14:06:31 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
