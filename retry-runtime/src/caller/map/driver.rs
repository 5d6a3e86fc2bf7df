//! Takes the inputs of a map from its iterator, and hands its results out.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{self, Poll};
use std::time::Instant;

use crate::caller::call::{Decoders, not_decodable};
use crate::wait::Waiter;
use crate::wait::spin::Spin;

use super::flow::{Arrived, Flow, Next};
use super::{Encode, Map, Yields};

/// A map that is being consumed.
pub(super) struct MapDriver<I: Iterator, T, E, Y> {
    /// Dropped as soon as it has ended, and before the calls are cancelled.
    inputs: Option<I>,
    encode: Encode<I::Item>,
    decoders: Decoders<T, E>,
    pub(super) flow: Flow,
    yields: PhantomData<Y>,
}

impl<I: Iterator, T, E, Y: Yields> MapDriver<I, T, E, Y> {
    pub(super) fn new(map: Map<I, T, E, Y>) -> Self {
        Self {
            flow: Flow::new(map.settings, map.inputs.size_hint(), Y::INDEXED),
            inputs: Some(map.inputs),
            encode: map.encode,
            decoders: map.decoders,
            yields: PhantomData,
        }
    }

    /// Returns a result that has already arrived, as long as the workers have enough to do.
    pub(super) fn next_arrived(&mut self) -> Option<Y::Item<T, E>> {
        if self.flow.wants_inputs() {
            return None;
        }
        self.hand_out()
    }

    fn hand_out(&mut self) -> Option<Y::Item<T, E>> {
        let flow = &mut self.flow;
        let function = flow.registration;
        if !flow.has_packed()
            && let Arrived::Outcome(index, outcome) = flow.next_arrived()?
        {
            let decode = self.decoders.outcome;
            let result = decode(function, flow.host.run(), Some(index), outcome);
            flow.mark_handed_out(index);
            return Some(Y::item(Some(index), result));
        }
        let read = self.decoders.value_in_place;
        let (index, call, value) = flow.next_packed(|values| values.read(read))?;
        flow.mark_handed_out(index);
        let result = value.map_err(|error| {
            not_decodable(function, call.of(flow.host.run()), Some(index), &error)
        });
        Some(Y::item(Some(index), result))
    }

    pub(super) fn poll_next(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Y::Item<T, E>>> {
        let next = self.advance(context);
        self.flow.note_polled(next.is_ready());
        next
    }

    /// Takes and submits inputs, and takes in results, until there is one to hand out or none can be.
    fn advance(&mut self, context: &mut task::Context<'_>) -> Poll<Option<Y::Item<T, E>>> {
        loop {
            if self.flow.host.is_foreign() {
                return Poll::Ready(self.next_in_fork());
            }
            if let Some(item) = self.next_arrived() {
                return Poll::Ready(Some(item));
            }
            let has_room = self.feed();
            if self.flow.host.is_foreign() {
                // The input iterator has forked.
                continue;
            }
            if let Some(item) = self.hand_out() {
                return Poll::Ready(Some(item));
            }
            match self.flow.take_in(context, has_room) {
                Next::HandOut => return Poll::Ready(self.hand_out()),
                Next::Feed => {}
                Next::End => return Poll::Ready(self.end()),
                Next::Wait => return Poll::Pending,
            }
        }
    }

    /// Ends the map, with the panic of its iterator if that has panicked.
    fn end(&mut self) -> Option<Y::Item<T, E>> {
        if let Some(panic) = self.flow.panic.take() {
            resume_unwind(panic);
        }
        None
    }

    /// Returns the next result in a child that was forked from the process that owns this map: results that
    /// had arrived before, and an error for each other input.
    #[cold]
    fn next_in_fork(&mut self) -> Option<Y::Item<T, E>> {
        if let Some(item) = self.hand_out() {
            return Some(item);
        }
        let inputs = &mut self.inputs;
        let mut has_input = |flow: &mut Flow| next_input(inputs, flow).is_some();
        let Some((index, outcome)) = self.flow.next_in_fork(&mut has_input) else {
            return self.end();
        };
        let (function, run) = (self.flow.registration, self.flow.host.run());
        let result = (self.decoders.outcome)(function, run, index, outcome);
        Some(Y::item(index, result))
    }

    /// Takes inputs, encodes them one behind the other until the chunk is full, its time is over, or an input has to be
    /// submitted alone, and submits them. Returns whether there is room for more.
    fn feed(&mut self) -> bool {
        let flow = &mut self.flow;
        let Some(mut chunk) = flow.begin_chunk() else {
            return false;
        };
        while flow.has_room_in(&chunk) {
            let Some(input) = next_input(&mut self.inputs, flow) else {
                break;
            };
            let (start, most) = flow.begin_input(&mut chunk);
            let encode = || (self.encode)(input, &mut chunk.buffer, most);
            let encoded = catch_unwind(AssertUnwindSafe(encode));
            if !flow.end_input(&mut chunk, start, encoded) {
                break;
            }
        }
        if !flow.has_inputs {
            // The panic of an encoder ends the inputs as well.
            self.inputs = None;
        }
        flow.end_chunk(chunk)
    }

    /// Polls for answers until the thread is woken, `until` is reached or `spin` gives up.
    pub(super) fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        self.flow.park(until, waiter, spin);
    }

    /// Drops the iterator, and cancels all outstanding inputs.
    pub(super) fn cancel(&mut self) {
        self.inputs = None;
        self.flow.cancel();
    }
}

/// Takes the next input. A panic of the iterator ends it.
fn next_input<I: Iterator>(inputs: &mut Option<I>, flow: &mut Flow) -> Option<I::Item> {
    let iterator = inputs.as_mut()?;
    let next = catch_unwind(AssertUnwindSafe(|| iterator.next()));
    if let Ok(Some(input)) = next {
        return Some(input);
    }
    flow.panic = next.err();
    flow.end_inputs();
    *inputs = None;
    None
}
