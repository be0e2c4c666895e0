"""The toy world: real objects composed on real photographs, written in real datasets' layouts."""

from .assets import CLASSES, DEFAULT_CLASSES, PALETTE, ToyWorldError
from .compose import Scene, SceneSpec, compose
from .spec import WorldSpec, make_portrait, make_scene
from .world import LAYOUTS, WorldReport, build_world

__all__ = [
    'CLASSES',
    'DEFAULT_CLASSES',
    'LAYOUTS',
    'PALETTE',
    'Scene',
    'SceneSpec',
    'ToyWorldError',
    'WorldReport',
    'WorldSpec',
    'build_world',
    'compose',
    'make_portrait',
    'make_scene',
]
