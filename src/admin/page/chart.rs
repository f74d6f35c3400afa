//! Charts of the status page as SVG paths. The script in the page draws them by the same rules.
//! They must not know what a series counts.
//! They promise that the newest step is at the right edge, and that a step without a number is a gap.

use std::fmt::Write;

use serde_json::Value;

/// The size of a chart, in the units of its `viewBox`.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 64.0;

/// The ring and the series that `long|requests errors_client` names.
fn series<'a>(document: &'a Value, names: &str) -> (f64, Vec<Vec<Option<f64>>>) {
    let (ring, names) = names.split_once('|').unwrap_or(("long", names));
    let ring: &'a Value = &document["history"][ring];
    let numbers = |name: &str| {
        let numbers = ring["series"][name].as_array().into_iter().flatten();
        numbers.map(Value::as_f64).collect()
    };
    (ring["steps"].as_f64().unwrap_or(1.0), names.split(' ').map(numbers).collect())
}

/// The greatest number; 0 without any.
pub(super) fn peak(document: &Value, names: &str) -> f64 {
    let (_, series) = series(document, names);
    series.iter().flatten().flatten().fold(0.0, |peak, number| number.max(peak))
}

/// Two paths for each series: the area below it, and the line.
pub(super) fn paths(document: &Value, names: &str) -> String {
    let peak = peak(document, names);
    let scale = if peak > 0.0 { peak } else { 1.0 };
    let (steps, series) = series(document, names);
    let mut paths = String::new();
    for (place, numbers) in series.iter().enumerate() {
        let line = line(numbers, steps, scale);
        let area = match numbers.iter().any(Option::is_none) {
            false if numbers.len() > 1 => {
                let left = x(0, numbers.len(), steps);
                format!("{line}L{WIDTH:.1} {HEIGHT:.1}L{left:.1} {HEIGHT:.1}Z")
            }
            true | false => String::new(),
        };
        write!(paths, "<path class=\"a a{place}\" d=\"{area}\"/><path class=\"l l{place}\" d=\"{line}\"/>")
            .expect("a string takes every text");
    }
    paths
}

fn x(place: usize, length: usize, steps: f64) -> f64 {
    WIDTH - (length - 1 - place) as f64 * WIDTH / (steps - 1.0).max(1.0)
}

/// A line through the numbers. A number between two gaps is a dot.
fn line(numbers: &[Option<f64>], steps: f64, scale: f64) -> String {
    let mut line = String::new();
    let mut is_drawn = false;
    for (place, number) in numbers.iter().enumerate() {
        let Some(number) = number else {
            is_drawn = false;
            continue;
        };
        let (x, y) = (x(place, numbers.len(), steps), HEIGHT - 1.0 - number / scale * (HEIGHT - 4.0));
        let command = if is_drawn { 'L' } else { 'M' };
        write!(line, "{command}{x:.1} {y:.1}").expect("a string takes every text");
        let is_alone = !is_drawn && numbers.get(place + 1).copied().flatten().is_none();
        if is_alone {
            line.push_str("h0.1");
        }
        is_drawn = true;
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_step_is_at_the_right_and_gaps_are_left() {
        let series = json!({ "one": [0.0, 2.0, 4.0], "two": [1.0, null, 3.0, null] });
        let document = json!({ "history": { "long": { "steps": 4, "series": series } } });
        assert_eq!(peak(&document, "long|one two"), 4.0);
        assert_eq!(
            paths(&document, "long|one"),
            "<path class=\"a a0\" d=\"M100.0 63.0L200.0 33.0L300.0 3.0L300.0 64.0L100.0 64.0Z\"/>\
             <path class=\"l l0\" d=\"M100.0 63.0L200.0 33.0L300.0 3.0\"/>"
        );
        let two = paths(&document, "long|two");
        assert!(
            two.contains("class=\"a a0\" d=\"\"") && two.contains("d=\"M0.0 43.0h0.1M200.0 3.0h0.1\""),
            "{two}"
        );
        assert_eq!(
            paths(&document, "long|none"),
            "<path class=\"a a0\" d=\"\"/><path class=\"l l0\" d=\"\"/>"
        );
        assert_eq!(peak(&document, "short|one"), 0.0);
    }
}
