//! The run of a program: its id, its beginning and its machine.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::api::events::Timestamp;
use crate::sys::{self, PerProcess};

/// The digits of a run id: Crockford's base 32, without letters that look like digits.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The number of digits.
const LENGTH: usize = 13;

/// The number of random bits below the time.
const RANDOM: u32 = 20;

/// The id of one run of a program: of one process and the workers that it starts.
///
/// Ids of later runs are greater, also as texts. `Display` writes 13 digits and letters, such as
/// `1NE2J9ZK4PQXG`: the time of the beginning in milliseconds, followed by random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(NonZeroU64);

/// The beginning of this process's run.
struct Run {
    id: RunId,
    begun: Instant,
}

static RUN: PerProcess<Run> = PerProcess::new();

/// The run of the process that started this worker.
static JOINED: PerProcess<RunId> = PerProcess::new();

fn run() -> &'static Run {
    RUN.get_or_init(|| {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or_default();
        let random = fastrand::u64(..1 << RANDOM);
        let id = RunId::from_bits(millis << RANDOM | random);
        Run {
            // It is zero only if the clock shows the first millisecond of 1970.
            id: id.unwrap_or(RunId(NonZeroU64::MIN)),
            begun: Instant::now(),
        }
    })
}

impl RunId {
    /// Returns the id of this process's run. A worker belongs to the run of the process that started it, from
    /// the moment on when it knows what it serves; a forked child of any process has a run of its own.
    #[must_use]
    pub fn current() -> Self {
        JOINED.get().copied().unwrap_or_else(|| run().id)
    }

    /// Makes this process a part of another one's run, which started it as a worker.
    pub(crate) fn join(self) {
        JOINED.get_or_init(|| self);
    }

    pub(crate) fn bits(self) -> u64 {
        self.0.get()
    }

    /// Returns the id with these bits; `None` for zero, which is the id of no run.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = std::array::from_fn::<_, LENGTH, _>(|place| {
            let shift = 5 * (LENGTH - 1 - place);
            DIGITS[(self.bits() >> shift & 31) as usize]
        });
        f.pad(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// The error for a text that is not a run id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRunId(());

impl fmt::Display for InvalidRunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run id has 13 digits and letters, such as 1NE2J9ZK4PQXG")
    }
}

impl std::error::Error for InvalidRunId {}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        if text.len() != LENGTH {
            return Err(InvalidRunId(()));
        }
        let digit = |byte: u8| {
            DIGITS
                .iter()
                .position(|digit| *digit == byte.to_ascii_uppercase())
        };
        text.bytes()
            .try_fold(0_u64, |id, byte| {
                let shifted = id.checked_mul(32)?;
                shifted.checked_add(digit(byte)? as u64)
            })
            .and_then(Self::from_bits)
            .ok_or(InvalidRunId(()))
    }
}

/// Returns the time.
pub(crate) fn now() -> Timestamp {
    Timestamp::new(SystemTime::now(), run().begun.elapsed())
}

/// The maximum length of the name of a machine, in bytes: that of a name in the DNS.
pub(crate) const LONGEST_HOST: usize = 255;

/// Returns the name of this machine.
pub(crate) fn host() -> &'static str {
    static HOST: PerProcess<String> = PerProcess::new();
    HOST.get_or_init(|| {
        let mut name = sys::host_name();
        // Some systems take it from a variable, which has no limit.
        name.truncate(name.floor_char_boundary(LONGEST_HOST));
        name
    })
}

/// Returns the name of a machine, which is kept for as long as the process lives.
pub(crate) fn host_named(name: &str) -> &'static str {
    static OTHERS: PerProcess<Mutex<Vec<&'static str>>> = PerProcess::new();
    if name == host() {
        return host();
    }
    let others = OTHERS.get_or_init(Mutex::default);
    let mut others = others.lock().unwrap_or_else(PoisonError::into_inner);
    match others.iter().find(|known| **known == name) {
        Some(known) => known,
        None if others.len() < MOST_HOSTS => {
            let kept: &'static str = Box::leak(name.into());
            others.push(kept);
            kept
        }
        None => "another machine",
    }
}

/// The maximum number of other machines whose names are kept.
const MOST_HOSTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(bits: u64) -> RunId {
        RunId::from_bits(bits).unwrap()
    }

    #[test]
    fn a_run_id_is_read_as_it_was_written() {
        for id in [RunId::current(), id(1), id(u64::MAX)] {
            assert_eq!(id.to_string().len(), LENGTH);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }
        for wrong in [
            "",
            "1NE2J9ZK4PQX",
            "1NE2J9ZK4PQXU",
            "ZZZZZZZZZZZZZ",
            "1NE2J9ZK4PQXé",
            "0000000000000",
        ] {
            assert!(wrong.parse::<RunId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn later_runs_have_greater_ids() {
        let (earlier, later) = (id(5 << RANDOM), id(6 << RANDOM));
        assert!(earlier < later && earlier.to_string() < later.to_string());
    }
}
