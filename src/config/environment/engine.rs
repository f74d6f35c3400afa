//! The shard of a job, by its arguments and by the environment of the engine that started the process:
//! Kubernetes Indexed Jobs, AWS Batch array jobs, Slurm arrays, or `S3VEIL_SHARD`.
//! It must not know what a job does.
//! It promises one shard; what is incomplete, or contradicts something else, is refused.

use crate::job::{InvalidShard, Shard};

/// The arguments of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NamedShard {
    /// `--shard`.
    pub shard: Option<u32>,
    /// `--shards`.
    pub shards: Option<u32>,
}

/// The environment or the arguments name no valid shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A variable, or an argument, has no valid value.
    #[error("invalid {name}={text:?}: {requires}")]
    Value {
        /// The name of the variable.
        name: &'static str,
        /// Its value.
        text: String,
        /// What it has to be.
        requires: &'static str,
    },
    /// Something is missing beside what is given.
    #[error("{given} requires {missing}")]
    Missing {
        /// What is given.
        given: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// The numbers name no shard.
    #[error("{by}: {error}")]
    Invalid {
        /// Where the numbers come from.
        by: &'static str,
        /// What is wrong with them.
        error: InvalidShard,
    },
    /// Two sources name different shards.
    #[error("{by} says shard {shard}, and {other_by} {other}: remove one of them")]
    Contradiction {
        /// A source.
        by: &'static str,
        /// Its shard.
        shard: Shard,
        /// Another source.
        other_by: &'static str,
        /// Its shard.
        other: Shard,
    },
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;
type Found = Result<Option<(&'static str, Shard)>, EngineError>;

const ARGUMENTS: &str = "--shard and --shards";

/// The shard that arguments and environment name; the whole input if none does.
pub(in crate::config) fn shard(
    arguments: NamedShard,
    environment: Environment<'_>,
) -> Result<Shard, EngineError> {
    let count = number("S3VEIL_SHARDS", environment)?;
    // The count may be an argument, and the index the engine's.
    let engine_count = count.map(|count| ("S3VEIL_SHARDS", count));
    let engine_count = engine_count.or(arguments.shards.map(|count| ("--shards", count)));
    let sources = [
        by_arguments(arguments)?,
        by_own_variable(environment)?,
        by_kubernetes(environment, engine_count)?,
        by_aws_batch(environment)?,
        by_slurm(environment, engine_count)?,
    ];
    let mut sources = sources.into_iter().flatten();
    let Some((by, shard)) = sources.next() else {
        let given = match (arguments, count) {
            (NamedShard { shards: Some(1), .. }, None)
            | (NamedShard { shards: None, .. }, Some(1) | None) => {
                return Ok(Shard::WHOLE);
            }
            (NamedShard { shards: Some(_), .. }, _) => "--shards",
            (NamedShard { shards: None, .. }, Some(_)) => "S3VEIL_SHARDS",
        };
        return Err(EngineError::Missing { given, missing: "--shard, or an engine that sets an index" });
    };
    if let Some((other_by, other)) = sources.find(|(_, other)| *other != shard) {
        return Err(EngineError::Contradiction { by, shard, other_by, other });
    }
    // A count alone can contradict, too.
    for (name, count) in [("S3VEIL_SHARDS", count), ("--shards", arguments.shards)] {
        if let Some(count) = count.filter(|count| *count != shard.count()) {
            let other = made(name, shard.index().min(count.saturating_sub(1)), count)?;
            return Err(EngineError::Contradiction { by, shard, other_by: name, other });
        }
    }
    Ok(shard)
}

fn made(by: &'static str, index: u32, count: u32) -> Result<Shard, EngineError> {
    Shard::parse(index, count).map_err(|error| EngineError::Invalid { by, error })
}

fn by_arguments(arguments: NamedShard) -> Found {
    match arguments {
        NamedShard { shard: Some(shard), shards: Some(shards) } => {
            made(ARGUMENTS, shard, shards).map(|shard| Some((ARGUMENTS, shard)))
        }
        NamedShard { shard: Some(_), shards: None } => {
            Err(EngineError::Missing { given: "--shard", missing: "--shards" })
        }
        NamedShard { shard: None, .. } => Ok(None),
    }
}

/// `S3VEIL_SHARD=I/N`
fn by_own_variable(environment: Environment<'_>) -> Found {
    const NAME: &str = "S3VEIL_SHARD";
    let Some(text) = variable(NAME, environment) else { return Ok(None) };
    let parsed =
        text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    let requires = "write the shard, counted from 0, and the number of shards, such as 3/8";
    let (index, count) = parsed.ok_or(EngineError::Value { name: NAME, text, requires })?;
    made(NAME, index, count).map(|shard| Some((NAME, shard)))
}

/// <https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode>
fn by_kubernetes(environment: Environment<'_>, count: Option<(&'static str, u32)>) -> Found {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let Some(index) = number(NAME, environment)? else { return Ok(None) };
    let missing = "S3VEIL_SHARDS, with the value of the Job's completions";
    let (_, count) = count.ok_or(EngineError::Missing { given: NAME, missing })?;
    made(NAME, index, count).map(|shard| Some((NAME, shard)))
}

/// <https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html>
fn by_aws_batch(environment: Environment<'_>) -> Found {
    const NAME: &str = "AWS_BATCH_JOB_ARRAY_INDEX";
    let Some(index) = number(NAME, environment)? else { return Ok(None) };
    let count = number("AWS_BATCH_JOB_ARRAY_SIZE", environment)?;
    let count = count.ok_or(EngineError::Missing { given: NAME, missing: "AWS_BATCH_JOB_ARRAY_SIZE" })?;
    made(NAME, index, count).map(|shard| Some((NAME, shard)))
}

/// <https://slurm.schedmd.com/job_array.html>: tasks are counted from `_MIN`, or, with a count of shards that
/// is given, from 0, so that a task can be submitted again alone.
fn by_slurm(environment: Environment<'_>, count: Option<(&'static str, u32)>) -> Found {
    const NAME: &str = "SLURM_ARRAY_TASK_ID";
    let Some(id) = number(NAME, environment)? else { return Ok(None) };
    if let Some((_, count)) = count {
        return made(NAME, id, count).map(|shard| Some((NAME, shard)));
    }
    let required = |name: &'static str| {
        number(name, environment)?.ok_or(EngineError::Missing { given: NAME, missing: name })
    };
    let (first, count) = (required("SLURM_ARRAY_TASK_MIN")?, required("SLURM_ARRAY_TASK_COUNT")?);
    let last = number("SLURM_ARRAY_TASK_MAX", environment)?;
    let has_gaps = last.is_some_and(|last| last.checked_sub(first).is_none_or(|gap| gap != count - 1));
    let index = id.checked_sub(first).filter(|_| !has_gaps).ok_or_else(|| EngineError::Value {
        name: NAME,
        text: id.to_string(),
        requires: "submit the array without gaps, such as --array=0-7, or set S3VEIL_SHARDS to the number of shards",
    })?;
    made(NAME, index, count).map(|shard| Some((NAME, shard)))
}

fn variable(name: &str, environment: Environment<'_>) -> Option<String> {
    environment(name).filter(|text| !text.is_empty())
}

fn number(name: &'static str, environment: Environment<'_>) -> Result<Option<u32>, EngineError> {
    let Some(text) = variable(name, environment) else { return Ok(None) };
    let requires = "it has to be a whole number";
    text.parse().map(Some).map_err(|_| EngineError::Value { name, text, requires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(arguments: (Option<u32>, Option<u32>), variables: &str) -> Result<Shard, String> {
        let environment = |name: &str| {
            let mut pairs = variables.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find(|(variable, _)| *variable == name).map(|(_, value)| value.to_owned())
        };
        let (shard, shards) = arguments;
        super::shard(NamedShard { shard, shards }, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn each_engine_names_its_shard() {
        let third = Shard::parse(3, 8).unwrap();
        for (arguments, variables) in [
            ((Some(3), Some(8)), ""),
            ((None, None), "S3VEIL_SHARD=3/8"),
            ((None, None), "JOB_COMPLETION_INDEX=3 S3VEIL_SHARDS=8"),
            ((None, Some(8)), "JOB_COMPLETION_INDEX=3"),
            ((None, None), "AWS_BATCH_JOB_ARRAY_INDEX=3 AWS_BATCH_JOB_ARRAY_SIZE=8"),
            (
                (None, None),
                "SLURM_ARRAY_TASK_ID=4 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=8 SLURM_ARRAY_TASK_MAX=8",
            ),
            // A task that is submitted again alone.
            (
                (None, None),
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_COUNT=1 S3VEIL_SHARDS=8",
            ),
            ((Some(3), Some(8)), "S3VEIL_SHARD=3/8 JOB_COMPLETION_INDEX=3 S3VEIL_SHARDS=8"),
        ] {
            assert_eq!(found(arguments, variables), Ok(third), "{arguments:?} {variables}");
        }
        for (arguments, variables) in
            [((None, None), "S3VEIL_SHARD="), ((None, Some(1)), ""), ((None, None), "S3VEIL_SHARDS=1")]
        {
            assert_eq!(found(arguments, variables), Ok(Shard::WHOLE), "{arguments:?} {variables}");
        }
    }

    #[test]
    fn what_is_incomplete_or_contradicts_is_refused() {
        for (arguments, variables, said) in [
            ((Some(3), None), "", "--shard requires --shards"),
            ((None, Some(8)), "", "--shards requires --shard"),
            ((None, None), "S3VEIL_SHARDS=8", "S3VEIL_SHARDS requires --shard"),
            ((None, None), "JOB_COMPLETION_INDEX=3", "requires S3VEIL_SHARDS"),
            ((None, None), "AWS_BATCH_JOB_ARRAY_INDEX=3", "requires AWS_BATCH_JOB_ARRAY_SIZE"),
            ((None, None), "SLURM_ARRAY_TASK_ID=3", "requires SLURM_ARRAY_TASK_MIN"),
            ((None, None), "S3VEIL_SHARD=8/8", "shard 8 of 8 is invalid"),
            ((None, None), "S3VEIL_SHARD=0/0", "must be 1 to"),
            ((None, None), "S3VEIL_SHARD=three", "such as 3/8"),
            ((None, None), "JOB_COMPLETION_INDEX=x S3VEIL_SHARDS=8", "whole number"),
            ((Some(8), Some(8)), "", "shard 8 of 8 is invalid"),
            ((Some(2), Some(8)), "S3VEIL_SHARD=3/8", "remove one of them"),
            ((Some(3), Some(8)), "S3VEIL_SHARDS=9", "remove one of them"),
            ((None, Some(9)), "S3VEIL_SHARD=3/8", "remove one of them"),
            (
                (None, None),
                "SLURM_ARRAY_TASK_ID=4 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=14 SLURM_ARRAY_TASK_COUNT=8",
                "without gaps",
            ),
        ] {
            let refused = found(arguments, variables).unwrap_err();
            assert!(refused.contains(said), "{arguments:?} {variables}: {refused}");
        }
    }
}
