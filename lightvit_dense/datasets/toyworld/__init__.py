"""The toy world: real objects composed on real photographs, written in real datasets' layouts."""

from .assets import CLASSES, DEFAULT_CLASSES, PALETTE, ToyWorldError
from .compose import Scene, SceneSpec, compose
from .spec import OBJECT_SETS, WorldSpec, make_portrait, make_scene
from .stamps import KINDS, fetch_stamps
from .world import LAYOUTS, WorldReport, build_world

__all__ = [
    'CLASSES',
    'DEFAULT_CLASSES',
    'KINDS',
    'LAYOUTS',
    'OBJECT_SETS',
    'PALETTE',
    'Scene',
    'SceneSpec',
    'ToyWorldError',
    'WorldReport',
    'WorldSpec',
    'build_world',
    'compose',
    'fetch_stamps',
    'make_portrait',
    'make_scene',
]
