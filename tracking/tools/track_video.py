r"""Follow targets through a video, a folder of frames, or what a camera sees.

``--attention`` draws what the network looks at in some frames, block by block: which candidates are
eliminated, and the attention of the template to the others.

Example:
    python -m tracking.tools.track_video walk.mp4 --config CONFIG.py --checkpoint CHECKPOINT.pth \
        --box 120 80 60 140 --out followed.mp4 --txt boxes.txt
    python -m tracking.tools.track_video walk.mp4 --config CONFIG.py --checkpoint CHECKPOINT.pth \
        --box 120 80 60 140 --box 300 90 50 120 --out followed.mp4 --txt boxes.txt
    python -m tracking.tools.track_video walk.mp4 --config CONFIG.py --checkpoint CHECKPOINT.pth \
        --box 120 80 60 140 --attention pictures --attention-frames 20 40 --frames 41
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_dense.apis.arguments import add_cfg_options
from lightvit_dense.apis.configs import load_config
from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.io import atomic_write, write_json
from lightvit_dense.visualization import write_image

from ..runtime.results import box_line
from ..runtime.tracker import Tracker, TrackResult
from ..runtime.video import AnnotatedVideo, FrameSource, select_box
from ..visualization import attention_picture
from .options import add_backend, add_lost, check_positive, show_progress


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('video', help='video file, folder of frames, or number of a camera, such as 0')
    add('--config', help='config of the tracker')
    add('--checkpoint', help='its weights')
    add('--model', metavar='FILE', help='an exported tracker, instead of config and checkpoint')
    text = 'target in the first frame that is read: left and upper edge, width, height in pixels'
    text += '; once for each target'
    target = parser.add_mutually_exclusive_group(required=True)
    shape: Any = dict(nargs=4, type=float, metavar=tuple('XYWH'))
    target.add_argument('--box', action='append', **shape, help=text)
    target.add_argument('--select', action='store_true', help='draw it with the mouse')
    add('--out', metavar='FILE.mp4', help='annotated video to write')
    text = 'boxes to write, a line x,y,w,h a frame; of several targets FILE_1, FILE_2, ...'
    add('--txt', metavar='FILE', help=text)
    add('--json', metavar='FILE', help='boxes, scores and seconds of all frames to write')
    add('--attention', metavar='DIR', help='folder for pictures of attention, and their numbers')
    text = 'their frames, counted from 0 (default: the one after the first that is read)'
    add('--attention-frames', nargs='+', type=int, metavar='N', help=text)
    add('--start', type=int, default=0, metavar='N', help='leave out N frames')
    add('--frames', type=int, metavar='N', help='stop after N frames')
    add('--threads', type=int, help='threads of the network')
    add_lost(parser)
    add_backend(parser)
    add_cfg_options(parser)
    args = check_positive(parser, parser.parse_args(argv), 'threads', 'frames')
    if args.attention and len(args.box or ()) > 1:
        parser.error('--attention shows what the network looks at for one target: give one --box')
    if args.model:
        for name in ('config', 'checkpoint', 'cfg_options', 'exported', 'attention'):
            if getattr(args, name):
                parser.error(f'--{name.replace("_", "-")} does not go with --model')
    elif not (args.config and args.checkpoint):
        parser.error('give --config and --checkpoint, or an exported tracker by --model')
    taken = {Path(args.video).resolve(): 'the video'}
    for option in ('out', 'txt', 'json'):
        path = getattr(args, option)
        other = taken.setdefault(Path(path).resolve(), f'--{option}') if path else f'--{option}'
        if other != f'--{option}':
            parser.error(f'--{option} {path} would overwrite {other}; give another name')
    if args.attention_frames and not args.attention:
        parser.error('--attention-frames needs --attention DIR, where the pictures go')
    if args.attention and not args.attention_frames:
        args.attention_frames = [args.start + 1]
    last = args.start + (args.frames or sys.maxsize) - 1
    for number in args.attention_frames or ():
        if not args.start < number <= last:
            parser.error(
                f'--attention-frames {number}: the target is given in frame {args.start} and '
                'followed in those after it, up to --frames; name one of these'
            )
    return args


def follow(
    tracker: Tracker,
    source: FrameSource,
    args: argparse.Namespace,
    look: Callable[[int, np.ndarray], None],
) -> tuple[list[list[dict[str, Any]]], UserError | None]:
    """Follow targets through all frames, or the first ones; show the progress.

    ``look`` is called with the number of a frame and the frame, before targets are looked for in
    it. Returns 'frame', 'box', 'score', 'seconds' and perhaps 'lost' of each target in each frame,
    and what ended it early.
    """
    found: list[list[dict[str, Any]]] = []
    error, video, frames = None, None, args.frames
    total = min(len(source) or frames, frames) if frames else len(source)
    try:
        with show_progress(f'following in {source.path.name}') as tell:
            for number, frame in enumerate(source, source.start):
                if found:
                    look(number, frame)
                elif args.select:
                    args.box = [select_box(frame)]
                began = time.perf_counter()
                if not found:
                    tracker.init(frame, args.box)
                    results = [TrackResult(np.asarray(box), 1.0) for box in args.box]
                else:
                    results = tracker.update_all(frame)
                seconds = round(time.perf_counter() - began, 6)
                entries: list[dict[str, Any]] = []
                for one in results:
                    box = [round(float(value), 4) for value in one.box]
                    entries.append(
                        dict(frame=number, box=box, score=round(one.score, 6), seconds=seconds)
                    )
                    if args.lost_below is not None:
                        entries[-1]['lost'] = one.score < args.lost_below
                if args.out is not None:
                    video = video or AnnotatedVideo(args.out, source.fps)
                    texts = [
                        f'{e["score"]:.2f}{"  lost" if e.get("lost") else ""}' for e in entries
                    ]
                    boxes = np.stack([one.box for one in results])
                    video.add(frame, boxes, '  '.join([str(number), *texts]))
                found.append(entries)
                tell(len(found), total)
                if len(found) == frames:
                    break
    except KeyboardInterrupt:  # the way to end a camera
        if not (found and source.is_camera):
            raise
    except UserError as problem:
        error = problem
        if not found:
            raise
    finally:
        if video is not None and found:
            video.close()
    return found, error


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parse_args(argv)
    source = FrameSource(args.video, args.start)
    if args.out:
        AnnotatedVideo(args.out, source.fps)  # refuses a name it cannot write before the work
    model = args.model or load_config(args.config, args.cfg_options)
    options = (args.device, args.backend, args.threads, args.exported)
    tracker = Tracker(model, args.checkpoint, *options)
    missing, pictures = set(args.attention_frames or ()), []

    def look(number: int, frame: np.ndarray) -> None:
        if number in missing:
            attention = tracker.attention(frame)
            pictures.append(Path(args.attention, f'{number:06d}.png'))
            write_image(pictures[-1], attention_picture(attention))
            numbers = pictures[-1].with_suffix('.npz')
            np.savez(numbers, allow_pickle=False, **attention.to_arrays())
            missing.remove(number)

    began = time.perf_counter()
    found, error = follow(tracker, source, args, look)
    elapsed, timings = time.perf_counter() - began, tracker.timings
    targets = [list(frames) for frames in zip(*found, strict=True)]
    texts = [Path(args.txt)] if args.txt else []
    if texts and len(targets) > 1:
        stem, ending = texts[0].stem, texts[0].suffix
        texts = [texts[0].with_name(f'{stem}_{n}{ending}') for n in range(1, 1 + len(targets))]
    for path, frames in zip(texts, targets, strict=False):
        atomic_write(path, ''.join(box_line(frame['box']) for frame in frames).encode())
    if args.json:
        names = ('model',) if args.model else ('config', 'checkpoint', 'backend')
        given = {name: getattr(args, name) for name in names}
        about = {'video': str(Path(args.video)), **given, 'fps': round(timings.fps, 3)}
        one = {'frames': targets[0]}
        several = {'targets': [{'frames': frames} for frames in targets]}
        write_json(args.json, {**about, **(several if len(targets) > 1 else one)})
    if timings.frames:
        parts = ', '.join(
            f'{name} {1000 * seconds / timings.frames:.1f} ms'
            for name, seconds in timings.total.items()
        )
        print(f'tracker: {timings.fps:.1f} frames/s ({parts})')
    if args.lost_below is not None:
        for frames in targets:
            lost = [frame['frame'] for frame in frames if frame['lost']]
            first = f', first in {lost[0]}' if lost else ''
            print(f'lost in {len(lost)} of {len(found)} frames{first}')
    print(f'in all: {len(found) / elapsed:.1f} frames/s, reading and drawing included')
    for path in filter(None, (args.out, *texts, args.json, *pictures)):
        print(f'written: {path}')
    if error is not None:
        print(f'stopped after {len(found)} frames, which are written', file=sys.stderr)
        raise error
    if missing:
        raise UserError(
            f'--attention-frames {min(missing)}: the last frame of {args.video} is '
            f'{found[-1][0]["frame"]}; name an earlier one'
        )
    return 0


if __name__ == '__main__':
    run_tool(main)
