"""Networks, images and features of layers that the analyses look at."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lightvit_dense.apis.analysis import validation_set
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from lightvit_dense.models.backbones import Hiera, VisionTransformer
from lightvit_dense.representation import ImageStream, layer_features, layer_maps


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten pictures of one colour each, in two folders: their red is 10, 20, ..., 100."""
    for number in range(10):
        folder = tmp_path / 'pictures' / f'class{number // 5}'
        folder.mkdir(parents=True, exist_ok=True)
        image = np.full((40, 50, 3), (7, 5, 10 * number + 10), np.uint8)
        assert cv2.imwrite(str(folder / f'{number}.png'), image)
    return tmp_path / 'pictures'


def reds(stream: ImageStream) -> list[int]:
    return [round(v) for batch in stream for v in batch[:, 0].mean((1, 2)).tolist()]


def plain(folder: Path, **options: Any) -> ImageStream:
    usual = dict(size=16, batch_size=4, mean=(0,) * 3, std=(1,) * 3)
    return ImageStream(folder, **usual | options)


def test_stream_mixes_folders_by_its_seed_and_repeats_itself(pictures: Path) -> None:
    stream = plain(pictures)
    found = reds(stream)
    assert sorted(found) == list(range(10, 101, 10)) == sorted(reds(plain(pictures, seed=1)))
    assert found == reds(stream) == reds(plain(pictures))
    assert found != sorted(found)
    assert found != reds(plain(pictures, seed=1))
    assert found[:6] == reds(plain(pictures, limit=6))
    assert [len(batch) for batch in stream] == [4, 4, 2]
    assert [10 * int(Path(path).stem) + 10 for path in stream.paths] == found


def test_stream_normalises_the_middle_of_an_image(pictures: Path, tmp_path: Path) -> None:
    stream = plain(pictures, mean=(10, 5, 7), std=(2, 3, 4))
    first = next(iter(stream))
    assert (first.shape, first.dtype) == ((4, 3, 16, 16), torch.float32)
    expected = [(10 * int(Path(path).stem)) / 2 for path in stream.paths[:4]]
    assert first[:, 0, 3, 3].tolist() == pytest.approx(expected)
    assert first[:, 1:].abs().max() == 0
    # Of 64 x 32 px the middle 28 x 28 are kept, 7/8 of the shorter side as on ImageNet.
    image = np.zeros((32, 64, 3), np.uint8)
    image[2:30, 18:46] = 200
    (tmp_path / 'one').mkdir()
    assert cv2.imwrite(str(tmp_path / 'one/a.png'), image)
    batch = next(iter(plain(tmp_path / 'one', size=28, batch_size=1)))
    assert batch.min() == batch.max() == 200


def test_images_of_a_configs_validation_set(pictures: Path, tmp_path: Path) -> None:
    config = tmp_path / 'val.py'
    where = dict(data_root=str(pictures.parent), img_dir='pictures')
    pipeline = [dict(type='lightvit_dense.LoadImage')]
    dataset = dict(type='lightvit_dense.ImageNet', pipeline=pipeline, **where)
    config.write_text(f'val_dataloader = dict(batch_size=2, dataset={dataset!r})\n')
    assert reds(plain(validation_set(str(config)))) == reds(plain(pictures))
    config.write_text('model = dict()\n')
    with pytest.raises(UserError, match=r'val\.py has no val_dataloader'):
        validation_set(str(config))


def test_bad_images_and_too_few_are_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'10 images are taken of 10 .* fewer than one batch of 11'):
        plain(pictures, batch_size=11)
    with pytest.raises(UserError, match=r'3 images are taken of 10 .limit 3.* one batch of 4'):
        plain(pictures, limit=3)
    with pytest.raises(UserError, match='absent: no such folder'):
        plain(tmp_path / 'absent')
    damaged = pictures / 'class1/7.png'
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r'7\.png'):
        list(plain(pictures))


@torch.no_grad()
def test_layers_of_a_vision_transformer_are_its_norms_step_by_step() -> None:
    torch.manual_seed(0)
    arch = dict(embed_dim=24, depth=3, num_heads=2)
    model = VisionTransformer(arch, img_size=(32, 32), patch_size=8).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.norm1.weight)
    images = torch.randn(2, 3, 32, 48)  # 4 x 6 patches
    found, raw = layer_features(model, images), layer_features(model, images, 'block')
    x, grid = model.embed(images)
    for layer, block in enumerate(model.blocks):
        assert torch.allclose(found[layer], block.norm1(x)[:, 1:], atol=1e-6)
        assert torch.allclose(raw[layer], x[:, 1:], atol=1e-6)
        x, _ = block(x, grid)
    assert torch.allclose(found[3], model.norm(x)[:, 1:], atol=1e-6)
    assert torch.allclose(raw[3], x[:, 1:], atol=1e-6)
    assert list(found) == list(raw) == [0, 1, 2, 3]
    assert layer_maps(model, images)[2].shape == (2, 4, 6, 24)
    assert torch.equal(layer_maps(model, images)[2].flatten(1, 2), found[2])
    with pytest.raises(UserError, match="'blocks' are unknown; take one of norm, block"):
        layer_maps(model, images, 'blocks')


@torch.no_grad()
def test_layers_of_a_hiera_stand_in_the_order_of_space() -> None:
    """At the end of each stage the map is the stage's own output, which forward() returns."""
    torch.manual_seed(0)
    arch = dict(embed_dim=8, stages=(1, 2, 1, 1), num_heads=1)
    model = Hiera(arch, img_size=64, out_type='featmap', out_indices=(0, 1, 2, 3)).eval()
    images = torch.randn(2, 3, 64, 96)
    raw, found = layer_maps(model, images, 'block'), layer_maps(model, images)
    outputs = [x.permute(0, 2, 3, 1) for x in model(images)]
    for layer, output in zip((1, 3, 4), outputs, strict=False):
        assert torch.allclose(raw[layer], output, atol=1e-5)
        assert torch.allclose(found[layer], model.blocks[layer].norm1(output), atol=1e-5)
    assert torch.allclose(found[5], outputs[3], atol=1e-5)  # the final norm is in both
    shapes = [(16, 24, 8)] * 2 + [(8, 12, 16)] * 2 + [(4, 6, 32), (2, 3, 64)]
    assert [tuple(found[i].shape[1:]) for i in range(6)] == shapes
    position = model.patch_embed(images) + torch.nn.functional.interpolate(
        model.pos_embed.unflatten(1, (16, 16)).permute(0, 3, 1, 2), size=(16, 24), mode='bicubic'
    ).permute(0, 2, 3, 1)
    assert torch.allclose(raw[0], position, atol=1e-4)
