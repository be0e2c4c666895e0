"""The state dict in a checkpoint's content: which container, and which of several networks."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightvit_dense.errors import CheckpointError

from .io import read_checkpoint

CONTAINERS = (
    'state_dict',  # mmengine, MoCo-v3, Lightning
    'model',  # MAE, mae-lite, SimMIM, detectron2
    'model_state',  # Hiera
    'module',  # DeepSpeed
    'net',  # OSTrack
    'teacher',  # DINO, whose teacher is the better network
    'student',
)
"""Keys under which training code keeps a state dict, the first found is opened."""


@dataclass
class Opened:
    """The tensors of a checkpoint."""

    state: dict[str, Tensor]  # by the names they have in the file
    container: str = ''  # keys opened to get there, e.g. 'model'; empty for a bare state dict
    others: list[str] = field(default_factory=list)  # other keys that hold tensors
    names: list[str] = field(default_factory=list)  # all in the container, whatever ``key`` takes


def _tensors(content: Mapping) -> dict[str, Tensor]:
    """Pick the tensors; detectron2's .pkl has numpy arrays instead."""
    found = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if found:
        return found
    return {
        str(k): torch.from_numpy(np.array(v))
        for k, v in content.items()
        if isinstance(v, np.ndarray) and v.dtype.kind in 'biuf'
    }


def _part(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    """Pick the tensors of one of several networks saved in one state dict."""
    head = re.compile(rf'((?:module\.|_orig_mod\.)*){re.escape(key)}\.')
    return {head.sub('', n, count=1): t for n, t in state.items() if head.match(n)}


def unwrap(content: Any, key: str | None = None) -> Opened:
    """Take the state dict out of the containers that training code wraps it in.

    ``key`` says which network to take where a file has several: a container ('teacher', 'student',
    'ema_state_dict', ...) or the first part of the names ('momentum_encoder', ...). There are no
    tensors in the result if there are none, or none of that key.
    """
    path: list[str] = []
    others: list[str] = []
    while isinstance(content, Mapping):
        inner = [k for k in CONTAINERS if isinstance(content.get(k), Mapping)]
        if key is not None and isinstance(content.get(key), Mapping):
            inner, key = [key], None
        if not inner:
            break
        beside = {k: v for k, v in content.items() if k != inner[0] and isinstance(k, str)}
        others += [k for k, v in beside.items() if isinstance(v, Mapping) and _tensors(v)]
        path.append(inner[0])
        content = content[inner[0]]
    state = _tensors(content) if isinstance(content, Mapping) else {}
    names = list(state)
    if key is not None:
        state = _part(state, key)
        path.append(key)
    return Opened(state, '.'.join(path), others, names)


def open_checkpoint(path: str | os.PathLike, key: str | None = None) -> Opened:
    """Read the tensors of a checkpoint file, mapped from it where possible; see :func:`unwrap`.

    Raises:
        CheckpointError: If the file cannot be read safely, holds no tensors, or none of that key.
    """
    content = read_checkpoint(path, mmap=True)
    opened = unwrap(content, key)
    if opened.state:
        return opened
    if key is not None:
        whole = unwrap(content)
        wrappers = re.compile(r'^((module|_orig_mod)\.)+')
        parts = sorted({wrappers.sub('', name).split('.')[0] for name in whole.state})
        raise CheckpointError(
            f"{path}: holds no network '{key}'. Its containers are "
            f'{", ".join([whole.container, *whole.others]) or "none"}; its names begin with '
            f'{", ".join(parts)}. Give one of these as key, or none.'
        )
    raise CheckpointError(
        f'{path}: holds no state dict (looked for tensors at the top and under '
        f'{", ".join(CONTAINERS)}). Save the state dict of the model in it.'
    )
