"""Refusing to run a model that a checkpoint fills only in part."""

import os
import re
from typing import Any

from torch import Tensor, nn

from .classifier import load_classifier
from .containers import open_checkpoint, unwrap
from .errors import CheckpointError


def unfilled(model: nn.Module, state: Any) -> list[str]:
    """Name the parameters and buffers of a model that a state dict has not, or in another shape.

    Args:
        model: Any model.
        state: Tensors by name, 'module.' before the names allowed.
    """
    found = {re.sub(r'^module\.', '', str(name)): value for name, value in state.items()}

    def fits(name: str, own: Tensor) -> bool:
        value = found.get(name)
        return isinstance(value, Tensor) and value.shape == own.shape

    # Counters of old BatchNorms; nothing is computed from them.
    own = {n: t for n, t in model.state_dict().items() if not n.endswith('num_batches_tracked')}
    return [name for name, tensor in own.items() if not fits(name, tensor)]


def fit_checkpoint(model: nn.Module, content: dict[str, Any], path: str | os.PathLike) -> list[str]:
    """Make sure that loading a checkpoint leaves nothing of a model at random.

    mmengine loads what happens to fit and warns about the rest, so that a foreign file is evaluated
    with random weights. Here a classifier takes any file that holds all of it, whoever wrote it
    (:func:`~lightvit_dense.checkpoints.load_classifier`), and a model with ``adapt_state`` those
    that this brings to its names; everything else must fit exactly.

    Args:
        model: The model without wrappers.
        content: What the file holds; its 'state_dict' is replaced where names had to be changed.
        path: The file.

    Returns:
        What was done to the values, a line each.

    Raises:
        CheckpointError: If values of the model are not in the file.
    """
    state = content.get('state_dict', content)
    wrong = unfilled(model, state)
    if not wrong:
        return []
    if hasattr(model, 'backbone') and hasattr(getattr(model, 'head', None), 'fc'):
        report = load_classifier(model, path if os.path.isfile(path) else content, complete=True)
        content['state_dict'] = model.state_dict()
        return report.changes
    if hasattr(model, 'adapt_state'):  # a model that knows the names of others for its own
        opened = open_checkpoint(path) if os.path.isfile(path) else unwrap(content)
        adapted = model.adapt_state(opened.state)  # type: ignore[operator]
        if not unfilled(model, adapted):
            content['state_dict'] = adapted
            return []
    some = ', '.join(wrong[:4]) + (', ...' if len(wrong) > 4 else '')
    raise CheckpointError(
        f'{path}: does not fill the model: {len(wrong)} of its {len(model.state_dict())} values '
        f'are not in the file or have another shape ({some}), and would stay random. Give a '
        'checkpoint that was trained with this config; `python tools/model_converters/'
        f'convert_checkpoint.py {path} --dry-run` tells what the file is.'
    )
