//! The functions that are linked into this program.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use crate::FunctionSpec;
use crate::worker::{Invocation, LocalFuture};

/// The state that a function's `setup` made for a worker.
pub type SetUp = Result<Box<dyn Any>, String>;

/// How a worker runs a call.
#[derive(Clone, Copy)]
pub enum Run {
    /// To its end, on the worker's thread.
    Blocking(fn(&mut Invocation)),
    /// As a future, perhaps together with others.
    Async(fn(Invocation) -> LocalFuture<Invocation>),
    /// Many at once, to their end.
    Batch(fn(&mut [Invocation])),
}

/// An annotated function as generated code registers it.
pub struct Registration {
    pub(crate) spec: &'static FunctionSpec,
    pub(crate) run: Run,
    pub(crate) set_up: Option<fn() -> SetUp>,
    pub(crate) tear_down: Option<fn(Box<dyn Any>)>,
}

impl Registration {
    /// A function without set-up.
    #[must_use]
    pub const fn new(spec: &'static FunctionSpec, run: Run) -> Self {
        Self {
            spec,
            run,
            set_up: None,
            tear_down: None,
        }
    }

    /// The same with set-up.
    #[must_use]
    pub const fn setup(mut self, set_up: fn() -> SetUp) -> Self {
        self.set_up = Some(set_up);
        self
    }

    /// The same where each call may change the state.
    #[must_use]
    #[track_caller]
    pub const fn exclusive_state(self) -> Self {
        if self.spec.concurrency > 1 {
            panic!("with `concurrency` several calls share the state: take it as `&S`");
        }
        self
    }

    /// The same with something to do when a worker ends in order.
    #[must_use]
    pub const fn teardown(mut self, tear_down: fn(Box<dyn Any>)) -> Self {
        self.tear_down = Some(tear_down);
        self
    }
}

/// What generated code submits to the inventory.
pub struct Submission(pub &'static Registration);

inventory::collect!(Submission);

/// Everything that is registered, by name.
static REGISTRY: LazyLock<BTreeMap<&'static str, Vec<&'static Registration>>> =
    LazyLock::new(|| {
        let mut registry = BTreeMap::<_, Vec<_>>::new();
        for Submission(registration) in inventory::iter::<Submission> {
            registry
                .entry(registration.spec.name)
                .or_default()
                .push(*registration);
        }
        registry
    });

/// Why a name does not lead to one function.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// Two functions have it; the places of both.
    Duplicate(String),
    /// No function has it; what to do about that.
    Missing(String),
}

/// The function of a name.
pub(crate) fn find(name: &str) -> Result<&'static Registration, NotFound> {
    match REGISTRY.get(name).map(Vec::as_slice) {
        Some([registration]) => Ok(registration),
        Some(several) => {
            let places: Vec<String> = several
                .iter()
                .map(|other| format!("{}:{}", other.spec.file, other.spec.line))
                .collect();
            Err(NotFound::Duplicate(format!("at {}", places.join(" and "))))
        }
        None => {
            let names: Vec<&str> = REGISTRY.keys().copied().collect();
            Err(NotFound::Missing(format!(
                "no function `{name}` is registered in the worker's program; registered are: {}. \
                 A crate that nothing names is not linked: add `use my_crate as _;`",
                names.join(", ")
            )))
        }
    }
}

/// A number that two programs share only if they register the same functions (FNV-1a).
pub(crate) fn fingerprint() -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, registrations) in REGISTRY.iter() {
        for byte in name.bytes().chain(registrations.len().to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

/// What a `setup` function may return: the state itself, or a `Result` with it.
#[diagnostic::on_unimplemented(
    message = "`setup` returns `{Self}`, but the function's first parameter is a reference to \
               `{S}`",
    label = "this does not make the function's state"
)]
pub trait IntoSetUp<S> {
    /// The state, or why there is none.
    fn into_set_up(self) -> Result<S, String>;
}

impl<S> IntoSetUp<S> for S {
    fn into_set_up(self) -> Result<S, String> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl<S, E: fmt::Debug + fmt::Display> IntoSetUp<S> for Result<S, E> {
    fn into_set_up(self) -> Result<S, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Turns the value of a `setup` function into the worker's state.
///
/// # Errors
///
/// The text of the set-up's own error.
pub fn set_up<S: Any, O: IntoSetUp<S>>(output: O) -> SetUp {
    output.into_set_up().map(|state| Box::new(state) as _)
}

/// Hands the state that a worker had to the function's `teardown`.
pub fn tear_down<S: Any>(state: Box<dyn Any>, tear_down: fn(S)) {
    if let Ok(state) = state.downcast() {
        tear_down(*state);
    }
}
