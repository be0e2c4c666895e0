"""What all transforms share: how they are printed."""

from mmcv.transforms import BaseTransform

from lightvit_dense.compat.mmcv_resize import install

install()


class Transform(BaseTransform):
    """A transform that prints its settings."""

    def __repr__(self) -> str:
        settings = (f'{k}={v!r}' for k, v in vars(self).items() if not k.startswith('_'))
        return f'{type(self).__name__}({", ".join(settings)})'
