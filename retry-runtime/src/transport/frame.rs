//! Messages: a header of fixed size and a payload.

use bytes::{Buf, Bytes};

use super::intake::Intake;
use crate::parcel::{self, MARK, PREFIX, Parcel, Parts, Series};

/// The size of a header from the parent.
pub(crate) const CALL_HEADER: usize = 40;

/// The size of a header from a worker.
pub(crate) const ANSWER_HEADER: usize = 24;

const NO_INDEX: u64 = u64::MAX;

/// The bits that tell how many calls a message is.
const COUNT: u32 = (1 << 24) - 1;

/// What a worker is to do about a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// Run the function.
    #[default]
    Run,
    /// Tell the running function that it is to stop.
    Ask,
    /// Abort the running function where it yields.
    Abort,
}

/// A call on its way to a worker, without its arguments; or an order about one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallHeader {
    pub(crate) length: u32,
    pub(crate) order: Order,
    /// How many calls these are. Their tickets, identities and places follow each other; with
    /// more than one each has its own length before its arguments.
    pub(crate) count: u32,
    pub(crate) attempt: u32,
    pub(crate) ticket: u64,
    pub(crate) call: u64,
    pub(crate) index: Option<u64>,
    /// Which method of a service is called.
    pub(crate) method: u16,
    /// What a test wants to go wrong.
    pub(crate) fault: u16,
}

impl CallHeader {
    /// Becomes that of the call after this one.
    pub(crate) fn follow(&mut self) {
        self.ticket += 1;
        self.call += 1;
        self.index = self.index.map(|index| index + 1);
    }

    pub(crate) fn encode(&self) -> [u8; CALL_HEADER] {
        let mut bytes = [0; CALL_HEADER];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.attempt.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ticket.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.call.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.index.unwrap_or(NO_INDEX).to_le_bytes());
        // The chunks of a map are shorter than this.
        let count = self.count & COUNT | u32::from(self.order as u8) << 24;
        bytes[32..36].copy_from_slice(&count.to_le_bytes());
        bytes[36..38].copy_from_slice(&self.method.to_le_bytes());
        bytes[38..40].copy_from_slice(&self.fault.to_le_bytes());
        bytes
    }

    /// Takes a whole message off what has come, if there is one.
    pub(crate) fn take(intake: &mut Intake) -> Option<(Self, Bytes)> {
        let mut header = intake.header(CALL_HEADER)?;
        let length = header.get_u32_le();
        let mut message = Self {
            length,
            attempt: header.get_u32_le(),
            ticket: header.get_u64_le(),
            call: header.get_u64_le(),
            index: Some(header.get_u64_le()).filter(|index| *index != NO_INDEX),
            count: header.get_u32_le(),
            order: Order::Run,
            method: header.get_u16_le(),
            fault: header.get_u16_le(),
        };
        message.order = match message.count >> 24 {
            1 => Order::Ask,
            2 => Order::Abort,
            _ => Order::Run,
        };
        message.count &= COUNT;
        let payload = intake.take(CALL_HEADER, length as usize)?;
        Some((message, payload))
    }
}

/// The calls of one message, one by one.
#[derive(Debug)]
pub(crate) struct Chunk {
    next: CallHeader,
    inputs: Parcel,
}

impl Chunk {
    pub(crate) fn new(header: CallHeader, payload: Bytes) -> Self {
        let inputs = match header.count {
            ..2 => Parcel::One(payload),
            count => Parcel::Several(Series::new(count, payload)),
        };
        let next = CallHeader { count: 1, ..header };
        Self { next, inputs }
    }

    /// A message without calls.
    pub(crate) fn empty() -> Self {
        let inputs = Parcel::Several(Series::new(0, Bytes::new()));
        let next = CallHeader::default();
        Self { next, inputs }
    }

    /// Whether there is another call.
    pub(crate) fn has_more(&self) -> bool {
        self.inputs.count() > 0
    }
}

impl Iterator for Chunk {
    type Item = (CallHeader, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let input = match &mut self.inputs {
            Parcel::Several(inputs) => inputs.next()?,
            Parcel::One(input) => {
                let input = std::mem::take(input);
                self.inputs = Self::empty().inputs;
                input
            }
        };
        let header = self.next;
        self.next.follow();
        Some((header, input))
    }
}

/// Values that a worker answered in short: each alone behind its length, which is marked. They
/// belong to the tickets that follow the last answer, and the next answer in full tells how long
/// all of them took.
pub(crate) fn take_short(intake: &mut Intake) -> Option<Parcel> {
    let buffer = intake.small()?;
    let mut end = 0;
    let mut count = 0;
    while let Some(prefix) = buffer.get(end..).and_then(<[u8]>::first_chunk::<PREFIX>)
        && u32::from_le_bytes(*prefix) >= MARK
        && let Some(length) = parcel::length(prefix)
        && end + PREFIX + length <= buffer.len()
    {
        end += PREFIX + length;
        count += 1;
    }
    (count > 0).then(|| Parcel::new(count, buffer.split_to(end).freeze()))
}

/// The header of an answer in short.
pub(crate) fn short_header(payload: &[u8]) -> [u8; PREFIX] {
    (MARK | payload.len() as u32).to_le_bytes()
}

/// The longest value that is answered in short.
pub(crate) const SHORT: usize = 4096;

/// What a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// It has come up; the payload is the registry's fingerprint.
    Hello = 1,
    /// Its set-up is done.
    Ready,
    /// Its set-up failed; the payload is a text.
    SetUpFailed,
    /// A function returned, `Ok` where it returns a `Result`.
    Ok,
    /// A function returned an `Err` that may be retried.
    Err,
    /// A function returned an `Err` that `retry_if` refuses.
    FinalErr,
    /// A function panicked.
    Panicked,
    /// The arguments could not be decoded; the payload is a text.
    NotDecodable,
    /// The result could not be encoded; the payload is a text.
    NotEncodable,
    /// The result is larger than the limit.
    TooLarge,
    /// The function was aborted as it was asked to be.
    Aborted,
    /// As `Err`, with the delay in nanoseconds that the error asks for before its text.
    ErrAfter,
    /// A test wants this worker to have taken too much memory.
    OutOfMemory,
    /// A batch had another number of results than of inputs: both numbers.
    WrongLength,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Ready,
            3 => Self::SetUpFailed,
            4 => Self::Ok,
            5 => Self::Err,
            6 => Self::FinalErr,
            7 => Self::Panicked,
            8 => Self::NotDecodable,
            9 => Self::NotEncodable,
            10 => Self::TooLarge,
            11 => Self::Aborted,
            12 => Self::ErrAfter,
            13 => Self::OutOfMemory,
            14 => Self::WrongLength,
            _ => return None,
        })
    }
}

/// A message from a worker, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHeader {
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    /// Whether the worker asks to be replaced.
    pub(crate) used_up: bool,
    pub(crate) ticket: u64,
    /// How long the function ran, in nanoseconds.
    pub(crate) duration: u64,
}

impl AnswerHeader {
    pub(crate) fn encode(&self) -> [u8; ANSWER_HEADER] {
        let mut bytes = [0; ANSWER_HEADER];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[5] = self.used_up.into();
        bytes[8..16].copy_from_slice(&self.ticket.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.duration.to_le_bytes());
        bytes
    }

    /// Takes a whole message off what has come, if there is one. The bytes may be anything: an
    /// impossible header is an error before anything is allocated for it.
    pub(crate) fn take(intake: &mut Intake, limit: usize) -> Result<Option<(Self, Bytes)>, String> {
        let Some(mut header) = intake.header(ANSWER_HEADER) else {
            return Ok(None);
        };
        let length = header.get_u32_le();
        let kind = header.get_u8();
        let used_up = header.get_u8() != 0;
        header.advance(2);
        let kind = Kind::from_byte(kind).ok_or_else(|| format!("unknown message {kind}"))?;
        if length as usize > limit {
            return Err(format!(
                "a message of {length} bytes, more than the limit of {limit}"
            ));
        }
        let message = Self {
            length,
            kind,
            used_up,
            ticket: header.get_u64_le(),
            duration: header.get_u64_le(),
        };
        let payload = intake.take(ANSWER_HEADER, length as usize);
        Ok(payload.map(|payload| (message, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_wait_for_their_payload() {
        let header = CallHeader {
            length: 3,
            attempt: 2,
            ticket: 9,
            call: 7,
            index: None,
            order: Order::Run,
            count: 1,
            method: 5,
            fault: 6,
        };
        let mut buffer = Intake::of(&header.encode());
        assert_eq!(CallHeader::take(&mut buffer), None);
        buffer.small().unwrap().extend_from_slice(b"abcd");
        assert_eq!(
            CallHeader::take(&mut buffer),
            Some((header, Bytes::from_static(b"abc")))
        );
        assert_eq!(&buffer.small().unwrap()[..], b"d");
    }

    #[test]
    fn any_bytes_from_a_worker_are_a_message_or_an_error_and_never_a_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..100_000 {
            let mut bytes = vec![0u8; random.usize(0..64)];
            random.fill(&mut bytes);
            if random.bool() && bytes.len() > 4 {
                bytes[2..4].fill(0);
                bytes[4] %= 15;
            }
            let mut buffer = Intake::of(&bytes);
            while let Ok(Some((header, payload))) = AnswerHeader::take(&mut buffer, 1000) {
                assert_eq!(header.length as usize, payload.len());
            }
        }
    }
}
