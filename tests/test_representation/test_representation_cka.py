"""CKA against straight lines, closed cases and its invariances."""

from collections.abc import Sequence
from itertools import permutations, product

import pytest
import torch
from torch import Tensor

from lightvit_dense.errors import UserError
from lightvit_dense.representation.cka import MinibatchCKA, gram_matrices, hsic_of_pairs


def hsic_by_loops(x: Tensor, y: Tensor) -> float:
    """Song et al.'s U-statistic as its definition: a mean over ordered tuples of images."""
    n = len(x)
    k, m = (x @ x.T).tolist(), (y @ y.T).tolist()
    two = [k[i][j] * m[i][j] for i, j in permutations(range(n), 2)]
    three = [k[i][j] * m[i][q] for i, j, q in permutations(range(n), 3)]
    four = [k[i][j] * m[q][r] for i, j, q, r in permutations(range(n), 4)]
    return sum(two) / len(two) + sum(four) / len(four) - 2 * sum(three) / len(three)


def published(x: Tensor, y: Tensor) -> Tensor:
    """The published minibatch formula on raw Gram matrices, written out with vectors of ones."""
    n, one = len(x), torch.ones(len(x), 1).double()
    k, m = (f @ f.T for f in (x, y))
    k, m = k - torch.diag(k.diag()), m - torch.diag(m.diag())
    result = torch.trace(k @ m) + (one.T @ k @ one @ one.T @ m @ one / ((n - 1) * (n - 2))).sum()
    return (result - (one.T @ k @ m @ one * 2 / (n - 2)).sum()) / (n * (n - 3))


def ratio(x: Tensor, y: Tensor, batches: Sequence[slice]) -> float:
    """CKA by that formula on batches that count by their images."""
    xy, xx, yy = (
        sum(len(a[rows]) * published(a[rows], b[rows]) for rows in batches)
        for a, b in ((x, y), (x, x), (y, y))
    )
    return (xy / (xx * yy).sqrt()).item()


def cka(*batches: tuple[Tensor, Tensor]) -> float:
    measured = MinibatchCKA()
    for x, y in batches:
        measured.add({0: x}, {0: y})
    return measured.matrix().item()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double() + 0.7


def test_hsic_is_the_u_statistic_of_its_definition() -> None:
    x, y = draw(6, 3), draw(6, 5, seed=1)
    y[:, :3] += x
    found = hsic_of_pairs(gram_matrices([x]), gram_matrices([y])).item()
    assert found == pytest.approx(hsic_by_loops(x, y), rel=1e-10)


def test_matrix_of_several_batches_is_the_published_ratio() -> None:
    left = {i: draw(12, 4, 3 + i, seed=i) for i in range(3)}
    right = {i: draw(12, 7, 2, seed=10 + i) for i in range(2)}
    right[1].flatten(1)[:, :4] += left[2][:, :, 0]
    measured, batches = MinibatchCKA(), (slice(0, 6), slice(6, 12))
    for rows in batches:
        measured.add({i: x[rows] for i, x in left.items()}, {i: y[rows] for i, y in right.items()})
    matrix = measured.matrix()
    assert matrix.shape == (3, 2)
    for (i, x), (j, y) in product(left.items(), right.items()):
        expected = ratio(x.flatten(1), y.flatten(1), batches)
        assert matrix[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_cka_is_invariant_to_rotation_scale_and_shift() -> None:
    x, y = draw(16, 6), draw(16, 9, seed=1)
    y[:, :6] += x
    turn, _ = torch.linalg.qr(draw(6, 6, seed=2))
    plain = cka((x, y))
    assert cka((3.7 * x @ turn, 0.2 * y - 5)) == pytest.approx(plain, abs=1e-10)
    stretched = x * torch.tensor([9.0, 1, 1, 1, 1, 1]).double()
    assert abs(cka((stretched, y)) - plain) > 0.01
    assert cka((x, x)) == pytest.approx(1, abs=1e-12)
    # Single precision keeps its digits beside a large mean.
    assert cka(((x + 300).float(), (y - 200).float())) == pytest.approx(plain, abs=2e-5)


def test_batches_count_by_their_images_and_small_ones_are_left_out() -> None:
    x, y = draw(17, 6), draw(17, 5, seed=1)
    y += x[:, :5]
    measured = MinibatchCKA()
    for rows in (slice(0, 9), slice(9, 14), slice(14, 17)):
        measured.add({0: x[rows]}, {0: y[rows]})
    assert (measured.images, measured.left_out) == (14, 3)
    expected = ratio(x, y, (slice(0, 9), slice(9, 14)))
    assert measured.matrix().item() == pytest.approx(expected, abs=1e-12)


def test_bad_features_are_named() -> None:
    measured = MinibatchCKA()
    measured.add({0: draw(3, 2)}, {0: draw(3, 2)})
    with pytest.raises(UserError, match='3 images are too few: CKA needs a batch of at least 4'):
        measured.matrix()
    with pytest.raises(UserError, match=r'features of \[4, 5\] images'):
        measured.add({0: draw(4, 2)}, {0: draw(5, 2)})
    with pytest.raises(UserError, match='layer 1 are not finite'):
        measured.add({0: draw(4, 2), 1: draw(4, 2) / 0}, {0: draw(4, 2)})
    alike = torch.linspace(0.1, 0.9, 7).repeat(8, 1)
    measured.add({0: draw(8, 3), 1: alike}, {0: draw(8, 3, seed=1)})
    with pytest.raises(UserError, match='layer 1 of the first network tells no images apart'):
        measured.matrix()
