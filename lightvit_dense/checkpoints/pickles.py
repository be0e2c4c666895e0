"""What a pickle may name, and reading pickles that ``torch.load`` does not know.

Nothing here imports what a file names. Known harmless classes are replaced by stand-ins that hold
plain data; anything else is refused.
"""

import argparse
import io
import os
import pathlib
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


class Leftover:
    """Stands in for an object of a foreign class: keeps its attributes and does nothing."""


class LeftoverDict:
    """Stands in for a foreign subclass of dict: makes an ordinary ordered dict."""

    def __new__(cls, *args: Any) -> OrderedDict:  # type: ignore[misc]
        """Return an empty ordered dict, whatever the arguments."""
        return OrderedDict()


LEFTOVERS: dict[str, type] = {
    # OSTrack (and pytracking's other offspring) save their trainer's settings and statistics.
    'lib.train.admin.settings.Settings': Leftover,
    'lib.train.admin.local.EnvironmentSettings': Leftover,
    'lib.train.admin.stats.AverageMeter': Leftover,
    'lib.train.admin.stats.StatValue': Leftover,
    # SimMIM and detectron2 save their configs.
    'yacs.config.CfgNode': LeftoverDict,
    'fvcore.common.config.CfgNode': LeftoverDict,
    'detectron2.config.config.CfgNode': LeftoverDict,
    'easydict.EasyDict': LeftoverDict,
}
"""Classes of research code that stand beside published weights, with what replaces them."""


def _statistic(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, by which log buffers pickle their statistics, and for no more."""
    if owner is not HistoryBuffer or name.startswith('_') or not hasattr(HistoryBuffer, name):
        raise pickle.UnpicklingError(f'GLOBAL builtins.getattr was not allowed on {owner}.{name}')
    return getattr(HistoryBuffer, name)


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which old protocols pickle bytes, and for no more."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'GLOBAL _codecs.encode was not allowed with {encoding}')
    return text.encode('latin1')


def _storage(data: bytes) -> Any:
    """Stand in for ``torch.storage._load_from_bytes``, which would unpickle anything."""
    return torch.load(io.BytesIO(data), weights_only=True)


def _numpy_functions() -> dict[str, Any]:
    """Return by their full names, old and new, the functions that rebuild numpy's data."""
    core = getattr(np, '_core', None) or np.core
    functions = {'_reconstruct': core.multiarray._reconstruct, 'scalar': core.multiarray.scalar}
    return {
        f'{package}.multiarray.{name}': function
        for package in ('numpy.core', 'numpy._core')
        for name, function in functions.items()
    }


def safe_globals() -> list[Any]:
    """List what a checkpoint may name: containers of plain data, never anything that acts."""
    names: list[Any] = [HistoryBuffer, np.ndarray, np.dtype, argparse.Namespace]
    names += [pathlib.PurePosixPath, (pathlib.PurePosixPath, 'pathlib.PosixPath')]
    names += [(_statistic, 'builtins.getattr')]
    names += [(function, name) for name, function in _numpy_functions().items()]
    names += [(stand_in, name) for name, stand_in in LEFTOVERS.items()]
    kinds = [*'?bBhHiIlLqQefdFD', 'S', 'U']
    return names + list({type(np.dtype(kind)) for kind in kinds})


class PlainUnpickler(pickle._Unpickler):
    """Reads numpy arrays, tensors and plain containers out of an ordinary pickle."""

    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def load_build(self) -> None:
        """Set an object's state, if it is data; a class or a function is left as it is."""
        inst = self.stack[-2]
        if type(inst) not in (OrderedDict, Leftover, np.ndarray) and not isinstance(inst, np.dtype):
            raise pickle.UnpicklingError(f'reduce: the state of {inst!r} was not allowed')
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names if it is on the list."""
        full = f'{module}.{name}'
        allowed: dict[str, Any] = {
            'collections.OrderedDict': OrderedDict,
            'numpy.ndarray': np.ndarray,
            'numpy.dtype': np.dtype,
            '_codecs.encode': _latin1,
            'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
            'torch.storage._load_from_bytes': _storage,
            'torch.Size': torch.Size,
        }
        allowed |= _numpy_functions() | LEFTOVERS
        if full not in allowed:
            raise pickle.UnpicklingError(f'GLOBAL {full} was not allowed')
        return allowed[full]


def read_pickle(path: str | os.PathLike) -> Any:
    """Read an ordinary pickle, such as detectron2's .pkl, without ever running code in it."""
    with open(path, 'rb') as file:
        return PlainUnpickler(file, encoding='latin1').load()
