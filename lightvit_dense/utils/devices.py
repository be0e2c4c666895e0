"""Devices, checked before they are used."""

import torch

from lightvit_dense.errors import UserError


def check_device(device: str | torch.device | None = None) -> torch.device:
    """Return a device that is there; ``None`` takes a GPU if there is one, else the CPU."""
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    # Without CUDA in it torch raises an AssertionError.
    except (RuntimeError, AssertionError) as error:
        reason = f'{str(error).splitlines()[0]}; torch sees {torch.cuda.device_count()} GPU(s)'
        raise UserError(f"device {str(device)!r} cannot be used ({reason}); take 'cpu'") from error
    return found


def fast_in_bf16(device: torch.device) -> bool:
    """Return whether a device has units for matrices of bf16: GPUs from Ampere on, AMX in a CPU."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == 'cpu' and torch.cpu._is_amx_tile_supported()
