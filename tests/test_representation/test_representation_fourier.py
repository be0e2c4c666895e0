"""The Fourier analysis: closed cases and a straight line."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightvit_dense.errors import UserError
from lightvit_dense.representation import fourier


def by_hand(maps: Tensor) -> list[float]:
    """Half diagonal of the shifted log spectrum, as the authors' code takes it, plus Nyquist."""
    images = maps.permute(0, 3, 1, 2).double().numpy()
    side = images.shape[-1]
    spectrum = np.log(np.abs(np.fft.fft2(images)) + 1e-6)
    shifted = np.roll(spectrum, (side // 2, side // 2), axis=(2, 3)).mean(axis=(0, 1))
    half = np.diag(shifted)[side // 2 :].tolist()
    # Entry 0 of an even side is the frequency -pi, which is also pi.
    return half if side % 2 else [*half, shifted[0, 0]]


def analyse(*batches: dict[int, Tensor]) -> list:
    analysis = fourier.FourierAnalysis()
    for maps in batches:
        analysis.add(maps)
    return analysis.spectra()


@pytest.mark.parametrize('side', [14, 7])
def test_curve_is_that_of_the_straight_line(side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, side, side, 3, generator=generator).double()
    expected = by_hand(maps)
    assert fourier.log_amplitude(maps).tolist() == pytest.approx(expected, abs=1e-12)
    found = analyse({0: maps[:2]}, {0: maps[2:]})[0]
    assert found.values == pytest.approx([v - expected[0] for v in expected], abs=1e-12)
    assert found.frequency == pytest.approx([2 * k / side for k in range(side // 2 + 1)])
    # 14 tokens end at pi, of which the authors' half diagonal sees 6/7; 7 tokens end at 6/7.
    assert found.authors_highest == found.values[6 if side == 14 else 3]
    assert found.highest == found.values[7 if side == 14 else 3]


def test_a_constant_and_a_diagonal_wave_stand_at_their_frequencies() -> None:
    values = analyse({0: torch.full((1, 8, 8, 2), 3.0).double()})[0].values
    assert values[0] == 0
    expected = math.log(fourier.EPSILON) - math.log(3 * 64)
    assert values[1:] == pytest.approx([expected] * 4, abs=1e-3)
    # The cosine of 3 turns along both axes has half its weight at (3, 3) of a transform of 8x8.
    place = torch.arange(8).double()
    wave = torch.cos(2 * math.pi * 3 / 8 * (place[:, None] + place[None, :]))
    found = fourier.log_amplitude(wave[None, :, :, None]).tolist()
    assert found[3] == pytest.approx(math.log(32 + fourier.EPSILON), abs=1e-9)
    assert max(found[:3] + found[4:]) < math.log(1e-5)


def test_layers_may_have_maps_of_different_sides() -> None:
    maps = {0: torch.ones(2, 8, 8, 3), 1: torch.ones(2, 4, 4, 6), 2: torch.ones(2, 1, 1, 9)}
    content = fourier.spectra_content(analyse(maps))
    assert content['frequency'] is None
    assert content['frequencies'] == [[0, 0.25, 0.5, 0.75, 1], [0, 0.5, 1], [0]]
    assert content['sides'] == [8, 4, 1]
    assert content['highest'][2] == content['authors_highest'][2] == 0
    same = fourier.spectra_content(analyse({0: maps[1], 1: maps[1]}))
    assert same['frequency'] == [0, 0.5, 1]


def test_bad_maps_are_named() -> None:
    with pytest.raises(ValueError, match='maps of 4x8 tokens'):
        fourier.log_amplitude(torch.ones(1, 4, 8, 2))
    analysis = fourier.FourierAnalysis()
    with pytest.raises(UserError, match='no image was analysed'):
        analysis.spectra()
    with pytest.raises(UserError, match='features of layer 3 are not finite'):
        analysis.add({3: torch.ones(1, 4, 4, 2) / 0})
    analysis.add({0: torch.ones(1, 4, 4, 2)})
    with pytest.raises(ValueError, match='layer 0 had maps of 4 tokens, now of 6'):
        analysis.add({0: torch.ones(1, 6, 6, 2)})
