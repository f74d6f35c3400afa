#!/usr/bin/env bash
# A job over a whole bucket as a Slurm array of eight shards: sbatch slurm-array.sh (docs/JOBS.md).
# A task that ends with 75 (interrupted, throttled out) is put into the queue again; one that ends with 65 (an object failed
# authentication) is not. The reports have to be in a directory that all nodes share, or at s3://….
#SBATCH --job-name=s3veil
#SBATCH --array=0-7
#SBATCH --cpus-per-task=1
#SBATCH --mem=512M
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# SIGTERM a minute before the time is over, so that the report is written; --grace is shorter.
#SBATCH --signal=B:TERM@60
set -euo pipefail

# The number of shards: as many as the array has. With it, one task can be submitted again alone: sbatch --array=3.
export S3VEIL_SHARDS=8

: "${S3VEIL:=s3veil}" "${S3VEIL_CONFIG:=/etc/s3veil/proxy.toml}"
: "${S3VEIL_JOB:=verify}" "${S3VEIL_INPUT:=s3://my-bucket}" "${S3VEIL_REPORT:=$PWD/$S3VEIL_JOB-report}"

# S3VEIL_INPUT may be several arguments, such as "--manifest s3://my-inventories/keys.csv --rate 500/s".
read -ra input <<<"$S3VEIL_INPUT"
"$S3VEIL" "$S3VEIL_JOB" "${input[@]}" --config "$S3VEIL_CONFIG" --report "$S3VEIL_REPORT" &
job=$!
trap 'kill -TERM "$job" 2>/dev/null || true' TERM INT

# wait ends when a trapped signal comes; the job itself ends after it.
status=0
wait "$job" || status=$?
while kill -0 "$job" 2>/dev/null; do
    status=0
    wait "$job" || status=$?
done

if [ "$status" = 75 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" || true
fi
exit "$status"
