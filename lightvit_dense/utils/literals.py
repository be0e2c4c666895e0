"""Configs as data: those that files carry are read and never run."""

import ast
from collections.abc import Container
from typing import Any

_NAMES = {'inf': float('inf'), 'nan': float('nan')}
_LIMIT = 1 << 22


def read_assignments(text: str, names: Container[str] | None = None) -> dict[str, Any]:
    """Read Python lines ``name = value`` of literals and ``dict(...)``, all or those of some names.

    Raises:
        ValueError: If a value is anything else, the text no Python, or longer than 4 MiB.
    """
    try:
        if len(text) > _LIMIT:
            raise ValueError(f'{len(text)} characters')
        found = {}
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)]) if names is None or name in names:
                    found[name] = _value(statement.value)
        return found
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from error


def _value(node: ast.expr) -> Any:
    """Evaluate a literal."""
    match node:
        case ast.Constant():
            return node.value
        case ast.List():
            return [_value(item) for item in node.elts]
        case ast.Tuple():
            return tuple(_value(item) for item in node.elts)
        case ast.Set():
            return {_value(item) for item in node.elts}
        case ast.Dict() if None not in node.keys:
            keys = [_value(key) for key in node.keys if key is not None]
            return dict(zip(keys, map(_value, node.values), strict=True))
        case ast.Call(func=ast.Name(id='dict'), args=[]) if all(k.arg for k in node.keywords):
            return {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
        case ast.Call(func=ast.Name(id='dict'), args=[ast.Dict() as mapping], keywords=[]):
            return _value(mapping)  # as mmengine writes keys that are no identifiers
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.Name() if node.id in _NAMES:
            return _NAMES[node.id]
    raise ValueError(f'line {node.lineno}: {ast.unparse(node)[:60]!r} is no literal')
