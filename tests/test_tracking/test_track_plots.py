"""Plots of several trackers: what they show, and in which order."""

import numpy as np
import pytest

from tracking.evaluation import Truth, score
from tracking.evaluation.got10k import overlaps
from tracking.evaluation.plots import curve_plot


@pytest.fixture(scope='module')
def trackers():
    rng = np.random.default_rng(0)
    boxes = [rng.uniform(20, 60, (20, 4)) for _ in range(4)]
    truths = [Truth(f's{place}', b, np.ones(20, bool)) for place, b in enumerate(boxes)]
    noise = {'bad': 20, 'good': 2, 'fair': 8}
    predictions = {
        name: [b + np.pad(rng.normal(0, sigma, (20, 2)), ((0, 0), (0, 2))) for b in boxes]
        for name, sigma in noise.items()
    }
    scores = {name: score(predicted, truths) for name, predicted in predictions.items()}
    found = {name: overlaps(p, truths, [None] * 4) for name, p in predictions.items()}
    return scores, found


def shown(figure):
    (axes,) = figure.axes
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    return axes, legend, [line.get_ydata() for line in axes.get_lines()]


@pytest.mark.parametrize('kind', ['success', 'precision', 'norm_precision', 'AO'])
def test_curves_are_ranked_and_told(trackers, kind):
    scores = trackers[kind == 'AO']
    axes, legend, curves = shown(curve_plot(scores, 'success' if kind == 'AO' else kind))
    ranked = ('good', 'fair', 'bad')
    assert legend == [f'[{scores[name].figures()[kind]:.1f}] {name}' for name in ranked]
    for name, curve in zip(ranked, curves, strict=True):
        found = scores[name]
        wanted = found.curve()[1] if kind == 'AO' else 100 * getattr(found, kind).mean(axis=0)
        np.testing.assert_allclose(curve, wanted)
    assert axes.get_ylim() == (0, 100)


def test_some_sequences_only(trackers):
    scores, chosen = trackers[0], np.array([False, True, False, True])
    _, legend, curves = shown(curve_plot(scores, 'success', 'Occluded', chosen))
    np.testing.assert_allclose(curves[0], 100 * scores['good'].success[chosen].mean(axis=0))
    assert legend[0] == f'[{scores["good"].figures(chosen)["success"]:.1f}] good'
