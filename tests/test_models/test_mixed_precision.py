"""What mixed precision must not change: boxes, the residual stream, what a training comes to."""

import pytest
import timm
import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.models import MAE
from lightvit_dense.models.layers import Block
from lightvit_dense.registry import MODELS
from tests.helpers.models import distiller, vit

SIDE = 640


def recall(kind: str, dtype: torch.dtype) -> float:
    """Return the ratio of boxes that a proposal overlaps by 0.9 where every anchor is right."""
    prepare_scope(cfg := load_config('configs/coco/maskrcnn_dmae_tiny.py'))
    parts = dict(train_cfg=cfg.model.train_cfg.rpn, test_cfg=cfg.model.test_cfg.rpn, type=kind)
    head, maps = MODELS.build(cfg.model.rpn_head | parts), ([], [])
    sides = 2 ** (4 + 4 * torch.rand(80, 2, generator=torch.Generator().manual_seed(0)))  # px
    corner = torch.arange(160).view(80, 2) * 97.3 % (SIDE - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    sizes = [(SIDE // stride,) * 2 for stride in (4, 8, 16, 32, 64)]
    priors = head.prior_generator.grid_priors(sizes, device='cpu')
    for size, anchors in zip(sizes, priors, strict=True):
        overlap, which = bbox_overlaps(anchors, boxes).max(1)
        said = 8 * overlap - 4, head.bbox_coder.encode(anchors, boxes[which])
        for levels, values in zip(maps, said, strict=True):
            # What bf16 can say [rows*columns*3, c] -> [1, 3*c, rows, columns]
            levels.append(values.bfloat16().to(dtype).reshape(1, *size, -1).permute(0, 3, 1, 2))
    metas, wanted = [dict(img_shape=(SIDE, SIDE))], cfg.model.train_cfg.rpn_proposal
    with torch.autocast('cpu', torch.bfloat16):
        found = head.predict_by_feat(*maps, batch_img_metas=metas, cfg=wanted)
    return (bbox_overlaps(boxes, found[0].bboxes.float()).amax(1) >= 0.9).float().mean().item()


def test_proposals_are_as_exact_in_bf16_as_in_fp32() -> None:
    exact = recall('lightvit_dense.RPNHead', torch.float32)
    assert recall('lightvit_dense.RPNHead', torch.bfloat16) == exact
    assert recall('mmdet.RPNHead', torch.bfloat16) < exact - 0.04


def test_regions_are_cut_out_where_their_boxes_are() -> None:
    layer = dict(type='RoIAlign', output_size=2, sampling_ratio=2)
    options = dict(featmap_strides=[4], out_channels=1, roi_layer=layer)
    extractor = MODELS.build(dict(type='lightvit_dense.RoIExtractor', **options))
    ramp = torch.arange(SIDE // 4).float().expand(1, 1, SIDE // 4, -1)
    rois = torch.tensor([[0.0, 513.9, 10, 537.9, 34]])  # bf16 has 512, 516, ...
    assert torch.equal(extractor([ramp], rois), extractor([ramp.bfloat16()], rois))


def stream(model: nn.Module, *inputs: Tensor, **options: str) -> set[torch.dtype]:
    """Return the types of what enters the blocks of a model under AMP."""
    found: set[torch.dtype] = set()
    for block in model.modules():
        if isinstance(block, (Block, timm.models.vision_transformer.Block)):
            block.norm1.register_forward_pre_hook(lambda _, inputs: found.add(inputs[0].dtype))
    with torch.autocast('cpu', torch.bfloat16):
        model(*inputs, **options)
    return found


def test_the_residual_stream_is_fp32_as_in_timm_and_mae() -> None:
    image = torch.randn(2, 3, 32, 32)
    theirs = timm.create_model('vit_tiny_patch16_224', img_size=32, depth=2)
    assert stream(theirs, image) == {torch.float32}
    model = MAE(vit(), decoder=dict(embed_dim=16, num_heads=2), distiller=distiller(vit(), (2, 2)))
    assert stream(model, image, mode='loss') == {torch.float32}


def curve(amp: bool, steps: int = 150) -> tuple[float, float]:
    """Return the loss of a small MAE on waves of random slopes, at first and in the end."""
    torch.manual_seed(0)
    model = MAE(vit(), decoder=dict(embed_dim=32, num_heads=2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    slopes, place = torch.randn(16, 3, 2) / 3, torch.arange(32.0)
    images = (slopes[..., :1, None] * place[:, None] + slopes[..., 1:, None] * place).sin()
    losses = []
    for _ in range(steps):
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss = model.loss(images)['loss_reconstruction']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], sum(losses[-20:]) / 20


def test_a_training_in_bf16_comes_to_the_same_loss() -> None:
    first, exact = curve(amp=False)
    assert exact < 0.8 * first
    assert curve(amp=True)[1] == pytest.approx(exact, rel=0.03)
