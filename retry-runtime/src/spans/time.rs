//! The time at which a record was made.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, SystemTime};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

thread_local! {
    /// The time of the record of a worker that this thread gives to the subscriber.
    static RECORDED: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

/// Calls a closure for a record that a worker has made at this time.
pub(super) fn recorded<R>(at: Option<SystemTime>, then: impl FnOnce() -> R) -> R {
    let _restores = Restores(RECORDED.replace(at));
    then()
}

struct Restores(Option<SystemTime>);

impl Drop for Restores {
    fn drop(&mut self) {
        RECORDED.set(self.0);
    }
}

/// Returns the time at which a worker recorded the event that the program's subscriber is being given, or
/// opened or closed the span. `None` for records of this process.
///
/// A subscriber gets records of workers a moment later than they were made, and a busy program's subscriber
/// may lag behind. A `Layer` that needs the exact time calls this in its own methods.
///
/// ```
/// use std::time::SystemTime;
/// use tracing_subscriber::layer::{Context, Layer};
///
/// struct Times;
///
/// impl<S: tracing::Subscriber> Layer<S> for Times {
///     fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
///         let time = retry_runtime::logging::recorded_at().unwrap_or_else(SystemTime::now);
///         println!("{time:?} {}", event.metadata().target());
///     }
/// }
/// ```
#[must_use]
pub fn recorded_at() -> Option<SystemTime> {
    RECORDED.get()
}

/// Makes `tracing_subscriber::fmt` print the time at which each event was recorded, in this process or in a
/// worker: in UTC, as `2027-03-01T08:30:00.250000Z`.
///
/// ```
/// let subscriber = tracing_subscriber::fmt()
///     .with_timer(retry_runtime::logging::RecordedTime)
///     .finish();
/// # drop(subscriber);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordedTime;

impl FormatTime for RecordedTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let time = recorded_at().unwrap_or_else(SystemTime::now);
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        write_utc(writer, since.unwrap_or_default())
    }
}

/// Writes a time since 1970 as RFC 3339 has it.
fn write_utc(writer: &mut impl fmt::Write, since: Duration) -> fmt::Result {
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    write!(
        writer,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
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
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_799_999_999_999, "2000-02-29T23:59:59.999999Z"),
            (951_868_800_000_000_000, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599_250_000_000, "2024-12-31T23:59:59.250000Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            let mut text = String::new();
            write_utc(&mut text, Duration::from_nanos(nanos)).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn the_time_of_a_record_is_that_of_the_innermost() {
        let time = Some(SystemTime::UNIX_EPOCH);
        recorded(time, || {
            recorded(None, || assert_eq!(recorded_at(), None));
            assert_eq!(recorded_at(), time);
        });
        assert_eq!(recorded_at(), None);
    }
}
