#!/usr/bin/env bash
# Train with several processes: one a GPU, or that many on the CPU.
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT. MAX_RESTARTS with --resume. See tools/launch_env.sh.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
CONFIG="$1"
GPUS="$2"
shift 2

# shellcheck source=tools/launch_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch_env.sh"
launch "$GPUS" "$ROOT/tools/train.py" "$CONFIG" "$@"
