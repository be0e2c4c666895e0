"""Small and large sets of labelled images, in the layouts that their makers publish."""

from .aircraft import FGVCAircraft
from .base import ClassificationSet
from .cars import StanfordCars
from .cifar import CIFAR100
from .flowers import Flowers102
from .inaturalist import INaturalist2018
from .pets import OxfordPets

__all__ = [
    'CIFAR100',
    'ClassificationSet',
    'FGVCAircraft',
    'Flowers102',
    'INaturalist2018',
    'OxfordPets',
    'StanfordCars',
]
