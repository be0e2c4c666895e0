"""Reading the size arguments that backbones share."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width); a single number is both."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def check_keys(
    what: str, group: Mapping[str, Any], needed: Collection[str], optional: Collection[str]
) -> None:
    """Raise a ValueError if a group of options lacks a key or has an unknown one."""
    if not set(needed) <= set(group) <= {*needed, *optional}:
        raise ValueError(
            f'{what} needs {sorted(needed)} (and may have {", ".join(sorted(optional))}), '
            f'got {dict(group)}'
        )


def resolve_arch(
    arch: str | Mapping[str, Any],
    named: Mapping[str, Mapping[str, Any]],
    needed: Collection[str],
    optional: Collection[str],
) -> dict[str, Any]:
    """Return the sizes of a backbone, given themselves or by a name in ``named``."""
    if isinstance(arch, str):
        if arch not in named:
            raise ValueError(f"arch '{arch}' is unknown; choose from {sorted(named)}")
        return dict(named[arch])
    check_keys('arch', arch, needed, optional)
    return dict(arch)
