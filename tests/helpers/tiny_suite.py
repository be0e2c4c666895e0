"""A suite whose tools are scripts of a few lines: they note that they ran and leave what is due."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import STDOUT
from types import SimpleNamespace
from typing import Any

import pytest

from lightvit_dense.suite import executors, stages
from lightvit_dense.suite.plan import SuitePlan
from lightvit_dense.suite.spec import read_suite
from lightvit_dense.suite.stages import Stage, StageError, start_job
from tests.helpers.processes import start_python

SUITE = """
seeds = [0, 1]
pretrains = dict(
    teacher=dict(config='c.py'),
    dmae=dict(config='c.py', needs={'model.teacher': 'teacher'}, options={'x': 3}),
)
inits = dict(scratch=dict(), dmae=dict(pretrain='dmae'), old=dict(checkpoint='old.pth'))
tasks = dict(
    det=dict(configs=dict(default='c.py'), metrics=[dict(key='AP', title='AP', scale=100.0)]),
)
"""
# Fails where a file below fail/ has the name of the folder; waits as long as there is a file hold.
TOOL = """
import json, os, sys, time
from pathlib import Path
args = sys.argv[1:]
folder = Path(args[args.index('--work-dir') + 1])
folder.mkdir(parents=True, exist_ok=True)
with open('trace', 'a') as file:
    file.write(json.dumps([folder.name, os.environ.get('CUDA_VISIBLE_DEVICES'), args]) + '\\n')
if (Path('fail') / folder.name).exists():
    sys.exit('the dog ate it')
while Path('hold').exists():
    time.sleep(0.05)
if '--json' in args:
    text = json.dumps(dict(metrics=dict(AP=0.25, name='x')))
    Path(args[args.index('--json') + 1]).write_text(text)
else:
    for name in ('iter_9.pth', 'backbone.safetensors'):
        (folder / name).write_text('weights')
"""


def write_tiny_suite(root: Path) -> None:
    """Write the suite, its tools and its config into an empty folder."""
    (root / 'tools').mkdir()
    for name in ('train', 'test'):
        (root / f'tools/{name}.py').write_text(TOOL)
    (root / 'c.py').write_text('')
    (root / 'old.pth').write_text('old')
    (root / 'suite.py').write_text(SUITE)
    (root / 'fail').mkdir()


def read_config(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Stand for a config: what a plan reads of it, and every option, so that keys notice."""
    return {'path': path, 'options': dict(options), 'train_cfg': {'max_iters': 9}}


def tiny_plan(root: Path, reader: Any = read_config, gpus: int = 0, **chosen: Any) -> SuitePlan:
    """Return the plan of a part of the suite."""
    suite = read_suite(root / 'suite.py', root, **chosen)
    return SuitePlan(suite, root / 'work', root, root / 'data', reader, gpus)


def take_trace(root: Path) -> list[list[Any]]:
    """Return what ran since the last call: folder, GPUs, arguments."""
    path = root / 'trace'
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Return as soon as a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f'waited in vain for {what}'
        time.sleep(0.05)


class InlineExecutor:
    """Runs one stage after the other in this process, without submitit."""

    width = 1

    def __init__(self, root: Path, poll: float = 0.02) -> None:
        self.root, self.poll = root, poll
        self.over: dict[str, Path] = {}

    def adopt(self, stage: Stage) -> bool:
        return False

    def cancel(self, stage: Stage) -> None:
        pass

    def choose(self, waiting: list[Stage], done: set[str]) -> list[Stage]:
        return [stage for stage in waiting if set(stage.after) <= done][:1]

    def submit(self, stages: list[Stage]) -> None:
        for stage in stages:
            run_inline(stage, self.root, poll=self.poll)
            self.over[stage.name] = stage.log

    def ended(self) -> dict[str, Path]:
        over, self.over = self.over, {}
        return over

    def close(self) -> None:
        pass


def run_inline(stage: Stage, cwd: Path, owner: Any = None, poll: float = 0.02) -> str:
    """Run an attempt in this process; return what went wrong. SIGTERM gets its handler back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        start_job(stage, {}, cwd, poll, owner)()
    except StageError as error:
        return str(error)
    finally:
        signal.signal(signal.SIGTERM, before)
    return ''


def fork_stages(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Let ``tools/run_benchmark.py`` run its stages one after the other, as forks of the test's."""

    class Forking(InlineExecutor):
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__(root, poll=0.2)

    patch.setattr(stages, 'subprocess', SimpleNamespace(Popen=start_python, STDOUT=STDOUT))
    patch.setattr(executors, 'LocalExecutor', Forking)
