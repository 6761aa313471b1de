"""The texts that run on hosts: a script, after the modules that it shares with others."""

from __future__ import annotations

from importlib import resources

# In the order in which they import each other.
_SHARED = (
    "onhost",
    "handover",
    "journal",
    "shipped",
    "two_phase",
    "claims",
    "envfile",
    "untrusted",
    "logfiles",
    "confined",
    "seal",
    "manifest",
    "modules",
    "made_from",
    "logins",
    "replacement",
)
_NEEDS = {
    "transaction": (*_SHARED, "request_log"),
    "install": (
        *_SHARED,
        "request_log",
        "appdata",
        "links",
        "wheelfiles",
        "debug_branches",
        "error_pages",
        "transaction",
    ),
    "data_copy": (*_SHARED, "appdata"),
}

_START = """\
import sys, types
rollout = sys.modules["rollout"] = types.ModuleType("rollout")
rollout.TEXTS = {}
def _module(name, text):
    rollout.TEXTS[name] = text
    module = types.ModuleType("rollout." + name)
    sys.modules["rollout." + name] = module
    setattr(rollout, name, module)
    vars(module)["PAYLOAD"] = PAYLOAD
    exec(compile(text, name + ".py", "exec"), vars(module))
"""


def script(name: str) -> str:
    """`install`, `transaction` or `data_copy`, whole: standard library only, orders in the global PAYLOAD."""
    start = f"{_START}rollout.START = {_START!r}\n"
    shared = "".join(f"_module({module!r}, {_text(module)!r})\n" for module in _NEEDS[name])
    return f'{start}{shared}exec(compile({_text(name)!r}, "{name}.py", "exec"), globals())\n'


def _text(name: str) -> str:
    return resources.files("rollout").joinpath(f"{name}.py").read_text()
