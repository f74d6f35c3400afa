//! Summaries and merged reports as text.
//! It must not know how a job ran.
//! It promises that "0 under KEY" is said to be a proof only where it is one.

use std::fmt::Write as _;

use indicatif::HumanBytes;

use crate::job::{DryRun, Ending, KeyCount, MergedReport, Summary, Tally};
use crate::keyring::KeyId;

/// What a summary and a merged report have in common.
struct Shown<'a> {
    title: String,
    tally: &'a Tally,
    key_id: Option<&'a str>,
    all_versions: Option<bool>,
    sample: Option<f64>,
    requests: (u64, u64, u64),
    failed_rows: &'a [String],
    /// Whether every row of the whole input is counted.
    is_whole: bool,
    is_keys: bool,
}

/// The summary of one shard. `has_hint`: says how to get a row for each object.
pub(super) fn summary(summary: &Summary, has_hint: bool) -> String {
    let facts = &summary.facts;
    let share = match facts.shards {
        1 => String::new(),
        shards => format!(", shard {} of {shards}", facts.shard),
    };
    let dry = if facts.dry_run { " (dry run: nothing was written)" } else { "" };
    let is_complete = facts.ending == Ending::Complete;
    let mut text = shown(&Shown {
        title: format!("{} {}{share}{dry}: {:.1} s", facts.job, facts.input, facts.seconds),
        tally: &summary.tally,
        key_id: facts.key_id.as_deref(),
        all_versions: facts.all_versions,
        sample: facts.sample,
        requests: (facts.read_requests, facts.write_requests, facts.kms_calls),
        failed_rows: &summary.failed_rows,
        is_whole: is_complete && facts.shards == 1,
        is_keys: facts.job == "keys",
    });
    if let (Some(share), Some(seed)) = (facts.sample, facts.seed) {
        _ = writeln!(text, "sample      {:.3} % with --seed {seed}", share * 100.0);
    }
    if let Some(estimate) = &summary.estimate {
        text.push_str(&estimated(estimate));
    }
    if let Some(report) = &summary.report {
        _ = writeln!(text, "report      {report}");
    } else if has_hint {
        text.push_str("report      none: --report DIR keeps a row for each object\n");
    }
    let is_nothing = summary.tally.rows == 0 && summary.tally.not_sampled == 0;
    if is_complete && is_nothing && (facts.shards == 1 || facts.input_rows == Some(0)) {
        text.push_str("WARNING: the input has no objects, and nothing was done\n");
    }
    if !is_complete {
        let reason = facts.reason.as_deref().unwrap_or("interrupted");
        _ = writeln!(text, "INCOMPLETE: {reason}; run the job again");
    }
    text
}

/// The report of all shards.
pub(super) fn merged(merged: &MergedReport) -> String {
    let dry = if merged.dry_run { " (dry run: nothing was written)" } else { "" };
    let (found, shards) = (merged.shards_found, merged.shards);
    let mut text = shown(&Shown {
        title: format!(
            "{} {}, {found} of {shards} shards{dry}: {:.1} s in all",
            merged.job, merged.input, merged.seconds
        ),
        tally: &merged.tally,
        key_id: merged.key_id.as_deref(),
        all_versions: merged.all_versions,
        sample: merged.sample,
        requests: (merged.read_requests, merged.write_requests, merged.kms_calls),
        failed_rows: &merged.failed_rows,
        is_whole: merged.is_whole(),
        is_keys: merged.job == "keys",
    });
    if let Some(rows) = merged.input_rows {
        _ = writeln!(text, "input       {rows} rows");
    }
    if merged.is_whole() && merged.tally.rows == 0 && merged.tally.not_sampled == 0 {
        text.push_str("WARNING: the input has no objects, and nothing was done\n");
    }
    for problem in &merged.problems {
        _ = writeln!(text, "INCOMPLETE: {problem}");
    }
    text
}

fn shown(shown: &Shown<'_>) -> String {
    let Tally { rows, succeeded, unchanged, skipped, raced, failed, bytes, not_sampled, .. } = *shown.tally;
    let mut text = format!("{}\n", shown.title);
    _ = writeln!(text, "rows        {rows}");
    let unchanged = if unchanged > 0 { format!(" ({unchanged} unchanged)") } else { String::new() };
    _ = writeln!(text, "succeeded   {succeeded}{unchanged}");
    for (name, count) in
        [("skipped", skipped), ("raced", raced), ("failed", failed), ("not sampled", not_sampled)]
    {
        if count > 0 || name == "failed" {
            _ = writeln!(text, "{name:<11} {count}");
        }
    }
    _ = writeln!(text, "bytes       {bytes} ({})", HumanBytes(bytes));
    let (reads, writes, calls) = shown.requests;
    _ = writeln!(text, "requests    {reads} reads, {writes} writes; {calls} calls of key holders");
    for (title, counts) in [("codes", &shown.tally.error_codes), ("formats", &shown.tally.formats)] {
        if !counts.is_empty() {
            let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            _ = writeln!(text, "{title:<11} {}", counts.join(", "));
        }
    }
    for (title, keys) in [("keys", &shown.tally.keys_before), ("keys now", &shown.tally.keys_after)] {
        for (key, KeyCount { objects, versions, bytes }) in keys {
            _ = writeln!(text, "{title:<11} {key}: {objects} objects, {versions} versions, {bytes} bytes");
        }
    }
    if shown.is_keys
        && let Some(key) = shown.key_id
    {
        text.push_str(&under(shown, key));
    }
    if !shown.failed_rows.is_empty() {
        let more =
            (raced + failed).saturating_sub(u64::try_from(shown.failed_rows.len()).unwrap_or(u64::MAX));
        shown.failed_rows.iter().for_each(|row| _ = writeln!(text, "  {row}"));
        if more > 0 {
            _ = writeln!(text, "  and {more} more");
        }
    }
    text
}

/// How many versions are under the key that a job looked for, and what that proves.
fn under(shown: &Shown<'_>, key: &str) -> String {
    let named = KeyId::parse(key).expect("a key's name was parsed before");
    let (count, unknown) = shown.tally.versions_under(&named);
    let Tally { failed, raced, .. } = *shown.tally;
    let doubt = if count > 0 {
        return format!("{count} under {key}\n");
    } else if unknown > 0 {
        Some(format!("the metadata of {unknown} versions do not tell their key (docs/JOBS.md)"))
    } else if failed + raced > 0 {
        Some(format!("{} rows failed, which may be under it", failed + raced))
    } else if !shown.is_whole {
        Some("the report is not whole".to_owned())
    } else if shown.sample.is_some() {
        Some("this is a sample".to_owned())
    } else if shown.tally.rows == 0 {
        Some("the input has no objects".to_owned())
    } else if shown.all_versions == Some(false) {
        Some("older versions were not looked at".to_owned())
    } else {
        None
    };
    let doubt = doubt.map_or_else(String::new, |doubt| format!(": NO PROOF, {doubt}"));
    format!("0 under {key}{doubt}\n")
}

fn estimated(estimate: &DryRun) -> String {
    let DryRun { objects, bytes_read, bytes_written, read_requests, write_requests, kms_calls, usd } =
        estimate;
    format!(
        "would be    {objects} objects, {} read, {} written, {read_requests} reads, {write_requests} writes, at most \
         {kms_calls} calls of key holders: about {usd:.2} USD for requests at AWS list prices\n",
        HumanBytes(*bytes_read),
        HumanBytes(*bytes_written)
    )
}

#[cfg(test)]
mod tests;
