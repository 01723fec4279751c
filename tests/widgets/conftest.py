import builtins
import sys

import pytest

import lirf_kit as lk


@pytest.fixture
def without(monkeypatch):
    """Call it with a library's name: from then on it can't be imported, and the widgets are imported anew."""

    def hide(name):
        real = builtins.__import__

        def missing(wanted, *arguments, **keywords):
            if wanted == name:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return real(wanted, *arguments, **keywords)

        for module in [module for module in sys.modules if module.startswith("lirf_kit.widgets.")]:
            # the import that follows replaces the attribute too: monkeypatch puts it back
            monkeypatch.setattr(lk.widgets, module.rpartition(".")[2], sys.modules[module])
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(builtins, "__import__", missing)

    return hide
