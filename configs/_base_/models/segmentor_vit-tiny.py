"""A segmentor on plain ViT-Tiny, without its neck and heads."""

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='lightvit_dense.EncoderDecoder',
    keep_scores=False,  # labels alone: 150 maps of scores would take the memory
    data_preprocessor=dict(
        type='lightvit_dense.SegmentationPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),  # of training; smaller crops are filled up
    ),
    backbone=dict(
        type='lightvit_dense.VisionTransformer',
        arch='tiny',
        img_size=224,  # the grid of the position table; resized to the image's
        patch_size=16,
        cls_token=True,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        drop_path_rate=0.1,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
