//! The inputs and the answers of calls.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of a call of this program: its epoch (16 bits), its number (40 bits), and the numbers of the
/// nested calls that lead to it (twice 4 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Token(pub u64);

impl Token {
    pub fn new(epoch: u16, number: u64) -> Self {
        Self(u64::from(epoch) << 48 | number << 8)
    }

    pub fn epoch(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Returns the identity of a nested call of this call, which may be nested itself.
    pub fn nested(self, number: u8) -> Self {
        debug_assert!(number < 16, "four bits");
        let shift = if self.0 & 0xf == 0 { 0 } else { 4 };
        Self(self.0 | u64::from(number) << shift)
    }

    /// Returns the call that made this one, or this one if the program made it.
    pub fn outermost(self) -> Self {
        Self(self.0 & !0xff)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch(), (self.0 >> 8) & 0xff_ffff_ffff)?;
        match self.0 & 0xff {
            0 => Ok(()),
            nested => write!(f, ".{nested:#x}"),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The action of the function between its two records in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Return,
    /// Prints lines to both streams.
    Print,
    Sleep {
        micros: u32,
    },
    /// Returns an error, in each attempt.
    Fail,
    /// Returns an error in the first attempt.
    FailFirst,
    Panic,
    PanicFirst,
    /// Exits with this code, in each attempt.
    Exit(i32),
    Abort,
    /// Aborts in the first attempt.
    AbortFirst,
    /// Sleeps for much longer than the timeout of its pool.
    Oversleep,
    /// Allocates more than the memory limit of its pool.
    Hoard,
    /// Makes this many calls itself, at most 8.
    Nest(u8),
    /// Makes a call of the same function that makes calls itself.
    NestTwice,
    /// Makes calls, drops and cancels some of them, and then makes one that counts.
    NestAndDrop,
    /// Forks a child that exits at once.
    ForkAndExit,
    /// Forks a child that returns from the function as well, with another answer.
    ForkAndReturn,
}

/// The input of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub token: Token,
    /// The set of workers that serve the call; see [`Target`](crate::stubs::Target).
    pub place: u32,
    pub action: Action,
    pub seed: u64,
    pub answer_size: u32,
    pub payload: Vec<u8>,
}

impl Job {
    pub fn new(token: Token, place: u32, action: Action, seed: u64, sizes: (u32, u32)) -> Self {
        let payload = bytes(seed, sizes.0 as usize);
        Self {
            token,
            place,
            action,
            seed,
            answer_size: sizes.1,
            payload,
        }
    }

    /// Returns whether the payload matches the seed.
    pub fn is_intact(&self) -> bool {
        self.payload == bytes(self.seed, self.payload.len())
    }

    /// Returns the bytes of the right answer.
    pub fn answer(seed: u64, size: u32) -> Vec<u8> {
        bytes(!seed, size as usize)
    }
}

/// The result of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub token: Token,
    pub bytes: Vec<u8>,
}

/// The error of a function, as itself or as the text of a `RemoteError`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The job requested the error.
    Asked(Token),
    /// The attempt was asked to stop.
    Stopped(Token),
    /// The payload was altered on the way.
    WrongInput(Token),
    /// A nested call failed: the kind of its error, and the text.
    Inner(String, String),
    /// A nested call returned another call's answer, or a wrong one.
    WrongInner(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Refusal {}

/// Returns bytes that depend on the seed and their position.
fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 8);
    let mut state = seed;
    while bytes.len() < size {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
