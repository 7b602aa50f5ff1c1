//! `[lifecycle]` and `[telemetry]`: how the service stops and what it tells.

use std::time::Duration;

use super::{http, layers::Sources, reader::Section};
use crate::traces::TraceSettings;

/// `[lifecycle]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifecycleConfig {
    /// How long it still serves after it has said that it is not ready.
    pub drain: Duration,
    /// How long what is in flight may take after that.
    pub stop_within: Duration,
}

impl LifecycleConfig {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let config =
            Self { drain: section.duration("drain"), stop_within: section.duration("stop_within") };
        section.finish();
        config
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// An object a line.
    Json,
    /// For people.
    Text,
}

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// The share of allowances that are logged, from 0 to 1.
    pub allowed_decisions: f64,
    /// Where spans go, if anywhere.
    pub traces: Option<TraceSettings>,
}

impl TelemetryConfig {
    pub(super) fn read(mut section: Section<'_>, sources: &Sources) -> Self {
        let log_format = section
            .parsed("log_format", "\"json\" or \"text\"", |format| match format {
                "json" => Some(LogFormat::Json),
                "text" => Some(LogFormat::Text),
                _ => None,
            })
            .unwrap_or(LogFormat::Json);
        let allowed_decisions =
            section.get::<f64>("allowed_decisions", "a share from 0.0 to 1.0").unwrap_or(1.0);
        if !(0.0..=1.0).contains(&allowed_decisions) {
            section.problem(
                "allowed_decisions",
                "it is not a share",
                "write a number from 0.0 to 1.0",
            );
        }
        let endpoint = section.parsed("otlp_endpoint", http::URL, http::web_url);
        let endpoint = endpoint.map(String::from).or_else(|| {
            // The variables by which every OpenTelemetry exporter is told.
            let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
            let (name, url) = names.into_iter().find_map(|name| {
                Some((name, sources.variable(name)?.into_string().unwrap_or_default()))
            })?;
            let parsed = http::web_url(&url);
            if parsed.is_none() {
                let fix = format!("set {name} to {}", http::URL);
                section.problem("otlp_endpoint", format!("{name} is no such URL"), fix);
            }
            parsed.map(String::from)
        });
        section.finish();
        let sampler_is_given = sources.variable("OTEL_TRACES_SAMPLER").is_some();
        let traces = endpoint.map(|endpoint| TraceSettings { endpoint, sampler_is_given });
        Self { log_format, allowed_decisions, traces }
    }
}
