"""The fixtures of the tests with real SDKs; a plugin, so that no test module has to import their names."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from .sdk import CURRENT, MIDDLE, OLDEST, ORPHANS, NotToBeHad, Sdk, Server, environment, python_of, serve


def _asked_for(sdk: Sdk) -> Sdk:
    try:
        environment(sdk)
    except NotToBeHad as reason:
        python_exists = any(map(python_of, sdk.pythons))
        if os.environ.get("CI") and (sdk.required or python_exists):
            pytest.fail(str(reason))
        pytest.skip(str(reason))
    return sdk


@pytest.fixture(scope="session")
def current() -> Sdk:
    """The SDK that people install today."""
    return _asked_for(CURRENT)


@pytest.fixture(scope="session")
def middle() -> Sdk:
    """The last widely used SDK whose core is Python."""
    return _asked_for(MIDDLE)


@pytest.fixture(scope="session")
def oldest() -> Sdk:
    """The SDK of the days of the two documents."""
    return _asked_for(OLDEST)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the module's tests; each names runs of its own."""
    folder = tmp_path_factory.mktemp("server")
    serving = serve(folder / "home", folder / "server.log")
    yield serving
    for orphan in ORPHANS:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()
    ORPHANS.clear()
    assert serving.stop() in (0, -signal.SIGTERM), (folder / "server.log").read_text()[-2000:]
