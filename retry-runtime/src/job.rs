//! A call under way, whichever scheduler it has: its input, and the target of its outcome.

pub(crate) mod budget;
pub(crate) mod call_site;
pub(crate) mod caller;
pub(crate) mod capture;
pub(crate) mod delivery;
pub(crate) mod faults;
pub(crate) mod outcome;
pub(crate) mod parts;
pub(crate) mod resumption;
pub(crate) mod slot;

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::payload::Payload;
use crate::codec::staging;
use crate::shared::{self, Loans, Objects};
use crate::spans::Context;
use caller::Caller;
use delivery::Deliver;
use parts::Parts;

/// Shows the arguments in an encoded input.
pub(crate) type ShowInput = fn(&[u8]) -> Option<String>;

/// Keeps the memory in which arguments are staged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loan(#[expect(dead_code, reason = "it is only kept")] Option<Arc<Loans>>);

/// A value as it travels.
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// The shared values that it names.
    pub(crate) objects: Objects,
}

/// The input of a call and the target of its outcome, or those of a chunk of calls.
pub(crate) struct Job {
    pub(crate) target: Arc<dyn Deliver>,
    /// The number under which a worker has made the call; 0 for a call of this process.
    pub(crate) number: u32,
    /// The place of the first input in its map.
    pub(crate) index: Option<u64>,
    pub(crate) input: Payload,
    /// The shared values that the input names.
    pub(crate) objects: Objects,
    pub(crate) caller: Caller,
    /// The called method of a service, by its place.
    pub(crate) method: u16,
    /// The caller's place among spans.
    pub(crate) spans: Context,
}

impl Parts for Job {
    fn count(&self) -> u32 {
        self.input.count()
    }

    fn split_front(&mut self, count: u32) -> Self {
        let front = Self {
            target: Arc::clone(&self.target),
            number: self.number,
            index: self.index,
            input: self.input.split_front(count),
            objects: self.objects.clone(),
            caller: self.caller,
            method: self.method,
            spans: self.spans.clone(),
        };
        self.index = self.index.map(|index| index + u64::from(count));
        front
    }

    fn index(&self) -> Option<u64> {
        self.index
    }

    fn show(&self, show: ShowInput) -> Option<String> {
        if self.count() > 1 {
            return None;
        }
        let input = self.input.bytes();
        match self.objects.is_staged() {
            true => staging::read(shared::find_staged, || show(input)),
            false => show(input),
        }
    }

    #[inline]
    fn loan(&self) -> Loan {
        Loan(self.objects.loans())
    }

    fn has_room(&self) -> bool {
        self.target.has_room()
    }

    fn caller(&self) -> Caller {
        self.caller
    }

    fn detach(&mut self) {
        self.input.detach();
    }
}

impl Job {
    /// Returns the calls of a chunk, one by one.
    pub(crate) fn parts(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let mut job = rest.take()?;
            if job.count() > 1 {
                let front = job.split_front(1);
                rest = Some(job);
                job = front;
            }
            Some(job)
        })
    }
}
