//! Functions that use the connection of their worker against the program: what an exploited function could do.

use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use retry_runtime::{CallError, CrashLimit, Shared, function};
use retry_tests::{Ledger, descriptors, fixture, record, seeded};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, sendmsg, shutdown,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(240);

const ROUNDS: u32 = 30;

/// Attacks are no reason to give up.
const UNLIMITED: CrashLimit = CrashLimit::unlimited();

const KIB: usize = 1024;

/// Returns duplicates of the descriptors of this process whose targets contain a text.
fn all_that_are(what: &str) -> Vec<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).expect("a pidfd of this process");
    let descriptors = descriptors();
    let numbers = descriptors.iter().filter_map(|line| {
        let (number, target) = line.split_once(' ')?;
        target.contains(what).then(|| number.parse().ok())?
    });
    let duplicate = |number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty());
    numbers
        .filter_map(|number| duplicate(number).ok())
        .collect()
}

/// Returns the places of all memory that this process shares with others and may write to, or may only read.
fn shared_memory(protection: &str) -> Vec<Range<u64>> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the maps of this process");
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        (words.next()? == protection).then_some(number(start)?..number(end)?)
    };
    maps.lines().filter_map(of_line).collect()
}

/// Writes into memory of this process. The kernel refuses it where the memory may only be read.
fn scribble(random: &mut Rng, all: &[Range<u64>], times: usize) {
    let memory = OpenOptions::new().write(true).open("/proc/self/mem");
    let mut memory: File = memory.expect("the memory of this process");
    for _ in 0..times {
        let Some(range) = random.choice(all) else {
            return;
        };
        // Counters and states are at the beginning of a page.
        let page = random.u64(range.start / 4096..range.end / 4096) * 4096;
        let offset = if random.bool() {
            random.u64(0..512)
        } else {
            random.u64(0..4096)
        };
        let word: u64 = match random.u8(0..4) {
            0 => 0,
            1 => u64::MAX,
            2 => random.u64(0..1 << 20),
            _ => random.u64(..),
        };
        let at = SeekFrom::Start((page + offset) / 8 * 8);
        let written = memory
            .seek(at)
            .and_then(|_| memory.write(&word.to_le_bytes()));
        let _ = written;
    }
}

/// Makes a file in memory, as a worker hands them over: with any seals, of any size.
fn any_file(random: &mut Rng) -> OwnedFd {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let file = memfd_create("hostile", flags).expect("a file in memory");
    let sizes = [0, 1, 4095, 4096, 1 << 20, 1 << 40];
    let size = *random.choice(&sizes).expect("there are some");
    let _ = ftruncate(&file, size);
    let seals = [
        SealFlags::SHRINK,
        SealFlags::GROW,
        SealFlags::WRITE,
        SealFlags::SEAL,
    ];
    for seal in seals {
        if random.u8(0..4) > 0 {
            let _ = fcntl_add_seals(&file, seal);
        }
    }
    file
}

/// Sends bytes to the program, and maybe files with them.
fn send(random: &mut Rng, socket: &OwnedFd) {
    let mut bytes = vec![0; random.usize(1..64)];
    for byte in &mut bytes {
        // Small numbers are kinds and lengths.
        *byte = if random.bool() {
            random.u8(0..8)
        } else {
            random.u8(..)
        };
    }
    if random.bool() && bytes.len() > 8 {
        // The lengths of a head and of what follows it.
        let (head, payload) = (random.u32(0..48), random.u32(0..48));
        bytes[..4].copy_from_slice(&head.to_le_bytes());
        bytes[4..8].copy_from_slice(&payload.to_le_bytes());
    }
    let files: Vec<_> = (0..random.usize(0..3)).map(|_| any_file(random)).collect();
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let _ = sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags);
}

/// Does a few things that no worker does.
fn attack(random: &mut Rng) {
    for _ in 0..random.u8(1..4) {
        let sockets = all_that_are("socket:");
        match random.u8(0..6) {
            0 => {
                for socket in &sockets {
                    (0..random.u8(1..20)).for_each(|_| send(random, socket));
                }
            }
            1 => {
                if let Some(socket) = random.choice(&sockets) {
                    send(random, socket);
                }
            }
            2 => scribble(random, &shared_memory("rw-s"), 2000),
            3 => scribble(random, &shared_memory("rw-s"), 3),
            4 => {
                for file in all_that_are("memfd:") {
                    let size = *random
                        .choice(&[0, 1, 4096, 1 << 30])
                        .expect("there are some");
                    let _ = ftruncate(&file, size);
                }
                scribble(random, &shared_memory("r--s"), 100);
            }
            _ => {
                if let (Some(socket), Some(how)) = (random.choice(&sockets), random.choice(&HOWS)) {
                    let _ = shutdown(socket, *how);
                }
            }
        }
    }
}

#[function(
    timeout = "2s",
    grace = "100ms",
    crash_limit = UNLIMITED,
    // The files that it has sent without a message are kept as long as the worker.
    scaledown_window = "500ms"
)]
fn attacks(ledger: PathBuf, seed: u64, staged: &[u8], shared: Shared<[u8]>) -> Vec<u8> {
    // A worker may pretend not to have begun a call, which runs once more then: in another way, or it would never end.
    record(&ledger, 0);
    let times = std::fs::metadata(&ledger).expect("the ledger").len();
    let mut random = Rng::with_seed(seed.wrapping_add(times));
    attack(&mut random);
    match random.u8(0..8) {
        0 => std::process::exit(random.i32(0..3)),
        1 => panic!("hostile"),
        2 => std::thread::sleep(Duration::from_millis(20)),
        _ => {}
    }
    [staged, &shared].concat()
}

#[function]
fn adds(number: u64, staged: &[u8], shared: Shared<[u8]>) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    number + sum(staged) + sum(&shared)
}

const HOWS: [Shutdown; 3] = [Shutdown::Read, Shutdown::Write, Shutdown::Both];

/// Returns the sum of the bytes. Shuts connections of its worker down if it is told how.
#[function(max_workers = 1, crash_limit = UNLIMITED)]
fn adds_and_breaks(how: Option<usize>, staged: &[u8], nests: bool) -> u64 {
    if let Some(how) = how {
        for socket in all_that_are("socket:") {
            let _ = shutdown(socket, HOWS[how]);
        }
    }
    let sum = staged.iter().map(|byte| u64::from(*byte)).sum();
    match nests {
        true => crate::serving::echo.remote(sum).wait().expect("a result"),
        false => sum,
    }
}

/// Functions may close descriptors that they have not opened. The worker is replaced then, and no later call suffers.
#[retry_runtime::test]
fn a_worker_whose_connections_are_broken_is_replaced() {
    fixture(LIMIT, serves, || {
        seeded(24, |random, round| {
            let how = round as usize % HOWS.len();
            let nests = random.bool();
            if nests {
                // The worker reads from the connection already.
                let _ = adds_and_breaks.remote(None, &[1], true).wait();
            }
            let staged = vec![1; 64 * KIB * random.usize(1..3)];
            match adds_and_breaks
                .remote(Some(how), &[1], random.bool())
                .wait()
            {
                Ok(sum) => assert_eq!(sum, 1),
                Err(CallError::Crashed(..) | CallError::Lost(..)) => {}
                Err(other) => panic!("{other:?}"),
            }
            for nests in [nests, !nests] {
                let sum = adds_and_breaks.remote(None, &staged, nests).wait();
                assert_eq!(sum.expect("a result"), staged.len() as u64);
            }
        });
    });
}

/// A worker can spoil its own calls. It can neither crash nor block the program, nor change what other workers are
/// given, and everything that it has taken is returned.
#[retry_runtime::test]
fn a_hostile_worker_spoils_only_its_own_calls() {
    fixture(LIMIT, serves, || {
        seeded(ROUNDS, |random, _| {
            let staged = vec![random.u8(..); 64 * KIB + random.usize(0..64 * KIB)];
            let shared = Shared::<[u8]>::new(&vec![random.u8(..); random.usize(0..100 * KIB)]);
            let shared = shared.expect("there is memory");
            let honest = (0..4u64).map(|number| adds.spawn(number, &staged, shared.clone()));
            let honest: Vec<_> = honest.collect();
            let ledger = Ledger::new();
            let attack = |seed| attacks.spawn(ledger.path(), seed, &staged, shared.clone());
            let attacked: Vec<_> = (0..3).map(|_| attack(random.u64(..))).collect();
            for call in attacked {
                match call.wait() {
                    Ok(_)
                    | Err(
                        CallError::Crashed(..)
                        | CallError::Panicked(..)
                        | CallError::TimedOut(..)
                        | CallError::Rejected(..)
                        | CallError::Lost(..)
                        | CallError::Startup(..),
                    ) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            let expected = sum(&staged) + sum(&shared);
            for (number, call) in (0..).zip(honest) {
                assert_eq!(call.wait().expect("a result"), number + expected);
            }
        });
    });
}
