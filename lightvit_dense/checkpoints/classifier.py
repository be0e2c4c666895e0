"""Loading a whole classifier, backbone and head, from anybody's checkpoint."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .convert import convert
from .errors import CheckpointError, about
from .heads import Head, read_head
from .loader import LoadReport, announce, load_backbone, open_source


def _reading(model: Any) -> dict[str, bool]:
    """Return which norms stand between the model's blocks and its linear layer."""
    head = model.head.state_dict()
    return {
        'backbone.final_norm': 'norm.weight' in model.backbone.state_dict(),
        'head.norm': 'fc_norm.weight' in head,
        'head.batch_norm': 'bn.running_mean' in head,
    }


def _check_reading(path: str, head: Head, model: Any) -> None:
    """Raise if the model's head would read other features than the checkpoint's did."""
    theirs: dict[str, Any] = dict(head.reading)
    ours: dict[str, Any] = _reading(model)
    if head.pool is not None:
        theirs['head.pool'], ours['head.pool'] = head.pool, model.head.pool
    wrong = [f'model.{k}={v!r}' for k, v in theirs.items() if v != ours[k]]
    if wrong:
        raise CheckpointError(
            f'{path}: its classifier reads other features than the model does. Set '
            f'{", ".join(wrong)}.'
        )
    found, own = head.state['fc.weight'].shape, model.head.fc.weight.shape
    if found != own:
        raise CheckpointError(
            f'{path}: its linear layer has shape {tuple(found)}, the model needs {tuple(own)}. '
            'Take a checkpoint whose classifier reads one token or the mean.'
        )


def _head_values(path: str, head: Head, model: Any, notes: list[str]) -> dict[str, Tensor]:
    """Return the values of the model's head that the checkpoint has."""
    own, classes = model.head.state_dict(), model.head.fc.out_features
    state = head.state
    if head.classes is None:
        notes.append('the checkpoint has no classifier: head.fc stays as initialised')
    elif head.classes != classes:
        notes.append(
            f'head.fc of {head.classes} classes was dropped: the model has {classes} classes, its '
            'head.fc stays as initialised'
        )
        state = {n: t for n, t in state.items() if not n.startswith('fc.')}
    else:
        _check_reading(path, head, model)
        if not head.reading['head.norm'] and head.pool is None and model.head.pool == 'mean':
            notes.append(
                'the checkpoint does not say whether it reads the class token or the mean; the '
                'model reads the mean (head.pool)'
            )
    if 'dist.weight' in state:
        notes.append('the head of the distillation token was dropped: the model has no such token')
    return {n: t for n, t in state.items() if n in own and own[n].shape == t.shape}


def _merge(report: LoadReport, model: Any, head: Head, values: Mapping[str, Tensor]) -> None:
    """Bring the report of the backbone to the names of the whole classifier."""
    taken = head.names if head.classes is not None else set()
    report.dropped = [name for name in report.dropped if name not in taken]
    # Hiera's norm, which is the head's.
    report.unexpected = [name for name in report.unexpected if name not in taken]
    for names in (report.matched, report.missing, report.added):
        names[:] = [f'backbone.{name}' for name in names]
    report.resized = {f'backbone.{name}': shapes for name, shapes in report.resized.items()}
    own = [n for n in model.state_dict() if not n.startswith('backbone.')]
    report.matched += [name for name in own if name in values]
    report.missing += [name for name in own if name not in values]


def load_classifier(
    model: nn.Module,
    path_or_state: str | os.PathLike | Mapping[str, Tensor],
    key: str | None = None,
    source_grid: tuple[int, int] | None = None,
    verbose: bool = True,
    complete: bool = False,
) -> LoadReport:
    """Load backbone and head of a classifier: ours, mae-lite's, timm's, Hugging Face's, Hiera's.

    Args:
        model: An :class:`~lightvit_dense.ImageClassifier`.
        path_or_state: A file, or tensors by name.
        key: Which network to take where a file has several.
        source_grid: (height, width) of the checkpoint's position table in patches; None takes it
            for the model's own or for square.
        verbose: Whether to log the report.
        complete: Whether it is an error if any value of the model is not in the checkpoint, or if
            the checkpoint has some that the model lacks. Without it the linear layer of another
            number of classes is left out, which the report says.

    Returns:
        The report, by the names of the whole model.

    Raises:
        CheckpointError: If the backbone does not fit (see
            :func:`~lightvit_dense.checkpoints.load_backbone`), the head would read other features
            than it was trained for, or ``complete`` finds a difference.
    """
    classifier: Any = model
    opened, report = open_source(path_or_state, key)
    with about(report.path):
        converted = convert(opened.state, classifier.backbone.state_dict())
    head = read_head(opened.state, converted)
    notes: list[str] = []
    values = {f'head.{n}': t for n, t in _head_values(report.path, head, classifier, notes).items()}
    own = model.state_dict()
    # Our own file has more than a head, e.g. a distiller's.
    extra = (n for n in own if not n.startswith(('backbone.', 'head.')))
    values |= {n: opened.state[n] for n in extra if n in opened.state}
    report = load_backbone(
        classifier.backbone, path_or_state, verbose=False, source_grid=source_grid, key=key
    )
    report.notes += notes
    _merge(report, classifier, head, values)
    if complete and (report.missing or report.unexpected or 'dist.weight' in head.state):
        raise CheckpointError(
            f'{report}\n{report.path}: is not the whole classifier that the model is. Give one '
            'that has all of it, or a model of its options.'
        )
    with torch.no_grad():
        for name, tensor in values.items():
            own[name].copy_(tensor)
    if verbose:
        announce(str(report))
    return report
