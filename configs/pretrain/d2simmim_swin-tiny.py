"""D²-SimMIM on Swin-Tiny (width 48): SimMIM with decoupled attention distillation.

What      The decoder reads the patches that the second stage hands on (block 4, 14x14 of width
          192), so that the third and the fourth stage learn from the teacher alone; a query-key
          block behind block 12 is matched to the teacher's last block, relative positions included.
          Both see the same masked image. The exported backbone is the plain Swin-Tiny.
Source    The authors' SimMIM distillation configuration; arXiv 2404.12210.
Expected  77.8% ImageNet-1k top-1 after fine-tuning (paper). Not run by us.
Cost      Not published.
Run       tools/dist_train.sh configs/pretrain/d2simmim_swin-tiny.py 8 --amp \
          --work-dir work_dirs/d2simmim_swin-tiny

The teacher is the papers' Swin-Small after SimMIM: that of `simmim_swin-small.py`, or the authors'
`swin_small_800e.pth.tar`, which their documentation links.
"""

_base_ = './simmim_swin-tiny.py'

model = dict(
    backbone=dict(drop_path_rate=0.1 * 11 / 12),  # theirs counts 13 blocks
    reconstruct_after=4,
    distiller=dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=dict(
            type='lightvit_dense.SwinTransformer',
            arch='small',
            img_size=224,
            mask_token=True,
            init_cfg=dict(
                type='lightvit_dense.PretrainedBackbone',
                checkpoint='work_dirs/simmim_swin-small/backbone.safetensors',
            ),
        ),
        pairs=[(13, 12)],
        extra_layer=True,
        loss_weight=1.0,
    ),
)
