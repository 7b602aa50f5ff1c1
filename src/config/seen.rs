//! Which version of a file was read.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// What tells one version of a file from another; `None` where there is none.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

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
        let data = std::fs::metadata(path).ok();
        let stamp =
            data.map(|data| (data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), data.size()));
        Self { path: path.to_owned(), stamp }
    }

    /// The same file now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::look(&self.path)
    }
}
