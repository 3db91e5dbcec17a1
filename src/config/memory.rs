//! The memory of the machine, or of the control group that the process runs in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytesize::ByteSize;

/// Share of the memory that request bodies may take: one part in four.
const SHARE: u64 = 4;
/// Memory to assume if the system does not report it.
const ASSUMED: ByteSize = ByteSize::gib(4);

/// Returns the default of `max_body_memory`, in bytes.
pub(super) fn default_for_bodies() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| limit(&fs::read_to_string(path).ok()?));
    limits.chain(machine).min().unwrap_or(ASSUMED.as_u64()) / SHARE
}

/// Parses the total of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the files with the limits of a process's control group and of those around it, from its
/// `/proc/self/cgroup`. A container sees its own group as the root.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let around = Path::new(group.trim_start_matches('/')).ancestors();
        files.extend(around.map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// Parses the limit of a control group. `max` is no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_and_the_limit_are_parsed() {
        assert_eq!(total("MemTotal:        4030544 kB\nMemFree: 1 kB\n"), Some(4_030_544 * 1024));
        assert_eq!((total(""), total("MemTotal: x kB")), (None, None));
        assert_eq!((limit("536870912\n"), limit("max\n")), (Some(536_870_912), None));
        assert!(default_for_bodies() > 0);
    }

    #[test]
    fn the_limits_of_all_groups_around_the_process_count() {
        let files = |text: &str| limit_files(text).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            files("9:name=systemd:/\n4:memory:/a/b\n3:cpuset:/\n0::/u.slice\n"),
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/u.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert!(files("").is_empty() && files("x\n").is_empty());
    }
}
