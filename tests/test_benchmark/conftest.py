import json
from argparse import Namespace
from typing import Any

import pytest

from tools.benchmark import harness


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers do their tasks in this process."""

    def run_worker(args: Namespace, **task: Any) -> Any:
        return json.loads(json.dumps(args.module.work(args, task)))

    monkeypatch.setattr(harness, 'run_worker', run_worker)
