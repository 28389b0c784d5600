"""Every example in a docstring runs, in a store of its own."""

from __future__ import annotations

import doctest
import importlib

import pytest

import jupyter_resume

MODULES = ["_active", "_init", "_run", "api", "identity"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    module = importlib.import_module(f"{jupyter_resume.__name__}.{name}")
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
