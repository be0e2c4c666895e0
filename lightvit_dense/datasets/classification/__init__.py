"""Small and large sets of labelled images, in the layouts that their makers publish."""

from .base import ClassificationSet
from .cifar import CIFAR100
from .fine_grained import FGVCAircraft, Flowers102, OxfordPets, StanfordCars
from .inaturalist import INaturalist2018
