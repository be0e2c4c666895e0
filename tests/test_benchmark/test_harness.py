import json
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

import numpy as np
import pytest

from lightvit_dense.errors import UserError, run_tool
from tools.benchmark import harness, run
from tools.benchmark.cases import tracking_index


class FakeTime:
    """A clock that goes on only when a call says so."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float) -> harness.Call:
        """Return a call that takes these seconds, one after the other."""
        left = list(seconds)

        def run() -> None:
            self.log.append(name)
            self.now += left.pop(0)

        return run


def test_calls_take_turns_and_every_second_round_goes_backwards() -> None:
    time = FakeTime()
    calls = {'a': time.call('a', 9, 1, 2), 'b': time.call('b', 9, 3, 5)}
    told = []

    def prepare(number: int) -> None:
        told.append(number)
        time.now += 100  # is not timed

    seconds = harness.in_turns(calls, 2, 1, clock=time, prepare=prepare, after_round=told.append)
    assert ''.join(time.log) == 'ba' + 'ab' + 'ba'
    assert seconds == {'a': [1, 2], 'b': [3, 5]}
    assert told == [0, 0, 1, 1, 1, 2, 2, 2]


def test_variants_are_set_beside_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(self: harness.MatmulPeak, number: int = 0) -> None:
        self.gflop_per_s = 10.0

    monkeypatch.setattr(harness.MatmulPeak, '__call__', peak)
    time = FakeTime()
    calls = {'ours': time.call('a', 2, 4, 6), 'theirs': time.call('b', 6, 6, 6)}
    found = harness.compare(calls, 3, 0, flops={'ours': 6e9}, clock=time, units=2)
    ours, theirs = found['ours'], found['theirs']
    assert (ours['median'], ours['iqr'], ours['fastest'], ours['samples']) == (2, 1, 1, 3)
    assert theirs['ratio'] == 1.5  # the median of 3, 1.5 and 1
    assert ours['share'] == pytest.approx(0.3)
    assert 'share' not in theirs


def test_the_peak_is_the_best_rate() -> None:
    peak = harness.MatmulPeak()
    peak()
    first = peak.gflop_per_s
    peak.gflop_per_s = 1e9
    peak()
    assert peak.gflop_per_s == 1e9 > first > 0


def test_memory_is_the_peak_and_what_it_grew_by(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks, calls = [120.0, 180.0], []
    monkeypatch.setattr(harness, 'held_memory_mb', lambda device: 100.0)
    monkeypatch.setattr(harness.environment, 'peak_memory_mb', lambda device: peaks.pop(0))
    passes = {'forward': lambda: calls.append('f'), 'step': lambda: calls.append('s')}
    assert harness.measure_memory(passes, 'cpu') == {
        'forward': {'peak_mb': 120, 'grown_mb': 20},
        'step': {'peak_mb': 180, 'grown_mb': 80},
    }
    assert ''.join(calls) == 'ffss'


def test_a_table_says_what_its_columns_say() -> None:
    columns = {
        'name': lambda row: row['name'].upper(),
        'ms (IQR)': harness.spread(1e3, 1),
        'share': '{share:.0%}',
        'in it': '{parts[left]}',
    }
    rows = [{'name': 'a', 'median': 0.0123, 'iqr': 0.001, 'share': None}]
    rows.append({'name': 'b', 'median': 1, 'iqr': 0, 'share': 0.5, 'parts': {'left': 3}})
    lines = harness.table('A title', columns, rows).splitlines()
    assert lines[0] == '**A title**'
    assert lines[-2:] == ['| A | 12.3 (1.0) |  |  |', '| B | 1000.0 (0.0) | 50% | 3 |']


def test_a_summary_is_of_quartiles() -> None:
    found = harness.summary((1.0, 9.0, 2.0, 4.0, 3.0))
    assert found == {'median': 3.0, 'iqr': 2.0, 'fastest': 1.0, 'samples': 5}
    assert harness.summary((1.0,))['iqr'] == 0.0


def test_a_report_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = Namespace(
        markdown=str(tmp_path / 'a.md'), json=str(tmp_path / 'a.json'), amp='bf16', batch=3
    )
    machine = harness.describe(args)
    harness.publish(harness.Report([{'median': 1}], 'a table'), machine, args)
    text = (tmp_path / 'a.md').read_text()
    assert text.startswith(f'*measured* on {machine["cpu"]}')
    assert 'bf16, torch' in text
    assert text in capsys.readouterr().out
    found = json.loads((tmp_path / 'a.json').read_text())
    assert (found['results'], found['settings']) == ([{'median': 1}], {'amp': 'bf16', 'batch': 3})


def test_workers_give_results_and_their_errors_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    args = run.parse_args(['tracking_index'])
    tracking_index.write_videos('got10k', tmp_path / 'got10k', 2, np.random.default_rng(0))
    found = harness.run_worker(args, folder=str(tmp_path), sets=['got10k'], threads=1)
    assert found['counts']['got10k'][0] == 2
    with pytest.raises(RuntimeError, match='the worker failed with exit status 1'):
        harness.run_worker(args, folder=str(tmp_path), sets=['no such set'])
    with pytest.raises(UserError, match='see the message above'):
        harness.run_worker(args, folder=str(tmp_path / 'nowhere'), sets=['lasot'])
    assert 'nowhere' in capfd.readouterr().err


OPTIONS = [
    ('dense_step --sizes 100', 'multiples of the 16 px'),
    ('dense_step --device cpu --amp bf16', '--amp needs a GPU'),
    ('dense_step --device cuda', 'no GPU that torch can use'),
    ('dense_step --repeats 0', '--repeats must be at least 1, got 0'),
    ('dense_step --warmup -1', '--warmup must be at least 0'),
    ('dense_step --compile --device cpu', '--compile needs a C++ compiler'),
    ('dense_step --cores 9999', '--cores: there are'),
    ('dense_step --variants detectron', 'invalid choice'),
    ('train_step --batch mea=2', '--batch mea=2: expected N or CASE=N'),
    ('pretrain_step --batch 0', '--batch must be at least 1, got 0'),
    ('data_pipeline --crop 0', '--crop must be at least 1, got 0'),
    ('data_pipeline --size 500', '500: expected WIDTHxHEIGHT'),
    ('tracking_metric --sequences 9 --frames 35', 'four frames a sequence'),
    ('tracking_index --videos 3', 'at least 12 videos'),
    ('tracking_fps --video a.mp4', '--video and --box go together'),
    ('tracking_fps --checkpoint a.pth', '--checkpoint needs --config'),
    ('tracking_fps --threads 0', '--threads must be at least 1, got 0'),
    ('tracking_fps --frames 3', '3 frames are too few'),
    ('classification_speed --budget 0', '--budget and --timeout must be above 0'),
    ('classification_speed --modes onyx', 'invalid choice'),
    ('classification_speed --passes 0', '--passes must be at least 1'),
    ('no_such_case', 'invalid choice'),
]


@pytest.mark.parametrize(('words', 'message'), OPTIONS)
def test_bad_options_are_refused(
    words: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr(harness.environment, 'cpp_compiler', lambda: None)
    try:
        status = run_tool(lambda: run.main(words.split()))
    except SystemExit as stop:  # argparse's
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_a_size_is_width_and_height() -> None:
    assert harness.parse_size('500x375') == (500, 375)
    for text in ('12', 'x5', '0x5', '5x', 'axb'):
        with pytest.raises(ArgumentTypeError, match='WIDTHxHEIGHT'):
            harness.parse_size(text)
