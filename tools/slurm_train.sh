#!/usr/bin/env bash
# Train on a Slurm cluster.
#   tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of tools/train.py]
# Environment:
#   GPUS           processes in all            (default: 8)
#   GPUS_PER_NODE  processes a machine         (default: 8, at most GPUS)
#   CPUS_PER_TASK  cores a process             (default: the config's workers, and one)
#   SRUN_ARGS      more arguments for srun, separated by spaces
#   PORT           port of rank 0's machine    (default: one by the id of the job)
#   PYTHON, PREFLIGHT: see tools/launch_env.sh
set -euo pipefail

if [[ $# -lt 4 ]]; then
    echo "usage: $0 PARTITION JOB CONFIG WORK_DIR [arguments of tools/train.py]" >&2
    exit 2
fi
PARTITION="$1"
JOB="$2"
CONFIG="$3"
WORK_DIR="$4"
shift 4

# shellcheck source=tools/launch_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch_env.sh"

GPUS="${GPUS:-8}"
GPUS_PER_NODE="${GPUS_PER_NODE:-8}"
require_number GPUS "$GPUS"
require_number GPUS_PER_NODE "$GPUS_PER_NODE"
if [[ "$GPUS_PER_NODE" -gt "$GPUS" ]]; then
    GPUS_PER_NODE="$GPUS"
fi
read -r -a EXTRA <<<"${SRUN_ARGS:-}"

# Here, before the job waits in the queue.
preflight 1 "$ROOT/tools/train.py" "$CONFIG" --work-dir "$WORK_DIR" "$@"

[[ -z "${PORT:-}" ]] || export MASTER_PORT="$PORT"
if [[ -z "${CPUS_PER_TASK:-}" ]]; then
    CPUS_PER_TASK="$(PYTHONPATH="$ROOT/tools:${PYTHONPATH:-}" "$PYTHON" -c '
from train import apis, parse_args
args = parse_args()
loader = apis.load_config(args.config, args.cfg_options).train_dataloader
print(1 + loader.get("num_workers", 0))' "$CONFIG" "$@")"
fi

exec srun \
    --partition="$PARTITION" \
    --job-name="$JOB" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="$CPUS_PER_TASK" \
    --kill-on-bad-exit=1 \
    ${EXTRA[@]+"${EXTRA[@]}"} \
    "$PYTHON" -u "$ROOT/tools/train.py" "$CONFIG" --work-dir "$WORK_DIR" "$@" --launcher slurm
