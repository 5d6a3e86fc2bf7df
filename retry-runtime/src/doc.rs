//! Types that exist in this documentation only.
//!
//! [`#[function]`](macro@crate::function) replaces a function with a unit struct of the same name, its
//! *stub*. [`Stub`] shows its methods, as they look for one sample function.

use std::ops::Deref;
use std::path::Path;

use crate::__private0 as private;
use crate::{
    Call, CallError, CallId, ForEach, FunctionCall, FunctionSpec, Input, Map, Options, RemoteError,
    Runtime,
};

/// The stub of a sample function.
///
/// This is what [`#[function]`](macro@crate::function) makes of
///
/// ```
/// # use retry_runtime::function;
/// # use std::path::Path;
/// #[function]
/// fn resize(path: &Path, width: u32) -> std::io::Result<u64> {
///     // ..
/// #   let _ = (path, width);
/// #   Ok(0)
/// }
/// ```
///
/// except that a real stub has the name of its function, here `resize`, its documentation, and its
/// visibility. The methods take the parameters of the function, without the state of a `setup`, and return
/// its types: a call of `resize` gives a `u64` or a [`CallError<RemoteError>`](CallError), since
/// `std::io::Error` cannot be serialised. A function whose error can be gives a `CallError` of that error,
/// and one that returns no `Result` a `CallError<Infallible>`.
///
/// The methods of a [`#[service]`](macro@crate::service) are fields of its handle with the same methods.
///
/// The stub dereferences to the function, so `resize(path, 640)` is an ordinary call in this process, to
/// which no option applies, and `.map(*resize)` passes the function itself to an iterator. Stubs are `Copy`
/// and `Debug`.
#[derive(Clone, Copy, Debug)]
pub struct Stub;

impl Stub {
    /// Returns a lazy call in a worker process: `.await` it, or [`wait`](Call::wait) for it.
    ///
    /// Nothing happens before that. Dropping the call while it is under way cancels it.
    ///
    /// ```standalone_crate
    /// use retry_runtime::function;
    ///
    /// #[function]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// async fn awaited() {
    ///     assert_eq!(add.remote(1, 2).await.unwrap(), 3);
    /// }
    ///
    /// fn main() {
    ///     retry_runtime::init();
    ///     assert_eq!(add.remote(1, 2).wait().unwrap(), 3);
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The call ends as any variant of [`CallError`].
    pub fn remote(&self, path: &Path, width: u32) -> Call<u64, RemoteError> {
        unreachable!("{path:?} {width}")
    }

    /// Starts a call in a worker process, which runs on its own.
    ///
    /// Dropping the [`FunctionCall`] detaches the call. [`join`](crate::join) waits for many.
    ///
    /// ```standalone_crate
    /// use retry_runtime::function;
    ///
    /// #[function]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// fn main() {
    ///     retry_runtime::init();
    ///     let first = add.spawn(1, 2);
    ///     let second = add.spawn(3, 4);
    ///     assert_eq!(first.wait().unwrap() + second.wait().unwrap(), 10);
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The call ends as any variant of [`CallError`].
    pub fn spawn(&self, path: &Path, width: u32) -> FunctionCall<u64, RemoteError> {
        unreachable!("{path:?} {width}")
    }

    /// Returns a call that was [spawned](Self::spawn) before, in this program or an earlier one of the same build, to
    /// wait for its result or to cancel it.
    ///
    /// This is for calls to [other machines](crate::engine), which go on when their program ends. Any number of programs
    /// may attach to a call, as long as the engine keeps its result.
    ///
    /// ```no_run
    /// use retry_runtime::{CallId, function};
    ///
    /// #[function]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// fn main() {
    ///     retry_runtime::init();
    ///     let id: CallId = "1M8KXTGN4XCCR/17".parse().unwrap();
    ///     println!("{}", add.attach(id).wait().unwrap());
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The call ends as any variant of [`CallError`]: as [`Lost`](CallError::Lost) if the engine does not know it, or not
    /// any more; as [`Rejected`](CallError::Rejected) if it is a call of another function, or if calls do not go to other
    /// machines.
    pub fn attach(&self, call: CallId) -> FunctionCall<u64, RemoteError> {
        unreachable!("{call}")
    }

    /// Returns a lazy [`Map`] of the function over many inputs.
    ///
    /// An item is the function's parameter, or a tuple of its parameters if there are several. It may own or
    /// borrow the value: see [`Input`]. A map is consumed as an iterator, with
    /// [`stream`](Map::stream), with `.await`, or with [`try_collect`](Map::try_collect).
    ///
    /// ```standalone_crate
    /// use retry_runtime::function;
    ///
    /// #[function]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// fn main() {
    ///     retry_runtime::init();
    ///     let sums: Vec<u64> = add.map((0..3).zip(10..)).into_iter().map(Result::unwrap).collect();
    ///     assert_eq!(sums, [10, 12, 14]);
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Each item ends on its own, as any variant of [`CallError`].
    pub fn map<'a, I>(&self, inputs: I) -> Map<I::IntoIter, u64, RemoteError>
    where
        I: IntoIterator<Item: Input<Self, (&'a Path, u32)>>,
    {
        unreachable!("{}", inputs.into_iter().count())
    }

    /// Runs the function over many inputs for its effects: `.await` it, or [`wait`](ForEach::wait) for it.
    ///
    /// Values are dropped. The first error is returned, and cancels what is outstanding.
    ///
    /// ```standalone_crate
    /// use retry_runtime::{CallError, function};
    ///
    /// #[function]
    /// fn check(number: u32) -> Result<(), String> {
    ///     if number < 3 { Ok(()) } else { Err(format!("{number} is too large")) }
    /// }
    ///
    /// fn main() {
    ///     retry_runtime::init();
    ///     check.for_each(0..3).wait().unwrap();
    ///     match check.for_each(0..10).wait() {
    ///         Err(CallError::Function(text, _)) => assert_eq!(text, "3 is too large"),
    ///         other => panic!("{other:?}"),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of an input, in the order of the inputs; any variant of [`CallError`].
    pub fn for_each<'a, I>(&self, inputs: I) -> ForEach<I::IntoIter, u64, RemoteError>
    where
        I: IntoIterator<Item: Input<Self, (&'a Path, u32)>>,
    {
        unreachable!("{}", inputs.into_iter().count())
    }

    /// Calls the function in this process.
    ///
    /// This is an ordinary call: no option applies, and [`current`](crate::current()) returns `None`. For an
    /// async function it returns the compiler's own future, which is `Send` only if the body allows it,
    /// whereas `f(..)` returns a boxed future.
    ///
    /// ```
    /// # use retry_runtime::function;
    /// #[function(retries = 3)]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// assert_eq!(add.local(1, 2), 3);
    /// assert_eq!(add(1, 2), 3);
    /// ```
    ///
    /// # Errors
    ///
    /// The function's own.
    pub fn local(&self, path: &Path, width: u32) -> std::io::Result<u64> {
        unreachable!("{path:?} {width}")
    }

    /// Returns the same function with the workers of a [`Runtime`] instead of the default ones.
    ///
    /// The methods of the returned value are those of the stub.
    ///
    /// ```no_run
    /// # use retry_runtime::{Runtime, function};
    /// # #[function] fn add(a: u64, b: u64) -> u64 { a + b }
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = Runtime::builder().max_workers(2).build()?;
    /// let sum = add.on(&runtime).remote(1, 2).wait();
    /// # let _ = sum;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on(&self, runtime: &Runtime) -> Self {
        unreachable!("{runtime:?}")
    }

    /// Returns the same function with some of its options overridden.
    ///
    /// Options that are not mentioned stay as they are. The methods of the returned value are those of the
    /// stub.
    ///
    /// ```no_run
    /// # use retry_runtime::{Options, function};
    /// # use std::time::Duration;
    /// # #[function] fn add(a: u64, b: u64) -> u64 { a + b }
    /// let quick = add.with_options(Options::new().timeout(Duration::from_secs(1)).no_retries());
    /// let sum = quick.remote(1, 2).wait();
    /// # let _ = sum;
    /// ```
    pub fn with_options(&self, options: Options) -> Self {
        unreachable!("{options:?}")
    }

    /// Returns the registered name: the option `name`, or the module path and the name of the function.
    ///
    /// ```
    /// # use retry_runtime::function;
    /// #[function(name = "sum")]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// assert_eq!(add.name(), "sum");
    /// ```
    pub fn name(&self) -> &'static str {
        unreachable!()
    }

    /// Returns the static description: where the function stands, and its options.
    ///
    /// ```
    /// # use retry_runtime::function;
    /// #[function(retries = 2)]
    /// fn add(a: u64, b: u64) -> u64 {
    ///     a + b
    /// }
    ///
    /// assert_eq!(add.spec().parameters, ["a", "b"]);
    /// assert_eq!(add.spec().retries.max_retries(), 2);
    /// ```
    pub fn spec(&self) -> &'static FunctionSpec {
        unreachable!()
    }
}

impl Deref for Stub {
    type Target = fn(&Path, u32) -> std::io::Result<u64>;

    fn deref(&self) -> &Self::Target {
        unreachable!()
    }
}

#[doc(hidden)]
impl private::Signature for Stub {
    type Arguments = (private::Ref<Path>, private::Val<u32>);
}
