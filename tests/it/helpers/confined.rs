//! The service within the memory that `k8s/base` gives it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE, Running, address_of_listener, portcullis, portcullis_of, read, root,
};

/// The limit of the manifests, in bytes.
fn limit() -> usize {
    let manifest = read("k8s/base/deployment.yaml");
    let (_, limit) = manifest.split_once("limits: { cpu: \"2\", memory: ").unwrap();
    let (mebibytes, _) = limit.split_once("Mi }").unwrap();
    mebibytes.parse::<usize>().unwrap() << 20
}

/// A control group of that limit, where one can be made.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-test-{}-{nth}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let (parent, keys) = if first.exists() {
            (first, ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
        } else {
            let second = Path::new("/sys/fs/cgroup");
            let _ = std::fs::write(second.join("cgroup.subtree_control"), "+memory");
            (second, ["memory.max", "memory.swap.max"])
        };
        let group = Self(parent.join(name));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(keys[0]), limit().to_string()).ok()?;
        // Not everywhere is swap looked at, or anything swapped.
        let swap = if keys[1] == "memory.swap.max" { 0 } else { limit() };
        let _ = std::fs::write(group.0.join(keys[1]), swap.to_string());
        Some(group)
    }

    /// The most that was in it, in bytes.
    fn peak(&self) -> Option<usize> {
        let peaks = ["memory.max_usage_in_bytes", "memory.peak"];
        let text = peaks.iter().find_map(|peak| std::fs::read_to_string(self.0.join(peak)).ok())?;
        text.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty as soon as the last process in it is gone.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The release build, where there is one.
pub(crate) fn release() -> PathBuf {
    root().join("target/release/portcullis")
}

/// A running service that may not have more.
pub(crate) struct Confined {
    pub(crate) check: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) internal: SocketAddr,
    running: Running,
    group: Option<Group>,
}

impl Confined {
    /// Starts the release build, where there is one: it is what is run.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let release = release();
        let plain = if release.exists() { portcullis_of(&release) } else { portcullis() };
        let group = Group::new();
        let mut command = match &group {
            None => Command::new(plain.get_program()),
            Some(Group(group)) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]);
                shell.arg(group).arg(plain.get_program());
                shell
            }
        };
        let given = plain.get_envs().filter_map(|(key, value)| Some((key, value?)));
        command.env_clear().envs(given).env("PORTCULLIS__CHECK__LISTEN", "127.0.0.1:0");
        command.env("PORTCULLIS__LIFECYCLE__DRAIN", "0s").envs(environment.iter().copied());
        let running = Running::start(command.arg("serve"));
        let [check, http, internal] =
            ["check", "http", "internal"].map(|name| address_of_listener(&running, name));
        Self { check, http, internal, running, group }
    }

    /// Waits until it has nothing more to do.
    pub(crate) async fn rests(&self) {
        let stat = format!("/proc/{}/stat", self.running.child.id());
        let worked = || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            // The times of user and system, behind the name.
            let (_, stat) = stat.rsplit_once(") ").unwrap();
            let times = stat.split(' ').skip(11).take(2);
            times.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()
        };
        let started = Instant::now();
        loop {
            let before = worked();
            tokio::time::sleep(Duration::from_millis(200)).await;
            if worked() <= before + 1 {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "it does not come to rest");
        }
    }

    /// What of it is resident now (`VmRSS`), or was at most (`VmHWM`), in KiB.
    pub(crate) fn memory(&self, key: &str) -> usize {
        self.running.memory(key)
    }

    /// It lives, and has never had more than it may.
    pub(crate) fn is_within_its_limit(&self) {
        let kibibytes = self.memory("VmHWM");
        let peak = self.group.as_ref().and_then(Group::peak).map(|bytes| bytes / 1024);
        println!("resident at most {kibibytes} KiB, in its group {peak:?}");
        assert!(kibibytes * 1024 <= limit(), "{kibibytes} KiB");
    }
}
