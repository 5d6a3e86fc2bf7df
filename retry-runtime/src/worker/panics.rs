//! What a panic says, caught in the panic hook, so that it is known also where panics abort.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::sync::Arc;

use crate::codec;
use crate::error::Panic;
use crate::sys::Mark;
use crate::transport::Board;

thread_local! {
    static LAST: Cell<Option<Box<Panic>>> = const { Cell::new(None) };
}

/// Adds to the panic hook, which still prints what it always prints.
pub(super) fn install(board: Arc<Board>) {
    let serving = std::thread::current().id();
    let mark = Mark::current();
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        previous(info);
        // A child that a function has forked has the same thread, and the same memory for last words.
        if std::thread::current().id() != serving || !mark.is_current() {
            return;
        }
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| from_user_frame(&backtrace.to_string()));
        let panic = Panic::new(
            message(info.payload()),
            info.location().map(ToString::to_string),
            backtrace,
        );
        if cfg!(panic = "abort") {
            let mut words = Vec::new();
            if codec::encode(&panic, &mut words, 4000).is_err() {
                words.clear();
                let short: String = panic.message().chars().take(500).collect();
                let short = Panic::new(short, panic.location().map(str::to_owned), None);
                let _ = codec::encode(&short, &mut words, usize::MAX);
            }
            board.leave_last_words(&words);
        }
        LAST.set(Some(Box::new(panic)));
    }));
}

/// Forgets panics that were caught by the function itself.
pub(super) fn forget() {
    LAST.with(|last| drop(last.take()));
}

/// The panic that was just caught, with this payload.
pub(super) fn take(payload: &(dyn Any + Send)) -> Panic {
    match LAST.take() {
        Some(panic) => *panic,
        // A payload that was thrown without the hook, by `resume_unwind`.
        None => Panic::new(message(payload), None, None),
    }
}

pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "Box<dyn Any>".to_owned()
    }
}

/// The backtrace without the frames of the panic machinery at its start.
fn from_user_frame(backtrace: &str) -> String {
    let user = backtrace
        .find("core::panicking::panic")
        .and_then(|start| backtrace[start..].find('\n').map(|end| start + end + 1));
    match user {
        Some(start) => backtrace[start..].to_owned(),
        None => backtrace.to_owned(),
    }
}
