//! The queued calls of one function, and the order in which they are handed out.
//!
//! The deepest calls go first, since others wait for them. At each depth the callers take turns: a map
//! is one caller, and so is each thread that makes single calls. Each caller is charged for the inputs
//! that were handed out for it, and the one that has got least so far is next (start-time fair queueing:
//! Goyal, Vin and Cheng, 1996). A caller that comes begins with what the last one served had got before,
//! so that it is next, and gains nothing by having stayed away. What one caller has made stays in its
//! order.

use std::collections::VecDeque;

use super::CallKey;
use super::tombstones::Tombstones;
use crate::job::caller::Caller;

/// The number of places that an empty queue keeps.
const SPARE: usize = 64;

/// The number of callers without queued calls that are remembered.
const REMEMBERED: usize = 8;

/// Inputs of a caller that are not handed out for now, except the one with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) caller: Caller,
    pub(super) except: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    levels: Vec<Level>,
    tombstones: Tombstones,
}

/// The calls that are nested equally deeply.
#[derive(Debug, Default)]
struct Level {
    callers: Vec<Line>,
    /// The inputs that the caller that was served last had got before that.
    served: u64,
}

/// The calls of one caller.
#[derive(Debug)]
struct Line {
    caller: Caller,
    /// Some of them may not be queued any more.
    calls: VecDeque<CallKey>,
    /// The number of inputs that it has got.
    got: u64,
}

/// Which call is next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) depth: usize,
    line: usize,
    place: usize,
    /// No further input of it may be handed out with the first one.
    pub(super) is_alone: bool,
}

impl Queue {
    fn line(&mut self, depth: u32, caller: Caller) -> &mut Line {
        let depth = depth as usize;
        if self.levels.len() <= depth {
            self.levels.resize_with(depth + 1, Level::default);
        }
        self.levels[depth].line(caller)
    }

    pub(super) fn push_front(&mut self, depth: u32, caller: Caller, key: CallKey) {
        self.line(depth, caller).calls.push_front(key);
    }

    pub(super) fn push_back(&mut self, depth: u32, caller: Caller, key: CallKey) {
        self.line(depth, caller).calls.push_back(key);
    }

    /// Returns which call is next, if any may be handed out. `index` tells the index of the first input
    /// of a call in its map, `is_queued` whether it is still queued at all, and `has_room` whether there is
    /// room for its results.
    pub(super) fn next(
        &mut self,
        holds: &[Hold],
        is_queued: impl Fn(CallKey) -> bool,
        index: impl Fn(CallKey) -> Option<u64>,
        has_room: impl Fn(CallKey) -> bool,
    ) -> Option<Turn> {
        let levels = self.levels.iter_mut().enumerate().rev();
        levels.into_iter().find_map(|(depth, level)| {
            let mut next: Option<(u64, Turn)> = None;
            for (line, one) in level.callers.iter_mut().enumerate() {
                // Calls that were withdrawn are left in the line until they are at its front.
                while one.calls.pop_front_if(|key| !is_queued(*key)).is_some() {}
                let Some(first) = one.calls.front().copied() else {
                    continue;
                };
                let has_room = has_room(first);
                let hold = holds.iter().find(|hold| hold.caller == one.caller);
                if !has_room || hold.is_some() {
                    // As if it had stayed away: otherwise it would be served alone later, until it had
                    // got as much as the others.
                    one.got = one.got.max(level.served);
                }
                if !has_room || next.is_some_and(|(got, _)| got <= one.got) {
                    continue;
                }
                let place = match hold {
                    None => Some(0),
                    Some(hold) => hold.except.and_then(|except| {
                        let is_it = |key: &CallKey| is_queued(*key) && index(*key) == Some(except);
                        one.calls.iter().position(is_it)
                    }),
                };
                if let Some(place) = place {
                    let turn = Turn {
                        depth,
                        line,
                        place,
                        is_alone: hold.is_some(),
                    };
                    next = Some((one.got, turn));
                }
            }
            next.map(|(_, turn)| turn)
        })
    }

    /// Returns the call whose turn it is.
    pub(super) fn get(&self, turn: Turn) -> Option<CallKey> {
        let line = &self.levels[turn.depth].callers[turn.line];
        line.calls.get(turn.place).copied()
    }

    /// Takes a call whose turn it is.
    pub(super) fn take(&mut self, turn: Turn) -> Option<CallKey> {
        let level = &mut self.levels[turn.depth];
        let line = &mut level.callers[turn.line];
        level.served = line.got;
        if turn.place == 0 {
            line.calls.pop_front()
        } else {
            line.calls.remove(turn.place)
        }
    }

    /// Charges a caller for inputs that were handed out in its turn.
    pub(super) fn charge(&mut self, turn: Turn, inputs: u32) {
        self.levels[turn.depth].callers[turn.line].got += u64::from(inputs);
    }

    /// Takes the calls that are below others.
    pub(super) fn take_nested(&mut self) -> Self {
        Self {
            levels: self.levels.split_off(self.levels.len().min(1)),
            tombstones: Tombstones::default(),
        }
    }

    /// Takes all calls, some of which may not be queued any more.
    pub(super) fn drain(self) -> impl Iterator<Item = CallKey> {
        let lines = self
            .levels
            .into_iter()
            .rev()
            .flat_map(|level| level.callers);
        lines.flat_map(|line| line.calls)
    }

    /// Returns whether there is none, not even one that is not queued any more.
    pub(super) fn is_empty(&self) -> bool {
        let mut lines = self.levels.iter().flat_map(|level| &level.callers);
        lines.all(|line| line.calls.is_empty())
    }

    /// Returns the number of calls, with those that are not queued any more.
    pub(super) fn len(&self) -> usize {
        let lines = self.levels.iter().flat_map(|level| &level.callers);
        lines.map(|line| line.calls.len()).sum()
    }

    /// One more of its calls is not queued any more.
    pub(super) fn outdate(&mut self, is_queued: impl Fn(&CallKey) -> bool) {
        if self.tombstones.add(1, self.len()) {
            for line in self.levels.iter_mut().flat_map(|level| &mut level.callers) {
                line.calls.retain(&is_queued);
                line.calls.shrink_to(2 * line.calls.len());
            }
        }
    }

    /// None of its calls is queued any more.
    pub(super) fn clear(&mut self) {
        for level in &mut self.levels {
            level.served = 0;
            level.callers.truncate(REMEMBERED);
            for line in &mut level.callers {
                line.got = 0;
                line.calls.clear();
                line.calls.shrink_to(SPARE);
            }
        }
    }
}

impl Level {
    fn line(&mut self, caller: Caller) -> &mut Line {
        let served = self.served;
        let known = self.callers.iter().position(|line| line.caller == caller);
        let place = known.unwrap_or_else(|| {
            if self.callers.len() >= REMEMBERED {
                // A new one begins with at least as much as these had got.
                self.callers
                    .retain(|line| !line.calls.is_empty() || line.got > served);
            }
            self.callers.push(Line {
                caller,
                calls: VecDeque::new(),
                got: served,
            });
            self.callers.len() - 1
        });
        let line = &mut self.callers[place];
        if line.calls.is_empty() {
            line.got = line.got.max(served);
        }
        line
    }
}
