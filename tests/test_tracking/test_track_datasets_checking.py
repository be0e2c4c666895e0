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


@pytest.fixture
def lasot(tmp_path):
    for number in (2, 4, 10):
        write_lasot_sequence(tmp_path / 'lasot', f'cat-{number}', some_boxes(4), occluded=[2])
    write_lasot_sequence(tmp_path / 'lasot', 'cat-1', some_boxes(6))
    return tmp_path / 'lasot'


def rows(report):
    return {row.part: (row.found, row.expected, row.opened, row.state) for row in report.rows}


def test_a_subset_is_counted_and_opened(lasot):
    report = CHECKS['lasot'](str(lasot), Request(full=True))
    assert report.ok, report.problems
    assert rows(report) == {
        'sequences of train': (3, 1120, 0, 'a subset'),
        'frames of train': (12, None, 12, 'there'),
        'sequences of test': (1, 280, 0, 'a subset'),
        'frames of test': (6, None, 6, 'there'),
    }
    assert report.notes[0] == 'train: the target is not visible in 25.0 % of annotated frames'


def test_what_is_wrong_is_named(lasot):
    (lasot / 'cat/cat-2/img/00000002.jpg').write_bytes(b'\xff\xd8 half')
    (lasot / 'cat/cat-1/out_of_view.txt').unlink()
    report = CHECKS['lasot'](str(lasot), Request(full=True))
    assert len(report.problems) == 2
    frames, flags = report.problems
    assert (frames.kind, frames.what) == ('damaged', '1 of 12 frames of train opened')
    assert 'cat-2/img/00000002.jpg cannot be read' in frames.files[0]
    assert (flags.kind, flags.what) == ('damaged', '1 of 1 sequences of test')
    assert 'out_of_view.txt does not exist' in flags.files[0]
    report = CHECKS['lasot'](str(lasot / 'nowhere'), Request(splits=('test',)))
    assert [problem.kind for problem in report.problems] == ['missing']


def test_the_other_sets(tmp_path):
    write_got10k(tmp_path / 'got')
    write_trackingnet(tmp_path / 'net')
    report = CHECKS['got10k'](str(tmp_path / 'got'), Request(splits=('train', 'test')))
    assert report.ok, report.problems
    assert rows(report)['sequences of train'][:2] == (5, 9335)
    report = CHECKS['trackingnet'](str(tmp_path / 'net'), Request())
    assert report.ok, report.problems
    assert rows(report)['sequences of train'][:2] == (3, 30132)
    assert rows(report)['frames of test'][:3] == (5, None, 5)


def test_the_tool_knows_them(lasot, monkeypatch, capsys):
    main = runpy.run_path(str(TOOL))['main']
    monkeypatch.setattr(sys, 'argv', ['tool', 'lasot', str(lasot), '--splits', 'train'])
    assert run_tool(main) == 0
    assert 'it is a subset' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', ['tool', 'lasot', str(lasot), '--splits', 'val'])
    assert run_tool(main) == 2
    assert 'lasot has the splits train, test' in capsys.readouterr().err


def test_the_videos_of_a_toy_world(lasot, monkeypatch):
    world = lasot.parent
    for name, listed in (
        ('training_set.txt', 'cat-2\ncat-4\ncat-10\n'),
        ('testing_set.txt', 'cat-1'),
    ):
        (lasot / name).write_text(listed)
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
