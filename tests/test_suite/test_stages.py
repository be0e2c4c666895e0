import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lightvit_dense.suite import stages
from lightvit_dense.utils.progress import LineDisplay
from lightvit_dense.suite.stages import Pipeline, Stage, StageError, content_key, is_done

# Appends its arguments to a trace, so that the test sees what ran and how often.
TRACE = (
    'import sys; open(sys.argv[1], "a").write(" ".join(sys.argv[2:]) + "\\n"); print("step 1/1")'
)


@pytest.fixture
def chain(tmp_path):
    trace = tmp_path / 'trace.txt'

    def stage(name, key='k', after=(), code=TRACE):
        command = [sys.executable, '-c', code, str(trace), name]
        folder = tmp_path / 'work' / name
        return Stage(name, f'stage {name}', folder, key, command, resume=['--resume'], after=after)

    return trace, stage


def pipeline(*parts):
    return Pipeline(parts, LineDisplay(stream=open(os.devnull, 'w')), poll=0.02)


def lines(trace):
    return trace.read_text().splitlines() if trace.exists() else []


def test_done_stages_are_skipped_and_a_changed_one_runs_from_an_empty_folder(chain):
    trace, stage = chain
    first, second = stage('one'), stage('two', after=['one'])
    assert pipeline(first, second).run() == ['one', 'two']
    assert pipeline(first, second).run() == []
    assert lines(trace) == ['one', 'two']

    leftover = second.work_dir / 'old.pth'
    leftover.write_text('')
    assert pipeline(first, replace(second, key='other')).run() == ['two']
    assert not leftover.exists()
    assert lines(trace) == ['one', 'two', 'two']  # without --resume


def test_record_tells_time_memory_and_command(chain):
    _, stage = chain
    one = stage('one', code='import sys, time; x = bytearray(80 << 20); time.sleep(0.3)')
    pipeline(one).run()
    record = stages.read_record(one)
    assert record.done
    assert record.attempts == 1
    assert record.pid is None
    assert 0.3 <= record.seconds < 30
    assert 80 < record.peak_memory_mb < 1000
    assert record.command == one.command


def test_missing_output_means_not_done(chain, tmp_path):
    _, stage = chain
    product = tmp_path / 'product'
    one = replace(stage('one'), outputs=[product])
    with pytest.raises(StageError, match=r'without writing .*product'):
        pipeline(one).run()
    product.touch()
    assert stages.is_done(one)
    product.unlink()
    assert not stages.is_done(one)


def test_failure_shows_the_end_of_the_log_and_its_path(chain):
    _, stage = chain
    code = 'print("\\n".join(f"line {i}" for i in range(100))); raise SystemExit("out of luck")'
    one = stage('one', code=code)
    with pytest.raises(StageError) as caught:
        pipeline(one, stage('two')).run()
    message = str(caught.value)
    assert "'one' failed: exit status 1" in message
    assert 'out of luck' in message
    assert 'line 99' in message
    assert 'line 10\n' not in message
    assert str(one.log) in message
    assert not stages.is_done(one)


def test_failed_stage_is_resumed_next_time(chain):
    trace, stage = chain
    code = TRACE + '; raise SystemExit(len(sys.argv) == 3)'  # fails unless told to resume
    one = stage('one', code=code)
    with pytest.raises(StageError):
        pipeline(one).run()
    assert pipeline(one).run() == ['one']
    assert lines(trace) == ['one', 'one --resume']
    assert stages.read_record(one).attempts == 2


def test_killed_chain_continues_and_its_orphan_is_stopped(chain, tmp_path):
    """SIGKILL of the parent in stage two: stage one is not repeated, stage two is resumed."""
    trace, stage = chain
    slow = TRACE + '; import time; time.sleep(0 if "--resume" in sys.argv else 120)'
    one, two = stage('one'), stage('two', code=slow, after=['one'])
    script = (
        'import sys, json; from pathlib import Path\n'
        'from lightvit_dense.suite.stages import Stage, Pipeline\n'
        'from lightvit_dense.utils.progress import LineDisplay\n'
        'found = json.loads(sys.argv[1])\n'
        'parts = [Stage(**{**d, "work_dir": Path(d["work_dir"])}) for d in found]\n'
        'Pipeline(parts, LineDisplay(), poll=0.02).run()\n'
    )
    described = json.dumps([{**vars(s), 'work_dir': str(s.work_dir)} for s in (one, two)])
    parent = subprocess.Popen([sys.executable, '-c', script, described])
    deadline = time.monotonic() + 60
    while lines(trace) != ['one', 'two'] and time.monotonic() < deadline:
        time.sleep(0.05)
    while stages.read_record(two).pid is None and time.monotonic() < deadline:
        time.sleep(0.05)
    orphan = psutil.Process(stages.read_record(two).pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert orphan.is_running()
    assert orphan.status() != psutil.STATUS_ZOMBIE

    assert pipeline(one, two).run() == ['two']
    assert lines(trace) == ['one', 'two', 'two --resume']
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_needs_and_names_are_checked(chain):
    _, stage = chain
    parts = [stage('one'), stage('two', after=['one'])]
    with pytest.raises(StageError, match="it needs the stage 'one'"):
        pipeline(*parts).run(['two'])
    with pytest.raises(ValueError, match=r'unknown stage\(s\) three; there are: one, two'):
        pipeline(*parts).run(['three'])
    assert pipeline(*parts).run(['one']) == ['one']
    assert pipeline(*parts).run(['two']) == ['two']


def test_foreign_folder_is_not_emptied(chain):
    _, stage = chain
    one = stage('one')
    one.work_dir.mkdir(parents=True)
    (one.work_dir / 'thesis.tex').write_text('years of work')
    pipeline(one).run()
    assert (one.work_dir / 'thesis.tex').read_text() == 'years of work'


def test_only_one_run_may_hold_a_folder(tmp_path):
    code = (
        'import sys; from pathlib import Path\n'
        'from lightvit_dense.suite.stages import exclusive\n'
        'with exclusive(Path(sys.argv[1])): pass'
    )
    command = [sys.executable, '-c', code, str(tmp_path)]
    before = signal.getsignal(signal.SIGTERM)
    with stages.exclusive(tmp_path):
        assert signal.getsignal(signal.SIGTERM) != before
        held = subprocess.run(command, capture_output=True, text=True, check=False)
    # Forked children, which may miss a handled signal, must not be left with the handler.
    assert signal.getsignal(signal.SIGTERM) == before
    assert held.returncode == 1
    assert 'another run is using' in held.stderr
    assert subprocess.run(command, check=False).returncode == 0


def test_content_key_depends_on_content_alone():
    assert content_key({'a': 1, 'b': [2]}) == content_key({'b': [2], 'a': 1})
    assert content_key({'a': 1}) != content_key({'a': 2})


def test_a_group_runs_at_the_same_time_with_shared_cores(tmp_path: Path) -> None:
    """Each waits for the other's file: one after the other they would wait for ever."""
    code = (
        'import os, pathlib, sys, time\n'
        'mine, other = map(pathlib.Path, sys.argv[1:])\n'
        "mine.write_text(os.environ['OMP_NUM_THREADS'])\n"
        'start = time.time()\n'
        'while not other.exists():\n'
        "    assert time.time() - start < 30, 'alone'\n"
        '    time.sleep(0.01)\n'
    )
    files = [tmp_path / 'a.txt', tmp_path / 'b.txt']
    parts = [
        Stage(
            name,
            name,
            tmp_path / name,
            'key',
            [sys.executable, '-c', code, str(mine), str(other)],
            group='pair',
        )
        for name, mine, other in (('a', *files), ('b', *reversed(files)))
    ]
    both = pipeline(*parts)
    assert both.run() == ['a', 'b']
    assert {file.read_text() for file in files} == {str(max(1, (os.cpu_count() or 1) // 2))}
    assert both.run() == []


def test_a_failure_stops_the_rest_of_its_group(tmp_path: Path) -> None:
    commands = {'slow': 'import time; time.sleep(60)', 'bad': 'raise SystemExit(3)'}
    parts = [
        Stage(name, name, tmp_path / name, 'key', [sys.executable, '-c', code], group='pair')
        for name, code in commands.items()
    ]
    began = time.monotonic()
    with pytest.raises(StageError, match=r"'bad' failed: exit status 3"):
        pipeline(*parts).run()
    assert time.monotonic() - began < 30
    assert not any(is_done(stage) for stage in parts)
