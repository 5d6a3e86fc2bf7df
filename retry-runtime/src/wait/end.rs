//! One end of a ring: whether its side polls, and how it is woken if it does not. `README.md` lists the states,
//! the threads that may move between them, and the fences.

use std::time::Duration;

/// The way in which a side waits when it is not polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Sleep {
    /// It does not wait: it is polling.
    Not,
    /// It sleeps elsewhere and needs the bell to be rung.
    Bell,
    /// It sleeps at the ring.
    Here,
}

/// Memory that both sides share. It holds a word for each end, at an offset.
pub(crate) trait Words {
    /// Reads a word. The access is relaxed: it orders nothing else.
    fn word(&self, at: usize) -> u32;

    fn set_word(&self, at: usize, word: u32);

    /// Writes a word and returns its previous value.
    fn swap_word(&self, at: usize, word: u32) -> u32;

    /// Writes a word if it has the expected value.
    fn replace_word(&self, at: usize, expected: u32, word: u32);

    /// A sequentially consistent fence: all threads see what comes before it before what comes after it.
    fn fence(&self);

    /// Sleeps while a word has the value `word`, until woken or until the timeout expires. May return
    /// spuriously.
    fn sleep(&self, at: usize, word: u32, timeout: Option<Duration>);

    /// Wakes one thread that sleeps at a word.
    fn wake(&self, at: usize);
}

/// One end of a ring. Its own side arms it and parks; other threads wake that side.
#[derive(Clone)]
pub(crate) struct End<W> {
    words: W,
    at: usize,
}

impl<W: Words> End<W> {
    /// Creates the end whose word is at an offset.
    pub(crate) fn new(words: W, at: usize) -> Self {
        Self { words, at }
    }

    /// Announces that this side is about to sleep. It has to look once more after this: what the other side
    /// has published before is visible then, and for anything later the other side wakes this one.
    pub(crate) fn arm(&self, how: Sleep) {
        self.words.set_word(self.at, how as u32);
        self.words.fence();
    }

    /// Withdraws the announcement: this side polls.
    pub(crate) fn disarm(&self) {
        self.words.set_word(self.at, Sleep::Not as u32);
    }

    /// Parks, if this side has armed [`Sleep::Here`], until woken or until the timeout expires. May return
    /// spuriously.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        self.words.sleep(self.at, Sleep::Here as u32, timeout);
    }

    /// Wakes this side if it sleeps, after something has been published for it. Returns true if the caller
    /// must ring the bell.
    pub(crate) fn wake(&self) -> bool {
        self.words.fence();
        // Usually this side is polling, and a swap would take the cache line from it for nothing.
        if self.words.word(self.at) == Sleep::Not as u32 {
            return false;
        }
        let sleep = self.words.swap_word(self.at, Sleep::Not as u32);
        if sleep == Sleep::Here as u32 {
            self.words.wake(self.at);
        }
        sleep == Sleep::Bell as u32
    }

    /// Suppresses the bell because a thread of this side is about to poll. A thread that is parked here is
    /// still woken.
    pub(crate) fn announce_poll(&self) {
        let (bell, not) = (Sleep::Bell as u32, Sleep::Not as u32);
        self.words.replace_word(self.at, bell, not);
    }

    /// Wakes the thread of this side that is parked here, or is about to park. From now on the other side must
    /// ring the bell.
    pub(crate) fn unpark(&self) {
        let (here, bell) = (Sleep::Here as u32, Sleep::Bell as u32);
        self.words.fence();
        self.words.replace_word(self.at, here, bell);
        self.words.wake(self.at);
    }
}

#[cfg(test)]
#[path = "model.rs"]
pub(crate) mod model;
