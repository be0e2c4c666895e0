"""The papers' figures: golden values, agreement with our configs, and what a suite asks of them."""

import re
from pathlib import Path

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.papers import (
    INITS,
    SOURCES,
    TABLES,
    check_paper,
    paper_cells,
    paper_table,
    published,
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
    for table in TABLES:
        assert table.source in SOURCES
        assert set(table.rows) <= set(INITS)
        assert all(0 < cell.value < 100 for cell in table.cells())  # a wrong width raises
    names = [table.name for table in TABLES]
    assert len(set(names)) == len(names)


def test_distillation_gains_what_the_submission_prints():
    """Table 5 prints the differences as well: +9.4, +14.6, +8.7, +6.1, +3.0 and +3.8, +3.1."""
    rows = paper_table('transfer').rows
    gains = dict(zip(range(6), zip(rows['dmae'], rows['mae'], strict=False), strict=False))
    found = [round(a - b, 1) for a, b in gains.values()]
    assert found == [9.4, 12.6, 14.6, 8.7, 6.1, 3.0]
    coco = paper_table('transfer_submission').rows
    assert [round(a - b, 1) for a, b in zip(coco['dmae'], coco['mae'], strict=True)] == [3.8, 3.1]


@pytest.mark.parametrize('init', ['scratch', 'deit', 'mocov3', 'mae', 'dino', 'simmim', 'dmae'])
def test_configs_expect_the_same(init):
    """Two places hold COCO's figures: the table, and the config that is to reach them."""
    text = (ROOT / f'configs/coco/maskrcnn_{init}_tiny.py').read_text()
    box, mask = (float(v) for v in re.findall(r"_mAP', (0\.\d+)", text))
    row = paper_table('transfer').rows[init]
    assert row[-2:] == (pytest.approx(100 * box), pytest.approx(100 * mask))


def test_transfer_configs_tell_the_same():
    names = {'random': 'scratch', 'DeiT': 'deit', 'MoCo-v3': 'mocov3', 'MAE': 'mae'}
    names |= {'DINO': 'dino', 'SimMIM': 'simmim'}
    for task in ('flowers', 'pets', 'aircraft', 'cars', 'cifar100', 'inat18'):
        text = (ROOT / f'configs/transfer/{task}_vit-tiny.py').read_text()
        expected = re.search(r'Expected(.*?)\(paper\)', text, re.S).group(1)
        (value,) = published('dmae', task, tables=['transfer'])
        assert f'{value.value}% top-1 from D-MAE' in ' '.join(expected.split())
        found = re.findall(r'(random|DeiT|MoCo-v3|(?<!-)MAE|DINO|SimMIM) (\d+\.\d)', expected)
        assert len(found) == 6
        for title, figure in found:
            (cell,) = published(names[title], task, tables=['transfer'])
            assert cell.value == float(figure), (title, task)


def test_a_suite_gets_the_cells_it_has():
    paper = dict(
        tables=['transfer', 'imagenet_code'],
        inits={'random': 'scratch', 'ours': None},
        tasks={'det': 'coco'},
    )
    tasks = {'det': ['coco/bbox_mAP'], 'imagenet': ['accuracy/top1'], 'lasot': ['success']}
    cells = paper_cells(paper, ['random', 'ours', 'd2mae'], tasks)
    found = [(cell['init'], cell['task'], cell['value']) for cell in cells]
    assert found == [
        ('random', 'det', 32.7),
        ('random', 'imagenet', 75.8),
        ('d2mae', 'imagenet', 78.7),
    ]
    assert cells[0]['source'] == SOURCES['icml']
    assert cells[1]['source'] == SOURCES['code']
    assert paper_cells({}, ['mae'], {'coco': ['coco/bbox_mAP']}) == []


def test_the_first_table_counts():
    def cell(*tables):
        (found,) = paper_cells(dict(tables=tables), ['dmae'], {'coco': ['coco/bbox_mAP']})
        return found['value']

    assert cell('transfer', 'transfer_submission') == 42.3
    assert cell('transfer_submission', 'transfer') == 42.7


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
        check_paper(paper, ['mae'], {'det': ['coco/bbox_mAP']})


def test_a_selection_of_the_suite_keeps_its_renames():
    paper = dict(tables=['transfer'], inits={'random': 'scratch'}, tasks={'det': 'coco'})
    cells = paper_cells(paper, ['mae'], {'cars': ['accuracy/top1']})
    assert [cell['value'] for cell in cells] == [78.8]


def test_an_unknown_table_is_an_error():
    with pytest.raises(UserError, match=r"'lasot'.*Did you mean 'lasot_code'"):
        published(tables=['lasot'])
