//! The messages between the caller of a task and the machine that runs it. The engine that carries them does not read
//! them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::message::{self, Calls, Reply};
use crate::codec::{self, Wire};
use crate::job::resumption::Resumption;

/// The number of machines that may lose a task.
pub(crate) const MOST_HOSTS: usize = 3;

/// The calls of a task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) calls: Calls,
    /// The retries that the calls may make beyond their share, if their map has a budget.
    pub(crate) allowance: Option<Allowance>,
    /// The time after which the machine has lost the task if the engine acknowledges nothing.
    pub(crate) host_timeout: Duration,
    /// The size of the largest answer that the engine accepts.
    pub(crate) max_body: u64,
}

/// The part of a map's retry budget that a task may use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Allowance {
    /// The share of attempts that may be retries.
    pub(crate) ratio: f64,
    /// The retries that are allowed beyond it.
    pub(crate) retries: u64,
}

/// The answer to a task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The name of the function, which the program that gets the answer may not have called itself; empty if the machine
    /// does not run the task.
    pub(crate) function: String,
    /// The replies to the calls, in their order. Each call is in one reply.
    pub(crate) replies: Vec<Reply>,
    pub(crate) facts: Facts,
    /// The reason why the machine does not run the task, if it does not.
    pub(crate) problem: Option<String>,
}

/// Facts about the machine, from which the caller chooses the size and the number of its next tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The number of inputs that the machine executes at once.
    pub(crate) slots: u32,
    /// The number of inputs that were executed, and the time that they took together.
    pub(crate) inputs: u32,
    pub(crate) took: Duration,
    /// The time for which the task waited for a machine.
    pub(crate) queued: Duration,
    /// The attempts and the retries that count for the map's budget.
    pub(crate) attempts: u64,
    pub(crate) retries: u64,
    /// Set if results did not fit into the answer, so that their calls are made again.
    pub(crate) overflows: bool,
}

/// The record that a machine leaves for the next one that gets the same task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// The machines that have begun and not reported an end.
    pub(crate) begun: Vec<String>,
    /// The number of these that are in the history below already.
    pub(crate) recorded: usize,
    /// The state of a task's only call, once a machine has handed it back. The rest of its deadline counts from
    /// the submission of the task.
    pub(crate) resumption: Option<Box<Resumption>>,
}

/// Encodes a head with the payload that belongs to it.
pub(crate) fn encode(head: &impl Wire, payload: &[u8]) -> Vec<u8> {
    let mut bytes = message::encode(head, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// Decodes a head and its payload. Nothing about the bytes is trusted.
pub(crate) fn decode<H: Wire>(bytes: Vec<u8>) -> Result<(H, Bytes), String> {
    let mut bytes = BytesMut::from(Bytes::from(bytes));
    match message::take(&mut bytes, usize::MAX, usize::MAX)? {
        Some(whole) if bytes.is_empty() => Ok(whole),
        _ => Err("a message of another length than it says".to_owned()),
    }
}

impl Ledger {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // The type contains nothing that cannot be encoded.
        let _ = codec::encode(self, &mut bytes, usize::MAX);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let ledger: Self = codec::decode_all(bytes).map_err(|error| error.to_string())?;
        match ledger.recorded <= ledger.begun.len() && ledger.begun.len() <= MOST_HOSTS {
            true => Ok(ledger),
            false => Err("a ledger of too many machines".to_owned()),
        }
    }
}
