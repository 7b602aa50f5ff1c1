//! The switch of all mutants, which is put into the copy of the sources.

use std::{
    fs::File,
    io::Write as _,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// The mutant that is on.
static ON: LazyLock<u32> = LazyLock::new(|| {
    std::env::var("MUTANT_ON").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
});

/// Where it is noted which were reached.
static NOTES: LazyLock<Option<File>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANT_NOTES")?;
    File::options().append(true).create(true).open(path).ok()
});

static REACHED: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];

/// Whether this mutant is on.
pub(crate) fn is(number: u32) -> bool {
    if let Some(mut notes) = NOTES.as_ref()
        && let Some(reached) = REACHED.get(number as usize)
        && !reached.swap(true, Ordering::Relaxed)
    {
        notes.write_all(format!("{number}\n").as_bytes()).expect("a note is written");
    }
    *ON == number
}
