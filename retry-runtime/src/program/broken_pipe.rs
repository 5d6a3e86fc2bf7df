//! Ends a program without a message once its standard output is closed, as in `app | head`.
//!
//! `println!` panics there. To ignore the error would let the program compute what nobody reads, and to give SIGPIPE
//! its default action would end programs that write to other pipes and handle the error.

use std::any::Any;
use std::panic::{PanicHookInfo, set_hook, take_hook};

/// Exit code of a program that could not write: that of one which SIGPIPE ended.
pub(super) const EXIT: i32 = 128 + 13;

/// The beginning of the message with which `print!` and `println!` panic, and the error that it ends with.
const PRINTING: &str = "failed printing to stdout: ";
const BROKEN: &str = "(os error 32)";

/// Keeps the panic hook from reporting this panic. `before` runs ahead of the report of any other.
pub(super) fn silence(before: fn()) {
    let report = take_hook();
    set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if !is_broken_pipe(info.payload()) {
            before();
            report(info);
        }
    }));
}

/// Returns whether a panic came from printing to a pipe without a reader.
pub(super) fn is_broken_pipe(payload: &(dyn Any + Send)) -> bool {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied());
    text.is_some_and(|text| text.starts_with(PRINTING) && text.ends_with(BROKEN))
}
