"""The annotated sequences that a command line names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvit_dense.apis import load_config
from lightvit_dense.errors import UserError, did_you_mean
from tracking.datasets.whole import SequenceDataset

SETS: dict[str, tuple[str, str | None]] = {
    'lasot': ('tracking.LaSOT', 'test'),
    'got10k': ('tracking.GOT10k', 'val'),
    'custom': ('tracking.CustomSequences', None),
}
"""By the name on the command line: type of the set, and the split that is meant without one."""


def open_source(
    text: str, cfg_options: Mapping[str, Any] | None = None
) -> tuple[SequenceDataset, dict[str, Any]]:
    """Open the sequences that results are judged by.

    Args:
        text: A config whose test data are sequences, or ``SET:FOLDER`` or ``SET:FOLDER:SPLIT``,
            with SET one of :data:`SETS`.
        cfg_options: Values of the config to override.

    Returns:
        The sequences, and the config of its metric of whole sequences ({} if there is none).

    Raises:
        UserError: If there is no such thing, or the config tests something else.
    """
    if text.endswith('.py') or Path(text).is_file():
        return _of_config(text, cfg_options)
    if cfg_options:
        raise UserError('--cfg-options changes a config, but none is given')
    kind, told, place = text.partition(':')
    if not told or kind not in SETS:
        raise UserError(
            f'{text!r} is neither a config nor SET:FOLDER[:SPLIT] with SET one of '
            f'{", ".join(SETS)}.{did_you_mean(kind, SETS)}'
        )
    name, split = SETS[kind]
    if split is not None and not Path(place).is_dir() and ':' in place:
        place, _, split = place.rpartition(':')
    options = {} if split is None else {'split': split}
    metric = {'type': 'tracking.GOT10kMetric'} if kind == 'got10k' else {}
    return SequenceDataset(dict(type=name, data_root=place, **options)), metric


def _of_config(
    path: str, cfg_options: Mapping[str, Any] | None
) -> tuple[SequenceDataset, dict[str, Any]]:
    cfg = load_config(path, dict(cfg_options or {}))
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if str(dataset.get('type', '')).rpartition('.')[2] != 'SequenceDataset':
        raise UserError(
            f'{path}: test_dataloader.dataset is {dataset.get("type")!r}, but results of trackers '
            "are judged by the sequences of a 'tracking.SequenceDataset'"
        )
    evaluators = cfg.get('test_evaluator') or []
    listed = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    known = ('OnePassEvaluation', 'GOT10kMetric')
    found = [e for e in listed if str(e.get('type')).rpartition('.')[2] in known]
    options = {key: value for key, value in dataset.items() if key != 'type'}
    return SequenceDataset(**options), dict(found[0]) if found else {}
