//! Which version of a file was read.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// What tells one version of a file from another; `None` where there is none.
type Stamp = Option<(u64, u64, Option<u64>, [i64; 4])>;

/// A file as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFile {
    path: PathBuf,
    stamp: Stamp,
}

impl SeenFile {
    /// The file of now, behind any symlink: that is what Kubernetes swaps.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        let stamp = std::fs::metadata(path).ok().map(|data| {
            // The time of change tells of what keeps size and time of writing,
            // and of who may read it.
            let times = [data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()];
            (data.dev(), data.ino(), data.is_file().then(|| data.size()), times)
        });
        Self { path: path.to_owned(), stamp }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is there, and no file that can be read twice: a directory,
    /// or a pipe.
    #[must_use]
    pub fn is_no_file(&self) -> bool {
        self.stamp.is_some_and(|(_, _, size, _)| size.is_none())
    }

    /// Whether it is a file with nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stamp.is_some_and(|(_, _, size, _)| size == Some(0))
    }

    /// Whether what was a configuration is none now, beside those of when it was good: a
    /// disk that is full, a pipe that was read, a directory.
    #[must_use]
    pub fn is_lost(&self, good: &[Self]) -> bool {
        let had_something = || good.iter().any(|old| old.path == self.path && !old.is_empty());
        self.is_no_file() || (self.is_empty() && had_something())
    }

    /// The same file now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::look(&self.path)
    }
}
