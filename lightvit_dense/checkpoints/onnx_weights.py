"""DINOv2's weights out of an ONNX file, under timm's names, and a check that they compute the same.

Exporters keep the names of norms, biases and tokens (Hugging Face's). Matrices lose theirs, and are
found by the named bias that is added to their product; the position table is in two constants.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lightvit_dense.errors import CheckpointError
from lightvit_dense.utils.environment import import_extra

from .convert import convert

PREFIX = 'backbone.'
LAST_BIAS = 'backbone.layernorm.bias'


def load_dinov2_onnx(model: nn.Module, content: bytes, what: str) -> None:
    """Fill a DINOv2 of timm from an ONNX file that holds one behind 'backbone.'.

    A CheckpointError, which calls the file ``what``, says if it has none, or of other sizes.
    """
    onnx = import_extra('onnx')
    graph = onnx.load_model_from_string(content).graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    named = {n.removeprefix(PREFIX): a for n, a in arrays.items() if n.startswith(PREFIX)}
    products = {node.output[0]: node for node in graph.node if node.op_type == 'MatMul'}
    for node in graph.node:
        if node.op_type == 'Add':
            for bias, product in (node.input, reversed(node.input)):
                if bias.endswith('.bias') and product in products:
                    matrix = arrays.get(products[product].input[1])
                    if matrix is not None:
                        name = bias.removeprefix(PREFIX).removesuffix('bias')
                        named[f'{name}weight'] = matrix.T
    tables = [a for n, a in arrays.items() if not n.startswith(PREFIX) and a.ndim == 3]
    if len(tables) == 2:  # the class token's place, and those of the patches
        parts = sorted(tables, key=lambda a: a.shape[1])
        named['embeddings.position_embeddings'] = np.concatenate(parts, 1)
    state = {name: torch.from_numpy(array.copy()) for name, array in named.items()}
    found = convert(state, wanted=model.state_dict()) if 'layernorm.bias' in named else None
    try:
        model.load_state_dict(found.state if found else {})
    except RuntimeError as error:
        raise CheckpointError(
            f'{what}: holds no such network behind {PREFIX!r}, or not in a form that is known here:'
            f' {error}'
        ) from error


@torch.no_grad()
def compare_with_onnx(content: bytes, model: nn.Module, image: np.ndarray) -> float:
    """Return the largest difference of the normalised tokens of an image (uint8 [H, W, 3]).

    ``model`` is the vision transformer of timm, in evaluation mode, that was filled from the file.
    Positions are resized the way the file does, bicubic without antialiasing, which is not timm's.
    """
    onnx, runtime = import_extra('onnx'), import_extra('onnxruntime')
    file = onnx.load_model_from_string(content)
    last = next(node.output[0] for node in file.graph.node if LAST_BIAS in node.input)
    file.graph.output.append(onnx.ValueInfoProto(name=last))
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(
        file.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    given = session.get_inputs()[0]
    network: Any = model
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    pixels = F.interpolate(pixels, given.shape[2:], mode='bilinear', antialias=True)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ('mean', 'std'))
    pixels = (pixels - mean) / std
    (theirs,) = session.run([last], {given.name: pixels.numpy()})
    patches = network.patch_embed.proj(pixels)  # [1, C, rows, columns]
    table = network.pos_embed[:, 1:].unflatten(1, network.patch_embed.grid_size)
    table = F.interpolate(table.permute(0, 3, 1, 2), patches.shape[2:], mode='bicubic')
    x = (patches + table).flatten(2).transpose(1, 2)
    x = torch.cat([network.cls_token + network.pos_embed[:, :1], x], dim=1)
    return (network.norm(network.blocks(x)) - torch.from_numpy(theirs)).abs().max().item()
