"""``from jupyter_resume.keras import WandbCallback``: the public name of the Keras integration."""

from .integrations.keras import WandbCallback

__all__ = ["WandbCallback"]
