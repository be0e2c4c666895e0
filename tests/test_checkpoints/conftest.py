import pytest
import torch
from timm.models.vision_transformer import VisionTransformer


@pytest.fixture
def make_vit():
    """Make a small ViT with timm's names, standing in for any backbone."""

    def make(seed=0, grid=(4, 4), cls_token=True, patch=4, heads=2, dim=8, depth=2):
        torch.manual_seed(seed)
        model = VisionTransformer(
            img_size=(grid[0] * patch, grid[1] * patch),
            patch_size=patch,
            embed_dim=dim,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            class_token=cls_token,
            global_pool='avg',
            fc_norm=False,
        )
        model.grid_size = grid
        model.num_prefix_tokens = int(cls_token)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        return model.eval()

    return make
