"""The command ``lightvit`` with a subcommand for each tool.

Example:
    lightvit train coco/maskrcnn_dmae_tiny --gpus 8 --amp
"""

import argparse
import ast
import os
import pkgutil
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lightvit_dense import __version__
from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.utils.home import COMMANDS, home, installed_names, tools

LAUNCHERS = {'train': 1, 'test': 2}
"""Subcommands with a process for each GPU, and the place of that number in their scripts."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    word, *rest = [*(sys.argv[1:] if argv is None else argv)] or ['--help']
    if word in ('-h', '--help', 'help'):
        print(overview())
        return 0
    if word == '--version':
        print(f'lightvit_dense {__version__}')
        return 0
    try:
        return run(word.replace('-', '_'), rest) or 0
    except UserError as error:
        print(f'error: {installed_names(str(error))}', file=sys.stderr)
        return error.exit_status


def run(word: str, words: list[str]) -> int | None:
    """Run the tool of a subcommand as its file does."""
    known = tools()
    if word not in known:
        hint = did_you_mean(word, known)
        raise UserError(f'lightvit has no command {word!r}; lightvit --help lists them.{hint}')
    if word in LAUNCHERS:
        parser = argparse.ArgumentParser(f'lightvit {word}', add_help=False, allow_abbrev=False)
        parser.add_argument('--gpus', type=int)
        given, words = parser.parse_known_args(words)
        if given.gpus is not None:
            return launch(word, words, given.gpus)
    sys.argv = [f'lightvit {word}', *words]
    file = known[word]
    if file.parent.parent.name == 'tracking':  # modules of a package
        return pkgutil.resolve_name(f'tracking.tools.{file.stem}:main')()
    return runpy.run_path(str(file))['main']()


def launch(word: str, words: list[str], gpus: int) -> int:
    """Start a process for each GPU (with 0, one on the CPU) by the launcher in ``tools/``."""
    script, place = home() / f'tools/dist_{word}.sh', LAUNCHERS[word]
    command = [str(script), *words[:place], str(gpus), *words[place:]]
    return subprocess.call(command, env=os.environ | {'PYTHON': sys.executable})


def overview() -> str:
    """Return the list of commands, a line each."""
    lines = {word: f'  {word:22}{_summary(file)}' for word, file in tools().items()}
    return '\n'.join(
        [
            'usage: lightvit COMMAND ...\n',
            *(line for word, line in lines.items() if word in COMMANDS),
            '\nother tools',
            *(line for word, line in lines.items() if word not in COMMANDS),
            '\nlightvit COMMAND --help tells the options; train and test take --gpus N too.',
            f'Configs go by names such as coco/maskrcnn_dmae_tiny, in {home() / "configs"}.',
        ]
    )


def _summary(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))) or '').split('\n')[0]


if __name__ == '__main__':
    sys.exit(main())
