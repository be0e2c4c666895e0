"""Curves of the Fourier analysis: a panel a network, and the highest frequency by layer."""

from collections.abc import Sequence
from typing import Any

from lightvit_dense.visualization import PALETTE

from .fourier import Spectrum

MARKERS = 'osv^Dx'


def draw_fourier(models: Sequence[tuple[str, Sequence[Spectrum]]]) -> Any:
    """Draw the relative log amplitudes of all layers, and of all layers at the highest frequency.

    Curves are coloured by depth, from light at the embedding to dark at the end.

    Args:
        models: (title, spectra of all layers) of each network.

    Returns:
        The ``matplotlib.figure.Figure``.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    count = len(models) + 1
    figure = Figure(figsize=(3.1 * count + 0.8, 3.4), layout='constrained')
    panels = figure.subplots(1, count, squeeze=False)[0]
    colors = colormaps['plasma_r']
    everything = [value for _, spectra in models for s in spectra for value in s.values]
    low, high = min(everything), max(everything)
    high = high if high > low else low + 1
    for number, (axes, (title, spectra)) in enumerate(zip(panels, models, strict=False)):
        depth = max(1, len(spectra) - 1)
        for spectrum in spectra:
            shade = colors(0.1 + 0.9 * spectrum.layer / depth)
            axes.plot(spectrum.frequency, spectrum.values, color=shade, lw=1.2)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ['0', '0.5π', '1.0π'])
        axes.set_xlabel('frequency')
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.25)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        if not number:
            axes.set_ylabel('Δ log amplitude')
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colors), ax=panels[-2], ticks=[0, 1])
    bar.set_ticklabels(['embedding', 'end'], fontsize=7, rotation=90, va='center')
    _draw_highest(panels[-1], models)
    return figure


def _draw_highest(axes: Any, models: Sequence[tuple[str, Sequence[Spectrum]]]) -> None:
    """Draw the value at the highest frequency over the layers, a line a network."""
    for number, (title, spectra) in enumerate(models):
        axes.plot(
            [spectrum.layer for spectrum in spectra],
            [spectrum.highest for spectrum in spectra],
            color=PALETTE[number % len(PALETTE)],
            marker=MARKERS[number % len(MARKERS)],
            ms=4,
            lw=1.2,
            label=title,
        )
    axes.set_xlabel('layer (0: patch embedding)')
    axes.set_ylabel('at the highest frequency')
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7)
