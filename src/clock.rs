//! Time as a value: whoever needs it is handed a [`Clock`] or a
//! [`Timestamp`], so that every decision can be replayed at any moment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
///
/// Arithmetic saturates: a far-away time stays far away, and never wraps into
/// one that would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A time from milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// A time from whole seconds since the Unix epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// A `NumericDate` of RFC 7519, section 2: seconds, perhaps with a
    /// fraction. What is beyond the range of an `i64` becomes its end.
    #[must_use]
    pub fn from_numeric_date(secs: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the cast saturates, which is what is wanted of a time out of range"
        )]
        Self((secs * 1000.0).floor() as i64)
    }

    /// A time as people write it: seconds since the Unix epoch, or RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(secs) = text.parse() {
            return Some(Self::from_secs(secs));
        }
        let time = humantime::parse_rfc3339_weak(text).ok()?;
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        Some(Self::from_secs(0).plus(since))
    }

    /// The time as RFC 3339 has it, in whole seconds; one that has no such form, in
    /// seconds since the Unix epoch.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        // To the end of the year 9999.
        match u64::try_from(self.as_secs()) {
            Ok(secs) if secs < 253_402_300_800 => {
                humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs))
                    .to_string()
            }
            _ => self.as_secs().to_string(),
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The time `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let span = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(span).unwrap_or(0))
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Tells the time.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock: the one place that reads it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are handed")]
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(millis(since)),
            Err(before) => Timestamp(millis(before.duration()).saturating_neg()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_dates_out_of_range_saturate() {
        assert_eq!(Timestamp::from_numeric_date(1e300).as_millis(), i64::MAX);
        assert_eq!(Timestamp::from_numeric_date(-1e300).as_millis(), i64::MIN);
        assert_eq!(Timestamp::from_numeric_date(1.5).as_millis(), 1500);
        assert_eq!(Timestamp::from_numeric_date(-0.5).as_secs(), -1);
    }

    #[test]
    fn a_time_is_written_in_seconds_or_as_rfc_3339_has_it() {
        let time = Some(Timestamp::from_secs(1_795_004_800));
        assert_eq!(Timestamp::parse("1795004800"), time);
        assert_eq!(Timestamp::parse("2026-11-18T12:26:40Z"), time);
        assert_eq!(Timestamp::parse("2026-11-18 12:26:40"), time);
        assert_eq!(time.map(Timestamp::to_rfc3339).as_deref(), Some("2026-11-18T12:26:40Z"));
        assert_eq!(Timestamp::from_secs(-1).to_rfc3339(), "-1");
        assert_eq!(Timestamp::from_millis(i64::MAX).to_rfc3339(), "9223372036854775");
        for text in ["", "yesterday", "2026-11-18", "2026-13-18T12:26:40Z", "1.5"] {
            assert_eq!(Timestamp::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn adding_to_the_end_of_time_stays_there() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::from_secs(5).since(end), Duration::ZERO);
    }
}
