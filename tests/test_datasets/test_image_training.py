"""From files to a trained step: the fast input in the runner, with the hooks that look in."""

import numpy as np
import torch
from mmengine.runner import Runner
from PIL import Image

import lightvit_dense  # noqa: F401
from tests.helpers.models import distiller, vit

VIT = vit(embed_dim=16, num_heads=2)
PREPROCESSOR = dict(type='lightvit_dense.ImagePreprocessor', mean=[120.0] * 3, std=[60.0] * 3)
PIPELINE = [
    dict(type='lightvit_dense.LoadRandomResizedCrop', size=32),
    dict(type='lightvit_dense.RandomFlipFlag'),
    dict(type='lightvit_dense.PackImage', meta_keys=('img_path',)),
]


def config(folder, work_dir):
    return dict(
        work_dir=str(work_dir),
        experiment_name=work_dir.name,
        default_scope='lightvit_dense',
        model=dict(
            type='lightvit_dense.MAE',
            backbone=VIT,
            decoder=dict(embed_dim=16, depth=1, num_heads=2),
            distiller=distiller(VIT, (2, 2)),
            data_preprocessor=PREPROCESSOR,
        ),
        train_dataloader=dict(
            batch_size=4,
            num_workers=1,
            sampler=dict(type='lightvit_dense.SeededInfiniteSampler', seed=0),
            collate_fn=dict(type='lightvit_dense.collate_images'),
            dataset=dict(
                type='lightvit_dense.ImageFiles', data_root=str(folder), pipeline=PIPELINE
            ),
        ),
        train_cfg=dict(type='mmengine.IterBasedTrainLoop', max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[
            dict(type='lightvit_dense.ReconstructionVisualizationHook', interval=2, num_images=2),
            dict(type='lightvit_dense.AttentionAgreementHook', interval=1),
        ],
        visualizer=dict(type='mmengine.Visualizer', name=work_dir.name),
        randomness=dict(seed=0),
    )


def test_files_to_a_trained_step(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.RandomState(0)
    for k in range(6):
        noise = Image.fromarray(rng.randint(0, 256, (5, 7, 3), np.uint8))
        noise.resize((70, 50), Image.Resampling.BICUBIC).save(folder / f'{k}.jpg')
    runner = Runner.from_cfg(config(folder, tmp_path / 'image_training'))
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    changed = [n for n, v in runner.model.state_dict().items() if not v.equal(before[n])]
    assert any(name.startswith('backbone.blocks') for name in changed)
    agreement = runner.message_hub.get_scalar('train/agreement/layer_1').current()
    assert -1 <= agreement <= 1 + 1e-6
    # Two rows of original, masked, reconstruction, 32 px each with gaps of 4.
    picture = np.asarray(Image.open(tmp_path / 'image_training/reconstructions/iter_2.png'))
    assert picture.shape == (68, 104, 3)
    original = torch.from_numpy(picture[:32, :32].astype(np.float32))
    assert original.std() > 5
