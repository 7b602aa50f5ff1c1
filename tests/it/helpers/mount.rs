//! A directory of files as the kubelet mounts a `ConfigMap` or a Secret, and
//! changes it: all files at once, by the swap of one symlink.

use std::{
    cell::Cell,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

pub(crate) struct Mount {
    room: tempfile::TempDir,
    version: Cell<u32>,
}

impl Mount {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let mount = Self { room: tempfile::tempdir().unwrap(), version: Cell::new(0) };
        mount.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mount.file(name)).unwrap();
        }
        mount
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// Writes all files anew, then lets `..data` lead to them.
    pub(crate) fn swap(&self, files: &[(&str, &str)]) {
        let at = |name: &str| self.room.path().join(name);
        let old = fs::read_link(at("..data")).ok();
        self.version.set(self.version.get() + 1);
        let new = format!("..2026_11_21_00_00_00.{:09}", self.version.get());
        fs::create_dir(at(&new)).unwrap();
        for (name, text) in files {
            fs::write(at(&new).join(name), text).unwrap();
        }
        symlink(&new, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.room.path().join(old)).unwrap();
        }
    }
}
