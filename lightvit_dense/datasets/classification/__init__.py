"""Small and large sets of labelled images, in the layouts that their makers publish."""

from .base import ClassificationSet
from .cifar import CIFAR100
from .fine_grained import FGVCAircraft, Flowers102, OxfordPets, StanfordCars
from .inaturalist import INaturalist2018

__all__ = [
    'CIFAR100',
    'ClassificationSet',
    'FGVCAircraft',
    'Flowers102',
    'INaturalist2018',
    'OxfordPets',
    'StanfordCars',
]
