"""Forward pass, training step, memory and arithmetic of ViTDet backbones, ours beside others'."""

import contextlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.utils import environment as measure

from .dense_models import DenseSize, common_weights, dense_model, our_backbone
from .training_step import DTYPES, TrainingStep

PASSES = ('forward', 'step')
"""What is timed: a forward pass without gradients, and a training step."""


@dataclass(frozen=True)
class DenseSettings:
    """How to measure.

    Attributes:
        batch: Images of a step.
        device: 'cpu' or 'cuda'.
        amp: Precision, a key of ``DTYPES``.
        optimizer: Whether a step ends with AdamW; if not, with the gradients.
        repeats: Rounds in which all variants take turns.
        warmup: Rounds before, not timed.
    """

    batch: int = 1
    device: str = 'cpu'
    amp: str = 'none'
    optimizer: bool = False
    repeats: int = 5
    warmup: int = 1


class _MeanSquare(nn.Module):
    """A loss on the map, simple enough to cost nothing.

    Args:
        model: The backbone.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean square of the map of images [B, 3, H, W]."""
        return self.model(images)[0].float().square().mean()


class DenseRun:
    """One variant on its device, called with random images.

    Args:
        variant: Key of :data:`~.dense_models.VARIANTS`.
        size: The backbone.
        settings: How to measure.
    """

    def __init__(self, variant: str, size: DenseSize, settings: DenseSettings) -> None:
        self.settings, self.device = settings, torch.device(settings.device)
        self.model = dense_model(variant, size, common_weights(size)).to(self.device).train()
        self.compiled = variant == 'compiled'
        if self.compiled:
            self.model.forward = torch.compile(self.model.forward)  # type: ignore[method-assign]
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(settings.batch, 3, size.image, size.image, generator=generator)
        self.images = images.to(self.device)
        self._training = TrainingStep(
            _MeanSquare(self.model), (self.images,), self.device, settings.amp, settings.optimizer
        )

    def load_libraries(self) -> None:
        """Run a small image forwards and backwards, so that nothing is loaded later."""
        # A compiled model is compiled for its images, which a GPU's counter of memory forgives.
        small = self.images if self.compiled else self.images[:1, :, :64, :64]
        with self._training.autocast():
            _MeanSquare(self.model)(small).backward()
        self.model.zero_grad(set_to_none=True)

    @torch.no_grad()
    def forward(self) -> Tensor:
        """Return the map of the images, without gradients."""
        with self._training.autocast():
            return self.model(self.images)[0]

    def step(self) -> None:
        """Run the training step; without an optimizer the gradients are thrown away."""
        if self.settings.optimizer:
            self._training()
            return
        self._training.scaler.scale(self._training.losses()).backward()
        self.model.zero_grad(set_to_none=True)

    def call(self, what: str) -> Callable[[], object]:
        """Return one of ``PASSES``."""
        return {'forward': self.forward, 'step': self.step}[what]

    def outputs(self) -> tuple[Tensor, Tensor]:
        """Return the map and the gradient of the images, in full precision."""
        images = self.images.clone().requires_grad_()
        with _precise():
            (out,) = self.model(images)
            # Squares alone would leave the gradient of a constant nearly zero.
            weights = torch.linspace(-1, 1, out.numel(), device=out.device).reshape(out.shape)
            (gradient,) = torch.autograd.grad((out * weights).sum(), [images])
        return out.detach(), gradient


@contextlib.contextmanager
def _precise() -> Any:
    """Switch off the short formats that GPUs use for products in fp32."""
    known = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(known)


def _relative(value: Tensor, reference: Tensor) -> float:
    return ((value - reference).abs().max() / reference.abs().max()).item()


def count_arithmetic(size: DenseSize, batch: int) -> dict[str, int]:
    """Count the least arithmetic of a pass: products and convolutions, attention written out.

    Args:
        size: The backbone.
        batch: Images.

    Returns:
        Floating-point operations by ``PASSES``; nothing is computed.
    """
    model = our_backbone(size, way='explicit').to('meta')
    images = torch.zeros(batch, 3, size.image, size.image, device='meta')
    with torch.no_grad():
        forward = measure.count_flops(lambda: model(images))
    step = measure.count_flops(lambda: model(images)[0].square().mean().backward())
    return {'forward': forward, 'step': step}


def time_variants(
    size: DenseSize,
    variants: Sequence[str],
    settings: DenseSettings,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Time variants that take turns, so that whatever else the machine does hits all of them.

    Args:
        size: The backbone.
        variants: What to time; the first is what the others' outputs are compared with.
        settings: How to measure.
        tell: Called with a line about progress.

    Returns:
        ``variants``: for each its seconds by ``PASSES`` and how far its map and the gradient of the
        images are from the first one's; ``flops`` by ``PASSES``; ``matmul_gflop_per_s``, the best
        rate of a large product in between.
    """
    device = torch.device(settings.device)
    runs = {name: DenseRun(name, size, settings) for name in variants}
    found: dict[str, Any] = {}
    reference: tuple[Tensor, Tensor] | None = None
    for name, run in runs.items():
        outputs = run.outputs()
        reference = reference or outputs
        pairs = zip(('output_error', 'gradient_error'), outputs, reference, strict=True)
        found[name] = {key: _relative(mine, other) for key, mine, other in pairs}
        found[name]['seconds'] = {what: [] for what in PASSES}
        for what in PASSES:
            measure.time_calls(run.call(what), 1, settings.warmup, device)
        tell(f'{name} is warm')
    del reference, outputs
    rate = 0.0
    for number in range(1, settings.repeats + 1):
        for what in PASSES:
            for name, run in runs.items():
                timing = measure.time_calls(run.call(what), 1, 0, device)
                found[name]['seconds'][what] += timing.seconds
        rate = max(rate, measure.matmul_rate(device, DTYPES[settings.amp]))
        tell(f'round {number} of {settings.repeats}')
    return {
        'variants': found,
        'flops': count_arithmetic(size, settings.batch),
        'matmul_gflop_per_s': rate,
    }


def measure_memory(
    variant: str, size: DenseSize, settings: DenseSettings
) -> dict[str, dict[str, float]]:
    """Measure the memory of a variant; the process should do nothing else.

    Args:
        variant: Key of :data:`~.dense_models.VARIANTS`.
        size: The backbone.
        settings: How to measure.

    Returns:
        By ``PASSES``, of which the second needs more: ``peak_mb`` of the process, or of what is
        allocated on a GPU, and ``grown_mb``, that minus what weights, images and libraries had
        taken before.
    """
    run = DenseRun(variant, size, settings)
    run.load_libraries()
    before = _held_mb(run.device)
    measure.reset_peak_memory(run.device)
    found = {}
    for what in PASSES:
        for _ in range(2):
            run.call(what)()
        peak = measure.peak_memory_mb(run.device)
        found[what] = {'peak_mb': peak, 'grown_mb': peak - before}
    return found


def _held_mb(device: torch.device) -> float:
    if device.type == 'cuda':
        return torch.cuda.memory_allocated(device) / 2**20
    import psutil

    return psutil.Process().memory_info().rss / 2**20


def summarise(
    size: DenseSize,
    timed: Mapping[str, Any],
    memory: Mapping[str, Mapping[str, Mapping[str, float]]],
    settings: DenseSettings,
) -> list[dict[str, Any]]:
    """Make one row a variant.

    Args:
        size: The backbone.
        timed: From :func:`time_variants`; the first variant is ours.
        memory: From :func:`measure_memory`, by variant and pass; may lack variants.
        settings: How it was measured.

    Returns:
        Rows with, for each of ``PASSES``, seconds, their spread, ``times_ours`` (the median over
        rounds of its seconds by ours; above 1 we are faster), the share of the machine's rate that
        the least arithmetic makes, memory, and ``memory_of_theirs`` (ours by its; below 1 we take
        less).
    """
    ours = next(iter(timed['variants']))
    rows = []
    for name, found in timed['variants'].items():
        row: dict[str, Any] = {'variant': name, **asdict(size), 'batch': settings.batch}
        row |= {key: found[key] for key in ('output_error', 'gradient_error')}
        for what in PASSES:
            seconds = found['seconds'][what]
            mine = timed['variants'][ours]['seconds'][what]
            ratios = [theirs / own for theirs, own in zip(seconds, mine, strict=True)]
            median = statistics.median(seconds)
            cell: dict[str, Any] = {
                'seconds': median,
                'spread': measure.Timing(tuple(seconds)).spread,
                'fastest': min(seconds),
                'times_ours': statistics.median(ratios),
                'gflop': timed['flops'][what] / 1e9,
                'share': timed['flops'][what] / 1e9 / median / timed['matmul_gflop_per_s'],
            }
            taken = memory.get(name, {}).get(what)
            if taken is not None:
                cell |= taken
                for key, share in (('grown_mb', 'memory'), ('peak_mb', 'peak')):
                    if taken[key] > 0:  # a tiny model may fit into what was there
                        cell[f'{share}_of_theirs'] = memory[ours][what][key] / taken[key]
            row[what] = cell
        rows.append(row)
    return rows
