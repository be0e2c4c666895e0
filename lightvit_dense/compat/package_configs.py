"""Inheriting from the configurations that this package ships, from any folder.

Symptom: ``_base_ = 'lightvit_dense::_base_/tasks/maskrcnn_tiny.py'`` fails. mmengine inherits from
OpenMMLab's own packages alone, and there it makes the package's scope that of every type.

Cure: resolve names of this package here: below ``.mim/configs`` of an installed package, below
``configs`` of a clone. Our types have their scopes already.
"""

from pathlib import Path

from mmengine.config import Config

_PREFIX = 'lightvit_dense::'
_PACKAGE = Path(__file__).resolve().parents[1]
_RESOLVE = Config._get_cfg_path


def _get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
    """Get the config path from the current or external package."""
    if not cfg_path.startswith(_PREFIX):
        return _RESOLVE(cfg_path, filename)
    shipped = _PACKAGE / '.mim'
    folder = shipped if shipped.is_dir() else _PACKAGE.parent
    return str(folder / 'configs' / cfg_path.removeprefix(_PREFIX)), None


def install() -> None:
    """Make ``lightvit_dense::`` resolve; may be called repeatedly."""
    Config._get_cfg_path = staticmethod(_get_cfg_path)
