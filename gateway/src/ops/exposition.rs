//! From the figures of a node to Prometheus' families. Owns nothing.

use prometheus::proto::{self, Bucket, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::telemetry::{Buckets, Distribution, Family, HistogramFamily, Kind, Sample};

pub(super) const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help, label: "" }
}

pub(super) const fn labelled(name: &'static str, help: &'static str, label: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help, label }
}

pub(super) const fn gauge(name: &'static str, help: &'static str, label: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help, label }
}

pub(super) const fn times(name: &'static str, help: &'static str, label: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, help, label }
}

pub(super) fn encode(family: Family, samples: &[Sample]) -> MetricFamily {
    let value = |number: u64| match family.kind {
        Kind::Counter => number as f64,
        // A gauge that is the sum of shards may be read in the middle of a change of two of them.
        Kind::Gauge | Kind::Histogram => number.cast_signed() as f64,
    };
    encode_values(family, samples.iter().map(|&(label, number)| (label, value(number))))
}

pub(super) fn encode_values<'a>(
    family: Family,
    samples: impl IntoIterator<Item = (&'a str, f64)>,
) -> MetricFamily {
    let mut encoded = described(family);
    encoded.set_metric(samples.into_iter().map(|(label, value)| metric(family, label, value)).collect());
    encoded
}

/// A family of histograms; Prometheus' encoder adds the bucket without a bound.
pub(super) fn encode_histogram(family: &HistogramFamily) -> MetricFamily {
    let (family, buckets, samples) = family;
    let mut encoded = described(*family);
    let metrics = samples.iter().map(|(value, values)| {
        let mut metric = Metric::default();
        if !family.label.is_empty() {
            metric.set_label(vec![label(family.label, value)]);
        }
        metric.set_histogram(histogram(buckets, values));
        metric
    });
    encoded.set_metric(metrics.collect());
    encoded
}

fn histogram(buckets: &Buckets, values: &Distribution) -> Histogram {
    let bucket = |(&upper, cumulative)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(buckets.in_unit(upper));
        bucket.set_cumulative_count(cumulative);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.upper.iter().zip(values.cumulative()).map(bucket).collect());
    histogram.set_sample_count(values.count());
    histogram.set_sample_sum(buckets.in_unit(values.sum));
    histogram
}

/// A family without samples yet.
pub(super) fn described(family: Family) -> MetricFamily {
    let mut encoded = MetricFamily::default();
    encoded.set_name(family.name.to_owned());
    encoded.set_help(family.help.to_owned());
    encoded.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    encoded
}

fn metric(family: Family, label_value: &str, value: f64) -> Metric {
    let mut metric = Metric::default();
    if !family.label.is_empty() {
        metric.set_label(vec![label(family.label, label_value)]);
    }
    match family.kind {
        Kind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Kind::Gauge | Kind::Histogram => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    metric
}

/// A gauge that is always 1, for what its labels say.
pub(super) fn info(name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> MetricFamily {
    let mut encoded = described(Family { name, kind: Kind::Gauge, help, label: "" });
    let mut gauge = Gauge::default();
    gauge.set_value(1.0);
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(|(name, value)| label(name, value)).collect());
    metric.set_gauge(gauge);
    encoded.set_metric(vec![metric]);
    encoded
}

/// A counter's sample with two labels.
pub(super) fn two_labels(names: [&str; 2], values: [&str; 2], count: u64) -> Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::default();
    metric.set_label(names.iter().zip(values).map(|(name, value)| label(name, value)).collect());
    metric.set_counter(counter);
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}
