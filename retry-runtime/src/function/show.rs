//! Shows the arguments of a call in failure reports, on behalf of generated code.

use std::fmt::{self, Debug, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::api::spec::REDACTED;

/// The maximum length of the text, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// An argument. Generated code calls `__text` on a reference to this with both traits in scope, and method lookup
/// prefers [`Debugs`].
pub struct Argument<'a, T: ?Sized>(pub &'a T);

/// An argument with a text.
pub trait Debugs {
    /// Returns the text.
    fn __text(&self) -> Option<String>;
}

impl<T: Debug + ?Sized> Debugs for Argument<'_, T> {
    fn __text(&self) -> Option<String> {
        // Formatting runs user code.
        catch_unwind(AssertUnwindSafe(|| Limited::format(&self.0))).ok()
    }
}

/// Any other argument.
pub trait Opaque {
    /// Returns none.
    fn __text(&self) -> Option<String>;
}

impl<T: ?Sized> Opaque for &Argument<'_, T> {
    fn __text(&self) -> Option<String> {
        None
    }
}

/// Returns the text in place of an argument that must not be shown.
#[must_use]
pub fn redacted() -> Option<String> {
    Some(REDACTED.to_owned())
}

/// Returns the text of all arguments: with their names if there are several.
#[must_use]
pub fn shown(arguments: &[(&str, Option<String>)]) -> Option<String> {
    if let [(_, only)] = arguments {
        return only.clone();
    }
    let known = arguments.iter().filter(|(_, text)| text.is_some());
    let texts: Vec<_> = known
        .map(|(name, text)| format!("{name}: {}", text.as_deref().unwrap_or_default()))
        .collect();
    (!texts.is_empty()).then(|| Limited::format(&format_args!("{}", texts.join(", "))))
}

/// A text that takes no more than its limit, so that a value of gigabytes is not formatted in full.
#[derive(Default)]
struct Limited {
    text: String,
    characters: usize,
}

impl Limited {
    fn format(value: &dyn Debug) -> String {
        let mut limited = Self::default();
        if write!(limited, "{value:?}").is_err() && limited.characters >= MAX_TEXT_CHARS {
            limited.text.push_str("...");
        }
        limited.text
    }
}

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.characters >= MAX_TEXT_CHARS {
                return Err(fmt::Error);
            }
            self.characters += 1;
            match character {
                // A report has one line for the input.
                '\n' => self.text.push(' '),
                other => self.text.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Job {
        #[expect(dead_code, reason = "it is shown")]
        path: &'static str,
    }

    struct Secret;

    struct Panics;

    impl Debug for Panics {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no text")
        }
    }

    #[test]
    fn arguments_are_shown_where_they_can_be() {
        let job = Argument(&Job { path: "a" }).__text();
        assert_eq!(job.as_deref(), Some(r#"Job { path: "a" }"#));
        assert_eq!((&Argument(&Secret)).__text(), None);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        assert_eq!(Argument(&Panics).__text(), None);
        std::panic::set_hook(hook);
        assert_eq!(shown(&[("job", job.clone())]), job);
        let all = [("job", job), ("secret", None), ("token", redacted())];
        assert_eq!(
            shown(&all).as_deref(),
            Some(r#"job: Job { path: "a" }, token: ‹redacted›"#)
        );
        assert_eq!(shown(&[("a", None), ("b", None)]), None);
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = Argument(&vec![7_u8; 1 << 20]).__text().unwrap();
        assert_eq!(long.chars().count(), MAX_TEXT_CHARS + 3);
        assert!(long.ends_with("..."), "{long}");
    }
}
