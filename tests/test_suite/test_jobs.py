"""A pool of stages: in order, several at a time, past failures, and stopped as a whole."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from lightvit_dense.suite.jobs import JobPool, JobsError, remaining
from lightvit_dense.suite.stages import Stage, StageRecord, is_done, read_record, write_record

# Notes when it began and ended, the number of threads it may use, and its arguments.
NOTE = (
    'import os, sys, time\n'
    'began = time.time(); time.sleep(float(sys.argv[2]))\n'
    'threads = os.environ["OMP_NUM_THREADS"]\n'
    'line = f"{sys.argv[3]} {began} {time.time()} {threads} {sys.argv[4:]}"\n'
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
        lines = path.read_text().splitlines() if path.exists() else []
        return {line.split()[0]: line.split(maxsplit=4)[1:] for line in lines}

    return read


def run(stages, jobs=2, tell=lambda line: None):
    return JobPool(stages, jobs, tell=tell, poll=0.02).run()


def test_a_run_waits_for_what_it_needs_and_no_longer(job, trace):
    stages = [job('a'), job('slow', seconds=1.0), job('b', after=['a']), job('c', after=['slow'])]
    said = []
    assert set(run(stages, tell=said.append)) == {'a', 'slow', 'b', 'c'}
    times = {name: (float(words[0]), float(words[1])) for name, words in trace().items()}
    assert times['b'][0] >= times['a'][1]
    assert times['c'][0] >= times['slow'][1]
    assert times['b'][0] < times['slow'][1]  # in the other place
    assert said[-1].startswith('[4/4] ')
    assert 'left' in said[0]
    assert run(stages) == []


def test_the_cores_are_shared_out(job, trace, monkeypatch):
    monkeypatch.setattr(os, 'cpu_count', lambda: 6)
    run([job('a')], jobs=2)
    run([job('b')], jobs=8)
    assert (trace()['a'][2], trace()['b'][2]) == ('3', '1')


def test_a_failure_stops_only_what_needs_it(job, trace):
    stages = [job('bad'), job('child', after=['bad']), job('good'), job('other', after=['good'])]
    with pytest.raises(JobsError, match=r"(?s)1 of the runs failed.*'bad'.*need one of.*child"):
        run(stages)
    assert set(trace()) == {'bad', 'good', 'other'}
    assert [is_done(stage) for stage in stages] == [False, False, True, True]


def test_what_was_cut_short_goes_on_with_resume(job, trace):
    stage = job('a')
    write_record(stage, StageRecord('k', seconds=5.0, attempts=1))
    assert run([stage]) == ['a']
    assert trace()['a'][3] == "['--resume']"
    record = read_record(stage)
    assert record.attempts == 2
    assert record.seconds > 5
    again = replace(stage, key='changed')
    run([again])
    assert trace()['a'][3] == '[]'


def test_stopping_the_pool_ends_its_processes(job):
    stages = [job('quick'), job('long', seconds=60)]
    found = []

    def interrupt(line):
        pid = None
        while pid is None:  # until the record of the long one names its process
            time.sleep(0.02)
            pid = read_record(stages[1]) and read_record(stages[1]).pid
        found.append(pid)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(stages, tell=interrupt)
    assert time.monotonic() - began < 20
    assert not psutil.pid_exists(found[0])
    assert json.loads((stages[1].work_dir / 'stage.json').read_text())['done'] is False


def test_what_a_killed_pool_left_running_is_ended_before_anything_starts(job):
    stages = [job('first'), job('second')]
    orphan = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    started = psutil.Process(orphan.pid).create_time()
    # The second stage's process outlived its pool; it would share the cores with the first.
    write_record(stages[1], StageRecord('k', attempts=1, pid=orphan.pid, started=started))
    ended = []
    run(stages, jobs=1, tell=lambda line: ended.append(orphan.poll() is not None))
    assert ended[0]
    assert all(is_done(stage) for stage in stages)


def test_time_left_goes_by_what_the_same_kind_took(job):
    stages = [
        job('p1', group='pretrain'),
        job('p2', group='pretrain'),
        job('f1', group='finetune'),
        job('f2', group='finetune'),
        job('f3', group='finetune'),
    ]
    for name, seconds in (('p1', 100.0), ('f1', 10.0), ('f2', 20.0)):
        stage = next(s for s in stages if s.name == name)
        write_record(stage, StageRecord('k', done=True, seconds=seconds))
    assert remaining(stages, {'p1', 'f1', 'f2'}, ['p1', 'f1', 'f2']) == 100 + 15
    # Only of one kind anything is known: it stands for the other.
    assert remaining(stages, {'p1', 'f1', 'f2'}, ['f1']) == 10 + 10
    assert remaining(stages, {'p1'}, []) is None
