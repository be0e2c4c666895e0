"""Real photographs that installed packages carry."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

_FILES = {
    'astronaut': ('skimage', 'data/astronaut.png'),
    'brick': ('skimage', 'data/brick.png'),
    'cat': ('skimage', 'data/chelsea.png'),
    'china': ('sklearn', 'datasets/images/china.jpg'),
    'coffee': ('skimage', 'data/coffee.png'),
    'flower': ('sklearn', 'datasets/images/flower.jpg'),
    'rocket': ('skimage', 'data/rocket.jpg'),
}


def photo(name: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return a photograph, RGB or grey uint8, at a size (width, height) if asked."""
    package, path = _FILES[name]
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    image = Image.open(folder / path)
    image = image if image.mode == 'L' else image.convert('RGB')
    return np.asarray(image if size is None else image.resize(size, Image.Resampling.LANCZOS))
