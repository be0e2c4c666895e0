"""D-MAE against the paper's equation, written as a straight line."""

import torch
from torch import Tensor

from lightvit_dense.models import MAE
from tests.helpers.models import assert_same_gradients, distiller, vit


def small_dmae(*pairs: tuple[int, int]) -> MAE:
    decoder = dict(embed_dim=16, num_heads=2)
    taught = distiller(vit(48, 4, 6), *(pairs or [(3, 4)]))
    return MAE(vit(depth=3), decoder=decoder, distiller=taught)


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
