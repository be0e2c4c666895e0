"""Run a tool: in the test's process, without the seconds that importing takes, or in its own."""

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.helpers.toy_engine import clear_globals

ROOT = Path(__file__).resolve().parents[2]


def call_tool(tool: str, *words: object, status: int = 0) -> str:
    """Run ``python tools/TOOL words`` in this process; return all that it printed."""
    clear_globals()
    path, text = str(ROOT / 'tools' / tool), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(text), redirect_stderr(text):
        patch.setattr(sys, 'argv', [path, *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(path, run_name='__main__')
    clear_globals()
    assert stop.value.code == status, text.getvalue()
    return text.getvalue()


def start_tool(tool: str, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python tools/TOOL words`` as a process to its end."""
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | env)
