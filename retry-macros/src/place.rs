//! The place of an item in its source file.
//!
//! An attribute is given its item and nothing around it, so an associated function without `self` looks
//! like any other function. The struct that would stand for it is not allowed in an `impl`, and the
//! compiler says so several times without a word about the mistake. The source file tells the two apart.

use std::iter::Peekable;
use std::str::Chars;

/// A block whose items are methods and associated functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// `impl Type`.
    Inherent,
    /// `impl Trait for Type` or `trait Trait`.
    OfTrait,
    /// `extern "C"`, whose functions have no body.
    Foreign,
}

#[cfg(test)]
thread_local! {
    /// The block that [`block`] returns in tests, where there is no compiler.
    pub(crate) static IN_TEST: std::cell::Cell<Option<Block>> = const { std::cell::Cell::new(None) };
}

/// Returns the block that the item of the current attribute stands in, as far as that can be known.
pub(crate) fn block() -> Option<Block> {
    #[cfg(test)]
    if let Some(block) = IN_TEST.get() {
        return Some(block);
    }
    if !proc_macro::is_available() {
        return None;
    }
    let attribute = proc_macro::Span::call_site();
    // Most functions are not indented, and need no look into the file.
    if attribute.column() == 1 {
        return None;
    }
    let text = std::fs::read_to_string(attribute.local_file()?).ok()?;
    block_at(&text, attribute.line(), attribute.column())
}

/// Returns the innermost block around a line and a column, both counted from 1.
fn block_at(text: &str, line: usize, column: usize) -> Option<Block> {
    let lines = text.split_inclusive('\n').take(line);
    let (before, last) = lines.fold((0, ""), |(before, last), line| (before + last.len(), line));
    let in_line: usize = last.chars().take(column - 1).map(char::len_utf8).sum();
    Scanner::new(&text[..before + in_line]).block()
}

/// Keeps track of the open delimiters of a text and of the code in front of each.
struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    /// The open delimiters, each with the code in front of it.
    open: Vec<(char, String)>,
    /// The code since the last item or statement.
    head: String,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            open: Vec::new(),
            head: String::new(),
        }
    }

    fn block(mut self) -> Option<Block> {
        while let Some(next) = self.rest.next() {
            match next {
                '/' if self.rest.peek() == Some(&'/') => self.skip_line(),
                '/' if self.rest.peek() == Some(&'*') => self.skip_comment(),
                '"' => self.skip_text(),
                '\'' => self.skip_character(),
                '(' | '[' | '{' => {
                    let head = std::mem::take(&mut self.head);
                    self.open.push((next, head));
                }
                ')' | ']' => {
                    // The code in front of them may belong to the header of a block.
                    self.head = self.open.pop()?.1;
                    self.head.push_str("()");
                }
                '}' => {
                    self.open.pop()?;
                    self.head.clear();
                }
                ';' if !matches!(self.open.last(), Some(('(' | '[', _))) => self.head.clear(),
                other => self.head.push(other),
            }
        }
        match self.open.pop()? {
            ('{', head) => block_of(&head),
            _ => None,
        }
    }

    fn skip_line(&mut self) {
        self.rest
            .by_ref()
            .take_while(|next| *next != '\n')
            .for_each(drop);
        self.head.push(' ');
    }

    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        let mut last = '/';
        for next in self.rest.by_ref() {
            last = match (last, next) {
                ('/', '*') => {
                    depth += 1;
                    ' '
                }
                ('*', '/') => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                    ' '
                }
                _ => next,
            };
        }
        self.head.push(' ');
    }

    /// Skips the rest of a string after its opening quote. The hashes and the `r` of a raw one are in `head`.
    fn skip_text(&mut self) {
        let start = self.head.trim_end_matches('#');
        let hashes = self.head.len() - start.len();
        let is_raw = start.ends_with('r');
        while let Some(next) = self.rest.next() {
            if next == '\\' && !is_raw {
                self.rest.next();
            } else if next == '"' {
                let mut ahead = self.rest.clone();
                if !is_raw || (0..hashes).all(|_| ahead.next() == Some('#')) {
                    break;
                }
            }
        }
        self.head.push(' ');
    }

    /// Skips the rest of a character after its opening quote. A lifetime has no closing quote.
    fn skip_character(&mut self) {
        let mut ahead = self.rest.clone();
        let is_escaped = ahead.next() == Some('\\');
        if is_escaped {
            self.rest.next();
            self.rest.next();
            self.rest
                .by_ref()
                .take_while(|next| *next != '\'')
                .for_each(drop);
        } else if ahead.next() == Some('\'') {
            self.rest.next();
            self.rest.next();
        }
    }
}

/// Returns the kind of a block by the code in front of its brace.
fn block_of(head: &str) -> Option<Block> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut words = head
        .split(|letter: char| !is_part(letter))
        .filter(|word| !word.is_empty());
    const BEFORE: &[&str] = &["pub", "unsafe", "default", "auto", "const"];
    match words.find(|word| !BEFORE.contains(word))? {
        "trait" => Some(Block::OfTrait),
        "extern" if words.next() != Some("fn") => Some(Block::Foreign),
        "impl" => {
            // `for<'a>` belongs to a bound.
            let mut parts = head.split("for").skip(1);
            let is_word = |rest: &str| rest.starts_with(char::is_whitespace);
            let of_trait = parts.any(is_word) && words.any(|word| word == "for");
            Some(if of_trait {
                Block::OfTrait
            } else {
                Block::Inherent
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the block around the only `@` of a text.
    fn around(text: &str) -> Option<Block> {
        let before = text.split('@').next().expect("a text has a first part");
        let line = before.split('\n').count();
        let last = before.split('\n').next_back().unwrap_or_default();
        block_at(&text.replace('@', ""), line, last.chars().count() + 1)
    }

    #[test]
    fn an_inherent_impl_is_recognised() {
        for text in [
            "impl S { @ }",
            "use a::{b, c};\nstruct S;\nimpl S {\n    fn g() {}\n    @\n}",
            "/// Docs { [ \"\n#[attribute(a = \"{\")]\nimpl<'a, T: Fn(u64) -> [u8; 3]> S<'a, T> { @ }",
            "impl S { const A: char = '{'; const B: &str = \"{\\\"{\"; const C: &str = r#\"\"{\"#; @ }",
            "impl S { /* { /* { */ */ fn g<'a>(a: &'a str) -> char { '\\'' } @ }",
            "impl<T: for<'a> Fn(&'a u64)> S<T> where T: Copy { @ }",
            "macro_rules! m { ($S:ty) => { impl $S { @ } } }",
        ] {
            assert_eq!(around(text), Some(Block::Inherent), "{text}");
        }
    }

    #[test]
    fn blocks_of_traits_are_told_apart() {
        for text in [
            "impl Tr for S { @ }",
            "unsafe impl<T> Tr<[T; 3]> for S<T> { @ }",
            "pub unsafe trait Tr: Sized { @ }",
            "pub(crate) trait Tr { fn g(); @ }",
        ] {
            assert_eq!(around(text), Some(Block::OfTrait), "{text}");
        }
    }

    #[test]
    fn an_extern_block_is_recognised() {
        for text in ["extern \"C\" { @ }", "unsafe extern { fn g(); @ }"] {
            assert_eq!(around(text), Some(Block::Foreign), "{text}");
        }
    }

    #[test]
    fn other_places_are_not_taken_for_one() {
        for text in [
            "extern \"C\" fn g() { @ }",
            "extern crate a; mod m { @ }",
            "  @",
            "mod m { @ }",
            "impl S { fn g() { @ } }",
            "fn g() -> impl Copy { @ }",
            "m! { @ }",
            "m!( impl S, @ )",
            "impl S {} mod tests { @ }",
            "} @",
        ] {
            assert_eq!(around(text), None, "{text}");
        }
    }
}
