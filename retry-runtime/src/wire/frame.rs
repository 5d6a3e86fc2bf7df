//! Frames: messages with a header of fixed size and a payload.

use bytes::{Buf, Bytes};

use crate::codec::payload::{MARK, PREFIX, Packed};

/// The size of a header from the parent, in bytes.
pub(crate) const CALL_HEADER: usize = 40;

/// The size of a header from a worker, in bytes.
pub(crate) const ANSWER_HEADER: usize = 24;

const NO_INDEX: u64 = u64::MAX;

/// The bits that hold the number of calls in a message.
const COUNT: u32 = (1 << 24) - 1;

/// An order to a worker about a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// Run the function.
    #[default]
    Run,
    /// Ask the running function to stop.
    Ask,
    /// Abort the running function at its next yield point.
    Abort,
}

/// The header of a call on its way to a worker, or of an order about a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallHeader {
    pub(crate) length: u32,
    pub(crate) order: Order,
    /// The number of calls in this message. Their tickets, call ids and indices are consecutive. If there is
    /// more than one, each call's arguments are preceded by their length.
    pub(crate) count: u32,
    pub(crate) attempt: u32,
    pub(crate) ticket: u64,
    pub(crate) call: u64,
    pub(crate) index: Option<u64>,
    /// The method of a service that is called.
    pub(crate) method: u16,
    /// The fault that a test wants to happen.
    pub(crate) fault: u16,
    /// The most verbose level of events that the caller records: from 1 for errors to 5 for traces, or 0 for
    /// none.
    pub(crate) level: u8,
    /// Set if a part of the arguments is staged apart from the message.
    pub(crate) is_staged: bool,
}

/// The bit next to an order that marks staged arguments.
const STAGED: u8 = 8;

impl CallHeader {
    /// Advances to the header of the next call.
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
        // The chunks of a map are shorter than what `COUNT` can hold.
        let staged = if self.is_staged { STAGED } else { 0 };
        let order = self.order as u8 | staged | self.level << 4;
        let count = self.count & COUNT | u32::from(order) << 24;
        bytes[32..36].copy_from_slice(&count.to_le_bytes());
        bytes[36..38].copy_from_slice(&self.method.to_le_bytes());
        bytes[38..40].copy_from_slice(&self.fault.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(mut header: &[u8]) -> Self {
        let mut message = Self {
            length: header.get_u32_le(),
            attempt: header.get_u32_le(),
            ticket: header.get_u64_le(),
            call: header.get_u64_le(),
            index: Some(header.get_u64_le()).filter(|index| *index != NO_INDEX),
            count: header.get_u32_le(),
            order: Order::Run,
            method: header.get_u16_le(),
            fault: header.get_u16_le(),
            level: 0,
            is_staged: false,
        };
        let order = (message.count >> 24) as u8;
        message.level = order >> 4;
        message.is_staged = order & STAGED != 0;
        message.order = match order & (STAGED - 1) {
            1 => Order::Ask,
            2 => Order::Abort,
            _ => Order::Run,
        };
        message.count &= COUNT;
        message
    }
}

/// Splits a message into its calls.
pub(crate) fn calls(
    mut header: CallHeader,
    payload: Bytes,
) -> impl Iterator<Item = (CallHeader, Bytes)> {
    let (one, several) = match std::mem::replace(&mut header.count, 1) {
        ..2 => (Some(payload), None),
        count => (None, Some(Packed::new(count, payload))),
    };
    let inputs = one.into_iter().chain(several.into_iter().flatten());
    inputs.map(move |input| {
        let this = header;
        header.follow();
        (this, input)
    })
}

/// Returns the length of a short value, given its header. A longer one is invalid, which is detected when it
/// is read as a full answer.
pub(super) fn short_length(header: u32) -> Option<usize> {
    let length = (header & !MARK) as usize;
    (header >= MARK && length <= MAX_SHORT_VALUE).then_some(length)
}

/// Returns the header of a short answer.
pub(crate) fn short_header(payload: &[u8]) -> [u8; PREFIX] {
    (MARK | payload.len() as u32).to_le_bytes()
}

/// The maximum length of a value that is answered in short form, in bytes.
pub(crate) const MAX_SHORT_VALUE: usize = 4096;

/// The kind of a message from a worker. It is as wide as the loads that compilers generate for it: a load of
/// more bytes than have just been stored has to wait for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// The worker has started. The payload is a [`Hello`](super::handshake::Hello).
    Hello = 1,
    /// The worker's set-up has finished.
    Ready,
    /// The worker's set-up has failed. The payload is a text.
    SetUpFailed,
    /// The function returned; if it returns a `Result`, it returned `Ok`.
    Ok,
    /// The function returned an `Err` that may be retried.
    Err,
    /// The function returned an `Err` that `retry_if` refuses.
    FinalErr,
    /// The function panicked.
    Panicked,
    /// The arguments could not be decoded. The payload is a text.
    NotDecodable,
    /// The result could not be encoded. The payload is a text.
    NotEncodable,
    /// The result is larger than the limit.
    TooLarge,
    /// The function was aborted, as the parent had ordered.
    Aborted,
    /// Like `Err`, but the text is preceded by the delay in nanoseconds that the error asks for.
    ErrAfter,
    /// A test wants this worker to count as having taken too much memory.
    OutOfMemory,
    /// A batch returned another number of results than it had inputs. The payload is both numbers.
    WrongLength,
    /// The error that the function returned is larger than the limit. The payload is its size.
    ErrTooLarge,
    /// The text of the error that the next answer carries.
    ErrText,
    /// The end of the output of the next answer: a [`Printed`].
    Printed,
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
            15 => Self::ErrTooLarge,
            16 => Self::ErrText,
            17 => Self::Printed,
            _ => return None,
        })
    }
}

/// The header of a message from a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHeader {
    pub(crate) length: u32,
    pub(crate) kind: Kind,
    /// The worker asks to be replaced.
    pub(crate) used_up: bool,
    pub(crate) ticket: u64,
    /// The time for which the function ran, in nanoseconds.
    pub(crate) duration: u64,
}

/// The end of the output that a worker has printed so far. The bytes of its streams between the previous one
/// of these positions and this one were printed by the ticket of the message, or by others as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// The number of bytes of standard output and of standard error up to this position.
    pub(crate) ends: [u64; 2],
    /// All of the output is from this one ticket.
    pub(crate) alone: bool,
    /// Nothing else is executing, so that an unfinished line will stay unfinished.
    pub(crate) last: bool,
}

/// The length of the payload, in bytes.
pub(crate) const PRINTED: usize = 18;

impl Printed {
    pub(crate) fn encode(self) -> [u8; PRINTED] {
        let mut bytes = [0; PRINTED];
        bytes[0..8].copy_from_slice(&self.ends[0].to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ends[1].to_le_bytes());
        bytes[16] = self.alone.into();
        bytes[17] = self.last.into();
        bytes
    }

    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        Some(Self {
            ends: [
                payload.try_get_u64_le().ok()?,
                payload.try_get_u64_le().ok()?,
            ],
            alone: payload.try_get_u8().ok()? != 0,
            last: payload.try_get_u8().ok()? != 0,
        })
    }
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

    /// Decodes a header. The bytes may be anything: an impossible header is an error, before anything is
    /// allocated for it. Returns `None` for the header of a short answer.
    pub(crate) fn decode(mut header: &[u8], limit: usize) -> Result<Option<Self>, String> {
        let length = header.get_u32_le();
        if short_length(length).is_some() {
            return Ok(None);
        }
        let kind = header.get_u8();
        let used_up = header.get_u8() != 0;
        header.advance(2);
        let kind = Kind::from_byte(kind).ok_or_else(|| format!("unknown message {kind}"))?;
        if length as usize > limit.max(PRINTED) {
            return Err(format!(
                "a message of {length} bytes, more than the limit of {limit}"
            ));
        }
        Ok(Some(Self {
            length,
            kind,
            used_up,
            ticket: header.get_u64_le(),
            duration: header.get_u64_le(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::payload;

    #[test]
    fn calls_of_a_message_have_consecutive_numbers() {
        let header = CallHeader {
            count: 3,
            ticket: 9,
            call: 7,
            index: Some(2),
            order: Order::Run,
            ..CallHeader::default()
        };
        let mut payload = Vec::new();
        for input in [&b"a"[..], b"", b"bc"] {
            let begun = payload::begin(&mut payload);
            payload.extend_from_slice(input);
            payload::end(&mut payload, begun);
        }
        let calls: Vec<_> = calls(header, Bytes::from(payload))
            .map(|(header, input)| (header.ticket, header.call, header.index, input))
            .collect();
        let expected: [(u64, u64, Option<u64>, &[u8]); 3] = [
            (9, 7, Some(2), b"a"),
            (10, 8, Some(3), b""),
            (11, 9, Some(4), b"bc"),
        ];
        let expected = expected
            .map(|(ticket, call, index, input)| (ticket, call, index, Bytes::from_static(input)));
        assert_eq!(calls, expected);
        let one = CallHeader { count: 1, ..header };
        let mut calls = super::calls(one, Bytes::from_static(b"abc"));
        assert_eq!(calls.next(), Some((one, Bytes::from_static(b"abc"))));
        assert_eq!(calls.next(), None);
    }

    #[test]
    fn output_positions_round_trip() {
        let printed = Printed {
            ends: [1 << 40, 7],
            alone: true,
            last: false,
        };
        let bytes = Bytes::copy_from_slice(&printed.encode());
        assert_eq!(Printed::decode(bytes.clone()), Some(printed));
        assert_eq!(Printed::decode(bytes.slice(1..)), None);
    }
}
