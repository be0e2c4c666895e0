# shellcheck shell=bash
# Sourced by the launchers: settings of a torchrun job, from the environment.
#   PYTHON       interpreter            (default: .venv/bin/python of this repository, else python3)
#   NNODES       machines               (default: 1)
#   NODE_RANK    this machine's number  (default: 0)
#   MASTER_ADDR  machine number 0       (default: 127.0.0.1; needed when NNODES > 1)
#   PORT         port on MASTER_ADDR    (default: a free one; 29500 when NNODES > 1)
#   PREFLIGHT    0 leaves the check before the start out, where data cannot be seen or read there
#   MAX_RESTARTS how often a machine's job with --resume begins again when a process died (default: 0)

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

if [[ -z "${PYTHON:-}" ]]; then
    if [[ -x "$ROOT/.venv/bin/python" ]]; then
        PYTHON="$ROOT/.venv/bin/python"
    else
        PYTHON=python3
    fi
fi

NNODES="${NNODES:-1}"
NODE_RANK="${NODE_RANK:-0}"
if [[ "$NNODES" -gt 1 && -z "${MASTER_ADDR:-}" ]]; then
    echo "error: NNODES=$NNODES needs MASTER_ADDR, the host name of machine number 0" >&2
    exit 2
fi
MASTER_ADDR="${MASTER_ADDR:-127.0.0.1}"

# Once, before any process starts: preflight PROCESSES_OF_A_MACHINE TOOL [ARGS...]
preflight() {
    if [[ "${PREFLIGHT:-1}" != 0 ]]; then
        LOCAL_WORLD_SIZE="$1" "$PYTHON" "${@:2}" --preflight
    fi
}

# End unless a number of processes is one: require_number NAME VALUE
require_number() {
    if ! [[ "$2" =~ ^[1-9][0-9]*$ ]]; then
        echo "error: $1 must be a positive number of processes, not '$2'" >&2
        exit 2
    fi
}

# Run a tool under torchrun: launch GPUS TOOL [ARGS...]
launch() {
    local gpus="$1"
    shift
    require_number GPUS "$gpus"
    if [[ "${MAX_RESTARTS:-0}" != 0 && " $*" != *" --resume"* ]]; then
        echo "error: MAX_RESTARTS=$MAX_RESTARTS needs --resume, or the job would begin anew" >&2
        exit 2
    fi
    preflight "$gpus" "$@"
    [[ "$NNODES" -eq 1 ]] || PORT="${PORT:-29500}"
    PORT="${PORT:-$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}"
    # Without a limit every process would take all cores.
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
    exec "$PYTHON" -m torch.distributed.run \
        --nnodes="$NNODES" \
        --node_rank="$NODE_RANK" \
        --nproc_per_node="$gpus" \
        --master_addr="$MASTER_ADDR" \
        --master_port="$PORT" \
        ${MAX_RESTARTS:+--max_restarts="$MAX_RESTARTS"} \
        "$@" --launcher pytorch
}
