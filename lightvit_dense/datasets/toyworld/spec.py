"""What a toy world is made of, and the scenes that follow from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from . import assets
from .compose import Scene, SceneSpec, compose, make_background
from .stamps import KINDS, load_stamps, stamp_sources

SPLITS = ('train', 'val', 'unlabeled')
OBJECT_SETS = {'toys': assets.CLASSES, 'stamps': KINDS}
"""Where objects come from, with the classes there are."""
UNLABELED_OBJECTS = (3, 8)
"""Fewest and most objects in an image for pre-training."""
MIN_SIDE, MAX_SIDE = 18.0, 0.66
"""Smallest object in pixels, as the root of its mask's area; largest as a part of the image."""
_STRANGERS = ('val', 'test')
_SHOW_KINDS = ('chelsea', 'motorcycle_left', 'motorcycle_right', 'rocket')
"""Photographs that show a mammal or a vehicle, and so are no background of stamps."""


@dataclass(frozen=True)
class WorldSpec:
    """A toy world, down to its last byte."""

    seed: int = 0
    image_size: int = 128  # height and width of the images in pixels
    train: int = 64  # labelled training images
    val: int = 100  # validation images, on photographs that no other split shows
    unlabeled: int = 3000  # images for pre-training
    portraits: int = 3000  # training images of one object each, for classification
    # 'toys': a dozen cut-outs, the same in all splits; 'stamps': hundreds, of which those in 'val'
    # and in test videos are in no other split
    object_set: str = 'toys'
    # object classes, a choice out of those of the set in any order; all kinds of stamps by default
    classes: tuple[str, ...] = assets.DEFAULT_CLASSES
    # fewest and most objects in a labelled image. Crowded images may hold fewer
    objects: tuple[int, int] = (2, 6)
    videos: int = 300  # training videos; see :mod:`.video`
    test_videos: int = 20  # test videos, on photographs that no training video shows
    video_frames: int = 20  # frames of a training video
    test_frames: int = 60  # frames of a test video
    video_size: tuple[int, int] = (160, 192)  # height and width of the videos in pixels
    stamps: str = ''  # folder of the unpacked stamps; no part of what the world is

    def __post_init__(self) -> None:
        for name in ('classes', 'objects', 'video_size'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        sets = ', '.join(OBJECT_SETS)
        _require(
            self.object_set in OBJECT_SETS,
            f'object_set: unknown {self.object_set!r}; choose from {sets}',
        )
        if self.object_set == 'stamps' and self.classes == assets.DEFAULT_CLASSES:
            object.__setattr__(self, 'classes', KINDS)
        known = OBJECT_SETS[self.object_set]
        unknown = sorted(set(self.classes) - set(known))
        _require(not unknown, f'classes: unknown {unknown}; choose from {list(known)}')
        _require(len(self.classes) > 0, 'classes: at least one is needed')
        _require(len(set(self.classes)) == len(self.classes), 'classes: one is named twice')
        _require(self.seed >= 0, 'seed: must not be negative')
        for name in (*SPLITS, 'portraits', 'videos', 'test_videos'):
            _require(getattr(self, name) >= 0, f'{name}: must not be negative')
        low, high = self.objects
        _require(1 <= low <= high, f'objects: needs 1 <= fewest <= most, got {low}, {high}')
        smallest = int(np.ceil(MIN_SIDE / MAX_SIDE))
        _require(
            self.image_size >= smallest,
            f'image_size: {self.image_size} is too small for these objects, at least {smallest}',
        )
        for name in ('video_frames', 'test_frames'):
            _require(getattr(self, name) >= 2, f'{name}: a video has two frames at least')
        _require(
            len(self.video_size) == 2 and min(self.video_size) >= 96,
            f'video_size: needs height and width of 96 at least, got {list(self.video_size)}',
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, the same before and after JSON."""
        data = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        del data['stamps']
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> 'WorldSpec':
        """Build from :meth:`to_dict`'s data; that of older versions has fields that are gone."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in dict(data).items() if name in known})

    def photos(self, split: str) -> tuple[assets.Photo, ...]:
        """Return the photographs that are backgrounds of a split."""
        photos = assets.load_photos('val' if split in _STRANGERS else 'train')
        if self.object_set == 'toys':
            return photos
        return tuple(p for p in photos if p.source.name.partition('/')[2] not in _SHOW_KINDS)

    def cutouts(
        self, split: str, classes: tuple[str, ...] | None = None
    ) -> tuple[assets.Cutout, ...]:
        """Return the cut-outs that pictures of a split may show, of all classes or of some."""
        classes = classes or self.classes
        if self.object_set == 'toys':
            return assets.load_cutouts(classes)
        return load_stamps(self.stamps, classes, 'val' if split in _STRANGERS else 'train')

    def sources(self) -> dict[str, assets.Source]:
        """Return all sources of a world's pixels by name."""
        sources = [
            photo.source for split in ('train', 'val') for photo in assets.load_photos(split)
        ]
        if self.object_set == 'toys':
            sources += [cutout.source for cutout in assets.load_cutouts(assets.CLASSES)]
        else:
            sides = ('train', 'val')
            sources += [s for side in sides for _, s in stamp_sources(self.classes, side)]
        return {source.name: source for source in sources}


def make_scene(spec: WorldSpec, split: str, index: int) -> tuple[Scene, list[str]]:
    """Make a scene by its place in a split, from 0; name its sources."""
    rng = np.random.default_rng([spec.seed, SPLITS.index(split), index])
    size = (spec.image_size, spec.image_size)
    background, sources = make_background(rng, spec.photos(split), size)
    objects = UNLABELED_OBJECTS if split == 'unlabeled' else spec.objects
    recipe = SceneSpec(objects, side=(MIN_SIDE, MAX_SIDE * spec.image_size))
    scene = compose(rng, background, spec.cutouts(split), recipe)
    sources += [instance.source for instance in scene.instances]
    return scene, list(dict.fromkeys(source.name for source in sources))


def make_portrait(spec: WorldSpec, split: str, index: int) -> tuple[Scene, list[str]]:
    """Make a scene that one instance dominates, classes in turn; name its sources."""
    # Streams of their own: portraits are no part of the scenes of any split.
    rng = np.random.default_rng([spec.seed, len(SPLITS) + (split == 'val'), index])
    size = (spec.image_size, spec.image_size)
    name = sorted(spec.classes)[index % len(spec.classes)]
    low = max(MIN_SIDE, 0.4 * spec.image_size)
    side = (low, max(low, 0.75 * spec.image_size))
    recipe = SceneSpec(objects=(1, 1), side=side, large_share=0.0, min_visible=0.75)
    while True:
        background, sources = make_background(rng, spec.photos(split), size)
        scene = compose(rng, background, spec.cutouts(split, (name,)), recipe)
        if scene.instances:
            sources.append(scene.instances[0].source)
            return scene, list(dict.fromkeys(source.name for source in sources))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise assets.ToyWorldError(message)
