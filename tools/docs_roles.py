"""An extension of griffe: what docstrings write as ``:class:`Name``` is shown as code."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):`~?([^`]+)`')


class PlainRoles(griffe.Extension):
    """Replace Sphinx' roles in docstrings by plain code, as the site is written in Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r'`\1`', obj.docstring.value)
