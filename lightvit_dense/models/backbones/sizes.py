"""Reading the size arguments that backbones share."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width); a single number is both."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def resolve_arch(
    arch: str | Mapping[str, Any],
    named: Mapping[str, Mapping[str, Any]],
    needed: Collection[str],
    optional: Collection[str],
) -> dict[str, Any]:
    """Return the sizes of a backbone.

    Args:
        arch: A name, or the sizes themselves.
        named: Sizes by name.
        needed: Keys that sizes must have.
        optional: Keys that they may have.

    Raises:
        ValueError: If the name or a key is unknown, or a key is missing.
    """
    if isinstance(arch, str):
        if arch not in named:
            raise ValueError(f"arch '{arch}' is unknown; choose from {sorted(named)}")
        return dict(named[arch])
    if not set(needed) <= set(arch) <= {*needed, *optional}:
        raise ValueError(
            f'arch needs {sorted(needed)} (and may have {", ".join(sorted(optional))}), '
            f'got {dict(arch)}'
        )
    return dict(arch)
