from mmengine.config import Config

from lightvit_dense.compat import config_text


def test_an_unchanged_config_is_formatted_once(monkeypatch):
    calls = []
    monkeypatch.setattr(config_text, '_TEXTS', type(config_text._TEXTS)())
    monkeypatch.setattr(config_text, '_FORMAT', lambda cfg: calls.append(1) or _original(cfg))
    config_text.install()
    cfg = Config(dict(model=dict(type='A', sizes=[1, (2, 3)]), name='x'))
    first = cfg.pretty_text
    assert first == _original(cfg)
    assert Config(cfg.to_dict()).pretty_text is first
    assert len(calls) == 1

    cfg.model.sizes[1] = (2, 4)
    assert cfg.pretty_text != first
    assert cfg.pretty_text == _original(cfg)
    cfg.name = 1
    assert 'name = 1' in cfg.pretty_text
    assert len(calls) == 3


def test_few_texts_are_kept(monkeypatch):
    monkeypatch.setattr(config_text, '_TEXTS', type(config_text._TEXTS)())
    texts = [Config(dict(number=i)).pretty_text for i in range(20)]
    assert texts == [f'number = {i}\n' for i in range(20)]
    assert len(config_text._TEXTS) == config_text._LIMIT
    assert Config(dict(number=0)).pretty_text == 'number = 0\n'


_original = config_text._FORMAT
