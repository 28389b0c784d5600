"""The examples under nbval: a store of their own, and a short training. Kernels inherit this environment."""

import atexit
import os
import shutil
import tempfile

if "JUPYTER_RESUME_HOME" not in os.environ:
    os.environ["JUPYTER_RESUME_HOME"] = tempfile.mkdtemp(prefix="jupyter-resume-examples-")
    atexit.register(shutil.rmtree, os.environ["JUPYTER_RESUME_HOME"], ignore_errors=True)
os.environ.setdefault("EPOCHS", "12")
