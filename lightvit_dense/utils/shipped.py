"""Weights that are part of the package; each has a model card beside it."""

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / 'weights'


def shipped_weights() -> dict[str, Path]:
    """Return the files of the package's own weights by name."""
    return {path.stem: path for path in sorted(FOLDER.glob('*.safetensors'))}


def locate(path: str | os.PathLike) -> Path:
    """Return the file that a path, or the name of shipped weights, stands for."""
    path = Path(path).expanduser()
    return path if path.exists() else shipped_weights().get(str(path), path)
