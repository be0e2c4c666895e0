"""Pictures of what a suite's runs left: whose results are shown, in which place."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS
from lightvit_dense.suite import pictures
from lightvit_dense.suite.results import Run
from lightvit_dense.visualization import class_color
from tests.test_tracking.small_sequences import write_lasot_sequence
from tracking.tools.suite_pictures import film_strips

ROOT = Path(__file__).parents[2]
BOXES = np.array([[2.0, 3, 6, 5]] * 4)  # of frames of 12 by 16 px


@pytest.fixture
def runs() -> dict[str, Run]:
    common = dict(kind='cell', name='x', title='x', state='measured')
    return {
        title: Run(test_folder=f'work/{title}_test', folder=f'work/{title}', **common)
        for title in ('scratch', 'D-MAE')
    }


def write_image(path: Path, size: int = 40, label: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size, size) if path.suffix == '.png' else (size, size, 3)
    cv2.imwrite(str(path), np.full(shape, label, np.uint8))


def test_detections_stand_beside_the_truth(tmp_path: Path, runs: dict[str, Run]) -> None:
    coco = tmp_path / 'data/coco'
    write_image(coco / 'val2017/1.jpg')
    truth = dict(id=1, image_id=1, category_id=1, bbox=[15, 20, 10, 10], area=100, iscrowd=0)
    content = {
        'images': [{'id': 1, 'file_name': '1.jpg', 'height': 40, 'width': 40}],
        'categories': [{'id': 1, 'name': 'cup'}],
        'annotations': [truth | {'segmentation': [[15, 20, 25, 20, 25, 30, 15, 30]]}],
    }
    (coco / 'annotations').mkdir()
    (coco / 'annotations/instances_val2017.json').write_text(json.dumps(content))
    for run, found in zip(runs.values(), ([[0, 30, 8, 8]], []), strict=True):
        folder = tmp_path / run.test_folder
        folder.mkdir(parents=True)
        records = [dict(image_id=1, category_id=1, score=0.9, bbox=box) for box in found]
        (folder / 'results.bbox.json').write_text(json.dumps(records))
    ((caption, drawn),) = pictures.detections(runs, tmp_path, tmp_path / 'data', 'coco')
    assert caption == 'From left to right: ground truth, scratch, D-MAE'
    tiles = [drawn[:, 324 * place : 324 * place + 320].astype(int) for place in range(3)]
    near = [np.abs(tile - class_color(1)).sum(-1).min() for tile in tiles]
    assert max(near[:2]) < 30 < 200 < near[2]  # nothing was found
    (tmp_path / 'work/scratch_test/results.bbox.json').unlink()
    with pytest.raises((UserError, OSError), match='results'):
        pictures.detections(runs, tmp_path, tmp_path / 'data', 'coco')


def test_label_maps_stand_beside_the_truth(tmp_path: Path, runs: dict[str, Run]) -> None:
    ade = tmp_path / 'data/ade20k'
    for name in 'ab':
        write_image(ade / f'images/validation/{name}.jpg')
        write_image(ade / f'annotations/validation/{name}.png', label=2)
        for label, run in enumerate(runs.values(), 3):
            write_image(tmp_path / run.test_folder / f'results/{name}.png', label=label)
    ((caption, drawn),) = pictures.label_maps(runs, tmp_path, tmp_path / 'data', 'ade20k', 1)
    assert caption == 'From left to right: image, ground truth, scratch, D-MAE'
    assert drawn.shape[1] == 4 * 240 + 3 * 4
    colors = {tuple(drawn[120, 120 + 244 * place]) for place in range(4)}
    assert len(colors) == 4


def test_reconstructions_come_from_the_run(tmp_path: Path, runs: dict[str, Run]) -> None:
    run = runs.pop('scratch')
    folder = tmp_path / run.folder
    folder.mkdir(parents=True)
    cfg = Config.fromfile(ROOT / 'configs/toyworld/mae_teacher.py')
    tiny = dict(embed_dim=8, depth=1, num_heads=2)
    cfg.model.backbone.update(arch=tiny, img_size=16)
    cfg.model.decoder = tiny
    cfg.dump(folder / 'mae_teacher.py')
    run.config = 'configs/toyworld/mae_teacher.py'
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, folder / 'iter_3.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_3.pth'))
    for name in 'abc':
        write_image(tmp_path / f'data/images/{name}.jpg', 20, 90)
    data = tmp_path / 'data'
    ((caption, drawn),) = pictures.reconstructions({'scratch': run}, tmp_path, data, 'images', 2)
    assert caption.startswith('scratch: original')
    assert drawn.shape == (32, 6 * 32 + 5 * 4, 3)
    assert abs(int(drawn[16, 16, 0]) - 90) < 4


def test_film_strips_and_curves_of_trackers(tmp_path: Path, runs: dict[str, Run]) -> None:
    videos = tmp_path / 'data/lasot'
    for name in ('cup-1', 'cup-2'):
        write_lasot_sequence(videos, name, BOXES)
        for shift, run in enumerate(runs.values()):
            folder = tmp_path / run.test_folder / 'results'
            folder.mkdir(parents=True, exist_ok=True)
            np.savetxt(folder / f'{name}.txt', BOXES + shift, delimiter='\t')
    (videos / 'testing_set.txt').write_text('cup-1\ncup-2\n')
    drawn = dict(film_strips(runs, tmp_path, tmp_path / 'data', 'lasot', count=2))
    assert list(drawn) == [
        'Below each frame its number and the overlap of each tracker with the truth',
        'Success of one pass',
        'Precision of one pass',
    ]
    for picture in drawn.values():
        assert picture.dtype == np.uint8
        assert picture.std() > 5
