//! The functions that the drivers call: one for each combination of options that affects the execution of a
//! call.

use std::fs::File;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use retry_runtime::{CallError, CrashLimit, function, service};

use crate::forks;
use crate::job::{Action, Answer, Job, Refusal, Token};
use crate::ledger::{self, Mark};
use crate::stubs::{Pool, place_of};

/// The memory limit of `limited`, and the amount that a call allocates in order to be killed for it.
pub const MEMORY: u64 = 64 * 1024 * 1024;
const HOARD: usize = 3 * MEMORY as usize;

pub const TIMEOUT: Duration = Duration::from_millis(200);
pub const GRACE: Duration = Duration::from_millis(400);

/// Duration of `Oversleep`.
const OVERSLEEP: Duration = Duration::from_secs(30);

const UNLIMITED: CrashLimit = CrashLimit::unlimited();

/// Records the start and checks the input.
fn begin(job: &Job) -> Result<(), Refusal> {
    ledger::note(job, Mark::Started);
    if job.is_intact() {
        Ok(())
    } else {
        Err(Refusal::WrongInput(job.token))
    }
}

/// Performs the action of the job, except for sleeping, and returns the time to sleep.
fn act(job: &Job) -> Result<Duration, Refusal> {
    let attempt = retry_runtime::current().map_or(0, |call| call.attempt());
    match job.action {
        Action::Return => {}
        Action::Print => {
            println!("soak {} {} out", job.token, job.seed);
            eprintln!("soak {} {} err", job.token, job.seed);
        }
        Action::Sleep { micros } => return Ok(Duration::from_micros(u64::from(micros))),
        Action::Oversleep => return Ok(OVERSLEEP),
        Action::FailFirst if attempt > 1 => {}
        Action::Fail | Action::FailFirst => return Err(Refusal::Asked(job.token)),
        Action::PanicFirst if attempt > 1 => {}
        Action::Panic | Action::PanicFirst => panic!("asked to: {}", job.token),
        Action::AbortFirst if attempt > 1 => {}
        Action::Abort | Action::AbortFirst => {
            ledger::note(job, Mark::Dies);
            std::process::abort();
        }
        Action::Exit(code) => {
            ledger::note(job, Mark::Dies);
            std::process::exit(code);
        }
        Action::Hoard => {
            ledger::note(job, Mark::Dies);
            let mut hoard = Vec::new();
            for _ in 0..HOARD >> 20 {
                hoard.push(vec![1u8; 1 << 20]);
                std::thread::sleep(Duration::from_millis(1));
            }
            std::hint::black_box(&hoard);
            return Ok(OVERSLEEP);
        }
        Action::Nest(calls) => nest(job, calls)?,
        Action::NestTwice => {
            let inner = inner(job, 1, Pool::Outer, Action::Nest(2));
            let result = outer.remote(inner).wait();
            if let Err(CallError::Function(refusal, _)) = result {
                return Err(refusal);
            }
            right(job, 1, result)?;
        }
        Action::NestAndDrop => nest_and_drop(job)?,
        Action::ForkAndExit => forks::fork_and_exit(),
        Action::ForkAndReturn => {}
    }
    Ok(Duration::ZERO)
}

/// Returns the nested call with this number.
fn inner(job: &Job, number: u8, pool: Pool, action: Action) -> Job {
    let token = job.token.nested(number);
    Job::new(
        token,
        place_of(pool),
        action,
        inner_seed(job, number),
        (100, 50),
    )
}

/// Checks the answer of the nested call with this number.
fn right<E: std::fmt::Debug>(
    job: &Job,
    number: u8,
    result: Result<Answer, CallError<E>>,
) -> Result<(), Refusal> {
    let answer = result.map_err(refuse)?;
    let bytes = Job::answer(inner_seed(job, number), 50);
    if answer.token == job.token.nested(number) && answer.bytes == bytes {
        return Ok(());
    }
    let text = format!("call {number} of {} has the answer {answer:?}", job.token);
    Err(Refusal::WrongInner(text))
}

/// Makes calls, some as a map, and checks their answers.
fn nest(job: &Job, calls: u8) -> Result<(), Refusal> {
    let half = calls / 2;
    for number in 1..=half {
        let inner = inner(job, number, Pool::Plain, Action::Return);
        right(job, number, plain.remote(inner).wait())?;
    }
    let rest = half + 1..=calls;
    let inputs = rest
        .clone()
        .map(|number| inner(job, number, Pool::Typed, Action::Return));
    for (number, result) in rest.zip(typed.map(inputs)) {
        right(job, number, result)?;
    }
    Ok(())
}

async fn nest_async(job: &Job, calls: u8) -> Result<(), Refusal> {
    for number in 1..=calls {
        let inner = inner(job, number, Pool::Typed, Action::Return);
        right(job, number, typed.remote(&inner).await)?;
    }
    Ok(())
}

fn nest_and_drop(job: &Job) -> Result<(), Refusal> {
    let sleep = Action::Sleep { micros: 2000 };
    let cancelled = plain.spawn(inner(job, 1, Pool::Plain, sleep));
    let detached = typed.spawn(&inner(job, 2, Pool::Typed, Action::Return));
    let inputs = (3..9).map(|number| inner(job, number, Pool::Typed, sleep));
    let mut map = typed.map(inputs).into_iter();
    if let Some(first) = map.next() {
        right(job, 3, first)?;
    }
    drop((map, detached));
    cancelled.cancel();
    match cancelled.wait() {
        Err(CallError::Cancelled(..)) => {}
        result => right(job, 1, result)?,
    }
    right(
        job,
        9,
        plain
            .remote(inner(job, 9, Pool::Plain, Action::Return))
            .wait(),
    )
}

fn inner_seed(job: &Job, number: u8) -> u64 {
    job.seed.wrapping_add(u64::from(number) << 32)
}

fn refuse<E: std::fmt::Debug>(error: CallError<E>) -> Refusal {
    let kind = match &error {
        CallError::Function(..) => "Function",
        CallError::Crashed(..) => "Crashed",
        CallError::Startup(..) => "Startup",
        CallError::CrashLimit(..) => "CrashLimit",
        CallError::Cancelled(..) => "Cancelled",
        CallError::Lost(..) => "Lost",
        CallError::Rejected(..) => "Rejected",
        CallError::TimedOut(..) => "TimedOut",
        CallError::Panicked(..) => "Panicked",
        _ => "unknown",
    };
    Refusal::Inner(kind.to_owned(), format!("{error:?}"))
}

/// Records the end.
fn end(job: &Job) -> Answer {
    let answer = Answer {
        token: job.token,
        bytes: Job::answer(job.seed, job.answer_size),
    };
    ledger::note(job, Mark::Ended);
    answer
}

fn perform(job: &Job) -> Result<Answer, Refusal> {
    begin(job)?;
    if job.action == Action::ForkAndReturn && forks::fork_is_child() {
        // The parent of this process is the worker, whose answer is the right one.
        return Ok(Answer {
            token: job.token,
            bytes: b"of the forked child".to_vec(),
        });
    }
    std::thread::sleep(act(job)?);
    Ok(end(job))
}

async fn perform_async(job: &Job) -> Result<Answer, Refusal> {
    begin(job)?;
    if let Action::Nest(calls) = job.action {
        nest_async(job, calls).await?;
        return Ok(end(job));
    }
    let pause = act(job)?;
    if pause.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(pause).await;
    }
    Ok(end(job))
}

/// Takes a single value of bytes, which is encoded differently from a struct. The fields of the job precede
/// the payload.
#[function(crash_limit = UNLIMITED)]
pub fn raw(bytes: Vec<u8>) -> Vec<u8> {
    perform_raw(&bytes)
}

/// Like `raw`, with borrowed and shared bytes.
#[function(crash_limit = UNLIMITED)]
pub fn lent(bytes: &[u8]) -> Bytes {
    perform_raw(bytes).into()
}

fn perform_raw(bytes: &[u8]) -> Vec<u8> {
    let job = from_raw(bytes);
    let answer = perform(&job).unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut bytes = answer.token.0.to_le_bytes().to_vec();
    bytes.extend(answer.bytes);
    bytes
}

/// Returns the input of `raw` and `lent`. The action is always to return.
pub fn to_raw(job: &Job) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 + job.payload.len());
    bytes.extend(job.token.0.to_le_bytes());
    bytes.extend(job.seed.to_le_bytes());
    bytes.extend(job.place.to_le_bytes());
    bytes.extend(job.answer_size.to_le_bytes());
    bytes.extend(&job.payload);
    bytes
}

fn from_raw(bytes: &[u8]) -> Job {
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    Job {
        token: Token(long(0)),
        seed: long(8),
        place: short(16),
        answer_size: short(20),
        action: Action::Return,
        payload: bytes[24..].to_vec(),
    }
}

pub fn from_raw_answer(bytes: &[u8]) -> Answer {
    let token = bytes.get(..8).and_then(|token| token.try_into().ok());
    Answer {
        token: Token(token.map_or(u64::MAX, u64::from_le_bytes)),
        bytes: bytes.get(8..).unwrap_or_default().to_vec(),
    }
}

/// Has no options and no error type: failures are panics.
#[function]
pub fn plain(job: Job) -> Answer {
    perform(&job).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[function(
    retries(max_retries = 2, initial_delay = "2ms", max_delay = "10ms", jitter),
    crash_limit = UNLIMITED
)]
pub fn typed(job: &Job) -> Result<Answer, Refusal> {
    perform(job)
}

/// Has an error that arrives as `RemoteError`.
#[function(crash_limit = UNLIMITED)]
pub fn untyped(job: Job) -> io::Result<Answer> {
    perform(&job).map_err(|refusal| io::Error::other(refusal.to_string()))
}

#[function(concurrency = 8, crash_limit = UNLIMITED, scaledown_window = "3s")]
pub async fn concurrent(job: Job) -> Result<Answer, Refusal> {
    perform_async(&job).await
}

#[function(retries(max_retries = 1, initial_delay = "1ms"), crash_limit = UNLIMITED)]
pub async fn awaiting(job: Job) -> Result<Answer, Refusal> {
    perform_async(&job).await
}

#[function(batch(max_size = 16, max_wait = "1ms"), crash_limit = UNLIMITED)]
pub fn batched(jobs: Vec<Job>) -> Vec<Result<Answer, Refusal>> {
    let begun: Vec<_> = jobs.iter().map(begin).collect();
    let acted = jobs.iter().zip(begun).map(|(job, begun)| {
        std::thread::sleep(begun.and_then(|()| act(job))?);
        Ok(())
    });
    let acted: Vec<Result<(), Refusal>> = acted.collect();
    jobs.iter()
        .zip(acted)
        .map(|(job, acted)| acted.map(|()| end(job)))
        .collect()
}

#[function(at_most_once, crash_limit = UNLIMITED)]
pub fn once(job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

#[function(
    timeout = TIMEOUT,
    retries(max_retries = 1, initial_delay = "1ms"),
    crash_limit = UNLIMITED
)]
pub fn timed(job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

/// Checks its token while it sleeps.
#[function(timeout = TIMEOUT, grace = GRACE, crash_limit = UNLIMITED)]
pub fn graceful(job: Job) -> Result<Answer, Refusal> {
    begin(&job)?;
    let token = retry_runtime::current().map(|call| call.token());
    let mut left = act(&job)?;
    while !left.is_zero() {
        if token.is_some_and(|token| token.is_cancelled()) {
            return Err(Refusal::Stopped(job.token));
        }
        let step = left.min(Duration::from_millis(2));
        std::thread::sleep(step);
        left -= step;
    }
    Ok(end(&job))
}

#[function(
    max_calls_per_worker = 20,
    retries(max_retries = 1, initial_delay = "0s"),
    crash_limit = UNLIMITED
)]
pub fn recycled(job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

#[function(single_use_workers, crash_limit = UNLIMITED)]
pub fn single(job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

#[function(memory = MEMORY, crash_limit = UNLIMITED, scaledown_window = "2s")]
pub fn limited(job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

/// Makes calls itself.
#[function(crash_limit = UNLIMITED)]
pub fn outer(job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

#[function(crash_limit = UNLIMITED, max_workers = 2)]
pub fn forking(job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

/// The file that controls the set-ups. See [`Starts`](crate::faults::Starts).
pub const STARTS: &str = "starts";

/// Fails, exits, panics or sleeps: the file sets the share of failures, and the process ID decides.
fn flaky() -> Result<(), String> {
    let directory = ledger::directory().unwrap_or_default();
    let share = std::fs::read_to_string(directory.join(STARTS)).unwrap_or_default();
    let share = share.trim().parse::<u32>().unwrap_or(0);
    let draw = std::process::id().wrapping_mul(2_654_435_761) >> 8;
    if draw % 100 >= share {
        return Ok(());
    }
    match (draw / 100) % 5 {
        0 => std::process::exit(7),
        1 => panic!("the set-up panics"),
        2 => {
            std::thread::sleep(Duration::from_millis(300));
            Ok(())
        }
        _ => Err("the set-up refuses".to_owned()),
    }
}

pub struct Prepared {
    calls: u64,
}

fn prepare() -> Result<Prepared, String> {
    flaky().map(|()| Prepared { calls: 0 })
}

fn discard(state: Prepared) {
    std::hint::black_box(state.calls);
}

#[function(
    setup = prepare,
    teardown = discard,
    scaledown_window = "2s",
    max_calls_per_worker = 200,
    crash_limit = UNLIMITED
)]
pub fn prepared(state: &mut Prepared, job: Job) -> Result<Answer, Refusal> {
    state.calls += 1;
    perform(&job)
}

/// Permits one worker at a time, whatever `max_workers` is: the set-ups of the others fail.
fn take_licence() -> io::Result<File> {
    let file = File::create(ledger::directory().unwrap_or_default().join("licence"))?;
    file.try_lock()?;
    Ok(file)
}

#[function(setup = take_licence, max_workers = 3, crash_limit = UNLIMITED)]
pub fn licensed(_licence: &File, job: Job) -> Result<Answer, Refusal> {
    perform(&job)
}

/// A service whose configurations come and go.
pub struct Shop {
    number: u64,
    sold: u64,
}

#[service(scaledown_window = "1s", crash_limit = UNLIMITED, max_workers = 2)]
impl Shop {
    #[setup]
    pub fn open(number: u64) -> Result<Self, String> {
        flaky().map(|()| Self { number, sold: 0 })
    }

    /// The seed is that of the configuration, so that an answer from another configuration is detected.
    #[method(retries(max_retries = 1, initial_delay = "1ms"))]
    pub fn sell(&mut self, job: Job) -> Result<Answer, Refusal> {
        self.sold += 1;
        if job.place != crate::stubs::place_of_shop(self.number) {
            return Err(Refusal::WrongInput(job.token));
        }
        perform(&job)
    }

    #[teardown]
    pub fn close(self) {
        std::hint::black_box(self.sold);
    }
}
