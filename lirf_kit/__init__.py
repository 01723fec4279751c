"""Learning with Recoverable Forgetting, for teaching (Ye et al., ECCV 2022).

The public names are listed in ``__init__.pyi``. Each is imported when you first use it (lazy-loader; Scientific
Python's SPEC 1), so that ``import lirf_kit`` is quick, and ``python -m lirf_kit doctor`` can say what is missing.
"""

import difflib

try:
    import lazy_loader
except ModuleNotFoundError:
    sentence = (
        'lirf_kit needs lazy-loader: in the kit\'s folder, python -m pip install -e ".[dev]" installs all it needs'
    )
    raise ModuleNotFoundError(sentence, name="lazy_loader") from None

__version__ = "0.1.0"

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):
    if name in __all__:
        return _load(name)
    near = difflib.get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module 'lirf_kit' has no attribute {name!r}{hint}")
