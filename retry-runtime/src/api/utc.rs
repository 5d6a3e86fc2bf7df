//! Shows times of the system's clock, in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// A time as its parts.
pub(crate) struct Utc {
    year: u64,
    month: u64,
    day: u64,
    /// The second of the day.
    second: u64,
    micros: u32,
}

impl From<SystemTime> for Utc {
    /// Times before 1970 become its beginning.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = date(since.as_secs() / DAY);
        Self {
            year,
            month,
            day,
            second: since.as_secs() % DAY,
            micros: since.subsec_micros(),
        }
    }
}

impl Utc {
    /// Shows the date, such as `2027-03-01`.
    pub(crate) fn date(&self) -> impl fmt::Display {
        let Self {
            year, month, day, ..
        } = *self;
        fmt::from_fn(move |f| write!(f, "{year:04}-{month:02}-{day:02}"))
    }

    /// Shows the time of the day, such as `08:30:00`.
    pub(crate) fn time(&self) -> impl fmt::Display {
        let second = self.second;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        fmt::from_fn(move |f| write!(f, "{hour:02}:{minute:02}:{second:02}"))
    }
}

/// Shows the time as RFC 3339 has it, such as `2027-03-01T08:30:00.250000Z`.
impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}.{:06}Z", self.date(), self.time(), self.micros)
    }
}

/// Returns year, month and day of a number of days since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Count from 1 March of the year 0, so that the leap day is the last of its year, and years of 400 are
    // equally long.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let is_next = u64::from(month >= 10);
    (era * 400 + year + is_next, month + 3 - 12 * is_next, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_799_999_999_999, "2000-02-29T23:59:59.999999Z"),
            (951_868_800_000_000_000, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599_250_000_000, "2024-12-31T23:59:59.250000Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_nanos(nanos);
            assert_eq!(Utc::from(time).to_string(), expected);
        }
    }
}
