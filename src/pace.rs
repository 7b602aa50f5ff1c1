//! How long a thread works in one go that others need not wait for: the one that follows the
//! store, and the engine's in a gateway.
//!
//! Who works in one go keeps a processor for a slice of the scheduler, some three
//! milliseconds, whatever the priorities, and the gateway's thread on it waits: a list of a
//! million would be felt by every request. Who rests before the slice is over is in nobody's
//! way for longer than until then.

use std::{
    thread,
    time::{Duration, Instant},
};

/// After so much work a rest is taken.
const WORK: Duration = Duration::from_micros(100);
/// For how long, at least. A wait that is as long is a rest, too.
const REST: Duration = Duration::from_micros(100);

/// Since when there has been no rest.
pub(crate) struct Pace(Instant);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Waits for something. What it waits is a rest, where it is long enough.
    pub(crate) fn waits<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let asked = Instant::now();
        let given = wait();
        if asked.elapsed() >= REST {
            self.0 = Instant::now();
        }
        given
    }

    /// A piece of work is done: takes a rest, where one is due.
    pub(crate) fn rest(&mut self) {
        if self.0.elapsed() >= WORK {
            thread::sleep(REST);
            self.0 = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works(pace: &Pace) {
        while pace.0.elapsed() < WORK {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn who_works_rests_and_who_waits_has_rested() {
        let mut pace = Pace::new();
        works(&pace);
        let asked = Instant::now();
        pace.rest();
        assert!(asked.elapsed() >= REST, "a rest is due");
        works(&pace);
        pace.waits(|| {});
        assert!(pace.0.elapsed() >= WORK, "no wait is no rest");
        pace.waits(|| thread::sleep(REST));
        assert!(pace.0 >= asked + REST + WORK, "a wait is one");
    }
}
