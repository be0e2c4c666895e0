"""Loading a whole classifier, backbone and head, from anybody's checkpoint."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from lightvit_dense.errors import CheckpointError, about_file

from .convert import Converted, convert
from .key_mapping import is_hiera
from .loader import LoadReport, announce, check_finite, fill, load_backbone, open_source

# What training code and wrappers put before the names of a whole classifier.
_WRAPPERS = re.compile(r'^(?:(?:module|_orig_mod)\.)*(?:model\.)?')
_OURS = re.compile(rf'{_WRAPPERS.pattern}backbone\.')
_HUGGING_FACE = re.compile(r'\bembeddings\.patch_embeddings\.')
_NAMES = (
    (r'head\.(fc|fc_norm|bn)\.', r'\1.'),  # ours; timm's Hiera has head.fc too
    (r'head\.projection\.', 'fc.'),  # Meta's Hiera
    (r'(?:head|classifier|cls_classifier)\.(?=weight$|bias$)', 'fc.'),  # timm, MAE; Hugging Face
    (r'fc_norm\.', 'fc_norm.'),  # timm, MAE
    (r'(?:\w+\.)?pooler\.layernorm\.', 'fc_norm.'),  # Hugging Face's BEiT and Hiera
    (r'(?:head_dist|distillation_classifier)\.(?=weight$|bias$)', 'dist.'),  # DeiT
)


@dataclass
class Head:
    """A classifier's head; ``state`` has our names (fc, fc_norm, bn), and DeiT's ``dist.*``."""

    state: dict[str, Tensor] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # the file's, with and without wrappers' prefix
    final_norm: bool = False  # whether a LayerNorm precedes the pooling
    pool: str | None = None  # 'mean' or 'cls' where the kind of file tells it

    @property
    def classes(self) -> int | None:
        """Number of classes, ``None`` if there is no linear layer."""
        return self.state['fc.weight'].shape[0] if 'fc.weight' in self.state else None

    @property
    def reading(self) -> dict[str, bool]:
        """Which norms stand between the blocks and the linear layer, as options of ours."""
        return {
            'backbone.final_norm': self.final_norm,
            'head.norm': 'fc_norm.weight' in self.state,
            'head.batch_norm': 'bn.running_mean' in self.state,
        }


def read_head(state: Mapping[str, Tensor], converted: Converted) -> Head:
    """Find the head in a file's tensors; without ``fc.weight`` the file is no classifier."""
    head = Head(final_norm='norm.weight' in converted.state)
    for name, tensor in state.items():
        short = _WRAPPERS.sub('', name)
        for pattern, ours in _NAMES:
            if re.match(pattern, short):
                head.state[re.sub(rf'^{pattern}', ours, short)] = tensor
                head.names |= {name, short}
                break
    linear = head.state.get('fc.weight')
    if linear is None or linear.ndim != 2:
        return Head(final_norm=head.final_norm)
    if any(_OURS.match(name) for name in state):  # may pool either way, with norms at either place
        return head
    if is_hiera(converted.state):  # its only norm follows the pooling, whatever it is called
        taken = {n: t for n, t in converted.state.items() if n.startswith('norm.')}
        head.state |= {f'fc_{name}': tensor for name, tensor in taken.items()}
        head.names |= set(taken)
        head.final_norm = False
    if 'fc_norm.weight' in head.state:
        head.pool = 'mean'
    elif any(_HUGGING_FACE.search(name) for name in state):
        head.pool = 'cls'
    return head


def _check_reading(path: str, head: Head, model: Any) -> None:
    """Raise if the model's head would read other features than the checkpoint's did."""
    own_head = Head(
        model.head.state_dict(), final_norm='norm.weight' in model.backbone.state_dict()
    )
    ours = {**own_head.reading, 'head.pool': model.head.pool}
    theirs = {**head.reading, 'head.pool': head.pool or model.head.pool}
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
    for names in (report.dropped, report.unexpected):  # unexpected: Hiera's norm, the head's
        names[:] = [name for name in names if name not in taken]
    for names in (report.matched, report.missing, report.added):
        names[:] = [f'backbone.{name}' for name in names]
    report.resized = {f'backbone.{name}': shapes for name, shapes in report.resized.items()}
    for name in (n for n in model.state_dict() if not n.startswith('backbone.')):
        (report.matched if name in values else report.missing).append(name)


def load_classifier(
    model: nn.Module,
    path_or_state: str | os.PathLike | Mapping[str, Tensor],
    key: str | None = None,
    verbose: bool = True,
    complete: bool = False,
) -> LoadReport:
    """Load backbone and head of a classifier: ours, mae-lite's, timm's, Hugging Face's, Hiera's.

    Returns the report, by the names of the whole model.

    Args:
        model: An :class:`~lightvit_dense.ImageClassifier`.
        path_or_state: A file, or tensors by name.
        key: Which network to take where a file has several.
        verbose: Whether to log the report.
        complete: Whether it is an error if any value of the model is not in the checkpoint, or if
            the checkpoint has some that the model lacks. Without it the linear layer of another
            number of classes is left out, which the report says.

    Raises:
        CheckpointError: If the backbone does not fit (see
            :func:`~lightvit_dense.checkpoints.load_backbone`), the head would read other features
            than it was trained for, or ``complete`` finds a difference.
    """
    classifier: Any = model
    opened, report = open_source(path_or_state, key)
    with about_file(report.path):
        converted = convert(opened.state, classifier.backbone.state_dict())
    head = read_head(opened.state, converted)
    notes: list[str] = []
    values = {f'head.{n}': t for n, t in _head_values(report.path, head, classifier, notes).items()}
    # Our own file has more than a head, e.g. a distiller's.
    extra = (n for n in model.state_dict() if not n.startswith(('backbone.', 'head.')))
    values |= {n: opened.state[n] for n in extra if n in opened.state}
    check_finite(report.path, values, model)
    report = load_backbone(classifier.backbone, path_or_state, verbose=False, key=key)
    report.notes += notes
    _merge(report, classifier, head, values)
    if complete and (report.missing or report.unexpected or 'dist.weight' in head.state):
        raise CheckpointError(
            f'{report}\n{report.path}: is not the whole classifier that the model is. Give one '
            'that has all of it, or a model of its options.'
        )
    fill(model, values)
    if verbose:
        announce(str(report))
    return report
