//! Backtraces as far as they are about the program: from the frame that panicked to the function that was
//! called, without what the standard library and this runtime have around them.

use std::borrow::Cow;
use std::fmt::Write;

/// The beginnings of the names of frames that do not belong to the program.
const FOREIGN: [&str; 16] = [
    "std::",
    "core::",
    "alloc::",
    "test::",
    "tokio::",
    "anyhow::",
    "eyre::",
    "retry_runtime::",
    "__rustc::",
    "__rust",
    "rust_begin_unwind",
    "rust_panic",
    "__libc",
    "_start",
    "start_thread",
    "clone",
];

/// The beginning of the places of the standard library's frames.
const STANDARD_LIBRARY: &str = " at /rustc/";

/// The parts of such names that show the trait of which the frame is a method.
const TRAITS: [&str; 4] = [
    " as core::",
    " as alloc::",
    " as std::",
    " as retry_runtime::",
];

/// One frame: its name, and the lines of its place.
struct Frame<'a> {
    name: &'a str,
    place: Vec<&'a str>,
}

impl Frame<'_> {
    fn is_the_programs(&self) -> bool {
        let name = self.name.trim_start_matches(['<', '&', '*', '[', '(']);
        let name = name.trim_start_matches("dyn ").trim_start_matches("mut ");
        let is_foreign = FOREIGN.iter().any(|start| name.starts_with(start))
            || TRAITS.iter().any(|part| name.contains(part))
            // The C entry point, and frames without a name.
            || matches!(name, "main" | "<unknown>" | "__clone3" | "clone3" | "__clone")
            // With `debug = "line-tables-only"` the names of inlined functions have no paths.
            || self.place.iter().any(|place| place.contains(STANDARD_LIBRARY));
        !is_foreign
    }

    /// Returns whether the frame belongs to the code that calls the function: the attribute's expansion, or
    /// the worker.
    fn calls_the_function(&self) -> bool {
        let name = self.name.trim_start_matches('<');
        name.contains("::_::__")
            || name.starts_with("retry_runtime::child::")
            || name.starts_with("retry_runtime::inline::")
    }
}

fn frames(text: &str) -> Vec<Frame<'_>> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let name = trimmed
            .split_once(": ")
            .filter(|(number, _)| number.parse::<u32>().is_ok());
        match (name, frames.last_mut()) {
            (Some((_, name)), _) => frames.push(Frame {
                name,
                place: Vec::new(),
            }),
            (None, Some(frame)) => frame.place.push(line),
            (None, None) => {}
        }
    }
    frames
}

/// Returns the part of a backtrace that is about the program, with its frames counted from zero; all of it
/// where no frame is the program's.
pub(crate) fn of_the_program(text: &str) -> String {
    let frames = frames(text);
    let first = frames.iter().position(Frame::is_the_programs);
    let Some(first) = first else {
        return text.to_owned();
    };
    // Further out there may be frames of the program that have nothing to do with the call: its `main`.
    let calls = frames[first..].iter().position(Frame::calls_the_function);
    let end = calls.map_or(frames.len(), |calls| first + calls);
    let last = frames[..end].iter().rposition(Frame::is_the_programs);
    let last = last.unwrap_or(first);
    let mut kept = String::new();
    for (number, frame) in frames[first..=last].iter().enumerate() {
        let _ = writeln!(kept, "{number:>4}: {}", without_expansion(frame.name));
        for line in &frame.place {
            let _ = writeln!(kept, "{line}");
        }
    }
    kept
}

/// Returns the name of a frame as if there were no attribute: the body of `app::f` is a function of the same name,
/// or `__body`, in an `impl` in an unnamed block, `app::_::<impl app::f>::f`.
fn without_expansion(name: &str) -> Cow<'_, str> {
    let parts = name.split_once("_::<impl ");
    let Some((path, rest)) = parts.and_then(|(_, rest)| rest.split_once('>')) else {
        return name.into();
    };
    let function = path.rsplit("::").next().unwrap_or(path);
    let inner = [function, "__body"].into_iter().find_map(|body| {
        let inner = rest.strip_prefix("::")?.strip_prefix(body)?;
        (inner.is_empty() || inner.starts_with("::")).then_some(inner)
    });
    format!("{path}{}", inner.unwrap_or(rest)).into()
}

/// Does the same with the backtrace at the end of the text of an error, if it has one.
pub(crate) fn shorten_at_end(text: String) -> String {
    const TITLES: [&str; 2] = ["\nStack backtrace:\n", "\nstack backtrace:\n"];
    let found = TITLES
        .iter()
        .find_map(|title| Some(text.find(title)? + title.len()));
    match found {
        Some(at) => format!("{}{}", &text[..at], of_the_program(&text[at..])),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
   0: __rustc::rust_begin_unwind
             at /rustc/5980/library/std/src/panicking.rs:689:5
   1: core::option::unwrap_failed
   2: core::option::Option<T>::unwrap
             at /rustc/5980/library/core/src/option.rs:1:5
   3: app::_::<impl app::inner>::inner
             at ./src/main.rs:5:5
   4: <alloc::vec::Vec<T> as core::iter::FromIterator<T>>::from_iter
   5: <app::Thing as app::Doing>::does
             at ./src/main.rs:9:5
   6: core::ops::function::FnOnce::call_once
   7: app::_::__run
   8: retry_runtime::child::serve::run
   9: std::panic::catch_unwind
  10: app::main
  11: main
  12: __libc_start_call_main
";

    #[test]
    fn a_backtrace_begins_and_ends_at_frames_of_the_program() {
        let kept = "   0: app::inner\n             at ./src/main.rs:5:5\n   1: <alloc::vec::Vec<T> as \
                    core::iter::FromIterator<T>>::from_iter\n   2: <app::Thing as \
                    app::Doing>::does\n             at ./src/main.rs:9:5\n";
        assert_eq!(of_the_program(WHOLE), kept);
        let error = format!("failed\n\nStack backtrace:\n{WHOLE}");
        assert_eq!(
            shorten_at_end(error),
            format!("failed\n\nStack backtrace:\n{kept}")
        );
    }

    #[test]
    fn inlined_frames_of_the_standard_library_are_known_by_their_place() {
        let whole = "   0: index<u32, usize>\n             at /rustc/5980/library/core/src/slice/index.rs:19:15\n   \
                     1: inner\n             at ./src/main.rs:2:55\n   2: app::_::<impl app::look>::__body\n             \
                     at ./src/main.rs:4:26\n   3: app::_::__run\n";
        let kept = "   0: inner\n             at ./src/main.rs:2:55\n   1: app::look\n             at \
                    ./src/main.rs:4:26\n";
        assert_eq!(of_the_program(whole), kept);
    }

    #[test]
    fn bodies_have_the_names_of_their_functions() {
        for (name, shown) in [
            ("app::_::<impl app::f>::f", "app::f"),
            (
                "app::m::_::<impl app::m::f>::f::{{closure}}",
                "app::m::f::{{closure}}",
            ),
            ("app::_::<impl app::map>::__body", "app::map"),
            ("app::_::<impl app::f>::f2", "app::f::f2"),
            ("app::_::_::<impl app::f>::local", "app::f::local"),
            ("app::f", "app::f"),
        ] {
            assert_eq!(without_expansion(name), shown);
        }
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        for text in [
            "",
            "disabled backtrace",
            "   0: <unknown>\n   1: <unknown>\n",
        ] {
            assert_eq!(of_the_program(text), text);
        }
        assert_eq!(shorten_at_end("plain".to_owned()), "plain");
    }
}
