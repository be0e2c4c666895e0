import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Draw the same random numbers in every run."""
    torch.manual_seed(0)
