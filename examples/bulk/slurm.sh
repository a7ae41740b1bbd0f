#!/usr/bin/env bash
# 16 tasks, a card each, one folder that all of them see. Submit it again to go on after a failure.
#SBATCH --job-name=captions
#SBATCH --array=0-15
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=48G
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

SOURCE=${SOURCE:-s3://bucket/images}
OUT=${OUT:-$SLURM_SUBMIT_DIR/run}

secondsight caption "$SOURCE" --out "$OUT" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  -m llava-hf/llava-1.5-7b-hf --dtype bfloat16 --batch-size 32 --method ritual --max-new-tokens 128
