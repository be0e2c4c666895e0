"""A tracker made once for many sequences follows as one made for each, whatever happens between."""

import copy
import io

import numpy as np
import pytest
import torch

from tracking import runtime
from tracking.runtime.track import track_sequence
from tracking.structures import TrackSample

from .small_runtime import moving_target, sequence_of
from .small_tracker import small_tracker

SEQUENCE = sequence_of(*moving_target(4))


def boxes_of(model):
    sample = TrackSample()
    sample.sequence = SEQUENCE
    (found,) = model.predict({}, [sample])
    return found.boxes


def expected(model):
    """Return the boxes of a tracker made for this call alone."""
    return track_sequence(runtime.Tracker.from_model(copy.deepcopy(model)), SEQUENCE)[0]


@pytest.fixture
def made(monkeypatch):
    """Count the trackers that are made."""
    models = []
    make = runtime.Tracker.from_model

    def counted(model, *args, **kwargs):
        models.append(model)
        return make(model, *args, **kwargs)

    monkeypatch.setattr(runtime.Tracker, 'from_model', counted)
    return models


def optimizer_step(model):
    # Its learning rate is high enough to move the box.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def load_weights(model):
    other = {k: v + 0.3 * torch.randn(v.shape) for k, v in model.state_dict().items() if v.ndim}
    model.load_state_dict(other, strict=False)


def swap_as_averages_do(model):
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    model.eval()  # as a validation begins


def other_statistics(model):
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith('running_mean'):
                buffer += 3


def no_window(model):
    model.test_cfg['window'] = False


def keep_all(model):
    model.backbone.final_keep_ratio = 1.0


def test_one_tracker_serves_all_sequences(made):
    model = small_tracker().eval()
    wanted = expected(model)
    made.clear()
    for _ in range(3):
        np.testing.assert_array_equal(boxes_of(model), wanted)
    assert made == [model]


@pytest.mark.parametrize('change', [optimizer_step, load_weights, swap_as_averages_do])
def test_other_weights_track_otherwise(change):
    model = small_tracker().eval()
    before = boxes_of(model)
    change(model)
    found = boxes_of(model)
    np.testing.assert_array_equal(found, expected(model))
    assert np.abs(found - before).max() > 1e-3


@pytest.mark.parametrize('change', [other_statistics, no_window, keep_all])
def test_other_options_are_seen(change, made):
    model = small_tracker().eval()
    boxes_of(model)
    change(model)
    np.testing.assert_array_equal(boxes_of(model), expected(model))
    assert made[:2] == [model, model]


def test_a_copy_and_a_file_hold_no_tracker(made):
    model = small_tracker().eval()
    boxes_of(model)
    twin = copy.copy(model)
    deep = copy.deepcopy(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    saved = torch.load(file, weights_only=False)
    for other in (deep, saved, twin):
        made.clear()
        np.testing.assert_array_equal(boxes_of(other), expected(model))
        assert made[0] is other


def test_training_frees_it():
    model = small_tracker().eval()
    boxes_of(model)
    assert model._kept._tracker is not None
    model.train()
    assert model._kept._tracker is None
    model.eval()
    np.testing.assert_array_equal(boxes_of(model), expected(model))
