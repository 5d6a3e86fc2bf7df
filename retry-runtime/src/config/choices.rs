//! The settings that are one of several words.

use super::{FailOn, OutputMode, ProgressMode, StatusMode, Transport};

/// A setting that is one of several words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The words, in the order in which messages name them.
    const WORDS: &'static [(&'static str, Self)];

    /// Reads a word.
    fn read(text: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let words: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
            let (last, others) = words.split_last().expect("there are several");
            format!("must be {} or {last}", others.join(", "))
        })
    }

    /// Returns the word for this choice.
    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, choice)| *choice == self);
        found.map_or("unknown", |(word, _)| word)
    }
}

impl Choice for OutputMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("prefixed", Self::Prefixed),
        ("raw", Self::Raw),
        ("none", Self::None),
    ];
}

impl Choice for ProgressMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("lines", Self::Lines),
        ("none", Self::None),
    ];
}

impl Choice for StatusMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("fail", Self::Fail),
        ("retry", Self::Retry),
        ("all", Self::All),
    ];
}

impl Choice for FailOn {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("never", Self::Never),
        ("failed", Self::Failed),
        ("retried", Self::Retried),
    ];
}

impl Choice for Transport {
    const WORDS: &'static [(&'static str, Self)] =
        &[("rings", Self::Rings), ("socket", Self::Socket)];
}
