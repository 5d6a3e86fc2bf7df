//! The panic hook: notes where panics happen, so that a payload that reaches the worker's loop can
//! be reported with the location and the backtrace of the panic that it belongs to.
//!
//! A panic that ends a call is told to the caller, who prints it or not. So the standard library's own hook
//! does not print it as well; a hook of the program's is always called. Where a function has caught its panic
//! it is printed after all, once it is known that nobody is told.
//!
//! A payload may come from another thread (`join`, then `resume_unwind`), may be older than the
//! last panic, or may never have been seen by the hook. So the hook notes the last panics of all
//! threads, each with what identifies its payload, and the text of a report is always that of the
//! payload itself.

use std::any::{Any, TypeId};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::current;
use super::reporting::{self, Reporting};
use crate::api::backtrace;
use crate::api::failure::Panic;
use crate::codec;
use crate::sys::{Mark, PerProcess};
use crate::wire::control_block::LAST_WORDS_CAPACITY;

/// The number of panics that are remembered.
const REMEMBERED: usize = 64;

/// The panics that have not been reported, oldest first.
static SEEN: PerProcess<Mutex<Vec<Seen>>> = PerProcess::new();

/// The address of the hook that was installed last.
static HOOK: AtomicUsize = AtomicUsize::new(0);

/// Whether a hook that is still running has left last words.
static LAST_WORDS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is inside of the hook.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Whether there may be panics of this thread in `SEEN`.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
    /// Whether the caller is told of a panic on this thread that is not caught.
    /// Not in a fork: there is a process that nobody waits for.
    static TOLD: Cell<Option<Mark>> = const { Cell::new(None) };
}

/// While one of these exists, a caller is told of each panic on this thread that is not caught.
pub(crate) struct Telling(Option<Mark>);

impl Telling {
    pub(crate) fn begin() -> Self {
        Self(TOLD.replace(Some(Mark::current())))
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TOLD.set(self.0);
    }
}

/// Runs what a caller is told the panic of.
pub(crate) fn told<R>(run: impl FnOnce() -> R) -> std::thread::Result<R> {
    let _telling = Telling::begin();
    catch_unwind(AssertUnwindSafe(run))
}

/// A panic as the hook saw it.
struct Seen {
    thread: ThreadId,
    payload: Identity,
    location: Option<String>,
    /// Not resolved to names yet, which takes long.
    backtrace: Option<Backtrace>,
    /// Its message, as long as it is not printed.
    unprinted: Option<String>,
}

impl Seen {
    /// Prints it as the standard library's hook would have.
    fn print(&self, message: &str) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let place = self.location.as_deref().unwrap_or("an unknown place");
        let mut text = format!("\nthread '{name}' panicked at {place}:\n{message}\n");
        if let Some(backtrace) = &self.backtrace {
            text += "stack backtrace:\n";
            text += &resolved(backtrace);
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// What identifies a payload. The payload itself is moved into a box after the hook has seen it,
/// but its text stays where it is.
#[derive(PartialEq, Eq)]
struct Identity {
    kind: TypeId,
    /// Address, length and hash.
    text: Option<(usize, usize, u64)>,
    /// Whether no other payload that exists at the same time can have the same identity.
    unique: bool,
}

impl Identity {
    fn of(payload: &(dyn Any + Send)) -> Self {
        let text = text(payload);
        Self {
            kind: payload.type_id(),
            text: text.map(|(text, _)| {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                (text.as_ptr().addr(), text.len(), hasher.finish())
            }),
            unique: text.is_some_and(|(text, owned)| owned && !text.is_empty()),
        }
    }
}

/// Puts this runtime's panic hook in front of the one that is installed, unless it is already
/// there. The other hook still runs, after this one.
pub(crate) fn install() {
    let previous = std::panic::take_hook();
    if address(&*previous) == HOOK.load(Ordering::Relaxed) {
        return std::panic::set_hook(previous);
    }
    // While no hook is installed this is the standard library's.
    let standard = std::panic::take_hook();
    // Without state they have the same address, but each has a table of its own.
    let is_standard = std::ptr::eq(&raw const *previous, &raw const *standard);
    let hook: Box<Hook> = Box::new(move |info| {
        // The other hook may be one that calls an earlier instance of this one.
        if INSIDE.replace(true) {
            return previous(info);
        }
        see(info, &*previous, is_standard);
        INSIDE.set(false);
    });
    HOOK.store(address(&*hook), Ordering::Relaxed);
    std::panic::set_hook(hook);
}

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

fn address(hook: &Hook) -> usize {
    (&raw const *hook).cast::<()>().addr()
}

fn see(info: &PanicHookInfo<'_>, previous: &Hook, is_standard: bool) {
    let is_told = is_standard && TOLD.get().is_some_and(|mark| mark.is_current());
    if is_told {
        // Only the last one may be the one that the caller is told of, or that ends the process.
        print_those_of_this_thread();
    }
    let _reporting = Reporting::begin();
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    let location = info.location().map(ToString::to_string);
    // The process may end before this hook returns: the other hook may exit.
    let leaves_words = !LAST_WORDS.swap(true, Ordering::AcqRel);
    if leaves_words {
        leave_last_words(info, location.clone(), None);
    }
    if cfg!(panic = "abort") {
        if !(is_told && leaves_words && reporting::control().is_some()) {
            previous(info);
        }
        if leaves_words && captured {
            leave_last_words(info, location, Some(resolved(&backtrace)));
        }
        return;
    }
    remember(Seen {
        thread: std::thread::current().id(),
        payload: Identity::of(info.payload()),
        location,
        backtrace: captured.then_some(backtrace),
        unprinted: is_told.then(|| message(info.payload()).into_owned()),
    });
    PANICKED.set(true);
    if !is_told {
        previous(info);
    }
    if leaves_words {
        match reporting::control() {
            // It is not printed: should the process end before anybody is told, it is found there.
            Some(control) if is_told => control.keep_last_words(),
            Some(control) => control.withdraw_last_words(),
            None => {}
        }
        LAST_WORDS.store(false, Ordering::Release);
    }
}

/// Prints the panics of this thread that were not.
fn print_those_of_this_thread() {
    let thread = std::thread::current().id();
    for seen in lock().iter_mut().filter(|seen| seen.thread == thread) {
        if let Some(message) = seen.unprinted.take() {
            seen.print(&message);
        }
    }
}

fn lock() -> MutexGuard<'static, Vec<Seen>> {
    let seen = SEEN.get_or_init(Mutex::default);
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember(panic: Seen) {
    let mut seen = lock();
    if seen.len() == REMEMBERED {
        seen.remove(0);
    }
    seen.push(panic);
}

/// Leaves the panic on the control block for the case that the process ends by it.
fn leave_last_words(info: &PanicHookInfo<'_>, location: Option<String>, backtrace: Option<String>) {
    let Some(control) = reporting::control() else {
        return;
    };
    let message = message(info.payload());
    let panic = Panic::within(LAST_WORDS_CAPACITY, &message, location, backtrace);
    let mut words = Vec::new();
    if codec::encode(&panic, &mut words, LAST_WORDS_CAPACITY).is_ok() {
        let ticket = current::current().map_or(0, |call| call.ticket());
        control.leave_last_words(ticket, &words);
    }
}

/// Forgets the panics of this thread, which the function has caught, and prints those that were not.
#[inline]
pub(crate) fn forget() {
    if PANICKED.get() {
        forget_own();
    }
}

#[cold]
fn forget_own() {
    PANICKED.set(false);
    print_those_of_this_thread();
    let thread = std::thread::current().id();
    lock().retain(|seen| seen.thread != thread);
    withdraw_kept_words();
}

/// Takes back what was left for the case that nobody is told of a panic.
fn withdraw_kept_words() {
    if let Some(control) = reporting::control() {
        control.withdraw_kept_words();
    }
}

/// Returns the report of a panic that was caught, in at most `limit` bytes once it is encoded.
pub(crate) fn caught(payload: Box<dyn Any + Send>, limit: usize) -> Panic {
    let _reporting = Reporting::begin();
    let panic = report(&*payload, limit);
    // The payload's own destructor may panic as well.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    panic
}

/// Writes the encoding of a report.
pub(crate) fn encode(panic: &Panic, out: &mut Vec<u8>) {
    // Texts can always be encoded.
    let _ = codec::encode(panic, out, usize::MAX);
}

fn report(payload: &(dyn Any + Send), limit: usize) -> Panic {
    let seen = find(&Identity::of(payload));
    withdraw_kept_words();
    if seen.is_none() {
        // The hook may have been replaced.
        install();
    }
    let mut message = message(payload);
    if let Some(error) = error_text(payload) {
        message = format!("{message}: {error}").into();
    }
    let (location, backtrace) = seen.map_or((None, None), |seen| (seen.location, seen.backtrace));
    let backtrace = backtrace.map(|backtrace| resolved(&backtrace));
    Panic::within(limit, &message, location, backtrace)
}

/// Takes out the panic that a payload belongs to, if that is certain.
fn find(payload: &Identity) -> Option<Seen> {
    let mut found: Vec<Seen> = lock()
        .extract_if(.., |seen| seen.payload == *payload)
        .collect();
    let last = found.pop()?;
    if payload.unique || found.is_empty() {
        return Some(last);
    }
    // Which of them it was cannot be told, since the text of all of them is the same literal.
    let same = found.iter().all(|seen| seen.location == last.location);
    same.then_some(Seen {
        backtrace: None,
        ..last
    })
}

/// The text of a payload, and whether the payload owns it.
fn text(payload: &(dyn Any + Send)) -> Option<(&str, bool)> {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        Some((text, false))
    } else if let Some(text) = payload.downcast_ref::<String>() {
        Some((text, true))
    } else if let Some(text) = payload.downcast_ref::<Box<str>>() {
        Some((text, true))
    } else if let Some(text) = payload.downcast_ref::<Cow<'static, str>>() {
        Some((text, matches!(text, Cow::Owned(_))))
    } else if let Some(text) = payload.downcast_ref::<Arc<str>>() {
        Some((text, false))
    } else {
        // What comes of passing a payload that was caught to `panic_any`.
        text(&**payload.downcast_ref::<Box<dyn Any + Send>>()?)
    }
}

/// The message of a payload. Calls no code of the program's.
fn message(payload: &(dyn Any + Send)) -> Cow<'_, str> {
    if let Some((text, _)) = text(payload) {
        return text.into();
    }
    if let Some(inner) = payload.downcast_ref::<Box<dyn Any + Send>>() {
        return message(&**inner);
    }
    macro_rules! value {
        ($($type:ty),*) => {
            $(
                if let Some(value) = payload.downcast_ref::<$type>() {
                    let name = stringify!($type);
                    return format!("the payload is not text, but {value:?} of type `{name}`").into();
                }
            )*
        };
    }
    macro_rules! named {
        ($($type:ty),*) => {
            $(
                if payload.is::<$type>() {
                    let name = stringify!($type);
                    return format!("the payload is not text, but of type `{name}`").into();
                }
            )*
        };
    }
    value!(
        i8,
        i16,
        i32,
        i64,
        i128,
        isize,
        u8,
        u16,
        u32,
        u64,
        u128,
        usize,
        f32,
        f64,
        bool,
        char,
        ()
    );
    named! {
        Box<dyn Error + Send + Sync>,
        Box<dyn Error + Send>,
        std::io::Error,
        std::fmt::Error,
        Vec<u8>
    }
    "the payload is not text, and its type is not known (Box<dyn Any>)".into()
}

/// What the error says that is the payload. Its code is the program's, which may panic.
fn error_text(payload: &(dyn Any + Send)) -> Option<String> {
    let shown = catch_unwind(AssertUnwindSafe(|| {
        if let Some(error) = payload.downcast_ref::<Box<dyn Error + Send + Sync>>() {
            Some(error.to_string())
        } else if let Some(error) = payload.downcast_ref::<Box<dyn Error + Send>>() {
            Some(error.to_string())
        } else {
            let error = payload.downcast_ref::<std::io::Error>()?;
            Some(error.to_string())
        }
    }));
    shown.ok()?
}

fn resolved(backtrace: &Backtrace) -> String {
    backtrace::of_the_program(&backtrace.to_string())
}
