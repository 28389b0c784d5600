"""`wandb sync` of one offline run, as its command line does it: {"folder": "wandb/offline-run-..."}."""

import json
import subprocess
import sys

if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", plan["folder"]]
    sys.exit(subprocess.call(command, stdin=subprocess.DEVNULL))
