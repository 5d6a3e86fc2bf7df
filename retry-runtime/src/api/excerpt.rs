//! Shortens texts, and formats texts and numbers for one line.

use std::borrow::Cow;
use std::fmt;

/// Returns the text if it has at most `most` bytes, otherwise its beginning and its end around a
/// note of how much is missing, also in at most `most` bytes.
pub(crate) fn excerpt(text: &str, most: usize) -> Cow<'_, str> {
    const DOTS: &str = "...";
    let length = text.len();
    if length <= most {
        return text.into();
    }
    let note = |missing: usize| format!(" [... {missing} of {length} bytes left out ...] ");
    let room = most.saturating_sub(note(length).len());
    if room <= most / 2 {
        let head = text.floor_char_boundary(most.saturating_sub(DOTS.len()));
        let dots = &DOTS[..DOTS.len().min(most)];
        return format!("{}{dots}", &text[..head]).into();
    }
    let head = text.floor_char_boundary(room / 2);
    let tail = text.ceil_char_boundary(length - room / 2);
    format!("{}{}{}", &text[..head], note(tail - head), &text[tail..]).into()
}

/// The longest line by which an error shows itself, in characters.
pub(crate) const LONGEST_LINE: usize = 200;

/// Returns a text as one line of at most `most` characters: line breaks become spaces, and of a longer
/// text the middle is left out.
pub(crate) fn line(text: &str, most: usize) -> Cow<'_, str> {
    const DOTS: &str = " ... ";
    let is_plain = |text: &str| !text.contains(char::is_control);
    if text.len() <= most && is_plain(text) {
        return text.into();
    }
    let parts = text.split(char::is_control).map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let line = parts.join(" ");
    let length = line.chars().count();
    if length <= most {
        return line.into();
    }
    let room = most.saturating_sub(DOTS.len());
    let head = room - room * 2 / 5;
    let at = |position: usize| {
        let mut places = line.char_indices().map(|(place, _)| place);
        places.nth(position).unwrap_or(line.len())
    };
    let (head, tail) = (at(head), at(length - (room - head)));
    format!(
        "{}{DOTS}{}",
        line[..head].trim_end(),
        line[tail..].trim_start()
    )
    .into()
}

/// Returns the beginning of a line, in at most `most` characters.
pub(crate) fn beginning(line: &str, most: usize) -> Cow<'_, str> {
    const DOTS: &str = " ...";
    if line.chars().count() <= most {
        return line.into();
    }
    let kept = line.chars().take(most.saturating_sub(DOTS.len()));
    (kept.collect::<String>() + DOTS).into()
}

/// Shows a value as one line. The value's own code is called once.
pub(crate) fn in_a_line(value: impl fmt::Display, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&line(&value.to_string(), LONGEST_LINE))
}

/// Divides room among texts of these lengths: the shorter ones are kept whole, and the longer ones
/// get the same share.
pub(crate) fn shares(lengths: &[usize], mut room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|at| lengths[*at]);
    let mut shares = vec![0; lengths.len()];
    for (done, at) in order.into_iter().enumerate() {
        let share = lengths[at].min(room / (lengths.len() - done));
        shares[at] = share;
        room -= share;
    }
    shares
}

/// Returns a number with its digits in groups of three, such as `4,120`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Stands for the text of an error that has none.
const NO_TEXT: &str = "(no text)";

/// The longest text of an error that an attempt keeps, in bytes.
const LONGEST_TEXT: usize = 200;

/// Returns the first line of a text that is not blank, shortened.
pub(crate) fn one_line(text: &str) -> String {
    let mut lines = text.trim().lines();
    let first = lines.next().unwrap_or(NO_TEXT).trim_end();
    let more = if lines.next().is_some() { " ..." } else { "" };
    excerpt(&format!("{first}{more}"), LONGEST_TEXT).into_owned()
}

/// Returns a text, or words that stand for it if it is blank: they come behind a colon.
pub(crate) fn or_no_text(text: &str) -> &str {
    match text.trim().is_empty() {
        true => NO_TEXT,
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_has_both_ends_and_never_exceeds_its_room() {
        for text in ["a".repeat(5000), "äö€🦀".repeat(400)] {
            for most in 0..text.len() {
                let short = excerpt(&text, most);
                assert!(short.len() <= most, "{} of {most}", short.len());
            }
            let short = excerpt(&text, 1000);
            assert!(short.len() > 990, "{short}");
            let (head, rest) = short.split_once(" [... ").unwrap();
            let (missing, tail) = rest.split_once(" bytes left out ...] ").unwrap();
            assert!(text.starts_with(head) && text.ends_with(tail));
            let left_out = text.len() - head.len() - tail.len();
            assert_eq!(missing, format!("{left_out} of {}", text.len()));
            assert_eq!(excerpt(&text, text.len()), text);
        }
    }

    #[test]
    fn a_line_is_one_line_with_both_ends() {
        assert_eq!(line("as it is", 200), "as it is");
        assert_eq!(
            line("two\n  lines\r\n\tand a tab\n", 200),
            "two lines and a tab"
        );
        for text in [
            "word ".repeat(500) + "end",
            "äö€🦀".repeat(400) + "end",
            "\n".repeat(300),
        ] {
            for most in [60, LONGEST_LINE] {
                let short = line(&text, most);
                assert!(short.chars().count() <= most, "{short}");
                assert!(!short.contains('\n'), "{short}");
                assert!(short.is_empty() || short.ends_with("end"), "{short}");
            }
        }
        assert_eq!(
            line(&"x".repeat(300), 3).chars().count(),
            5,
            "the dots alone"
        );
    }

    #[test]
    fn a_text_without_words_is_named() {
        for (text, first) in [
            ("one", "one"),
            ("\n  \n one\ntwo", "one ..."),
            ("one\n\n", "one"),
            ("", NO_TEXT),
            (" \n\t\n", NO_TEXT),
        ] {
            assert_eq!(one_line(text), first, "{text:?}");
        }
        assert_eq!((or_no_text(" \n"), or_no_text(" a")), (NO_TEXT, " a"));
    }

    #[test]
    fn short_texts_are_kept_whole() {
        assert_eq!(shares(&[10, 20, 30], 60), [10, 20, 30]);
        assert_eq!(shares(&[1000, 20, 2000], 220), [100, 20, 100]);
        assert_eq!(shares(&[], 10), [0; 0]);
    }
}
