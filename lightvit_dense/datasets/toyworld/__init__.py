"""The toy world: real objects composed on real photographs, written in real datasets' layouts."""

from .assets import CLASSES, ToyWorldError
from .spec import OBJECT_SETS, WorldSpec, make_portrait, make_scene
from .stamps import KINDS, fetch_stamps
from .world import LAYOUTS, WorldReport, build_world
