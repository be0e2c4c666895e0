#!/usr/bin/env bash
# Evaluate with several processes: one a GPU, or that many on the CPU.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT (see tools/launch_env.sh).
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
CONFIG="$1"
CHECKPOINT="$2"
GPUS="$3"
shift 3

# shellcheck source=tools/launch_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/launch_env.sh"
launch "$GPUS" "$ROOT/tools/test.py" "$CONFIG" "$CHECKPOINT" "$@"
