//! Messages: a header of fixed size and a payload.

use bytes::{Buf, Bytes};

use super::frame_reader::FrameReader;
use crate::codec::payload::{MARK, PREFIX, Packed, Payload};

/// The size of a header from the parent.
pub(crate) const CALL_HEADER: usize = 40;

/// The size of a header from a worker.
pub(crate) const ANSWER_HEADER: usize = 24;

const NO_INDEX: u64 = u64::MAX;

/// The bits that tell how many calls a message is.
const COUNT: u32 = (1 << 24) - 1;

/// The bit beside them that tells of a limit on their time.
const TIMED: u32 = 1 << 31;

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
    /// Whether the time of each is limited.
    pub(crate) timed: bool,
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
        let timed = if self.timed { TIMED } else { 0 };
        let count = self.count & COUNT | u32::from(self.order as u8) << 24 | timed;
        bytes[32..36].copy_from_slice(&count.to_le_bytes());
        bytes[36..38].copy_from_slice(&self.method.to_le_bytes());
        bytes[38..40].copy_from_slice(&self.fault.to_le_bytes());
        bytes
    }

    /// Takes a whole message off what has come, if there is one.
    pub(crate) fn take(reader: &mut FrameReader) -> Option<(Self, Bytes)> {
        let mut header = reader.header(CALL_HEADER)?;
        let length = header.get_u32_le();
        let mut message = Self {
            length,
            attempt: header.get_u32_le(),
            ticket: header.get_u64_le(),
            call: header.get_u64_le(),
            index: Some(header.get_u64_le()).filter(|index| *index != NO_INDEX),
            count: header.get_u32_le(),
            timed: false,
            order: Order::Run,
            method: header.get_u16_le(),
            fault: header.get_u16_le(),
        };
        message.timed = message.count & TIMED != 0;
        message.order = match (message.count & !TIMED) >> 24 {
            1 => Order::Ask,
            2 => Order::Abort,
            _ => Order::Run,
        };
        message.count &= COUNT;
        let payload = reader.take(CALL_HEADER, length as usize)?;
        Some((message, payload))
    }
}

/// The calls of one message, one by one.
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

/// Values that a worker answered in short: each alone behind its length, which is marked. They
/// belong to the tickets that follow the last answer, and the next answer in full tells how long
/// all of them took.
pub(crate) fn take_short(reader: &mut FrameReader) -> Option<Payload> {
    let buffer = reader.small()?;
    let mut end = 0;
    let mut count = 0;
    while let Some(prefix) = buffer.get(end..).and_then(<[u8]>::first_chunk::<PREFIX>)
        && let Some(length) = short_length(u32::from_le_bytes(*prefix))
        && end + PREFIX + length <= buffer.len()
    {
        end += PREFIX + length;
        count += 1;
    }
    (count > 0).then(|| Payload::new(count, buffer.split_to(end).freeze()))
}

/// How long a value in short is, of its header. What is longer makes no sense, which shows where it is
/// read as an answer in full.
fn short_length(header: u32) -> Option<usize> {
    let length = (header & !MARK) as usize;
    (header >= MARK && length <= SHORT).then_some(length)
}

/// The header of an answer in short.
pub(crate) fn short_header(payload: &[u8]) -> [u8; PREFIX] {
    (MARK | payload.len() as u32).to_le_bytes()
}

/// The longest value that is answered in short.
pub(crate) const SHORT: usize = 4096;

/// What a worker says. As wide as the loads that compilers make of it: a load of more bytes than were
/// just stored has to wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
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
    /// The error that a function returned is larger than the limit: its size.
    ErrTooLarge,
    /// The text of the error that the next answer is.
    ErrText,
    /// Where the output ends of what is answered next: a [`Printed`].
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

/// Where the output ends that a worker has printed so far: what is in its streams before that and behind
/// the last one of these was printed by the ticket of the message, or by others as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// How many bytes of standard output and of standard error that is.
    pub(crate) ends: [u64; 2],
    /// Set if all of it is from this one ticket.
    pub(crate) alone: bool,
    /// Set if nothing else is executing, so that a line that is unfinished will remain so.
    pub(crate) last: bool,
}

/// How long the payload is.
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

    /// Takes a whole message off what has come, if there is one, and if no whole value in short is
    /// [left](take_short). The bytes may be anything: an impossible header is an error before
    /// anything is allocated for it.
    pub(crate) fn take(
        reader: &mut FrameReader,
        limit: usize,
    ) -> Result<Option<(Self, Bytes)>, String> {
        let Some(mut header) = reader.header(ANSWER_HEADER) else {
            return Ok(None);
        };
        let length = header.get_u32_le();
        if short_length(length).is_some() {
            // A value in short for all of which there was no room yet.
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
        let message = Self {
            length,
            kind,
            used_up,
            ticket: header.get_u64_le(),
            duration: header.get_u64_le(),
        };
        let payload = reader.take(ANSWER_HEADER, length as usize);
        Ok(payload.map(|payload| (message, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::payload;

    #[test]
    fn headers_come_back_and_wait_for_their_payload() {
        let header = CallHeader {
            length: 3,
            attempt: 2,
            timed: true,
            ticket: 9,
            call: 7,
            index: None,
            order: Order::Run,
            count: 1,
            method: 5,
            fault: 6,
        };
        let mut buffer = FrameReader::of(&header.encode());
        assert_eq!(CallHeader::take(&mut buffer), None);
        buffer.small().unwrap().extend_from_slice(b"abcd");
        assert_eq!(
            CallHeader::take(&mut buffer),
            Some((header, Bytes::from_static(b"abc")))
        );
        assert_eq!(&buffer.small().unwrap()[..], b"d");
    }

    #[test]
    fn a_value_in_short_may_come_in_pieces() {
        let value = vec![200; SHORT];
        let mut whole = short_header(&value).to_vec();
        whole.extend_from_slice(&value);
        for piece in [1, PREFIX, ANSWER_HEADER, ANSWER_HEADER + 1, whole.len() - 1] {
            let mut reader = FrameReader::of(&whole[..piece]);
            assert!(take_short(&mut reader).is_none());
            assert_eq!(AnswerHeader::take(&mut reader, usize::MAX), Ok(None));
            let rest = &whole[piece..];
            reader.small().unwrap().extend_from_slice(rest);
            let taken = take_short(&mut reader).unwrap();
            assert_eq!(taken.into_one(), value);
        }
    }

    #[test]
    fn the_calls_of_a_message_follow_each_other() {
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
    fn answers_in_short_are_taken_together_up_to_one_in_full() {
        let full = AnswerHeader {
            length: 1,
            kind: Kind::Ok,
            used_up: false,
            ticket: 3,
            duration: 5,
        };
        let mut bytes = Vec::new();
        for value in [&b"abc"[..], b""] {
            bytes.extend_from_slice(&short_header(value));
            bytes.extend_from_slice(value);
        }
        bytes.extend_from_slice(&full.encode());
        bytes.extend_from_slice(b"z");
        for end in 0..=bytes.len() {
            let mut buffer = FrameReader::of(&bytes[..end]);
            let whole = [7, 11].iter().filter(|whole| end >= **whole).count();
            let values = match take_short(&mut buffer) {
                None => Vec::new(),
                Some(Payload::One(value)) => vec![value],
                Some(Payload::Several(values)) => values.collect(),
            };
            assert_eq!(values, [&b"abc"[..], b""][..whole]);
            if end == bytes.len() {
                let answer = AnswerHeader::take(&mut buffer, 10).unwrap();
                assert_eq!(answer, Some((full, Bytes::from_static(b"z"))));
            }
        }
    }

    #[test]
    fn where_output_ends_comes_back() {
        let printed = Printed {
            ends: [1 << 40, 7],
            alone: true,
            last: false,
        };
        let bytes = Bytes::copy_from_slice(&printed.encode());
        assert_eq!(Printed::decode(bytes.clone()), Some(printed));
        assert_eq!(Printed::decode(bytes.slice(1..)), None);
    }

    #[test]
    fn a_long_answer_in_short_is_a_breach_before_it_is_there() {
        let length = MARK | (SHORT as u32 + 1);
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[Kind::Ok as u8; ANSWER_HEADER]);
        let mut buffer = FrameReader::of(&bytes);
        assert!(take_short(&mut buffer).is_none());
        assert!(AnswerHeader::take(&mut buffer, payload::LONGEST).is_err());
        // Nor is it taken once it is there.
        bytes.extend_from_slice(&[0; 2 * SHORT]);
        assert!(take_short(&mut FrameReader::of(&bytes)).is_none());
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
            if random.u8(0..4) == 0 && bytes.len() > 4 {
                bytes[1..3].fill(0);
                bytes[3] = 0xff;
            }
            let mut buffer = FrameReader::of(&bytes);
            loop {
                if let Some(values) = take_short(&mut buffer) {
                    assert!(values.size() <= bytes.len());
                    continue;
                }
                match AnswerHeader::take(&mut buffer, 1000) {
                    Ok(Some((header, payload))) => {
                        assert_eq!(header.length as usize, payload.len());
                    }
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }
}
