"""The settings that ``%config ResumeMagics`` and IPython's configuration files may give."""

from __future__ import annotations

from traitlets import CBool, CUnicode
from traitlets.config import Configurable


class Configured(Configurable):
    """Defaults for `%wb_init`, below its arguments and the environment; "" means not given.

    They are taken as they come and checked where they are used: a trait that refuses a value would keep the
    extension from being loaded again.
    """

    project = CUnicode("", help="The project of new runs (WANDB_PROJECT).").tag(config=True)
    entity = CUnicode("", help="The entity, a person or team, of new runs (WANDB_ENTITY).").tag(config=True)
    resume = CUnicode("", help="The resume policy: allow, must, never or auto (WANDB_RESUME).").tag(config=True)
    mode = CUnicode("", help="local, online, or offline for a run that is synced later (WANDB_MODE).").tag(config=True)
    base_url = CUnicode("", help="The server's address (WANDB_BASE_URL).").tag(config=True)
    dir = CUnicode("", help="The folder for the files of runs (WANDB_DIR).").tag(config=True)
    display = CBool(True, help="Whether %wb_init shows its live view.").tag(config=True)
