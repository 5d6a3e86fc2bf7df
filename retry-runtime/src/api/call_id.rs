//! The ids of calls: unique everywhere for users, plain numbers inside of a run.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::run::RunId;

/// The number of a call, unique within its run. The runtime itself works with numbers, since it is concerned
/// with one run alone, and makes a [`CallId`] where a number leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CallNumber(pub(crate) u64);

/// Marks the calls that are made in workers.
const NESTED: u64 = 1 << 63;

impl CallNumber {
    /// The number of a call that never reached the scheduler.
    pub(crate) const NONE: Self = Self(0);

    /// Returns the number of a call that is made in a worker: unique among those of all workers.
    pub(crate) fn nested(worker: u64, number: u32) -> Self {
        Self(NESTED | worker << 32 | u64::from(number))
    }

    /// Returns this number and those that follow it.
    pub(crate) fn following(self, count: u32) -> impl Iterator<Item = Self> {
        (self.0..self.0 + u64::from(count)).map(Self)
    }

    /// Returns the call's number among the calls of its process.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half is the process"
    )]
    pub(crate) fn number(self) -> u32 {
        self.0 as u32
    }

    /// Returns the id of the call in a run.
    pub(crate) fn of(self, run: RunId) -> CallId {
        CallId { run, number: self }
    }

    /// Reads what `Display` writes.
    fn from_text(text: &str) -> Option<Self> {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (worker, number) = match text.split_once('.') {
            Some((worker, number)) => (Some(worker), number),
            None => (None, text),
        };
        if !worker.is_none_or(is_number) || !is_number(number) {
            return None;
        }
        match worker {
            Some(worker) => {
                let worker = worker.parse().ok().filter(|worker| worker >> 31 == 0_u64)?;
                Some(Self::nested(worker, number.parse().ok()?))
            }
            None => {
                let number = number.parse().ok()?;
                (number & NESTED == 0).then_some(Self(number))
            }
        }
    }
}

impl fmt::Display for CallNumber {
    /// Writes `7`, or `3.7` for the seventh call that was made in the third worker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & NESTED == 0 {
            return write!(f, "{}", self.0);
        }
        let worker = (self.0 & !NESTED) >> 32;
        write!(f, "{worker}.{}", self.number())
    }
}

/// The id of a call, which no other call has: neither one of the same program, nor one of another run or
/// machine.
///
/// `Display` writes the [`RunId`] and the number of the call within the run, such as `1M8KXTGN4XCCR/17`, and
/// `FromStr` reads it. A call that was made in a worker belongs to the run of the program that started the
/// worker; its number has two parts, those of the worker and of the call: `1M8KXTGN4XCCR/3.2`. A call that
/// was never submitted, for example because its arguments could not be encoded, has the number 0.
///
/// Ids of later runs are greater. In formats for people, such as JSON, an id is the same text.
///
/// ```standalone_crate
/// use retry_runtime::{CallId, RunId, function};
///
/// #[function]
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let call = add.spawn(1, 2);
///     let text = call.id().to_string();
///     assert_eq!(text, format!("{}/{}", RunId::current(), call.id().number()));
///     assert_eq!(text.parse::<CallId>(), Ok(call.id()));
///     assert_eq!(call.wait().unwrap(), 3);
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    run: RunId,
    pub(crate) number: CallNumber,
}

impl CallId {
    /// Returns the run that the call belongs to.
    #[must_use]
    pub fn run(self) -> RunId {
        self.run
    }

    /// Returns the number of the call within its run, as in the [event log](crate::events::Log). Calls that are
    /// made in workers have numbers from 2^63 on.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number.0
    }

    /// Returns the id of the call that is `by` calls later in its map.
    pub(crate) fn later(self, by: u32) -> Self {
        let number = CallNumber(self.number.0 + u64::from(by));
        Self { number, ..self }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.number)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

/// The error for a text that is not the id of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCallId(());

impl fmt::Display for InvalidCallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a call id is a run id and a number, such as 1M8KXTGN4XCCR/17, or 1M8KXTGN4XCCR/3.2 for a call \
             that was made in a worker",
        )
    }
}

impl std::error::Error for InvalidCallId {}

impl FromStr for CallId {
    type Err = InvalidCallId;

    fn from_str(text: &str) -> Result<Self, InvalidCallId> {
        let read = || {
            let (run, number) = text.split_once('/')?;
            Some(CallNumber::from_text(number)?.of(run.parse().ok()?))
        };
        read().ok_or(InvalidCallId(()))
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            (self.run.bits(), self.number).serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(from)?;
            text.parse().map_err(D::Error::custom)
        } else {
            let (run, number) = <(u64, CallNumber)>::deserialize(from)?;
            let run = RunId::from_bits(run).ok_or_else(|| D::Error::custom("a run id of zero"))?;
            Ok(number.of(run))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn ids() -> Vec<CallId> {
        let numbers = [
            CallNumber::NONE,
            CallNumber(17),
            CallNumber(NESTED - 1),
            CallNumber::nested(3, 7),
            CallNumber::nested((1 << 31) - 1, u32::MAX),
        ];
        numbers.map(|number| number.of(RunId::current())).to_vec()
    }

    #[test]
    fn an_id_is_short_and_is_read_as_it_was_written() {
        let run = RunId::current();
        assert_eq!(CallNumber(17).of(run).to_string(), format!("{run}/17"));
        assert_eq!(
            CallNumber::nested(3, 7).of(run).to_string(),
            format!("{run}/3.7")
        );
        for id in ids() {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in [
            "",
            "17",
            "/17",
            "1M8KXTGN4XCCR",
            "1M8KXTGN4XCCR/",
            "1M8KXTGN4XCCR/+17",
            "1M8KXTGN4XCCR/-1",
            "1M8KXTGN4XCCR/17 ",
            "1M8KXTGN4XCCR/1/7",
            "1M8KXTGN4XCCR/3.",
            "1M8KXTGN4XCCR/.7",
            "1M8KXTGN4XCCR/1.2.3",
            "1M8KXTGN4XCCR/2147483648.1",
            "1M8KXTGN4XCCR/1.4294967296",
            "1M8KXTGN4XCCR/9223372036854775808",
            "1M8KXTGN4XCCRR/17",
            "0000000000000/17",
        ] {
            assert_eq!(wrong.parse::<CallId>(), Err(InvalidCallId(())), "{wrong:?}");
        }
    }

    #[test]
    fn an_id_travels_in_both_kinds_of_formats() {
        for id in ids() {
            let mut bytes = Vec::new();
            codec::encode(&id, &mut bytes, usize::MAX).unwrap();
            assert_eq!(codec::decode_all::<CallId>(&bytes).unwrap(), id);
            let text = serde_json::to_string(&id).unwrap();
            assert_eq!(text, format!("\"{id}\""));
            assert_eq!(serde_json::from_str::<CallId>(&text).unwrap(), id);
        }
    }

    /// Events have two of them, so an absent one must not take more room.
    #[test]
    fn an_id_is_two_words() {
        assert_eq!(size_of::<CallId>(), 16);
        assert_eq!(size_of::<Option<CallId>>(), 16);
    }

    #[test]
    fn ids_are_ordered_by_run_and_number() {
        let run = RunId::current();
        let later = RunId::from_bits(run.bits() + 1).unwrap();
        assert!(CallNumber(9).of(run) < CallNumber(10).of(run));
        assert!(CallNumber::nested(1, 1).of(run) < CallNumber(1).of(later));
    }
}
