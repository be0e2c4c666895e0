import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightvit_dense.deploy import compare_onnx, export_onnx, onnx_session
from lightvit_dense.errors import UserError
from lightvit_dense.registry import MODELS

SMALL = dict(embed_dim=24, depth=2, num_heads=3)
VIT = dict(type='lightvit_dense.VisionTransformer', arch=SMALL, patch_size=8)


def build(**backbone: object) -> nn.Module:
    torch.manual_seed(0)
    backbone = dict(final_norm=False, img_size=32) | backbone
    kind = 'lightvit_dense.ImageClassifier'
    model = MODELS.build(dict(type=kind, backbone=backbone, head=dict(num_classes=5)))
    for name, parameter in model.named_parameters():
        if 'relative_position' in name:
            nn.init.normal_(parameter)
    return model.eval()


@pytest.mark.parametrize(
    'backbone',
    [
        VIT,
        VIT | dict(rel_pos=dict(kind='bias')),
        dict(
            type='lightvit_dense.Hiera',
            arch=dict(embed_dim=8, stages=(1, 1), num_heads=1, mask_unit=4),
            q_pool=1,
            mask_unit_attn=(True, False),
        ),
    ],
    ids=['plain', 'relative', 'hiera'],
)
def test_a_classifier_gives_the_same_logits_for_any_batch(backbone: dict, tmp_path: Path) -> None:
    model = build(**backbone)
    path = export_onnx(
        model, tmp_path / 'new' / 'model.onnx', torch.randn(2, 3, 32, 32), ['logits']
    )
    session = onnx_session(path, threads=1)
    assert [out.name for out in session.get_outputs()] == ['logits']
    for batch in (1, 2, 5):
        parity = compare_onnx(session, model, torch.randn(batch, 3, 32, 32))
        assert parity.relative < 1e-5
        assert parity.largest < 1e-5


def test_tables_of_relative_positions_stay_small(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arch = dict(embed_dim=16, depth=6, num_heads=4)
    model = MODELS.build(VIT | dict(arch=arch, img_size=128, rel_pos=dict(kind='bias'))).eval()
    for block in model.blocks:
        nn.init.normal_(block.attn.relative_position_bias_table)  # equal tables would be kept once
    path = export_onnx(model, tmp_path / 'model.onnx', torch.randn(1, 3, 128, 128), ['tokens'])
    pairs = (16 * 16 + 1) ** 2
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # One int64 index for all blocks; the biases of a single block are 16 bytes a pair.
    assert path.stat().st_size < 4 * parameters + 8 * pairs + 2**17


def test_a_backbone_with_several_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = dict(img_size=(32, 48), out_type='featmap', out_indices=(0, 1))
    model = MODELS.build(VIT | options).eval()
    images = torch.randn(1, 3, 32, 48)
    path = export_onnx(model, tmp_path / 'model.onnx', images, ['map'], dynamic_batch=False)
    session = onnx_session(path, threads=1)
    assert [out.name for out in session.get_outputs()] == ['map0', 'map1']
    assert session.get_outputs()[1].shape == [1, 24, 4, 6]
    assert compare_onnx(session, model, images).relative < 1e-5
    with pytest.raises(ValueError, match='2 outputs, output_names has 3'):
        export_onnx(model, tmp_path / 'model.onnx', images, ['a', 'b', 'c'])


def test_a_difference_is_found(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    images = torch.randn(1, 3, 2, 2)
    path = export_onnx(model, tmp_path / 'model.onnx', images)
    expected = model(images)
    with torch.no_grad():
        model[1].bias[0] += 0.25
    parity = compare_onnx(onnx_session(path, threads=1), model, images)
    moved = expected + torch.tensor([0.25, 0])
    assert parity.largest == pytest.approx(0.25, abs=1e-5)
    assert parity.relative == pytest.approx(0.25 / moved.abs().max().item(), rel=1e-4)


def test_bad_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {'logits': images}

    images = torch.randn(1, 3, 2, 2)
    with pytest.raises(ValueError, match='evaluation mode'):
        export_onnx(nn.Conv2d(3, 3, 1), tmp_path / 'model.onnx', images)
    with pytest.raises(ValueError, match='this one a dict'):
        export_onnx(Named().eval(), tmp_path / 'model.onnx', images)
    with pytest.raises(UserError, match=r'absent.onnx: no such ONNX file'):
        onnx_session(tmp_path / 'absent.onnx')
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(UserError, match=r'onnx is not installed.*pip install onnx onnxruntime'):
        export_onnx(nn.Identity().eval(), tmp_path / 'model.onnx', images)
