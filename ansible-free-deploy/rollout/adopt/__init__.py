"""Adopt a Django project: read it, say what will change and what conflicts, write the config of a
stack for it.

The project is read as text. Nothing of it is imported, run or changed.
"""

from rollout.adopt.adoption import DEFAULTS, Adopted, adopt
from rollout.adopt.values import AdoptError

__all__ = ["DEFAULTS", "AdoptError", "Adopted", "adopt"]
