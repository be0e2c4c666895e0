"""Reading MATLAB's files."""

from typing import Any

import numpy as np

from ..errors import DatasetError


def read_mat(path: str, *names: str) -> list[Any]:
    """Read variables of a MATLAB file of version 5, without axes of length one."""
    from scipy.io import loadmat

    try:
        found = loadmat(path, squeeze_me=True, variable_names=names)
    except NotImplementedError as error:  # version 7.3 is HDF5
        raise DatasetError(f'{path}: {error}. Save it as version 7 or older.') from error
    except Exception as error:  # scipy raises errors of a dozen kinds for damaged files
        raise DatasetError(
            f'{path}: is no MATLAB file, or damaged ({type(error).__name__}: {error}). Fetch it '
            'again.'
        ) from error
    absent = [name for name in names if name not in found]
    if absent:
        raise DatasetError(
            f'{path}: has no variable {absent[0]!r}. Take the file as it was published.'
        )
    return [np.atleast_1d(found[name]) for name in names]


def field(path: str, struct: np.ndarray, name: str) -> list[Any]:
    """Return a field of all elements of a structure ([N])."""
    known = struct.dtype.names or ()
    if name not in known:
        raise DatasetError(
            f'{path}: its entries have no field {name!r}, only {", ".join(known) or "none"}. Take '
            'the file as it was published.'
        )
    return [value.item() if isinstance(value, np.generic) else value for value in struct[name]]
