import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.benchmark import harness


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers do their tasks in this process."""

    def run_worker(args: Namespace, **task: Any) -> Any:
        return json.loads(json.dumps(args.module.work(args, task)))

    def start_worker(args: Namespace, task: dict, out: Path, *others: Any) -> int:
        out.write_text(json.dumps(args.module.work(args, task)))
        return 0

    monkeypatch.setattr(harness, 'run_worker', run_worker)
    monkeypatch.setattr(harness, 'start_worker', start_worker)


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Return a function that runs a program in a process of its own and returns its last line."""

    def run(program: str) -> str:
        root = str(Path(__file__).resolve().parents[2])
        command = [sys.executable, '-c', program]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    return run
