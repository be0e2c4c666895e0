"""One-stream tracker on ViT-Tiny: template 128 px, search 256 px, candidate elimination."""

model = dict(
    type='tracking.OneStreamTracker',
    data_preprocessor=dict(
        type='tracking.PairPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(
        type='tracking.JointVisionTransformer',
        arch='tiny',
        patch_size=16,
        drop_path_rate=0.1,
        # 256 -> 180 -> 126 -> 89 search tokens, after the attention of blocks 3, 6 and 9.
        elimination=dict(blocks=(3, 6, 9), keep=0.7),
        template_tokens='center',
    ),
    head=dict(type='tracking.CenterHead', channels=256),
    template_size=128,
    search_size=256,
    template_factor=2.0,  # of the root of the box's area
    search_factor=4.0,
    loss_weights=dict(score=1.0, giou=2.0, l1=5.0),
)
