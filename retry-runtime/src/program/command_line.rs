//! Checks whether the type of a parameter of `main` can be parsed from the command line.
//!
//! clap resolves this by method lookup, and if that fails, the compiler lists everything that it tried. So
//! generated code checks first, and reports in one sentence what is missing.
#![allow(missing_docs)]

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use clap::builder::ValueParserFactory;
use clap::{Args, Subcommand, ValueEnum};

use crate::function::probe::probes;

/// The last line of `--help`.
pub const ABOUT_VARIABLES: &str =
    "RETRY_* variables set timeouts, workers and progress: RETRY_CONFIG=print lists them";

/// Selects the type itself if it `CAN` be that of an option. If the check fails, its constant has no value;
/// the compiler reports that once, and nothing more about a type that contains an error.
pub trait CommandLine<const CAN: bool> {
    type Value;
}

impl<T> CommandLine<true> for T {
    type Value = T;
}

/// Fails to compile with the message if `can` is false.
#[track_caller]
pub const fn check_option(can: bool, message: &str) -> bool {
    if !can {
        panic!("{}", message);
    }
    can
}

/// Has the traits that clap requires of all values.
pub trait Value: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Value for T {}

probes! {
    [T: Send + Sync] IsShareable<T>;
    [T: Args] IsArgs<T>;
    [T: Subcommand] IsSubcommand<T>;
    [T: Value + ValueParserFactory] IsKnown<T>;
    [T: Value + ValueEnum] IsEnum<T>;
    [T: Value + From<OsString>] IsFromOsString<T>;
    [T: Value + for<'a> From<&'a OsStr>] IsFromOsStr<T>;
    [T: Value + From<String>] IsFromString<T>;
    [T: Value + for<'a> From<&'a str>] IsFromText<T>;
    [T: Value + FromStr<Err: Into<Box<dyn Error + Send + Sync>>>] IsParsed<T>;
}

#[macro_export]
#[doc(hidden)]
macro_rules! __can_be_parsed {
    ($type:ty) => {{
        use $crate::__private0::Otherwise as _;
        $crate::__private0::IsKnown::<$type>::IS
            || $crate::__private0::IsEnum::<$type>::IS
            || $crate::__private0::IsFromOsString::<$type>::IS
            || $crate::__private0::IsFromOsStr::<$type>::IS
            || $crate::__private0::IsFromString::<$type>::IS
            || $crate::__private0::IsFromText::<$type>::IS
            || $crate::__private0::IsParsed::<$type>::IS
    }};
}

/// Evaluates to one of four texts about a type that is no option: the first if the type is a set of
/// subcommands, the second if it is a set of options, the third if threads cannot share it, else the fourth.
#[macro_export]
#[doc(hidden)]
macro_rules! __misplaced {
    ($type:ty, $subcommand:literal, $options:literal, $unshared:literal, $other:literal) => {{
        use $crate::__private0::Otherwise as _;
        if $crate::__private0::IsSubcommand::<$type>::IS {
            $subcommand
        } else if $crate::__private0::IsArgs::<$type>::IS {
            $options
        } else if !$crate::__private0::IsShareable::<$type>::IS {
            $unshared
        } else {
            $other
        }
    }};
}
