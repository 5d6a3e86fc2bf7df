//! The messages of the connection for nested calls.

use serde::{Deserialize, Serialize};

use super::message::{Calls, Reply};
use crate::shared::ObjectId;
#[cfg(feature = "tracing")]
use crate::spans::Batch;

/// The maximum size of a request's head, which describes a chunk of calls, in bytes.
pub(crate) const LARGEST_REQUEST: usize = 16 * 1024 * 1024;

/// A request from a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Submit(Box<Submission>),
    Cancel(Vec<u32>),
    /// Holds back the inputs of a map, except the one with the given index, if any; with `None`, releases
    /// them again.
    Hold {
        caller: u32,
        held: Option<Option<u64>>,
    },
    /// Asks for the memory of a shared value that a call has named.
    Object(ObjectId),
    /// Gives back a shared value that replies have named this many times.
    GiveBack {
        id: ObjectId,
        count: u32,
    },
    /// Hands over a shared value.
    Offer {
        id: ObjectId,
        purpose: Purpose,
        content: Offered,
    },
    /// Spans and events that the worker has recorded.
    #[cfg(feature = "tracing")]
    Spans(Batch),
}

/// The message that names a shared value which a worker hands over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// The answer to this ticket.
    Answer(u64),
    /// The calls of the next [`Request::Submit`].
    Calls,
}

/// The place of the memory of a shared value that a worker hands over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Offered {
    /// The parent has it.
    There,
    /// In the payload of the message.
    Payload,
    /// In the file that comes with the message, with this number of bytes.
    File(u64),
}

/// A message to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// The outcome of calls, and the shared values that it names. They were sent before, and are lent to the worker.
    Reply(Reply, Vec<ObjectId>),
    /// Answers [`Request::Object`], or comes before a [`Reply`](Self::Reply) that names it.
    Object { id: ObjectId, content: Content },
    /// Tells that no further call will name a shared value.
    Forget(ObjectId),
}

/// The place of the memory of a shared value that the parent sends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Content {
    /// In the payload of the message.
    Payload,
    /// In the file that comes with the message, with this number of bytes.
    File(u64),
    /// In the same way, but arguments are staged there, and it changes from one call to the next.
    Staging(u64),
    /// The value does not exist any more.
    Gone,
}

/// Calls that a call makes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Submission {
    pub(crate) calls: Calls,
    /// The retry budget that the calls of a map share: its identity, and the share of retries.
    pub(crate) budget: Option<(u64, f64)>,
    /// The source of the calls: a map or a thread.
    pub(crate) caller: u32,
    /// The line of the program that makes the calls, if it is known.
    pub(crate) called: Option<Box<str>>,
    /// The ticket of the call that makes these calls.
    pub(crate) ticket: u64,
    /// The number of the span in which the calls are made; zero for none.
    pub(crate) span: u64,
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::message::{encode, take};

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
