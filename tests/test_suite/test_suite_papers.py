"""The papers' figures: golden values, and that configs, suite files and documents have the same."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from lightvit_dense.apis import load_config
from lightvit_dense.errors import UserError
from lightvit_dense.suite import papers
from lightvit_dense.suite.documents import blocks, fill, metafile
from lightvit_dense.suite.plan import SuitePlan
from lightvit_dense.suite.results import Results
from lightvit_dense.suite.spec import read_suite

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
    assert [cell.value for cell in papers.published(init, task, metric)] == values


def test_tables_are_whole():
    for table in papers.TABLES.values():
        assert table.source in papers.SOURCES
        assert set(table.rows) <= set(papers.INITS)
        assert all(0 < cell.value < 100 for cell in table.cells())  # a wrong width raises
    assert {row.source for row in papers.PUBLISHED} <= set(papers.SOURCES.values())


def expected_of(config: str) -> str:
    """Return the *Expected* lines of a config's docstring in one line."""
    text = ast.get_docstring(ast.parse((ROOT / config).read_text())) or ''
    found = re.search(r'^Expected +(.*?)(?=^\w|\Z)', text, re.S | re.M)
    return ' '.join(found[1].split()) if found else ''


def test_configs_tell_the_same():
    """What a config's docstring says is what papers.yml says of it; *lightweight* adds to it."""
    for name in papers.CONFIGS:
        told, words = papers.published_for(f'configs/{name}.py'), expected_of(f'configs/{name}.py')
        for cell in () if isinstance(told, str) else told:
            assert f'{cell.value:.1f}' in words or cell.table == 'lightweight', cell
    for path in (ROOT / 'configs').rglob('*.py'):
        name = path.relative_to(ROOT).as_posix()
        if re.match(r'(box AP |LaSOT AUC )?\d.*\(paper\)', expected_of(name)):
            assert papers.published_for(name), name


def test_transfer_configs_tell_the_same():
    names = {'random': 'scratch', 'DeiT': 'deit', 'MoCo-v3': 'mocov3', 'MAE': 'mae'}
    names |= {'DINO': 'dino', 'SimMIM': 'simmim'}
    for task in ('flowers', 'pets', 'aircraft', 'cars', 'cifar100', 'inat18'):
        expected = expected_of(f'configs/transfer/{task}_vit-tiny.py')
        (value,) = papers.published('dmae', task, tables=['transfer'])
        assert f'{value.value}% top-1 from D-MAE' in expected
        found = re.findall(r'(random|DeiT|MoCo-v3|(?<!-)MAE|DINO|SimMIM) (\d+\.\d)', expected)
        assert len(found) == 6
        for title, figure in found:
            (cell,) = papers.published(names[title], task, tables=['transfer'])
            assert cell.value == float(figure), (title, task)


def test_a_suite_gets_the_cells_it_has():
    paper = dict(tables=['transfer', 'imagenet_code'], tasks={'det': 'coco'})
    paper |= dict(inits={'random': 'scratch', 'ours': None, 'left out': 'mae'})
    tasks = {'det': ['coco/bbox_mAP'], 'imagenet': ['accuracy/top1'], 'lasot': ['success']}
    cells = papers.paper_cells(paper, ['random', 'ours', 'd2mae'], tasks)
    assert [(c['init'], c['task'], c['value'], c['source']) for c in cells] == [
        ('random', 'det', 32.7, papers.SOURCES['icml']),
        ('random', 'imagenet', 75.8, papers.SOURCES['code']),
        ('d2mae', 'imagenet', 78.7, papers.SOURCES['code']),
    ]
    assert papers.paper_cells({}, ['mae'], {'coco': ['coco/bbox_mAP']}) == []
    for tables, value in (
        (['transfer', 'transfer_submission'], 42.3),
        (['transfer_submission', 'transfer'], 42.7),
    ):
        (first,) = papers.paper_cells(dict(tables=tables), ['dmae'], {'coco': ['coco/bbox_mAP']})
        assert first['value'] == value


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
        papers.check_paper(paper, ['mae'], ['det'])


def plan_of(name):
    """Return a suite of ours, its runs, and the papers' figures that stand beside them."""
    suite = read_suite(ROOT / f'configs/suites/{name}.py', ROOT)
    tasks = {name: [m.key for m in task.metrics] for name, task in suite.tasks.items()}
    cells = papers.paper_cells(suite.paper, suite.inits, tasks)
    beside = {(c['init'], c['task'], c['metric']): c['value'] for c in cells}
    # That of the improved recipe.
    assert suite.pretrains['deit'].config == 'configs/imagenet/deit_vit-tiny_improved_300e.py'
    return suite, {(init.name, task.name) for init, task, _ in suite.cells()}, beside


def test_first_paper_has_its_whole_table_and_a_run_for_each_figure():
    _, planned, beside = plan_of('paper1_table5')
    for cell in papers.TABLES['transfer'].cells():
        assert beside[cell.init, cell.task, cell.metric] == cell.value
        assert (cell.init, cell.task) in planned
    # ImageNet beside the 56 figures, labels of ImageNet-21k too; DeiT is trained there, has none.
    assert len(beside) == 56 + 6 + 2
    assert len(planned) == 7 * 8 - 1 + 2
    assert beside['steiner_30e', 'imagenet', 'accuracy/top1'] == 76.9
    assert {key[:2] for key in beside} == planned


def test_second_paper_has_a_run_for_every_figure_that_can_be_run():
    suite, planned, beside = plan_of('paper2')
    assert {key[:2] for key in beside} <= planned
    for table in ('ade20k_code', 'lasot_code'):
        for cell in papers.TABLES[table].cells():
            assert beside[cell.init, cell.task, cell.metric] == cell.value
    assert beside['d2mae_rpe_1000e', 'imagenet', 'accuracy/top1'] == 79.4
    assert beside['hiera_dmae', 'imagenet', 'accuracy/top1'] == 78.9
    # The code's documentation comes before the first paper, which has 37.4.
    assert beside['dmae', 'coco', 'coco/segm_mAP'] == 37.3
    assert beside['deit', 'coco', 'coco/segm_mAP'] == 35.5
    # Relative positions start from the fine-tuned network on scenes only.
    init = suite.inits['d2mae_rpe_1000e']
    assert (init.pretrain_of('scenes'), init.pretrain_of('default')) == ('d2mae_rpe', 'd2mae')


def test_each_run_starts_from_its_pretraining_or_from_nothing(tmp_path):
    def read(path, options):
        return load_config(ROOT / path, options).to_dict()

    parts = (['scratch', 'dmae', 'deit'], ['flowers', 'coco'])
    suite = read_suite(ROOT / 'configs/suites/paper1_table5.py', ROOT, *parts)
    plan = SuitePlan(suite, tmp_path, ROOT, ROOT, read)
    shared = 'flowers_scratch_seed-0'
    for name in (shared, f'{shared}_test'):
        assert 'model.init_cfg=None' in plan.stages[name].command
    assert plan.configs[shared]['model']['init_cfg'] is None
    own = 'coco_scratch_seed-0'  # has a config of its own, which says what it starts from
    assert not any('init_cfg' in word for word in plan.stages[own].command)
    assert plan.configs[own]['model']['backbone']['init_cfg'] is None
    files = {'dmae': 'backbone.safetensors', 'deit': 'epoch_300.pth'}  # the classifier's norm, too
    for init, file in files.items():
        for task in ('flowers', 'coco'):
            model = plan.configs[f'{task}_{init}_seed-0']['model']
            part = model if task == 'flowers' else model['backbone']
            path = Path(part['init_cfg']['checkpoint'])
            assert path == plan.work_dir / f'pretrain_{init}' / file
            assert plan.stages[f'{task}_{init}_seed-0'].after == [f'pretrain_{init}']


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
    for name in (*papers.TABLES, 'lightweight'):
        assert f'<!-- paper.{name}:begin -->' in text


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
    text = (ROOT / 'configs/coco/metafile.yml').read_text(encoding='utf-8')
    assert metafile(text.replace('box AP: 42.3', 'box AP: 99.9')) == text
    bare = yaml.safe_load(text)
    for model in bare['Models']:
        model.pop('Results', None)
    new = yaml.safe_load(metafile(yaml.safe_dump(bare, sort_keys=False)))
    assert new == yaml.safe_load(text)
