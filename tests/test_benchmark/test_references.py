"""What ours is compared with computes the same, at the same size."""

from functools import cache

import numpy as np
import pytest
import timm
import torch
from torch import nn

from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.datasets.transforms.opened import OpenedImage
from lightvit_dense.errors import UserError
from lightvit_dense.models import MAE
from lightvit_dense.suite.papers import PUBLISHED, SOURCES
from tools.benchmark.cases.pretrain_step import METHODS
from tools.benchmark.cases.tracking_fps import Turn
from tools.benchmark.cases.tracking_pairs import write_videos
from tools.benchmark.classifier_modes import size_cell
from tools.benchmark.harness import build_random
from tools.benchmark.references import classifiers
from tools.benchmark.references.classifiers import CLASSIFIERS, Classifier, find_classifier, prepare
from tools.benchmark.references.ostrack import build_tracker, moving_frames
from tools.benchmark.references.pipelines import cut_with_mask, photographs
from tools.benchmark.references.pretraining import RIVALS, MAEReference
from tracking.sampling import PairDataset

VIT = dict(type='lightvit_dense.VisionTransformer', img_size=32, patch_size=8, pos_embed='sincos')


def small_mae(distilled: bool, decoupled: bool) -> MAE:
    torch.manual_seed(0)
    distiller = dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=VIT | dict(arch=dict(embed_dim=48, depth=2, num_heads=6)),
        pairs=[(4, 2)] if decoupled else [(3, 2)],
        extra_layer=decoupled,
        loss_weight=0.5,
    )
    return MAE(
        VIT | dict(arch=dict(embed_dim=32, depth=3, num_heads=4)),
        decoder=dict(embed_dim=16, num_heads=2),
        reconstruct_after=2 if decoupled else None,
        distiller=distiller if distilled else None,
    ).double()


@pytest.mark.parametrize(('distilled', 'decoupled'), [(False, False), (True, False), (True, True)])
def test_the_papers_mae_agrees_in_values_and_gradients(distilled: bool, decoupled: bool) -> None:
    model = small_mae(distilled, decoupled)
    image, noise = torch.randn(3, 3, 32, 32).double(), torch.rand(3, 16)
    ours = sum(model.loss(image, noise=noise).values())
    theirs = MAEReference(model)(image, noise)
    # The distillation loss is fp32 in the reference.
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    parameters = [p for p in model.parameters() if p.requires_grad]
    expected = torch.autograd.grad(ours, parameters)
    found = torch.autograd.grad(theirs, parameters)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(('method', 'variant'), list(RIVALS))
def test_rivals_are_of_our_size(method: str, variant: str) -> None:
    ours = build_random(METHODS[method][0])
    sizes = [sum(p.numel() for p in m.parameters()) for m in (ours, RIVALS[method, variant]())]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


@pytest.fixture(scope='module')
def sequence() -> tuple:
    return moving_frames(12, (180, 320))


def boxes_of(way: str, eliminate: bool, sequence: tuple) -> np.ndarray:
    turn = Turn(build_tracker('vit-tiny', small=True), way, eliminate, 1, sequence)
    turn()
    return turn.boxes


def test_ostracks_code_tracks_like_the_runtime(sequence: tuple) -> None:
    found = {}
    for eliminate in (True, False):
        expected = found[eliminate] = boxes_of('ostrack', eliminate, sequence)
        assert np.abs(np.diff(expected, axis=0)).max() > 0.5  # it moves
        for way in ('plain', 'torch'):
            boxes = boxes_of(way, eliminate, sequence)
            np.testing.assert_allclose(boxes, expected, atol=0.05)
    assert np.abs(found[True] - found[False]).max() > 1e-3


def test_the_arithmetic_of_the_full_tracker() -> None:
    """ViT-Tiny at 256 px: about 5 GFLOP a frame are said of it without elimination."""
    model, frames = build_tracker('vit-tiny'), moving_frames(2, (180, 320))
    expected = {('ostrack', False): 5.71, ('ostrack', True): 4.40}
    expected |= {('torch', False): 4.89, ('torch', True): 3.39}
    for (way, eliminate), gflop in expected.items():
        turn = Turn(model, way, eliminate, 1, frames)
        assert turn.count_flops() / 1e9 == pytest.approx(gflop, abs=0.01)


def test_padding_in_memory_gives_our_crops(tmp_path) -> None:
    write_videos(tmp_path, photographs((160, 120))[:2], (160, 120))
    pairs = PairDataset(sets=[dict(type='tracking.LaSOT', data_root=str(tmp_path), split='train')])
    sequence = pairs.sets[0][1]
    frame, box = sequence.frames.read(5), sequence.boxes[5]
    for spec in (pairs.template, pairs.search):
        with seeded(1):
            cut = spec.cut(OpenedImage(frame), box)
        with seeded(1):
            crop, mask = cut_with_mask(frame, box, spec)
        np.testing.assert_array_equal(crop, cut.image)
        np.testing.assert_array_equal(mask, cut.padding)


@cache
def sizes(name: str) -> dict:
    entry = CLASSIFIERS[name]
    return size_cell(entry.build().eval(), entry.size)


def vit_tiny_macs(tokens: int = 197, width: int = 192, depth: int = 12) -> int:
    embedding = 196 * 16 * 16 * 3 * width
    projections = tokens * width * (3 * width + width)
    attention = 2 * tokens * tokens * width  # QK^T and AV, over all heads
    mlp = 2 * tokens * width * 4 * width
    return embedding + depth * (projections + attention + mlp) + width * 1000


def test_arithmetic_of_vit_tiny_is_the_closed_formula() -> None:
    macs = vit_tiny_macs()
    expected = {'parameters': 5_717_416, 'macs': macs}
    assert sizes('vit_tiny') == sizes('vit_tiny_3h') == sizes('deit_tiny') == expected
    # Twelve tables of (27 * 27 + 3) x 12; they add, and additions of their own do not count.
    assert sizes('vit_tiny_rpe')['parameters'] == 5_717_416 + 105_408
    assert sizes('vit_tiny_rpe')['macs'] == macs


@pytest.mark.parametrize(
    ('name', 'gmacs', 'off'),
    [
        # torchvision's documentation of the same networks, whose digits all count
        ('resnet18', 1.814, 2e-3),
        ('resnet50', 4.089, 2e-3),
        ('mobilenet_v2', 0.301, 2e-3),
        ('mobilenet_v3', 0.217, 5e-3),
        ('efficientnet_b0', 0.386, 2e-3),
        # the papers of these networks, in rounded numbers
        ('levit_128', 0.406, 5e-3),
        ('mobilevit_s', 2.0, 0.03),
    ],
)
def test_arithmetic_of_convolutions_is_what_is_known(name: str, gmacs: float, off: float) -> None:
    assert sizes(name)['macs'] / 1e9 == pytest.approx(gmacs, rel=off)


def test_names_sizes_and_parameters_are_those_of_timm_and_of_table_2() -> None:
    """But for ResNet-50's 25.6 M, which the paper cuts to 25."""
    builds = {name: entry.build for name, entry in CLASSIFIERS.items()}
    names = {n: b.args[0] for n, b in builds.items() if getattr(b, 'func', 0) is timm.create_model}
    assert len(names) == 14
    for name, arch in names.items():
        assert timm.get_pretrained_cfg(arch).input_size[-1] == CLASSIFIERS[name].size, name
    for row in PUBLISHED:
        if row.source == SOURCES['iclr'] and row.model in names:
            with torch.device('meta'):  # no weights are made
                model = timm.create_model(names[row.model])
            millions = sum(p.numel() for p in model.parameters()) / 1e6
            found = int(millions) if row.model == 'resnet50' else round(millions)
            assert found == row.params_m, row.label


def test_published_rows_belong_to_models() -> None:
    assert {row.model for row in PUBLISHED} == {'', *CLASSIFIERS} - {'vit_tiny_3h'}
    unknown = [row.label for row in PUBLISHED if not row.model]
    assert unknown == ['Swin-1G', 'LVT', 'EdgeViT-XS', 'Mobile-Former-294M']
    first = next(row for row in PUBLISHED if row.model == 'vit_tiny')
    assert (first.top1, first.images_per_s, first.real, first.v2) == (78.0, 4020, 84.3, 66.2)


def test_settled_batch_norms_keep_activations_large() -> None:
    def deep() -> nn.Module:
        torch.manual_seed(0)
        layers = [
            nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)) for _ in range(40)
        ]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 2))

    torch.manual_seed(0)
    plain, images = deep().eval(), torch.randn(4, 3, 2, 2)
    assert plain[:40](images).std() < 1e-3  # what an untrained network does
    model = prepare(Classifier(deep, 2))
    assert 0.3 < model[:40](images).std() < 3
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_levit_is_folded_and_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Classifier(lambda: timm.create_model('levit_128s', img_size=64), 64)
    folded, images = prepare(entry), torch.randn(2, 3, 64, 64)
    monkeypatch.setattr(classifiers, 'reparameterize_model', lambda model: model)
    plain = prepare(entry)
    norms = [m for m in folded.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms == []
    torch.testing.assert_close(folded(images), plain(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('vit_tinny', "no model 'vit_tinny'. Did you mean 'vit_tiny'.* There are vit_tiny, "),
        ('timm:resnet19', "timm has no model 'resnet19'. Did you mean 'resnet"),
        ('absent.py', 'absent.py'),
        ('configs/pretrain/mae_vit-tiny.py', 'not the config of a classifier'),
    ],
)
def test_unknown_classifiers_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_classifier(name)
    entry = find_classifier('configs/imagenet/deit_vit-tiny_300e.py')
    assert entry.size == 224
