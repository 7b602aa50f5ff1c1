//! Which lines differ from another commit.

use std::{collections::BTreeMap, ops::Range, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

/// Lines of files, which count from 1.
pub(crate) type Lines = BTreeMap<String, Vec<Range<usize>>>;

/// What has changed since a commit, also what is not committed yet.
pub(crate) fn lines(root: &Path, since: &str) -> Result<Lines> {
    let mut changed = Lines::new();
    let diff =
        git(root, &["diff", "--no-color", "--no-ext-diff", "--unified=0", since, "--", "src"])?;
    let mut file = String::new();
    for line in diff.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            path.clone_into(&mut file);
        } else if let Some(hunk) = line.strip_prefix("@@ ") {
            changed.entry(file.clone()).or_default().push(new_side(hunk).context("a hunk")?);
        }
    }
    // What git does not know yet is new from end to end.
    for path in git(root, &["ls-files", "--others", "--exclude-standard", "--", "src"])?.lines() {
        changed.insert(path.to_owned(), vec![0..usize::MAX]);
    }
    Ok(changed)
}

/// The lines of `-1,2 +3,4 @@ …` as they are now.
fn new_side(hunk: &str) -> Option<Range<usize>> {
    let new = hunk.split_once('+')?.1.split(' ').next()?;
    let (start, count) = match new.split_once(',') {
        Some((start, count)) => (start.parse().ok()?, count.parse().ok()?),
        None => (new.parse().ok()?, 1),
    };
    // Where something was taken away, what stands before and behind is changed.
    Some(if count == 0 { start..start + 2 } else { start..start + count })
}

/// Whether any of these lines of a file are changed.
pub(crate) fn touches(changed: &Lines, file: &str, own: &Range<usize>) -> bool {
    let lines = changed.get(file).into_iter().flatten();
    lines.into_iter().any(|lines| lines.start < own.end && own.start < lines.end)
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
