"""MAE and D-MAE against Hugging Face and a straight-line reference."""

import math

import pytest
import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from lightvit_dense.checkpoints.key_mapping import rename
from lightvit_dense.checkpoints.sources import merge_qkv
from lightvit_dense.models import MAE
from lightvit_dense.models.layers import sincos_position
from lightvit_dense.models.pretraining import random_masking
from tests.helpers.models import VIT, assert_same_gradients, distiller, gradients, vit


def small_mae(**options: object) -> MAE:
    return MAE(vit(depth=3), decoder=dict(embed_dim=16, num_heads=2), **options)


def small_dmae(*pairs: tuple[int, int]) -> MAE:
    return small_mae(distiller=distiller(vit(48, 4, 6), *(pairs or [(3, 4)])))


def _from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename ViTMAE's parameters to ours."""
    rules = (
        (r'vit\.embeddings\.position_embeddings', 'backbone.pos_embed'),
        (r'vit\.embeddings\.cls_token', 'backbone.cls_token'),
        (r'vit\.embeddings\.patch_embeddings\.projection', 'backbone.patch_embed.proj'),
        (r'vit\.layers\.', 'backbone.blocks.'),
        (r'vit\.layernorm', 'backbone.norm'),
        (r'decoder\.decoder_layers\.', 'decoder.blocks.'),
        (r'decoder\.decoder_', 'decoder.'),
        (r'layernorm_before', 'norm1'),
        (r'layernorm_after', 'norm2'),
        (r'attention\.o_proj', 'attn.proj'),
        (r'attention\.q_proj', 'attn.query'),
        (r'attention\.k_proj', 'attn.key'),
        (r'attention\.v_proj', 'attn.value'),
    )
    return merge_qkv(rename(state, rules))


def test_equals_hugging_face_at_vit_tiny_size() -> None:
    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=12, intermediate_size=768,
        decoder_hidden_size=96, decoder_num_hidden_layers=1, decoder_num_attention_heads=3,
        decoder_intermediate_size=384, norm_pix_loss=True, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = ViTMAEForPreTraining(config).eval()
    for parameter in theirs.parameters():  # zero-initialised biases would hide a swap
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.02)
    ours = MAE(dict(type=VIT, arch='tiny', pos_embed='sincos')).eval()
    ours.load_state_dict(_from_hugging_face(theirs.state_dict()), strict=True)

    image, noise = torch.randn(2, 3, 224, 224), torch.rand(2, 196)
    loss = ours.loss(image, noise=noise)['loss_reconstruction']
    reference = theirs(image, noise=noise).loss
    assert loss.item() == pytest.approx(reference.item(), abs=1e-5)
    expected = _from_hugging_face(gradients(reference, theirs))
    found = gradients(loss, ours)
    assert found.keys() == expected.keys()
    assert len(found) == 12 * 12 + 12 + 5 + 7
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_fixed_positions_are_maes() -> None:
    """MAE codes the column in the first half of the channels (its meshgrid puts w first)."""
    table, quarter = sincos_position(8, (2, 3), 1)[0], 2
    assert not table[0].any()
    for row in range(2):
        for column in range(3):
            expected = [
                function(position / 10000 ** (i / quarter))
                for position in (column, row)
                for function in (math.sin, math.cos)
                for i in range(quarter)
            ]
            assert table[1 + 3 * row + column].tolist() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match='divisible by 4'):
        sincos_position(30, (2, 2))


def test_decoder_has_the_papers_size() -> None:
    model = MAE(dict(type=VIT, arch='tiny', pos_embed='sincos'))
    trained = sum(p.numel() for p in model.decoder.parameters() if p.requires_grad)
    assert trained == 205_152


@pytest.mark.parametrize(
    ('patches', 'ratio', 'kept'), [(196, 0.75, 49), (16, 0.75, 4), (10, 0.33, 6)]
)
def test_masking_is_a_partition_with_maes_rounding(patches: int, ratio: float, kept: int) -> None:
    masking = random_masking(3, patches, ratio)
    assert masking.ids_keep.shape == (3, kept)
    both = torch.cat([masking.ids_keep, masking.ids_mask], dim=1)
    assert torch.equal(both.sort(1).values, torch.arange(patches).expand(3, -1))
    assert torch.equal(both.gather(1, masking.ids_restore), torch.arange(patches).expand(3, -1))


def test_masking_rejects_nonsense() -> None:
    with pytest.raises(ValueError, match='keeps 0 of 16'):
        random_masking(1, 16, 0.99)
    with pytest.raises(ValueError, match='noise is'):
        random_masking(2, 16, 0.5, noise=torch.rand(2, 9))
    with pytest.raises(ValueError, match='keeps 0 of 16'):
        small_mae(mask_ratio=0.99)


def _equation_3(model: MAE, image: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """L_MAE + MSE(M A_s, A_t), term by term, image by image, without any of the model's methods."""

    def tokens_of(vit: torch.nn.Module, picture: Tensor, kept: Tensor) -> Tensor:
        rows = []
        for n in kept.tolist():
            y, x = divmod(n, 4)
            patch = picture[:, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
            weight, bias = vit.patch_embed.proj.weight, vit.patch_embed.proj.bias
            rows.append((weight * patch).sum((1, 2, 3)) + bias + vit.pos_embed[0, 1 + n])
        return torch.stack([vit.cls_token[0, 0] + vit.pos_embed[0, 0], *rows])

    def attend(block: torch.nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        heads = block.attn.num_heads
        d = x.shape[1] // heads
        q, k, v = block.attn.qkv(block.norm1(x)).split(x.shape[1], dim=1)
        logits, outs = [], []
        for h in range(heads):
            part = slice(h * d, (h + 1) * d)
            a = q[:, part] @ k[:, part].T / d**0.5
            logits.append(a)
            outs.append(a.softmax(-1) @ v[:, part])
        x = x + block.attn.proj(torch.cat(outs, 1))
        return x + block.mlp(block.norm2(x)), torch.stack(logits)

    student, teacher, decoder = model.backbone, model.distiller.teacher, model.decoder
    reconstruction, distillation = [], []
    for picture, noises in zip(image, noise, strict=True):
        order = noises.argsort()
        kept, hidden = order[:4], order[4:]
        x, t = tokens_of(student, picture, kept), tokens_of(teacher, picture, kept)
        for block in student.blocks:
            x, ours = attend(block, x)
        for block in teacher.blocks:
            t, theirs = attend(block, t)
        mapped = torch.einsum('ts,sij->tij', model.distiller.head_maps[0].weight[:, :, 0, 0], ours)
        distillation.append((mapped - theirs).square().mean())
        y = decoder.embed(student.norm(x))
        full = decoder.mask_token[0].repeat(16, 1)
        full[kept] = y[1:]
        full = torch.cat([y[:1], full]) + decoder.pos_embed[0]
        for block in decoder.blocks:
            full, _ = attend(block, full)
        pred = decoder.pred(decoder.norm(full))[1:]
        for n in hidden.tolist():
            row, column = divmod(n, 4)
            patch = picture[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            target = patch.permute(1, 2, 0).flatten()
            target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
            reconstruction.append((pred[n] - target).square().mean())
    return {
        'loss_reconstruction': torch.stack(reconstruction).mean(),
        'loss_distill': torch.stack(distillation).mean(),
    }


def test_dmae_equals_equation_3() -> None:
    torch.manual_seed(0)
    model = small_dmae().double()
    image = torch.randn(3, 3, 32, 32, dtype=torch.double)
    noise = torch.rand(3, 16)
    losses, reference = model.loss(image, noise=noise), _equation_3(model, image, noise)
    for name, value in reference.items():
        torch.testing.assert_close(losses[name], value)
        assert_same_gradients(losses[name], value, model)


def test_teacher_stops_at_the_last_query_key_product_without_autograd() -> None:
    model = small_dmae((3, 2))
    teacher, ran = model.distiller.teacher, []
    for index, block in enumerate(teacher.blocks):
        block.attn.proj.register_forward_hook(lambda *_, i=index: ran.append(i))
    out = model.distiller.teacher_view(torch.randn(2, 3, 32, 32), torch.zeros(2, 4).long())
    assert ran == [0]
    assert not out.logits[2].requires_grad


def test_loss_weight_is_live_and_pairs_average() -> None:
    torch.manual_seed(0)
    model = small_dmae((1, 2), (3, 4))
    image, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    once = model.loss(image, noise=noise)['loss_distill']
    model.distiller.loss_weight = 0.25
    torch.testing.assert_close(model.loss(image, noise=noise)['loss_distill'], 0.25 * once)
