"""The documents' tables: what they are written from, and what marks are errors."""

import json
import re
from pathlib import Path

import pytest
import yaml

from lightvit_dense.errors import UserError
from lightvit_dense.suite.documents import blocks, fill, metafile
from lightvit_dense.suite.papers import TABLES
from lightvit_dense.suite.results import Results

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tables() -> dict[str, str]:
    return blocks(ROOT)


def test_only_what_stands_between_marks_is_replaced() -> None:
    text = 'a\n<!-- x.y:begin -->\nold\n<!-- x.y:end -->\nb <!-- a comment -->\n'
    new = 'a\n<!-- x.y:begin -->\n| 1 |\n<!-- x.y:end -->\nb <!-- a comment -->\n'
    assert fill(text, {'x.y': '\n| 1 |\n\n'}) == new
    assert fill(new, {'x.y': '| 1 |'}) == new


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('<!-- paper.imagnet:begin -->\n', "Did you mean 'paper.imagenet'"),
        ('<!-- paper.imagenet:begin -->', 'must begin and end once'),
        ('<!-- paper.imagenet:begin -->\n<!-- paper.imagenet:end -->\n' * 2, 'once'),
    ],
)
def test_wrong_marks_are_errors(tables: dict[str, str], text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        fill(text, tables, 'docs/x.md')


def test_every_table_of_the_papers_is_on_their_page() -> None:
    text = (ROOT / 'docs/papers.md').read_text(encoding='utf-8')
    for name in (*TABLES, 'lightweight'):
        assert f'<!-- paper.{name}:begin -->' in text


def test_every_config_is_in_the_model_zoo() -> None:
    text = (ROOT / 'docs/model_zoo.md').read_text(encoding='utf-8')
    there = set(re.findall(r'\]\(\.\./(configs/\S+\.py)\)', text))
    leaves = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py')}
    assert there == {n for n in leaves if not n.startswith(('configs/_base_', 'configs/suites'))}


def test_the_readmes_table_has_the_papers_figures_and_ours(tables: dict[str, str]) -> None:
    lines = tables['results'].splitlines()
    assert '(*paper*)' in lines[0]
    assert '(*measured*)' in lines[0]
    assert lines[2].startswith('| from scratch | 75.8 | 32.7 / 28.9 | \N{EN DASH} | \N{EN DASH} |')
    assert '| 78.7 | 42.5 / 37.5 | 39.0 | 66.1 |' in lines[6]
    assert '86.3 ± 1.5 (3)' in lines[2]
    assert lines[3].count('*not run*') == 4  # supervised pre-training is no arm of the toy world


def test_an_arm_that_a_suite_has_gained_is_not_run(tables: dict[str, str]) -> None:
    """The small sets were measured before the suite had D²-MAE: its figures cannot be forgotten."""
    (line,) = [row for row in tables['results.small_sets'].splitlines() if row.startswith('| D²-')]
    assert line == '| D²-MAE | *measured* |' + ' *not run* |' * 5
    text = tables['report.small_sets']
    assert '| MAE is at least as good as no pre-training' in text
    assert '| **not run** | not among these runs |' in text


def test_our_results_say_what_they_are() -> None:
    """Each file is labelled, dated, and names a machine and a command or suite file."""
    for path in sorted((ROOT / 'results').glob('*.json')):
        content = json.loads(path.read_text(encoding='utf-8'))
        assert content['label'] == 'measured', path
        if 'inits' in content:
            results = Results(**content)
            assert results.environment['cpu'], path
            assert re.match(r'\d{4}-\d\d-\d\d', str(results.finished)), path
            assert (ROOT / results.file).is_file(), path
        else:
            assert content['machine'], path
            assert content['command'], path
            assert re.match(r'\d{4}-\d\d-\d\d$', content['date']), path
            assert all(len(row) == len(content['header']) for row in content.get('rows', ()))
        for config in (*content.get('configs', ()), *content.get('parts', ())):
            assert (ROOT / config).is_file(), config


def test_a_metafile_gets_the_papers_figures_and_keeps_the_rest() -> None:
    path = ROOT / 'configs/coco/metafile.yml'
    text = path.read_text(encoding='utf-8')
    assert metafile(text) == text
    assert metafile(text.replace('box AP: 42.3', 'box AP: 99.9')) == text
    bare = yaml.safe_load(text)
    for model in bare['Models']:
        model.pop('Results', None)
    new = yaml.safe_load(metafile(yaml.safe_dump(bare, sort_keys=False)))
    assert new == yaml.safe_load(text)
