"""Small models, and what tests of several of them need."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from lightvit_dense.registry import MODELS, PARAM_SCHEDULERS

VIT = 'lightvit_dense.VisionTransformer'
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NORMALISER = dict(
    type='mmengine.ImgDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=False
)


def vit(embed_dim: int = 32, depth: int = 2, num_heads: int = 4, **options: Any) -> dict:
    """Return the config of a ViT of 4 x 4 patches."""
    arch = dict(embed_dim=embed_dim, depth=depth, num_heads=num_heads)
    return dict(type=VIT, arch=arch, img_size=32, patch_size=8, pos_embed='sincos') | options


def distiller(teacher: dict, *pairs: tuple[int, int], **options: Any) -> dict:
    pairs_of = dict(pairs=list(pairs)) if pairs else {}
    return dict(type='lightvit_dense.AttentionDistiller', teacher=teacher) | pairs_of | options


def labelled(labels: Iterable[int]) -> list[BaseDataElement]:
    return [BaseDataElement(gt_label=label) for label in labels]


def randomise(model: nn.Module, std: float = 0.1) -> nn.Module:
    """Give every parameter another value: zeros and ones would hide a swap."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * std)
    return model.eval()


def hiera(embed_dim: int = 8, stages: tuple = (1, 2, 3, 2), **options: Any) -> dict:
    """Return the config of a Hiera of one head at first."""
    arch = dict(embed_dim=embed_dim, stages=stages, num_heads=1)
    return dict(type='lightvit_dense.Hiera', arch=arch, img_size=64) | options


def swin(embed_dim: int = 12, depths: tuple = (1, 2, 2), **options: Any) -> dict:
    """Return the config of a Swin of windows of 4 x 4 patches."""
    arch = dict(embed_dim=embed_dim, depths=depths, num_heads=embed_dim // 4)
    small = dict(type='lightvit_dense.SwinTransformer', arch=arch, img_size=64, window_size=4)
    return small | options


def classifier(backbone: dict | None = None, **options: Any) -> nn.Module:
    """Build a classifier of five classes on a small ViT; ``head`` adds options of the head."""
    torch.manual_seed(0)
    head = dict(num_classes=5) | options.pop('head', {})
    backbone = vit(16, 2, 2, pos_embed='learned') | (backbone or {})
    return MODELS.build(
        dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=head, **options)
    )


def init_from(path: object, kind: str = 'PretrainedBackbone', **options: Any) -> dict:
    """Return the ``init_cfg`` of what starts from a file."""
    return dict(type=f'lightvit_dense.{kind}', checkpoint=str(path)) | options


def rates_and_decays(model: nn.Module, optim_wrapper: dict) -> dict[str, tuple[float, float]]:
    """Return the learning rate and the weight decay of each parameter that is trained."""
    groups = build_optim_wrapper(model, copy.deepcopy(optim_wrapper)).param_groups
    found = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    return {name: found[id(p)] for name, p in model.named_parameters() if p.requires_grad}


def silent(model: nn.Module) -> list[str]:
    """Name the parameters whose gradient is missing, zero or not finite."""
    grads = {name: p.grad for name, p in model.named_parameters()}
    return [n for n, g in grads.items() if g is None or not g.isfinite().all() or not g.any()]


def reached(loss: Tensor, model: nn.Module) -> set[str]:
    """Name the parameters that a loss trains."""
    grads = gradients(loss, model)
    return {name for name, grad in grads.items() if grad is not None and grad.any()}


def assert_same_gradients(ours: Tensor, theirs: Tensor, model: nn.Module, **limits: float) -> None:
    """Compare the gradients of two losses in all parameters of a model that are trained."""
    expected = gradients(theirs, model)
    for name, grad in gradients(ours, model).items():
        assert (grad is None) == (expected[name] is None), name
        if grad is not None:
            torch.testing.assert_close(grad, expected[name], msg=name, **limits)


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor | None]:
    """Return the gradient of each parameter that is trained, ``None`` where there is none."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True, allow_unused=True)
    return {name: grad for (name, _), grad in zip(named, found, strict=True)}


def pairwise_attention(attn: nn.Module, x: Tensor, bias: Callable) -> tuple[Tensor, Tensor]:
    """Attend pair by pair, ``bias(query, i, j)`` beside the product; return output and logits."""
    q, k, v = attn.qkv(x).unflatten(2, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    logits = x.new_empty(*q.shape[:3], x.shape[1])
    for i in range(x.shape[1]):
        for j in range(x.shape[1]):
            product = (q[:, :, i] * k[:, :, j]).sum(-1) / q.shape[-1] ** 0.5
            logits[:, :, i, j] = product + bias(q[:, :, i], i, j)
    return attn.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2)), logits


def scheduled(cfg: Config, groups: list[dict], epochs: int, length: int) -> Iterator[list[float]]:
    """Yield the rates of parameter groups before each step of a config's schedule."""
    for group in groups:
        group['params'] = [nn.Parameter(torch.zeros(1))]
    optimizer, schedulers = torch.optim.SGD(groups, lr=0.1), []
    listed = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    for options in listed:
        options = dict(end=epochs, optimizer=optimizer, epoch_length=length) | dict(options)
        options.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(options.pop('type'))
        schedulers.append(kind.build_iter_from_epoch(**options))
    for _ in range(epochs * length):
        yield [group['lr'] for group in optimizer.param_groups]
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
