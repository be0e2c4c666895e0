"""OSTrack-256 on ViT-Tiny from D-MAE, trained on GOT-10k alone, 100 epochs.

What      GOT-10k's protocol: no other training data. Training on `train_full`, validation and test
          on its validation set (AO, SR); results for its server are written by `python -m
          tracking.tools.run_dataset` with `--format got10k`.
Source    OSTrack's configuration for GOT-10k (Ye et al. 2022), with our backbone.
Expected  Nothing is published for ViT-Tiny. Not run by us.
Cost      4 GPUs; a third of `ostrack256_dmae_tiny.py`.
Run       tools/dist_train.sh configs/lasot/ostrack256_dmae_tiny_got10k.py 4
"""

_base_ = '../_base_/tasks/ostrack256_tiny.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/dmae_vit-tiny/backbone.safetensors'))
)
root = '{{$LIGHTVIT_DATA:data}}'
train_dataloader = dict(
    dataset=dict(
        sets=[
            dict(
                type='tracking.GOT10k',
                data_root=f'{root}/got10k',
                split='train_full',
                source='folder',
            )
        ],
        ratios=[1],
    )
)
val_dataloader = dict(
    dataset=dict(
        sets=[
            dict(type='tracking.GOT10k', data_root=f'{root}/got10k', split='val', source='folder')
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        sequences=dict(
            _delete_=True,
            type='tracking.GOT10k',
            data_root=f'{root}/got10k',
            split='val',
            source='folder',
        )
    )
)
test_evaluator = dict(_delete_=True, type='tracking.GOT10kMetric')
extra_tests = None
param_scheduler = dict(type='mmengine.MultiStepLR', by_epoch=True, milestones=[80], gamma=0.1)
train_cfg = dict(max_epochs=100)
default_hooks = dict(elimination=dict(end=50))

expected = None
