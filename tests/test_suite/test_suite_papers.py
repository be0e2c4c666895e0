"""The papers' figures: golden values, agreement with our configs, and what a suite asks of them."""

import ast
import re
from pathlib import Path

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.papers import (
    CONFIGS,
    INITS,
    PUBLISHED,
    SOURCES,
    TABLES,
    check_paper,
    paper_cells,
    published,
    published_for,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('init', 'task', 'metric', 'values'),
    [
        ('dmae', 'flowers', 'accuracy/top1', [95.2]),
        ('simmim', 'aircraft', 'accuracy/top1', [55.9]),
        ('mocov3', 'inat18', 'accuracy/top1', [54.5]),
        ('scratch', 'cars', 'accuracy/top1', [6.8]),
        # The printed paper, the submission's other detector, the documentation of the code.
        ('dmae', 'coco', 'coco/segm_mAP', [37.4, 38.2, 37.3]),
        ('mocov3', 'imagenet', 'accuracy/top1', [76.8, 73.7, 73.7]),
        ('d2mae', 'coco', 'coco/bbox_mAP', [42.5]),
        ('d2mae_rpe_1000e', 'ade20k', 'mIoU', [42.8]),
        ('d2mae', 'lasot', 'success', [66.1]),
        ('hiera_dmae', 'imagenet', 'accuracy/top1', [78.9]),
        ('mae', 'lasot', 'success', []),
    ],
)
def test_figures_are_those_printed(init, task, metric, values):
    assert [cell.value for cell in published(init, task, metric)] == values


def test_tables_are_whole():
    for table in TABLES.values():
        assert table.source in SOURCES
        assert set(table.rows) <= set(INITS)
        assert all(0 < cell.value < 100 for cell in table.cells())  # a wrong width raises
    assert {row.source for row in PUBLISHED} <= set(SOURCES.values())


def test_distillation_gains_what_the_submission_prints():
    """Table 5 prints the differences as well: +9.4, +14.6, +8.7, +6.1, +3.0 and +3.8, +3.1."""

    def gains(table: str, count: int) -> list[float]:
        rows = TABLES[table].rows
        pairs = zip(rows['dmae'][:count], rows['mae'][:count], strict=True)
        return [round(ours - theirs, 1) for ours, theirs in pairs]

    assert gains('transfer', 6) == [9.4, 12.6, 14.6, 8.7, 6.1, 3.0]
    assert gains('transfer_submission', 2) == [3.8, 3.1]


def expected_of(config: str) -> str:
    """Return the *Expected* lines of a config's docstring in one line."""
    text = ast.get_docstring(ast.parse((ROOT / config).read_text())) or ''
    found = re.search(r'^Expected +(.*?)(?=^\w|\Z)', text, re.S | re.M)
    return ' '.join(found[1].split()) if found else ''


def test_configs_tell_the_same():
    """What a config's docstring says is what papers.yml says of it; *lightweight* adds to it."""
    for name in CONFIGS:
        told, words = published_for(f'configs/{name}.py'), expected_of(f'configs/{name}.py')
        for cell in () if isinstance(told, str) else told:
            assert f'{cell.value:.1f}' in words or cell.table == 'lightweight', cell


def test_no_config_tells_a_figure_that_papers_yml_lacks():
    for path in (ROOT / 'configs').rglob('*.py'):
        name = path.relative_to(ROOT).as_posix()
        if re.match(r'(box AP |LaSOT AUC )?\d.*\(paper\)', expected_of(name)):
            assert published_for(name), name


def test_transfer_configs_tell_the_same():
    names = {'random': 'scratch', 'DeiT': 'deit', 'MoCo-v3': 'mocov3', 'MAE': 'mae'}
    names |= {'DINO': 'dino', 'SimMIM': 'simmim'}
    for task in ('flowers', 'pets', 'aircraft', 'cars', 'cifar100', 'inat18'):
        expected = expected_of(f'configs/transfer/{task}_vit-tiny.py')
        (value,) = published('dmae', task, tables=['transfer'])
        assert f'{value.value}% top-1 from D-MAE' in expected
        found = re.findall(r'(random|DeiT|MoCo-v3|(?<!-)MAE|DINO|SimMIM) (\d+\.\d)', expected)
        assert len(found) == 6
        for title, figure in found:
            (cell,) = published(names[title], task, tables=['transfer'])
            assert cell.value == float(figure), (title, task)


def test_a_suite_gets_the_cells_it_has():
    paper = dict(tables=['transfer', 'imagenet_code'], tasks={'det': 'coco'})
    paper |= dict(inits={'random': 'scratch', 'ours': None})
    tasks = {'det': ['coco/bbox_mAP'], 'imagenet': ['accuracy/top1'], 'lasot': ['success']}
    cells = paper_cells(paper, ['random', 'ours', 'd2mae'], tasks)
    assert [(c['init'], c['task'], c['value'], c['source']) for c in cells] == [
        ('random', 'det', 32.7, SOURCES['icml']),
        ('random', 'imagenet', 75.8, SOURCES['code']),
        ('d2mae', 'imagenet', 78.7, SOURCES['code']),
    ]
    assert paper_cells({}, ['mae'], {'coco': ['coco/bbox_mAP']}) == []


@pytest.mark.parametrize(
    ('tables', 'value'),
    [(['transfer', 'transfer_submission'], 42.3), (['transfer_submission', 'transfer'], 42.7)],
)
def test_the_first_table_counts(tables, value):
    (found,) = paper_cells(dict(tables=tables), ['dmae'], {'coco': ['coco/bbox_mAP']})
    assert found['value'] == value


@pytest.mark.parametrize(
    ('paper', 'message'),
    [
        (dict(table='transfer'), r"paper names 'table'.*tables"),
        (dict(tables=[]), "lacks 'tables'.*transfer"),
        (dict(tables=['tranfer']), r"paper\.tables names 'tranfer'.*mean 'transfer'"),
        (dict(tables=['transfer'], inits={'mea': 'mae'}), r"paper\.inits names 'mea'.*mean 'mae'"),
        (dict(tables=['transfer'], inits={'mae': 'd-mae'}), r"paper\.inits\.mae names 'd-mae'"),
        (dict(tables=['transfer'], tasks={'det': 'cocoo'}), r"tasks\.det names 'cocoo'.*'coco'"),
    ],
)
def test_unknown_names_are_errors(paper, message):
    with pytest.raises(UserError, match=message):
        check_paper(paper, ['mae'], ['det'])


def test_a_selection_of_the_suite_keeps_its_renames():
    paper = dict(tables=['transfer'], inits={'random': 'scratch'}, tasks={'det': 'coco'})
    cells = paper_cells(paper, ['mae'], {'cars': ['accuracy/top1']})
    assert [cell['value'] for cell in cells] == [78.8]


def test_an_unknown_table_is_an_error():
    with pytest.raises(UserError, match=r"'lasot'.*Did you mean 'lasot_code'"):
        published(tables=['lasot'])
