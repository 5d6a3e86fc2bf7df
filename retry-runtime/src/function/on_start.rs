//! Functions with `#[on_start]`, which run first in every process: the program and its workers.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::sync::OnceLock;

use super::panics;
use crate::sys;

/// The maximum length, in bytes, of the report of a panic.
const LONGEST_REPORT: usize = 64 * 1024;

/// A function with `#[on_start]`, as generated code submits it to the inventory.
pub struct OnStart {
    name: &'static str,
    run: fn() -> Result<(), String>,
}

impl OnStart {
    /// Creates the item from the function's path, which decides about the order.
    #[must_use]
    pub const fn new(name: &'static str, run: fn() -> Result<(), String>) -> Self {
        Self { name, run }
    }
}

inventory::collect!(OnStart);

/// The result in this process and in its forks, which have the memory in which the functions have run.
static RESULT: OnceLock<Result<(), String>> = OnceLock::new();

thread_local! {
    /// Set while the functions run on this thread.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Runs the functions in the order of their names, up to the first that fails, unless they have run in this
/// process already. Returns the text of the failure.
pub(crate) fn run() -> Result<(), String> {
    // Such a function may call `init` itself.
    if RUNNING.get() {
        return Ok(());
    }
    let run = || {
        RUNNING.set(true);
        let result = run_all();
        RUNNING.set(false);
        result
    };
    RESULT.get_or_init(run).clone()
}

fn run_all() -> Result<(), String> {
    let mut functions: Vec<&OnStart> = inventory::iter::<OnStart>.into_iter().collect();
    functions.sort_by_key(|function| function.name);
    for OnStart { name, run } in functions {
        match panics::catch(run) {
            Ok(Ok(())) => {}
            Ok(Err(text)) => return Err(format!("the on_start function {name} failed: {text}")),
            Err(payload) => {
                let panic = panics::caught(payload, LONGEST_REPORT);
                // The program has another hook than a worker: it has printed the place, and keeps none.
                let text = match panic.location() {
                    Some(_) => panic.in_full(),
                    None => panic.message().to_owned(),
                };
                return Err(format!("the on_start function {name} panicked: {text}"));
            }
        }
    }
    Ok(())
}

/// Runs the functions in a program, and ends it with code 1 if one of them fails.
pub(crate) fn run_or_exit() {
    if let Err(text) = run() {
        sys::complain(format_args!("error: {text}\n"));
        std::process::exit(1);
    }
}

/// Runs the functions in a test.
///
/// # Panics
///
/// Panics if one of them fails: the process belongs to other tests as well, so it goes on.
pub(crate) fn run_or_panic() {
    if let Err(text) = run() {
        panic!("{text}");
    }
}

/// The value that a function with `#[on_start]` returned. Generated code calls `result_of_start` on it with both
/// traits in scope, and method lookup prefers the inherent methods, then [`DebuggedStart`].
pub struct StartResult<R>(pub R);

impl StartResult<()> {
    /// Returns success.
    ///
    /// # Errors
    ///
    /// Never fails.
    pub fn result_of_start(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T, E: Display> StartResult<Result<T, E>> {
    /// Returns the error's text for people.
    ///
    /// # Errors
    ///
    /// Fails if the function failed.
    pub fn result_of_start(self) -> Result<(), String> {
        self.0.map(drop).map_err(|error| format!("{error:#}"))
    }
}

/// A result whose error only has a text for programmers.
pub trait DebuggedStart {
    /// Returns the error's text for programmers.
    ///
    /// # Errors
    ///
    /// Fails if the function failed.
    fn result_of_start(self) -> Result<(), String>;
}

impl<T, E: Debug> DebuggedStart for StartResult<Result<T, E>> {
    fn result_of_start(self) -> Result<(), String> {
        self.0.map(drop).map_err(|error| format!("{error:?}"))
    }
}

/// Any other value, which is reported.
pub trait OtherStart {
    /// The type of the value.
    type Returned;

    /// Does not compile.
    ///
    /// # Errors
    ///
    /// Never runs.
    fn result_of_start(&self) -> Result<(), String>
    where
        Self::Returned: EndsStart;
}

impl<R> OtherStart for StartResult<R> {
    type Returned = R;

    fn result_of_start(&self) -> Result<(), String>
    where
        R: EndsStart,
    {
        Ok(())
    }
}

/// A value that a function with `#[on_start]` may return. [`StartResult`] decides that; the trait exists only
/// for its message.
#[diagnostic::on_unimplemented(
    message = "a function with #[on_start] cannot return `{Self}`",
    label = "this has to return nothing, or a `Result` whose error has Display or Debug"
)]
pub trait EndsStart {}

#[diagnostic::do_not_recommend]
impl EndsStart for Infallible {}
