"""``python -m jupyter_resume`` is ``jupyter resume``."""

import sys

from .cli import main

sys.exit(main())
