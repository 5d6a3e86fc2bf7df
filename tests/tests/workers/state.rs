//! The state of workers: where it is created and dropped, and how async functions may use it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use retry_runtime::{CallError, Options, Runtime, function, service};
use retry_tests::{eventually, fixture};
use tokio::runtime::Handle;

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);
const SHUTDOWN: Duration = Duration::from_secs(30);

/// Runs a test with processes and with the inline engine.
fn on_both_engines(test: impl Fn(&Runtime)) {
    test(&Runtime::builder().build().unwrap());
    test(&Runtime::builder().inline().build().unwrap());
}

/// Opens the descriptors for signals that the first async runtime of a process opens and keeps.
fn open_signals() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    drop(runtime);
}

// ------------------------------------------------------------------ the end of a state

/// A file that the first call opens, and that is flushed when it is dropped.
type Log = RefCell<Option<BufWriter<File>>>;

fn no_log() -> Log {
    RefCell::new(None)
}

fn write(log: &Log, path: &Path) {
    let mut log = log.borrow_mut();
    let open = || BufWriter::new(File::create(path).unwrap());
    writeln!(log.get_or_insert_with(open), "a line").unwrap();
}

#[function(setup = no_log, max_workers = 1)]
fn blocking(log: &Log, path: &Path) {
    write(log, path);
}

#[function(setup = no_log, max_workers = 1, concurrency = 4)]
async fn concurrent(log: &Log, path: &Path) {
    tokio::task::yield_now().await;
    write(log, path);
}

#[function(setup = no_log, max_workers = 1, batch(max_size = 4, max_wait = "1ms"))]
fn batched(log: &Log, paths: Vec<PathBuf>) -> Vec<()> {
    paths.iter().map(|path| write(log, path)).collect()
}

#[function(setup = no_log, max_workers = 1, scaledown_window = "20ms")]
fn idle(log: &Log, path: &Path) {
    write(log, path);
}

#[function(setup = no_log, max_workers = 1, single_use_workers)]
fn single(log: &Log, path: &Path) {
    write(log, path);
}

struct Logger(Log);

#[service(max_workers = 1)]
impl Logger {
    #[setup]
    fn new() -> Self {
        Self(no_log())
    }

    #[method]
    fn write(&self, path: &Path) {
        write(&self.0, path);
    }
}

struct AsyncLogger(Log);

#[service(max_workers = 1)]
impl AsyncLogger {
    #[setup]
    async fn new() -> Self {
        Self(no_log())
    }

    #[method]
    async fn write(&self, path: &Path) {
        write(&self.0, path);
    }
}

fn is_written(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text == "a line\n")
}

#[retry_runtime::test]
fn a_state_without_teardown_is_dropped_in_order() {
    open_signals();
    fixture(LIMIT, serves, || {
        on_both_engines(|runtime| {
            let directory = tempfile::tempdir().unwrap();
            let path = |name: &str| directory.path().join(name);
            blocking
                .on(runtime)
                .remote(&path("blocking"))
                .wait()
                .unwrap();
            concurrent
                .on(runtime)
                .remote(&path("concurrent"))
                .wait()
                .unwrap();
            batched.on(runtime).remote(path("batched")).wait().unwrap();
            let logger = Logger::with().on(runtime);
            logger.write.remote(&path("service")).wait().unwrap();
            let logger = AsyncLogger::with().on(runtime);
            logger.write.remote(&path("async service")).wait().unwrap();
            // These workers end while the runtime continues.
            idle.on(runtime).remote(&path("idle")).wait().unwrap();
            single.on(runtime).remote(&path("single")).wait().unwrap();
            let ended = || is_written(&path("idle")) && is_written(&path("single"));
            eventually("the states are written", SHUTDOWN, ended);
            runtime.shutdown(SHUTDOWN).wait();
            for name in [
                "blocking",
                "concurrent",
                "batched",
                "service",
                "async service",
            ] {
                assert!(is_written(&path(name)), "{name}");
            }
        });
    });
}

struct Clumsy(PathBuf);

impl Drop for Clumsy {
    fn drop(&mut self) {
        std::fs::write(&self.0, "a line\n").unwrap();
        panic!("a drop that panics");
    }
}

#[function(setup = || RefCell::new(None), max_workers = 1)]
fn is_clumsy(state: &RefCell<Option<Clumsy>>, path: PathBuf) {
    *state.borrow_mut() = Some(Clumsy(path));
}

#[retry_runtime::test]
fn a_panic_in_a_drop_at_the_end_harms_nothing() {
    open_signals();
    fixture(LIMIT, serves, || {
        on_both_engines(|runtime| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("clumsy");
            is_clumsy.on(runtime).remote(path.clone()).wait().unwrap();
            runtime.shutdown(SHUTDOWN).wait();
            assert!(is_written(&path));
        });
    });
}

// ------------------------------------------------------------------ inside the runtime

/// A server that answers each connection with a byte, and a counter of how often its task has run.
struct Server {
    address: std::net::SocketAddr,
    beats: Arc<AtomicU64>,
    ended: RefCell<Option<PathBuf>>,
}

async fn connect() -> std::io::Result<Server> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let beats = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&beats);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = connection.writable().await;
            let _ = connection.try_write(&[7]);
        }
    });
    Ok(Server {
        address,
        beats,
        ended: RefCell::new(None),
    })
}

async fn disconnect(server: Server) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    if let Some(path) = server.ended.take() {
        std::fs::write(path, "a line\n").unwrap();
    }
}

async fn ask(server: &Server) -> u8 {
    let connection = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let mut answer = [0];
    while connection.try_read(&mut answer).is_err() {
        connection.readable().await.unwrap();
    }
    answer[0]
}

#[function(setup = connect, teardown = disconnect, max_workers = 1, concurrency = 4)]
async fn asks(server: &Server, path: &Path) -> (u8, u64) {
    *server.ended.borrow_mut() = Some(path.to_owned());
    (ask(server).await, server.beats.load(Ordering::Relaxed))
}

#[function(setup = connect, teardown = disconnect, max_workers = 1)]
fn asks_and_blocks(server: &mut Server, path: &Path) -> (u8, u64) {
    *server.ended.get_mut() = Some(path.to_owned());
    let answer = Handle::current().block_on(ask(server));
    (answer, server.beats.load(Ordering::Relaxed))
}

#[retry_runtime::test]
fn setup_and_teardown_may_be_async_and_their_tasks_live_on() {
    open_signals();
    fixture(LIMIT, serves, || {
        on_both_engines(|runtime| {
            let directory = tempfile::tempdir().unwrap();
            let (first, second) = (directory.path().join("1"), directory.path().join("2"));
            for calls in 1..=3 {
                let answer = asks.on(runtime).remote(&first).wait().unwrap();
                assert_eq!(answer, (7, calls));
                let answer = asks_and_blocks.on(runtime).remote(&second).wait().unwrap();
                assert_eq!(answer, (7, calls));
            }
            runtime.shutdown(SHUTDOWN).wait();
            assert!(is_written(&first) && is_written(&second));
        });
    });
}

fn plain() -> (Handle, tokio::task::JoinHandle<u64>) {
    let slept = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        9
    };
    (Handle::current(), tokio::spawn(slept))
}

#[function(setup = plain, max_workers = 1)]
async fn finds_the_runtime(state: &mut (Handle, tokio::task::JoinHandle<u64>)) -> (bool, u64) {
    let is_current = state.0.id() == Handle::current().id();
    (is_current, (&mut state.1).await.unwrap())
}

async fn refuses() -> Result<u64, String> {
    tokio::task::yield_now().await;
    Err("no database".to_owned())
}

#[function(setup = refuses)]
async fn never_starts(_state: &u64) {}

async fn panics() -> u64 {
    tokio::task::yield_now().await;
    panic!("no disk")
}

#[function(setup = panics)]
fn never_starts_either(_state: &u64) {}

#[retry_runtime::test]
fn a_plain_setup_of_an_async_function_is_inside_the_runtime() {
    open_signals();
    fixture(LIMIT, serves, || {
        on_both_engines(|runtime| {
            let found = finds_the_runtime.on(runtime).remote().wait().unwrap();
            assert_eq!(found, (true, 9));
            let error = never_starts.on(runtime).remote().wait().unwrap_err();
            assert!(error.to_string().contains("no database"), "{error}");
            let error = never_starts_either.on(runtime).remote().wait().unwrap_err();
            assert!(error.to_string().contains("no disk"), "{error}");
            runtime.shutdown(SHUTDOWN).wait();
        });
    });
}

/// Acts like a blocking client that has a runtime of its own.
fn fetch_blocking() -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        11
    })
}

/// Acts like synchronous code that needs the result of a future.
fn wait_in_place() -> u64 {
    tokio::task::block_in_place(|| {
        Handle::current().block_on(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            13
        })
    })
}

struct Mixed(RefCell<Vec<u64>>);

#[service(max_workers = 1, concurrency = 4)]
impl Mixed {
    #[setup]
    async fn new(first: u64) -> Result<Self, String> {
        tokio::task::yield_now().await;
        Ok(Self(RefCell::new(vec![first])))
    }

    #[method]
    async fn add(&self, number: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.borrow_mut().push(number);
        self.0.borrow().iter().sum()
    }

    #[method]
    fn blocks(&self) -> u64 {
        self.0.borrow()[0] + fetch_blocking() + wait_in_place()
    }

    #[method]
    async fn blocks_although_async(&self) -> u64 {
        let task = tokio::spawn(async { wait_in_place() });
        wait_in_place() + fetch_blocking() + task.await.unwrap()
    }

    #[teardown]
    async fn close(self) {
        tokio::task::yield_now().await;
    }
}

#[function]
fn blocks_in_place() -> u64 {
    tokio::task::block_in_place(fetch_blocking)
}

#[function]
async fn stays_on_its_thread() -> u64 {
    let local = tokio::task::spawn_local(async {
        let shared = Rc::new(3);
        tokio::task::yield_now().await;
        *shared
    });
    local.await.unwrap()
}

#[retry_runtime::test]
fn functions_may_block_in_place_and_build_runtimes() {
    open_signals();
    fixture(LIMIT, serves, || {
        on_both_engines(|runtime| {
            let mixed = Mixed::with(1).on(runtime);
            assert_eq!(mixed.add.remote(2).wait().unwrap(), 3);
            assert_eq!(mixed.blocks.remote().wait().unwrap(), 1 + 11 + 13);
            let blocked = mixed.blocks_although_async.remote().wait();
            assert_eq!(blocked.unwrap(), 13 + 11 + 13);
            let results = mixed.blocks.map([(); 8]).into_iter();
            assert_eq!(results.map(Result::unwrap).sum::<u64>(), 8 * 25);
            assert_eq!(blocks_in_place.on(runtime).remote().wait().unwrap(), 11);
            assert_eq!(stays_on_its_thread.on(runtime).remote().wait().unwrap(), 3);
            runtime.shutdown(SHUTDOWN).wait();
        });
    });
}

// ------------------------------------------------------------------ one thread

#[function(setup = || Rc::new(Cell::new(0)), max_workers = 1, concurrency = 8)]
async fn counts(state: &Rc<Cell<u64>>, number: u64) -> u64 {
    let mine = Rc::clone(state);
    tokio::time::sleep(Duration::from_millis(1)).await;
    mine.set(mine.get() + 1);
    number
}

#[function]
async fn holds_what_is_not_send(number: u64) -> u64 {
    let shared = Rc::new(RefCell::new(number));
    tokio::task::yield_now().await;
    *shared.borrow_mut() += 1;
    shared.take()
}

#[function]
async fn is_send(number: u64) -> u64 {
    tokio::task::yield_now().await;
    number
}

struct Local(Rc<RefCell<Vec<u64>>>);

#[service(max_workers = 1, concurrency = 8)]
impl Local {
    #[setup]
    fn new() -> Self {
        Self(Rc::default())
    }

    #[method]
    async fn push(&self, number: u64) -> usize {
        let all = Rc::clone(&self.0);
        tokio::task::yield_now().await;
        all.borrow_mut().push(number);
        all.borrow().len()
    }
}

#[retry_runtime::test]
fn values_that_stay_on_one_thread_need_not_be_send() {
    open_signals();
    fixture(LIMIT, serves, || {
        on_both_engines(|runtime| {
            let counted = counts.on(runtime).map(0..100).into_iter();
            assert_eq!(counted.map(Result::unwrap).sum::<u64>(), 4950);
            let local = Local::with().on(runtime);
            let lengths = local.push.map(0..100).into_iter().map(Result::unwrap);
            assert_eq!(lengths.max(), Some(100));
            let held = holds_what_is_not_send.on(runtime).remote(4).wait();
            assert_eq!(held.unwrap(), 5);
            runtime.shutdown(SHUTDOWN).wait();
        });
    });
}

#[retry_runtime::test]
fn an_ordinary_async_call_can_be_spawned_if_it_is_send() {
    fixture(LIMIT, serves, || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let spawned = runtime.spawn(async { is_send(1).await + is_send.local(2).await });
        assert_eq!(runtime.block_on(spawned).unwrap(), 3);
        // A future that is not `Send` stays on its thread.
        assert_eq!(runtime.block_on(holds_what_is_not_send(4)), 5);
        let moved = holds_what_is_not_send(4);
        let error = runtime.block_on(runtime.spawn(moved)).unwrap_err();
        let payload = error.into_panic();
        let message = payload.downcast_ref::<&str>().unwrap();
        assert!(message.contains("f.local(..)"), "{message}");
    });
}

// ------------------------------------------------------------------ a client that goes away

#[function(setup = || 7_u64, max_workers = 1)]
fn waits(_state: &u64, directory: Option<PathBuf>) -> u32 {
    if let Some(directory) = directory {
        std::fs::write(directory.join("begun"), "").unwrap();
        while !directory.join("go").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    std::process::id()
}

struct Waiting;

#[service(max_workers = 1)]
impl Waiting {
    #[setup]
    fn new() -> Self {
        Self
    }

    #[method]
    fn wait(&self, directory: Option<PathBuf>) -> u32 {
        waits(&7, directory)
    }
}

#[retry_runtime::test]
fn a_grace_keeps_the_worker_of_an_abandoned_call() {
    fixture(LIMIT, serves, || {
        let long = Options::new().grace(LIMIT);
        let plain = Runtime::builder().build().unwrap();
        let patient = Runtime::builder().grace(LIMIT).build().unwrap();
        let service = Waiting::with();
        for (kept, call) in [
            (true, waits.on(&plain).with_options(long)),
            (true, waits.on(&patient)),
            (
                false,
                waits.on(&patient).with_options(Options::new().no_grace()),
            ),
            (false, waits.on(&plain)),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let worker = call.remote(None).wait().unwrap();
            let running = call.spawn(Some(directory.path().to_owned()));
            let begun = || directory.path().join("begun").exists();
            eventually("it runs", LIMIT, begun);
            running.cancel();
            assert!(matches!(running.wait(), Err(CallError::Cancelled(..))));
            std::fs::write(directory.path().join("go"), "").unwrap();
            let next = call.remote(None).wait().unwrap();
            assert_eq!(next == worker, kept);
        }
        let directory = tempfile::tempdir().unwrap();
        let worker = service.wait.remote(None).wait().unwrap();
        let running = service.wait.with_options(long);
        let running = running.spawn(Some(directory.path().to_owned()));
        eventually("it runs", LIMIT, || directory.path().join("begun").exists());
        running.cancel();
        std::fs::write(directory.path().join("go"), "").unwrap();
        assert_eq!(service.wait.remote(None).wait().unwrap(), worker);
        plain.shutdown(SHUTDOWN).wait();
        patient.shutdown(SHUTDOWN).wait();
    });
}
