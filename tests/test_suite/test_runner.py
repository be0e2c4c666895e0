"""Stages as real processes: records, order, failures, and what must not outlive whom."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from unittest.mock import Mock

import psutil
import pytest

from lightvit_dense.suite.executors import LocalExecutor, device_slots
from lightvit_dense.suite.runner import JobsError, Runner, remaining, status_line
from lightvit_dense.suite.stages import (
    Stage,
    StageRecord,
    begin,
    exclusive,
    is_done,
    is_running,
    read_record,
    stop_orphan,
    this_process,
    write_record,
)
from tests.helpers.tiny_suite import run_inline, wait_for

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
def stage(tmp_path):
    def make(code='print("step 1/1")', *words, name='one', **options):
        command = [sys.executable, '-c', code, *map(str, words)]
        return Stage(name, name, tmp_path / 'work' / name, 'k', command, ['--resume'], **options)

    return make


@pytest.fixture
def job(stage, tmp_path):
    def make(name, seconds=0.0, **options):
        return stage(NOTE, tmp_path / 'trace', seconds, name, name=name, **options)

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


def started(stage):
    wait_for(lambda: (record := read_record(stage)) and record.pid, 'its start')
    return psutil.Process(read_record(stage).pid)


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
        'from lightvit_dense.suite.stages import Stage\n'
        'from tests.test_suite.test_runner import run\n'
        'root, folder, *command = sys.argv[1:]\n'
        'run([Stage("a", "a", Path(folder), "k", command, ["--resume"])], Path(root))\n'
    )
    slow = job('a', seconds=60)
    parent = subprocess.Popen([sys.executable, '-c', code, tmp_path, slow.work_dir, *slow.command])
    orphan = started(slow)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([orphan], timeout=60)
    assert not alive
    assert run([job('a')], tmp_path) == ['a']
    assert trace()['a'][-1] == ['--resume']
    assert read_record(slow).attempts == 2


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


def test_lines_about_what_runs_are_rare_in_a_file_and_one_on_a_terminal(capsys, monkeypatch):
    for interval, line in ((60.0, 'too soon'), (0.0, 'due')):
        tell, show = status_line(interval)
        show(line)
    tell('over')
    assert capsys.readouterr().out == 'due\nover\n'
    monkeypatch.setattr('sys.stdout.isatty', lambda: True)
    monkeypatch.setenv('COLUMNS', '9')
    tell, show = status_line()
    show('a long line')
    tell('over')
    assert capsys.readouterr().out == '\r\x1b[Ka long l\r\x1b[Kover\n'


def test_record_tells_time_memory_and_command_and_a_lost_output_means_not_done(stage, tmp_path):
    product = tmp_path / 'product'
    one = stage('import time; x = bytearray(80 << 20); time.sleep(0.3)', outputs=[product])
    assert 'without writing' in run_inline(one, tmp_path)
    assert not is_done(one)
    product.touch()
    assert run_inline(one, tmp_path) == ''
    assert is_done(one)
    record = read_record(one)
    assert (record.attempts, record.pid, record.error) == (2, None, '')
    assert record.seconds >= 0.6  # of both attempts
    assert 80 < record.peak_memory_mb < 1000
    assert record.command == [*one.command, '--resume']
    product.unlink()
    assert not is_done(one)


def test_failure_shows_the_end_of_the_log_and_its_path(stage, tmp_path):
    code = 'print("\\n".join(f"line {i}" for i in range(100))); raise SystemExit("out of luck")'
    one = stage(code)
    message = run_inline(one, tmp_path)
    for part in ("'one' failed: exit status 1", 'out of luck', 'line 99', str(one.log)):
        assert part in message
    assert 'line 10\n' not in message
    assert read_record(one).error == 'exit status 1'
    assert not is_done(one)


def test_what_was_cut_short_is_resumed_and_what_changed_starts_from_an_empty_folder(stage):
    one = stage()
    write_record(one, StageRecord('k', seconds=5.0, attempts=1))
    (one.work_dir / 'iter_1.pth').touch()
    again = begin(one)
    assert again.command == [*one.command, '--resume']
    assert (again.attempts, again.seconds) == (2, 5.0)
    assert (one.work_dir / 'iter_1.pth').exists()
    other = begin(replace(one, key='other'))
    assert other.command == one.command
    assert not (one.work_dir / 'iter_1.pth').exists()
    # A folder that is not ours is left as it is.
    (one.work_dir / 'stage.json').unlink()
    (one.work_dir / 'thesis.tex').write_text('years of work')
    begin(one)
    assert (one.work_dir / 'thesis.tex').read_text() == 'years of work'


# Starts a process that does not know of its parent, as a launcher's worker.
FAMILY = (
    'import subprocess, sys, time\n'
    'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
    'open(sys.argv[1], "w").write(str(child.pid))\n'
    'time.sleep(60 if sys.argv[2] == "alive" else 0)'
)


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize('leader', ['alive', 'gone'])
def test_what_is_left_of_a_killed_attempt_is_ended(stage, tmp_path, leader):
    path = tmp_path / 'pid'
    process = subprocess.Popen(stage(FAMILY, path, leader).command, start_new_session=True)
    started = psutil.Process(process.pid).create_time()
    wait_for(lambda: path.exists() and path.read_text(), 'the worker')
    worker = int(path.read_text())
    if leader == 'gone':
        process.wait()
    record = StageRecord('k', attempts=1, pid=process.pid, started=started)
    assert is_running(record) == (leader == 'alive')
    stop_orphan(replace(record, host='another-machine'))
    assert is_alive(worker)
    stop_orphan(record)
    process.wait()
    assert not is_alive(worker)
    # A later process of the same number is not ours.
    stop_orphan(replace(record, pid=os.getpid(), started=1.0))


def test_a_record_of_a_later_attempt_is_left_alone(stage, tmp_path):
    one = stage('import time; time.sleep(0.5)')
    thread = threading.Timer(0.2, lambda: write_record(one, StageRecord('k', attempts=7)))
    thread.start()
    run_inline(one, tmp_path, owner=this_process())
    thread.join()
    assert read_record(one) == StageRecord('k', attempts=7)


def test_only_one_run_may_hold_a_folder(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with exclusive(tmp_path):
            assert signal.getsignal(signal.SIGTERM) != before
            with pytest.raises(RuntimeError, match='another run is using'), exclusive(tmp_path):
                pass
        # Forked children, which may miss a handled signal, must not be left with the handler.
        assert signal.getsignal(signal.SIGTERM) == before
