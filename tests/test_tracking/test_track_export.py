"""Trackers as ONNX files."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lightvit_dense.errors import UserError
from tracking.deploy.export import FRAME, FRAME_INT8, TEMPLATE, export_tracker, largest_difference
from tracking.runtime.network import build_network
from tracking.tools import export_onnx

from .small_tracker import BOX, crop, small_tracker, write_tracker_files
from .small_tracker import trained_tracker as tracker
from .test_track_network import CASES


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Return a model and the folder of its files."""
    model = tracker()
    return model, export_tracker(model, tmp_path_factory.mktemp('exported'), int8=True)


def compare(model, network, tolerance=1e-3, count=2):
    """Expect the plain network's boxes; of cells whose scores tie up to rounding, any one's.

    With random weights ONNX Runtime takes a neighbour of the best cell in 1 of 60 frames or so.
    That is right only where the two scores are equal, which the scores are asked: boxes have the
    same tolerance as anywhere.
    """
    plain = build_network(model, 'plain')
    for seed in (1, 9):  # a second target: the template is no constant of the files
        for each in (plain, network):
            each.set_template(crop(32, seed), BOX)
        for search in [crop(64, 3, border=30), *(crop(64, 100 + i) for i in range(count - 1))]:
            assert largest_difference(network, plain, [search]) < tolerance
            assert network(search)[1] == pytest.approx(plain(search)[1], abs=tolerance)


def test_the_files_find_the_boxes_of_the_model(exported):
    model, folder = exported
    compare(model, build_network(model, 'onnx', path=folder, threads=1), count=30)


def test_tied_cells_are_all_right_and_others_are_not():
    """With equal scores everywhere the window's four middle cells tie."""
    model = tracker()
    last = model.head.score[-1]
    torch.nn.init.zeros_(last.weight)
    plain, network = (build_network(model, name) for name in ('plain', 'onnx'))
    for each in (plain, network):
        each.set_template(crop(32, 1), BOX)
    search = crop(64, 2)
    tied = plain.tied(search)
    assert tied.shape == (4, 4)
    assert np.abs(np.diff(tied, axis=0)).max() > 1
    assert largest_difference(network, plain, [search]) < 1e-3
    assert largest_difference(lambda _: (tied[3], 0.0), plain, [search]) == 0
    off = tied[3] + [8, 0, 0, 0]
    assert largest_difference(lambda _: (off, 0.0), plain, [search]) > 1


@pytest.mark.parametrize('case', ['box', 'mlp', 'hiera'])
def test_other_parts_can_be_exported(case):
    model = tracker(**CASES[case])
    compare(model, build_network(model, 'onnx', threads=1))


def test_shapes_are_fixed_and_nothing_decides(exported):
    _, folder = exported
    graph = onnx.load(str(folder / FRAME)).graph
    assert {node.op_type for node in graph.node}.isdisjoint({'If', 'Loop', 'NonZero'})
    assert sum(node.op_type == 'MultiHeadAttention' for node in graph.node) == 4
    session = onnxruntime.InferenceSession(str(folder / FRAME), providers=['CPUExecutionProvider'])
    shapes = {item.name: item.shape for item in session.get_inputs()}
    assert shapes == {'search': [64, 64, 3], 'state0': [16, 32], 'state1': [16, 96], 'weights': [1]}


@pytest.mark.parametrize('elimination', [None, dict(blocks=(1, 2))])
def test_eight_bits_are_close(tmp_path, elimination):
    """Scores move, but little: more only where elimination keeps another token of two that tie."""
    model = tracker(dict(elimination=elimination))
    export_tracker(model, tmp_path, int8=True)
    plain = build_network(model, 'plain')
    network = build_network(model, 'onnx-int8', path=tmp_path, threads=1)
    kinds = {node.op_type for node in onnx.load(str(tmp_path / FRAME_INT8)).graph.node}
    assert 'MatMulInteger' in kinds
    scores = []
    for each in (plain, network):
        each.set_template(crop(32, 1), BOX)
        scores.append([each(crop(64, seed))[1] for seed in range(8)])
    difference = np.sort(np.abs(np.subtract(*scores)))
    tied = 0 if elimination is None else 1
    assert 0 < difference[len(difference) - tied - 1] < 0.01


def test_files_of_other_weights_are_refused(exported, tmp_path):
    model, folder = exported
    other = tracker()
    other.head.score[-1].bias.data += 1e-3
    with pytest.raises(UserError, match=r'template\.onnx was exported from other weights'):
        build_network(other, 'onnx', path=folder)
    with pytest.raises(UserError, match='other options'):
        build_network(model, 'onnx', path=folder, window=False)
    with pytest.raises(UserError, match='other options'):
        build_network(model, 'onnx', path=folder, eliminate=False)


def test_a_folder_without_files_is_filled_and_used_again(tmp_path):
    model = small_tracker().eval()
    folder = tmp_path / 'new'
    build_network(model, 'onnx', path=folder)
    stamp = (folder / FRAME).stat().st_mtime_ns
    build_network(model, 'onnx', path=folder)
    assert (folder / FRAME).stat().st_mtime_ns == stamp
    (folder / FRAME).write_bytes((folder / FRAME).read_bytes()[:1000])
    with pytest.raises(UserError, match=r'frame\.onnx: ONNX Runtime cannot read it'):
        build_network(model, 'onnx', path=folder)


def test_the_tool(tmp_path, capsys):
    model, out, found = tracker(), tmp_path / 'out', tmp_path / 'found.json'
    words = [*write_tracker_files(tmp_path, model), '--out', str(out), '--repeats', '1']
    assert export_onnx.main([*words, '--json', str(found)]) == 0
    assert (out / TEMPLATE).is_file()
    assert 'frame.onnx' in capsys.readouterr().out
    rows = json.loads(found.read_text(encoding='utf-8'))
    assert rows['onnx']['difference_px'] < 1e-3
    assert rows['onnx']['milliseconds'] > 0
    compare(model, build_network(model, 'onnx', path=out))


def test_what_cannot_be_exported_is_refused(exported, tmp_path, monkeypatch):
    model = small_tracker().eval()
    (tmp_path / 'file').write_text('', encoding='utf-8')
    with pytest.raises(UserError, match='cannot be made a folder'):
        export_tracker(model, tmp_path / 'file' / 'folder')
    model.to('meta')
    with pytest.raises(UserError, match="device='cpu'"):
        build_network(model, 'onnx')
    with pytest.raises(UserError, match=r'model\.cpu\(\)'):
        export_tracker(model, tmp_path)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UserError, match=r'onnxruntime is not installed.*pip install'):
        build_network(exported[0], 'onnx', path=exported[1])
