//! The standby process: it takes the place of a worker that died, and is never left behind.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use retry_runtime::{
    CallError, CrashLimit, EventKind, ExitCause, Runtime, Startup, events, function, service,
};
use retry_tests::{
    Conditions, descendants, eventually, fixture, fixture_outside, fixture_under, kill_child,
    processes_with, seeded, standbys,
};

const LIMIT: Duration = Duration::from_secs(120);

const SOON: Duration = Duration::from_secs(20);

const FAULTY: &str = env!("CARGO_BIN_EXE_faulty");

#[function(max_workers = 1, crash_limit = CrashLimit::unlimited())]
fn own_pid() -> u32 {
    println!("here");
    std::process::id()
}

#[function(max_workers = 1, single_use_workers)]
fn own_pid_once() -> u32 {
    std::process::id()
}

#[function(max_workers = 1, timeout = "50ms")]
fn hangs() {
    std::thread::sleep(LIMIT);
}

fn serves() -> bool {
    own_pid.remote().wait().is_ok()
}

fn call() -> u32 {
    own_pid.remote().wait().unwrap()
}

/// Waits for the standby process and returns its ID.
fn standby() -> u32 {
    let mut found = Vec::new();
    eventually("there is a standby", SOON, || {
        found = standbys();
        found.len() == 1
    });
    found[0]
}

fn is_gone(pid: u32) -> bool {
    !descendants().iter().any(|process| process.pid == pid)
}

/// Asserts that there is no standby process, for long enough to start many.
fn assert_no_standby() {
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until {
        assert_eq!(standbys(), Vec::<u32>::new());
    }
}

#[retry_runtime::test]
fn a_standby_that_was_there_before_replaces_a_dead_worker() {
    fixture(LIMIT, serves, || {
        assert!(kill_child(call()));
        call();
        for _ in 0..5 {
            let standby = standby();
            assert!(kill_child(call()));
            assert_eq!(call(), standby);
        }
    });
}

#[retry_runtime::test]
fn a_standby_replaces_used_up_and_timed_out_workers() {
    fixture(LIMIT, serves, || {
        own_pid_once.remote().wait().unwrap();
        let first = standby();
        assert_eq!(own_pid_once.remote().wait().unwrap(), first);
        let second = standby();
        assert!(hangs.remote().wait().is_err());
        // The standby process was assigned to the function that hangs.
        eventually("it is gone", SOON, || is_gone(second));
        let third = standby();
        assert!(kill_child(call()));
        assert_eq!(call(), third);
    });
}

#[function(max_workers = 1, scaledown_window = "1ms")]
fn comes_and_goes() -> u32 {
    std::process::id()
}

#[retry_runtime::test]
fn there_is_no_standby_unless_a_worker_dies() {
    fixture(LIMIT, serves, || {
        for _ in 0..10 {
            let pid = comes_and_goes.remote().wait().unwrap();
            eventually("it ends, for it has nothing to do", SOON, || is_gone(pid));
        }
        assert_no_standby();
    });
}

/// Never runs, since its set-up fails.
#[function(setup = fails_to_start)]
fn never_ready(_state: &()) {}

fn fails_to_start() -> Result<(), String> {
    Err("no".to_owned())
}

#[retry_runtime::test]
fn a_worker_that_was_never_ready_leaves_no_standby() {
    fixture(LIMIT, serves, || {
        assert!(never_ready.remote().wait().is_err());
        assert_no_standby();
    });
}

#[retry_runtime::test]
fn a_dead_standby_is_reaped_and_replaced_at_the_next_death() {
    fixture(LIMIT, serves, || {
        assert!(kill_child(call()));
        call();
        for _ in 0..3 {
            let standby = standby();
            assert!(kill_child(standby));
            eventually("no zombie is left", SOON, || is_gone(standby));
            assert_no_standby();
            assert!(kill_child(call()));
            call();
        }
    });
}

#[retry_runtime::test]
fn a_standby_is_kept_for_as_long_as_an_idle_worker() {
    fixture(LIMIT, serves, || {
        let window = Duration::from_secs(1);
        let runtime = Runtime::builder().scaledown_window(window).build().unwrap();
        let call = || own_pid.on(&runtime).remote().wait().unwrap();
        for _ in 0..2 {
            assert!(kill_child(call()));
            let replaced = Instant::now();
            call();
            let standby = standby();
            eventually("it is not kept", SOON, || is_gone(standby));
            assert!(replaced.elapsed() > window / 2);
            assert_no_standby();
        }
        runtime.shutdown(SOON).wait();
    });
}

#[retry_runtime::test]
fn a_shutdown_leaves_no_standby() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().build().unwrap();
        let call = || own_pid.on(&runtime).remote().wait().unwrap();
        assert!(kill_child(call()));
        call();
        let standby = standby();
        runtime.shutdown(SOON).wait();
        assert!(is_gone(standby), "not even a zombie");
    });
}

#[retry_runtime::test]
fn a_shutdown_at_any_moment_leaves_no_process() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        seeded(Conditions::rounds(200), |random, round| {
            let mark = format!("{}-{round}", std::process::id());
            let runtime = Runtime::builder().env("MARK", &mark).build().unwrap();
            let call = || own_pid.on(&runtime).remote().wait().unwrap();
            assert!(kill_child(call()));
            if random.bool() {
                call();
            }
            // From before the standby process exists until after it is up.
            std::thread::sleep(Duration::from_micros(random.u64(0..10_000)));
            runtime.shutdown(SOON).wait();
            assert!(processes_with(&format!("MARK={mark}")).is_empty());
        });
    });
}

#[retry_runtime::test]
fn workers_and_standbys_may_be_killed_at_any_moment() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        let mut replaced_by_standbys = 0;
        seeded(Conditions::rounds(200), |random, _| {
            let worker = call();
            if random.bool() {
                standby_is_up(random.u64(0..10_000));
            }
            let standbys = standbys();
            if random.u8(0..4) == 0 {
                standbys.iter().for_each(|standby| _ = kill_child(*standby));
            }
            assert!(kill_child(worker));
            if random.u8(0..4) == 0 {
                standbys.iter().for_each(|standby| _ = kill_child(*standby));
            }
            let next = call();
            assert_ne!(next, worker);
            replaced_by_standbys += u32::from(standbys.contains(&next));
        });
        eprintln!("{replaced_by_standbys} were replaced by standbys");
        let least = Conditions::rounds(200) / 20;
        assert!(replaced_by_standbys > least, "{replaced_by_standbys}");
    });
}

/// Waits this many microseconds for the standby process to come up.
fn standby_is_up(micros: u64) {
    let until = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < until && standbys().is_empty() {}
}

#[function(max_workers = 1, crash_limit = CrashLimit::unlimited())]
fn surroundings() -> (u32, Option<String>, PathBuf, String, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find(|line| line.starts_with("Umask:"));
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    (
        std::process::id(),
        std::env::var("MOON").ok(),
        std::env::current_dir().unwrap(),
        umask.unwrap().to_owned(),
        files.unwrap(),
    )
}

#[retry_runtime::test]
fn a_replacement_sees_the_present_environment() {
    fixture(LIMIT, serves, || {
        let look = || surroundings.remote().wait().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let changes: [&dyn Fn(); 4] = [
            &|| set_variable("MOON", "full"),
            &|| std::env::set_current_dir(folder.path()).unwrap(),
            &|| _ = rustix::process::umask(rustix::fs::Mode::RWXO),
            &|| {
                let files = rustix::process::Resource::Nofile;
                let mut limit = rustix::process::getrlimit(files);
                limit.current = Some(500);
                rustix::process::setrlimit(files, limit).unwrap();
            },
        ];
        assert!(kill_child(look().0));
        look();
        for change in changes {
            let stale = standby();
            change();
            assert!(kill_child(look().0));
            assert_ne!(look().0, stale);
            eventually("it is of no use", SOON, || is_gone(stale));
        }
        let (_, moon, directory, umask, files) = look();
        assert_eq!(moon.as_deref(), Some("full"));
        assert_eq!(directory, folder.path().canonicalize().unwrap());
        assert_eq!(umask, "Umask:\t0007");
        assert_eq!(files, 500);
        // The next standby process starts in the same environment.
        let standby = standby();
        assert!(kill_child(look().0));
        let (pid, moon, ..) = look();
        assert_eq!((pid, moon.as_deref()), (standby, Some("full")));
    });
}

#[expect(unsafe_code, reason = "nothing safe sets it")]
fn set_variable(name: &str, value: &str) {
    // SAFETY: this process accesses its environment only through the standard library.
    unsafe { std::env::set_var(name, value) };
}

#[retry_runtime::test]
fn a_standby_belongs_to_its_runtime() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().env("MOON", "new").build().unwrap();
        let look = || surroundings.on(&runtime).remote().wait().unwrap();
        assert!(kill_child(look().0));
        look();
        let standby = standby();
        // The other runtime starts a worker of its own.
        let (pid, moon, ..) = surroundings.remote().wait().unwrap();
        assert_ne!(pid, standby);
        assert_eq!(moon, None);
        assert!(kill_child(look().0));
        let (pid, moon, ..) = look();
        assert_eq!((pid, moon.as_deref()), (standby, Some("new")));
        runtime.shutdown(SOON).wait();
    });
}

#[function(max_workers = 1, memory = "64MiB", at_most_once)]
fn hoards(mebibytes: usize) -> u32 {
    let mut hoard = Vec::new();
    for _ in 0..mebibytes {
        hoard.push(vec![1u8; 1 << 20]);
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

#[retry_runtime::test]
fn a_standby_is_held_to_the_memory_of_the_function_that_it_serves() {
    fixture(LIMIT, serves, || {
        let exceeds = || match hoards.remote(1000).wait() {
            Err(CallError::Crashed(crash, _)) => {
                assert!(
                    matches!(crash.cause(), ExitCause::OutOfMemory { .. }),
                    "{crash}"
                );
            }
            other => panic!("{other:?}"),
        };
        exceeds();
        let first = standby();
        exceeds();
        eventually("it was the standby", SOON, || is_gone(first));
        let second = standby();
        assert_eq!(hoards.remote(1).wait().unwrap(), second);
    });
}

struct Greeter(String);

#[service(max_workers = 1, scaledown_window = "1ms")]
impl Greeter {
    #[setup]
    fn new(greeting: String) -> Self {
        Self(greeting)
    }

    #[method]
    fn greet(&self) -> (u32, String) {
        (std::process::id(), self.0.clone())
    }
}

struct Stayer;

#[service(max_workers = 1)]
impl Stayer {
    #[setup]
    fn new(_number: u32) -> Self {
        Self
    }

    #[method]
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[retry_runtime::test]
fn the_worker_in_the_place_of_a_dead_standby_stays() {
    fixture(LIMIT, serves, || {
        let stayers: Vec<_> = (0..20)
            .map(|number| {
                assert!(kill_child(call()));
                call();
                let stayer = Stayer::with(number);
                assert!(kill_child(standby()));
                let pid = stayer.pid.remote().wait().unwrap();
                (stayer, pid)
            })
            .collect();
        // Longer than the time granted to a worker that has closed its connection.
        std::thread::sleep(Duration::from_millis(1200));
        for (stayer, pid) in stayers {
            assert_eq!(stayer.pid.remote().wait().unwrap(), pid);
        }
    });
}

#[retry_runtime::test]
fn a_standby_is_set_up_like_any_other_worker() {
    fixture(LIMIT, serves, || {
        // Longer than the first message to a worker.
        let long = "hello ".repeat(100_000);
        assert!(kill_child(call()));
        call();
        let standby = standby();
        let greeter = Greeter::with(long.clone());
        assert_eq!(greeter.greet.remote().wait().unwrap(), (standby, long));
    });
}

#[retry_runtime::test]
fn the_death_of_a_standby_is_never_a_start_that_failed() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        seeded(Conditions::rounds(200), |random, round| {
            assert!(kill_child(call()));
            call();
            let standby = standby();
            // The first worker of its pool, so that a single failed start would end the call.
            let greeter = Greeter::with(round.to_string());
            assert!(kill_child(standby));
            std::thread::sleep(Duration::from_micros(random.u64(0..300)));
            let (pid, greeting) = greeter.greet.remote().wait().unwrap();
            assert_ne!(pid, standby);
            assert_eq!(greeting, round.to_string());
        });
    });
}

#[retry_runtime::test]
fn a_standby_whose_set_up_fails_is_a_start_that_failed() {
    fixture(LIMIT, serves, || {
        assert!(kill_child(call()));
        call();
        let standby = standby();
        match never_ready.remote().wait() {
            Err(CallError::Startup(Startup::SetUp(message), _)) => assert_eq!(&*message, "no"),
            other => panic!("{other:?}"),
        }
        eventually("it was the standby", SOON, || is_gone(standby));
    });
}

#[retry_runtime::test]
fn early_output_of_a_standby_is_not_attributed_to_its_function() {
    fixture(LIMIT, serves, || {
        let mut stream = events();
        assert!(kill_child(call()));
        call();
        let standby = standby();
        assert!(kill_child(call()));
        assert_eq!(call(), standby);
        let first =
            std::iter::from_fn(|| stream.next_timeout(SOON)).find_map(|event| match event.kind {
                EventKind::Output { line, .. } if event.worker_pid == Some(standby) => Some(line),
                _ => None,
            });
        // The test harness has announced its test before.
        assert_eq!(first.as_deref(), Some("here"));
    });
}

#[test]
fn a_killed_parent_leaves_no_standby_and_no_child_of_one() {
    fixture_outside(LIMIT, || {
        let token = format!("of {} replaced", std::process::id());
        let mut parent = Command::new(FAULTY)
            .arg("replaced")
            .env("MARK", &token)
            .env("BEFORE_INIT", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "true");
        assert_eq!(lines.next().unwrap().unwrap(), "waiting");
        let token = format!("MARK={token}");
        // The parent, the standby process, and the process that the standby process started.
        eventually("all is up", SOON, || processes_with(&token).len() == 3);
        parent.kill().unwrap();
        parent.wait().unwrap();
        eventually("nothing is left", Duration::from_secs(5), || {
            processes_with(&token).is_empty()
        });
        let mut printed = String::new();
        let mut stderr = parent.stderr.take().unwrap();
        stderr.read_to_string(&mut printed).unwrap();
        // Output that the second process printed while it was on standby is attributed to its function. The
        // output of the third one is not shown.
        assert_eq!(printed, "own_pid: begins\nown_pid: begins\n");
    });
}

#[test]
fn a_parent_killed_while_its_standby_starts_leaves_nothing() {
    fixture_outside(LIMIT, || {
        seeded(200, |random, round| {
            let token = format!("of {} dying {round}", std::process::id());
            let mut parent = Command::new(FAULTY)
                .arg("dying")
                .env("MARK", &token)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "waiting");
            std::thread::sleep(Duration::from_micros(random.u64(0..15_000)));
            parent.kill().unwrap();
            parent.wait().unwrap();
            eventually("nothing is left", Duration::from_secs(5), || {
                processes_with(&format!("MARK={token}")).is_empty()
            });
        });
    });
}
