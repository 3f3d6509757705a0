//! The series of a family: one for each combination of its labels' values.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family as Series, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::catalogue::{Family, Kind};

type Labels = Vec<(&'static str, String)>;

/// Pairs the names of a family's labels with values, in their order.
fn labels(family: &Family, values: &[&str]) -> Labels {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let values = values.iter().map(|value| (*value).to_owned());
    family.labels.iter().copied().zip(values).collect()
}

fn register(family: &Family, registry: &mut Registry, metric: impl Metric) {
    // The encoder restores it.
    let name = match family.kind {
        Kind::Counter => family.name.trim_end_matches("_total"),
        Kind::Gauge | Kind::Histogram(_) => family.name,
    };
    registry.register(name, family.help, metric);
}

/// The counters of a family.
#[derive(Debug)]
pub(super) struct Counters {
    family: &'static Family,
    series: Series<Labels, Counter>,
}

impl Counters {
    pub fn new(family: &'static Family) -> Self {
        let series = Series::default();
        Self { family, series }
    }

    pub fn add(&self, values: &[&str], count: u64) {
        let labels = labels(self.family, values);
        self.series.get_or_create(&labels).inc_by(count);
    }

    pub fn register(&self, registry: &mut Registry) {
        register(self.family, registry, self.series.clone());
    }
}

/// Creates histograms with a family's bounds.
#[derive(Clone, Copy, Debug)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// The histograms of a family.
#[derive(Debug)]
pub(super) struct Histograms {
    family: &'static Family,
    series: Series<Labels, Histogram, Buckets>,
}

impl Histograms {
    pub fn new(family: &'static Family) -> Self {
        let bounds = match family.kind {
            Kind::Histogram(bounds) => bounds,
            Kind::Counter | Kind::Gauge => &[],
        };
        let series = Series::new_with_constructor(Buckets(bounds));
        Self { family, series }
    }

    pub fn observe(&self, values: &[&str], time: Duration) {
        let labels = labels(self.family, values);
        let histogram = self.series.get_or_create(&labels);
        histogram.observe(time.as_secs_f64());
    }

    pub fn register(&self, registry: &mut Registry) {
        register(self.family, registry, self.series.clone());
    }
}

/// A family of values, also of counters, that are computed on request.
#[derive(Debug)]
pub struct Gauges {
    family: &'static Family,
    series: Series<Labels, Gauge<f64, AtomicU64>>,
    counts: Series<Labels, Counter<f64, AtomicU64>>,
}

impl Gauges {
    /// Creates a family without values.
    #[must_use]
    pub fn new(family: &'static Family) -> Self {
        Self {
            family,
            series: Series::default(),
            counts: Series::default(),
        }
    }

    /// Adds to the value of the series with these labels, which starts at 0.
    pub fn add(&self, values: &[&str], value: f64) {
        let labels = labels(self.family, values);
        if self.family.kind == Kind::Counter {
            self.counts.get_or_create(&labels).inc_by(value);
        } else {
            self.series.get_or_create(&labels).inc_by(value);
        }
    }

    /// Puts the family into a registry.
    pub fn register(&self, registry: &mut Registry) {
        if self.family.kind == Kind::Counter {
            register(self.family, registry, self.counts.clone());
        } else {
            register(self.family, registry, self.series.clone());
        }
    }
}
