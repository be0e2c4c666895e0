"""Make a real test sequence with measured boxes: ViSP's hand-held board of five white spots.

The pictures are those of Debian's package ``visp-images-data`` (GPL-2, 501 grey frames of 384x288
pixels, folder ``mire-2``). The target is the pattern of one disc and four dots on a dark board,
which threshold and connected components find; frames in which they do not, because of glare, are
marked as absent. The output is read by ``tracking.CustomSequences``.

Example:
    apt-get download visp-images-data && dpkg-deb -x visp-images-data_*.deb visp
    python tools/dataset_converters/make_mire_sequence.py \
        visp/usr/share/visp-images-data/ViSP-images/mire-2 data/real/mire
"""

import argparse
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.utils.progress import Display

# Where the board shines it is nearly as bright as the spots: further thresholds follow.
THRESHOLDS = ((170, 110), (200, 160), (235, 200))
DOT_AREA, DISC_AREA = (25, 700), (500, 8000)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('source', type=Path, help='folder of image.0001.pgm and so on')
    parser.add_argument('out', type=Path, help='folder of the sequence')
    return parser.parse_args(argv)


def find_pattern(image: np.ndarray) -> np.ndarray | None:
    """Find the disc and its four dots (uint8 [H, W])."""
    tries = (_find_at(image, *levels) for levels in THRESHOLDS)
    return next((found for found in tries if found is not None), None)


def _find_at(image: np.ndarray, threshold: int, dark: int) -> np.ndarray | None:
    """Find the pattern as what is brighter than a threshold on what is darker than another."""
    bright = (image > threshold).astype(np.uint8)
    count, _, stats, centers = cv2.connectedComponentsWithStats(bright, connectivity=8)
    spots = [i for i in range(1, count) if _is_spot(image, dark, stats[i])]
    areas = stats[:, cv2.CC_STAT_AREA]
    discs = [i for i in spots if DISC_AREA[0] <= areas[i] <= DISC_AREA[1]]
    for disc in sorted(discs, key=lambda i: -areas[i]):
        near = 2.0 * stats[disc, cv2.CC_STAT_WIDTH]
        dots = [
            i
            for i in spots
            if DOT_AREA[0] <= areas[i] <= min(DOT_AREA[1], areas[disc] / 3)
            and np.linalg.norm(centers[i] - centers[disc]) < near
        ]
        # Other things shine too: the disc lies in the middle of its own dots.
        width = stats[disc, cv2.CC_STAT_WIDTH]
        chosen = min(
            combinations(dots[:8], 4),
            key=lambda four: np.linalg.norm(centers[list(four)].mean(axis=0) - centers[disc]),
            default=None,
        )
        if chosen and _surround(centers[list(chosen)] - centers[disc], 0.4 * width):
            boxes = stats[[disc, *chosen], :4].astype(float)
            low = boxes[:, :2].min(axis=0)
            high = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
            return np.concatenate([low, high - low])
    return None


def _is_spot(image: np.ndarray, dark: int, stat: np.ndarray) -> bool:
    """Whether a bright component fills its ellipse and has a dark rim."""
    x, y, width, height, area = (int(value) for value in stat)
    if not DOT_AREA[0] <= area <= DISC_AREA[1] or area < 0.6 * width * height:
        return False
    rows, columns = image.shape
    if x < 3 or y < 3 or x + width > columns - 3 or y + height > rows - 3:
        return False
    window = np.s_[y - 3 : y + height + 3, x - 3 : x + width + 3]
    rim = np.ones((height + 6, width + 6), bool)
    rim[1:-1, 1:-1] = False
    return bool((image[window][rim] < dark).mean() > 0.9)


def _surround(offsets: np.ndarray, tolerance: float) -> bool:
    """Whether four offsets [4, 2] lie all around the origin, with their mean near it."""
    angles = np.sort(np.arctan2(offsets[:, 1], offsets[:, 0]))
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    return bool(gaps.max() < np.pi and np.linalg.norm(offsets.mean(axis=0)) < tolerance)


def convert(source: Path, out: Path) -> tuple[int, int]:
    """Write the sequence."""
    files = sorted(source.glob('image.*.pgm'))
    if not files:
        raise UserError(f'{source} holds no image.*.pgm; give the folder mire-2 of the package')
    (out / 'img').mkdir(parents=True, exist_ok=True)
    display = Display(sys.stderr)
    display.start(1, 1, 'finding the pattern')
    boxes: list[np.ndarray | None] = []
    for number, file in enumerate(files, start=1):
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise UserError(f'{file}: this picture cannot be read; unpack the package again')
        boxes.append(find_pattern(image))
        if not cv2.imwrite(str(out / 'img' / f'{number:08d}.png'), image):
            raise UserError(f'{out}: pictures cannot be written there')
    display.close()
    start = next((i for i, box in enumerate(boxes) if box is not None), None)
    if start != 0:
        raise UserError(f'{files[0]}: the pattern is not found in it, so there is no first box')
    rows = np.array([np.zeros(4) if box is None else box for box in boxes])
    lines = [','.join(f'{value:g}' for value in row) for row in rows]
    (out / 'groundtruth.txt').write_text('\n'.join(lines) + '\n')
    absent = [str(int(box is None)) for box in boxes]
    (out / 'absence.label').write_text('\n'.join(absent) + '\n')
    return len(boxes), absent.count('0')


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    frames, boxed = convert(args.source, args.out)
    print(f'{args.out}: {frames} frames, the target is boxed in {boxed} of them')


if __name__ == '__main__':
    sys.exit(run_tool(main))
