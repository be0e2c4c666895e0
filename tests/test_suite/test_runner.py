"""Stages as real processes of submitit: in order, several at a time, past failures and kills."""

import json
import os
import subprocess
import sys
import time
from unittest.mock import Mock

import psutil
import pytest

from lightvit_dense.suite.executors import LocalExecutor, device_slots
from lightvit_dense.suite.runner import JobsError, Runner, remaining, status_line
from lightvit_dense.suite.stages import Stage, is_done, read_record

# Notes when it began and ended, threads and GPUs it may use, and its arguments.
NOTE = (
    'import json, os, sys, time\n'
    'began = time.time(); time.sleep(float(sys.argv[2]))\n'
    'env = [os.environ.get(k) for k in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")]\n'
    'line = json.dumps([sys.argv[3], began, time.time(), *env, sys.argv[4:]])\n'
    'open(sys.argv[1], "a").write(line + "\\n")\n'
    'sys.exit(sys.argv[3] == "bad")'
)


@pytest.fixture
def job(tmp_path):
    def make(name, after=(), seconds=0.0, group=None):
        command = [sys.executable, '-c', NOTE, str(tmp_path / 'trace'), str(seconds), name]
        folder = tmp_path / 'work' / name
        return Stage(name, name, folder, 'k', command, ['--resume'], after=after, group=group)

    return make


@pytest.fixture
def trace(tmp_path):
    def read():
        path = tmp_path / 'trace'
        lines = map(json.loads, path.read_text().splitlines() if path.exists() else [])
        return {name: rest for name, *rest in lines}

    return read


def run(stages, tmp_path, tell=lambda line: None, jobs=2, **options):
    executor = LocalExecutor(tmp_path / 'submitit', jobs, poll=0.05, **options)
    return Runner(stages, executor, tell, poll=0.05).run()


def test_a_run_waits_for_what_it_needs_and_a_failure_stops_only_that(
    job, trace, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, 'cpu_count', lambda: 6)
    stages = [job('a'), job('bad', seconds=0.5), job('b', after=['a']), job('child', after=['bad'])]
    said = []
    slots = device_slots(['4', '7'], 1)
    with pytest.raises(JobsError, match=r"(?s)1 of the runs failed.*'bad'.*need one of.*child"):
        run(stages, tmp_path, said.append, slots=slots)
    found = trace()
    assert set(found) == {'a', 'bad', 'b'}
    assert [is_done(stage) for stage in stages] == [True, False, True, False]
    assert found['b'][0] >= found['a'][1]
    assert {found['a'][2], found['bad'][2]} == {'3'}  # two share out six cores
    assert {found['a'][3], found['bad'][3]} == {'4', '7'}
    assert any(line.startswith('[2/4] b: 0:0') and ' left' in line for line in said)
    assert any('bad: FAILED' in line for line in said)

    stages[1] = job('good')
    stages[3] = job('child', after=['good'])
    assert set(run(stages, tmp_path, said.append)) == {'good', 'child'}
    assert '2 of 4 runs were done before' in said
    assert trace()['child'][2] == '6'  # alone
    assert trace()['child'][3] == os.environ.get('CUDA_VISIBLE_DEVICES')


def started(stage, deadline=60):
    end = time.monotonic() + deadline
    while (record := read_record(stage)) is None or record.pid is None:
        assert time.monotonic() < end, 'it did not start'
        time.sleep(0.05)
    return psutil.Process(record.pid)


def test_an_interrupt_ends_the_processes(job, tmp_path):
    long = job('long', seconds=60)
    found = []

    def interrupt(line):
        found.append(started(long))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([job('quick'), long], tmp_path, interrupt)
    assert not found[0].is_running()
    assert read_record(long).done is False


def test_nothing_outlives_a_killed_runner_and_the_next_one_goes_on(job, trace, tmp_path):
    code = (
        'import sys\n'
        'from pathlib import Path\n'
        'from lightvit_dense.suite.executors import LocalExecutor\n'
        'from lightvit_dense.suite.runner import Runner\n'
        'from lightvit_dense.suite.stages import Stage\n'
        'folder, *command = sys.argv[1:]\n'
        'stage = Stage("a", "a", Path(folder), "k", command, ["--resume"])\n'
        'executor = LocalExecutor(Path(folder).parent / "submitit", poll=0.05)\n'
        'Runner([stage], executor, poll=0.05).run()\n'
    )
    slow = job('a', seconds=60)
    parent = subprocess.Popen([sys.executable, '-c', code, str(slow.work_dir), *slow.command])
    orphan = started(slow)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([orphan], timeout=60)
    assert not alive
    stage = Stage('a', 'a', slow.work_dir, 'k', job('a').command, ['--resume'])
    assert run([stage], tmp_path) == ['a']
    assert trace()['a'][-1] == ['--resume']
    assert read_record(stage).attempts == 2


def test_time_left_goes_by_what_the_same_kind_takes(job):
    stages = [job(f'p{i}', group='pretrain') for i in (1, 2)]
    stages += [job(f'f{i}', group='finetune') for i in (1, 2, 3)]
    took = {'p1': 100.0, 'f1': 10.0, 'f2': 20.0}
    assert remaining(stages, set(took), took) == 100 + 15
    # Only of one kind anything is known: it stands for the other.
    assert remaining(stages, set(took), {'f1': 10.0}) == 10 + 10
    assert remaining(stages, {'p1'}, {}) is None
    running = {
        'p2': Mock(**{'spent.return_value': 30.0, 'whole.return_value': 90.0}),
        'f3': Mock(**{'spent.return_value': 40.0, 'whole.return_value': None}),
    }
    assert remaining(stages, set(took), took, running) == 60 + 0


def test_lines_about_what_runs_are_rare_in_a_file(capsys):
    for interval, line in ((60.0, 'too soon'), (0.0, 'due')):
        tell, show = status_line(interval)
        show(line)
    tell('over')
    assert capsys.readouterr().out == 'due\nover\n'


def test_a_terminal_has_one_line_about_what_runs(capsys, monkeypatch):
    monkeypatch.setattr('sys.stdout.isatty', lambda: True)
    monkeypatch.setenv('COLUMNS', '9')
    tell, show = status_line()
    show('a long line')
    tell('over')
    assert capsys.readouterr().out == '\r\x1b[Ka long l\r\x1b[Kover\n'
