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
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The resident memory of this process in bytes.
pub(crate) fn own() -> u64 {
    of(std::process::id())
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
