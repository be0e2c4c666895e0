"""Run a tool without the seconds that a process takes to import everything."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.toy_engine import clear_globals

ROOT = Path(__file__).resolve().parents[2]
Called = tuple[int | str | None, str, str]


@pytest.fixture
def call_tool(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Called]:
    """Run a tool's script as ``python tools/... words`` does, but in this process.

    Returns:
        Its exit status, what it printed, and its errors.
    """

    def call(tool: str, *words: object) -> Called:
        path = str(ROOT / 'tools' / tool)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(path, run_name='__main__')
        out = capfd.readouterr()
        return stop.value.code, out.out, out.err

    return call


@pytest.fixture
def call_toy(call_tool: Callable[..., Called]) -> Iterator[Callable[..., Called]]:
    """Return :func:`call_tool` for tools that run the toy engine, whose globals are cleared."""

    def run(*words: object) -> Called:
        clear_globals()
        return call_tool(*words)

    yield run
    clear_globals()
