"""gixy, which reads nginx for security faults, on the rendered trees: it has nothing to say, and it
is not blind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.render import Generation
from tests.test_render import CASES, ROLES, load, rendered
from tests.test_render_nginx import edited

# Check → why it is no fault here.
SKIPPED = {
    "hsts_header": "is the stack's choice (`hsts`), and off by default",
    "try_files_is_evil_too": (
        "wants a cache of open files, which would go on serving the release before"
    ),
}


def found(folder: Path, generation: Generation) -> dict[str, str]:
    """Check → what gixy says of the generation's nginx files."""
    for file in generation.files:
        if file.path.startswith("nginx/"):
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(file.text.replace("include snippets/", f"include {folder}/nginx/"))
    main = folder / "nginx/origin-kit-main.conf"
    alone = main.read_text().replace("/etc/nginx/conf.d/*.conf", f"{folder}/nginx/origin-kit.conf")
    main.write_text(re.sub(r"include /etc/nginx/\w+-enabled/.*;", "", alone))  # this machine's own
    program = Path(sys.executable).with_name("gixy")
    words: list[str | Path] = [
        program,
        "-f",
        "json",
        "--origins-lower-hostname",
        "true",
        "--skips",
        ",".join(SKIPPED),
        main,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == "" and done.returncode in (0, 1), done.stderr
    return {one["plugin"]: one["reason"] for one in json.loads(done.stdout)}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("case", CASES)
def test_it_has_nothing_to_say(tmp_path: Path, case: str, role: str) -> None:
    assert found(tmp_path, rendered(load(case), role)) == {}


@pytest.mark.parametrize(
    ("before", "after", "check"),
    [
        (r"preview\.example\.com$", "preview.example.com$", "origins"),
        (r"preview\.example\.com$", r"preview\.example\.com", "origins"),
        ("server_tokens off;", "", "version_disclosure"),
        ("        include snippets/origin-kit-cors.conf;\n", "", "add_header_redefinition"),
        (
            "proxy_set_header Host $host$origin_kit_port;",
            "proxy_set_header Host $http_host;",
            "host_spoofing",
        ),
    ],
)
def test_it_sees_a_careless_edit(tmp_path: Path, before: str, after: str, check: str) -> None:
    generation = edited(rendered(load("patterns-ipv6"), "backend"), before, after)
    assert check in found(tmp_path, generation)
