"""LaSOT, GOT-10k, COCO 2017 and TrackingNet in equal shares, 60 000 pairs an epoch.

Validation is on pairs of GOT-10k's `votval` list, the test is LaSOT's; `--extra got10k` adds
GOT-10k's validation set. Set `source` to 'lmdb' where the data lie in LMDBs.
"""

root = '{{$LIGHTVIT_DATA:data}}'
crops = dict(
    template=dict(size=128, factor=2.0, center_jitter=0.0, scale_jitter=0.0),
    search=dict(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25),
)

train_dataloader = dict(
    batch_size=32,  # x 4 GPUs = 128
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='lightvit_dense.SeededSampler', shuffle=True),
    collate_fn=dict(type='mmengine.default_collate'),
    dataset=dict(
        type='tracking.PairDataset',
        sets=[
            dict(type='tracking.LaSOT', data_root=f'{root}/lasot', split='train', source='folder'),
            dict(
                type='tracking.GOT10k',
                data_root=f'{root}/got10k',
                split='vottrain',
                source='folder',
            ),
            dict(
                type='tracking.CocoSequences',
                data_root=f'{root}/coco',
                ann_file='annotations/instances_train2017.json',
                img_prefix='train2017',
                source='folder',
                min_size=0.0,  # every object that is no crowd, as the authors' sampler takes them
            ),
            dict(
                type='tracking.TrackingNet',
                data_root=f'{root}/trackingnet',
                split='train',
                source='folder',
            ),
        ],
        ratios=[1, 1, 1, 1],
        samples_per_epoch=60000,
        mode='causal',
        max_interval=200,
        joint=dict(gray=0.05, flip=0.5),
        brightness=0.2,
        flip=0.5,  # of each crop by itself, as in the authors' code
        **crops,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    collate_fn=dict(type='mmengine.default_collate'),
    dataset=dict(
        type='tracking.PairDataset',
        sets=[
            dict(
                type='tracking.GOT10k',
                data_root=f'{root}/got10k',
                split='votval',
                source='folder',
            )
        ],
        samples_per_epoch=10000,
        joint=dict(gray=0.05, flip=0.5),
        brightness=0.0,
        flip=0.0,
        test_mode=True,
        **crops,
    ),
)
val_evaluator = dict(type='tracking.PairIoU')

test_dataloader = dict(
    batch_size=1,
    num_workers=0,  # an item is a list of files; test_cfg.decode_workers read them
    sampler=dict(type='tracking.LongestFirstSampler'),
    collate_fn=dict(type='mmengine.pseudo_collate'),
    dataset=dict(
        type='tracking.SequenceDataset',
        sequences=dict(
            type='tracking.LaSOT', data_root=f'{root}/lasot', split='test', source='folder'
        ),
    ),
)
test_evaluator = dict(type='tracking.OnePassEvaluation', toolkit='pytracking')

# tools/test.py --extra got10k
extra_tests = dict(
    got10k=dict(
        dataloader=dict(
            batch_size=1,
            num_workers=0,
            sampler=dict(type='tracking.LongestFirstSampler'),
            collate_fn=dict(type='mmengine.pseudo_collate'),
            dataset=dict(
                type='tracking.SequenceDataset',
                sequences=dict(
                    type='tracking.GOT10k',
                    data_root=f'{root}/got10k',
                    split='val',
                    source='folder',
                ),
            ),
        ),
        evaluator=dict(type='tracking.GOT10kMetric'),
    ),
)
