//! Control groups, with which the kernel limits the memory of processes.

use std::fs;
use std::path::{Path, PathBuf};

/// The prefix of the names of workers' groups. The parent's pid and the worker's number follow.
pub(crate) const PREFIX: &str = "retry-";

/// The file names of a memory group, which differ between the versions.
pub(crate) struct Files {
    pub(crate) limit: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) peak: &'static str,
    pub(crate) events: &'static str,
    /// The fields of its statistics with the memory that the kernel takes back where it is needed.
    reclaimable: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    peak: "memory.max_usage_in_bytes",
    events: "memory.oom_control",
    reclaimable: ["total_inactive_file ", "total_active_file "],
};

const VERSION_2: Files = Files {
    limit: "memory.max",
    usage: "memory.current",
    peak: "memory.peak",
    events: "memory.events",
    reclaimable: ["inactive_file ", "active_file "],
};

/// Returns the directory of this process's memory group, and the file names of its version.
pub(crate) fn own() -> Option<(PathBuf, &'static Files)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    find(&groups, &mounts)
}

/// Returns the number in a file of a group; `None` if it has none, such as where there is no limit.
pub(crate) fn number(group: &Path, file: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    text.trim().parse().ok()
}

/// Returns how many more bytes this process may take before the kernel kills processes of its group or of one above it;
/// `None` if no group has a limit. The limit of a worker is not one of these: a function that exceeds it is to be killed.
pub(super) fn room() -> Option<u64> {
    let (own, files) = own()?;
    let is_of_worker = |group: &Path| {
        let name = group.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX))
    };
    let groups = own.ancestors().filter(|group| !is_of_worker(group));
    groups.filter_map(|group| room_of(group, files)).min()
}

fn room_of(group: &Path, files: &Files) -> Option<u64> {
    let (limit, usage) = (number(group, files.limit)?, number(group, files.usage)?);
    let statistics = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let fields = statistics.lines().filter_map(|line| {
        let mut names = files.reclaimable.iter();
        let value = names.find_map(|name| line.strip_prefix(name))?;
        value.trim().parse::<u64>().ok()
    });
    Some(limit.saturating_sub(usage.saturating_sub(fields.sum())))
}

/// Returns the directory of a process's memory group, and the file names of its version.
fn find(groups: &str, mounts: &str) -> Option<(PathBuf, &'static Files)> {
    let has = |list: &str, wanted: &str| list.split(',').any(|one| one == wanted);
    let mount = |kind: &str, option: Option<&str>| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, is, options) = (fields.next()?, fields.next()?, fields.next()?);
            (is == kind && option.is_none_or(|option| has(options, option))).then_some(at)
        })
    };
    let group = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            has(controllers, controller).then_some(path)
        })
    };
    let (mount, group, files) = match (group("memory"), mount("cgroup", Some("memory"))) {
        (Some(group), Some(mount)) => (mount, group, &VERSION_1),
        _ => (mount("cgroup2", None)?, group("")?, &VERSION_2),
    };
    Some((Path::new(mount).join(group.trim_start_matches('/')), files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let groups = "4:memory:/box/7\n1:cpu:/\n0::/\n";
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let (directory, files) = find(groups, mounts).unwrap();
        assert_eq!(directory, Path::new("/sys/fs/cgroup/memory/box/7"));
        assert_eq!(files.limit, VERSION_1.limit);
        let (directory, files) = find(
            "0::/user.slice/app\n",
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
        )
        .unwrap();
        assert_eq!(directory, Path::new("/sys/fs/cgroup/user.slice/app"));
        assert_eq!(files.limit, VERSION_2.limit);
        assert!(find("0::/\n", "proc /proc proc rw 0 0\n").is_none());
    }

    #[test]
    fn the_room_of_a_group_includes_what_the_kernel_takes_back() {
        let name = format!("retry-group-{}", std::process::id());
        let group = std::env::temp_dir().join(name);
        fs::create_dir(&group).unwrap();
        let write = |file, text| fs::write(group.join(file), text).unwrap();
        let room = || room_of(&group, &VERSION_2);
        assert_eq!(room(), None);
        write("memory.current", "700\n");
        write("memory.max", "max\n");
        assert_eq!(room(), None);
        write("memory.max", "1000\n");
        assert_eq!(room(), Some(300));
        write(
            "memory.stat",
            "anon 500\ninactive_file 40\nactive_file 60\n",
        );
        assert_eq!(room(), Some(400));
        write("memory.max", "100\n");
        assert_eq!(room(), Some(0));
        fs::remove_dir_all(&group).unwrap();
    }
}
