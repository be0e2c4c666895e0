"""mmcv without compiled operators.

Symptom: ``ModuleNotFoundError: No module named 'mmcv._ext'`` on ``import mmcv.ops`` and hence on
``import mmdet.models``. A plain ``pip install onedl-mmcv`` builds in isolation, sees no torch and
silently leaves the extension out.

Cure: :func:`install` appends a finder to the *end* of ``sys.meta_path``. It is asked for
``mmcv._ext`` only after every other finder has failed, so a compiled extension always wins, and it
then supplies :mod:`lightvit_dense.compat.torchvision_ext` under that name. Nothing is imported
before somebody asks for ``mmcv.ops``.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

MODULE = 'mmcv._ext'
SUBSTITUTE = Path(__file__).with_name('torchvision_ext.py')


class TorchvisionOpsFinder(MetaPathFinder):
    """Finds ``mmcv._ext``, and nothing else, in :mod:`lightvit_dense.compat.torchvision_ext`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the substitute's spec when ``fullname`` is ``mmcv._ext``, otherwise None."""
        return spec_from_file_location(MODULE, SUBSTITUTE) if fullname == MODULE else None


def install() -> None:
    """Make ``mmcv.ops`` importable where mmcv has no compiled operators; may be called again."""
    if not any(isinstance(finder, TorchvisionOpsFinder) for finder in sys.meta_path):
        sys.meta_path.append(TorchvisionOpsFinder())


def is_substituted() -> bool:
    """Whether ``mmcv.ops`` runs on torchvision's operators, not on mmcv's own. Imports mmcv."""
    spec = find_spec(MODULE)
    return spec is not None and spec.origin == str(SUBSTITUTE)
