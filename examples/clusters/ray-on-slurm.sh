#!/bin/bash
# Ray on SLURM: one job starts a Ray cluster on its nodes and trains on all of them.
#
#   sbatch ray-on-slurm.sh
#SBATCH --job-name=fkd-ray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:2
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@180
set -euo pipefail

RECIPE=${RECIPE:-winning}
DATA=${DATA:-data}
RUNS=${RUNS:-runs}
PORT=${PORT:-6379}
export RAY_USAGE_STATS_ENABLED=0

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
head_ip=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')
gpus=${SLURM_GPUS_ON_NODE:-0}
cpus=${SLURM_CPUS_PER_TASK:-1}

srun --nodes=1 --ntasks=1 -w "$head" ray start --head --block --node-ip-address="$head_ip" \
    --port="$PORT" --num-cpus="$cpus" --num-gpus="$gpus" --include-dashboard=false &
sleep 15
if [ "${#nodes[@]}" -gt 1 ]; then
    others=$(IFS=,; echo "${nodes[*]:1}")
    srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) -w "$others" \
        ray start --block --address="$head_ip:$PORT" --num-cpus="$cpus" --num-gpus="$gpus" &
    sleep 10
fi

# An existing run is continued, for example after the time limit of the job.
if [ -d "$RUNS/slurm" ]; then
    set -- --resume "$RUNS/slurm"
else
    set -- --recipe "$RECIPE" --run slurm
fi
${FKD:-fkd-kaggle} train-ensemble "$@" --cluster "$head_ip:$PORT" \
    --data-dir "$DATA" --runs-dir "$RUNS" &
training=$!
# SLURM sends the signal to this shell only.
trap 'kill -INT "$training"' INT TERM
code=0
wait "$training" || code=$?
wait "$training" || code=$?
exit "$code"
