"""Light: on single objects, and over a whole scene with the camera's own faults."""

import cv2
import numpy as np


def light_object(rng: np.random.Generator, rgba: np.ndarray) -> np.ndarray:
    """Change brightness, tint and contrast of [h, w, 4]; return colour times alpha [h, w, 3]."""
    gains = np.exp(rng.uniform(-0.25, 0.25) + rng.uniform(-0.08, 0.08, 3))
    contrast = rng.uniform(0.75, 1.2)
    grey = 128 / 255 * (1 - contrast)
    lit = cv2.transform(rgba, np.column_stack([np.diag(gains * contrast), gains * grey]))
    return np.maximum(lit, 0, out=lit)


def light_scene(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light a scene from one side, expose it, blur it a little and add noise ([H, W, 3])."""
    height, width = image.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    ramp_x = strength * np.cos(angle) * np.linspace(-1, 1, width, dtype=np.float32)
    ramp_y = strength * np.sin(angle) * np.linspace(-1, 1, height, dtype=np.float32)
    exposure = np.exp(rng.uniform(-0.2, 0.2))
    light = (exposure * (1 + ramp_x[None] + ramp_y[:, None])).astype(np.float32)
    image = image * cv2.merge([light] * 3)
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    if rng.random() < 0.5:
        noise = np.float32(rng.uniform(1, 5)) * rng.standard_normal((height, width), np.float32)
        image += cv2.merge([noise] * 3)
    return np.clip(image, 0, 255).round().astype(np.uint8)
