import json
import signal
import sys
from pathlib import Path

import pytest

from lightvit_dense.analysis.inference_speed import SpeedSettings
from lightvit_dense.analysis.speed_passes import SpeedPasses, append_cell, read_cells
from lightvit_dense.errors import UserError

# Stands for a measuring process: notes its order; does what the model's name says.
WORKER = """
import json, os, signal, sys, time
order, file = json.load(sys.stdin), sys.argv[1]
with open({calls!r}, 'a') as stream:
    stream.write(json.dumps(order) + '\\n')
def report(name, cell):
    with open(file, 'a') as stream:
        stream.write(json.dumps([name, cell]) + '\\n')
if order['model'] == 'unborn':
    sys.exit(4)
report('size', {{'parameters': 1, 'macs': 1, 'flops': 2}})
batch = order['settings']['batch']
if order['model'] == 'hungry' and batch > 2:
    os.kill(os.getpid(), signal.SIGKILL)
if order['model'] == 'slow':
    time.sleep(60)
for mode in order['modes']:
    report(mode, {{'seconds': [0.5], 'batch': batch}})
    if order['model'] == 'crash':
        sys.exit(3)
"""


def passes_of(folder: Path, *models: str, timeout: float = 60.0, batch: int = 8) -> SpeedPasses:
    script = folder / 'worker.py'
    script.write_text(WORKER.format(calls=str(folder / 'calls.jsonl')))
    return SpeedPasses(
        folder / 'out',
        models,
        ('throughput', 'latency'),
        SpeedSettings(batch=batch),
        (sys.executable, str(script)),
        timeout,
    )


def calls(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / 'calls.jsonl').read_text().splitlines()]


def test_passes_go_forth_and_back_and_are_not_repeated(tmp_path: Path) -> None:
    passes, told = passes_of(tmp_path, 'a', 'b'), []
    passes.open(resume=False)
    assert passes.run(2, None, lambda number, model: told.append((number, model))) == ()
    assert told == [(1, 'a'), (1, 'b'), (2, 'b'), (2, 'a')]
    assert passes.cells(2, 'a')['latency'] == {'seconds': [0.5], 'batch': 8}
    assert passes.missing(2, 'a') == []
    passes.open(resume=True)
    passes.run(2, None, lambda number, model: None)
    assert len(calls(tmp_path)) == 4


def test_only_what_is_missing_or_wrong_is_measured_again(tmp_path: Path) -> None:
    passes = passes_of(tmp_path, 'timm:a/b')
    passes.open(resume=False)
    passes.run(1, None, lambda number, model: None)
    (file,) = (tmp_path / 'out/passes/1').iterdir()
    append_cell(file, 'latency', {'error': 'no'})
    with file.open('a') as stream:
        stream.write('["throughput", {"err')  # cut short
    assert passes.missing(1, 'timm:a/b') == ['latency']
    passes.run(1, None, lambda number, model: None)
    assert calls(tmp_path)[-1]['modes'] == ['latency']
    assert set(read_cells(file)) == {'size', 'throughput', 'latency'}


def test_a_killed_process_is_tried_with_less(tmp_path: Path) -> None:
    passes = passes_of(tmp_path, 'hungry')
    passes.open(resume=False)
    passes.run(2, None, lambda number, model: None)
    # The second pass begins with what fitted in the first.
    assert [call['settings']['batch'] for call in calls(tmp_path)] == [8, 4, 2, 2]
    assert passes.cells(1, 'hungry')['throughput']['batch'] == 2


@pytest.mark.parametrize(
    ('model', 'missing', 'message'),
    [
        ('crash', 'latency', 'the process ended with status 3; see .*log.txt'),
        ('unborn', 'size', 'the process ended with status 4'),
        ('slow', 'throughput', 'not done after 2 s, see --timeout'),
    ],
)
def test_a_process_that_fails_leaves_reasons(
    model: str, missing: str, message: str, tmp_path: Path
) -> None:
    passes = passes_of(tmp_path, model, 'good', timeout=2.0)
    passes.open(resume=False)
    passes.run(1, None, lambda number, name: None)
    assert passes.missing(1, 'good') == []
    assert 'latency' in passes.missing(1, model)
    error = passes.cells(1, model)[missing]['error']
    assert error.startswith(message.split(';')[0])
    # What was measured before the end counts.
    assert ('seconds' in passes.cells(1, model)['throughput']) == (model == 'crash')
    assert set(passes.cells(1, model)) == {'size', 'throughput', 'latency'}


def test_a_process_killed_with_a_batch_of_one(tmp_path: Path) -> None:
    passes = passes_of(tmp_path, 'hungry', batch=4)
    script = tmp_path / 'worker.py'
    script.write_text(script.read_text().replace('batch > 2', 'batch > 0'))
    passes.open(resume=False)
    passes.run(1, None, lambda number, model: None)
    assert [call['settings']['batch'] for call in calls(tmp_path)] == [4, 2, 1]
    error = passes.cells(1, 'hungry')['latency']['error']
    assert f'status {-signal.SIGKILL}, killed: most likely for lack of memory' in error


def test_later_passes_are_left_out_when_time_is_up(tmp_path: Path) -> None:
    passes = passes_of(tmp_path, 'a')
    passes.open(resume=False)
    assert passes.run(3, 1e-6, lambda number, model: None) == (2, 3)
    assert len(calls(tmp_path)) == 1


def test_a_folder_belongs_to_one_benchmark(tmp_path: Path) -> None:
    passes = passes_of(tmp_path, 'a')
    passes.open(resume=True)  # nothing there yet: the same as without
    with pytest.raises(UserError, match='holds results already: go on with them by --resume'):
        passes.open(resume=False)
    with pytest.raises(UserError, match=r'measured otherwise \(batch was 8\)'):
        passes_of(tmp_path, 'a', batch=16).open(resume=True)
