"""One command: its record, what is done again, and what must not outlive whom."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest

from lightvit_dense.suite.stages import (
    Stage,
    StageRecord,
    begin,
    content_key,
    exclusive,
    is_done,
    is_running,
    read_record,
    stop_orphan,
    this_process,
    write_record,
)
from tests.helpers.tiny_suite import run_inline


@pytest.fixture
def stage(tmp_path):
    def make(code='print("step 1/1")', **options):
        command = [sys.executable, '-c', code]
        return Stage('one', 'One', tmp_path / 'one', 'k', command, ['--resume'], **options)

    return make


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


def test_foreign_folder_is_not_emptied(stage, tmp_path):
    one = stage()
    one.work_dir.mkdir(parents=True)
    (one.work_dir / 'thesis.tex').write_text('years of work')
    run_inline(one, tmp_path)
    assert (one.work_dir / 'thesis.tex').read_text() == 'years of work'


# Starts a process that does not know of its parent, as a launcher's worker.
FAMILY = (
    'import subprocess, sys, time\n'
    'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
    'open(sys.argv[1], "w").write(str(child.pid))\n'
    'time.sleep(60 if len(sys.argv) < 3 else 0)'
)


def wait_for(path):
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f'{path} did not come'
        time.sleep(0.02)
    return int(path.read_text())


def is_alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_command_ends_with_the_process_that_runs_the_suite(stage, tmp_path):
    owner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    one = stage(FAMILY)
    one = replace(one, command=[*one.command, str(tmp_path / 'pid')])
    started = psutil.Process(owner.pid).create_time()
    killer = threading.Thread(target=lambda: (wait_for(tmp_path / 'pid'), owner.kill()))
    killer.start()
    threading.Thread(target=owner.wait).start()
    with pytest.raises(SystemExit, match='is gone'):
        run_inline(one, tmp_path, owner=(owner.pid, started))
    killer.join()
    assert not is_alive(wait_for(tmp_path / 'pid'))
    assert not is_done(one)


@pytest.mark.parametrize('leader', ['alive', 'gone'])
def test_what_is_left_of_a_killed_attempt_is_ended(stage, tmp_path, leader):
    words = [sys.executable, '-c', FAMILY, str(tmp_path / 'pid'), *(['x'] * (leader == 'gone'))]
    process = subprocess.Popen(words, start_new_session=True)
    started = psutil.Process(process.pid).create_time()
    worker = wait_for(tmp_path / 'pid')
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
    code = (
        'import sys; from pathlib import Path\n'
        'from lightvit_dense.suite.stages import exclusive\n'
        'with exclusive(Path(sys.argv[1])): pass'
    )
    command = [sys.executable, '-c', code, str(tmp_path)]
    before = signal.getsignal(signal.SIGTERM)
    with exclusive(tmp_path):
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
