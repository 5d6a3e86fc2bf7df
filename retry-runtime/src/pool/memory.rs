//! How much memory processes take.

use std::fs;

/// The resident memory in bytes of a process with all that descends from it.
pub(crate) fn of_tree(pid: u32) -> u64 {
    let mut total = 0;
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        total += of(pid);
        open.extend(children(pid));
    }
    total
}

/// The resident memory of one process in bytes; nothing if it is gone.
fn of(pid: u32) -> u64 {
    resident(pid).0
}

/// The resident memory of this process in bytes that it does not share: neither the rings, which
/// are taken page by page as calls go through them, nor files that are mapped.
pub(crate) fn own() -> u64 {
    let (all, shared) = resident(std::process::id());
    all.saturating_sub(shared)
}

/// All resident memory in bytes, and what is shared of it.
fn resident(pid: u32) -> (u64, u64) {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = statm
        .split(' ')
        .map(|pages| pages.parse::<u64>().unwrap_or(0) * rustix::param::page_size() as u64);
    let mut next = || pages.next().unwrap_or(0);
    let (_size, all, shared) = (next(), next(), next());
    (all, shared)
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|children| {
            let pids = children.split_whitespace();
            pids.filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}
