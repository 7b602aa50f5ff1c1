//! The two texts that Prometheus reads.

use prometheus_client::{encoding::text::encode as encode_open_metrics, registry::Registry};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that an `Accept` header asks for.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let mut types = accept.split(',').map(|item| item.split(';').map(str::trim));
        let is_wanted = types.any(|mut item| {
            item.next() == Some("application/openmetrics-text")
                && !item.any(|parameter| matches!(parameter, "q=0" | "q=0.0"))
        });
        if is_wanted { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

pub(super) fn encode(registry: &Registry, format: Format) -> String {
    let mut text = String::new();
    if encode_open_metrics(&mut text, registry).is_err() {
        // A `String` takes everything.
        text.clear();
    }
    match format {
        Format::OpenMetrics => text,
        Format::Prometheus => older(&text),
    }
}

/// `OpenMetrics` names a counter's family without the `_total` of its samples,
/// and ends with a mark; the older text does neither.
fn older(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut help = None;
    for line in text.lines().filter(|line| *line != "# EOF") {
        if line.starts_with("# HELP ") {
            help = Some(line);
            continue;
        }
        let name = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next());
        let suffix = if line.ends_with(" counter") { "_total" } else { "" };
        for line in help.take().into_iter().chain([line]) {
            match name.and_then(|name| line.split_once(name).map(|parts| (parts, name))) {
                Some(((before, after), name)) => {
                    out.extend([before, name, suffix, after, "\n"]);
                }
                None => out.extend([line, "\n"]),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_text_names_counters_by_their_samples() {
        let new = "# HELP a_b Some a_b.\n# TYPE a_b counter\na_b_total{x=\"# EOF\"} 1\n\
                   # HELP c Of c.\n# TYPE c gauge\nc 2\n# EOF\n";
        let old = "# HELP a_b_total Some a_b.\n# TYPE a_b_total counter\na_b_total{x=\"# EOF\"} 1\n\
                   # HELP c Of c.\n# TYPE c gauge\nc 2\n";
        assert_eq!(older(new), old);
    }
}
