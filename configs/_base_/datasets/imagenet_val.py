"""ImageNet-1k's validation images, centre crops; ReaL and V2 on request (--extra)."""

val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    collate_fn=dict(type='lightvit_dense.collate_images'),
    dataset=dict(
        type='lightvit_dense.ImageNet',
        data_root='{{$LIGHTVIT_DATA:data}}/imagenet/',
        img_dir='val',
        classes='train',  # a class missing in the validation folder would shift all labels
        source='folder',
        lmdb_path='imagenet.lmdb',
        test_mode=True,
        pipeline=[
            dict(type='lightvit_dense.LoadImage', color='rgb', exif=False),
            dict(type='lightvit_dense.CenterResizedCrop', size=224, ratio=224 / 256),
            dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='lightvit_dense.Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

# tools/test.py --extra real v2
extra_tests = dict(
    # Reassessed labels of the same images (Beyer et al. 2020).
    real=dict(
        evaluator=dict(
            type='lightvit_dense.RealAccuracy',
            ann_file='{{$LIGHTVIT_DATA:data}}/imagenet/real.json',
        ),
    ),
    # Ten thousand new images, matched frequency (Recht et al. 2019); its folders are numbers.
    v2=dict(
        dataloader=dict(
            batch_size=128,
            num_workers=8,
            pin_memory=True,
            sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
            collate_fn=dict(type='lightvit_dense.collate_images'),
            dataset=dict(
                type='lightvit_dense.ImageNet',
                data_root='{{$LIGHTVIT_DATA:data}}/imagenet/',
                img_dir='imagenetv2-matched-frequency-format-val',
                folders='labels',
                test_mode=True,
                pipeline=[
                    dict(type='lightvit_dense.LoadImage', color='rgb', exif=False),
                    dict(type='lightvit_dense.CenterResizedCrop', size=224, ratio=224 / 256),
                    dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
                ],
            ),
        ),
        evaluator=dict(type='lightvit_dense.Accuracy', topk=(1, 5), prefix='v2'),
    ),
)
