//! Spans of the program, of its calls and attempts, and of its workers, as one trace for OpenTelemetry.
//!
//! The trace goes to standard output. With the exporter of `opentelemetry-otlp` in its place it goes to a
//! collector; nothing else changes, and workers need no connection to the collector.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use retry_runtime::{function, local_entrypoint};
use tracing::level_filters::LevelFilter;
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[function]
fn price(item: u32) -> u32 {
    let _query = info_span!("query", table = "prices", item).entered();
    info!("found");
    item * 100
}

/// Makes calls of its own, whose spans are below its own span.
#[function]
fn total(items: u32) -> u32 {
    let _adding = info_span!("adding").entered();
    (1..=items)
        .filter_map(|item| price.remote(item).wait().ok())
        .sum()
}

#[local_entrypoint]
fn main() {
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
        .build();
    let telemetry = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    tracing_subscriber::registry()
        .with(
            telemetry
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false),
        )
        .with(LevelFilter::INFO)
        .init();

    info_span!("order", number = 7).in_scope(|| {
        let sum = total.remote(2).wait();
        info!(total = sum.unwrap_or_default(), "priced");
    });
    if let Err(error) = provider.shutdown() {
        eprintln!("the trace is incomplete: {error}");
    }
}
