"""Google's vision transformers in .npz files (Steiner et al. 2021, "How to train your ViT?")."""

import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightvit_dense.errors import CheckpointError

_NAMES = (
    (r'^embedding/', 'patch_embed.proj/'),
    (r'^cls$', 'cls_token'),
    (r'^Transformer/posembed_input/pos_embedding$', 'pos_embed'),
    (r'^Transformer/encoder_norm/', 'norm/'),
    (r'^Transformer/encoderblock_(\d+)/', r'blocks.\1.'),
    (r'\.LayerNorm_0/', '.norm1/'),
    (r'\.LayerNorm_2/', '.norm2/'),
    (r'\.MlpBlock_3/Dense_0/', '.mlp.fc1/'),
    (r'\.MlpBlock_3/Dense_1/', '.mlp.fc2/'),
    (r'\.MultiHeadDotProductAttention_1/', '.attn.'),
    (r'\.attn\.out/', '.attn.proj/'),
    (r'/(kernel|scale)$', '.weight'),
    (r'/bias$', '.bias'),
)


def _turn(name: str, array: np.ndarray) -> np.ndarray:
    """Bring an array to torch's layout: outputs first, heads joined."""
    if re.search(r'attn\.(query|key|value)\.', name):  # [C, heads, C/heads] -> [C, C]; bias -> [C]
        return array.reshape(len(array), -1).T if array.ndim == 3 else array.reshape(-1)
    if array.ndim == 4:  # [h, w, in, out] -> [out, in, h, w]
        return array.transpose(3, 2, 0, 1)
    if name.endswith('attn.proj.weight'):  # [heads, C/heads, C] -> [C, C]
        return array.reshape(-1, array.shape[-1]).T
    if array.ndim == 2 and name.endswith('.weight'):  # [in, out] -> [out, in]
        return array.T
    return array


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file; nothing in it is run."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name.removeprefix('opt/target/'): arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f'{path}: is no .npz file of arrays, or damaged ({error}). Copy or download it again.'
        ) from error
    if 'Transformer/encoderblock_0/LayerNorm_0/scale' not in found:
        raise CheckpointError(
            f"{path}: is none of Google's vision transformers (it has {', '.join([*found][:3])}). "
            'Give a .safetensors or .pth file, or one of the AugReg files in .npz.'
        )
    return found


def read_flax(path: Path) -> dict[str, Tensor]:
    """Read a transformer of an .npz file by timm's names, the classifier's under ``head``."""
    state: dict[str, np.ndarray] = {}
    for name, array in read_npz(path).items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = _turn(name, array)
    depth = sum(name.endswith('.norm1.weight') for name in state)
    for start in (f'blocks.{block}.attn.' for block in range(depth)):
        for kind in ('weight', 'bias'):
            parts = [state.pop(f'{start}{part}.{kind}') for part in ('query', 'key', 'value')]
            state[f'{start}qkv.{kind}'] = np.concatenate(parts)
    return {name: torch.from_numpy(np.array(array, order='C')) for name, array in state.items()}


def flax_heads(path: Path) -> int:
    """Return the number of heads, which the shapes of these files do tell."""
    query = 'Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel'
    return read_npz(path)[query].shape[1]
