"""Dumped predictions, brought together again with their data set."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, EVALUATOR
from rich.progress import track

from lightvit_dense.errors import UserError
from lightvit_dense.evaluation.tables import class_tables


def build_test_dataset(cfg: Config) -> Any:
    """Build the data set of a config's test.

    Args:
        cfg: The whole config; the scope must have been set.

    Raises:
        UserError: If the config has none.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if not dataset:
        raise UserError(f'{cfg.filename or "the config"} has no test_dataloader.dataset')
    return DATASETS.build(dataset)


def pair(dataset: Any, predictions: Sequence[Mapping[str, Any]]) -> list[int]:
    """Find the place in the data set of the image of every prediction.

    Images are recognised by their paths; where the data have moved, by the last two parts of them.

    Args:
        dataset: mmengine's BaseDataset.
        predictions: Dicts with 'img_path'.

    Returns:
        One index a prediction.

    Raises:
        UserError: If an image is not in the data set, or in the file twice.
    """
    paths = [str(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    whole = {path: i for i, path in enumerate(paths)}
    ends = {Path(path).parts[-2:]: i for i, path in enumerate(paths)}
    found: list[int] = []
    for entry in predictions:
        path = entry.get('img_path')
        if path is None:
            raise UserError(
                "the predictions do not say whose they are: name 'img_path' in meta_keys of the "
                "test pipeline's last transform and dump them again"
            )
        place = whole.get(str(path))
        if place is None and len(ends) == len(paths):
            place = ends.get(Path(path).parts[-2:])
        if place is None:
            raise UserError(
                f'{path}: was predicted, but is not among the {len(paths)} images of the test '
                f'dataset ({paths[0] if paths else "empty"}, ...). Give the config that the '
                'predictions were made with.'
            )
        found.append(place)
    if len(set(found)) != len(found):
        raise UserError('the predictions name an image twice; dump them again')
    return found


def with_truth(
    dataset: Any, predictions: Sequence[dict[str, Any]], show: bool = True
) -> Iterator[dict[str, Any]]:
    """Add to label maps what is true, from the data set's own pipeline.

    Args:
        dataset: mmengine's BaseDataset.
        predictions: From :func:`lightvit_dense.evaluation.read_predictions`.
        show: Whether to show the progress.

    Yields:
        The predictions; those of label maps with 'gt_sem_seg'.
    """
    places = pair(dataset, predictions)
    pairs = list(zip(places, predictions, strict=True))
    for place, entry in track(pairs, 'Reading the truth', transient=True, disable=not show):
        if 'pred_sem_seg' in entry and 'gt_sem_seg' not in entry:
            sample = dataset[place]['data_samples']
            if 'gt_sem_seg' not in sample:
                raise UserError(
                    f'{entry["img_path"]}: the test pipeline loads no label map; add '
                    "dict(type='lightvit_dense.LoadSegmentationMap') behind the resize"
                )
            entry = {**entry, 'gt_sem_seg': {'data': sample.gt_sem_seg.data}}
        yield entry


def evaluate_predictions(
    cfg: Config, predictions: Sequence[dict[str, Any]], show: bool = True
) -> tuple[dict[str, float], dict[str, list[dict]]]:
    """Run a config's ``test_evaluator`` on dumped predictions.

    Args:
        cfg: The whole config; the scope must have been set.
        predictions: From :func:`lightvit_dense.evaluation.read_predictions`.
        show: Whether to show the progress.

    Returns:
        The figures by name, and the tables of the classes by the name of the metric.
    """
    dataset = build_test_dataset(cfg)
    settings = cfg.test_evaluator
    if isinstance(settings, Mapping) and 'metrics' in settings:
        evaluator = EVALUATOR.build({'type': 'Evaluator', **settings})
    else:
        evaluator = Evaluator(settings)
    evaluator.dataset_meta = dataset.metainfo
    for entry in with_truth(dataset, predictions, show):
        evaluator.process(data_samples=[entry])
    if len(predictions) < len(dataset):
        print(f'note: {len(predictions)} of the {len(dataset)} images were predicted')
    return evaluator.evaluate(len(predictions)), class_tables(evaluator)
