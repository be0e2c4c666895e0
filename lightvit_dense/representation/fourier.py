"""How much of a layer's map is high frequency.

The Fourier analysis of Park and Kim, "How Do Vision Transformers Work?" (2022, Figure 2), which "A
Closer Look at Self-Supervised Lightweight Vision Transformers" repeats: the logarithm of the
amplitude of a map's 2-D Fourier transform, mean over images and channels, along the diagonal, less
its value at frequency 0.

Their code labels the last point of a curve 1.0 pi, but its half diagonal of a side of n points ends
one step earlier, at (n/2 - 1) / (n/2): 6/7 pi for 14 tokens. Here frequencies are the true ones,
and the curve goes on to the highest there is. :attr:`Spectrum.authors_highest` is their last value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightvit_dense.errors import UserError

EPSILON = 1e-6
"""Added to an amplitude before the logarithm, as in the authors' code."""


def log_amplitude(maps: Tensor) -> Tensor:
    """Return the log amplitudes of maps [B, n, n, C] along the diagonal of the frequencies.

    They are means over images and channels [n // 2 + 1], fp64. Point k has frequency 2k/n pi in
    both directions; the other half repeats them.
    """
    side = maps.shape[1]
    if maps.shape[2] != side:
        raise ValueError(f'maps of {side}x{maps.shape[2]} tokens: the diagonal needs square ones')
    spectrum = torch.fft.fft2(maps.float() if maps.dtype.itemsize < 4 else maps, dim=(1, 2))
    steps = torch.arange(side // 2 + 1, device=maps.device)
    # Entry (k, k) of the plain transform is entry n/2 + k of the shifted one's diagonal, [B, k, C].
    amplitude = spectrum[:, steps, steps].abs() + EPSILON
    return amplitude.log().double().mean((0, 2))


@dataclass(frozen=True)
class Spectrum:
    """Relative log amplitudes of one layer."""

    layer: int  # 0 for the embedding
    side: int  # tokens on a side of its map
    frequency: tuple[float, ...]  # in units of pi, from 0
    values: tuple[float, ...]  # log amplitude less that at frequency 0, at each frequency

    @property
    def highest(self) -> float:
        """Value at the highest frequency: 1.0 pi where the side is even."""
        return self.values[-1]

    @property
    def authors_highest(self) -> float:
        """Value at the last point of the authors' curve, one step below for an even side."""
        return self.values[-1] if self.side % 2 else self.values[-2]


@dataclass
class FourierAnalysis:
    """Spectra of all layers, gathered batch by batch; ``images`` counts what was seen."""

    images: int = 0
    _sums: dict[int, tuple[int, Tensor]] = field(default_factory=dict, repr=False)

    def add(self, maps: Mapping[int, Tensor]) -> None:
        """Take in the maps {layer: [B, n, n, C]} of a batch of images."""
        count = 0
        for layer, tokens in maps.items():
            count, side = len(tokens), tokens.shape[1]
            found = log_amplitude(tokens).cpu() * count
            if not bool(found.isfinite().all()):
                raise UserError(f'the features of layer {layer} are not finite')
            known = self._sums.get(layer)
            if known is not None and known[0] != side:
                raise ValueError(f'layer {layer} had maps of {known[0]} tokens, now of {side}')
            self._sums[layer] = (side, found if known is None else known[1] + found)
        self.images += count

    def spectra(self) -> list[Spectrum]:
        """Return the spectra in the order of layers."""
        if not self.images:
            raise UserError('no image was analysed')
        found = []
        for layer, (side, total) in sorted(self._sums.items()):
            values = total / self.images
            frequency = tuple(2 * k / side for k in range(side // 2 + 1))
            found.append(Spectrum(layer, side, frequency, tuple((values - values[0]).tolist())))
        return found


def spectra_content(spectra: list[Spectrum]) -> dict[str, Any]:
    """Return what the JSON says; its 'frequency' is None where maps of layers differ in size."""
    axes = [list(spectrum.frequency) for spectrum in spectra]
    return {
        'frequency': axes[0] if all(axis == axes[0] for axis in axes) else None,
        'frequencies': axes,
        'sides': [spectrum.side for spectrum in spectra],
        'relative_log_amplitude': [list(spectrum.values) for spectrum in spectra],
        'highest': [spectrum.highest for spectrum in spectra],
        'authors_highest': [spectrum.authors_highest for spectrum in spectra],
    }
