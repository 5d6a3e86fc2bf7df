//! The messages of the connection for nested calls.
//!
//! Each message consists of two lengths of 32 bits, a head in the runtime's own codec, and a payload: encoded
//! arguments or an encoded result, passed through unchanged.

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::api::call_id::CallNumber;
use crate::api::context::Attempt;
use crate::api::options::Policy;
use crate::codec;
use crate::codec::payload::Payload;
use crate::job::outcome::{Failure, History, Outcome};
#[cfg(feature = "tracing")]
use crate::spans::Batch;

/// The size of both lengths, in bytes.
const LENGTHS: usize = 8;

/// The maximum size of a request's head, which describes a chunk of calls, in bytes.
pub(crate) const LARGEST_REQUEST: usize = 16 * 1024 * 1024;

/// A request from a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Submit(Submission),
    Cancel(Vec<u32>),
    /// Holds back the inputs of a map, except the one with the given index, if any; with `None`, releases
    /// them again.
    Hold {
        caller: u32,
        held: Option<Option<u64>>,
    },
    /// Spans and events that the worker has recorded.
    #[cfg(feature = "tracing")]
    Spans(Batch),
}

/// A chunk of calls of one function.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Submission {
    pub(crate) function: String,
    /// The configuration, if the function is a method of a service.
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) policy: Policy,
    /// The retry budget that the calls of a map share: its identity, and the share of retries.
    pub(crate) budget: Option<(u64, f64)>,
    /// The source of the calls: a map or a thread.
    pub(crate) caller: u32,
    /// The ticket of the call that makes these calls.
    pub(crate) ticket: u64,
    /// The number of the span in which the calls are made; zero for none.
    pub(crate) span: u64,
    pub(crate) calls: Vec<Item>,
}

/// One call of a submission.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) number: u32,
    pub(crate) index: Option<u64>,
    /// The length of the call's input within the payload.
    pub(crate) length: u32,
}

/// The outcome of a call. The payload is its value or its error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) number: u32,
    call: CallNumber,
    attempts: Vec<Attempt>,
    stderr_tail: Option<String>,
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
enum End {
    Ok,
    Function,
    Other(Failure),
}

impl Reply {
    pub(crate) fn new(number: u32, outcome: Outcome) -> (Self, Bytes) {
        let (end, payload) = match outcome.result {
            Ok(value) => (End::Ok, value.into_one()),
            Err(Failure::Function(error)) => (End::Function, error),
            Err(other) => (End::Other(other), Bytes::new()),
        };
        let history = History::of(outcome.history);
        let reply = Self {
            number,
            call: outcome.call,
            attempts: history.attempts,
            stderr_tail: history.stderr_tail.as_deref().map(str::to_owned),
            end,
        };
        (reply, payload)
    }

    pub(crate) fn into_outcome(self, payload: Bytes) -> Outcome {
        Outcome {
            call: self.call,
            result: match self.end {
                End::Ok => Ok(Payload::One(payload)),
                End::Function => Err(Failure::Function(payload)),
                End::Other(failure) => Err(failure),
            },
            history: History::new(self.attempts, self.stderr_tail.map(Into::into)),
        }
    }
}

/// Encodes the lengths and the head of a message.
pub(crate) fn encode(head: &impl codec::Wire, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; LENGTHS];
    // These types contain nothing that cannot be encoded.
    let _ = codec::encode(head, &mut bytes, usize::MAX);
    let head = u32::try_from(bytes.len() - LENGTHS).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&head.to_le_bytes());
    let payload = u32::try_from(payload).expect("the limit is below 4 GiB");
    bytes[4..LENGTHS].copy_from_slice(&payload.to_le_bytes());
    bytes
}

/// Returns how many bytes to read next: what is missing of a message, but at most `most`, because the
/// announced length is not trusted.
pub(crate) fn wanted(buffer: &BytesMut, least: usize, most: usize) -> usize {
    let Some(lengths) = buffer.first_chunk::<LENGTHS>() else {
        return least;
    };
    let whole = lengths
        .chunks(4)
        .map(|mut length| length.get_u32_le() as usize)
        .sum::<usize>();
    (LENGTHS + whole)
        .saturating_sub(buffer.len())
        .clamp(least, most)
}

/// Takes a whole message from the front of a buffer, if there is one.
pub(crate) fn take<H: codec::Wire>(
    buffer: &mut BytesMut,
    largest_head: usize,
    limit: usize,
) -> Result<Option<(H, Bytes)>, String> {
    let Some(mut lengths) = buffer.get(..LENGTHS) else {
        return Ok(None);
    };
    let head = lengths.get_u32_le() as usize;
    let payload = lengths.get_u32_le() as usize;
    if head > largest_head || payload > limit {
        return Err(format!("a nested message of {head} and {payload} bytes"));
    }
    if buffer.len() - LENGTHS < head + payload {
        return Ok(None);
    }
    buffer.advance(LENGTHS);
    let head = buffer.split_to(head);
    let payload = buffer.split_to(payload).freeze();
    match codec::decode_all(&head) {
        Ok(head) => Ok(Some((head, payload))),
        Err(error) => Err(format!("a nested message that cannot be decoded: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_round_trip() {
        use crate::api::failure::{Cancelled, Lost, Rejected};
        let failures = [
            Failure::Function(Bytes::from_static(b"error")),
            Failure::Rejected(Rejected::TooDeep { limit: 10 }),
            Failure::Cancelled(Cancelled::WithOuterCall),
            Failure::Lost(Lost::TooLarge { limit: 5 }),
        ];
        for failure in failures {
            let expected = format!("{failure:?}");
            let outcome = Outcome {
                call: CallNumber::nested(3, 7),
                result: Err(failure),
                history: History::new(Vec::new(), Some("tail".into())),
            };
            let (reply, payload) = Reply::new(7, outcome);
            let mut message = BytesMut::from(&encode(&reply, payload.len())[..]);
            message.extend_from_slice(&payload);
            let (reply, payload) = take::<Reply>(&mut message, usize::MAX, 100)
                .unwrap()
                .unwrap();
            assert_eq!(reply.number, 7);
            let outcome = reply.into_outcome(payload);
            assert_eq!(format!("{:?}", outcome.result.unwrap_err()), expected);
            let tail = outcome.history.unwrap().stderr_tail;
            assert_eq!(tail.as_deref(), Some("tail"));
            assert_eq!(outcome.call, CallNumber::nested(3, 7));
        }
    }

    #[test]
    fn messages_round_trip_and_garbage_never_panics() {
        let head = encode(&Request::Cancel(vec![1, 2]), 3);
        let mut buffer = BytesMut::from(&head[..]);
        assert!(
            take::<Request>(&mut buffer, LARGEST_REQUEST, 10)
                .unwrap()
                .is_none()
        );
        buffer.extend_from_slice(b"abcd");
        let (request, payload) = take::<Request>(&mut buffer, LARGEST_REQUEST, 10)
            .unwrap()
            .unwrap();
        assert!(matches!(request, Request::Cancel(numbers) if numbers == [1, 2]));
        assert_eq!((&payload[..], &buffer[..]), (&b"abc"[..], &b"d"[..]));
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let mut bytes = vec![0u8; random.usize(0..80)];
            random.fill(&mut bytes);
            if bytes.len() > 8 {
                bytes[1..4].fill(0);
                bytes[5..8].fill(0);
            }
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take::<Request>(&mut buffer, LARGEST_REQUEST, 1000) {}
        }
    }
}
