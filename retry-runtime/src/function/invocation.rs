//! A call as generated code sees it.

use std::any::Any;
use std::cell::{Ref, RefCell, RefMut};
use std::future::Future;
use std::mem::take;
use std::ops::{Deref, Range};
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use super::panics;
use super::reporting::Reporting;
use crate::api::excerpt::excerpt;
use crate::api::remote_error::RemoteError;
use crate::api::retryable::Retry;
use crate::api::spec::FunctionSpec;
use crate::codec::{self, CodecError, Wire, staging};
use crate::function::args::Arguments;
use crate::shared::{self, Objects};
use crate::sys;
use crate::wire::frame::Kind;

/// Capacity of the output buffer above which it is released after a call, unless it is kept for the next one.
const SCRATCH: usize = 256 * 1024;

/// Capacity above which a buffer that is kept for the next call is released after all.
const MOST_KEPT: usize = 8 * 1024 * 1024;

/// The future of an async function's call, polled on the worker's serving thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The encoded arguments of one call.
#[derive(Debug)]
pub(crate) enum Input {
    Alone(Bytes),
    /// A message apart from which a part of the arguments is staged.
    Staged(Bytes),
    /// A range of a message that carries several inputs. Sharing the message is cheaper than splitting it.
    Part(Rc<Bytes>, Range<usize>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Alone(Bytes::new())
    }
}

impl Input {
    /// Becomes a range of `of`. If it was a range of `of` before, only the range is updated: moving the whole
    /// value would stall on the stores that have just written it.
    pub(crate) fn become_part(&mut self, of: &Rc<Bytes>, place: Range<usize>) {
        match self {
            Self::Part(all, part) if Rc::ptr_eq(all, of) => *part = place,
            _ => *self = Self::Part(Rc::clone(of), place),
        }
    }
}

/// The value that a function's `setup` returned, shared by the calls of one worker.
#[derive(Clone)]
pub struct State(Rc<RefCell<Box<dyn Any>>>);

impl State {
    pub(crate) fn new(state: Box<dyn Any>) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    /// Borrows the state for calls that only read it.
    ///
    /// # Panics
    ///
    /// Panics if the state has another type, which generated code rules out.
    #[must_use]
    pub fn read<S: Any>(&self) -> Ref<'_, S> {
        Ref::map(self.0.borrow(), |state| {
            state.downcast_ref().expect("the set-up made this type")
        })
    }

    /// Borrows the state mutably, for the one call that changes it.
    ///
    /// # Panics
    ///
    /// Panics in the same case as [`read`](Self::read).
    #[must_use]
    pub fn write<S: Any>(&self) -> RefMut<'_, S> {
        RefMut::map(self.0.borrow_mut(), |state| {
            state.downcast_mut().expect("the set-up made this type")
        })
    }

    /// Takes the state out, once no call uses it any more.
    pub(crate) fn into_inner(self) -> Box<dyn Any> {
        self.0.replace(Box::new(()))
    }
}

/// A call as generated code sees it.
pub struct Invocation {
    input: Input,
    state: State,
    limit: usize,
    retry: Retry,
    answer: Option<Kind>,
    output: Output,
    /// Capacity of the output buffer above which it is released after a call.
    most_kept: usize,
}

/// The bytes of an answer.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The encoding, unless `whole` is set.
    pub(crate) written: Vec<u8>,
    /// A value that became its own message; replaces `written`.
    whole: Option<Bytes>,
    /// The text of the error, if the answer is one.
    text: Option<String>,
    /// The shared values that the answer names.
    objects: Objects,
}

impl Output {
    /// Returns the text of the error, which is sent ahead of the answer.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Returns the shared values that the answer names.
    #[inline]
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Discards the answer and returns the buffer, for the description of a failure instead.
    pub(crate) fn instead(&mut self) -> &mut Vec<u8> {
        self.whole = None;
        self.text = None;
        self.objects = Objects::NONE;
        self.written.clear();
        &mut self.written
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.whole.unwrap_or_else(|| self.written.into())
    }
}

impl Deref for Output {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.whole.as_deref().unwrap_or(&self.written)
    }
}

impl Invocation {
    pub(crate) fn new(input: Input, state: State, limit: usize) -> Self {
        Self {
            input,
            state,
            limit,
            retry: Retry::Default,
            answer: None,
            output: Output::default(),
            most_kept: SCRATCH,
        }
    }

    /// Returns the place for the next input, once this one has been answered and [cleared](Self::clear).
    pub(crate) fn input(&mut self) -> &mut Input {
        &mut self.input
    }

    /// Clears the answer, for the next input.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.retry = Retry::Default;
        self.answer = None;
        self.output.whole = None;
        if self.output.text.is_some() {
            self.output.text = None;
        }
        if !self.output.objects.is_empty() {
            self.output.objects = Objects::NONE;
        }
        self.output.written.clear();
        if self.output.written.capacity() > self.most_kept {
            self.release_memory();
        }
    }

    /// Sets whether the memory of large results is kept for the next ones.
    pub(crate) fn keep_output(&mut self, keeps: bool) {
        self.most_kept = if keeps { MOST_KEPT } else { SCRATCH };
    }

    /// Returns whether the memory of a large result is kept.
    pub(crate) fn keeps_memory(&self) -> bool {
        self.output.written.capacity() > SCRATCH
    }

    /// Releases it, between two calls.
    pub(crate) fn release_memory(&mut self) {
        self.output.written = Vec::new();
    }

    /// Decodes the arguments. If that fails, the failure becomes the answer and the result is `None`.
    pub fn arguments<A: Arguments>(&mut self, spec: &FunctionSpec) -> Option<A::Owned> {
        let decoded = match &mut self.input {
            Input::Alone(message) => A::decode(take(message)),
            Input::Staged(message) => {
                staging::read(shared::find_staged, || A::decode_staged(&take(message)))
            }
            Input::Part(all, part) => {
                let decoded = A::decode_in_place(&all[part.clone()]);
                if Rc::strong_count(all) == 1 {
                    self.input = Input::default();
                }
                decoded
            }
        };
        match decoded {
            Ok(arguments) => Some(arguments),
            Err((position, error)) => {
                let reason = spec.reason(position, error.to_string());
                let answer = format!("{}\n{reason}", spec.parameter(position));
                self.explain(Kind::NotDecodable, &answer);
                None
            }
        }
    }

    /// Returns the state that the function's `setup` made.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.clone()
    }

    /// Returns the state for a whole batch.
    ///
    /// # Panics
    ///
    /// Panics if the batch is empty, which it never is.
    #[must_use]
    pub fn shared_state(batch: &[Self]) -> State {
        batch.first().expect("a batch has inputs").state()
    }

    /// Asks the function's `retry_if` about the error of its result.
    pub(crate) fn retry_if<T, E>(
        &mut self,
        result: &Result<T, E>,
        retry_if: impl FnOnce(&E) -> bool,
    ) {
        if let Err(error) = result
            && !retry_if(error)
        {
            self.retry = Retry::No;
        }
    }

    /// Adopts the error's own decision about a retry, unless `retry_if` has already ruled one out.
    pub fn retry(&mut self, retry: Retry) {
        if self.retry == Retry::Default {
            self.retry = retry;
        }
    }

    /// Keeps the text of an error for the call's history, shortened to the message limit.
    pub(crate) fn describe(&mut self, text: &str) {
        self.output.text = Some(excerpt(text, self.limit).into_owned());
    }

    /// Answers with a value.
    pub(crate) fn succeed<T: Wire>(&mut self, value: T) {
        self.respond(Kind::Ok, |output, limit| {
            output.whole = codec::encode_alone(value, &mut output.written, limit)?;
            Ok(())
        });
    }

    /// Answers with an error.
    pub(crate) fn fail<E: Wire>(&mut self, error: &E) {
        let kind = self.begin_error();
        self.respond(kind, |output, limit| {
            codec::encode(error, &mut output.written, limit)
        });
        if self.answer == Some(Kind::TooLarge) {
            let mut whole = Vec::new();
            let _ = codec::encode(error, &mut whole, usize::MAX);
            let size = whole.len() as u64;
            self.output.instead().extend_from_slice(&size.to_le_bytes());
            self.answer = Some(Kind::ErrTooLarge);
        }
    }

    /// Answers with the texts of an error. They may include a backtrace, so rendering them may take long.
    pub(crate) fn fail_as_text(&mut self, texts: impl FnOnce() -> RemoteError) {
        let _reporting = Reporting::begin();
        let mut error = texts();
        let kind = self.begin_error();
        error.shorten(self.limit.saturating_sub(self.output.written.len()));
        self.respond(kind, |output, limit| {
            codec::encode(&error, &mut output.written, limit)
        });
    }

    /// Writes the delay that precedes the error, if there is one, and returns the kind of the answer.
    fn begin_error(&mut self) -> Kind {
        match self.retry {
            Retry::Default => Kind::Err,
            Retry::No => Kind::FinalErr,
            Retry::After(delay) => {
                let nanos = sys::nanos_of(delay);
                let written = &mut self.output.written;
                written.extend_from_slice(&nanos.to_le_bytes());
                Kind::ErrAfter
            }
        }
    }

    #[inline]
    fn respond(
        &mut self,
        kind: Kind,
        encode: impl FnOnce(&mut Output, usize) -> Result<(), CodecError>,
    ) {
        let (output, limit) = (&mut self.output, self.limit);
        let (encoded, objects) = shared::collect(None, || encode(output, limit));
        if !objects.is_empty() {
            self.output.objects = objects;
            if kind != Kind::Ok {
                let reason = "a `Shared` cannot be a part of an error";
                return self.explain(Kind::NotEncodable, reason);
            }
        }
        self.answer = Some(match encoded {
            Ok(()) => kind,
            Err(CodecError::TooLarge(_)) => {
                self.output.instead();
                Kind::TooLarge
            }
            Err(CodecError::Invalid(reason)) => {
                return self.explain(Kind::NotEncodable, &reason);
            }
        });
    }

    /// Answers with a text.
    #[cold]
    fn explain(&mut self, kind: Kind, text: &str) {
        let text = excerpt(text, self.limit);
        self.output.instead().extend_from_slice(text.as_bytes());
        self.answer = Some(kind);
    }

    /// Answers that the function returned more or fewer results than its batch had inputs.
    pub(crate) fn wrong_length(&mut self, expected: usize, returned: usize) {
        let output = self.output.instead();
        for number in [expected, returned] {
            output.extend_from_slice(&(number as u64).to_le_bytes());
        }
        self.answer = Some(Kind::WrongLength);
    }

    /// Answers that the function panicked with this payload.
    pub(crate) fn panicked(&mut self, payload: Box<dyn Any + Send>) {
        let panic = panics::caught(payload, self.limit);
        panics::encode(&panic, self.output.instead());
        self.answer = Some(Kind::Panicked);
    }

    /// Returns the kind of the answer.
    pub(crate) fn kind(&self) -> Kind {
        self.answer.unwrap_or(Kind::NotEncodable)
    }

    /// Returns the bytes of the answer.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    pub(crate) fn into_output(self) -> Output {
        self.output
    }
}

/// Runs the future of an async function to completion.
///
/// # Panics
///
/// Panics if the operating system lacks the resources for an async runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an async runtime can be started");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
