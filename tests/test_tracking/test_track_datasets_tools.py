"""LMDBs of sequences, others' and those of the tool; what ``check_dataset.py`` says of videos."""

import json

import lmdb
import pytest

import tracking.datasets.checking  # noqa: F401  registers the checks
from lightvit_dense.datasets.checking import CHECKS, Request
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.datasets.storage import LmdbStorage
from tests.helpers.tools import call_tool
from tracking.datasets import CocoSequences, GOT10k, LaSOT, TrackingNet

from .small_sequences import (
    same,
    some_boxes,
    write_coco,
    write_got10k,
    write_lasot_sequence,
    write_trackingnet,
)

SETS = ('TRAIN_0', 'TEST', 'TRAIN_10')
MAKE = 'dataset_converters/make_tracking_lmdb.py'
GOT10K_KEY = 'train/GOT-10k_Train_000001/absence.label'


def write_lasot(root):
    for number in (2, 4, 10):
        write_lasot_sequence(root, f'cat-{number}', some_boxes(4), occluded=[2])
    write_lasot_sequence(root, 'cat-1', some_boxes(6))
    return root


def foreign_lmdb(root, target):
    """An LMDB as other programs write it: the files by their paths, and nothing else."""
    target.parent.mkdir(exist_ok=True)
    environment = lmdb.open(str(target), map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for path in root.rglob('*'):
            if path.is_file():
                transaction.put(path.relative_to(root).as_posix().encode(), path.read_bytes())
    environment.close()


@pytest.mark.parametrize(
    ('name', 'make', 'kind', 'splits', 'parts', 'key'),
    [
        ('lasot', write_lasot, LaSOT, ('train', 'test'), [''], 'cat/cat-2/img/00000001.jpg'),
        ('got10k', write_got10k, GOT10k, ('vottrain', 'train_full', 'test'), [''], GOT10K_KEY),
        ('coco', write_coco, CocoSequences, (None,), [''], 'annotations/instances_train2017.json'),
        ('trackingnet', write_trackingnet, TrackingNet, ('train', 'test'), SETS, 'anno/cc.txt'),
    ],
)
def test_lmdbs_of_the_tool_and_of_others_read_as_the_folder(
    tmp_path, name, make, kind, splits, parts, key
):
    root, base, other = (tmp_path / folder for folder in ('root', 'base', 'other'))
    make(root)
    (root / 'archive.zip').write_bytes(b'zip')
    for words, told in (([], 'every file matches its SHA-256'), (['--no-verify'], '; 0 written,')):
        assert told in call_tool(MAKE, name, root, base, *words)
    for part in parts:
        foreign_lmdb(root / part, other / f'{part}_lmdb' if part else other)
    storage = LmdbStorage(base / 'TRAIN_10_lmdb' if name == 'trackingnet' else base)
    assert storage.read(key) == (root / parts[-1] / key).read_bytes()
    assert not storage.exists('archive.zip')
    storage.close()  # an LMDB is open once in a process
    for split in splits:
        options = {} if split is None else {'split': split}
        for place in (base, other):
            same(kind(root, **options), kind(place, source='lmdb', **options))


def test_trackingnet_lists_its_sequences(tmp_path):
    write_trackingnet(tmp_path / 'root')
    base = tmp_path / 'base'
    call_tool(MAKE, 'trackingnet', tmp_path / 'root', base)
    assert {path.name for path in base.iterdir()} == {*(f'{s}_lmdb' for s in SETS), 'seq_list.json'}
    listed = json.loads((base / 'seq_list.json').read_text())
    assert listed == [[0, 'aa'], [0, 'bb'], [10, 'cc']]
    (base / 'seq_list.json').write_text(json.dumps([[10, 'cc'], [0, 'bb']]))
    assert TrackingNet(base, source='lmdb').names == ['bb', 'cc']
    for text, words in (
        ('[[0, "nobody"]]', r"TRAIN_0_lmdb, key 'anno/nobody.txt' does not exist"),
        ('[1]', r'seq_list.json: is no list of'),
    ):
        (base / 'seq_list.json').write_text(text)
        with pytest.raises(DatasetError, match=words):
            TrackingNet(base, source='lmdb')


@pytest.mark.parametrize(
    ('words', 'status', 'message'),
    [
        ('make_tracking_lmdb lasso {root} {base}', 2, "Did you mean 'lasot'?"),
        ('make_tracking_lmdb got10k {root} {base}', 2, 'got10k; there is no train/list.txt'),
        ('make_tracking_lmdb lasot {root}/x {base}', 2, 'x: this folder does not exist'),
        ('check_dataset lasot {root} --splits train', 0, 'it is a subset'),
        ('check_dataset lasot {root} --splits val', 2, 'there are train, test'),
    ],
)
def test_what_the_tools_tell(tmp_path, words, status, message):
    words = words.format(root=write_lasot(tmp_path / 'lasot'), base=tmp_path / 'base')
    tool, *words = words.split()
    assert message in call_tool(f'dataset_converters/{tool}.py', *words, status=status)
    assert not (tmp_path / 'base').exists()


def test_a_frame_that_an_lmdb_lacks_is_named(tmp_path):
    folder = write_lasot_sequence(tmp_path / 'lasot', 'cat-2', some_boxes(4))
    (folder / 'img' / '00000002.jpg').unlink()
    foreign_lmdb(tmp_path / 'lasot', tmp_path / 'base')
    frames = LaSOT(tmp_path / 'base', source='lmdb').frames(0)
    for fail, words in (
        (lambda: frames.read(1), "base, key 'cat/cat-2/img/00000002.jpg' does not"),
        (lambda: LaSOT('nowhere', source='lmdb'), 'this LMDB does not exist.*make_tracking_lmdb'),
        (lambda: LaSOT(tmp_path / 'base', source='zip'), "'folder' or 'lmdb'"),
    ):
        with pytest.raises((DatasetError, ValueError), match=words):
            fail()


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


def test_what_is_wrong_is_named(tmp_path):
    lasot = write_lasot(tmp_path)
    (lasot / 'cat/cat-2/img/00000002.jpg').write_bytes(b'\xff\xd8 half')
    (lasot / 'cat/cat-1/out_of_view.txt').unlink()
    frames, flags = CHECKS['lasot'](str(lasot), Request(full=True)).problems
    assert (frames.kind, frames.what) == ('damaged', '1 of 12 frames of train opened')
    assert 'cat-2/img/00000002.jpg cannot be read' in frames.files[0]
    assert (flags.kind, flags.what) == ('damaged', '1 of 1 sequences of test')
    assert 'out_of_view.txt does not exist' in flags.files[0]
    report = CHECKS['lasot'](str(lasot / 'nowhere'), Request(splits=('test',)))
    assert [problem.kind for problem in report.problems] == ['missing']
