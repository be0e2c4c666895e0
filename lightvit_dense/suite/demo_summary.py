"""The demo's numbers, gathered from what its stages left behind."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightvit_dense.utils.logs import find_scalars, read_scalars, series

from .stages import Stage, read_record
from .verdict import caveat, outcome, segmentation_sentence, sentence, tracking_sentence

DETECTORS = {'scratch': 'Mask R-CNN from scratch', 'dmae': 'Mask R-CNN from D-MAE'}
SEGMENTORS = {'upernet_scratch': 'UperNet from scratch', 'upernet_dmae': 'UperNet from D-MAE'}
TRACKERS = {'tracker_scratch': 'Tracker from scratch', 'tracker_dmae': 'Tracker from D-MAE'}


def read_metrics(work_dir: str | Path) -> dict[str, float]:
    """Return the metrics of the newest test run below ``work_dir``, without their prefix.

    Args:
        work_dir: ``--work-dir`` of ``tools/test.py``.

    Raises:
        FileNotFoundError: If no test run has left its metrics there.
    """
    files = sorted(
        path for path in Path(work_dir).glob('*/*.json') if path.stem == path.parent.name
    )
    if not files:
        raise FileNotFoundError(f'no metrics in {work_dir}: has tools/test.py run to its end?')
    metrics = json.loads(files[-1].read_text(encoding='utf-8'))
    found = {key.rpartition('/')[2]: value for key, value in metrics.items()}
    names = ('mAP', 'mIoU', 'mAcc', 'aAcc', 'success', 'precision', 'OP50', 'OP75')
    return {
        key: value
        for key, value in found.items()
        if any(name in key for name in names) and 'copypaste' not in key
    }


def gpu_memory_mb(work_dir: str | Path) -> float | None:
    """Return the largest GPU memory that a run logged, in MiB; None for a run on the CPU."""
    values = series(read_scalars(find_scalars(work_dir)), 'memory').values
    return max(values) if values and max(values) > 0 else None


def count_images(dataset: Mapping[str, Any]) -> int:
    """Count the images that a dataset config uses; wrappers are looked into.

    Args:
        dataset: Config with ``ann_file`` and ``data_root``.
    """
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    path = os.path.join(dataset.get('data_root') or '', dataset['ann_file'])
    count = len(json.loads(Path(path).read_text(encoding='utf-8'))['images'])
    indices = dataset.get('indices')
    if isinstance(indices, int):
        return min(count, indices)
    return len(indices) if indices is not None else count


def count_data(
    coco_root: str | Path,
    ade_root: str | Path,
    lasot_root: str | Path,
    detector: Mapping[str, Any],
) -> dict[str, int]:
    """Count what there was to learn from and to be judged on.

    Args:
        coco_root: Folder in COCO layout.
        ade_root: Folder in ADE20K layout.
        lasot_root: Folder in LaSOT layout.
        detector: The detector's config.
    """
    root, maps = Path(coco_root), Path(ade_root) / 'annotations'
    truth = json.loads((root / 'annotations/instances_val2017.json').read_text(encoding='utf-8'))
    unlabeled = root / 'unlabeled2017'
    videos, test_videos = (
        (Path(lasot_root) / f'{split}ing_set.txt').read_text(encoding='utf-8').split()
        for split in ('train', 'test')
    )
    return {
        'labelled_images': count_images(detector['train_dataloader']['dataset']),
        'unlabelled_images': len(list(unlabeled.iterdir())) if unlabeled.is_dir() else 0,
        'val_images': len(truth['images']),
        'val_objects': len(truth['annotations']),
        'classes': len(truth['categories']),
        'label_maps': len(list((maps / 'training').glob('*.png'))),
        'val_label_maps': len(list((maps / 'validation').glob('*.png'))),
        'videos': len(videos),
        'test_videos': len(test_videos),
    }


def summarize(
    stages: Sequence[Stage],
    data: Mapping[str, int],
    environment: Mapping[str, Any],
    hashes: Mapping[str, str],
    smoke: bool = False,
) -> dict[str, Any]:
    """Gather the summary.

    Args:
        stages: All stages, done; the test of a model ``x`` is named ``test_x``.
        data: From :func:`count_data`.
        environment: From :func:`lightvit_dense.utils.environment.environment`.
        hashes: Hash of each stage's config.
        smoke: Whether this was a run of a few iterations.

    Returns:
        JSON-able numbers and sentences.
    """
    known = {stage.name: stage for stage in stages}
    records = {name: read_record(stage) for name, stage in known.items()}
    models = (*DETECTORS, *SEGMENTORS, *TRACKERS)
    results = {name: read_metrics(known[f'test_{name}'].work_dir) for name in models}
    before, after = results['scratch'], results['dmae']
    minutes = {name: r.seconds / 60 for name, r in records.items() if r is not None}
    memory = {name: r.peak_memory_mb for name, r in records.items() if r is not None}
    gpu = {name: gpu_memory_mb(stage.work_dir) for name, stage in known.items()}
    return {
        **results,
        'difference': difference(before, after),
        'outcome': outcome(before['bbox_mAP'], after['bbox_mAP']),
        'verdict': sentence(before, after),
        'segmentation': summarize_segmentation(results),
        'tracking': summarize_tracking(results),
        'caveat': caveat(
            data['val_images'], instances=data['val_objects'], videos=data['test_videos']
        ),
        'smoke': smoke,
        'minutes': minutes | {'total': total_minutes(stages, minutes)},
        'peak_memory_mb': memory,
        'peak_gpu_memory_mb': {name: value for name, value in gpu.items() if value is not None},
        'data': dict(data),
        'commands': {n: ['python', *r.command[1:]] for n, r in records.items() if r is not None},
        'config_hash': dict(hashes),
        'environment': dict(environment),
    }


def summarize_segmentation(results: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Compare the two segmentors; figures in percent as the metric gives them."""
    before, after = (results[name] for name in SEGMENTORS)
    return {
        'difference': difference(before, after),
        'outcome': outcome(before['mIoU'] / 100, after['mIoU'] / 100),
        'verdict': segmentation_sentence(before, after),
    }


def summarize_tracking(results: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Compare the two trackers; figures in percent as the metric gives them."""
    before, after = (results[name] for name in TRACKERS)
    return {
        'difference': difference(before, after),
        'outcome': outcome(before['success'] / 100, after['success'] / 100),
        'verdict': tracking_sentence(before, after),
    }


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what is gained in each metric that both have; -1 stands for "no such objects"."""
    shared = [key for key in before if min(before[key], after.get(key, -1)) >= 0]
    return {key: round(after[key] - before[key], 4) for key in shared}


def total_minutes(stages: Sequence[Stage], minutes: Mapping[str, float]) -> float:
    """Return the minutes on the clock: stages of one group ran at the same time."""
    groups: dict[str, float] = {}
    for stage in stages:
        name = stage.group or stage.name
        groups[name] = max(groups.get(name, 0.0), minutes.get(stage.name, 0.0))
    return sum(groups.values())


HEADER = (
    'run',
    'box AP',
    'box AP50',
    'mask AP',
    'mask AP50',
    'mIoU',
    'AUC',
    'P',
    'P_norm',
    'minutes',
    'peak memory MB',
)
_AP = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50')
# In percent as the metrics give them, from 0 to 1 in the table.
_PERCENT = ('mIoU', 'success', 'precision', 'norm_precision')
_SCORES = len(_AP) + len(_PERCENT)


def table_rows(summary: Mapping[str, Any], titles: Mapping[str, str]) -> list[list[object]]:
    """Return the rows of the one table: a training a row, scores from 0 to 1, and the total.

    Args:
        summary: From :func:`summarize`.
        titles: Stage name -> title, in order.
    """
    minutes, memory, gpu = (
        summary[key] for key in ('minutes', 'peak_memory_mb', 'peak_gpu_memory_mb')
    )
    rows: list[list[object]] = []
    for name, title in titles.items():
        if name.startswith('test_'):
            continue
        metrics = summary[name] if name in (*DETECTORS, *SEGMENTORS, *TRACKERS) else {}
        values = [metrics.get(key) for key in _AP]
        values += [metrics[key] / 100 if key in metrics else None for key in _PERCENT]
        spent = minutes[name] + minutes.get(f'test_{name}', 0.0)
        rows.append([title, *values, f'{spent:.1f}', f'{gpu.get(name, memory[name]):.0f}'])
    rows.append(['total', *[None] * _SCORES, f'{minutes["total"]:.1f}', None])
    return rows


def best_cells(rows: Sequence[Sequence[object]]) -> dict[int, int]:
    """Return column -> row of the largest score, for columns in which one row is ahead."""
    best = {}
    for column in range(1, _SCORES + 1):
        values = [(row[column], i) for i, row in enumerate(rows) if isinstance(row[column], float)]
        top = max(values, default=(None, 0))
        if sum(value == top[0] for value, _ in values) == 1:
            best[column] = top[1]
    return best
