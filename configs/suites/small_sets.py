"""Does pre-training help on small, real image sets? All of it on two cores.

What      For every set: a teacher by MAE, students by MAE, D-MAE and D²-MAE, from the set's images
          without labels; then fine-tuning from scratch and from each of them, with the same recipe,
          iterations, labels and seeds. A set is pre-trained once, with seed 0.
Source    Ours; arXiv 2205.14443, table 5, asks the same of ViT-Tiny on larger sets.
Data      Made first by tools/dataset_converters/make_small_sets.py and make_toyworld.py; two of the
          sets come from Debian packages, which the former tells how to get.
Cost      An hour and a half of two CPU cores.
Run       tools/run_benchmark.py configs/suites/small_sets.py --jobs 2
"""

name = 'small_sets'
title = 'Does pre-training help on small image sets?'
seeds = [0, 1, 2]

# Folder below the root of the data; iterations of pre-training, None for the configs', which suit
# Fashion-MNIST.
_sets = dict(
    digits=('small/digits', 600),
    opencv=('small/opencv-digits', 600),
    fashion=('small/fashion-mnist', None),
    toyworld=('toyworld/imagenet', 600),
)
_data = '{{$LIGHTVIT_DATA:data}}'
_methods = dict(mae='MAE', dmae='D-MAE', d2mae='D²-MAE')
_teacher = 'model.distiller.teacher.init_cfg.checkpoint'

prepare = {
    name: dict(
        title=f'Data: {folder}',
        tool='tools/dataset_converters/make_small_sets.py',
        options=dict(out='{data}/small', sets=folder.rpartition('/')[2]),
        outputs=[f'{folder}/classes.txt'],
    )
    for name, (folder, _) in _sets.items()
    if folder.startswith('small/')
}
prepare['toyworld'] = dict(
    title='Data: toy world',
    tool='tools/dataset_converters/make_toyworld.py',
    options=dict(out='{data}/toyworld', layouts=['coco', 'imagenet']),
    outputs=['toyworld/imagenet/classes.txt'],
    version='lightvit_dense.datasets.toyworld.world:GENERATOR',
)


def pretraining(images, method):
    """Return a pre-training on one set."""
    folder, iters = _sets[images]
    options = {'train_dataloader.dataset.data_root': f'{_data}/{folder}/'}
    if iters:
        options['train_cfg.max_iters'] = options['param_scheduler.end'] = iters
        options['param_scheduler.warmup'] = iters // 20
    title = 'MAE, teacher' if method == 'mae_teacher' else _methods[method]
    needs = {} if method.startswith('mae') else {_teacher: f'{images}_mae_teacher'}
    config = f'configs/toyworld/small_sets/{method}.py'
    title = f'{title} on {folder}'
    return dict(title=title, config=config, options=options, needs=needs, data=[images])


# Teachers come first, because a student waits for one.
pretrains = {
    f'{images}_{method}': pretraining(images, method)
    for method in ('mae_teacher', *_methods)
    for images in _sets
}
inits = dict(scratch=dict(title='from scratch'))
for _method, _title in _methods.items():
    inits[_method] = dict(title=_title, pretrain={name: f'{name}_{_method}' for name in _sets})


def finetuning(title, images, fraction=1.0, classes=10):
    """Return a task on a part of a set's labels, balanced by class."""
    folder = f'{_data}/{_sets[images][0]}/'
    options = {f'{part}_dataloader.dataset.data_root': folder for part in ('train', 'val', 'test')}
    options['train_dataloader.dataset.fraction'] = fraction
    options['model.head.num_classes'] = classes
    options['model.data_preprocessor.num_classes'] = classes
    return dict(
        title=title,
        domain=images,
        data=[images],
        configs=dict(
            scratch='configs/toyworld/small_sets/scratch.py',
            default='configs/toyworld/small_sets/finetune.py',
        ),
        options=options,
        seed_keys=['randomness.seed', 'train_dataloader.dataset.subset_seed'],
        test=False,
        metrics=[dict(key='accuracy/top1', title='top-1')],
    )


tasks = {
    'digits': finetuning('digits, 10% of labels', 'digits', 0.1),
    'opencv-digits': finetuning('OpenCV digits, 5% of labels', 'opencv', 0.05),
    'fashion-1': finetuning('Fashion-MNIST, 1% of labels', 'fashion', 0.01),
    'fashion': finetuning('Fashion-MNIST', 'fashion'),
    'toyworld': finetuning('toy world objects', 'toyworld', classes=6),
}
_source = 'arXiv 2205.14443, table 5'
findings = [
    dict(
        type='at_least',
        title='D-MAE is at least as good as MAE',
        source=_source,
        init='dmae',
        base='mae',
    ),
    dict(
        type='at_least',
        title='MAE is at least as good as no pre-training',
        source=_source,
        init='mae',
        base='scratch',
    ),
]
