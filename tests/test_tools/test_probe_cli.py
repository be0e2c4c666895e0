"""The tool that probes frozen features, as a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from sklearn.datasets import load_digits

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/probe.py'
CONFIG = """
pipeline = [
    dict(type='lightvit_dense.LoadImage', color='rgb'),
    dict(type='lightvit_dense.CenterResizedCrop', size=16, share=1.0),
    dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
]
model = dict(
    type='lightvit_dense.ImageClassifier',
    backbone=dict(
        type='lightvit_dense.VisionTransformer',
        arch=dict(embed_dim=32, depth=2, num_heads=2),
        img_size=16,
        patch_size=4,
        init_cfg=dict(type='lightvit_dense.PretrainedBackbone', checkpoint='absent.pth'),
    ),
    head=dict(num_classes=3),
    data_preprocessor=dict(
        type='lightvit_dense.ImagePreprocessor', mean=[127.5] * 3, std=[60.0] * 3
    ),
)
dataset = dict(type='lightvit_dense.ImageNet', data_root={root!r}, classes='train')
loader = dict(
    batch_size=32, num_workers=0, collate_fn=dict(type='lightvit_dense.collate_images')
)
train_dataloader = dict(loader, dataset=dict(dataset, img_dir='train', pipeline=pipeline))
val_dataloader = dict(loader, dataset=dict(dataset, img_dir='val', pipeline=pipeline))
"""


def run_tool(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_second_call_starts_from_the_files(
    tmp_path: Path, call_tool: Callable[..., tuple]
) -> None:
    images, labels = load_digits(return_X_y=True)
    for digit in range(3):
        for number, image in enumerate(images[labels == digit][:40].reshape(-1, 8, 8)):
            folder = tmp_path / ('train' if number < 30 else 'val') / f'digit{digit}'
            folder.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / f'{number}.png'), (image * 15).astype('u1'))
    config, out = tmp_path / 'config.py', tmp_path / 'out'
    config.write_text(CONFIG.replace('{root!r}', repr(str(tmp_path))))
    words = [config, 'none', '--cache', tmp_path / 'cache', '--device', 'cpu']
    first = run_tool(*words, '--out', out, '--method', 'knn', '--k', '5', '--layer', '1', '2')
    assert first.returncode == 0, first.stderr
    assert first.stdout.count('images, computed') == 2
    metadata = json.loads((out / 'probe.json').read_text())
    assert metadata['images'] == {'train': 90, 'val': 30}
    assert metadata['network']['weights'] == 'random, seed 0'
    methods = [(row['features'], row['method']) for row in metadata['results']]
    assert methods == [
        ('none', 'most frequent class'),
        ('cls_layer1', 'knn'),
        ('cls_layer2', 'knn'),
    ]
    assert metadata['results'][0]['top1'] == pytest.approx(100 / 3)
    # Three digits in 90 examples: nearest neighbours tell them apart even of random features.
    assert metadata['results'][2]['top1'] > 60
    assert f'{metadata["results"][2]["top1"]:.2f}' in (out / 'probe.md').read_text()
    assert len((out / 'probe.csv').read_text().splitlines()) == 4
    assert cv2.imread(str(out / 'layers.png')).std() > 5

    words += ['--out', tmp_path / 'again', '--layer', '2']
    words += ['--method', 'logistic', 'linear', '--epochs', '20']
    status, printed, errors = call_tool('analysis_tools/probe.py', *words)
    assert status == 0, errors
    assert printed.count('images, from the cache') == 2
    results = json.loads((tmp_path / 'again' / 'probe.json').read_text())['results']
    assert [(row['method'], row['setting']) for row in results[1:]] == [
        ('logistic', 'C 1'),
        ('linear', 'lr 6.4'),
    ]
    assert results[1]['top1'] > 60  # 40 steps are too few for LARS to get there
