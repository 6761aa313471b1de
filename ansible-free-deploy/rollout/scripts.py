"""The texts that run on hosts: a script, after the modules that it shares with others."""

from __future__ import annotations

from importlib import resources

_SHARED = ("onhost", "handover", "seal", "manifest")

_START = """\
import sys, types
sys.modules["rollout"] = types.ModuleType("rollout")
def _module(name, text):
    module = sys.modules["rollout." + name] = types.ModuleType("rollout." + name)
    vars(module)["PAYLOAD"] = PAYLOAD
    exec(compile(text, name + ".py", "exec"), vars(module))
"""


def script(name: str) -> str:
    """`install` or `transaction`, whole: standard library only, orders in the global PAYLOAD."""
    shared = "".join(f"_module({module!r}, {_text(module)!r})\n" for module in _SHARED)
    return f'{_START}{shared}exec(compile({_text(name)!r}, "{name}.py", "exec"), globals())\n'


def _text(name: str) -> str:
    return resources.files("rollout").joinpath(f"{name}.py").read_text()
