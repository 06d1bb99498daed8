"""Studies of systems: one file each, which registers its study. A plug-in has its own in a folder `studies`, too."""

from gocom.common.registry import Registry
from gocom.evaluation.experiment.experiment import Study

STUDIES: Registry[Study] = Registry("study", "gocom.evaluation.studies")
