//! The time at which a record was made.

use std::cell::Cell;
use std::fmt;
use std::time::SystemTime;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::api::utc::Utc;

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
        write!(writer, "{}", Utc::from(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
