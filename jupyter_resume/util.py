"""``wandb.util``, as far as the documents use it."""

from .identity import generate_id

__all__ = ["generate_id"]
