r"""Follow a target through a video or a folder of frames.

``--attention`` draws what the network looks at in some frames, block by block: which candidates are
eliminated, and the attention of the template to the others.

Example:
    python -m tracking.tools.track_video walk.mp4 --config CONFIG.py --checkpoint CHECKPOINT.pth \
        --box 120 80 60 140 --out followed.mp4 --txt boxes.txt
    python -m tracking.tools.track_video walk.mp4 --config CONFIG.py --checkpoint CHECKPOINT.pth \
        --box 120 80 60 140 --attention pictures --attention-frames 20 40 --frames 41
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import DictAction

from lightvit_dense.apis.configs import load_config
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.utils.progress import Progress, make_display
from lightvit_dense.visualization import write_image

from ..runtime.results import box_line
from ..runtime.tracker import Tracker
from ..runtime.video import AnnotatedVideo, FrameSource
from ..visualization import attention_picture


@dataclass
class Trail:
    """What was found in the frames so far: boxes of 4 numbers in pixels, scores, seconds."""

    boxes: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, box: np.ndarray, score: float, seconds: float) -> None:
        """Append a frame."""
        self.boxes.append([round(float(value), 4) for value in box])
        self.scores.append(round(score, 6))
        self.seconds.append(seconds)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(
        prog='python -m tracking.tools.track_video',
        description='Follow a target through a video or a folder of frames',
    )
    parser.add_argument('video', help='video file, or folder of frames')
    parser.add_argument('--config', required=True, help='config of the tracker')
    parser.add_argument('--checkpoint', required=True, help='its weights')
    parser.add_argument(
        '--box',
        required=True,
        nargs=4,
        type=float,
        metavar=('X', 'Y', 'W', 'H'),
        help='target in the first frame that is read: left and upper edge, width, height in pixels',
    )
    parser.add_argument('--out', metavar='FILE.mp4', help='annotated video to write')
    parser.add_argument('--txt', metavar='FILE', help='boxes to write, a line x,y,w,h a frame')
    parser.add_argument(
        '--json', metavar='FILE', help='boxes, scores and seconds of all frames to write'
    )
    parser.add_argument(
        '--attention', metavar='DIR', help='folder for pictures of attention, and their numbers'
    )
    parser.add_argument(
        '--attention-frames',
        nargs='+',
        type=int,
        metavar='N',
        help='their frames, counted from 0 (default: the one after the first that is read)',
    )
    parser.add_argument('--start', type=int, default=0, metavar='N', help='leave out N frames')
    parser.add_argument('--frames', type=int, metavar='N', help='stop after N frames')
    parser.add_argument('--backend', default='torch', help='how the network is computed')
    parser.add_argument('--exported', metavar='DIR', help='exported files for the backend')
    parser.add_argument('--device', help="'cpu', 'cuda', 'cuda:1' (default: a GPU if there is one)")
    parser.add_argument('--threads', type=int, help='threads of the network')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override config values',
    )
    args = parser.parse_args(argv)
    for name in ('threads', 'frames'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} {value}: expected a positive number')
    if args.attention_frames and not args.attention:
        parser.error('--attention-frames needs --attention DIR, where the pictures go')
    args.attention_frames = set(
        args.attention_frames or ([args.start + 1] if args.attention else [])
    )
    last = args.start + (args.frames or sys.maxsize) - 1
    for number in sorted(args.attention_frames):
        if not args.start < number <= last:
            parser.error(
                f'--attention-frames {number}: the target is given in frame {args.start} and '
                'followed in those after it, up to --frames; name one of these'
            )
    return args


def follow(
    tracker: Tracker,
    source: FrameSource,
    box: list[float],
    out: str | None = None,
    frames: int | None = None,
    look: Callable[[int, np.ndarray], None] | None = None,
) -> tuple[Trail, UserError | None]:
    """Follow a target through all frames; show the progress.

    Args:
        tracker: The tracker.
        source: The frames.
        box: x, y, width, height in the first frame.
        out: Annotated video to write.
        frames: Frames to stop after.
        look: Called with the number of a frame, counted from 0 in the video, and the frame, before
            the target is looked for in it.

    Returns:
        What was found, and what ended it before the last frame, None if nothing.

    Raises:
        UserError: If there is nothing to begin with or the video cannot be written.
    """
    trail, error, video = Trail(), None, None
    total = min(len(source), frames) if frames else len(source)
    display = make_display()
    display.start(1, 1, f'following in {source.path.name}')
    try:
        for frame in source:
            if look is not None and trail.boxes:
                look(source.start + len(trail.boxes), frame)
            began = time.perf_counter()
            if not trail.boxes:
                tracker.init(frame, box)
                found, score = np.asarray(box), 1.0
            else:
                result = tracker.update(frame)
                found, score = result.box, result.score
            seconds, number = time.perf_counter() - began, len(trail.boxes) + 1
            if out is not None:
                video = video or AnnotatedVideo(out, source.fps)
                video.add(frame, found, f'{source.start + number - 1}  {score:.2f}')
            trail.add(found, score, seconds)
            display.update(Progress(number, max(total, number)))
            if number == frames:
                break
    except UserError as problem:
        error = problem
        if not trail.boxes:
            raise
    finally:
        if video is not None and trail.boxes:
            video.close()
        display.finish(f'{len(trail.boxes)} frames')
        display.close()
    return trail, error


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    args = parse_args(argv)
    source = FrameSource(args.video, args.start)
    if args.out:
        AnnotatedVideo(args.out, source.fps)  # refuses a name it cannot write before the work
    tracker = Tracker(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        args.device,
        args.backend,
        args.threads,
        args.exported,
    )
    missing, pictures = set(args.attention_frames), []

    def look(number: int, frame: np.ndarray) -> None:
        if number in missing:
            pictures.append(_draw_attention(tracker, frame, Path(args.attention, f'{number:06d}')))
            missing.remove(number)

    began = time.perf_counter()
    trail, error = follow(tracker, source, args.box, args.out, args.frames, look)
    elapsed = time.perf_counter() - began
    if args.txt:
        atomic_write(args.txt, ''.join(map(box_line, trail.boxes)).encode())
    if args.json:
        atomic_write(args.json, (json.dumps(_report(args, tracker, trail)) + '\n').encode())
    timings, count = tracker.timings, len(trail.boxes)
    if timings.frames:
        parts = ', '.join(
            f'{name} {1000 * seconds / timings.frames:.1f} ms'
            for name, seconds in timings.total.items()
        )
        print(f'tracker: {timings.fps:.1f} frames/s ({parts})')
    print(f'in all: {count / elapsed:.1f} frames/s, reading and drawing included')
    for path in filter(None, (args.out, args.txt, args.json, *pictures)):
        print(f'written: {path}')
    if error is not None:
        print(f'stopped after {count} frames, which are written', file=sys.stderr)
        raise error
    if missing:
        raise UserError(
            f'--attention-frames {min(missing)}: the last frame of {args.video} is '
            f'{args.start + count - 1}; name an earlier one'
        )
    return 0


def _draw_attention(tracker: Tracker, frame: np.ndarray, stem: Path) -> Path:
    """Write the picture and the numbers of a frame; returns the picture's file."""
    found = tracker.attention(frame)
    path = stem.with_suffix('.png')
    write_image(path, attention_picture(found))
    np.savez(stem.with_suffix('.npz'), allow_pickle=False, **found.to_arrays())
    return path


def _report(args: argparse.Namespace, tracker: Tracker, trail: Trail) -> dict:
    frames = [
        dict(frame=args.start + index, box=box, score=score, seconds=round(seconds, 6))
        for index, (box, score, seconds) in enumerate(
            zip(trail.boxes, trail.scores, trail.seconds, strict=True)
        )
    ]
    return dict(
        video=str(Path(args.video)),
        config=args.config,
        checkpoint=args.checkpoint,
        backend=args.backend,
        fps=round(tracker.timings.fps, 3),
        frames=frames,
    )


if __name__ == '__main__':
    sys.exit(run_tool(main))
