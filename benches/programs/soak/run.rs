//! The run: starts the drivers and their observers, audits, and prints a summary.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use retry_runtime::{EventKind, Stream};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::arguments::Arguments;
use crate::book::Book;
use crate::faults::Faults;
use crate::resources::{INTERVAL, Resources, Sample};
use crate::scenarios::{Driver, drive_async};
use crate::watchdog::Watch;
use crate::{audit, faults, forks, system, watchdog};

/// The state that all threads of the run share.
pub struct World {
    pub book: Book,
    pub faults: Faults,
    pub watch: Watch,
    pub seed: u64,
    pub forks: bool,
    pub limits_processes: bool,
    over: AtomicBool,
}

impl World {
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Duration of an epoch.
const EPOCH: Duration = Duration::from_secs(10);

const BLOCKING: usize = 4;
const TASKS: usize = 6;

/// Time within which everything must have ended after the run.
const END: Duration = Duration::from_secs(15);

pub fn run(arguments: &Arguments) -> ExitCode {
    let is_root = rustix::process::getuid().is_root();
    println!("soak: seed {}, {:?}", arguments.seed, arguments.duration);
    if is_root && arguments.faults {
        println!("as root, processes are not limited (see --user)");
    }
    // Without this limit, killed workers would write core dumps.
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, no_core).expect("any limit may be lowered");
    let world: &'static World = Box::leak(Box::new(World {
        book: Book::new(),
        faults: Faults::default(),
        watch: Watch::default(),
        seed: arguments.seed,
        forks: arguments.forks,
        limits_processes: !is_root,
        over: AtomicBool::new(false),
    }));
    std::thread::spawn(move || watchdog::watch(world));

    let mut threads: Vec<_> = (0..BLOCKING)
        .map(|number| {
            std::thread::spawn(move || {
                Driver::new(world, number).drive();
                world.watch.end(number);
            })
        })
        .collect();
    threads.push(std::thread::spawn(move || drive_tasks(world)));
    threads.push(std::thread::spawn(move || observe(world)));
    if arguments.faults {
        threads.push(std::thread::spawn(move || {
            faults::inject(world, world.seed)
        }));
    }
    if arguments.forks {
        threads.push(std::thread::spawn(move || {
            forks::fork_now_and_then(world, world.seed)
        }));
    }

    let mut resources = Resources::default();
    audit_until(world, arguments.duration, &mut resources);
    world.over.store(true, Ordering::Relaxed);
    for thread in threads {
        if thread.join().is_err() {
            world.book.violation("a driver panicked", String::new());
        }
    }
    resources.check(world);
    world.book.next_epoch();
    while !world.book.is_empty() {
        audit::audit(world);
        std::thread::sleep(Duration::from_millis(200));
    }
    end(world);
    sum_up(world, arguments)
}

/// Runs async drivers on a runtime with two threads.
fn drive_tasks(world: &'static World) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("an async runtime");
    let tasks: Vec<_> = (BLOCKING..BLOCKING + TASKS)
        .map(|number| {
            runtime.spawn(async move {
                drive_async(Driver::new(world, number)).await;
                world.watch.end(number);
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("a driver does not panic");
        }
    });
}

/// Subscribes to the events from time to time, and checks that lines do not mix.
fn observe(world: &World) {
    while !world.is_over() {
        let until = Instant::now() + Duration::from_secs(3);
        let mut events = retry_runtime::events();
        while Instant::now() < until {
            let Some(event) = events.next_timeout(Duration::from_millis(100)) else {
                continue;
            };
            let EventKind::Output { stream, line, .. } = event.kind else {
                continue;
            };
            let Some(rest) = line.strip_prefix("soak ") else {
                continue;
            };
            world.book.count(|counts| counts.lines += 1);
            let words: Vec<&str> = rest.split(' ').collect();
            let end = if stream == Stream::Stdout {
                "out"
            } else {
                "err"
            };
            let is_whole = words.len() == 3 && words[2] == end && words[1].parse::<u64>().is_ok();
            if !is_whole {
                world.book.violation("a line of output is not whole", line);
            }
        }
        drop(events);
        std::thread::sleep(Duration::from_secs(3));
    }
}

/// Audits and measures while the drivers make calls.
fn audit_until(world: &World, duration: Duration, resources: &mut Resources) {
    let begun = Instant::now();
    let mut epoch = begun + EPOCH;
    let mut sample = begun + INTERVAL;
    let mut line = begun;
    let lines = (duration / 10).clamp(INTERVAL, Duration::from_secs(60));
    while begun.elapsed() < duration {
        std::thread::sleep(Duration::from_millis(200));
        if Instant::now() >= epoch {
            world.book.next_epoch();
            epoch += EPOCH;
        }
        audit::audit(world);
        if Instant::now() >= sample {
            sample += INTERVAL;
            let taken = resources.sample(world);
            if let Some(taken) = taken.filter(|_| line.elapsed() >= lines) {
                line = Instant::now();
                print_line(world, begun.elapsed(), taken);
            }
        }
    }
}

fn print_line(world: &World, elapsed: Duration, sample: Sample) {
    let mut calls = 0;
    world
        .book
        .count(|counts| calls = counts.outcomes.values().sum());
    let violations: u64 = world.book.violations().iter().map(|(_, count)| count).sum();
    println!(
        "{:>5} s  {calls} calls, {} pending, {} kills, {violations} violations; \
         {} descriptors, {} threads, {} MiB, {} processes, {} zombies",
        elapsed.as_secs(),
        world.book.pending(),
        world.faults.counts().kills,
        sample.descriptors,
        sample.threads,
        sample.resident >> 20,
        sample.descendants,
        sample.zombies,
    );
}

/// Shuts the default runtime down and checks that nothing is left.
fn end(world: &World) {
    let abandoned = retry_runtime::shutdown(Duration::from_secs(10)).wait();
    if !abandoned.is_empty() {
        world
            .book
            .violation("calls were left at the end", format!("{abandoned:?}"));
    }
    let until = Instant::now() + END;
    while !system::descendants().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    for process in system::descendants() {
        world
            .book
            .violation("a process is left at the end", format!("{process:?}"));
    }
    println!("threads at the end: {:?}", system::threads());
}

fn sum_up(world: &World, arguments: &Arguments) -> ExitCode {
    let violations = world.book.violations();
    world.book.count(|counts| {
        let mut pool = None;
        for ((of, kind), count) in &counts.outcomes {
            if pool.replace(*of) != Some(*of) {
                print!("\n{:<12}", format!("{of:?}"));
            }
            match kind {
                None => print!(" {count} ok"),
                Some(kind) => print!(", {count} {kind:?}"),
            }
        }
        println!();
        let calls: u64 = counts.outcomes.values().sum();
        println!(
            "\n{calls} calls with a result, {} dropped, {} detached; {} executions, nested ones \
             included; {} runtimes, {} handles of services, {} forks, {} lines of output",
            counts.abandoned,
            counts.detached,
            counts.executions,
            counts.runtimes,
            counts.services,
            counts.forks,
            counts.lines,
        );
    });
    let faults = world.faults.counts();
    println!("{faults:?}");
    if arguments.faults && faults.kills == 0 {
        println!("VIOLATION: no worker was found to be killed");
        return ExitCode::FAILURE;
    }
    if violations.is_empty() {
        println!("no violations");
        return ExitCode::SUCCESS;
    }
    println!("\nviolations, with seed {}:", arguments.seed);
    for (rule, count) in violations {
        println!("{count:>8}  {rule}");
    }
    ExitCode::FAILURE
}
