"""Write the documents' tables, and build pages and API as a static site.

What stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` in README.md and docs/, and
the figures of the model index, are written from lightvit_dense/suite/papers.yml and results/*.json.
To publish the results of a suite, copy its results.json to results/NAME.json.

For the site, pages are copied, and their links turned: to pages, to pictures, or to a listing of
the file that they name. The API is read from the sources, which are not imported. Whatever does not
fit (a link that leads nowhere, a page that no menu has, an argument that is not there) is an error.

Example:
    python tools/build_docs.py --out work_dirs/docs
    python tools/build_docs.py --tables
"""

import argparse
import importlib.util
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.suite.documents import write_documents

ROOT = Path(__file__).resolve().parents[1]
MENU: dict[str, tuple[str, ...]] = {
    'Start': (
        'README.md',
        'docs/getting_started.md',
        'docs/your_data.md',
        'docs/data.md',
        'docs/configs.md',
    ),
    'Tasks': (
        'docs/pretraining.md',
        'docs/classification.md',
        'docs/dense.md',
        'docs/tracking.md',
        'docs/deploy.md',
        'docs/checkpoints.md',
        'docs/engine.md',
        'docs/gpu.md',
    ),
    'Experiments': ('docs/suite.md', 'docs/analyses.md'),
    'Results': (
        'docs/model_zoo.md',
        'docs/papers.md',
        'docs/limits.md',
        'docs/small_scale_study.md',
    ),
    'Development': ('docs/extending.md', 'docs/architecture.md', 'CONTRIBUTING.md'),
    'History': ('CHANGELOG.md',),
}
"""The site's menu: section -> documents of the repository."""
PACKAGES = ('lightvit_dense', 'lightvit_dense_runtime', 'tracking')
LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.cff': 'yaml', '.json': 'json'}
PICTURES = {'.png', '.jpg', '.jpeg', '.svg', '.gif'}

_FENCE_OR_LINK = re.compile(r'(?P<fence>^( *)```.*?^\2```$)|(?<=\]\()[^)\s]+(?=\))', re.M | re.S)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--out', default='work_dirs/docs', metavar='DIR', help='the site goes to DIR/site')
    add('--no-api', action='store_true', help='the pages alone, in a few seconds: to write them')
    add('--tables', action='store_true', help='only write the tables')
    return parser.parse_args(argv)


def menu(root: Path) -> dict[str, list[str]]:
    """Return the menu; a UserError names documents that are missing, or that it lacks."""
    sections = {title: list(documents) for title, documents in MENU.items()}
    known = {name for documents in sections.values() for name in documents}
    missing = sorted(name for name in known if not (root / name).is_file())
    if missing:
        raise UserError(f'the menu names documents that do not exist: {", ".join(missing)}')
    pages = {f'docs/{path.name}' for path in (root / 'docs').glob('*.md')}
    if pages - known:
        raise UserError(
            f'no menu has {", ".join(sorted(pages - known))}; add it to MENU of tools/build_docs.py'
        )
    return sections


class Staging:
    """The site's sources: pages with turned links, pictures, and listings of files."""

    def __init__(self, root: Path, target: Path, documents: list[str]) -> None:
        self.root, self.target = root, target
        self.pages = {name: name.removeprefix('docs/').lower() for name in documents}
        self.pages |= {'README.md': 'index.md'}

    def add(self, document: str) -> None:
        """Copy a document, its pictures and the files that it links to."""
        text = (self.root / document).read_text(encoding='utf-8')
        # Links in code are no links.
        turned = _FENCE_OR_LINK.sub(
            lambda found: found[0] if found['fence'] else self._target_of(found[0], document), text
        )
        self.write(self.pages[document], turned)

    def _target_of(self, link: str, document: str) -> str:
        """Return what a link of a document is in the site."""
        name, _, anchor = link.partition('#')
        if not name or re.match(r'[a-z]+:', link):
            return link
        file = (self.root / document).parent.joinpath(name).resolve()
        if not file.is_file() or not file.is_relative_to(self.root):
            raise UserError(f'{document} links to {link}, which is no file of the repository')
        place = file.relative_to(self.root).as_posix()
        page = self.pages.get(place) or self._attach(file, place)
        relative = os.path.relpath(page, Path(self.pages[document]).parent)
        return relative + (f'#{anchor}' if anchor else '')

    def _attach(self, file: Path, place: str) -> str:
        """Copy a picture, or list a file on a page of its own."""
        if file.suffix in PICTURES:
            page = place.removeprefix('docs/')
            self.write(page, file.read_bytes())
            return page
        page = f'files/{place}.md'
        language = LANGUAGES.get(file.suffix, 'text')
        code = file.read_text(encoding='utf-8').rstrip()
        self.write(page, f'# {place}\n\n````{language}\n{code}\n````\n')
        return page

    def write(self, page: str, content: str | bytes) -> None:
        """Write a page or a picture."""
        path = self.target / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def api_pages(root: Path) -> dict[str, str]:
    """Return a page for every package: its modules by name, for mkdocstrings to fill in."""
    pages = {}
    for top in PACKAGES:
        for package in sorted(path.parent for path in (root / top).rglob('__init__.py')):
            dotted = package.relative_to(root).as_posix().replace('/', '.')
            modules = [p.stem for p in sorted(package.glob('*.py')) if not p.stem.startswith('_')]
            lines = [f'# {dotted}', '', f'::: {dotted}', '    options:', '      members: false', '']
            for module in modules:
                lines += [f'## {module}', '', f'::: {dotted}.{module}', '']
            pages[f'api/{dotted}.md'] = '\n'.join(lines)
    return pages


def stage(root: Path, source: Path, api: bool = True) -> list[dict[str, Any]]:
    """Fill the folder of the site's sources; return mkdocs' menu."""
    shutil.rmtree(source, ignore_errors=True)
    sections = menu(root)
    staging = Staging(root, source, [name for names in sections.values() for name in names])
    for document in staging.pages:
        staging.add(document)
    nav: list[dict[str, Any]] = [
        {title: [staging.pages[name] for name in names]} for title, names in sections.items()
    ]
    if api:
        pages = api_pages(root)
        for page, text in pages.items():
            staging.write(page, text)
        nav.append({'API': [{Path(p).stem.removeprefix('lightvit_dense.'): p} for p in pages]})
    return nav


def build(root: Path, out: Path, api: bool = True) -> Path:
    """Build the site by mkdocs, whose warnings are a UserError; return its first page."""
    if importlib.util.find_spec('mkdocs') is None:
        raise UserError("the documentation is built by mkdocs: pip install -e '.[dev]'")
    from mkdocs.commands.build import build as run_mkdocs
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort, ConfigurationError

    logging.basicConfig(level=logging.WARNING, format='%(levelname)s %(message)s')
    source, site = out.resolve() / 'source', out.resolve() / 'site'
    nav = stage(root, source, api)
    out.mkdir(parents=True, exist_ok=True)
    # mkdocs resolves plain names beside its file of settings.
    settings = out.resolve() / 'mkdocs.yml'
    text = (ROOT / 'tools/mkdocs.yml').read_text(encoding='utf-8')
    settings.write_text(text.replace('{root}', str(ROOT)), encoding='utf-8')
    try:
        config = load_config(str(settings), docs_dir=str(source), site_dir=str(site), nav=nav)
        run_mkdocs(config)
    except (Abort, ConfigurationError) as error:
        raise UserError(f'the documentation has faults, see the warnings above ({error})') from None
    return site / 'index.html'


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    for name in write_documents(ROOT):
        print(f'{name}: tables written anew')
    if not args.tables:
        print(build(ROOT, Path(args.out), not args.no_api))


if __name__ == '__main__':
    run_tool(main)
