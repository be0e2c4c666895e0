"""Names and colours of the classes that a model knows."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from lightvit_dense.apis.config_keys import find_registered
from lightvit_dense.apis.configs import tested_dataset
from lightvit_dense.errors import UserError
from lightvit_dense.registry import loaded_class
from lightvit_dense.visualization import Color, class_colors


def class_count(model: Any) -> int:
    """Return the number of classes of a detector, segmentor or classifier."""
    roi_head = getattr(model, 'roi_head', None)
    heads = [getattr(model, name, None) for name in ('bbox_head', 'decode_head', 'head')]
    for owner in (getattr(roi_head, 'bbox_head', None), *heads, model):
        # The heads of a cascade have the same classes.
        owner = owner[-1] if isinstance(owner, nn.ModuleList) and len(owner) else owner
        count = getattr(owner, 'num_classes', None)
        if isinstance(count, int):
            return count
    raise UserError(f'{type(model).__name__}: no head tells its number of classes (num_classes)')


def class_names(model: Any, cfg: Config, given: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the names of a model's classes: given, its checkpoint's, else its test data's."""
    count = class_count(model)
    choices = {'names': given}
    choices |= {origin: meta.get('classes') for origin, meta in _metas(model, cfg).items()}
    for origin, names in choices.items():
        if not names or isinstance(names, str):
            continue
        if len(names) != count:
            raise UserError(
                f'the model has {count} classes, but {origin} names {len(names)} '
                f'({", ".join(map(str, list(names)[:4]))}, ...). Give the names that it was '
                'trained with (names).'
            )
        return tuple(str(name) for name in names)
    print_log(
        f'Nothing names the {count} classes of the model; they are called class_0, class_1, ...',
        logger='current',
        level=30,
    )
    return tuple(f'class_{index}' for index in range(count))


def class_palette(model: Any, cfg: Config, count: int) -> list[Color]:
    """Return a colour (R, G, B) for each class: the data set's, or well separated ones."""
    for meta in _metas(model, cfg).values():
        known = meta.get('palette')
        if isinstance(known, (list, tuple)) and len(known) >= count:
            return class_colors(count, known)
    return class_colors(count)


def _metas(model: Any, cfg: Config) -> dict[str, dict[str, Any]]:
    """Return what is known of the data of a model, by where it stands, the best first."""
    dataset = tested_dataset(cfg)
    kind = dataset.get('type')
    built = loaded_class(find_registered(kind)) if isinstance(kind, str) else kind
    return {
        'the checkpoint': getattr(model, 'dataset_meta', None) or {},
        'test_dataloader.dataset.metainfo': dataset.get('metainfo') or {},
        'the data set': getattr(built, 'METAINFO', None) or {},
    }
