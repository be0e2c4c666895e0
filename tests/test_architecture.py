"""Imports follow the diagram of docs/architecture.md: downwards only, and without a circle."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ('lightvit_dense', 'tracking')
RUNTIME = 'lightvit_dense_runtime'  # a folder without folders

FILES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for package in (*PACKAGES, RUNTIME)
    for path in (ROOT / package).rglob('*.py')
}


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


def test_every_folder_is_in_the_diagram_and_imports_point_down() -> None:
    order, rooms = layers(), {room(module) for module in FILES} - set(PACKAGES)
    # A package's __init__ gathers what others import from it; it is no part of the folder itself.
    arrows = [
        (module, target)
        for module, path in FILES.items()
        if path.name != '__init__.py'
        for target in imported(module, path)
        if target not in PACKAGES
    ]
    assert set(order) - {'lightvit_dense.tools'} == rooms
    for module, target in arrows:
        if room(module) != room(target):
            assert order[room(module)] < order[room(target)], f'{module} imports {target}'
    # Nor is there a circle among the folders of a room.
    below = defaultdict(set)
    for module, target in arrows:
        if folder(module) != folder(target):
            below[folder(module)].add(folder(target))
    TopologicalSorter(below).prepare()  # its CycleError shows the circle


def test_packages_do_not_import_tools_or_tests() -> None:
    pattern = re.compile(r'^\s*(?:from|import) (?:tools|tests)\b', re.M)
    assert [
        module for module, path in FILES.items() if pattern.search(path.read_text('utf-8'))
    ] == []
