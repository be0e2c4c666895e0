"""CIFAR's pickles, read without running code in them."""

import os
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..errors import DatasetError

_CORE = getattr(np, '_core', None) or np.core


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which old protocols pickle bytes, and for no more."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'_codecs.encode was not allowed with {encoding}')
    return text.encode('latin1')


_ALLOWED: dict[str, Callable] = {
    'numpy.ndarray': np.ndarray,
    'numpy.dtype': np.dtype,
    'numpy.core.multiarray._reconstruct': _CORE.multiarray._reconstruct,
    'numpy._core.multiarray._reconstruct': _CORE.multiarray._reconstruct,
    '_codecs.encode': _latin1,
}


class _ArrayUnpickler(pickle._Unpickler):
    """Reads plain containers and numpy arrays; whatever else a file names is refused."""

    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def load_build(self) -> None:
        """Set the state of an array or its dtype, and of nothing else."""
        if not isinstance(self.stack[-2], (np.ndarray, np.dtype)):
            raise pickle.UnpicklingError(f'the state of {self.stack[-2]!r} was not allowed')
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names if it is harmless."""
        full = f'{module}.{name}'
        if full not in _ALLOWED:
            raise pickle.UnpicklingError(f'{full} was not allowed')
        return _ALLOWED[full]


def read_pickle(path: str | os.PathLike) -> Any:
    """Read a pickle of arrays, text and plain containers, as Python 2 wrote CIFAR's."""
    try:
        with open(path, 'rb') as file:
            return _plain(_ArrayUnpickler(file, encoding='latin1').load())
    except pickle.UnpicklingError as error:
        raise DatasetError(
            f'{path}: is not opened, as it is damaged or asks for more than arrays and text '
            f'({error}). Fetch the file again from where it was published.'
        ) from error
    except Exception as error:  # damaged pickles raise errors of any kind
        raise DatasetError(
            f'{path}: is no pickle, or truncated ({type(error).__name__}: {error}). Fetch it again.'
        ) from error


def _plain(value: Any) -> Any:
    """Turn bytes into text in dicts and lists."""
    if isinstance(value, bytes):
        return value.decode('latin1')
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value] if value and isinstance(value[0], bytes) else value
    return value
