//! The functions that are linked into this program.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use super::driver::{Driver, Made};
use super::invocation::{Invocation, LocalFuture, State};
use super::probe::Fitting;
use super::service_config::ServiceConfig;
use crate::api::spec::{Annotation, FunctionSpec};
use crate::codec::{self, CodecError, Wire};
use crate::job::{Encoded, ShowInput};
use crate::shared;
use crate::sys::PerProcess;

/// The state that a function's `setup` made for a worker.
pub type SetUp = Result<Box<dyn Any>, String>;

/// The way in which a worker runs a call.
#[derive(Clone, Copy)]
pub enum Run {
    /// To completion, on the worker's serving thread.
    Blocking(fn(&mut Invocation)),
    /// As a future, possibly concurrently with others.
    Async(fn(Invocation) -> LocalFuture<Invocation>),
    /// As a batch of inputs, to completion.
    Batch(fn(&mut [Invocation])),
}

/// An annotated function as generated code registers it.
pub struct Registration {
    pub(crate) spec: &'static FunctionSpec,
    pub(crate) run: Run,
    /// Returns the types of the parameters and of the result, as the compiler names them.
    types: fn() -> &'static str,
    /// The service that it is a method of, and its place there.
    pub(crate) service: Option<(&'static Service, u16)>,
    pub(crate) set_up: Option<fn() -> SetUp>,
    pub(crate) tear_down: Option<fn(Box<dyn Any>)>,
    pub(crate) show: Option<ShowInput>,
}

impl Registration {
    /// Creates the registration of a function without set-up.
    #[must_use]
    pub const fn new(spec: &'static FunctionSpec, run: Run, types: fn() -> &'static str) -> Self {
        Self {
            spec,
            run,
            types,
            service: None,
            set_up: None,
            tear_down: None,
            show: None,
        }
    }

    /// Adds a function that shows the arguments in an encoded input.
    #[must_use]
    pub const fn shown_by(mut self, show: fn(&[u8]) -> Option<String>) -> Self {
        self.show = Some(show);
        self
    }

    /// Adds a set-up.
    #[must_use]
    pub const fn setup(mut self, set_up: fn() -> SetUp) -> Self {
        self.set_up = Some(set_up);
        self
    }

    /// Fails to compile if concurrent calls could change the state.
    #[track_caller]
    pub const fn check_exclusive_state(&self) {
        if self.pool().concurrency > 1 {
            panic!("with `concurrency` several calls share the state: take it as `&S`");
        }
    }

    /// Makes the function a method of a service.
    #[must_use]
    pub const fn method_of(mut self, service: &'static Service, place: u16) -> Self {
        self.service = Some((service, place));
        self
    }

    /// Returns the options that apply to the workers that run it.
    pub(crate) const fn pool(&self) -> &'static FunctionSpec {
        match self.service {
            Some((service, _)) => service.spec,
            None => self.spec,
        }
    }

    /// Returns its place among the methods of its service.
    pub(crate) fn place(&self) -> u16 {
        self.service.map_or(0, |(_, place)| place)
    }

    /// Adds a teardown, which runs when a worker ends in order.
    #[must_use]
    pub const fn teardown(mut self, tear_down: fn(Box<dyn Any>)) -> Self {
        self.tear_down = Some(tear_down);
        self
    }
}

/// A type whose methods run in workers that hold one value of it each.
pub struct Service {
    /// The options that apply to its workers.
    pub spec: &'static FunctionSpec,
    /// Makes the value from the encoded parameters of its constructor.
    pub set_up: fn(&[u8]) -> SetUp,
    /// Returns the types of those parameters, as the compiler names them.
    pub types: fn() -> &'static str,
    /// Receives the value when a worker ends in order.
    pub tear_down: Option<fn(Box<dyn Any>)>,
}

/// The function or service that a worker serves.
#[derive(Clone)]
pub(crate) enum Served {
    Function(&'static Registration),
    /// A service, with its methods, each at its place.
    Service(&'static Service, Vec<Option<Run>>),
}

impl Served {
    pub(crate) fn spec(&self) -> &'static FunctionSpec {
        match self {
            Self::Function(function) => function.spec,
            Self::Service(service, _) => service.spec,
        }
    }

    /// Returns how to run a call of the method at a place.
    pub(crate) fn run(&self, place: u16) -> Option<Run> {
        match self {
            Self::Function(function) => Some(function.run),
            Self::Service(_, methods) => *methods.get(usize::from(place))?,
        }
    }

    /// Makes the state, from the configuration of a service.
    ///
    /// # Panics
    ///
    /// Panics if the operating system lacks the resources for an async runtime.
    pub(crate) fn set_up(&self, config: &[u8]) -> SetUp {
        let driver = self.is_async().then(Driver::get);
        let _entered = driver.as_ref().map(|driver| driver.enter());
        match self {
            Self::Function(function) => match function.set_up {
                Some(set_up) => set_up(),
                None => Ok(Box::new(())),
            },
            Self::Service(service, _) => (service.set_up)(config),
        }
    }

    /// Passes the state to the teardown, or drops it if there is none.
    pub(crate) fn tear_down(&self, state: State) {
        let driver = Driver::existing();
        let _entered = driver.as_ref().map(|driver| driver.enter());
        let tear_down = match self {
            Self::Function(function) => function.tear_down,
            Self::Service(service, _) => service.tear_down,
        };
        let state = state.into_inner();
        match tear_down {
            Some(tear_down) => tear_down(state),
            None => drop(state),
        }
    }

    /// Returns whether it needs an async runtime.
    pub(crate) fn is_async(&self) -> bool {
        let is_async = |run: &Run| matches!(run, Run::Async(_));
        match self {
            Self::Function(function) => is_async(&function.run),
            Self::Service(_, methods) => methods.iter().flatten().any(is_async),
        }
    }
}

/// The item that generated code submits to the inventory.
pub struct Submission(pub &'static Registration);

inventory::collect!(Submission);

type Registry = BTreeMap<&'static str, Vec<&'static Registration>>;

/// Returns all registered functions, by name.
fn registry() -> &'static Registry {
    static REGISTRY: PerProcess<Registry> = PerProcess::new();
    REGISTRY.get_or_init(|| {
        let mut registry = Registry::new();
        for Submission(registration) in inventory::iter::<Submission> {
            registry
                .entry(registration.spec.name)
                .or_default()
                .push(*registration);
        }
        registry
    })
}

/// Returns the descriptions of all registered functions by name, each service before its methods.
pub(crate) fn descriptions() -> Vec<(Annotation, &'static FunctionSpec)> {
    let mut services: Vec<&'static str> = Vec::new();
    let mut found = Vec::new();
    for registration in registry().values().flatten() {
        let Some((service, _)) = registration.service else {
            found.push((Annotation::Function, registration.spec));
            continue;
        };
        if !services.contains(&service.spec.name) {
            services.push(service.spec.name);
            found.push((Annotation::Service, service.spec));
        }
        found.push((Annotation::Method, registration.spec));
    }
    found
}

/// Returns all registered functions.
pub(crate) fn all() -> impl Iterator<Item = &'static Registration> {
    registry().values().flatten().copied()
}

/// The reason for which a name does not identify one function.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// Several functions have this name; holds their places in the source.
    Duplicate(String),
    /// No function has this name; holds advice for the user.
    Missing(String),
}

impl NotFound {
    /// Returns the message about a name.
    pub(crate) fn message(self, name: &str) -> String {
        match self {
            Self::Duplicate(places) => format!("`{name}` is registered twice, {places}"),
            Self::Missing(message) => message,
        }
    }
}

/// Returns the function with this name.
pub(crate) fn find(name: &str) -> Result<&'static Registration, NotFound> {
    match registry().get(name).map(Vec::as_slice) {
        Some([registration]) => Ok(registration),
        Some(several) => {
            let places: Vec<String> = several
                .iter()
                .map(|other| format!("{}:{}", other.spec.file, other.spec.line))
                .collect();
            Err(NotFound::Duplicate(format!("at {}", places.join(" and "))))
        }
        None => {
            let names: Vec<&str> = registry().keys().copied().collect();
            Err(NotFound::Missing(format!(
                "no function `{name}` is registered in the worker's program; registered are: {}. \
                 A crate that nothing names is not linked: add `use my_crate as _;`",
                names.join(", ")
            )))
        }
    }
}

/// Returns what a worker of this name serves: a function, or a service with its methods.
pub(crate) fn served(name: &str) -> Result<Served, NotFound> {
    let mut found: Option<(&'static Service, Vec<Option<Run>>)> = None;
    for registration in registry().values().flatten() {
        if let Some((service, place)) = registration.service
            && service.spec.name == name
        {
            let (_, methods) = found.get_or_insert((service, Vec::new()));
            let place = usize::from(place);
            if methods.len() <= place {
                methods.resize(place + 1, None);
            }
            methods[place] = Some(registration.run);
        }
    }
    match found {
        Some((service, methods)) => Ok(Served::Service(service, methods)),
        None => find(name).map(Served::Function),
    }
}

/// Returns a hash of what this program registers, which tells whether calls of one program can run in another:
/// names of functions, types of parameters and results, whether inputs come in batches, and for methods the
/// service, its parameters and the place of the method.
///
/// It sees types by the names that the compiler gives them: aliases are resolved, and modules are included.
/// It does not see the fields of a type, nor the version of the crate that declares it. If they differ, the
/// encoded values do not arrive: the codec checks their structure.
pub(crate) fn fingerprint() -> u64 {
    static FINGERPRINT: PerProcess<u64> = PerProcess::new();
    *FINGERPRINT.get_or_init(|| fingerprint_of(registry().values().flatten().copied()))
}

fn fingerprint_of<'a>(functions: impl Iterator<Item = &'a Registration>) -> u64 {
    let mut hash = Fnv::default();
    for function in functions {
        hash.add(function.spec.name);
        hash.add((function.types)());
        let is_batch = matches!(function.run, Run::Batch(_));
        hash.write(&[is_batch.into(), function.service.is_some().into()]);
        if let Some((service, place)) = function.service {
            hash.add(service.spec.name);
            hash.add((service.types)());
            hash.write(&place.to_le_bytes());
        }
    }
    hash.0
}

/// The hash FNV-1a. It is the same with every version of the compiler.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a text and its length, which separates it from the next one.
    pub(crate) fn add(&mut self, text: &str) {
        self.write(&(text.len() as u64).to_le_bytes());
        self.write(text.as_bytes());
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// A value that a function's `setup` may return: the state itself, or a `Result` with it.
#[diagnostic::on_unimplemented(
    message = "`setup` returns `{Self}`, but the function's first parameter refers to a `{S}`",
    label = "this has to return `{S}`, or `Result<{S}, E>` with an `E` that has Display and Debug"
)]
pub trait IntoState<S> {
    /// Returns the worker's state.
    ///
    /// # Errors
    ///
    /// The text of the set-up's own error.
    fn into_state(self) -> SetUp;
}

#[diagnostic::do_not_recommend]
impl<S: Any> IntoState<S> for S {
    fn into_state(self) -> SetUp {
        Ok(Box::new(self))
    }
}

#[diagnostic::do_not_recommend]
impl<S: Any, E: fmt::Debug + fmt::Display> IntoState<S> for Result<S, E> {
    fn into_state(self) -> SetUp {
        match self {
            Ok(state) => Ok(Box::new(state)),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

/// A value that a service's `#[setup]` may return.
#[diagnostic::on_unimplemented(
    message = "#[setup] makes a `{S}`, but it returns `{Self}`",
    label = "write `Self`, or `Result<Self, E>` with an `E` that has Display and Debug"
)]
pub trait IntoService<S> {
    /// Does the same as [`IntoState::into_state`].
    ///
    /// # Errors
    ///
    /// The text of the constructor's own error.
    fn into_service(self) -> SetUp;
}

#[diagnostic::do_not_recommend]
impl<S, O: IntoState<S>> IntoService<S> for O {
    fn into_service(self) -> SetUp {
        self.into_state()
    }
}

/// A `teardown` that takes the state `S`: a `Fitting` function.
#[diagnostic::on_unimplemented(
    message = "`teardown` takes a function `fn({S})`, since `setup` makes a `{S}`",
    label = "this is another kind of function"
)]
pub trait TearDown<S, O> {
    /// Hands the state that a worker had to the function.
    fn tear_down(self, state: Box<dyn Any>) -> Option<Made<O>>;
}

#[diagnostic::do_not_recommend]
impl<S: Any, O, F: FnOnce(S) -> O> TearDown<S, O> for Fitting<F> {
    fn tear_down(self, state: Box<dyn Any>) -> Option<Made<O>> {
        state.downcast().ok().map(|state| Made(self.0(*state)))
    }
}

/// The way to a `teardown` that is a closure: its parameter gets a type from this.
pub struct ToState(());

/// The only value of it, since the compiler names a function by the path that generated code takes to it.
pub const STATE: ToState = ToState(());

impl ToState {
    /// Does the same as [`TearDown::tear_down`].
    pub fn tear_down<S: Any, O>(
        &self,
        state: Box<dyn Any>,
        tear_down: impl FnOnce(S) -> O,
    ) -> Option<Made<O>> {
        Fitting(tear_down).tear_down(state)
    }
}

/// The return type that a `teardown` function must have.
#[diagnostic::on_unimplemented(
    message = "`teardown` returns `{Self}`, but a worker's last step has no caller",
    label = "this has to return nothing",
    note = "handle the error in it, or drop the value"
)]
pub trait Nothing {
    /// Takes what a `teardown` returned.
    fn torn_down(self);
}

#[diagnostic::do_not_recommend]
impl Nothing for () {
    fn torn_down(self) {}
}

/// Encodes the parameters of a service's constructor.
///
/// # Panics
///
/// Panics if they cannot be encoded, or if the encoding is longer than 1 MiB.
#[track_caller]
#[must_use]
pub(crate) fn configure<T: Wire>(parameters: &T) -> ServiceConfig {
    const MAX_CONFIG_BYTES: usize = 1024 * 1024;
    let mut bytes = Vec::new();
    let (encoded, objects) = shared::collect(None, || {
        codec::encode(parameters, &mut bytes, MAX_CONFIG_BYTES)
    });
    if let Err(error) = encoded {
        let advice = match error {
            CodecError::TooLarge(_) => "; pass a path instead of its contents",
            CodecError::Invalid(_) => "",
        };
        panic!(
            "the parameters of the service's constructor cannot be sent to its workers: \
             {error}{advice}"
        );
    }
    ServiceConfig::new(Encoded {
        bytes: bytes.into(),
        objects,
    })
}

/// Decodes the parameters of a service's constructor.
///
/// # Errors
///
/// Fails if they cannot be decoded.
pub(crate) fn configuration<T: Wire>(bytes: &[u8]) -> Result<T, String> {
    codec::decode_all(bytes).map_err(|error| {
        format!("the parameters of the service's constructor cannot be decoded: {error}")
    })
}

#[cfg(test)]
mod tests {
    use std::any::type_name;

    use super::*;

    static F: FunctionSpec = FunctionSpec::new("shop::f", "", 0, &[]);
    static G: FunctionSpec = FunctionSpec::new("shop::g", "", 0, &[]);

    type Number = u64;

    const fn function(spec: &'static FunctionSpec, types: fn() -> &'static str) -> Registration {
        Registration::new(spec, Run::Blocking(|_| {}), types)
    }

    #[test]
    fn the_fingerprint_covers_types_and_batches() {
        let of = |function: Registration| fingerprint_of([&function].into_iter());
        let plain = of(function(&F, type_name::<((u64,), u64)>));
        assert_eq!(plain, of(function(&F, type_name::<((Number,), Number)>)));
        let batch = Registration {
            run: Run::Batch(|_| {}),
            ..function(&F, type_name::<((u64,), u64)>)
        };
        for other in [
            function(&G, type_name::<((u64,), u64)>),
            function(&F, type_name::<((u32,), u64)>),
            function(&F, type_name::<((u64,), u32)>),
            function(&F, type_name::<((u64, u64), u64)>),
            batch,
        ] {
            assert_ne!(plain, of(other));
        }
    }

    #[test]
    fn the_fingerprint_covers_services() {
        const fn service(types: fn() -> &'static str) -> Service {
            Service {
                spec: &G,
                set_up: |_| Ok(Box::new(())),
                types,
                tear_down: None,
            }
        }
        static ONE: Service = service(type_name::<(u64,)>);
        static OTHER: Service = service(type_name::<(u32,)>);
        let of = |service, place| {
            let method = function(&F, type_name::<((), ())>).method_of(service, place);
            fingerprint_of([&method].into_iter())
        };
        assert_eq!(of(&ONE, 0), of(&ONE, 0));
        assert_ne!(of(&ONE, 0), of(&OTHER, 0));
        assert_ne!(of(&ONE, 0), of(&ONE, 1));
        let alone = function(&F, type_name::<((), ())>);
        assert_ne!(of(&ONE, 0), fingerprint_of([&alone].into_iter()));
    }

    #[test]
    fn the_fingerprint_separates_functions() {
        let of = |functions: &[Registration]| fingerprint_of(functions.iter());
        let f = || function(&F, type_name::<((), ())>);
        let g = || function(&G, type_name::<((), ())>);
        let hashes = [of(&[]), of(&[f()]), of(&[f(), f()]), of(&[f(), g()])];
        for (place, hash) in hashes.iter().enumerate() {
            assert!(!hashes[place + 1..].contains(hash));
        }
    }
}
