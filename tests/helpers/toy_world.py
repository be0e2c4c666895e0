"""Toy worlds of a few images, and the hashes of their files."""

import hashlib
from pathlib import Path
from typing import Any

from lightvit_dense.datasets.toyworld import WorldReport, WorldSpec, build_world


def build(root: Path, *layouts: str, spec: WorldSpec | None = None, **sizes: Any) -> WorldReport:
    """Build a world in this process, of a spec or of images of 64 px with sizes besides."""
    spec = spec or WorldSpec(**(dict(image_size=64, val=2, unlabeled=0) | sizes))
    return build_world(root, spec, layouts or ('coco',), workers=0, progress=False)


def digest(root: Path) -> dict[str, str]:
    """Hash every file but the marker."""
    files = sorted(p for p in root.rglob('*') if p.is_file() and p.name != 'toyworld.json')
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
