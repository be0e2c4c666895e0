"""Writing a clean backbone: tensors in safetensors, their story in a .json beside it."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

import lightvit_dense

from .io import atomic_path, atomic_write

ARCHITECTURE = ('arch', 'embed_dims', 'num_layers', 'num_heads', 'patch_size', 'grid_size')


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def describe(backbone: nn.Module) -> dict[str, Any]:
    """Collect the sizes that a backbone tells of itself."""
    found = {k: getattr(backbone, k) for k in ARCHITECTURE if hasattr(backbone, k)}
    found['num_prefix_tokens'] = getattr(backbone, 'num_prefix_tokens', None)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items() if v is not None}


def save_backbone(backbone: nn.Module, path: str | os.PathLike, meta: dict[str, Any]) -> Path:
    """Write the parameters of a backbone and how they were made.

    Both files appear whole or not at all. The names are timm's, so that timm loads the file too.

    Args:
        backbone: The module; wrappers must have been taken off.
        path: Where to write, ending in .safetensors; the story goes to the same name with .json.
        meta: How the weights were made (config, iteration, data, teacher, ...): plain data.

    Returns:
        Path of the .json.

    Raises:
        ValueError: If the path does not end in .safetensors or meta is not plain data.
    """
    path = Path(path)
    if path.suffix != '.safetensors':
        raise ValueError(f'{path}: the name must end in .safetensors')
    story: dict[str, Any] = {
        'format': 'lightvit_dense.backbone',
        'version': lightvit_dense.__version__,
        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'architecture': describe(backbone),
        'parameters': sum(p.numel() for p in backbone.parameters()),
        'meta': meta,
    }
    try:
        json.dumps(story)
    except TypeError as error:
        raise ValueError(f'{path}: meta must be plain data: {error}') from error
    state = {
        k: v.detach().to('cpu', copy=True).contiguous() for k, v in backbone.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={'format': 'pt'})
        story['sha256'] = sha256(temporary)
    story['torch'] = str(torch.__version__)
    sibling = path.with_suffix('.json')
    atomic_write(sibling, (json.dumps(story, indent=2) + '\n').encode())
    return sibling
