"""Building a network of timm by its name there."""

from typing import Any


def create_timm_model(
    name: str, pretrained: bool = False, file_key: str = 'init_cfg', **options: Any
) -> Any:
    """Build a network of timm; ``file_key`` is the caller's option that names a local file."""
    import timm  # takes a second to import, and few runs need it

    architecture = name.split('.')[0]
    if not timm.is_model(architecture):
        near = ', '.join(timm.list_models(f'*{architecture[:8]}*')[:5]) or 'none like it'
        raise ValueError(f'timm knows no model {name!r}; near it: {near}')
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ValueError(
            f'{name}: timm could not fetch its weights ({type(error).__name__}: {error}). Put '
            f'the file in place and name it by {file_key} with pretrained=False'
        ) from error
