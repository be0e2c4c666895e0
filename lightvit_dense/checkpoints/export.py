"""Writing a clean backbone: tensors in safetensors, their metadata in a .json beside it."""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import lightvit_dense
from lightvit_dense.utils.io import atomic_path, atomic_write, sha256

from .forms import huggingface_form, is_hiera, timm_form

ARCHITECTURE = (
    'arch',
    'embed_dims',
    'num_layers',
    'num_heads',
    'patch_size',
    'grid_size',
    'stages',
    'q_pool',
    'mask_unit',
)

_BUFFER = re.compile(r'\.(running_mean|running_var|num_batches_tracked)$')


def describe(backbone: nn.Module) -> dict[str, Any]:
    """Collect the sizes that a backbone tells of itself."""
    found = {k: getattr(backbone, k) for k in ARCHITECTURE if hasattr(backbone, k)}
    found['num_prefix_tokens'] = getattr(backbone, 'num_prefix_tokens', None)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items() if v is not None}


def write_metadata(
    backbone: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    meta: dict[str, Any],
    form: dict[str, Any],
    what: str = 'backbone',
) -> Path:
    """Write tensors and their metadata, both whole or not at all.

    Args:
        backbone: Tells its sizes.
        state: The tensors.
        path: Where to write, ending in .safetensors; for a 'classifier' also in .pth, as mmengine
            writes it.
        meta: How the weights were made: plain data.
        form: Further keys of the metadata.
        what: 'backbone' or 'classifier'.

    Returns:
        Path of the metadata, the same name with .json.

    Raises:
        ValueError: If the name has another ending, or meta is not plain data.
    """
    endings = ('.safetensors', '.pth') if what == 'classifier' else ('.safetensors',)
    if path.suffix not in endings:
        raise ValueError(f'{path}: the name must end in {" or ".join(endings)}')
    metadata: dict[str, Any] = {
        'format': f'lightvit_dense.{what}',
        'version': lightvit_dense.__version__,
        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'architecture': describe(backbone),
        'parameters': sum(v.numel() for k, v in state.items() if not _BUFFER.search(k)),
        **form,
        'meta': meta,
    }
    try:
        json.dumps(metadata)
    except TypeError as error:
        raise ValueError(f'{path}: meta must be plain data: {error}') from error
    copies = {k: v.detach().to('cpu', copy=True).contiguous() for k, v in state.items()}
    with atomic_path(path) as temporary:
        if path.suffix == '.pth':
            torch.save({'state_dict': copies, 'meta': meta}, temporary)
        else:
            # Shapes do not tell the heads, and the .json may get lost.
            sizes = json.dumps(metadata['architecture'])
            save_file(copies, temporary, metadata={'format': 'pt', 'architecture': sizes})
        metadata['sha256'] = sha256(temporary)
    metadata['torch'] = str(torch.__version__)
    sibling = path.with_suffix('.json')
    atomic_write(sibling, (json.dumps(metadata, indent=2) + '\n').encode())
    return sibling


def save_backbone(backbone: nn.Module, path: str | os.PathLike, meta: dict[str, Any]) -> Path:
    """Write the parameters of a backbone and how they were made.

    Both files appear whole or not at all. A ViT's names are timm's, so that timm loads it too.

    Args:
        backbone: The module; wrappers must have been taken off.
        path: Where to write, ending in .safetensors; the metadata goes to the same name with .json.
        meta: How the weights were made (config, iteration, data, teacher, ...): plain data.

    Returns:
        Path of the .json.

    Raises:
        ValueError: If the path does not end in .safetensors or meta is not plain data.
    """
    return write_metadata(backbone, backbone.state_dict(), Path(path), meta, {})


def save_timm(backbone: nn.Module, path: str | os.PathLike, meta: dict[str, Any]) -> Path:
    """Write a backbone for ``timm.create_model(..., checkpoint_path=...)``.

    The .json beside it has the exact call under 'timm': our ViT-Tiny has 12 heads where timm's has
    3, and the shapes would not show the mistake.

    Args:
        backbone: Our VisionTransformer or Hiera.
        path: Where to write, ending in .safetensors.
        meta: How the weights were made: plain data.

    Returns:
        Path of the .json.

    Raises:
        CheckpointError: If timm's class lacks an option of the backbone.
        ValueError: As for :func:`save_backbone`.
    """
    path = Path(path)
    state, name, kwargs = timm_form(backbone)
    arguments = ', '.join(f'{k}={v!r}' for k, v in kwargs.items())
    call = f'timm.create_model({name!r}, checkpoint_path={path.name!r}, {arguments})'
    form = {'timm': {'model_name': name, 'kwargs': kwargs, 'call': call}}
    return write_metadata(backbone, state, path, meta, form)


def save_huggingface(backbone: nn.Module, folder: str | os.PathLike, meta: dict[str, Any]) -> Path:
    """Write a folder for ``ViTModel.from_pretrained`` or ``HieraModel.from_pretrained``.

    Args:
        backbone: Our VisionTransformer with class token and final norm, or Hiera.
        folder: Gets config.json, model.safetensors and model.json, the metadata.
        meta: How the weights were made: plain data.

    Returns:
        Path of the metadata.

    Raises:
        CheckpointError: If the class lacks an option of the backbone.
        ValueError: If meta is not plain data.
    """
    folder = Path(folder)
    state, config = huggingface_form(backbone)
    extra = '' if is_hiera(backbone) else ', add_pooling_layer=False'
    call = f'transformers.{config["architectures"][0]}.from_pretrained({folder.name!r}{extra})'
    form = {'huggingface': {'call': call}}
    metadata = write_metadata(backbone, state, folder / 'model.safetensors', meta, form)
    atomic_write(folder / 'config.json', (json.dumps(config, indent=2) + '\n').encode())
    return metadata
