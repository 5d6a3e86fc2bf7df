//! Chunks of a map: inputs that are encoded one behind the other, and submitted together.
//!
//! Functions that run for each input are `#[inline]`, since the loop over the inputs is in the user's crate.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::failure::Rejected;
use crate::caller::map::refuse;
use crate::caller::underway::Activity;
use crate::checkpoint::Found;
use crate::codec::payload::{self, Payload};
use crate::function::args::Encoded;
use crate::function::service_config::names_any;
use crate::job::outcome::{self, Failure};
use crate::shared::{ChunkObjects, InputObjects, Objects, StagingPool};
use crate::sys;

use super::Flow;

/// Most inputs that are submitted at once.
const CHUNK: usize = 4096;

/// Least number of chunks in a window.
const CHUNKS: usize = 8;

/// After this many inputs in one chunk, use the cheaper but coarser clock.
const TIMED_INPUTS: u32 = 16;

/// Bytes of inputs that are submitted at once.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Time for which inputs are collected before they are submitted: an input iterator may be slow.
const CHUNK_TIME: Duration = Duration::from_micros(200);

/// Inputs that are encoded to be submitted together.
pub(crate) struct Chunk {
    /// The packed inputs.
    pub(crate) buffer: Vec<u8>,
    count: u32,
    /// The input after these, if it is large and has memory of its own.
    large: Option<Bytes>,
    /// The value of the input after these, or the reason why it is refused, if that is known already.
    known: Option<Result<Bytes, Rejected>>,
    /// The shared values that the packed inputs name, and those of the input after them.
    objects: ChunkObjects,
    objects_of_large: InputObjects,
    /// The size in bytes of the largest input.
    limit: usize,
    /// The time at which the first input was taken, by two clocks.
    begun: Instant,
    tick: u64,
}

impl Flow {
    /// Returns how many inputs are submitted at once.
    #[inline]
    pub(super) fn chunk(&self) -> usize {
        (self.window / CHUNKS).clamp(1, CHUNK)
    }

    /// Begins a chunk, if there is room for one.
    pub(crate) fn begin_chunk(&self) -> Option<Chunk> {
        if !self.has_room(0, 0) {
            return None;
        }
        Some(Chunk {
            buffer: self.buffers.room(self.chunk_bytes),
            count: 0,
            large: None,
            known: None,
            objects: ChunkObjects::begin(self.staging()),
            objects_of_large: InputObjects::None,
            limit: self.host.max_message(self.config.as_ref()),
            begun: Instant::now(),
            tick: sys::coarse_nanos(),
        })
    }

    /// Returns whether another input may be taken into a chunk, before its time is over.
    #[inline]
    pub(crate) fn has_room_in(&self, chunk: &Chunk) -> bool {
        if !self.has_room(chunk.count, chunk.buffer.len()) {
            return false;
        }
        let is_late = match chunk.count {
            ..TIMED_INPUTS => chunk.begun.elapsed() > CHUNK_TIME,
            _ => sys::coarse_nanos() != chunk.tick,
        };
        // After `TIMED_INPUTS`, taking inputs is not told apart from encoding them: they come too quickly.
        if !is_late && chunk.count <= TIMED_INPUTS {
            self.note_activity(Activity::TakingInputs);
        }
        !is_late
    }

    /// Notes that the iterator has returned the next input of a chunk. Returns where its encoding begins, and the
    /// highest end that it may have.
    #[inline]
    pub(crate) fn begin_input(&self, chunk: &mut Chunk) -> (usize, usize) {
        if chunk.count < TIMED_INPUTS {
            self.note_activity(Activity::Waiting);
        }
        let start = payload::begin(&mut chunk.buffer);
        // The limit applies to one input; the buffer holds several.
        (start, start.saturating_add(chunk.limit))
    }

    /// Adds an encoded input, or the panic of its encoder, to a chunk. Returns whether another one may follow.
    #[inline]
    pub(crate) fn end_input(
        &mut self,
        chunk: &mut Chunk,
        start: usize,
        encoded: thread::Result<Encoded>,
    ) -> bool {
        let objects = chunk.objects.of_input();
        let is_packed = !matches!(objects, InputObjects::Own(_)) && self.checkpoint.is_none();
        if is_packed && matches!(encoded, Ok(Ok(None))) {
            payload::end(&mut chunk.buffer, start);
            chunk.count += 1;
            return true;
        }
        self.end_other_input(chunk, start, encoded, objects)
    }

    /// Adds an input as [`end_input`](Self::end_input) does, if that may need more than its place in the chunk.
    fn end_other_input(
        &mut self,
        chunk: &mut Chunk,
        start: usize,
        encoded: thread::Result<Encoded>,
        objects: InputObjects,
    ) -> bool {
        match encoded {
            Ok(Ok(whole)) => {
                let large = match whole {
                    Some(large) => Some(large),
                    None => {
                        payload::end(&mut chunk.buffer, start);
                        // An input that has values of its own is sent by itself, so that no other one keeps them.
                        let is_alone = matches!(objects, InputObjects::Own(_));
                        is_alone.then(|| Bytes::copy_from_slice(&chunk.buffer[start..]))
                    }
                };
                let input = large.as_deref().unwrap_or(&chunk.buffer[start..]);
                chunk.known = self.known(chunk.count, input, &objects);
                if chunk.known.is_none() {
                    if large.is_none() {
                        chunk.count += 1;
                        return true;
                    }
                    chunk.large = large;
                    chunk.objects_of_large = objects;
                }
            }
            Ok(Err((parameter, error))) => {
                let reason = refuse(self.registration, parameter, error, chunk.limit);
                chunk.known = Some(Err(reason));
            }
            // A panic of the encoder counts as a panic of the iterator at this input's position.
            Err(panic) => {
                self.panic = Some(panic);
                self.end_inputs();
            }
        }
        chunk.buffer.truncate(start - payload::PREFIX);
        false
    }

    /// Submits a chunk. Returns whether there is room for another one.
    pub(crate) fn end_chunk(&mut self, chunk: Chunk) -> bool {
        self.note_activity(Activity::Waiting);
        self.chunk_bytes = chunk.buffer.len();
        self.submit_chunk(chunk);
        if !self.has_inputs {
            self.tell_kept();
        }
        self.has_inputs && self.pending < self.window && self.outstanding_bytes < self.window_bytes
    }

    /// Returns whether another input may be taken into a chunk of `taken` inputs with this number of bytes.
    #[inline]
    fn has_room(&self, taken: u32, bytes: usize) -> bool {
        let taken = taken as usize;
        // Kept results arrive without the scheduler, which holds back only what it has.
        if taken == 0
            && self.checkpoint.is_some()
            && self.outstanding > 0
            && self.shared.lock().held
        {
            return false;
        }
        self.has_inputs
            && self.pending + taken < self.window
            && taken < self.chunk()
            && bytes < CHUNK_BYTES
            && (self.outstanding == 0 && taken == 0
                || self.outstanding_bytes + bytes < self.window_bytes)
    }

    /// Returns the memory in which large inputs are staged, if they can be. Kept results are found by the whole encoding.
    fn staging(&self) -> Option<Arc<StagingPool>> {
        match self.checkpoint {
            Some(_) => None,
            None => self.host.staging(),
        }
    }

    /// Returns the outcome of the next input but `ahead`, if the map has a checkpoint that determines it.
    fn known(
        &mut self,
        ahead: u32,
        input: &[u8],
        objects: &InputObjects,
    ) -> Option<Result<Bytes, Rejected>> {
        let found = match self.checkpoint.as_mut()? {
            Ok(_) if !matches!(objects, InputObjects::None) || names_any(self.config.as_ref()) => {
                Err(Rejected::keeps_no_shared_value())
            }
            Ok(run) => run.find(input),
            Err(reason) => Err(reason.clone()),
        };
        match found {
            Ok(Found::Missing(0)) => None,
            Ok(Found::Missing(before)) => {
                let index = self.next_index + u64::from(ahead);
                if let Some(recorder) = &mut self.shared.lock().recorder {
                    recorder.note_repeated(index, before);
                }
                None
            }
            Ok(Found::Kept(value)) => Some(Ok(value)),
            Err(reason) => Some(Err(reason)),
        }
    }

    /// Submits the inputs of a chunk, in their order.
    fn submit_chunk(&mut self, chunk: Chunk) {
        let Chunk {
            mut buffer,
            count,
            large,
            known,
            objects,
            objects_of_large,
            ..
        } = chunk;
        let objects = objects.into_objects();
        // The buffer may have been sized for a much larger chunk, and may be retained for long.
        if buffer.len() < buffer.capacity() / 2 {
            buffer.shrink_to_fit();
        }
        if count > 0 {
            let inputs = Payload::new(count, self.buffers.lend(buffer));
            self.submit(inputs, objects.clone());
        }
        if let Some(input) = large {
            let objects = match objects_of_large {
                InputObjects::None => Objects::NONE,
                InputObjects::InChunk => objects,
                InputObjects::Own(own) => own,
            };
            self.submit(Payload::One(input), objects);
        }
        if let Some(known) = known {
            let index = self.take(1);
            let outcome = match known {
                Ok(value) => outcome::known(value),
                Err(reason) => self.end_refused(index, 1, Failure::Rejected(reason)),
            };
            if !self.host.is_foreign() {
                // The scheduler does not count this input.
                if let Some(underway) = &self.underway {
                    underway.subtract(1);
                }
                let mut delivery = self.shared.delivery();
                delivery.put(index, &Payload::NONE, &Objects::NONE, outcome);
                if delivery.finish() {
                    self.shared.hold();
                }
            }
        }
    }
}
