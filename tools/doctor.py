"""Check the installation, and train one step of each task on the device.

Notes are about optional parts. The exit status is 1 if anything fails.

Example:
    lightvit doctor --device cpu
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lightvit_dense.compat.config_environment import read_variable
from lightvit_dense.errors import run_tool
from lightvit_dense.utils.home import home, project_dir
from lightvit_dense.utils.shipped import shipped_weights

Row = tuple[str, str, str]  # OK, NOTE or FAILS; what was checked; details
OK, NOTE, FAILS = 'ok', 'note', 'FAILS'
STACK = ('torch', 'torchvision', 'timm', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection')
ORIGINALS = ('mmengine', 'mmcv', 'mmdet', 'mmsegmentation')  # share import names with the forks
TASKS = {
    'classification': ('vit_scratch', 64),
    'MAE': ('mae_student', 64),
    'detection': ('maskrcnn_scratch', 128),
    'segmentation': ('upernet_scratch', 128),
    'tracking': ('ostrack_scratch', 64),
}
"""The toy world's config of each task, and the side of its images."""


def packages() -> Iterator[Row]:
    """Compare what is installed with what the package requires."""
    versions = {canonicalize_name(d.name): d.version for d in metadata.distributions()}
    wanted: dict[str, list[str]] = {}  # what is missing, by extra
    for line in metadata.requires('lightvit_dense') or ():
        need = Requirement(line)
        extra = str(need.marker or '').rpartition('== ')[2].strip('"')
        version = versions.get(canonicalize_name(need.name))
        fits = version and need.specifier.contains(version, prereleases=True)
        if not fits and extra not in ('all', 'dev', 'test'):
            wanted.setdefault(extra, []).append(f"'{need.name}{need.specifier}'")
    yield OK, 'versions', ', '.join(f'{name} {versions.get(name)}' for name in STACK)
    for extra, names in wanted.items():
        state, what = (NOTE, f'extra {extra}') if extra else (FAILS, 'packages')
        yield state, what, f'missing or too old: pip install {" ".join(names)}'
    if found := ' '.join(name for name in ORIGINALS if name in versions):
        yield FAILS, 'conflicts', f'pip uninstall -y {found}, then reinstall the onedl forks'


def machine(device: Any) -> Iterator[Row]:
    """Describe device, compiler and folders."""
    from lightvit_dense.utils.environment import cpp_compiler, hardware

    yield OK, f'device {device}', ', '.join(f'{key} {value}' for key, value in hardware().items())
    compiler = cpp_compiler()
    yield OK if compiler else NOTE, 'C++ compiler', compiler or 'none; engine.compile needs one'
    yield OK, 'configs, tools', str(home())
    yield OK, 'shipped weights', ', '.join(shipped_weights())
    for name, default in (('LIGHTVIT_DATA', 'data'), ('LIGHTVIT_CHECKPOINTS', 'work_dirs')):
        given = read_variable(name)
        folder = project_dir() / (given or default)
        names = sorted(path.name for path in folder.iterdir())[:9] if folder.is_dir() else []
        state = FAILS if given and not folder.is_dir() else OK if names else NOTE
        yield state, f'${name}', f'{folder}: {", ".join(names) or "nothing is there"}'


def attempt(what: str, call: Callable[[], Any], worst: str = FAILS) -> Row:
    """Call a check; it fails by an exception, or a result that is false or not finite."""
    began = time.perf_counter()
    logging.disable(logging.WARNING)  # every parameter's learning rate
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            found = call()
    except Exception as error:
        return worst, what, f'{type(error).__name__}: {error}'.splitlines()[0]
    finally:
        logging.disable(logging.NOTSET)
    if not found or found != found or abs(found) == float('inf'):
        return worst, what, f'wrong result: {found}'
    result = 'correct' if found is True else f'loss {found:.2f}'
    return OK, what, f'{result}, {time.perf_counter() - began:.1f} s'


def operators(device: Any) -> Iterator[Row]:
    """Check results of compiled operators; no shipped config needs the last one."""
    import torch
    from mmcv import ops

    corners = [[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]
    ones, boxes = torch.ones(1, 1, 8, 8, device=device), torch.tensor(corners, device=device)
    region, offset = ones.new_tensor([[0, 1, 1, 5, 5]]), ones.new_zeros(1, 2, 8, 8)
    scores = ones.new_tensor([3, 2, 1])
    yield attempt('NMS', lambda: ops.nms(boxes, scores, 0.5)[1].tolist() == [0, 2])
    yield attempt('RoIAlign', lambda: (ops.roi_align(ones, region, (2, 2)) == 1).all().item())
    deform = ops.deform_conv2d
    call = lambda: (deform(ones, offset, ones[..., :1, :1]) == 1).all().item()  # noqa: E731
    yield attempt('deformable convolution', call, NOTE)


def step(config: str, side: int, device: Any) -> float:
    """Train a model of the toy world for a step on noise; return the loss."""
    import torch
    from mmengine.optim import build_optim_wrapper

    from lightvit_dense.apis.configs import load_config, prepare_scope
    from lightvit_dense.datasets.noise import noise_for
    from lightvit_dense.registry import DATASETS, MODELS

    cfg = load_config(home() / f'configs/toyworld/{config}.py')
    prepare_scope(cfg)
    torch.manual_seed(0)
    batch = DATASETS.build(noise_for(cfg, 2, side))[0]
    model = MODELS.build(cfg.model).to(device).train()
    losses = model.train_step(batch, build_optim_wrapper(model, cfg.optim_wrapper))
    return float(losses['loss'].detach())


def examine(device: str | None) -> Iterator[Row]:
    """Run all checks; those of the packages alone where some are missing."""
    found = list(packages())
    yield from found
    if any(what == 'packages' for _, what, _ in found):
        return
    from lightvit_dense.utils.devices import check_device

    chosen = check_device(device)
    yield from machine(chosen)
    yield from operators(chosen)
    for task, (config, side) in TASKS.items():
        yield attempt(f'a step of {task}', lambda c=config, s=side: step(c, s, chosen))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--device', help="'cpu', 'cuda:1', ... (default: a GPU if there is one)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    failed = 0
    for state, what, more in examine(parse_args(argv).device):
        print(f'{state:7}{what:25}{more}', flush=True)
        failed += state == FAILS
    print(f'{failed} failed' if failed else 'everything required works')
    print('lightvit speed training measures the real configs on this device')
    return min(failed, 1)


if __name__ == '__main__':
    run_tool(main)
