"""A whole classifier as ours, timm and Hugging Face Transformers want it."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.utils.io import atomic_write

from .errors import CheckpointError
from .export import write_metadata
from .forms import State, huggingface_form, is_hiera, timm_form


def _linear(head: Any) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the linear layer, a BatchNorm before it folded in."""
    weight, bias = head.fc.weight.detach(), head.fc.bias.detach()
    if 'bn.running_mean' not in head.state_dict():
        return weight, bias
    # W (x - m) / s + b = (W / s) x + b - (W / s) m
    scaled = weight / (head.bn.running_var + head.bn.eps).sqrt()
    return scaled, bias - torch.mv(scaled, head.bn.running_mean)


def _norms(model: Any) -> tuple[bool, bool]:
    """Tell whether a LayerNorm comes before and whether one comes after the pooling."""
    final = 'norm.weight' in model.backbone.state_dict()
    return final, 'fc_norm.weight' in model.head.state_dict()


def _refuse(form: str, why: str) -> CheckpointError:
    return CheckpointError(f'The classifier {why}, which {form} cannot express.')


def timm_classifier(model: Any) -> tuple[State, str, dict[str, Any]]:
    """Give a classifier as timm has it.

    Args:
        model: Our ImageClassifier.

    Returns:
        The parameters by timm's names, and the model's name and arguments for
        ``timm.create_model``.

    Raises:
        CheckpointError: If timm's class lacks an option of the classifier.
    """
    state, name, kwargs = timm_form(model.backbone, alone=False)
    final, after = _norms(model)
    kwargs = {**kwargs, 'num_classes': model.head.num_classes}
    weight, bias = _linear(model.head)
    norm = {f'fc_norm.{k}': v for k, v in model.head.fc_norm.state_dict().items()}
    if is_hiera(model.backbone):
        if final or not after:
            raise _refuse('timm', 'has no LayerNorm after the pooling, or one before it')
        norm = {n.replace('fc_norm.', 'head.norm.'): t for n, t in norm.items()}
        return {**state, **norm, 'head.fc.weight': weight, 'head.fc.bias': bias}, name, kwargs
    if name.startswith('swin'):
        if after or not final:
            raise _refuse("timm's Swin", 'has no LayerNorm before the pooling, or one after it')
        return {**state, 'head.fc.weight': weight, 'head.fc.bias': bias}, name, kwargs
    if final and after:
        raise _refuse('timm', 'has LayerNorms before and after the pooling')
    kwargs['global_pool'] = 'token' if model.head.pool == 'cls' else 'avg'
    if name.startswith('beit'):
        if not final and not after:
            raise _refuse("timm's BEiT", 'has no LayerNorm after its blocks')
        kwargs['use_fc_norm'] = after
    else:
        # With fc_norm=True timm's final norm follows the pooling.
        kwargs |= dict(fc_norm=after, final_norm=final or after)
    return {**state, **norm, 'head.weight': weight, 'head.bias': bias}, name, kwargs


def huggingface_classifier(model: Any) -> tuple[State, dict[str, Any]]:
    """Give a classifier as Hugging Face Transformers has it.

    Args:
        model: Our ImageClassifier that reads the class token after the final norm, or one with a
            Hiera.

    Returns:
        The parameters by the names of ``ViTForImageClassification`` or
        ``HieraForImageClassification``, and its config.

    Raises:
        CheckpointError: If the class lacks an option of the classifier.
    """
    state, config = huggingface_form(model.backbone, alone=False)
    final, after = _norms(model)
    weight, bias = _linear(model.head)
    if is_hiera(model.backbone):
        if final or not after:
            raise _refuse('Hugging Face', 'has no LayerNorm after the pooling, or one before it')
        kind, prefix = 'HieraForImageClassification', 'hiera.'
        state |= {f'pooler.layernorm.{k}': v for k, v in model.head.fc_norm.state_dict().items()}
    else:
        if model.head.pool != 'cls' or after or not final:
            raise CheckpointError(
                'The classifier does not read the class token after the final norm, as '
                "Hugging Face's ViTForImageClassification does. Export it for timm (--to timm)."
            )
        kind, prefix = 'ViTForImageClassification', 'vit.'
    state = {prefix + name: tensor for name, tensor in state.items()}
    state |= {'classifier.weight': weight, 'classifier.bias': bias}
    labels = {str(i): f'LABEL_{i}' for i in range(model.head.num_classes)}
    names = dict(id2label=labels, label2id={v: int(k) for k, v in labels.items()})
    return state, {**config, **names, 'architectures': [kind]}


def save_classifier(
    model: Any, path: str | os.PathLike, meta: dict[str, Any], config: dict[str, Any]
) -> Path:
    """Write a classifier for our own tools.

    Args:
        model: Our ImageClassifier.
        path: Where to write, ending in .pth or .safetensors.
        meta: How the weights were made: plain data.
        config: The ``model`` of a config that builds it; goes to the .json.

    Returns:
        Path of the .json.

    Raises:
        ValueError: If the path has another ending or meta is not plain data.
    """
    form = {'model': config}
    state = model.state_dict()
    return write_metadata(model.backbone, state, Path(path), meta, form, 'classifier')


def save_timm_classifier(
    model: Any, path: str | os.PathLike, meta: dict[str, Any], _: dict[str, Any]
) -> Path:
    """Write a classifier for ``timm.create_model``; the .json has the exact call under 'timm'.

    Args:
        model: Our ImageClassifier.
        path: Where to write, ending in .safetensors.
        meta: How the weights were made: plain data.

    Returns:
        Path of the .json.

    Raises:
        CheckpointError: If timm's class lacks an option of the classifier.
        ValueError: If the path has another ending or meta is not plain data.
    """
    path = Path(path)
    state, name, kwargs = timm_classifier(model)
    arguments = ', '.join(f'{k}={v!r}' for k, v in kwargs.items())
    call = f'timm.create_model({name!r}, checkpoint_path={path.name!r}, {arguments})'
    form = {'timm': {'model_name': name, 'kwargs': kwargs, 'call': call}}
    return write_metadata(model.backbone, state, path, meta, form, 'classifier')


def save_huggingface_classifier(
    model: Any, folder: str | os.PathLike, meta: dict[str, Any], _: dict[str, Any]
) -> Path:
    """Write a folder for ``ViTForImageClassification.from_pretrained`` or Hiera's.

    Args:
        model: Our ImageClassifier.
        folder: Gets config.json, model.safetensors and model.json, the metadata.
        meta: How the weights were made: plain data.

    Returns:
        Path of the metadata.

    Raises:
        CheckpointError: If the class lacks an option of the classifier.
        ValueError: If meta is not plain data.
    """
    folder = Path(folder)
    state, config = huggingface_classifier(model)
    call = f'transformers.{config["architectures"][0]}.from_pretrained({folder.name!r})'
    form = {'huggingface': {'call': call}}
    path = folder / 'model.safetensors'
    metadata = write_metadata(model.backbone, state, path, meta, form, 'classifier')
    atomic_write(folder / 'config.json', (json.dumps(config, indent=2) + '\n').encode())
    return metadata


CLASSIFIER_FORMS = {
    'ours': save_classifier,
    'timm': save_timm_classifier,
    'hf': save_huggingface_classifier,
}
"""Forms of output with the functions that write them."""
