"""Light: on single objects, and over a whole scene with the camera's own faults."""

import cv2
import numpy as np


def light_object(rng: np.random.Generator, color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Change an object's brightness, tint and contrast.

    Args:
        rng: Source of all randomness.
        color: Colour times alpha, float32 [h, w, 3] in 0..255.
        alpha: Opacity, float32 [h, w] in 0..1.

    Returns:
        New colour times alpha, float32 [h, w, 3].
    """
    gains = np.exp(rng.uniform(-0.25, 0.25) + rng.uniform(-0.08, 0.08, 3)).astype(np.float32)
    contrast = np.float32(rng.uniform(0.75, 1.2))
    opacity = alpha[..., None]
    lit = (color * contrast + 128 * (1 - contrast) * opacity) * gains
    return np.clip(lit, 0, 255 * opacity)


def light_scene(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light a scene from one side, expose it, blur it a little and add noise.

    Args:
        rng: Source of all randomness.
        image: Float32 [H, W, 3] in 0..255.

    Returns:
        Uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    ramp_x = strength * np.cos(angle) * np.linspace(-1, 1, width, dtype=np.float32)
    ramp_y = strength * np.sin(angle) * np.linspace(-1, 1, height, dtype=np.float32)
    exposure = np.exp(rng.uniform(-0.2, 0.2))
    image = image * (exposure * (1 + ramp_x[None] + ramp_y[:, None])).astype(np.float32)[..., None]
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    if rng.random() < 0.5:
        noise = rng.standard_normal((height, width, 1), np.float32)
        image = image + rng.uniform(1, 5) * noise
    return np.clip(image, 0, 255).round().astype(np.uint8)
