"""Build a model in one line."""

import pytest
import torch

from lightvit_dense import apis
from lightvit_dense.errors import UserError


def test_build_model_initialises_and_loads(write, tmp_path) -> None:
    config = write(length=1)
    model = apis.build_model(config, device='cpu')
    assert not model.training
    assert model.cfg.randomness.seed == 3
    state = {name: torch.full_like(value, 2) for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'x.pth')
    loaded = apis.build_model(config, tmp_path / 'x.pth', device='cpu')
    assert all((value == 2).all() for value in loaded.state_dict().values())
    assert not (model.head.weight == 2).any()


def test_build_model_names_what_is_missing(write, tmp_path) -> None:
    with pytest.raises(UserError, match=r'checkpoint nowhere.pth does not exist'):
        apis.build_model(write(), 'nowhere.pth')
    with pytest.raises(UserError, match=r'nothing.py does not exist; .* has toy.py'):
        apis.build_model(tmp_path / 'nothing.py')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('model = dict(', r'x.py cannot be read: SyntaxError'),
        ("custom_imports = dict(imports=['no_such_module'])", 'no_such_module'),
        ("_base_ = 'no_such_base.py'", r'no_such_base.py'),
    ],
)
def test_a_config_that_is_no_config(tmp_path, content, message) -> None:
    (tmp_path / 'x.py').write_text(content)
    with pytest.raises(UserError, match=message):
        apis.load_config(tmp_path / 'x.py')
