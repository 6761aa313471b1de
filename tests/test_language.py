"""Plain English: phrases that this project has retired stand nowhere in code, docs or messages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A phrase that a reader whose second language is English stumbles over → what to write instead.
RETIRED = {
    r"will not do": "invalid value …: expected …",
    r"(is|are) not there yet": "is not supported",
    r"does not run under the kit": "is not running this kit's configuration",
    r"(runs|run) on other configuration": "runs an older configuration",
    r"left as it was, or back at it": "unchanged or rolled back",
    r"ways? back": "rollback journal; how to undo it",
    r"as a browser would": "with browser-like requests",
    r"for ever": "always; without end",
    r"anew": "again; recreated",
    r"beside": "next to; besides; compared with",
    r"strangers?('s)?": "unlisted origin; third party",
    r"whence|thereby|therein|hither": "from which; so",
    r"(minds|insists)": "checks; requires",
    r"told|tells?|telling": "says; reports; reported",
    r"dear": "expensive",
    r"cheap": "fast; inexpensive",
    r"lets? (\w+ )?in|let in|letting in": "allows; is allowed",
    r"own words": "its message",
    r"bites( later)?": "is likely to break later",
    r"key that is none": "invalid key",
    r"repeats a repetition": "nested quantifier: catastrophic backtracking",
    r"(a|an) own": "its own",
}
# A phrase may go over the end of a line of prose or of a comment.
WORDS = re.compile(
    rf"\b(?:{'|'.join(RETIRED)})\b".replace(" ", r"(?:[ ]|\n\s*#?\s*)"), re.IGNORECASE
)
KINDS = {".py", ".md", ".yaml", ".yml", ".in", ".html", ".js", ".sh", ".toml", ".conf"}
# A method of files, and a field of what `fab replace` keeps on disk.
PERMITTED = re.compile(r"\.tell\(\)|[\"'.]told\b|\btold: Json")
# Recorded texts of other programs, states of earlier versions, and this table itself.
EXCEPT = ("tests/state/", "tests/golden/", "tests/test_language.py", "uv.lock")


def texts() -> list[str]:
    """Every text file that git knows or would take, by its path from the project's root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return [name for name in names if Path(name).suffix in KINDS and not name.startswith(EXCEPT)]


def retired(text: str) -> list[str]:
    """The lines with a retired phrase, each with its number and the phrase."""
    plain = PERMITTED.sub("", text).replace("_", " ")
    found = []
    for phrase in WORDS.finditer(plain):
        number = plain.count("\n", 0, phrase.start()) + 1
        found.append(f"{number}: {' '.join(phrase[0].split())!r}")
    return found


@pytest.mark.parametrize("name", texts())
def test_no_retired_phrase(name: str) -> None:
    """In code, comments, docstrings, messages, names and documents alike."""
    assert retired((ROOT / name).read_text()) == []


@pytest.mark.parametrize(
    "text", ["A STRANGER is let in", "it_is_told", "lets them in", "asks as a browser would"]
)
def test_a_retired_phrase_is_found(text: str) -> None:
    """In capitals, in a name, and with a word in between."""
    assert retired(text) != []


@pytest.mark.parametrize(
    "text", ["the total is stated", "letters in a name", "besides", "an owner"]
)
def test_other_words_pass(text: str) -> None:
    assert retired(text) == []
