"""Is pre-training worth it? Three tasks on a small world, each from three initialisations.

What      Builds the toy world, pre-trains a network by MAE on its unlabelled images, then trains
          Mask R-CNN, UperNet and a one-stream tracker from scratch, from MAE and from D-MAE, all on
          the same labels, and tests all nine. D-MAE's weights are shipped, because its pre-training
          of as many iterations takes an hour:
          tools/train.py configs/toyworld/dmae_dinov2.py --cfg-options train_cfg.max_iters=1600
Source    Ours; the recipes are those of configs/toyworld, shorter.
Cost      26 minutes of two CPU cores, measured.
Run       tools/run_benchmark.py configs/suites/demo.py --jobs 2
"""

name = 'demo'
title = 'Pre-training on a small world'
seeds = [0]

prepare = dict(
    world=dict(
        title='Toy world',
        tool='tools/dataset_converters/make_toyworld.py',
        options=dict(out='{data}/toyworld', layouts=['coco', 'ade20k', 'lasot']),
        smoke=dict(
            train=8,
            val=6,
            unlabeled=12,
            videos=6,
            test_videos=2,
            video_frames=20,
            test_frames=20,
        ),
        outputs=[
            'toyworld/coco/annotations/instances_val2017.json',
            'toyworld/ade20k/README.txt',
            'toyworld/lasot/testing_set.txt',
        ],
        version='lightvit_dense.datasets.toyworld.world:GENERATOR',
    ),
)
pretrains = dict(
    mae=dict(
        title='MAE',
        config='configs/toyworld/mae_student.py',
        options={'train_cfg.max_iters': 1600},
    ),
)
inits = dict(
    scratch=dict(title='from scratch'),
    mae=dict(title='MAE', pretrain='mae'),
    dmae=dict(title='D-MAE (shipped weights)', checkpoint='dmae-dinov2_toyworld'),
)


def shorter(iters):
    """Return the options of a training of so many iterations, which the test alone judges."""
    return {'train_cfg.max_iters': iters} | dict.fromkeys(
        ('val_cfg', 'val_dataloader', 'val_evaluator')
    )


_folder = 'configs/toyworld'
tasks = dict(
    detection=dict(
        title='Mask R-CNN',
        configs=dict(
            scratch=f'{_folder}/maskrcnn_scratch.py', default=f'{_folder}/maskrcnn_mae.py'
        ),
        options=shorter(200)
        | {
            'param_scheduler.CosineAnnealingLR.end': 200,
            'param_scheduler.CosineAnnealingLR.T_max': 170,
        },
        test_options={'test_evaluator.outfile_prefix': '{folder}/results'},
        metrics=[
            dict(key='coco/bbox_mAP', title='box AP', scale=100.0),
            dict(key='coco/bbox_mAP_50', title='box AP50', scale=100.0),
            dict(key='coco/segm_mAP', title='mask AP', scale=100.0),
            dict(key='coco/segm_mAP_50', title='mask AP50', scale=100.0),
        ],
    ),
    segmentation=dict(
        title='UperNet',
        configs=dict(scratch=f'{_folder}/upernet_scratch.py', default=f'{_folder}/upernet_mae.py'),
        options=shorter(100) | {'param_scheduler.PolyLR.end': 100},
        test_options={'test_evaluator.output_dir': '{folder}/results'},
        metrics=[dict(key='mIoU', title='mIoU'), dict(key='aAcc', title='pixel accuracy')],
    ),
    tracking=dict(
        title='Tracker',
        configs=dict(scratch=f'{_folder}/ostrack_scratch.py', default=f'{_folder}/ostrack_mae.py'),
        options=shorter(600)
        | {'default_hooks.elimination.begin': 220, 'default_hooks.elimination.end': 330},
        test_options={
            'test_evaluator.out_dir': '{folder}',
            'test_evaluator.tracker_name': 'results',
        },
        metrics=[
            dict(key='success', title='AUC'),
            dict(key='precision', title='P'),
            dict(key='norm_precision', title='P_norm'),
        ],
    ),
)
_draw = 'lightvit_dense.suite.pictures'
pictures = dict(
    detections=dict(
        title='Detections',
        draw=f'{_draw}:detections',
        task='detection',
        options=dict(images='toyworld/coco'),
    ),
    label_maps=dict(
        title='Label maps',
        draw=f'{_draw}:label_maps',
        task='segmentation',
        options=dict(images='toyworld/ade20k'),
    ),
    tracks=dict(
        title='Tracking',
        draw='tracking.tools.suite_pictures:film_strips',
        task='tracking',
        options=dict(videos='toyworld/lasot'),
    ),
    reconstructions=dict(
        title='Reconstructions of validation images',
        draw=f'{_draw}:reconstructions',
        models=['mae'],
        options=dict(images='toyworld/coco/val2017'),
    ),
)
findings = [
    dict(
        type='at_least',
        title='D-MAE is at least as good as no pre-training',
        source='arXiv 2205.14443, table 5',
        init='dmae',
        base='scratch',
    ),
    dict(
        type='at_least',
        title='D-MAE is at least as good as MAE',
        source='arXiv 2205.14443, table 5',
        init='dmae',
        base='mae',
    ),
]
