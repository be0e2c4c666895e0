"""Reading checkpoint files safely: ours, and those that mmengine loads by itself."""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file

from lightvit_dense.errors import CheckpointError, did_you_mean
from lightvit_dense.utils.shipped import locate, shipped_weights

from .flax import read_flax
from .pickles import read_pickle, safe_globals

_ZIP, _PICKLE, _LFS = b'PK\x03\x04', b'\x80', b'version https://git-lfs'
# The magic number that opens a file of torch's old format, as a pickled long.
_LEGACY = b'\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


def _refusal(path: Path, error: Exception) -> CheckpointError:
    """Turn a failure of reading into a message that says what is wrong with the file."""
    text = str(error) or 'it ends too early'
    line = text.strip().splitlines()[0][:120]
    named = re.search(r'GLOBAL ([\w.]+)', text) or re.search(r'function ([\w.]+)', text)
    if named or 'WeightsUnpickler' in text or 'reduce' in text:
        asked = named.group(1) if named else line
        return CheckpointError(
            f'{path}: refused, the file asks to run code ({asked}). Only tensors and plain data '
            'are loaded. If you trust its author, open it elsewhere and save its state dict alone '
            'with torch.save or safetensors.'
        )
    return CheckpointError(
        f'{path}: truncated or damaged ({type(error).__name__}: {line}). '
        'Copy or download it again; a run can resume from its previous checkpoint.'
    )


def _check_file(path: Path) -> bytes:
    """Return the first bytes of a file that exists and is not empty."""
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise CheckpointError(
            f'{path}: {what}. Give the path of a .safetensors or .pth file.'
            f'{did_you_mean(str(path), shipped_weights())}'
        )
    with open(path, 'rb') as file:
        head = file.read(64)
    if not head:
        raise CheckpointError(f'{path}: has zero bytes. Copy or download it again.')
    if head.startswith(_LFS):
        raise CheckpointError(f'{path}: is a Git LFS pointer. Run `git lfs pull` to fetch it.')
    return head


def _refuse_torchscript(path: Path) -> None:
    """Raise if a file holds a program; torch's own message is advice to run it."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = any(name.endswith('/constants.pkl') for name in archive.namelist())
    except zipfile.BadZipFile:
        return
    if found:
        raise CheckpointError(
            f'{path}: is a TorchScript archive (torch.jit.save), a program and no state dict. It '
            'is not run here. If you trust its author, take its weights out once: `torch.save('
            f"torch.jit.load({str(path)!r}, map_location='cpu').state_dict(), 'weights.pth')`, and "
            'give that file.'
        )


def read_checkpoint(path: str | os.PathLike, map_location: Any = 'cpu', mmap: bool = False) -> Any:
    """Read a checkpoint file whole, without ever running code that it carries.

    Args:
        path: A .safetensors file (a flat dict of tensors), one written by ``torch.save``, an
            ordinary pickle of arrays such as detectron2's .pkl, an .npz of Google's vision
            transformers, or the name of shipped weights.
        map_location: As for ``torch.load``.
        mmap: Whether to map the tensors from the file instead of reading them now.

    Raises:
        CheckpointError: If the file is missing, empty, truncated, of another kind, or asks to run
            code.
    """
    path = locate(path)
    head = _check_file(path)
    if path.suffix == '.safetensors' or head[8:9] == b'{':
        device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
        try:
            return load_file(path, str(device))
        except (SafetensorError, OSError, ValueError) as error:
            raise _refusal(path, error) from error
    if path.suffix == '.npz':
        return read_flax(path)
    if not head.startswith((_ZIP, _PICKLE)):
        raise CheckpointError(
            f'{path}: is neither a safetensors nor a PyTorch file (it begins with {head[:12]!r}). '
            'Check that the path points at the weights themselves.'
        )
    mmap = mmap and head.startswith(_ZIP)
    if head.startswith(_ZIP):
        _refuse_torchscript(path)
    try:
        if head.startswith(_PICKLE) and _LEGACY not in head:
            return read_pickle(path)
        with torch.serialization.safe_globals(safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except Exception as error:  # a broken file raises errors without a common base class
        raise _refusal(path, error) from error


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint for mmengine; tensors of a .safetensors stand under 'state_dict'."""
    content = read_checkpoint(filename, map_location)
    if str(filename).endswith('.safetensors'):
        return {'state_dict': content}
    return content


def install() -> None:
    """Make mmengine's own loading safe; it loads what it finds unsafe with a warning."""
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
