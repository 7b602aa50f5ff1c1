//! When an issuer is asked for its keys again.

use std::time::Duration;

use http::{HeaderMap, header};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// How often keys are fetched for one that was missed.
const MISSED: Duration = Duration::from_secs(60);
/// The shortest time that an answer can be kept for, whatever it says.
const LEAST: Duration = Duration::from_secs(60);
/// How long after a failure it is asked again; twice that after the next one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// When it is time to ask.
pub(super) struct Pace {
    refresh: Duration,
    due: Instant,
    missed_at: Option<Instant>,
    failures: u32,
}

impl Pace {
    /// The time is now.
    pub(super) fn new(refresh: Duration) -> Self {
        Self { refresh, due: Instant::now(), missed_at: None, failures: 0 }
    }

    /// Waits until it is time, or until a key was missed. Says whether it is for
    /// that alone.
    pub(super) async fn wait(&mut self, missed: &Notify) -> bool {
        tokio::select! {
            biased;
            () = sleep_until(self.due) => false,
            () = missed.notified() => {
                let (at, is_missed) = self.for_missed(Instant::now());
                sleep_until(at).await;
                is_missed
            }
        }
    }

    /// When to ask for a key that is missed now: at once, unless that was done
    /// within the last minute; and whether that is for it alone.
    fn for_missed(&mut self, now: Instant) -> (Instant, bool) {
        let earliest = self.missed_at.map_or(now, |at| now.max(at + MISSED));
        if earliest < self.due {
            self.missed_at = Some(earliest);
            (earliest, true)
        } else {
            (self.due, false)
        }
    }

    /// There was an answer, with these headers. What was asked for a missed key
    /// alone puts nothing off.
    pub(super) fn answered(&mut self, headers: &HeaderMap, is_missed: bool, now: Instant) {
        self.failures = 0;
        let next = now + kept_for(headers, self.refresh);
        self.due = if is_missed { self.due.min(next) } else { next };
    }

    /// There was none.
    pub(super) fn failed(&mut self, now: Instant) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        self.due = now + jittered(doubled.min(LAST_RETRY).min(self.refresh));
    }
}

/// For how long an answer says that it can be kept, within the bounds.
fn kept_for(headers: &HeaderMap, refresh: Duration) -> Duration {
    let control = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let directive = |text: &str| {
        let (name, value) = text.trim().split_once('=')?;
        let seconds = value.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    };
    let own = control.and_then(|control| control.split(',').find_map(directive));
    // `refresh` may be shorter than the least.
    own.map_or_else(|| jittered(refresh), |own| own.max(LEAST).min(jittered(refresh)))
}

/// Up to a tenth less, so that replicas do not all ask at once.
fn jittered(span: Duration) -> Duration {
    let mut byte = [0];
    // Without random numbers, they do.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    span.mul_f64(1.0 - f64::from(byte[0]) / 2560.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn saying(control: &'static str) -> HeaderMap {
        let value = http::HeaderValue::from_static(control);
        HeaderMap::from_iter([(header::CACHE_CONTROL, value)])
    }

    #[test]
    fn an_answer_is_kept_for_a_minute_at_least_and_until_the_next_refresh_at_most() {
        let kept = |control| kept_for(&saying(control), HOUR).as_secs();
        assert_eq!(kept("max-age=0"), 60);
        assert_eq!(kept("public, max-age=300, must-revalidate"), 300);
        assert_eq!(kept("Max-Age=\"300\""), 300);
        for whole in ["max-age=86400", "no-store", "max-age=-1", "max-age", ""] {
            assert!((3240..=3600).contains(&kept(whole)), "{whole}");
        }
        let refresh = Duration::from_secs(2);
        assert!(kept_for(&HeaderMap::new(), refresh) <= refresh);
    }

    /// A flood of missed keys for so long: how often it was asked for one of
    /// them, and how often because it was time.
    fn flooded(refresh: Duration, span: Duration) -> (usize, usize) {
        let mut pace = Pace::new(refresh);
        let (begun, mut for_missed, mut in_time) = (pace.due, 0, 0);
        let mut now = begun;
        while now < begun + span {
            let (at, is_missed) = pace.for_missed(now);
            now = at;
            *(if is_missed { &mut for_missed } else { &mut in_time }) += 1;
            pace.answered(&HeaderMap::new(), is_missed, now);
        }
        (for_missed, in_time)
    }

    #[test]
    fn a_flood_of_missed_keys_has_it_asked_once_a_minute_and_puts_no_refresh_off() {
        let (for_missed, in_time) = flooded(HOUR, 2 * HOUR);
        assert!((115..=121).contains(&for_missed), "{for_missed}");
        // The first time, and at least after an hour each.
        assert!((2..=4).contains(&in_time), "{in_time}");
        // Where the refresh is sooner, it serves those who have missed one.
        let second = Duration::from_secs(1);
        let (for_missed, in_time) = flooded(second, 100 * second);
        assert!(for_missed <= 2 && in_time >= 99, "{for_missed} {in_time}");
    }

    #[test]
    fn a_failure_is_tried_again_after_a_second_and_at_last_once_a_minute() {
        let mut pace = Pace::new(HOUR);
        for most in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (now, most) = (pace.due, Duration::from_secs(most));
            pace.failed(now);
            let wait = pace.due - now;
            assert!(wait <= most && wait >= most.mul_f64(0.9), "{wait:?} for {most:?}");
        }
        let now = pace.due;
        pace.answered(&HeaderMap::new(), false, now);
        pace.failed(now);
        assert!(pace.due - now <= FIRST_RETRY, "it starts over");
        // Who misses a key meanwhile does not have it asked more often.
        let mut pace = Pace::new(HOUR);
        let now = pace.due;
        pace.failed(now);
        assert_eq!(pace.for_missed(now), (now, true));
        assert_eq!(pace.for_missed(now), (pace.due, false));
    }
}
