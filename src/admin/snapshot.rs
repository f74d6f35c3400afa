//! The metrics of one moment, as `/metrics` renders them, for `/metrics` and the status page alike.
//! It must not know what a metric means.
//! It promises that both say the same numbers: the page's are read from the rendered text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// Upper bounds, in seconds, of the buckets of every histogram named `..._seconds`: from a cached response to
/// a large transfer.
pub const SECONDS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// The number of buckets, with the one above [`SECONDS`].
const BUCKETS: usize = SECONDS.len() + 1;

/// The rendered metrics, and where each family is in the text.
pub(super) struct Snapshot {
    text: String,
    families: HashMap<String, Range<usize>>,
}

/// The labels of one sample, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl Labels<'_> {
    /// The value of a label; empty for a sample without it.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }
}

/// How many observations there were in each bucket, or before its upper bound where it is cumulative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Distribution([u64; BUCKETS]);

impl Snapshot {
    /// Takes a text in the format of Prometheus, in which the samples of a family follow its `# TYPE` line.
    pub(super) fn new(text: String) -> Self {
        let mut families = HashMap::new();
        let mut current: Option<(&str, usize)> = None;
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let name = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next());
            if let Some(name) = name
                && let Some((name, began)) = current.replace((name, at + line.len()))
            {
                families.insert(name.to_owned(), began..at);
            }
            at += line.len();
        }
        if let Some((name, began)) = current {
            families.insert(name.to_owned(), began..at);
        }
        Self { text, families }
    }

    /// The text, for `/metrics`.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The samples of a counter or gauge.
    pub(super) fn samples<'a>(&'a self, name: &str) -> impl Iterator<Item = (Labels<'a>, f64)> {
        self.lines(name).filter_map(|line| {
            let (labels, value) = parsed(line)?;
            Some((labels.unwrap_or(Labels(Vec::new())), value))
        })
    }

    /// The sum of the samples for which `is_wanted` holds.
    pub(super) fn sum(&self, name: &str, is_wanted: impl Fn(&Labels<'_>) -> bool) -> f64 {
        self.samples(name).filter(|(labels, _)| is_wanted(labels)).map(|(_, value)| value).sum()
    }

    /// The sum of all samples.
    pub(super) fn total(&self, name: &str) -> f64 {
        self.sum(name, |_| true)
    }

    /// Adds up the buckets of a histogram's samples by the place that `place` gives to their labels.
    pub(super) fn distributions<const N: usize>(
        &self,
        name: &str,
        place: impl Fn(&Labels<'_>) -> Option<usize>,
    ) -> [Distribution; N] {
        let mut sums = [Distribution::default(); N];
        for line in self.lines(name).filter(|line| line[name.len()..].starts_with("_bucket{")) {
            let Some((Some(labels), value)) = parsed(line) else { continue };
            let Some(sum) = place(&labels).and_then(|place| sums.get_mut(place)) else { continue };
            let bound = labels.get("le").parse().unwrap_or(f64::INFINITY);
            let bucket = SECONDS.iter().position(|upper| bound <= *upper).unwrap_or(SECONDS.len());
            sum.0[bucket] += value as u64;
        }
        sums.map(Distribution::without_sums)
    }

    fn lines<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let block = self.families.get(name).map_or("", |range| &self.text[range.clone()]);
        block.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    }
}

/// The labels and the value of a line: `name{label="value"} 1`.
fn parsed(line: &str) -> Option<(Option<Labels<'_>>, f64)> {
    let Some((_, rest)) = line.split_once('{') else {
        return Some((None, line.rsplit(' ').next()?.parse().ok()?));
    };
    let mut labels = Vec::new();
    let mut rest = rest;
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(value) = rest.strip_prefix('}') {
            return Some((Some(Labels(labels)), value.trim().parse().ok()?));
        }
        let (name, value) = rest.split_once("=\"")?;
        let end = end_of_value(value)?;
        labels.push((name, unescaped(&value[..end])));
        rest = &value[end + 1..];
    }
}

/// Where the closing quote of a label's value is.
fn end_of_value(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next() } else { None };
        plain.push(match escaped {
            Some('n') => '\n',
            Some(other) => other,
            None => character,
        });
    }
    Cow::Owned(plain)
}

impl Distribution {
    /// The observations in each bucket alone, of those up to its upper bound.
    fn without_sums(self) -> Self {
        let mut before = 0;
        Self(self.0.map(|sum| {
            let alone = sum.saturating_sub(before);
            before = before.max(sum);
            alone
        }))
    }

    /// The observations that came after `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(earlier.0[bucket])))
    }

    /// All observations of both.
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket] + other.0[bucket]))
    }

    /// How many observations there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The value that this share of the observations does not exceed, in seconds, by linear interpolation
    /// within its bucket, as Prometheus's `histogram_quantile` does. `None` without observations.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let mut wanted = share * count as f64;
        let mut lower = 0.0;
        for (bucket, upper) in self.0.iter().zip(SECONDS) {
            let inside = *bucket as f64;
            if wanted <= inside && inside > 0.0 {
                return Some(lower + (upper - lower) * wanted / inside);
            }
            (wanted, lower) = (wanted - inside, upper);
        }
        (count > 0).then_some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Things\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"}\\\\\"} 3\n\
                        a_total{x=\"2\"} 4\n\n# TYPE b gauge\nb 1.5\n\n# TYPE c_seconds histogram\n\
                        c_seconds_bucket{o=\"get\",le=\"0.001\"} 1\nc_seconds_bucket{o=\"get\",le=\"0.0025\"} 3\n\
                        c_seconds_bucket{o=\"get\",le=\"+Inf\"} 4\nc_seconds_sum{o=\"get\"} 600\nc_seconds_count{o=\"get\"} 4\n";

    #[test]
    fn samples_are_read_by_family_and_label() {
        let snapshot = Snapshot::new(TEXT.to_owned());
        let values: Vec<_> =
            snapshot.samples("a_total").map(|(labels, value)| (labels.get("y").to_owned(), value)).collect();
        assert_eq!(values, [("q\"}\\".to_owned(), 3.0), (String::new(), 4.0)]);
        assert_eq!(snapshot.sum("a_total", |labels| labels.get("x") == "2"), 4.0);
        assert_eq!((snapshot.total("a_total"), snapshot.total("b"), snapshot.total("none")), (7.0, 1.5, 0.0));
        assert_eq!(snapshot.into_text(), TEXT);
    }

    #[test]
    fn quantiles_are_interpolated_within_buckets() {
        let snapshot = Snapshot::new(TEXT.to_owned());
        let [get, rest] =
            snapshot.distributions("c_seconds", |labels| (labels.get("o") == "get").then_some(0));
        assert_eq!((get.count(), rest.count()), (4, 0));
        assert_eq!(rest.quantile(0.5), None);
        let median = get.quantile(0.5).unwrap();
        assert!((median - 0.001_75).abs() < 1e-9, "{median}");
        assert_eq!(get.quantile(0.99), Some(300.0), "above the last bound there is no better number");
        assert_eq!(get.since(&get), Distribution::default());
        assert_eq!(get.plus(&get).count(), 8);
    }
}
