"""OSTrack-256 on Hiera-Tiny from D-MAE.

What      The recipe of `ostrack256_dmae_tiny.py` on Hiera-Tiny with two poolings, as in its masked
          pre-training, so that its map has a stride of 16. Template and search image are one set of
          mask units; candidates are eliminated in blocks that attend over all tokens.
Source    Ours: nobody has published a one-stream Hiera.
Expected  Nothing is published for it. Not run by us.
Cost      Not known.
Run       tools/dist_train.sh configs/lasot/ostrack256_dmae_hiera-tiny.py 4
"""

_base_ = '../_base_/tasks/ostrack256_tiny.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='tracking.JointHiera',
        arch='tiny',
        drop_path_rate=0.1,
        elimination=dict(keep=0.7),
        template_tokens='center',
        init_cfg=dict(
            type='lightvit_dense.PretrainedBackbone',
            checkpoint='work_dirs/dmae_hiera-tiny/backbone.safetensors',
        ),
    )
)

expected = None
