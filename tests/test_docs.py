"""The documentation builds without a warning, and its examples and tables hold."""

import logging
import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path

import griffe
import pytest

from lightvit_dense import registry
from lightvit_dense.errors import UserError
from lightvit_dense.suite.documents import write_documents
from lightvit_dense.suite.findings import TYPES as FINDINGS
from lightvit_dense.suite.findings import check_findings
from lightvit_dense.suite.spec import ANALYSES, ENTRIES, PARTS, Sweep, read_suite
from tools import build_docs
from tools.docs_roles import PlainRoles

ROOT = Path(__file__).parents[1]
CODE = '\n```python\nx[0](nothing.py)\n```\n'  # is left as it is


def small_repository(root: Path, text: str) -> Path:
    """Write a repository of two pages, a config and a picture."""
    for folder in ('docs/images', 'configs'):
        (root / folder).mkdir(parents=True)
    (root / 'README.md').write_text('# Read me\n\n## Results\n')
    (root / 'configs/a.py').write_text('x = 1\n')
    (root / 'docs/images/p.png').write_bytes(b'a picture')
    (root / 'docs/page.md').write_text(text)
    return root


def staged(tmp_path: Path, text: str) -> Path:
    root, site = small_repository(tmp_path / 'repo', text), tmp_path / 'site'
    build_docs.Staging(root, site, ['README.md', 'docs/page.md']).add('docs/page.md')
    return site


def test_links_are_turned_to_pages_pictures_and_listings(tmp_path: Path) -> None:
    site = staged(
        tmp_path,
        '[up](../README.md#results) [here](#x) [far](https://arxiv.org/abs/2404.12210)\n'
        '[config](../configs/a.py) ![p](images/p.png)\n' + CODE,
    )
    assert (site / 'page.md').read_text() == (
        '[up](index.md#results) [here](#x) [far](https://arxiv.org/abs/2404.12210)\n'
        '[config](files/configs/a.py.md) ![p](images/p.png)\n' + CODE
    )
    listing = (site / 'files/configs/a.py.md').read_text()
    assert '# configs/a.py' in listing
    assert '````python\nx = 1\n````' in listing
    assert (site / 'images/p.png').read_bytes() == b'a picture'


@pytest.mark.parametrize('link', ['gone.md', '../../outside.md', '../configs'])
def test_a_link_that_leads_nowhere_is_an_error(link: str, tmp_path: Path) -> None:
    (tmp_path / 'outside.md').write_text('not of the repository')
    with pytest.raises(UserError, match=rf'docs/page.md links to {re.escape(link)}'):
        staged(tmp_path, f'[a]({link})')


def test_a_page_that_no_menu_has_is_an_error(tmp_path: Path) -> None:
    (tmp_path / 'docs').mkdir()
    for name in chain(*build_docs.MENU.values()):
        (tmp_path / name).write_text('# Page\n')
    assert build_docs.menu(tmp_path)['Results'][-1] == 'docs/small_scale_study.md'
    (tmp_path / 'docs/forgotten.md').write_text('# Page\n')
    with pytest.raises(UserError, match=r'no menu has docs/forgotten\.md.*tools/build_docs\.py'):
        build_docs.menu(tmp_path)
    (tmp_path / 'docs/data.md').unlink()
    with pytest.raises(UserError, match=r'do not exist: docs/data\.md'):
        build_docs.menu(tmp_path)


def test_every_module_has_a_place_in_the_api() -> None:
    text = '\n'.join(build_docs.api_pages(ROOT).values())
    named = set(re.findall(r'^::: (\S+)$', text, re.M))
    for package in build_docs.PACKAGES:
        for path in (ROOT / package).rglob('*.py'):
            parts = path.relative_to(ROOT).with_suffix('').parts
            if not parts[-1].startswith('_'):
                assert '.'.join(parts) in named


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    """mkdocs finds every link and every anchor; without the API, for the sake of time."""
    index = build_docs.build(ROOT, tmp_path, api=False)
    assert 'lightvit_dense' in index.read_text()
    assert (index.parent / 'extending.html').is_file()
    pages = ''.join(path.read_text() for path in index.parent.rglob('*.html'))
    assert not re.search(r'(src|rel="stylesheet" href)="(https?:)?//', pages)  # nothing is fetched


def test_an_anchor_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small_repository(tmp_path / 'repo', '# Page\n\n[up](../README.md#nowhere)\n')
    monkeypatch.setattr(build_docs, 'MENU', {'Results': ('README.md', 'docs/page.md')})
    with pytest.raises(UserError, match='has faults'):
        build_docs.build(root, tmp_path / 'out', api=False)
    (root / 'docs/page.md').write_text('# Page\n\n[up](../README.md#results)\n')
    assert build_docs.build(root, tmp_path / 'out', api=False).is_file()


def parse_docstrings(package: str, folder: Path) -> int:
    """Parse all docstrings of a package; return their number."""
    loader = griffe.GriffeLoader(search_paths=[folder], allow_inspection=False)
    pending, count = [loader.load(package)], 0
    while pending:
        for member in pending.pop().members.values():
            if member.is_alias:
                continue
            if member.docstring is not None:
                member.docstring.parse('google')
                count += 1
            if member.is_module or member.is_class:
                pending.append(member)
    return count


def test_docstrings_speak_of_arguments_that_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'wrong').mkdir()
    (tmp_path / 'wrong/__init__.py').write_text(
        'def f(x: int) -> None:\n    """Do it.\n\n    Args:\n        y: A number.\n    """\n'
    )
    # mkdocstrings hands griffe's messages on to mkdocs, once it has been at work.
    for name in ('griffe', 'mkdocs'):
        monkeypatch.setattr(logging.getLogger(name), 'handlers', [caplog.handler])
    assert parse_docstrings('wrong', tmp_path) == 1
    assert "'y'" in caplog.text
    caplog.clear()
    for package in build_docs.PACKAGES:
        least = {'lightvit_dense': 2000, 'tracking': 400}.get(package, 40)
        assert parse_docstrings(package, ROOT) > least
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_roles_of_docstrings_become_code(tmp_path: Path) -> None:
    text = 'See :class:`A` and :func:`~b.c`, ``d``.'
    (tmp_path / 'roles.py').write_text(f'def f() -> None:\n    """{text}"""\n')
    extensions = griffe.load_extensions(PlainRoles)
    module = griffe.load('roles', search_paths=[tmp_path], extensions=extensions)
    assert module['f'].docstring.value == 'See `A` and `b.c`, ``d``.'


def test_the_tables_of_the_documents_are_those_of_the_data() -> None:
    assert write_documents(ROOT, check=True) == [], 'run tools/build_docs.py --tables'
    text = (ROOT / 'docs/papers.md').read_text(encoding='utf-8')
    assert '| D-MAE-Tiny | 95.2 | 89.1 | 79.2 | 87.5 | 85.0 | 63.6 | 42.3 | 37.4 |' in text
    assert '| MAE-Tiny, 1000 epochs | 6 | 3956 | 78.5 | 85.3 | 67.1 | submission |' in text


@pytest.fixture
def own_names() -> Iterator[None]:
    """Take out of the registries what an example has put in."""
    registry.MODELS.import_from_location()  # the registries are filled when first asked
    registry.DATASETS.import_from_location()
    kept = {home: dict(home.module_dict) for home in (registry.MODELS, registry.DATASETS)}
    yield
    for home, names in kept.items():
        home._module_dict.clear()
        home._module_dict.update(names)


def examples(name: str = 'extending.md') -> list[str]:
    text = (ROOT / 'docs' / name).read_text(encoding='utf-8')
    return re.findall(r'^```python\n(.*?)^```$', text, re.M | re.S)


@pytest.mark.parametrize('number', range(len(examples())))
@pytest.mark.usefixtures('own_names')
def test_examples_of_extending_run(number: int) -> None:
    exec(compile(examples()[number], f'extending.md, example {number}', 'exec'), {})


@pytest.mark.usefixtures('own_names')
def test_the_data_set_of_extending_reads_images(tmp_path: Path) -> None:
    from skimage import data, io

    (code,) = [block for block in examples() if 'ClassificationSet' in block]
    exec(compile(code, 'extending.md', 'exec'), {})
    for name in 'abcd':
        io.imsave(tmp_path / f'{name}.png', data.astronaut()[:16, :16], check_contrast=False)
    (tmp_path / 'train.csv').write_text('a.png,dog\nb.png,cat\nc.png,cat\nd.png,dog\n')
    settings = dict(type='lightvit_dense.TableOfImages', data_root=str(tmp_path), split='train')
    images = registry.DATASETS.build(settings)
    assert images.metainfo['classes'] == ('cat', 'dog')
    assert [int(label) for label in images.labels()] == [1, 0, 0, 1]
    half = registry.DATASETS.build(settings | dict(fraction=0.5))
    assert len(half) == 2
    (tmp_path / 'c.png').unlink()
    with pytest.raises(UserError, match=r'c\.png'):
        registry.DATASETS.build(settings)


def test_the_suite_of_the_document_is_read_and_checked(tmp_path: Path) -> None:
    (code,) = examples('suite.md')
    path = tmp_path / 'mine.py'
    path.write_text(code)
    suite = read_suite(path, ROOT)
    assert [(init.name, seed) for init, _, seed in suite.cells()] == [
        (name, seed) for seed in (0, 1, 2) for name in ('scratch', 'dmae')
    ]
    check_findings(suite.findings, suite.inits, suite.tasks, suite.analyses)
    path.write_text(code.replace("pretrain='dmae'", "pretrain='dmea'"))
    with pytest.raises(UserError, match="Did you mean 'dmae'"):
        read_suite(path, ROOT)


def test_tables_of_the_suite_name_all_there_is() -> None:
    text = (ROOT / 'docs/suite.md').read_text(encoding='utf-8')
    suites = {path.name for path in (ROOT / 'configs/suites').glob('*.py')}
    assert set(re.findall(r'^\| \[(\w+\.py)\]', text, re.M)) == suites
    rows = dict(re.findall(r'^\| `(\w+)` \| (.*?) \|', text, re.M))
    assert set(FINDINGS) <= set(rows)
    for part, kind in [('sweep', Sweep), *zip(PARTS, ENTRIES, strict=True)]:
        keys = {field.name for field in fields(kind)} - {'name', 'series', 'value'}
        assert keys <= set(re.findall(r'`(\w+)`', rows[part])), part
    assert set(ANALYSES) <= set(re.findall(r'`(\w+)`', rows['analyses']))
