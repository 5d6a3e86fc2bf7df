//! The handshake: the first messages of a connection.

use std::io;
use std::os::fd::OwnedFd;

use bytes::{Buf, BufMut};
use rustix::net::SendFlags;

use super::{MAGIC, Transport};
use crate::api::run::RunId;

/// The bytes that wait in a worker's standard input when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// A number that is unique to the worker.
    pub(crate) key: u64,
}

/// The prefix of each greeting.
const GREETED: [u8; 8] = *b"retry/w1";

impl Greeting {
    pub(crate) const LENGTH: usize = GREETED.len() + 8;

    /// Creates a greeting for a worker of this process.
    pub(crate) fn new() -> Self {
        // The pid is part of the key because a fork of this process would draw the same random numbers.
        let key = u64::from(std::process::id()) << 32 | u64::from(fastrand::u32(..));
        Self { key }
    }

    /// Writes the greeting to the parent's end of what will be the worker's standard input.
    pub(crate) fn send(self, socket: &OwnedFd) -> io::Result<()> {
        let sent = rustix::net::send(socket, &self.encode(), SendFlags::NOSIGNAL)?;
        // The socket is new, so there is room for the whole greeting.
        if sent < Self::LENGTH {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// Returns the key in the form that the environment variable has.
    pub(crate) fn key_text(self) -> String {
        format!("{:016x}", self.key)
    }

    fn encode(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&GREETED);
        bytes[8..].copy_from_slice(&self.key.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&GREETED)?.try_into().ok()?;
        Some(Self {
            key: u64::from_le_bytes(key),
        })
    }
}

/// The size of the fixed-length part of the orders.
const HEAD: usize = MAGIC.len() + 36;

/// The first message from the parent to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// The run of the parent, which calls of the worker belong to.
    pub(crate) run: RunId,
    /// The worker's number.
    pub(crate) worker: u64,
    /// The size limit of a message's payload, in bytes.
    pub(crate) limit: u64,
    /// The function to serve.
    pub(crate) function: String,
    /// The configuration of a service.
    pub(crate) config: Vec<u8>,
    /// Makes the set-up fail, for a test.
    pub(crate) fails: bool,
    /// The transport of the frames.
    pub(crate) transport: Transport,
    /// The most verbose level of events that the program records, as in the header of a call.
    pub(crate) level: u8,
    /// Set if the worker has a lease, whose descriptor comes with the others.
    pub(crate) is_leased: bool,
}

impl Orders {
    /// The size of a buffer that fits all orders except those with a long service configuration.
    pub(crate) const ROOM: usize = HEAD + 1024;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u64_le(self.run.bits());
        bytes.put_u64_le(self.worker);
        bytes.put_u64_le(self.limit);
        bytes.put_u8(self.fails.into());
        bytes.put_u8((self.transport == Transport::Socket).into());
        bytes.put_u8(self.level);
        bytes.put_u8(self.is_leased.into());
        bytes.put_u32_le(u32::try_from(self.function.len()).unwrap_or(u32::MAX));
        bytes.put_u32_le(u32::try_from(self.config.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(self.function.as_bytes());
        bytes.extend_from_slice(&self.config);
        bytes
    }

    /// Returns the length of the whole message, given its beginning.
    pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
        let mut lengths = bytes.get(HEAD - 8..HEAD)?;
        let (function, config) = (lengths.get_u32_le(), lengths.get_u32_le());
        Some(HEAD + function as usize + config as usize)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let run = RunId::from_bits(rest.try_get_u64_le().ok()?)?;
        let worker = rest.try_get_u64_le().ok()?;
        let limit = rest.try_get_u64_le().ok()?;
        let fails = rest.try_get_u8().ok()? != 0;
        let transport = match rest.try_get_u8().ok()? {
            0 => Transport::Rings,
            _ => Transport::Socket,
        };
        let level = rest.try_get_u8().ok()?;
        let is_leased = rest.try_get_u8().ok()? != 0;
        let function = rest.try_get_u32_le().ok()?;
        rest.try_get_u32_le().ok()?;
        let (function, config) = rest.split_at_checked(function as usize)?;
        Some(Self {
            run,
            worker,
            limit,
            function: String::from_utf8(function.to_vec()).ok()?,
            config: config.to_vec(),
            fails,
            transport,
            level,
            is_leased,
        })
    }
}

/// The first message of a worker: it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Identifies the functions that the worker's program registers. Those of the parent's have to be the
    /// same.
    pub(crate) fingerprint: u64,
}

impl Hello {
    pub(crate) fn encode(self) -> [u8; 8] {
        self.fingerprint.to_le_bytes()
    }

    /// Reads what [`encode`](Self::encode) writes; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let fingerprint = u64::from_le_bytes(bytes.try_into().ok()?);
        Some(Self { fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_round_trip() {
        let greeting = Greeting::new();
        assert_eq!(Greeting::decode(&greeting.encode()), Some(greeting));
        assert_eq!(
            Greeting::decode(&greeting.encode()[..Greeting::LENGTH - 1]),
            None
        );
        assert_eq!(Greeting::decode(b"GET / HTTP/1.1\r\n\r\n"), None);
        assert_ne!(Greeting::new().key, greeting.key);
    }

    #[test]
    fn orders_round_trip() {
        let orders = Orders {
            run: RunId::current(),
            worker: 3,
            limit: 1 << 30,
            function: "shop::resize".to_owned(),
            config: vec![1, 2, 3],
            fails: true,
            transport: Transport::Socket,
            level: 5,
            is_leased: true,
        };
        let bytes = orders.encode();
        assert_eq!(Orders::length(&bytes), Some(bytes.len()));
        assert_eq!(Orders::decode(&bytes), Some(orders));
    }

    #[test]
    fn a_hello_round_trips() {
        let hello = Hello {
            fingerprint: 1 << 63,
        };
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
        assert_eq!(Hello::decode(&[0; 9]), None);
    }
}
