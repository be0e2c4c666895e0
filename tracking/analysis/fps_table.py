"""Tables of what :mod:`.fps` has measured."""

from collections.abc import Mapping, Sequence
from typing import Any

TITLES = {
    'ostrack': "OSTrack's way",
    'plain': 'the model as trained',
    'torch': 'torch',
    'compiled': 'torch.compile',
    'onnx': 'ONNX Runtime',
    'onnx-int8': 'ONNX Runtime, 8 bits',
}
_HEAD = (
    'computed by',
    'frames/s',
    'ms (IQR)',
    'faster by',
    'crop ms',
    'network ms',
    'post ms',
    'GFLOP',
    'of the matmul rate',
    'box off by, px',
)


def _line(words: Sequence[str]) -> str:
    return f'| {" | ".join(words)} |'


def _cells(row: Mapping[str, Any], first: bool) -> list[str]:
    stages = [f'{1e3 * row["stages"][name]:.2f}' for name in ('crop', 'network', 'post')]
    eight_bits = row['way'] == 'onnx-int8'
    return [
        TITLES[row['way']],
        f'{row["fps"]:.1f}',
        f'{row["milliseconds"]:.1f} ({row["spread"]:.1f})',
        '' if first else f'{row["times_first"]:.2f}x',
        *stages,
        f'{row["gflop"]:.2f}',
        '' if eight_bits else f'{row["share"]:.0%}',
        '' if first else f'{row["box_error"]:.2g}',
    ]


def fps_markdown(results: Sequence[Mapping[str, Any]], where: str) -> str:
    """Write Markdown: one table for each tracker, number of threads and elimination.

    Args:
        results: Of :func:`~.fps.time_ways`, each with ``tracker``, ``threads`` and ``frames``.
        where: What was measured on, in words.
    """
    lines = [f'*measured* on {where}.']
    for found in results:
        for eliminate in dict.fromkeys(row['eliminate'] for row in found['rows']):
            some = [row for row in found['rows'] if row['eliminate'] == eliminate]
            how = 'with' if eliminate else 'without'
            threads = f'{found["threads"]} thread{"s" if found["threads"] > 1 else ""}'
            lines += [
                '',
                f'**{found["tracker"]}, {threads}, {how} candidate elimination** '
                f'(matmul rate {found["matmul_gflop_per_s"]:.0f} GFLOP/s)',
                '',
                _line(_HEAD),
                _line(['---'] + ['---:'] * (len(_HEAD) - 1)),
            ]
            lines += [_line(_cells(row, number == 0)) for number, row in enumerate(some)]
    lines += [
        '',
        'A frame is what `Tracker.update` does, decoding of the video left out: medians over all '
        'frames of all rounds, in which the ways take turns. "Faster by" is against the first row '
        'of the table, the median over rounds. GFLOP are those of products and convolutions that '
        'this way computes; their share is of the rate of a large product in the same run. Boxes '
        'are compared with those of the first row over the whole sequence.',
    ]
    return '\n'.join(lines) + '\n'
