#!/usr/bin/env bash
# Create .venv from requirements/lock.txt and install both packages in editable mode.
#
# The lock names every package of the whole stack, so nothing is resolved here (--no-deps). uv is used when it can be
# installed, pip otherwise. PYTHON chooses the interpreter (>= 3.10).
set -euo pipefail

cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
venv=.venv
lock=requirements/lock.txt

"$python" - <<'PY' || exit 2
import sys
if sys.version_info < (3, 10):
    sys.exit(f'Python >= 3.10 is needed, this is {sys.version.split()[0]}. Set PYTHON=/path/to/newer/python.')
PY

started=$SECONDS
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# What is asked of PyPI here is everything: a user-level uv or pip configuration stays in force.
if "$venv/bin/python" -m pip install -q --disable-pip-version-check uv==0.13.9; then
    echo "Installing $(grep -c '==' "$lock") pinned packages with uv (several GB at the first time)"
    # pip compiles bytecode by itself; without it every process would compile torch anew where
    # PYTHONDONTWRITEBYTECODE is set.
    install=("$venv/bin/uv" pip install --compile-bytecode --python "$venv/bin/python")
else
    echo "uv is not available: installing with pip, which takes a few minutes longer"
    install=("$venv/bin/python" -m pip install --disable-pip-version-check)
fi
"${install[@]}" --no-deps -r "$lock"
# setuptools comes from the lock, so the project builds without a second environment.
"${install[@]}" --no-deps --no-build-isolation -e .
echo "Environment ready in $((SECONDS - started)) s: $venv"
