"""Every case once, in its smallest size: the numbers fit together, the tables are there."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tools.benchmark import run
from tools.benchmark.cases import (
    dense_step,
    pretrain_step,
    tracking_index,
    tracking_metric,
    train_step,
)
from tools.benchmark.references.vitdet import VitDetSize
from tracking.datasets import TrackingNet
from tracking.evaluation import score

Found = tuple[dict, str]
pytestmark = pytest.mark.usefixtures('workers_here')


@pytest.fixture
def measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Found]:
    """Return a function that runs a case and returns what it wrote and printed."""

    def run_case(words: str) -> Found:
        file = tmp_path / 'found.json'
        assert run.main([*words.split(), '--json', str(file)]) == 0
        found = json.loads(file.read_text())
        assert found['machine']['cpu']
        return found, capsys.readouterr().out

    return run_case


SMALL = """
vit = dict(type='lightvit_dense.VisionTransformer', img_size=32, patch_size=8, pos_embed='sincos')
model = dict(
    type='lightvit_dense.MAE',
    backbone=dict(vit, arch=dict(embed_dim=32, depth=3, num_heads=4)),
    decoder=dict(embed_dim=16, num_heads=2),
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(vit, arch=dict(embed_dim=96, depth=6, num_heads=6)),
        pairs=[(3, 6)],
    ),
    data_preprocessor=dict(type='lightvit_dense.ImagePreprocessor', mean=[0] * 3, std=[1] * 3),
)
"""


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    (tmp_path / 'small.py').write_text(SMALL)
    return tmp_path / 'small.py'


def test_pretrain_step(
    measure: Callable[..., Found], small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ('A method', str(small_config), ('reference',))
    monkeypatch.setitem(pretrain_step.METHODS, 'mae', method)
    monkeypatch.setattr(pretrain_step, 'SIDE', 32)
    found, text = measure('pretrain_step --methods mae --batch 2 --repeats 2 --device cpu')
    ours, reference = found['results']
    assert (ours['variant'], reference['variant']) == ('ours', 'reference')
    assert ours['images_per_s'] == 2 / ours['median']
    assert ours['ratio'] == 1
    assert ours['peak_mb'] >= ours['grown_mb']
    # The papers' code embeds all patches, predicts all of them and runs the teacher to its end.
    assert 1 < reference['gflop_per_image'] / ours['gflop_per_image'] < 1.5
    assert '| A method | ours |' in text


def test_train_step(
    measure: Callable[..., Found], small_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(train_step.CASES, 'dmae', ('D-MAE', str(small_config), 32))
    found, text = measure('train_step --cases dmae --batch 9 dmae=2 --repeats 2 --device cpu')
    (row,) = found['results']
    assert row['batch'] == 2
    assert row['images_per_s'] == 2 / row['median']
    assert row['peak_mb'] >= row['grown_mb']
    assert row['teacher']['ratio'] > 0
    assert row['undistilled']['median'] > 0
    assert 'The teacher takes' in text


def test_detection_batches_have_objects() -> None:
    head = Namespace(bbox_head=Namespace(num_classes=5))
    data = train_step.batch_of('maskrcnn', Namespace(roi_head=head), 2, 64)
    assert [image.shape for image in data['inputs']] == [(3, 64, 64)] * 2
    for sample in data['data_samples']:
        assert len(sample.gt_instances) == len(sample.gt_instances.masks) == train_step.OBJECTS
        assert sample.gt_instances.labels.max() < 5


def test_checkpoints_are_stripped_and_nothing_else() -> None:
    from tools.benchmark.steps import without_checkpoints

    config = {
        'init_cfg': {'type': 'Pretrained', 'checkpoint': 'a.pth'},
        'head': {'init_cfg': {'type': 'Normal', 'std': 0.01}},
        'parts': [{'init_cfg': [{'type': 'X', 'checkpoint': 'b'}], 'n': 1}],
        'pair': (1, 2),
    }
    head = {'init_cfg': {'type': 'Normal', 'std': 0.01}}
    assert without_checkpoints(config) == {'head': head, 'parts': [{'n': 1}], 'pair': (1, 2)}


def test_dense_step(measure: Callable[..., Found]) -> None:
    found, text = measure(
        'dense_step --tiny --sizes 48 --repeats 2 --threads 1 --device cpu '
        '--variants checkpointed folded timm huggingface'
    )
    rows = {row['variant']: row for row in found['results']}
    assert list(rows) == ['ours', 'checkpointed', 'folded', 'timm', 'huggingface']
    for row in rows.values():
        assert row['output_error'] < 1e-5
        assert row['gradient_error'] < 1e-5
        assert row['step']['peak_mb'] >= row['forward']['peak_mb']
    assert rows['timm']['output_error'] > 0
    assert rows['ours']['output_error'] == rows['checkpointed']['output_error'] == 0
    assert found['machine']['torch_threads'] == 1
    assert '**Training step, 48 px (batch 1, at least' in text


def test_arithmetic_is_counted_as_on_paper() -> None:
    tokens, padded, width = 9, 16, 24
    windows, window = 4, 4
    patch = 2 * tokens * width * 3 * 16 * 16
    local = 2 * padded * width * 3 * width + 2 * windows * window**2 * width * 2
    # The position terms of the rows and the columns of 2 x 2 tokens.
    local += 2 * 2 * windows * window * 2 * width
    whole = 2 * tokens * width * 3 * width + 2 * tokens**2 * width * 2 + 2 * 2 * tokens * 3 * width
    rest = 2 * (2 * tokens * width * width + 2 * tokens * width * 4 * width * 2)
    size = VitDetSize(48, embed_dim=24, depth=2, num_heads=3, window=2, global_blocks=(1,))
    counted = dense_step.count_arithmetic(size, 2)
    assert counted['forward'] == 2 * (patch + local + whole + rest)
    # Two products backwards for each forwards; the image needs no gradient.
    assert counted['step'] == 3 * counted['forward'] - 2 * patch


def test_data_pipeline(measure: Callable[..., Found]) -> None:
    found, text = measure(
        'data_pipeline --size 64x48 --crop 16 --rounds 2 --workers 1 --batch 4 --batches 2 '
        '--epochs 1'
    )
    results = found['results']
    rows = {row['name']: row for row in results['training']}
    assert {'reference', 'ours, cv2', 'bare decode, cv2'} <= set(rows)
    assert rows['reference']['speedup'] == 1
    assert max(row['floor'] for row in rows.values()) == 1
    assert [row['name'] for row in results['evaluation']][:2] == ['reference', 'ours']
    loaders = [row['name'] for row in results['loaders']]
    assert loaders == ['reference', 'ours', 'hand-over, floats', 'hand-over, ours']
    assert len(results['parts of ours']) == 4
    assert results['device']['cpu']['median'] > 0
    assert '| bare decode, cv2 |' in text


def test_tracking_pairs(measure: Callable[..., Found]) -> None:
    found, text = measure('tracking_pairs --size 160x120 --pairs 2 --rounds 2')
    rows = {row['name']: row for row in found['results']['rows']}
    assert list(rows) == ['reference', 'ours', 'bare decode of both frames']
    assert rows['reference']['speedup'] == rows['bare decode of both frames']['floor'] == 1
    assert [part['name'] for part in found['results']['parts']] == ['choose', 'crop', 'change']
    assert f'| ours | {rows["ours"]["per_s"]:.4g} |' in text


def test_tracking_metric(measure: Callable[..., Found]) -> None:
    found, text = measure('tracking_metric --sequences 7 --frames 500 --rounds 2')
    assert (found['settings']['sequences'], found['settings']['frames']) == (7, 500)
    figures = found['results']['figures']
    assert figures == score(*tracking_metric.synthetic(7, 500)).figures()
    assert 20 < figures['success'] < 95
    assert '**7 sequences, 500 frames' in text
    lengths = np.array([len(truth.boxes) for truth in tracking_metric.synthetic(280, 6000)[1]])
    assert lengths.sum() == 6000
    assert 2 < lengths.max() / lengths.min() < 4


def test_tracking_index(
    measure: Callable[..., Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = dict(trackingnet=24, lasot=3, got10k=5, coco=70)
    monkeypatch.setattr(tracking_index, 'FULL', counts)
    monkeypatch.setattr(tracking_index, 'DRAWS', 50)
    found, text = measure(f'tracking_index --videos 24 --rounds 1 --folder {tmp_path / "there"}')
    built, (opened,) = found['results']['build'], found['results']['open']
    assert {row['name']: row['sequences'] for row in built} == counts
    for row in built:
        assert opened['counts'][row['name']] == [row['sequences'], row['boxes']]
    assert found['results']['index_mb'] > 0
    assert opened['pickle_kb'] < 20
    assert '| trackingnet | 24 |' in text
    assert not any((tmp_path / 'there').iterdir())


def test_synthetic_videos_are_as_long_as_real_ones(tmp_path: Path) -> None:
    tracking_index.write_videos('trackingnet', tmp_path, 60, np.random.default_rng(0))
    data = TrackingNet(tmp_path)
    assert len(data) == 60
    assert 400 < data.lengths.mean() < 540
    assert data.visible_counts.tolist() == data.lengths.tolist()


def test_tracking_fps(measure: Callable[..., Found]) -> None:
    found, text = measure(
        'tracking_fps --tiny --ways ostrack torch onnx --elimination on --threads 1 --frames 8 '
        '--rounds 2'
    )
    rows = found['results']
    assert [(row['tracker'], row['way']) for row in rows] == [
        *(('vit-tiny', way) for way in ('ostrack', 'torch', 'onnx')),
        # OSTrack's code computes no Hiera.
        *(('hiera-tiny', way) for way in ('plain', 'torch', 'onnx')),
    ]
    for row in rows:
        assert row['fps'] == 1 / row['median']
        assert row['stages']['network'] > row['stages']['post'] > 0
        assert row['way'] == 'onnx' or row['box_error'] < 0.05
    reference, ours, onnx, *_ = rows
    assert reference['speedup'] == 1
    assert onnx['gflop'] == ours['gflop'] < reference['gflop']
    assert '**vit-tiny, 1 thread(s), with elimination**' in text
