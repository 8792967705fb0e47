#!/bin/bash
# A SLURM job array: each task trains one shard; the last job gathers and predicts.
#
#   sbatch --array=1-8 job-array.sh                                   the shards
#   sbatch --dependency=afterok:JOBID --export=ALL,SHARDS=8 job-array.sh    gather, then predict
#
# A task that is started again, after a time limit or a lost node, continues its shard. Other batch
# systems work alike: they set another variable than SLURM_ARRAY_TASK_ID.
#SBATCH --job-name=fkd
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=02:00:00
#SBATCH --signal=B:INT@120
#SBATCH --requeue
set -euo pipefail

RECIPE=${RECIPE:-standard}
DATA=${DATA:-data}
RUNS=${RUNS:-runs}
FKD=${FKD:-fkd-kaggle}
SHARDS=${SHARDS:-${SLURM_ARRAY_TASK_COUNT:-1}}

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    exec $FKD train-ensemble --recipe "$RECIPE" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" \
        --run "shard-$SLURM_ARRAY_TASK_ID-of-$SHARDS" --data-dir "$DATA" --runs-dir "$RUNS" \
        ${OPTIONS:-}
fi

runs=()
for shard in $(seq "$SHARDS"); do
    runs+=("$RUNS/shard-$shard-of-$SHARDS")
done
$FKD gather "${runs[@]}" --run gathered --data-dir "$DATA" --runs-dir "$RUNS"
$FKD predict gathered --data-dir "$DATA" --runs-dir "$RUNS"
