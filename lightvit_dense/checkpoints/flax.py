"""Google's vision transformers in .npz files (Steiner et al. 2021, "How to train your ViT?")."""

import math
import zipfile
from pathlib import Path

import numpy as np
from torch import Tensor

from lightvit_dense.errors import CheckpointError


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
    from timm.models.vision_transformer import VisionTransformer  # takes a second to import

    arrays = read_npz(path)
    side, _, _, width = arrays['embedding/kernel'].shape
    tokens = arrays['Transformer/posembed_input/pos_embedding'].shape[1]
    model = VisionTransformer(
        img_size=side * math.isqrt(tokens),  # the class token makes no further row
        patch_size=side,
        embed_dim=width,
        depth=sum(name.endswith('/LayerNorm_0/scale') for name in arrays),
        num_heads=_heads(arrays),
        num_classes=arrays['head/bias'].size if 'head/bias' in arrays else 0,
    )
    model.load_pretrained(str(path))
    return model.state_dict()


def flax_heads(path: Path) -> int:
    """Return the number of heads, which the shapes of these files do tell."""
    return _heads(read_npz(path))


def _heads(arrays: dict[str, np.ndarray]) -> int:
    query = 'Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel'
    return arrays[query].shape[1]
