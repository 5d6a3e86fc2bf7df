//! The operating system. No other module has `unsafe` code, and each block here has the reason why it is sound.
//!
//! Worker processes need Linux. On other systems, which `--cfg retry_no_processes` simulates, `elsewhere.rs`
//! has substitutes for what inline workers need as well.
#![allow(unsafe_code)]

mod aligned;
mod bytes;
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
mod elsewhere;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
mod linux;
mod mark;
mod tied;
mod view;

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

pub use bytes::Number;
pub(crate) use bytes::{bytes_of, cast, fills, is, numbers_behind};
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
pub(crate) use elsewhere::*;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) use linux::*;
pub(crate) use mark::{Mark, PerProcess, exit_if_forked};
pub(crate) use tied::Tied;
pub(crate) use view::{View, ViewStaged, numbers_of_mut};

/// Writes to standard error. If that is closed, or full, nothing happens, where `eprint!` would panic: a message
/// must not change how a program ends. Other control characters than line breaks and tabs are shown as `cat -v` shows
/// them: texts of errors, inputs and workers must not control the terminal.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(printable(text.to_string()).as_bytes());
}

/// Makes the characters of a text visible that are no text: control characters except line breaks and tabs,
/// and those that break a line or change its direction.
pub(crate) fn printable(text: String) -> String {
    let is_plain = |letter: char| match letter {
        '\n' | '\t' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        letter => !letter.is_control(),
    };
    if text.chars().all(is_plain) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if is_plain(letter) => shown.push(letter),
            '\x7f' => shown.push_str("^?"),
            '\0'..' ' => {
                shown.push('^');
                shown.push(char::from(letter as u8 + b'@'));
            }
            other => shown.extend(other.escape_unicode()),
        }
    }
    shown
}

/// Returns a duration in nanoseconds, at most `u64::MAX`.
pub(crate) fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the instant that another process of this machine saw as `nanos` on the monotonic clock; `None` for
/// a time in the future.
pub(crate) fn past_instant_of(nanos: u64) -> Option<Instant> {
    let now = Instant::now();
    let ago = monotonic_nanos().checked_sub(nanos)?;
    now.checked_sub(Duration::from_nanos(ago))
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_shown() {
        for (text, shown) in [
            ("two\n\tlines", "two\n\tlines"),
            ("\x1b[31mred\r\n", "^[[31mred^M\n"),
            (
                "a\u{202e}b\u{2069}\u{2028}c",
                "a\\u{202e}b\\u{2069}\\u{2028}c",
            ),
            // Marks of Arabic and Hebrew texts change the direction of no other text.
            ("\u{200f}\u{200e}", "\u{200f}\u{200e}"),
            ("\0\x7f\u{9b}2Jä", "^@^?\\u{9b}2Jä"),
        ] {
            assert_eq!(printable(text.to_owned()), shown);
        }
    }
}
