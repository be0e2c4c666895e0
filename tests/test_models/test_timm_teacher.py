"""timm's networks as teachers: their logits against an explicit computation, masks, weights."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from lightvit_dense.checkpoints import CheckpointError
from lightvit_dense.models import VisionTransformer
from lightvit_dense.models.pretraining import TimmTeacher
from tests.helpers.models import init_from


def teacher(name: str, size: int = 64, **options: object) -> TimmTeacher:
    torch.manual_seed(0)
    return TimmTeacher(name, size, **options).eval()


def test_logits_equal_our_own_networks_with_the_same_weights(tmp_path: Path) -> None:
    theirs = teacher('vit_tiny_patch16_224')
    ours = VisionTransformer(dict(embed_dim=192, depth=12, num_heads=3), img_size=64)
    ours.load_state_dict(theirs.model.state_dict())
    image, ids = torch.randn(2, 3, 64, 64), torch.rand(2, 16).argsort(1)[:, :5]
    for kept in (None, ids):
        found, wanted = (m.attention_logits(image, (1, 7, 12), kept) for m in (theirs, ours))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    encoding, reference = (m.encode(image, ids, (3,), (1, 12)) for m in (theirs, ours))
    torch.testing.assert_close(encoding.tokens, reference.tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoding.hidden, reference.hidden, atol=1e-5, rtol=1e-5)
    assert theirs.keep.ids is None


@pytest.mark.parametrize(
    ('name', 'size', 'prefix'),
    [
        ('vit_small_patch14_reg4_dinov2', 56, 5),
        ('vit_small_patch16_dinov3', 64, 5),  # rotary positions
        ('eva02_tiny_patch14_224', 56, 1),
        ('deit_tiny_distilled_patch16_224', 64, 2),
    ],
)
def test_the_network_attends_by_the_softmax_of_the_logits(
    name: str, size: int, prefix: int
) -> None:
    network = teacher(name, size)
    assert (network.grid_size, network.num_prefix_tokens) == ((4, 4), prefix)
    assert network.attention_shape(1) == (16 + prefix, 16 + prefix)
    image, ids = torch.randn(2, 3, size, size), torch.rand(2, 16).argsort(1)[:, :5]
    seen = {}
    network.blocks[1].attn.fused_attn = False  # timm's explicit path shows its softmax
    with torch.no_grad():
        handle = network.blocks[1].attn.attn_drop.register_forward_hook(
            lambda _m, _a, out: seen.update(attention=out)
        )
        network.encode(image, ids)
    handle.remove()
    network.blocks[1].attn.fused_attn = True
    logits = network.attention_logits(image, (2,), ids)[2]
    torch.testing.assert_close(logits.softmax(-1), seen['attention'], atol=1e-5, rtol=1e-5)


def test_nothing_runs_after_the_last_product() -> None:
    network, ran = teacher('vit_tiny_patch16_224'), []
    for index, block in enumerate(network.blocks, start=1):
        block.attn.proj.register_forward_hook(lambda *_, i=index: ran.append(i))
    network.attention_logits(torch.randn(1, 3, 64, 64), (2, 3))
    assert ran == [1, 2]


def test_weights_come_from_a_file_of_another_image_size(tmp_path: Path) -> None:
    source = timm.create_model('vit_tiny_patch16_224', img_size=96)
    save_file(source.state_dict(), tmp_path / 'weights.safetensors')
    init = init_from(tmp_path / 'weights.safetensors')
    network = teacher('vit_tiny_patch16_224', init_cfg=init)
    network.init_weights()
    wanted = source.blocks[5].attn.qkv.weight
    torch.testing.assert_close(network.blocks[5].attn.qkv.weight, wanted)
    assert network.model.pos_embed.shape == (1, 17, 192)
    with pytest.raises(CheckpointError, match=r'does not fit vit_small_patch16_224: [^\n]* more\)'):
        teacher('vit_small_patch16_224', init_cfg=init).init_weights()
    save_file({'a': torch.zeros(1)}, tmp_path / 'weights.safetensors')
    with pytest.raises(CheckpointError, match=r'Missing: .*cls_token'):
        network.init_weights()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('vit_tinny_patch16_224', 'timm knows no model'),
        ('resnet18', 'takes no img_size'),
        ('swin_tiny_patch4_window7_224', 'no plain vision transformer'),
        ('cait_xxs24_224', 'no plain vision transformer'),
    ],
)
def test_other_networks_are_refused_when_built(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimmTeacher(name, 224 if name != 'resnet18' else 64)


def test_unreachable_weights_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError('no route to host')

    monkeypatch.setattr(timm, 'create_model', refuse)
    with pytest.raises(ValueError, match=r'could not fetch its weights .*no route to host'):
        TimmTeacher('vit_tiny_patch16_224', 64, pretrained=True)
