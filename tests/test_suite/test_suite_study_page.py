"""The page of the small-scale study, from results that are easy to check."""

import json
import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from lightvit_dense.errors import UserError, run_tool
from lightvit_dense.suite import study_text
from lightvit_dense.suite.findings import judge_findings
from lightvit_dense.suite.study_page import build_page, iterations_of, notes, plain

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools/analysis_tools/write_study.py'))
METRIC = {'key': 'coco/bbox_mAP', 'title': 'box AP', 'scale': 100.0, 'digits': 1}
TEXT = """Is it so?

What      Three networks
          on one task.
Data      tools/dataset_converters/make_toyworld.py --layouts coco
Run       tools/run_benchmark.py configs/suites/toyworld.py --jobs 2
"""
FINDINGS = [
    dict(type='at_least', title='A|B', source='table 5', init='dmae', base='mae'),
    dict(type='at_least', title='MAE helps', source='', init='mae', base='scratch'),
    dict(type='at_least', title='Twice as good', source='', init='mae', base='dmae'),
    dict(type='cka_rises', title='CKA rises', source='', analysis='cka_b', base='cka_a'),
]
VALUES = {'scratch': [10, 30, 20], 'mae': [20, 24, 22], 'dmae': [22, 27, 26]}


def command(name, options):
    return (
        f'python tools/train.py configs/toyworld/{name}.py --work-dir /x/y/work_dirs/suites/{name} '
        f'--cfg-options {options} a.data_root=/z/data/coco'
    )


def make_suite(name='toyworld', root=Path('.')):
    """Return results of three networks on one task, with an analysis that has a picture."""
    run = {'seconds': 90.0, 'peak_memory_mb': 1536.0, 'state': 'measured', 'error': None}
    cells = [
        run
        | dict(init=init, task='det', seed=seed, metrics={'coco/bbox_mAP': value / 100})
        | dict(title=f'det, {init}, seed {seed}', command=command(init, f'randomness.seed={seed}'))
        for init, values in VALUES.items()
        for seed, value in enumerate(values)
    ]
    pretrain = run | dict(name='mae', title='MAE', command=command('m', 'train_cfg.max_iters=400'))
    analysis = dict(name='cka_a', title='Likeness', tool='cka', models=['mae', 'sup'])
    analysis |= dict(
        state='measured', folder='cka', files=['cka.json', 'cka_second.json', 'cka.png']
    )
    other = dict(name='cka_b', title='Other', tool='cka', models=['dmae', 'sup'])
    other |= dict(state='failed', folder='b', files=[])
    results = {
        'suite': dict(name=name, title=f'The {name}', text=TEXT, file='configs/suites/toyworld.py'),
        'smoke': False,
        'seeds': [0, 1, 2],
        'inits': [{'name': init, 'title': init.upper(), 'pretrain': None} for init in VALUES],
        'tasks': [{'name': 'det', 'title': 'detection', 'metrics': [METRIC]}],
        'cells': cells,
        'pretrains': [pretrain],
        'analyses': [analysis, other],
        'environment': {'cpu': 'a CPU', 'versions': {'torch': '2.11'}},
        'finished': '2026-01-02T03:04:05',
    }
    results['findings'] = judge_findings(FINDINGS, results, root)
    return results


STUDY = {
    'settings': [
        {
            'name': 'digits',
            'title': 'digits, 10% of labels',
            'inits': {'mae': dict(mean=71.0, deviation=1.0, values=[70.0, 71.0, 72.0])},
        }
    ],
    'runs': [dict(setting='digits', init='mae', seed=s, top1=70.0 + s) for s in range(3)],
    'seeds': [0, 1, 2],
}


@pytest.fixture
def files(tmp_path):
    """Write results as the tools leave them."""
    (tmp_path / 'cka').mkdir()
    content = {'kind': 'cka', 'images': 1024, 'seconds': 61.7, 'peak_memory_mb': 700.2}
    (tmp_path / 'cka/cka.json').write_text(json.dumps(content))
    second = content | {'seconds': 2.0, 'peak_memory_mb': 650.0}
    (tmp_path / 'cka/cka_second.json').write_text(json.dumps(second))
    cv2.imwrite(str(tmp_path / 'cka/cka.png'), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / 'results.json').write_text(json.dumps(make_suite(root=tmp_path)))
    (tmp_path / 'study.json').write_text(json.dumps(STUDY))
    return tmp_path


@pytest.fixture
def write(files, capsys):
    def run(*words):
        given = ['--root', str(files), '--out', str(files / 'docs/page.md')]
        given += ['--small-study', str(files / 'study.json')]
        status = run_tool(lambda: TOOL['main']([*given, *map(str, words)]))
        return status, capsys.readouterr().err

    return run


def section(page, title):
    return re.search(rf'^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)', page, re.M | re.S)[1]


def test_the_page_has_verdicts_numbers_commands_and_pictures(files, write):
    assert write(files / 'results.json') == (0, '')
    page = (files / 'docs/page.md').read_text()
    short = section(page, 'In short')
    assert 'Verdicts on 4 findings: appears 1, does not appear 1, undecided 1, not run 1.' in short
    assert '| A\\|B | table 5 | **appears** |' in short
    row = '| detection, box AP | +2.00, +3.00, +4.00 | +3.00 | 1.00 | [+0.52, +5.48] | better |'
    assert row in section(page, 'A\\|B')
    absent = section(page, 'What does not appear')
    assert absent.split('\n')[1:4] == [
        '- Does not appear: Twice as good.',
        '- Undecided: MAE helps.',
        '- Not run: CKA rises.',
    ]
    assert '| DMAE | *measured* | **25.0 ± 2.6 (3)** |' in section(page, 'The toyworld')
    assert '| MAE | 400 | 2 | 1.5 | measured |' in section(page, 'The suite toyworld')
    assert 'Three networks on one task.' in page
    assert '| Likeness | measured | 1024 | 64 | 700 |' in page
    assert '| Other | failed | \N{EN DASH} |' in page
    assert '| digits, 10% of labels | 71.0 ± 1.0 |' in page
    commands = re.search(r'```bash\n(.*?)```', page, re.S)[1].splitlines()
    assert commands == [
        'python tools/dataset_converters/make_toyworld.py --layouts coco',
        'python tools/dataset_converters/make_small_sets.py',
        'python tools/small_study.py',
        'python tools/run_benchmark.py configs/suites/toyworld.py --jobs 2',
        'python tools/analysis_tools/write_study.py work_dirs/suites/toyworld/results.json',
    ]


def test_every_picture_is_there_and_old_ones_are_gone(files, write):
    old = files / 'docs/images/small_scale_old.png'
    old.parent.mkdir(parents=True)
    old.touch()
    kept = old.with_name('other.png')
    kept.touch()
    assert write(files / 'results.json')[0] == 0
    page = (files / 'docs/page.md').read_text()
    linked = set(re.findall(r'\]\(images/([^)]+)\)', page))
    assert linked == {
        'small_scale_toyworld.png',
        'small_scale_toyworld_cka_a.png',
        'small_scale_image_sets.png',
    }
    assert {p.name for p in old.parent.iterdir()} == linked | {kept.name}
    for name in linked:
        assert cv2.imread(str(old.with_name(name))) is not None
    assert cv2.imread(str(old.with_name('small_scale_toyworld.png'))).std() > 5


def test_the_same_results_make_the_same_files(files, write):
    def digest():
        assert write(files / 'results.json')[0] == 0
        return {p.name: p.read_bytes() for p in (files / 'docs').rglob('*.*') if p.is_file()}

    assert digest() == digest()


def test_commands_are_plain_and_those_of_one_seed():
    page = build_page([make_suite() | {'analyses': []}]).markdown
    runs = page.split('## Every run')[1]
    assert '/x/y' not in page
    assert '/z/data' not in page
    expected = 'suites/mae --cfg-options randomness.seed=0 a.data_root=data/coco'
    assert f'--work-dir work_dirs/{expected}' in runs
    assert 'randomness.seed=1' not in runs
    assert plain("tool '/a b/work_dirs/x' '[(2, 2)]' /q/data") == (
        "tool '/a b/work_dirs/x' '[(2, 2)]' data"
    )


def test_a_finding_of_two_suites_is_told_once_as_it_was_judged():
    first, second = make_suite(), make_suite('again')
    first['findings'] = [first['findings'][0] | {'verdict': 'not run', 'numbers': []}]
    page = build_page([first | {'analyses': []}, second | {'analyses': []}]).markdown
    assert section(page, 'In short').count('A\\|B') == 1
    assert '| A\\|B | table 5 | **appears** |' in page
    assert 'The suite again' in page


def test_docstrings_and_commands_are_read():
    assert notes(TEXT)['What'] == 'Three networks on one task.'
    assert iterations_of('tool --x train_cfg.max_iters=40') == '40'
    assert iterations_of('tool --x train_cfg.max_epochs=4') == '4 epochs'
    assert iterations_of('tool configs/x.py') is None


def test_what_cannot_be_told_is_an_error():
    with pytest.raises(UserError, match='at least one suite'):
        build_page([])
    with pytest.raises(UserError, match="'toyworld' is given twice"):
        build_page([make_suite(), make_suite()])
    with pytest.raises(UserError, match='small_study is a smoke run'):
        build_page([make_suite()], STUDY | {'smoke': True})


@pytest.mark.parametrize(
    ('harm', 'words'),
    [
        ('absent', 'results.json to read (No such file'),
        ('half', 'damaged or half-written'),
        ('other', 'not the results of a suite'),
        ('study', 'run tools/small_study.py, or leave it out with --no-small-study'),
        ('picture', 'cka.png does not exist'),
    ],
)
def test_bad_files_are_named_and_nothing_is_written(files, write, harm, words):
    path = files / 'results.json'
    if harm == 'absent':
        path.unlink()
    elif harm == 'half':
        path.write_text(path.read_text()[:-20])
    elif harm == 'other':
        path.write_text('{}')
    elif harm == 'study':
        (files / 'study.json').unlink()
    else:
        (files / 'cka/cka.png').unlink()
    status, err = write(path)
    assert status == 2
    assert words in err
    assert not (files / 'docs').exists()
    if harm == 'study':
        assert write(path, '--no-small-study')[0] == 0
        assert 'Small real image sets' not in (files / 'docs/page.md').read_text()


def test_the_table_of_scale_says_what_the_configs_do():
    student = Config.fromfile(ROOT / 'configs/toyworld/dmae_student.py')
    arch = student.model.backbone.arch.to_dict()
    arch.pop('_delete_', None)
    assert arch == study_text.STUDENT
    assert student.model.distiller.teacher.arch.to_dict() == study_text.TEACHER
    backbone = student.model.backbone
    assert (backbone.img_size, backbone.patch_size) == (study_text.CROP, study_text.PATCH)
    assert student.train_dataloader.batch_size == study_text.BATCH
    assert round(400 * study_text.BATCH / 3000) == 17
