//! The queued calls of one function, and the order in which they are sent.
//!
//! The most deeply nested calls go first, since other calls wait for them. At each depth the
//! callers take turns: a map is one caller, and so is each thread that makes single calls. Each
//! caller is charged for the inputs that were sent for it, and the caller with the lowest charge is
//! next (start-time fair queueing: Goyal, Vin and Cheng, 1996). A new or returning caller starts
//! with at least the charge that the caller served last had before its turn, so that it is next and
//! gains nothing by having been absent. The calls of one caller keep their order.

use std::collections::VecDeque;

use super::CallKey;
use super::tombstones::Tombstones;
use crate::job::caller::Caller;

/// The capacity that an empty queue keeps.
const SPARE: usize = 64;

/// The number of callers at which a level begins to forget those without queued calls.
const MAX_IDLE_CALLERS: usize = 8;

/// A caller whose inputs are not sent for now, except the one with this index.
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

/// The queued calls of one nesting depth.
#[derive(Debug, Default)]
struct Level {
    callers: Vec<Line>,
    /// The charge that the caller served last had before its turn.
    served: u64,
}

/// The queued calls of one caller.
#[derive(Debug)]
struct Line {
    caller: Caller,
    /// The calls in order. Some entries may be stale: their calls are no longer queued.
    calls: VecDeque<CallKey>,
    /// The charge: the number of inputs that were sent for this caller.
    got: u64,
}

/// The position of the call that is next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) depth: usize,
    line: usize,
    place: usize,
    /// `true` if only the first input of the call may be sent.
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

    /// Returns the position of the next call, if any may be sent. `index` returns the index of a
    /// call's first input in its map, `is_queued` whether the call is still queued at all, and
    /// `has_room` whether there is room for its results.
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
                // Stale entries stay in the line until they are at its front.
                while one.calls.pop_front_if(|key| !is_queued(*key)).is_some() {}
                let Some(first) = one.calls.front().copied() else {
                    continue;
                };
                let has_room = has_room(first);
                let hold = holds.iter().find(|hold| hold.caller == one.caller);
                if !has_room || hold.is_some() {
                    // Charge the caller as if it had been absent. Otherwise it alone would be
                    // served later, until its charge had caught up with the others.
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

    /// Returns the call at a turn's position.
    pub(super) fn get(&self, turn: Turn) -> Option<CallKey> {
        let line = &self.levels[turn.depth].callers[turn.line];
        line.calls.get(turn.place).copied()
    }

    /// Removes the call at a turn's position.
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

    /// Charges a caller for inputs that were sent in its turn.
    pub(super) fn charge(&mut self, turn: Turn, inputs: u32) {
        self.levels[turn.depth].callers[turn.line].got += u64::from(inputs);
    }

    /// Takes the nested calls, which may include stale entries.
    pub(super) fn take_nested(&mut self) -> Self {
        Self {
            levels: self.levels.split_off(self.levels.len().min(1)),
            tombstones: Tombstones::default(),
        }
    }

    /// Returns all calls, which may include stale entries, the most deeply nested first.
    pub(super) fn drain(self) -> impl Iterator<Item = CallKey> {
        let lines = self
            .levels
            .into_iter()
            .rev()
            .flat_map(|level| level.callers);
        lines.flat_map(|line| line.calls)
    }

    /// Returns whether the queue has no entries, not even stale ones.
    pub(super) fn is_empty(&self) -> bool {
        let mut lines = self.levels.iter().flat_map(|level| &level.callers);
        lines.all(|line| line.calls.is_empty())
    }

    /// Returns the number of entries, stale ones included.
    pub(super) fn len(&self) -> usize {
        let lines = self.levels.iter().flat_map(|level| &level.callers);
        lines.map(|line| line.calls.len()).sum()
    }

    /// Counts one more stale entry, and removes all of them once they may be more than half of the
    /// queue.
    pub(super) fn outdate(&mut self, is_queued: impl Fn(&CallKey) -> bool) {
        if self.tombstones.add(1, self.len()) {
            for line in self.levels.iter_mut().flat_map(|level| &mut level.callers) {
                line.calls.retain(&is_queued);
                line.calls.shrink_to(2 * line.calls.len());
            }
        }
    }

    /// Removes all entries, which must be stale, and resets all charges.
    pub(super) fn clear(&mut self) {
        for level in &mut self.levels {
            level.served = 0;
            level.callers.truncate(MAX_IDLE_CALLERS);
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
            if self.callers.len() >= MAX_IDLE_CALLERS {
                // Callers with a higher charge stay: a new one starts with at least the charge of
                // those removed, so forgetting them gives no advantage.
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
