"""How `fab` takes the words of a command line: what is misspelt is one line and status 2, `-h` is
help everywhere."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument
from invoke.tasks import Task, task

from infra.core import exits

# What Invoke says of a verb without its arguments, and of an option without its value.
_LACKING = r"'([\w.]+)' did not receive required positional arguments: '(\w+)'"
_WITHOUT_VALUE = r"Flag <Argument: (\w+).*needed value"
# Verbs with a word that may be left out, which Invoke does not know: it is that option's value.
_MAY_HAVE_A_WORD = {"backup": "to", "backups": "place"}
FABRIC = "fabric"  # the word with which `fab --help` shows Fabric's own options


class Verb(Task):  # type: ignore[type-arg]
    """A task that leaves `-h` to help, and whose numbers have to be numbers."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """As Invoke's, without a short name that stands for help."""
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            argument.names = tuple(name for name in argument.names if name != "h")
            if argument.positional:
                argument.kind = _word_for(self.name, argument.names[0])
            if argument.kind is int:
                argument.kind = _number_for(argument.names[0])
        return arguments


def _word_for(task: str, name: str) -> Any:
    def read(text: str) -> str:
        if text.startswith("-"):
            verb = _as_typed(task)
            raise Exit(
                f"`fab {verb}` needs {name.upper()} before {text}; `fab {verb} --help` says more",
                exits.USAGE,
            )
        return text

    return read


def _as_typed(task: str) -> str:
    """A task's name behind that of its group, as the command line has it."""
    for word in sys.argv[1:]:
        if word.rpartition(".")[2] == task:
            return word
    return task


def _number_for(option: str) -> Any:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000):
            raise Exit(f"--{option} {text}: write a whole number from 1", exits.USAGE)
        return int(text)

    return read


def overview(verbs: Collection) -> Any:
    """The task that a bare `fab` runs: the verbs, a line each."""

    @task(name="verbs")
    def show(_: Context) -> None:
        """The verbs, a line each."""
        print(overview_text(verbs))

    return show


def overview_text(verbs: Collection) -> str:
    """The verbs, a line each, and where more is."""
    shown = names(verbs)
    width = max(map(len, shown)) + 1
    lines = ["usage: fab VERB [--stack NAME] [options]; `fab VERB --help` shows them", ""]
    for name in shown:
        lines.append(f"  {name:<{width}} {_first_line(verbs[name])}")
    lines.append("")
    lines.append(f"`fab --help {FABRIC}` shows the options of Fabric itself")
    return "\n".join(lines)


def _first_line(verb: Verb) -> str:
    text = (verb.__doc__ or "").strip()
    return text.splitlines()[0]


def names(verbs: Collection) -> list[str]:
    """The verbs in the order that they were added in."""
    return [name for name in verbs.task_names if name != "verbs"]


def take_over(verbs: Collection) -> None:
    """Have the running `fab` report a command line that can't be used as all else is reported.

    Fabric's program is made before it loads this; its own report is status 1, and for a number a
    traceback.
    """
    fabric = sys.modules.get("fabric.main")
    if fabric is None:
        return
    program = fabric.program
    parse = program.parse_tasks
    finish = program.parse_cleanup
    options = program.print_help

    def parse_tasks() -> None:
        words = program.core.unparsed
        if _asks_for_help(words, verbs):
            # `--help` could be taken for the word that a verb needs.
            program.args.help.value = words[0]
            words.clear()
        _name_the_word(words, verbs)
        try:
            parse()
        except ParseError as problem:
            raise Exit(_refusal(problem, words, verbs), exits.USAGE) from None
        _refuse_of_fabric(program)

    def parse_cleanup() -> None:
        if program.args.help.value == FABRIC:
            options()
            raise Exit
        try:
            finish()
        except ParseError as problem:  # `fab --help WORD`
            raise Exit(explain(problem, verbs), exits.USAGE) from None

    program.parse_tasks, program.parse_cleanup = parse_tasks, parse_cleanup


def _name_the_word(words: list[str], verbs: Collection) -> None:
    """Write the option before the word of a verb that may have one."""
    option = _MAY_HAVE_A_WORD.get(words[0]) if words else None
    if option is None:
        return
    place = _first_bare_word(words, verbs[words[0]])
    if place is not None:
        words.insert(place, f"--{option}")


def _first_bare_word(words: Sequence[str], verb: Verb) -> int | None:
    """Where the first word stands that is no option and no option's value."""
    with_value: set[str] = set()
    for argument in verb.get_arguments(True):
        if argument.takes_value:
            with_value.update(f"{'-' if len(name) == 1 else '--'}{name}" for name in argument.names)
    is_value = False
    for place, word in enumerate(words[1:], 1):
        if not is_value and not word.startswith("-"):
            return place
        is_value = word in with_value
    return None


def _refuse_of_fabric(program: Any) -> None:
    """Refuse what Fabric takes with every verb, and what would not do as it says here."""
    if program.args.dry.value:
        # It leaves out what `Context.run` would run, and no verb runs anything by that.
        raise Exit(_DRY, exits.USAGE)
    if program.core.remainder:
        if [context.name for context in program.tasks] != ["manage"]:
            raise Exit("only `fab manage` takes words after --", exits.USAGE)
        program.core.remainder = ""  # Fabric would run it on the hosts of its own options


def _asks_for_help(words: Sequence[str], verbs: Collection) -> bool:
    """Whether the command line is `fab VERB --help`."""
    return len(words) > 1 and words[0] in verbs.task_names and words[1] in ("-h", "--help")


def _refusal(
    problem: ParseError,
    words: Sequence[str],
    verbs: Collection,
) -> str:
    """What to say of a command line that can't be parsed."""
    without_dashes = not unknown_word(problem).startswith("-")
    if words[:1] == ["manage"] and without_dashes:
        return _MANAGE
    return explain(problem, verbs)


_DRY = (
    "no verb has --dry, and nothing was changed: `fab plan` shows what `fab up` and `fab deploy`"
    " would change, `fab preview.sweep --dry-run` what would go"
)
_MANAGE = "The command stands after --, e.g. `fab manage -- createsuperuser`"


def words_for_manage(argv: list[str] | None = None) -> list[str]:
    """What stands after the first `--` of the command line, word by word. Raises Exit where nothing
    does."""
    words = argv or sys.argv
    found = words[words.index("--") + 1 :] if "--" in words else []
    if not found:
        raise Exit(_MANAGE, exits.USAGE)
    return found


def explain(problem: ParseError, verbs: Collection) -> str:
    """What is wrong with the words, and what was probably meant."""
    text = str(problem).strip()
    word = unknown_word(problem)
    lacking = re.match(_LACKING, text)
    if lacking:
        verb, argument = lacking.groups()
        return f"`fab {verb}` needs {argument.upper()}; `fab {verb} --help` says more"
    flag = re.match(_WITHOUT_VALUE, text)
    if flag:
        option = flag[1].replace("_", "-")
        return f"--{option} needs a value; `fab VERB --help` shows the options"
    if not word:
        return f"{text} `fab VERB --help` shows the options"
    verb = problem.context.name if problem.context else None
    if word.startswith("-") and verb in verbs.task_names:
        return _no_such(
            f"`fab {verb}` has no option {word}",
            word,
            _options(verbs[verb]),
            f"`fab {verb} --help` shows them",
        )
    known = names(verbs)
    return _no_such(
        f"there is no verb {word}",
        word,
        known,
        f"there is {', '.join(known)}",
    )


def unknown_word(problem: ParseError) -> str:
    """The word that means nothing, if that is the problem; otherwise empty."""
    text = str(problem).strip()
    return text.split("'")[1] if text.startswith("No idea what '") else ""


def _options(verb: Verb) -> list[str]:
    """The long options of a verb."""
    options = []
    for argument in verb.get_arguments(True):
        for name in (*argument.names, argument.attr_name or ""):
            if len(name) > 1:
                options.append("--" + name.replace("_", "-"))
    return options


def _no_such(
    what: str,
    word: str,
    known: list[str],
    otherwise: str,
) -> str:
    name, _, _ = word.partition("=")
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"{what}; did you mean {close[0]}?"
    return f"{what}; {otherwise}"
