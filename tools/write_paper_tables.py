"""Write the papers' tables into docs/papers.md from the figures that the library holds.

Only what stands between the marks of a table is replaced.

Example:
    python tools/write_paper_tables.py
"""

import argparse
import re
import sys
from pathlib import Path

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.suite.papers import INITS, TABLES, PaperTable
from lightvit_dense.suite.published_results import PUBLISHED, PublishedResult

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'papers.md'
SPEED = 'speed'
"""Name of the table of accuracy, size and speed."""
NOTHING = '\N{EN DASH}'
"""What stands where nothing is printed."""

_PART = re.compile(r'(<!-- table (\S+) -->\n\n)(.*?)(\n?<!-- /table -->)', re.S)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` when None.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--page', default=str(PAGE), metavar='FILE.md', help='page to write to')
    return parser.parse_args(argv)


def row(cells: list[str]) -> str:
    """Return a line of a Markdown table."""
    return f'| {" | ".join(cells)} |'


def accuracy_table(table: PaperTable) -> str:
    """Return a table of a paper as Markdown; a dash where nothing is printed."""
    lines = [row(['*paper*', *(column.title for column in table.columns)])]
    lines.append('|' + '---|' * (1 + len(table.columns)))
    for init, values in table.rows.items():
        numbers = [NOTHING if value is None else f'{value:.1f}' for value in values]
        lines.append(row([INITS[init], *numbers]))
    return '\n'.join(lines) + '\n'


def speed_table() -> str:
    """Return accuracy, size and speed of lightweight classifiers as Markdown."""
    heads = ['*paper*', 'params M', 'images/s', 'top-1', 'ReaL', 'V2', 'source']
    lines = [row(heads), '|' + '---|' * len(heads)]
    lines += [row(_speed_cells(result)) for result in PUBLISHED]
    return '\n'.join(lines) + '\n'


def _speed_cells(result: PublishedResult) -> list[str]:
    numbers = result.params_m, result.images_per_s, result.top1, result.real, result.v2
    source = 'submission' if 'ICLR' in result.source else 'code'
    return [result.label, *(NOTHING if n is None else f'{n:g}' for n in numbers), source]


def filled(text: str) -> str:
    """Return a page with its tables written anew.

    Raises:
        UserError: If the page lacks a table, or has one that nobody knows.
    """
    tables = {table.name: accuracy_table(table) for table in TABLES} | {SPEED: speed_table()}
    there = [part[2] for part in _PART.finditer(text)]
    wrong = sorted(set(tables) ^ set(there))
    if wrong or len(there) != len(tables):
        raise UserError(
            f'the page and lightvit_dense/suite/papers.py do not have the same tables: '
            f'{", ".join(wrong) or "one is there twice"}'
        )
    return _PART.sub(lambda part: f'{part[1]}{tables[part[2]]}\n<!-- /table -->', text)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit status."""
    page = Path(parse_args(argv).page)
    page.write_text(filled(page.read_text(encoding='utf-8')), encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
