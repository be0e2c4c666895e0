"""Inheriting from the configurations that mmsegmentation ships.

Symptom: ``_base_ = 'mmseg::_base_/models/upernet_r50.py'`` raises ``ModuleNotFoundError:
mmsegmentation is not installed`` although ``import mmseg`` works. mmengine asks for a distribution
named mmsegmentation; the maintained one is named onedl-mmsegmentation.

Cure: look the package up by the name it is imported by.
"""

from importlib.metadata import PackageNotFoundError, version


def install() -> None:
    """Make ``mmseg::`` resolve by import name where no distribution mmsegmentation is installed."""
    from mmengine.config.utils import MODULE2PACKAGE

    try:
        version(MODULE2PACKAGE['mmseg'])
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'
