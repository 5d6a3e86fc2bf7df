//! The texts that the attributes and the environment variables of `retry-runtime` share.
//!
//! `"500ms"` in `#[function(timeout = "500ms")]` and in `RETRY_TIMEOUT=500ms` is read here, and so are names
//! with a typing mistake. A macro crate exports nothing but macros, so that the two need a third crate.

/// A kind of numbers with units.
#[derive(Clone, Copy, Debug)]
pub struct Units {
    /// The units, each with its factor.
    units: &'static [(&'static str, u64)],
    /// Other spellings, each with the unit that is meant.
    spellings: &'static [(&'static str, &'static str)],
    /// The unit that is suggested for a number without one.
    likely: &'static str,
    /// The unit that is suggested for a number of a million or more without one.
    likely_of_many: &'static str,
}

/// Durations, in nanoseconds.
pub const DURATION: Units = Units {
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60 * 1_000_000_000),
        ("h", 3600 * 1_000_000_000),
    ],
    spellings: &[
        ("nanos", "ns"),
        ("nanoseconds", "ns"),
        ("µs", "us"),
        ("μs", "us"),
        ("usec", "us"),
        ("micros", "us"),
        ("microseconds", "us"),
        ("msec", "ms"),
        ("millis", "ms"),
        ("milliseconds", "ms"),
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hr", "h"),
        ("hrs", "h"),
        ("hour", "h"),
        ("hours", "h"),
    ],
    likely: "s",
    likely_of_many: "s",
};

/// Sizes, in bytes.
pub const SIZE: Units = Units {
    units: &[
        ("B", 1),
        ("KB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TB", 1_000_000_000_000),
        ("TiB", 1 << 40),
    ],
    spellings: &[
        ("byte", "B"),
        ("bytes", "B"),
        ("K", "KiB"),
        ("Ki", "KiB"),
        ("M", "MiB"),
        ("Mi", "MiB"),
        ("G", "GiB"),
        ("Gi", "GiB"),
        ("T", "TiB"),
        ("Ti", "TiB"),
    ],
    likely: "MiB",
    likely_of_many: "B",
};

/// The reason why a text is not a number with a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It has another form.
    Form,
    /// The number is negative.
    Negative,
    /// The number has no unit.
    NoUnit {
        /// The number with the unit that is likely meant.
        write: String,
    },
    /// The unit is unknown.
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The number with the unit that is meant, if one is similar.
        write: Option<String>,
    },
    /// The value is above `u64::MAX` nanoseconds or bytes.
    TooLarge,
}

impl Units {
    /// Reads a number with a unit, such as `500ms`, `1.5 s` or `1_000KiB`, and returns it in the smallest
    /// unit, rounded down.
    ///
    /// # Errors
    ///
    /// If the text is not a number with a unit.
    pub fn read(&self, text: &str) -> Result<u64, Problem> {
        let text = text.trim().replace('_', "");
        let is_in_number = |letter: char| letter.is_ascii_digit() || letter == '.';
        let end = text.find(|letter| !is_in_number(letter));
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let unit = unit.trim();
        if number.is_empty() {
            return Err(match text.strip_prefix('-') {
                Some(rest) if rest.trim_start().starts_with(is_in_number) => Problem::Negative,
                _ => Problem::Form,
            });
        }
        if !unit.chars().all(char::is_alphabetic) {
            return Err(Problem::Form);
        }
        if unit.is_empty() {
            let likely = match times(number, 1) {
                Some(1_000_000..) => self.likely_of_many,
                _ => self.likely,
            };
            return Err(Problem::NoUnit {
                write: format!("{number}{likely}"),
            });
        }
        let Some((_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            let meant = self.meant(unit);
            return Err(Problem::UnknownUnit {
                unit: unit.to_owned(),
                write: meant.map(|unit| format!("{number}{unit}")),
            });
        };
        match times(number, *factor) {
            Some(total) => u64::try_from(total).map_err(|_| Problem::TooLarge),
            None => Err(Problem::Form),
        }
    }

    /// Returns a value in the unit in which it is the smallest whole number, such as `30s` or `64MiB`.
    pub fn write(&self, value: u64) -> String {
        if value == 0 {
            return format!("0{}", self.likely);
        }
        let whole = self
            .units
            .iter()
            .filter(|(_, factor)| value.is_multiple_of(*factor));
        match whole.max_by_key(|(_, factor)| *factor) {
            Some((unit, factor)) => format!("{}{unit}", value / factor),
            None => value.to_string(),
        }
    }

    /// Returns the names of the units, from the smallest to the largest.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.units.iter().map(|(name, _)| *name)
    }

    /// Returns the unit that an unknown one is likely meant to be.
    fn meant(&self, unknown: &str) -> Option<&'static str> {
        let names = self.names().map(|name| (name, name));
        let all: Vec<_> = names.chain(self.spellings.iter().copied()).collect();
        let is_same = |(spelling, _): &&(&str, &str)| spelling.eq_ignore_ascii_case(unknown);
        if let Some((_, name)) = all.iter().find(is_same) {
            return Some(name);
        }
        let near = nearest(unknown, all.iter().map(|(spelling, _)| *spelling))?;
        all.iter()
            .find(|(spelling, _)| *spelling == near)
            .map(|(_, name)| *name)
    }
}

/// Returns a decimal number times a factor, rounded down; `None` if the text is not a decimal number.
fn times(number: &str, factor: u64) -> Option<u128> {
    let factor = u128::from(factor);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let mut total = u128::from(whole.parse::<u64>().ok()?) * factor;
    if let Some(fraction) = fraction {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = u128::from(fraction.parse::<u64>().ok()?);
        total += part * factor / scale;
    }
    Some(total)
}

/// Returns the known name that is most similar to an unknown one, if one is similar enough for a typing
/// mistake: a third of its letters may differ.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(unknown, name);
    let near = known.into_iter().map(|name| (distance(name), name));
    near.filter(|(distance, name)| *distance <= name.len().div_ceil(3) && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly() {
        for (text, nanos) in [
            ("500ms", 500_000_000),
            ("1.5 s", 1_500_000_000),
            (" 0.1us", 100),
            ("7ns", 7),
            ("1_000ms", 1_000_000_000),
            ("3m", 180_000_000_000),
            ("2h", 7_200_000_000_000),
            ("0s", 0),
            ("1.9999999999s", 1_999_999_999),
        ] {
            assert_eq!(DURATION.read(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn values_are_written_in_the_unit_that_fits() {
        for (units, value, text) in [
            (DURATION, 0, "0s"),
            (DURATION, 1_500_000_000, "1500ms"),
            (DURATION, 30_000_000_000, "30s"),
            (DURATION, 90_000_000_000, "90s"),
            (DURATION, 3_600_000_000_000, "1h"),
            (DURATION, 7, "7ns"),
            (SIZE, 0, "0MiB"),
            (SIZE, 64 << 20, "64MiB"),
            (SIZE, 1_500_000_000, "1500MB"),
            (SIZE, 1023, "1023B"),
            (SIZE, u64::MAX, "18446744073709551615B"),
        ] {
            assert_eq!(units.write(value), text);
            assert_eq!(units.read(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_exactly() {
        for (text, bytes) in [
            ("1B", 1),
            ("1KB", 1000),
            ("1KiB", 1024),
            ("3MB", 3_000_000),
            ("512MiB", 536_870_912),
            ("2GB", 2_000_000_000),
            ("1.5GiB", 1_610_612_736),
            ("1TB", 1_000_000_000_000),
            ("1TiB", 1_099_511_627_776),
        ] {
            assert_eq!(SIZE.read(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "s",
            "1.s",
            ".5s",
            "1.2.3s",
            "one second",
            "-s",
            "1e3s",
            "+1s",
            "inf",
            "1m 30s",
        ] {
            assert_eq!(DURATION.read(text), Err(Problem::Form), "{text}");
        }
        for text in ["-1s", "-1", "- 0.5s"] {
            assert_eq!(DURATION.read(text), Err(Problem::Negative), "{text}");
        }
        assert_eq!(DURATION.read("999999999h"), Err(Problem::TooLarge));
        assert_eq!(SIZE.read("17000000TiB"), Err(Problem::TooLarge));
    }

    #[test]
    fn a_missing_unit_is_suggested() {
        let write = |write: &str| {
            Err(Problem::NoUnit {
                write: write.to_owned(),
            })
        };
        assert_eq!(DURATION.read("30"), write("30s"));
        assert_eq!(DURATION.read("3.5"), write("3.5s"));
        assert_eq!(SIZE.read("512"), write("512MiB"));
        assert_eq!(SIZE.read("512_000_000"), write("512000000B"));
    }

    #[test]
    fn a_similar_unit_is_suggested() {
        for (units, text, expected) in [
            (DURATION, "3 sec", Some("3s")),
            (DURATION, "3S", Some("3s")),
            (DURATION, "3 secnds", Some("3s")),
            (DURATION, "3µs", Some("3us")),
            (DURATION, "3 Minutes", Some("3m")),
            (DURATION, "3 weeks", None),
            (DURATION, "3d", None),
            (SIZE, "1g", Some("1GiB")),
            (SIZE, "1kb", Some("1KB")),
            (SIZE, "1mib", Some("1MiB")),
            (SIZE, "1 bytes", Some("1B")),
            (SIZE, "1 pages", None),
        ] {
            let Err(Problem::UnknownUnit { write, .. }) = units.read(text) else {
                panic!("{text} has an unknown unit");
            };
            assert_eq!(write.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["retries", "timeout", "name"];
        for (unknown, expected) in [
            ("retrys", Some("retries")),
            ("timout", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("nmae", Some("name")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, known), expected, "{unknown}");
        }
    }
}
