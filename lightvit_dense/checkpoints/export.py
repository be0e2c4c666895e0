"""Writing a clean backbone or classifier: safetensors, with metadata in a .json beside them."""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import lightvit_dense
from lightvit_dense.utils.io import atomic_path, atomic_write, sha256

from . import export_formats as formats

Data = dict[str, Any]
"""Plain data."""
_SIZES = ('arch', 'embed_dims', 'num_layers', 'num_heads', 'patch_size', 'grid_size')
_SIZES_OF_SOME = ('stages', 'q_pool', 'mask_unit', 'num_prefix_tokens')
_BUFFER = re.compile(r'\.(running_mean|running_var|num_batches_tracked)$')


def _describe(backbone: nn.Module) -> Data:
    """Collect the sizes that a backbone has as attributes."""
    found = {k: getattr(backbone, k, None) for k in (*_SIZES, *_SIZES_OF_SOME)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items() if v is not None}


def _is_classifier(model: nn.Module) -> bool:
    return hasattr(model, 'backbone')


def _write(
    model: nn.Module, state: Mapping[str, Tensor], path: Path, meta: Data, further: Data
) -> Path:
    """Write tensors and their metadata, each whole or not at all; return the path of the .json."""
    whole = _is_classifier(model)
    endings = ('.safetensors', '.pth') if whole else ('.safetensors',)
    if path.suffix not in endings:
        raise ValueError(f'{path}: the name must end in {" or ".join(endings)}')
    metadata: Data = {
        'format': f'lightvit_dense.{"classifier" if whole else "backbone"}',
        'version': lightvit_dense.__version__,
        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'architecture': _describe(model.backbone if whole else model),  # type: ignore[arg-type]
        'parameters': sum(v.numel() for k, v in state.items() if not _BUFFER.search(k)),
        **further,
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
            # Shapes do not say how many heads there are, and the .json may get lost.
            sizes = json.dumps(metadata['architecture'])
            save_file(copies, temporary, metadata={'format': 'pt', 'architecture': sizes})
        metadata['sha256'] = sha256(temporary)
    metadata['torch'] = str(torch.__version__)
    sibling = path.with_suffix('.json')
    atomic_write(sibling, (json.dumps(metadata, indent=2) + '\n').encode())
    return sibling


def save_backbone(
    model: nn.Module, path: str | os.PathLike, meta: Data, config: Data | None = None
) -> Path:
    """Write the parameters of a backbone, or of a whole classifier, for our own tools.

    Both files appear whole or not at all. A ViT's names are timm's, so that timm loads it too.
    Returns the path of the .json.

    Args:
        model: The backbone or ImageClassifier; wrappers must have been taken off.
        path: Where to write, ending in .safetensors, for a classifier .pth too; the metadata goes
            to the same name with .json.
        meta: How the weights were made (config, iteration, data, teacher, ...): plain data.
        config: The ``model`` of a config that builds a classifier; goes to the metadata.
    """
    return _write(model, model.state_dict(), Path(path), meta, {'model': config} if config else {})


def save_timm(
    model: nn.Module, path: str | os.PathLike, meta: Data, config: Data | None = None
) -> Path:
    """Write a backbone or classifier for ``timm.create_model(..., checkpoint_path=...)``.

    The .json beside it has the exact call under 'timm': our ViT-Tiny has 12 heads where timm's has
    3, and the shapes would not show the mistake. Arguments and result are those of
    :func:`save_backbone`. What timm's class has no option for is an error.
    """
    path = Path(path)
    give = formats.timm_classifier if _is_classifier(model) else formats.timm_format
    state, name, kwargs = give(model)
    arguments = ', '.join(f'{k}={v!r}' for k, v in kwargs.items())
    call = f'timm.create_model({name!r}, checkpoint_path={path.name!r}, {arguments})'
    further = {'timm': {'model_name': name, 'kwargs': kwargs, 'call': call}}
    return _write(model, state, path, meta, further)


def save_huggingface(
    model: nn.Module, folder: str | os.PathLike, meta: Data, config: Data | None = None
) -> Path:
    """Write a folder for ``from_pretrained`` of Hugging Face's ViT or Hiera, or their classifiers.

    The folder gets config.json, model.safetensors and model.json, the metadata. A ViT needs class
    token and final norm. Arguments and result are those of :func:`save_backbone`.
    """
    folder, whole = Path(folder), _is_classifier(model)
    give = formats.huggingface_classifier if whole else formats.huggingface_format
    state, settings = give(model)
    extra = '' if whole or formats.is_hiera(model) else ', add_pooling_layer=False'
    call = f'transformers.{settings["architectures"][0]}.from_pretrained({folder.name!r}{extra})'
    further = {'huggingface': {'call': call}}
    metadata = _write(model, state, folder / 'model.safetensors', meta, further)
    atomic_write(folder / 'config.json', (json.dumps(settings, indent=2) + '\n').encode())
    return metadata


EXPORT_FORMATS: dict[str, Callable[..., Path]] = {
    'ours': save_backbone,
    'timm': save_timm,
    'hf': save_huggingface,
}
"""Formats of output with the functions that write them."""
