//! A program whose workers report the memory that they share with their parent, and write arbitrary bytes to
//! it.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use retry_runtime::{CallError, CrashLimit, function};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, Resource};

/// More than the memory for a worker's state, and less than the memory for rings.
const SMALL: u64 = 256 * 1024;

/// Returns the number of bytes that this worker shares with its parent.
#[function]
fn shared() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    maps.lines()
        .filter(|line| line.contains("memfd:retry-worker"))
        .filter_map(|line| line.split_once(' ')?.0.split_once('-'))
        .map(|(start, end)| number(end) - number(start))
        .sum()
}

#[function]
fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}

#[function]
fn next(value: u64) -> u64 {
    value.wrapping_add(1)
}

#[function(max_workers = 1, crash_limit = CrashLimit::unlimited(), at_most_once)]
fn writes_nonsense(seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let socket = protocol();
    for _ in 0..random.usize(..6) {
        let mut bytes = vec![0; random.usize(1..300)];
        random.fill(&mut bytes);
        if random.bool() && bytes.len() > 24 {
            // A well-formed answer, for a ticket that this worker may hold.
            bytes[..4].copy_from_slice(&random.u32(..400).to_le_bytes());
            bytes[4..8].copy_from_slice(&[random.u8(..16), 0, 0, 0]);
            bytes[8..16].copy_from_slice(&random.u64(..4).to_le_bytes());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [socket.as_fd()];
        if random.u8(..4) == 0 {
            control.push(SendAncillaryMessage::ScmRights(&files));
        }
        // A full socket is no failure, and the parent may have killed this process by now.
        let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        flags.set(SendFlags::OOB, random.u8(..6) == 0);
        let _ = rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, flags);
    }
    match random.u8(..8) {
        0..3 => std::process::abort(),
        3..6 => std::process::exit(0),
        6 => {
            let _ = rustix::net::shutdown(&socket, Shutdown::Both);
        }
        _ => {}
    }
    // Do not return: a real answer would be read as the rest of a frame whose header claims too much.
    std::thread::sleep(Duration::from_secs(1000));
    seed
}

/// Returns a copy of the socket to the parent: the first socket of this process.
fn protocol() -> OwnedFd {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let number = entries
        .flatten()
        .filter(|entry| {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            target.to_string_lossy().starts_with("socket:")
        })
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok())
        .min()
        .expect("a socket");
    let pid = rustix::process::getpid();
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd");
    rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()).expect("a copy")
}

fn limit_files(bytes: u64) {
    let mut limit = rustix::process::getrlimit(Resource::Fsize);
    limit.current = Some(bytes);
    rustix::process::setrlimit(Resource::Fsize, limit).expect("a lower limit");
}

fn main() {
    retry_runtime::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments[0].as_str() {
        mode @ ("shared" | "limited" | "hopeless") => {
            match mode {
                "limited" => limit_files(SMALL),
                "hopeless" => limit_files(4096),
                _ => {}
            }
            match shared.remote().wait() {
                Ok(bytes) => println!("{}", bytes > SMALL),
                Err(error) => println!("{error}"),
            }
            if mode == "hopeless" {
                return;
            }
            let sum: u64 = next.map(0..10_000).into_iter().map(Result::unwrap).sum();
            println!("{sum}");
            // More bytes than either direction can buffer, in both directions at the same time.
            let mut bytes: Vec<u8> = (0..5_000_000u32).map(|at| at as u8).collect();
            let calls: Vec<_> = (0..4).map(|_| reversed.spawn(bytes.clone())).collect();
            bytes.reverse();
            let right = calls
                .into_iter()
                .map(|call| call.wait().expect("a value") == bytes)
                .filter(|right| *right)
                .count();
            println!("{right}");
        }
        "nonsense" => {
            let first: u64 = arguments[1].parse().expect("a seed");
            let rounds: u64 = arguments[2].parse().expect("a number of rounds");
            let mut counts = BTreeMap::new();
            for seed in (0..rounds).map(|round| first.wrapping_add(round)) {
                let limit = Duration::from_millis(100);
                let became = match writes_nonsense.remote(seed).timeout(limit).wait() {
                    Ok(_) => "forged",
                    Err(CallError::Crashed(..)) => "crashed",
                    Err(CallError::Lost(..)) => "lost",
                    Err(CallError::TimedOut(..)) => "timed out",
                    Err(_) => "other",
                };
                *counts.entry(became).or_insert(0) += 1;
                assert_eq!(
                    next.remote(seed).wait().expect("a value"),
                    seed.wrapping_add(1)
                );
            }
            eprintln!("{counts:?}");
            println!("over");
        }
        other => panic!("unknown mode {other:?}"),
    }
}
