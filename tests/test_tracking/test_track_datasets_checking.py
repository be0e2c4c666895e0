"""tools/dataset_converters/check_dataset.py on sets of videos."""

import json
import runpy
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from lightvit_dense.datasets.checking import CHECKS, Request
from lightvit_dense.datasets.toyworld import WorldSpec
from lightvit_dense.errors import run_tool
from tracking.datasets import checking

from .small_sequences import some_boxes, write_got10k, write_lasot_sequence, write_trackingnet

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/check_dataset.py'


def write_lasot(root):
    for number in (2, 4, 10):
        write_lasot_sequence(root, f'cat-{number}', some_boxes(4), occluded=[2])
    write_lasot_sequence(root, 'cat-1', some_boxes(6))
    return root


@pytest.fixture
def lasot(tmp_path):
    return write_lasot(tmp_path / 'lasot')


def rows(report):
    return {row.part: (row.found, row.expected, row.opened, row.state) for row in report.rows}


@pytest.mark.parametrize(
    ('name', 'write', 'train', 'test'),
    [
        ('lasot', write_lasot, (3, 1120, 12), (1, 280, 6)),
        ('got10k', write_got10k, (5, 9335, 20), (1, 180, 7)),
        ('trackingnet', write_trackingnet, (3, 30132, 17), (1, 511, 5)),
    ],
)
def test_a_subset_is_counted_and_opened(tmp_path, name, write, train, test):
    write(tmp_path / name)
    report = CHECKS[name](str(tmp_path / name), Request(full=True, splits=('train', 'test')))
    assert report.ok, report.problems
    wanted = {}
    for split, (found, expected, frames) in (('train', train), ('test', test)):
        wanted[f'sequences of {split}'] = (found, expected, 0, 'a subset')
        wanted[f'frames of {split}'] = (frames, None, frames, 'there')
    assert rows(report) == wanted
    if name == 'lasot':
        assert report.notes[0] == 'train: the target is not visible in 25.0 % of annotated frames'


def test_what_is_wrong_is_named(lasot):
    (lasot / 'cat/cat-2/img/00000002.jpg').write_bytes(b'\xff\xd8 half')
    (lasot / 'cat/cat-1/out_of_view.txt').unlink()
    frames, flags = CHECKS['lasot'](str(lasot), Request(full=True)).problems
    assert (frames.kind, frames.what) == ('damaged', '1 of 12 frames of train opened')
    assert 'cat-2/img/00000002.jpg cannot be read' in frames.files[0]
    assert (flags.kind, flags.what) == ('damaged', '1 of 1 sequences of test')
    assert 'out_of_view.txt does not exist' in flags.files[0]
    report = CHECKS['lasot'](str(lasot / 'nowhere'), Request(splits=('test',)))
    assert [problem.kind for problem in report.problems] == ['missing']


@pytest.mark.parametrize(
    ('split', 'status', 'text'),
    [('train', 0, 'it is a subset'), ('val', 2, 'lasot has the splits train, test')],
)
def test_the_tool_knows_them(lasot, monkeypatch, capsys, split, status, text):
    main = runpy.run_path(str(TOOL))['main']
    monkeypatch.setattr(sys, 'argv', ['tool', 'lasot', str(lasot), '--splits', split])
    assert run_tool(main) == status
    assert text in ''.join(capsys.readouterr())


def test_the_videos_of_a_toy_world(lasot, monkeypatch):
    world = lasot.parent
    (lasot / 'training_set.txt').write_text('cat-2\ncat-4\ncat-10\n')
    (lasot / 'testing_set.txt').write_text('cat-1')
    stats = {'train': {'videos': 3}, 'test': {'videos': 2}}
    marker = dict(spec=asdict(WorldSpec()), layouts=['lasot'], stats={'lasot': stats})
    (world / 'toyworld.json').write_text(json.dumps(marker))
    report = CHECKS['toyworld'](str(world), Request(full=True))
    assert rows(report)['lasot: sequences of train'] == (3, 3, 0, 'complete')
    assert rows(report)['lasot: sequences of test'] == (1, 2, 0, 'a subset')
    assert rows(report)['lasot: frames of test'][2] == 6
    assert [problem.kind for problem in report.problems] == ['missing']  # other files of a world
    monkeypatch.delitem(CHECKS, 'lasot')
    assert 'not checked' in ' '.join(CHECKS['toyworld'](str(world), Request()).notes)
    assert 'lasot' in checking.SETS
