"""Principal components as colours against scikit-learn, and maps of numbers."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from lightvit_dense.visualization import heat_map, pca_colors, stacked


def test_colours_are_the_first_principal_components() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 30, 20, generator=generator).exp()  # long tails, so signs are clear
    features *= torch.tensor([5.0, 4.0, 3.0, 1.0, 1.0, 1.0]).view(6, 1, 1)
    expected = PCA(3).fit_transform(features.flatten(1).T.numpy())
    expected *= np.sign((expected**3).sum(0))
    low, high = np.quantile(expected, [0.01, 0.99], axis=0)
    expected = 255 * np.clip((expected - low) / (high - low), 0, 1)
    found = pca_colors(features)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, expected.reshape(30, 20, 3), atol=1)
    # Neither another basis nor another scale of the tokens changes the picture.
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    turned = torch.einsum('dc,crk->drk', 7 * turn, features) + 3
    np.testing.assert_allclose(pca_colors(turned).astype(int), found, atol=1)


def test_features_without_variation_are_one_colour() -> None:
    assert len(np.unique(pca_colors(torch.ones(5, 4, 4)))) == 1


def test_heat_maps_run_from_dark_to_bright() -> None:
    found = heat_map(torch.tensor([[0.2, 0.3], [0.4, 0.9]])).astype(int).sum(-1)
    assert found[0, 0] < found[0, 1] < found[1, 0] < found[1, 1]


def test_rows_of_several_widths_are_stacked_at_the_left() -> None:
    found = stacked(
        {'wide': np.zeros((4, 9, 3), np.uint8), 'narrow': np.zeros((4, 5, 3), np.uint8)}
    )
    assert found.shape[1] == 9
    assert not found[-4:, :5].any()
    assert (found[-4:, 5:] == 255).all()
