//! Calls and their outcomes as messages. Nested calls go to the parent of a worker in this form, and tasks to
//! another machine.
//!
//! Each message consists of two lengths of 32 bits, a head in the runtime's own codec, and a payload: encoded
//! arguments or encoded results, passed through unchanged.

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::api::call_id::CallNumber;
use crate::api::context::Attempt;
use crate::api::options::Policy;
use crate::codec;
use crate::codec::payload::Payload;
use crate::job::outcome::{Failure, History, Outcome};
use crate::job::resumption::Resumption;

/// The size of both lengths, in bytes.
const LENGTHS: usize = 8;

/// The maximum size of a reply without its payload if it consists of numbers only.
const FRAME: usize = 64;

/// Calls of one function on the same terms.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Calls {
    pub(crate) function: String,
    /// The configuration, if the function is a method of a service.
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) policy: Policy,
    pub(crate) items: Vec<Item>,
}

/// A call, or consecutive calls that have no attempt behind them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    /// The number of the first call.
    pub(crate) number: u32,
    pub(crate) count: u32,
    /// The place of the first input in its map.
    pub(crate) index: Option<u64>,
    /// The length of the inputs within the payload.
    pub(crate) length: u32,
    /// The attempts behind the call, if there are any.
    pub(crate) resumption: Option<Box<Resumption>>,
}

impl Item {
    /// Appends the inputs to a payload, and returns the item that describes them.
    pub(crate) fn put(
        number: u32,
        index: Option<u64>,
        inputs: &Payload,
        resumption: Option<Box<Resumption>>,
        payload: &mut Vec<u8>,
    ) -> Self {
        let bytes = inputs.bytes();
        payload.extend_from_slice(bytes);
        Self {
            number,
            count: inputs.count(),
            index,
            length: length(bytes),
            resumption,
        }
    }

    /// Takes the inputs from the front of a payload. The numbers are not trusted.
    pub(crate) fn take(&self, payload: &mut Bytes) -> Result<Payload, String> {
        if self.resumption.is_some() && self.count != 1 {
            return Err("several calls with one history".to_owned());
        }
        take_values(self.count, self.length, payload)
    }
}

fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).expect("the limit is below 4 GiB")
}

fn take_values(count: u32, length: u32, payload: &mut Bytes) -> Result<Payload, String> {
    let length = length as usize;
    if length > payload.len() {
        return Err("values that are longer than their message".to_owned());
    }
    Payload::received(count, payload.split_to(length))
        .ok_or_else(|| format!("{length} bytes that are not {count} values"))
}

/// The outcome of a call, or the values of consecutive calls. The payload has its values or its error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The number of the first call.
    pub(crate) number: u32,
    pub(crate) count: u32,
    /// The length within the payload.
    length: u32,
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
    /// Returns an outcome without its values or its error, and these, which follow in the payload.
    pub(crate) fn new(number: u32, outcome: Outcome) -> (Self, Bytes) {
        let (end, values) = match outcome.result {
            Ok(values) => (End::Ok, values),
            Err(Failure::Function(error)) => (End::Function, Payload::One(error)),
            Err(other) => (End::Other(other), Payload::NONE),
        };
        let history = History::of(outcome.history);
        let bytes = values.bytes().clone();
        let reply = Self {
            number,
            count: values.count(),
            length: length(&bytes),
            call: outcome.call,
            attempts: history.attempts,
            stderr_tail: history.stderr_tail.as_deref().map(str::to_owned),
            end,
        };
        (reply, bytes)
    }

    /// Returns a number of bytes that an outcome takes at most, with its values or its error.
    pub(crate) fn weight(outcome: &Outcome) -> usize {
        if let (Ok(values), None) = (&outcome.result, &outcome.history) {
            return FRAME + values.bytes().len();
        }
        let (reply, bytes) = Self::new(0, outcome.clone());
        let mut head = Vec::new();
        // These types contain nothing that cannot be encoded.
        let _ = codec::encode(&reply, &mut head, usize::MAX);
        FRAME + head.len() + bytes.len()
    }

    /// Takes the outcome from the front of a payload. The numbers are not trusted.
    pub(crate) fn take(self, payload: &mut Bytes) -> Result<Outcome, String> {
        let values = take_values(self.count, self.length, payload)?;
        let result = match self.end {
            End::Ok => Ok(values),
            _ if self.count != 1 => return Err("several calls with one error".to_owned()),
            End::Function => Err(Failure::Function(values.into_one())),
            End::Other(failure) => Err(failure),
        };
        Ok(Outcome {
            call: self.call,
            result,
            history: History::new(self.attempts, self.stderr_tail.map(Into::into)),
        })
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
        return Err(format!("a message of {head} and {payload} bytes"));
    }
    if buffer.len() - LENGTHS < head + payload {
        return Ok(None);
    }
    buffer.advance(LENGTHS);
    let head = buffer.split_to(head);
    let payload = buffer.split_to(payload).freeze();
    match codec::decode_all(&head) {
        Ok(head) => Ok(Some((head, payload))),
        Err(error) => Err(format!("a message that cannot be decoded: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::failure::{Cancelled, Lost, Rejected};

    fn packed(values: &[&[u8]]) -> Payload {
        let mut buffer = Vec::new();
        for value in values {
            let begun = codec::payload::begin(&mut buffer);
            buffer.extend_from_slice(value);
            codec::payload::end(&mut buffer, begun);
        }
        Payload::new(values.len() as u32, Bytes::from(buffer))
    }

    fn outcome(result: Result<Payload, Failure>) -> Outcome {
        Outcome {
            call: CallNumber::nested(3, 7),
            result,
            history: History::new(Vec::new(), Some("tail".into())),
        }
    }

    #[test]
    fn outcomes_round_trip() {
        let results = [
            Ok(Payload::NONE),
            Ok(packed(&[b"a", b"", b"bcd"])),
            Err(Failure::Function(Bytes::from_static(b"error"))),
            Err(Failure::Rejected(Rejected::TooDeep { limit: 10 })),
            Err(Failure::Cancelled(Cancelled::WithOuterCall)),
            Err(Failure::Lost(Lost::TooLarge { limit: 5 })),
            Err(Failure::HandedBack(Box::default())),
        ];
        for result in results {
            let expected = format!("{result:?}");
            let (reply, payload) = Reply::new(7, outcome(result));
            let mut message = BytesMut::from(&encode(&reply, payload.len())[..]);
            message.extend_from_slice(&payload);
            let (reply, mut payload) = take::<Reply>(&mut message, usize::MAX, 100)
                .unwrap()
                .unwrap();
            assert_eq!(reply.number, 7);
            let outcome = reply.take(&mut payload).unwrap();
            assert!(payload.is_empty());
            assert_eq!(format!("{:?}", outcome.result), expected);
            let tail = outcome.history.unwrap().stderr_tail;
            assert_eq!(tail.as_deref(), Some("tail"));
            assert_eq!(outcome.call, CallNumber::nested(3, 7));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_the_payload_are_refused() {
        let item = |count, length| Item {
            number: 1,
            count,
            index: None,
            length,
            resumption: None,
        };
        let mut payload = Vec::new();
        let all = Item::put(1, None, &packed(&[b"a", b"bc"]), None, &mut payload);
        let payload = Bytes::from(payload);
        assert_eq!(all.take(&mut payload.clone()).unwrap().count(), 2);
        for (count, length) in [
            (0, 0),
            (0, all.length),
            (3, all.length),
            (2, all.length - 1),
            (u32::MAX, all.length),
            (1, all.length + 1),
            (2, 0),
        ] {
            let refused = item(count, length).take(&mut payload.clone());
            assert!(refused.is_err(), "{count} {length}");
        }
        let several = Item {
            resumption: Some(Box::default()),
            ..item(2, all.length)
        };
        assert!(several.take(&mut payload.clone()).is_err());
    }
}
