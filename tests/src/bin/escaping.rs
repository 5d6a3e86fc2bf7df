//! Programs whose functions start processes that leave their worker's group. The first option selects the
//! program.

use std::process::Command;
use std::time::Duration;

use retry_runtime::{EventKind, Runtime, function, local_entrypoint};

const DAEMON: &str = "(setsid sh -c 'sleep 600 & exec sleep 600' &) </dev/null >/dev/null 2>&1";

fn run(script: &str) {
    let status = Command::new("sh").args(["-c", script]).status();
    assert!(status.is_ok_and(|status| status.success()));
}

#[function(max_workers = 1, at_most_once)]
fn starts(script: String, crashes: bool) -> u32 {
    run(&script);
    if crashes {
        std::process::abort();
    }
    std::process::id()
}

#[function(max_workers = 1)]
fn hangs(long: bool) -> u32 {
    if long {
        stay();
    }
    std::process::id()
}

#[function(max_workers = 1)]
fn idle() {}

/// Changes the user ID of all threads.
#[expect(unsafe_code, reason = "nothing safe does it for all threads")]
fn lose_rights() {
    // SAFETY: this is the C library's `setuid`, which may be called at any moment.
    unsafe extern "C" {
        safe fn setuid(user: std::ffi::c_uint) -> std::ffi::c_int;
    }
    assert_eq!(setuid(65534), 0);
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn stay() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

#[local_entrypoint]
fn main(what: String) {
    match what.as_str() {
        "stays" => {
            starts
                .remote(DAEMON.to_owned(), false)
                .wait()
                .expect("a pid");
            println!("started");
            stay();
        }
        "crashes-and-stays" => {
            // Another worker exists and detects that the parent has died.
            idle.remote().wait().expect("a worker");
            let _ = starts.remote(DAEMON.to_owned(), true).wait();
            starts
                .remote(DAEMON.to_owned(), false)
                .wait()
                .expect("a pid");
            println!("started");
            stay();
        }
        "stays-behind-a-script" => {
            let wrapper = std::env::var_os("WRAPPER").expect("a program");
            let runtime = Runtime::builder().worker_program(wrapper).build();
            let runtime = runtime.expect("a runtime");
            let call = starts.on(&runtime).remote(DAEMON.to_owned(), false);
            call.wait().expect("a pid");
            println!("started");
            stay();
        }
        "returns" => drop(starts.spawn(DAEMON.to_owned(), false)),
        "exits" => {
            let _ = starts.remote(DAEMON.to_owned(), true).wait();
            std::process::exit(0);
        }
        "loses-rights" => {
            let worker = hangs.remote(false).wait().expect("a pid");
            lose_rights();
            let call = hangs.remote(true).timeout(Duration::from_millis(200));
            let error = call.wait().expect_err("it hangs");
            let until = std::time::Instant::now() + Duration::from_secs(20);
            while is_alive(worker) && std::time::Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            let alive = is_alive(worker);
            println!("{error}");
            println!("timed out and {}", if alive { "alive" } else { "gone" });
        }
        "cannot-kill" => {
            let mut events = retry_runtime::events();
            let ready = starts.remote("true".to_owned(), false).wait();
            ready.expect("a worker");
            lose_rights();
            let script = "sleep 600 </dev/null >/dev/null 2>&1 &".to_owned();
            let _ = starts.remote(script, true).wait();
            while let Some(event) = events.next_timeout(Duration::from_secs(20)) {
                if let EventKind::ProcessLeft { pid, .. } = event.kind {
                    println!("left: {pid} by {:?}", event.worker_pid);
                    break;
                }
            }
        }
        other => panic!("{other}"),
    }
}
