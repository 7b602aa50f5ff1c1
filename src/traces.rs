//! Spans of checks, for an OpenTelemetry collector. A check continues the
//! trace of the request that it is about (W3C Trace Context), and has a span
//! only when that trace is sampled.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    time::now,
    trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use thiserror::Error;
use tonic::transport::ClientTlsConfig;

use crate::{
    authz::{CheckInput, Reason},
    decision_log::{self, Entry},
};

/// How long the collector may take for what is left when the service stops.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// The collector, as an http(s) URL; OTLP over gRPC.
    pub endpoint: String,
    /// Whether the environment says which traces are sampled
    /// (`OTEL_TRACES_SAMPLER`). Otherwise those are whose caller's are.
    pub sampler_is_given: bool,
}

/// Why there are no traces.
#[derive(Debug, Error)]
#[error("the exporter of traces cannot be made: {0}")]
pub struct TracesError(String);

/// Makes spans and sends them.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: Arc<TraceContextPropagator>,
}

impl Traces {
    /// Spans to this collector. It may be away: what it does not take is lost,
    /// and no check waits for it. To be called within an async runtime.
    ///
    /// # Errors
    ///
    /// [`TracesError`] for an address that is none.
    pub fn new(settings: &TraceSettings) -> Result<Self, TracesError> {
        let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(&settings.endpoint);
        if settings.endpoint.starts_with("https:") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let exporter = exporter.build().map_err(|error| TracesError(error.to_string()))?;
        let mut provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name("portcullis").build());
        if !settings.sampler_is_given {
            // A trace of one span helps nobody: who has none begins none here.
            provider = provider.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
        }
        let provider = provider.build();
        let tracer = provider.tracer("portcullis");
        Ok(Self { provider, tracer, propagator: Arc::new(TraceContextPropagator::new()) })
    }

    /// Makes the span of a check that has just ended.
    pub(crate) fn record(&self, entry: &Entry<'_>) {
        let Entry { decision, input, context, took } = entry;
        let parent = self.parent(*input, context.trace);
        let ended = now();
        let mut span = self
            .tracer
            .span_builder("check")
            .with_kind(SpanKind::Server)
            .with_start_time(ended.checked_sub(*took).unwrap_or(ended))
            .start_with_context(&self.tracer, &parent);
        if !span.is_recording() {
            return;
        }
        let mut tell = |key: &'static str, value: Option<String>| {
            if let Some(value) = value {
                span.set_attribute(KeyValue::new(key, value));
            }
        };
        let text = |text: &str| Some(text.to_owned());
        tell("portcullis.decision", text(decision.name()));
        tell("portcullis.reason", decision.reason().and_then(|reason| text(reason.as_str())));
        tell("portcullis.rule", decision.rule_name().and_then(text));
        tell("portcullis.transport", text(context.transport.as_str()));
        if let Some(input) = input {
            tell("http.request.method", text(decision_log::word(input.method)));
            tell("server.address", Some(decision_log::host(input.host)));
            tell("url.path", Some(decision_log::path(input.path)));
        }
        if let Some(principal) = &decision.principal {
            tell("user.id", text(principal.claims.user_id.as_str()));
            tell("user.roles", text(principal.role));
        }
        // A denial is an answer; to have none is an error.
        if decision.reason() == Some(Reason::Internal) {
            span.set_status(Status::error("the decision failed"));
        }
        span.end_with_timestamp(ended);
    }

    /// What the span is below: the request's own trace, or the call's, when
    /// the gateway has put a span of that very trace around it, or has begun
    /// the trace itself.
    fn parent(&self, input: Option<&CheckInput<'_>>, call: Option<&str>) -> Context {
        let none = Context::new();
        let of = |carrier: &dyn Extractor| self.propagator.extract_with_context(&none, carrier);
        let request = input.map_or_else(|| none.clone(), |input| of(&RequestTrace(input)));
        let Some(call) = call.map(|call| of(&CallTrace(call))) else { return request };
        let trace = |context: &Context| context.span().span_context().trace_id();
        let is_valid = |context: &Context| context.span().span_context().is_valid();
        let is_nearer = is_valid(&call) && (!is_valid(&request) || trace(&call) == trace(&request));
        if is_nearer { call } else { request }
    }

    /// Sends what is left. Blocks the thread.
    pub fn finish(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_EXPORT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The trace that the checked request is a part of.
struct RequestTrace<'a>(&'a CheckInput<'a>);

impl Extractor for RequestTrace<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.headers.text(key)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// The trace of the call that asks.
struct CallTrace<'a>(&'a str);

impl Extractor for CallTrace<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}
