"""The classifiers of kept features against scikit-learn and their equations."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lightvit_dense import probing


@pytest.fixture(scope='module')
def digits():
    """1200 digits to train and 597 to test, in a fixed random order."""
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    features, labels = features[order].astype('f4'), labels[order].astype('i8')
    return features[:1200], labels[:1200], features[1200:], labels[1200:]


def fit_sklearn(features, labels, c=1.0):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000, tol=1e-8))
    return model.fit(features.astype('f8'), labels)


def test_logistic_regression_is_scikit_learns(digits):
    x, y, test_x, test_y = digits
    for c in (0.01, 1.0):
        ours, theirs = probing.fit_logistic(x, y, 10, c), fit_sklearn(x, y, c)
        assert ours.gradient < 1e-7
        np.testing.assert_allclose(ours.weight.numpy(), theirs[-1].coef_, atol=2e-5)
        found = ours.scores(test_x).softmax(1).numpy()
        np.testing.assert_allclose(found, theirs.predict_proba(test_x), atol=2e-5)
        scores = probing.Scores.of(ours.scores(test_x), torch.from_numpy(test_y))
        assert scores.top1 == pytest.approx(100 * theirs.score(test_x, test_y))
    places = np.arange(0, 1200, 3)
    part, alone = (
        probing.fit_logistic(x, y, 10, places=places),
        probing.fit_logistic(x[places], y[places], 10),
    )
    torch.testing.assert_close(part.weight, alone.weight)


def test_features_read_in_chunks_give_the_same_regression(digits, monkeypatch):
    x, y = digits[0][:300], digits[1][:300]
    whole = probing.fit_logistic(x, y, 10)
    monkeypatch.setattr('lightvit_dense.probing.logistic.KEPT_BYTES', 0)
    chunks = probing.fit_logistic.__globals__['chunks']
    monkeypatch.setitem(probing.fit_logistic.__globals__, 'chunks', lambda f: chunks(f, 77))
    torch.testing.assert_close(
        probing.fit_logistic(x, y, 10).weight, whole.weight, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize('count', [1, 10, 200])
def test_neighbours_vote_as_scikit_learns(digits, count):
    x, y, test_x, test_y = digits
    oracle = KNeighborsClassifier(
        count, weights=lambda d: np.exp((1 - d) / 0.07), metric='cosine', algorithm='brute'
    ).fit(x.astype('f8'), y)
    wanted = oracle.predict_proba(test_x.astype('f8'))
    parts = probing.Neighbours(x, y, 10, queries=100, keys=333).scores(test_x, [count])
    votes = torch.cat([votes for _, votes in parts])
    np.testing.assert_allclose((votes / votes.sum(1, keepdim=True)).numpy(), wanted, atol=1e-4)
    top1 = probing.Scores.of(votes, torch.from_numpy(test_y)).top1
    assert top1 == pytest.approx(100 * (wanted.argmax(1) == test_y).mean())


def test_of_equally_near_images_the_first_counts():
    key = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0]], dtype='f4')
    labels = np.array([3, 0, 1, 2, 0])
    query = np.array([[5.0, 0.0]], dtype='f4')
    for keys in (1, 2, 5):
        votes = probing.Neighbours(key, labels, 4, keys=keys).scores(query, [1, 3, 9])
        winners = {count: vote for count, vote in votes}
        assert winners[1][0].nonzero().flatten().tolist() == [3]
        assert winners[3][0].nonzero().flatten().tolist() == [1, 2, 3]
        assert (winners[9][0] > 0).all()  # more neighbours than images are all of them
        # Of classes with equal votes the first is the prediction.
        assert probing.Scores.of(winners[3], torch.tensor([1])).top1 == 100
        assert probing.Scores.of(winners[9], torch.tensor([0])).top1 == 100


def test_scores_are_scikit_learns():
    torch.manual_seed(0)
    scores, labels = torch.randn(200, 8), torch.randint(8, (200,))
    found = probing.Scores.of(scores, labels)
    for k, value in ((1, found.top1), (5, found.top5)):
        wanted = top_k_accuracy_score(labels, scores, k=k, labels=range(8))
        assert value == pytest.approx(100 * wanted)
    parts = [(probing.Scores.of(scores[i:j], labels[i:j]), j - i) for i, j in ((0, 30), (30, 200))]
    assert probing.Scores.joined(parts).top1 == pytest.approx(found.top1)


def test_a_share_of_each_class_is_held_out():
    labels = np.repeat([2, 0, 1, 5], [50, 10, 4, 1])
    inside, outside = probing.hold_out(labels, 0.2)
    assert np.bincount(labels[outside], minlength=6).tolist() == [2, 0, 10, 0, 0, 0]
    assert sorted([*inside, *outside]) == list(range(65))
    assert outside.tolist() != probing.hold_out(labels, 0.2, seed=1)[1].tolist()


def test_the_setting_is_chosen_without_the_validation_images(digits):
    x, y, test_x, test_y = digits
    x, y = x[:400], y[:400]
    y = np.where(y == 7, 8, y)  # a class that no training image has
    train, val = probing.Part({'cls': x}, y), probing.Part({'cls': test_x}, test_y)
    probes = probing.Probes(train, val, 10, [1e-7, 0.1], [5, 20])
    (row,) = probes.measure('cls', 'logistic')
    assert row.setting == 'C 0.1 of 2, held-out fifth'
    wanted = 100 * fit_sklearn(x, y, 0.1).score(test_x, test_y)
    assert row.top1 == pytest.approx(wanted)
    rows = probes.measure('cls', 'knn')
    assert [row.setting for row in rows] == ['k 5', 'k 20']
    assert all(row.top1 > 80 for row in rows)
    share = 100 * (test_y == np.bincount(y).argmax()).mean()
    assert probes.baseline().top1 == pytest.approx(share)
