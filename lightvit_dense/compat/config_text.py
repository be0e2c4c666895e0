"""mmengine formats the whole config by yapf whenever a checkpoint is written.

Symptom: writing a small checkpoint of a detector takes half a second and more of one core, nearly
all of it in ``Config.pretty_text``; a Runner does the same four times while it starts.

Cure: keep the last texts and return them for a config of the same content.
"""

from collections import OrderedDict

from mmengine.config import Config

_LIMIT = 8
_TEXTS: OrderedDict[tuple[str, bool], str] = OrderedDict()
_FORMAT = Config.pretty_text.fget


def _pretty_text(self: Config) -> str:
    """Get formatted python config text."""
    key = (repr(self.to_dict()), bool(self._format_python_code))
    if key not in _TEXTS:
        _TEXTS[key] = _FORMAT(self)
        if len(_TEXTS) > _LIMIT:
            _TEXTS.popitem(last=False)
    _TEXTS.move_to_end(key)
    return _TEXTS[key]


def install() -> None:
    """Make ``Config.pretty_text`` remember; may be called repeatedly."""
    Config.pretty_text = property(_pretty_text)
