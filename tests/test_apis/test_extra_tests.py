"""Further tests of the same model."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.errors import UserError
from lightvit_dense.registry import TRANSFORMS
from tests.helpers.toy_engine import ToyRegressor, clear_globals

ROOT = Path(__file__).parents[2]
EXTRA = """
_more = dict(test_dataloader, dataset=dict(type='lightvit_dense.ToyPoints', length=5))
extra_tests = dict(
    same=dict(evaluator=dict(type='lightvit_dense.ToyMetric')),
    other=dict(dataloader=_more, evaluator=[dict(type='lightvit_dense.ToyMetric')]),
    none=None)
"""


@pytest.fixture
def trained(write, tmp_path):
    apis.train(write(length=1), work_dir=tmp_path / 'w')
    clear_globals()
    return tmp_path / 'w/epoch_1.pth'


@pytest.mark.parametrize(
    ('extra', 'expected'),
    [
        ((), {'seen': 8}),
        (('same',), {'seen': 8, 'same/seen': 8}),
        (('other',), {'seen': 8, 'other/seen': 5}),
        (('other', 'same'), {'seen': 8, 'same/seen': 8, 'other/seen': 5}),
        (('all',), {'seen': 8, 'same/seen': 8, 'other/seen': 5}),
    ],
)
def test_metrics_of_what_is_asked_for(write, trained, tmp_path, monkeypatch, extra, expected):
    built = []
    original = ToyRegressor.__init__
    monkeypatch.setattr(
        ToyRegressor,
        '__init__',
        lambda self, *a, **k: (built.append(1), original(self, *a, **k))[1],
    )
    out = tmp_path / 'p.pkl'
    config = write(extra=EXTRA)
    metrics = apis.test(config, trained, work_dir=tmp_path / 't', extra=extra, out=out)
    assert metrics == expected
    assert built == [1]
    (logged,) = (tmp_path / 't').glob('*/2*.json')
    assert {k: v for k, v in json.loads(logged.read_text()).items() if k in metrics} == expected


def test_the_tool_writes_and_verifies_them(write, trained, tmp_path, monkeypatch, capfd):
    config = write(extra=EXTRA + "\nexpected = [('same/seen', 8, 0), ('other/seen', 5, 0)]\n")
    file = tmp_path / 'out/metrics.json'
    words = [config, trained, '--work-dir', tmp_path / 't', '--extra', 'all', '--verify']
    monkeypatch.setattr(sys, 'argv', ['test.py', *map(str, words), '--json', str(file)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    assert stop.value.code == 0
    assert capfd.readouterr().out.count(' ok') == 2
    content = json.loads(file.read_text())
    assert content['metrics'] == {'seen': 8, 'same/seen': 8, 'other/seen': 5}
    assert (content['config'], content['checkpoint']) == (str(config), str(trained))


@pytest.mark.parametrize(
    ('text', 'name', 'message'),
    [
        (EXTRA, 'othr', r"has no such test; it has same, other\. Did you mean 'other'"),
        (EXTRA, 'none', r'has no such test; it has same, other'),
        ('', 'all', r'has no such test; it has none'),
        (
            '\nextra_tests = dict(a=dict(dataloader=dict()))\n',
            'a',
            r'extra_tests\.a must be dict\(',
        ),
        (
            '\nextra_tests = dict(a=dict(evaluatr=1))\n',
            'a',
            r"extra_tests\.a\.evaluatr is not known\. Did you mean 'evaluator'",
        ),
        (
            '\nextra_tests = dict(a=dict(dataloader=dict(batchsize=2), evaluator=1))\n',
            'a',
            r"extra_tests\.a\.dataloader\.batchsize is not known\. Did you mean 'batch_size'",
        ),
        ('\nextra_test = dict()\n', 'a', r"'extra_test', which nothing reads.*'extra_tests'"),
    ],
)
def test_mistakes(write, tmp_path, text, name, message):
    (tmp_path / 'x.pth').touch()
    with pytest.raises(UserError, match=message):
        apis.test(write(extra=text), tmp_path / 'x.pth', work_dir=tmp_path / 't', extra=[name])


def test_preflight_asks_only_for_what_is_to_run(write, tmp_path):
    (tmp_path / 'x.pth').touch()
    flowers = dict(type='lightvit_dense.Flowers102', data_root=str(tmp_path / 'flowers'))
    extra = (
        f'\nextra_tests = dict(real=dict(evaluator=dict(ann_file={str(tmp_path / "real.json")!r})),'
        f'\n  flowers=dict(dataloader=dict(dataset={flowers!r}), evaluator=dict(type="x")))\n'
    )
    config = write(extra=extra)
    assert 'all 1 local' in apis.check_testing(config, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=r'real\.json  \(extra_tests\.real\.evaluator\.ann_file\)'):
        apis.check_testing(config, tmp_path / 'x.pth', extra=['real'])
    message = r'(?s)setid\.mat  \(extra_tests\.flowers\.dataloader\..*site of the Visual Geometry'
    with pytest.raises(UserError, match=message):
        apis.test(config, tmp_path / 'x.pth', work_dir=tmp_path / 't', extra=['flowers'])


def write_image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path.with_suffix('.jpg')), image)
    path.with_suffix('.jpg').rename(path)


def test_real_and_v2_in_one_run(tmp_path):
    """A classifier on class folders, ReaL's labels and ImageNet-V2's numbered folders."""
    names = [f'n{number:08d}' for number in range(12)]
    for label, name in enumerate(names):
        write_image(tmp_path / f'val/{name}/ILSVRC2012_val_{label + 1:08d}.JPEG', label)
        write_image(tmp_path / f'v2/{label}/{label:02x}ab.jpeg', label)  # the same pictures
    pipeline = [
        dict(type='lightvit_dense.LoadImage', color='rgb'),
        dict(type='lightvit_dense.CenterResizedCrop', size=16, share=1.0),
        dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
    ]
    dataset = dict(
        type='lightvit_dense.ImageNet', data_root=str(tmp_path), img_dir='val', pipeline=pipeline
    )
    loader = dict(
        batch_size=5,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='lightvit_dense.collate_images'),
        dataset=dataset,
    )
    numbered = dict(dataset, img_dir='v2', folders='labels', classes='val')
    accuracy = dict(type='lightvit_dense.Accuracy', topk=(1,))
    backbone = dict(
        type='lightvit_dense.VisionTransformer',
        arch=dict(embed_dim=16, depth=1, num_heads=2),
        img_size=16,
        patch_size=8,
    )
    cfg = Config(
        dict(
            default_scope='lightvit_dense',
            work_dir=str(tmp_path / 'w'),
            model=dict(
                type='lightvit_dense.ImageClassifier',
                backbone=backbone,
                head=dict(num_classes=12),
                data_preprocessor=dict(
                    type='lightvit_dense.ImagePreprocessor', mean=[120] * 3, std=[60] * 3
                ),
            ),
            test_dataloader=loader,
            test_cfg=dict(),
            test_evaluator=accuracy,
            extra_tests=dict(
                real=dict(
                    evaluator=dict(
                        type='lightvit_dense.RealAccuracy', ann_file=str(tmp_path / 'real.json')
                    )
                ),
                v2=dict(
                    dataloader=dict(loader, dataset=numbered),
                    evaluator=dict(accuracy, prefix='v2'),
                ),
            ),
        )
    )
    model = apis.build_model(cfg, device='cpu')
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'model.pth')
    crop = TRANSFORMS.build(pipeline[1])
    files = [tmp_path / f'v2/{label}/{label:02x}ab.jpeg' for label in range(12)]
    images = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    resized = np.stack([crop({'img': image})['img'] for image in images])
    inputs = (torch.tensor(resized).permute(0, 3, 1, 2).float() - 120) / 60
    predicted = model(inputs).argmax(1).tolist()
    right = sum(p == label for label, p in enumerate(predicted))
    # Every second image is labelled with the prediction and something else, one is left out.
    labels = [[p, 11] if n % 2 else [(p + 1) % 12] for n, p in enumerate(predicted)]
    labels[4] = []
    (tmp_path / 'real.json').write_text(json.dumps(labels))
    metrics = apis.test(cfg, tmp_path / 'model.pth', extra=['all'])
    assert metrics == pytest.approx(
        {
            'accuracy/top1': 100 * right / 12,
            'real/top1': 100 * 6 / 11,
            'real/images': 11,
            'v2/top1': 100 * right / 12,
        }
    )
