//! The panic hook. It records where panics happen, so that a payload that reaches the worker's loop can be
//! reported with the location and the backtrace of its own panic.
//!
//! A panic that ends a call is reported to the caller, who decides whether to print it, so the standard
//! library's hook does not print it as well. A hook that the program has installed is always called. If the
//! function has caught its panic, the panic is printed afterwards, once it is certain that no caller will
//! receive it.
//!
//! A payload may come from another thread (`join`, then `resume_unwind`), may be older than the last panic,
//! or may never have been seen by the hook. The hook therefore records the last panics of all threads, each
//! with an identity of its payload, and the text of a report always comes from the payload itself.

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
use crate::wire::LAST_WORDS_CAPACITY;

/// Number of panics that are remembered.
const MAX_PANICS: usize = 64;

/// The panics that have not been reported, oldest first.
static SEEN: PerProcess<Mutex<Vec<Seen>>> = PerProcess::new();

/// The address of the hook that was installed last.
static HOOK: AtomicUsize = AtomicUsize::new(0);

/// Set while a hook runs that has left last words.
static LAST_WORDS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Set while this thread is inside the hook.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Set if `SEEN` may contain panics of this thread.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
    /// Set while an uncaught panic on this thread is reported to a caller. Holds the mark of the process, so
    /// that it does not apply in a fork: no caller waits for that.
    static TOLD: Cell<Option<Mark>> = const { Cell::new(None) };
}

/// A guard: while it exists, each uncaught panic on this thread is reported to a caller.
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

/// Runs a closure whose panic is reported to a caller.
pub(crate) fn catch<R>(run: impl FnOnce() -> R) -> std::thread::Result<R> {
    let _telling = Telling::begin();
    catch_unwind(AssertUnwindSafe(run))
}

/// A panic as the hook saw it.
struct Seen {
    thread: ThreadId,
    payload: Identity,
    location: Option<String>,
    /// Not symbolised yet, because that takes long.
    backtrace: Option<Backtrace>,
    /// The message, until it is printed.
    unprinted: Option<String>,
}

impl Seen {
    /// Prints the panic as the standard library's hook would have.
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

/// The identity of a payload. The payload itself moves into a box after the hook has seen it, but its text
/// stays at the same address.
#[derive(PartialEq, Eq)]
struct Identity {
    kind: TypeId,
    /// Address, length and hash of the text.
    text: Option<(usize, usize, u64)>,
    /// True if no other payload that exists at the same time can have the same identity.
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

/// Installs this runtime's panic hook in front of the current one, unless it is already there. The current
/// hook still runs, after this one.
pub(crate) fn install() {
    let previous = std::panic::take_hook();
    if address(&*previous) == HOOK.load(Ordering::Relaxed) {
        return std::panic::set_hook(previous);
    }
    // While no hook is installed, `take_hook` returns the standard library's.
    let standard = std::panic::take_hook();
    // Hooks without state have the same address, but each has its own vtable.
    let is_standard = std::ptr::eq(&raw const *previous, &raw const *standard);
    let hook: Box<Hook> = Box::new(move |info| {
        // The other hook may call an earlier instance of this one.
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
        // Only the last panic can be the one that is reported to the caller or that ends the process.
        print_those_of_this_thread();
    }
    let _reporting = Reporting::begin();
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    let location = info.location().map(ToString::to_string);
    // Leave the last words first: the other hook may exit, so this hook may never return.
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
            // The panic is not printed. If the process ends before the caller is told, the parent finds it
            // here.
            Some(control) if is_told => control.keep_last_words(),
            Some(control) => control.withdraw_last_words(),
            None => {}
        }
        LAST_WORDS.store(false, Ordering::Release);
    }
}

/// Prints the panics of this thread that have not been printed.
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
    if seen.len() == MAX_PANICS {
        seen.remove(0);
    }
    seen.push(panic);
}

/// Writes the panic to the control block, in case it ends the process.
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

/// Forgets the panics of this thread, which the function has caught, and prints those that are not printed
/// yet.
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

/// Withdraws the last words that were kept in case no caller was told of the panic.
fn withdraw_kept_words() {
    if let Some(control) = reporting::control() {
        control.withdraw_kept_words();
    }
}

/// Returns the report of a caught panic, which takes at most `limit` bytes when encoded.
pub(crate) fn caught(payload: Box<dyn Any + Send>, limit: usize) -> Panic {
    let _reporting = Reporting::begin();
    let panic = report(&*payload, limit);
    // The payload's destructor may panic as well.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    panic
}

/// Encodes a report.
pub(crate) fn encode(panic: &Panic, out: &mut Vec<u8>) {
    // Encoding texts cannot fail.
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

/// Removes and returns the recorded panic that a payload belongs to, if that is certain.
fn find(payload: &Identity) -> Option<Seen> {
    let mut found: Vec<Seen> = lock()
        .extract_if(.., |seen| seen.payload == *payload)
        .collect();
    let last = found.pop()?;
    if payload.unique || found.is_empty() {
        return Some(last);
    }
    // The candidates cannot be told apart, since they all share the same literal as their text.
    let same = found.iter().all(|seen| seen.location == last.location);
    same.then_some(Seen {
        backtrace: None,
        ..last
    })
}

/// Returns the text of a payload, and whether the payload owns it.
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
        // Code that passes a caught payload to `panic_any` creates such a nested box.
        text(&**payload.downcast_ref::<Box<dyn Any + Send>>()?)
    }
}

/// Returns the message of a payload. Runs no user code.
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

/// Returns the text of a payload that is an error. This runs user code, which may panic.
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
