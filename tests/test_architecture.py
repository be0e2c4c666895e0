"""Imports follow the diagram of docs/architecture.md: downwards only, and without a circle."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ('lightvit_dense', 'tracking')


def module_files() -> dict[str, Path]:
    """Return the file of every module of the two packages."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob('*.py'):
            parts = path.relative_to(ROOT).with_suffix('').parts
            found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


FILES = module_files()


def imported(module: str, path: Path) -> set[str]:
    """Return the modules of ours that a module imports, at its top or inside a function."""
    found = set()
    package = module if path.name == '__init__.py' else module.rpartition('.')[0]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parents = package.split('.')[: len(package.split('.')) - node.level + 1]
                base = '.'.join([*parents, *([node.module] if node.module else [])])
            names = [base, *(f'{base}.{alias.name}' for alias in node.names)]
            # A module of the package is meant, not the package itself.
            names = [name for name in names[1:] if name in FILES] or names[:1]
        found |= {name for name in names if name in FILES}
    return found


def folder(module: str) -> str:
    """Return the folder of a module; files beside the packages stand for themselves."""
    path = FILES[module]
    name = module if path.name == '__init__.py' else module.rpartition('.')[0]
    return module if name in PACKAGES else name


def room(module: str) -> str:
    """Return the name that the diagram has for a module's place."""
    return '.'.join(folder(module).split('.')[:2])


# A package's __init__ gathers what others import from it; it is no part of the folder itself.
ARROWS = [
    (module, target)
    for module, path in FILES.items()
    if path.name != '__init__.py'
    for target in imported(module, path)
]


def layers() -> dict[str, int]:
    """Return the line of every room in the diagram, counted from the top."""
    text = (ROOT / 'docs/architecture.md').read_text(encoding='utf-8')
    diagram = re.search(r'<!-- import-order -->\n```text\n(.*?)```', text, re.S).group(1)
    found = {}
    for number, line in enumerate(diagram.splitlines()):
        for name in re.split(r'\s{2,}', re.sub(r'[│─▼]', ' ', line).strip()):
            if name:
                found[name if name.startswith(PACKAGES) else f'lightvit_dense.{name}'] = number
    return found


def test_every_folder_is_in_the_diagram() -> None:
    rooms = {room(module) for module in FILES} - set(PACKAGES)
    assert rooms - set(layers()) == set()
    assert set(layers()) - rooms - {'lightvit_dense.tools'} == set()


def test_imports_point_down() -> None:
    order = layers()
    upward = [
        f'{module} imports {target}'
        for module, target in ARROWS
        if target not in PACKAGES and room(module) != room(target)
        if order[room(module)] >= order[room(target)]
    ]
    assert not upward


def test_folders_have_no_circle() -> None:
    below = defaultdict(set)
    for module, target in ARROWS:
        if target not in PACKAGES and folder(module) != folder(target):
            below[folder(module)].add(folder(target))
    remaining = dict(below)
    while True:  # take away what imports nothing that is left, and what nothing left imports
        used = set().union(*remaining.values()) if remaining else set()
        free = [n for n, targets in remaining.items() if not targets & set(remaining)]
        free += [n for n in remaining if n not in used and n not in free]
        if not free:
            break
        for name in free:
            del remaining[name]
    assert not remaining, f'a circle among {sorted(remaining)}'


@pytest.mark.parametrize('package', PACKAGES)
def test_packages_do_not_import_tools_or_tests(package: str) -> None:
    pattern = re.compile(r'^\s*(?:from|import) (?:tools|tests)\b', re.M)
    wrong = [
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob('*.py')
        if pattern.search(path.read_text(encoding='utf-8'))
    ]
    assert not wrong
