"""What a wheel may write, and that the environment equals the one that pip makes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from on_host import wheelfiles
from on_host.wheelfiles import WheelRefused

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
PACKAGES = f"lib/python{PYTHON}/site-packages"
FACTS = {
    "thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
    "thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "thing-1.0.dist-info/RECORD": "",
}


def wheel(folder: Path, files: dict[str, str], executable: tuple[str, ...] = ()) -> Path:
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        for name, text in {**FACTS, **files}.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o100755 if name in executable else 0o100644) << 16
            out.writestr(member, text)
    return path


def scripts(*lines: str) -> dict[str, str]:
    return {"thing-1.0.dist-info/entry_points.txt": "\n".join(("[console_scripts]", *lines)) + "\n"}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"../../../evil.py": ""}, "leads outside"),
        ({"/etc/evil": ""}, "leads outside"),
        ({"a/../b.py": ""}, "leads outside"),
        ({"a//b.py": ""}, "leads outside"),
        ({"a\\b.py": ""}, "leads outside"),
        ({"a\n.py": ""}, "leads outside"),
        ({"thing-1.0.data/scripts/../python": ""}, "leads outside"),
        ({"thing-1.0.data/data//etc/evil": ""}, "leads outside"),
        ({"thing-1.0.data/scripts/python": ""}, "would replace the environment's own bin/python"),
        (
            {"thing-1.0.data/scripts/python3.11": ""},
            "would replace the environment's own bin/python3.11",
        ),
        (
            {"thing-1.0.data/data/bin/python3": ""},
            "would replace the environment's own bin/python3",
        ),
        ({"other-9.data/scripts/activate": ""}, "would replace the environment's own bin/activate"),
        ({"thing-1.0.data/scripts/pip": ""}, "would replace the environment's own bin/pip"),
        ({"thing-1.0.data/scripts/a/b": ""}, "part of the environment itself"),
        ({"thing-1.0.data/data/pyvenv.cfg": ""}, "part of the environment itself"),
        ({"thing-1.0.data/data/.complete": ""}, "part of the environment itself"),
        ({"thing-1.0.data/data/lib64/x.py": ""}, "part of the environment itself"),
        (
            {"thing-1.0.data/data/lib/python3.99/site.py": ""},
            "part of the environment itself",
        ),
        (
            {f"thing-1.0.data/data/lib/python{PYTHON}/os.py": ""},
            "part of the environment itself",
        ),
        ({"thing-1.0.data/surprise/x": ""}, "no known kind of data"),
        (scripts("python = thing:run"), "would replace the environment's own bin/python"),
        (scripts("../../../etc/cron.d/evil = thing:run"), "leads outside"),
        (scripts("run = thing:run; import os"), "not module:function"),
        (scripts("run = thing"), "not module:function"),
        ({"other-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\n"}, "more than one"),
        ({"thing-1.0.dist-info/WHEEL": "Wheel-Version: 2.0\n"}, "not 1.x"),
    ],
)
def test_a_forbidden_place_is_refused_by_name(
    tmp_path: Path, files: dict[str, str], why: str
) -> None:
    """No file of that wheel is written, and none of the others."""
    with pytest.raises(WheelRefused, match=r"^thing-1\.0-py3-none-any\.whl") as caught:
        wheelfiles.install([wheel(tmp_path, files)], tmp_path / "venv")
    assert why in str(caught.value)
    assert not (tmp_path / "venv").exists()


def test_damaged_wheels_are_refused(tmp_path: Path) -> None:
    """Text, half of a wheel, and a wheel whose content does not match its checksum."""
    broken = tmp_path / "thing-1.0-py3-none-any.whl"
    broken.write_text("no archive")
    with pytest.raises(WheelRefused, match="is not a complete wheel"):
        wheelfiles.check(broken, PYTHON)
    whole = wheel(tmp_path, {"thing.py": "x = 'marker'\n"}).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WheelRefused, match="is not a complete wheel"):
        wheelfiles.check(broken, PYTHON)
    broken.write_bytes(whole.replace(b"marker", b"MARKER"))
    with pytest.raises(WheelRefused, match="is not a complete wheel"):
        wheelfiles.install([broken], tmp_path / "venv")


def test_a_file_and_a_folder_with_one_name_are_refused(tmp_path: Path) -> None:
    """One wheel has a file where another one has a folder."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    pair = [wheel(tmp_path / "1", {"both": ""}), wheel(tmp_path / "2", {"both/x.py": ""})]
    with pytest.raises(WheelRefused, match="is a file of one wheel and a folder of another"):
        wheelfiles.install(pair, tmp_path / "venv")


def test_the_environment_equals_pip_s(tmp_path: Path) -> None:
    """Every kind of place, executable bits, rewritten first lines and console scripts."""
    files = {
        "thing/__init__.py": (
            "import sys\ndef run():\n    print('runs', sys.argv[1:])\n    return 3\n"
        ),
        "thing/tool.sh": "#!/bin/sh\necho tool\n",
        "thing.pth": "import os\n",
        "thing-1.0.data/purelib/pure.py": "",
        "thing-1.0.data/platlib/plat.py": "",
        "thing-1.0.data/scripts/own": "#!python\nprint('own')\n",
        "thing-1.0.data/scripts/shell": "#!/bin/sh\necho shell\n",
        "thing-1.0.data/headers/thing.h": "int x;\n",
        "thing-1.0.data/data/share/man/thing.1": "man\n",
        "thing-1.0.data/data/lib/libthing.so": "so\n",
        **scripts("thing-run = thing:run", "thing.dotted = thing:sys.exit [extra]"),
    }
    path = wheel(
        tmp_path,
        files,
        executable=("thing/tool.sh", "thing-1.0.data/scripts/own", "thing-1.0.data/scripts/shell"),
    )
    ours, theirs = environment(tmp_path / "ours"), environment(tmp_path / "theirs")
    wheelfiles.install([path], ours)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(theirs / "bin/python"),
        "install",
        "-q",
        "--no-index",
    ]
    subprocess.run(
        [*pip, "--no-deps", "--no-compile", "--disable-pip-version-check", str(path)], check=True
    )
    assert tree(ours) == tree(theirs)
    for name in ("thing-run", "own", "shell"):
        said = [
            subprocess.run(
                [venv / "bin" / name, "word"], capture_output=True, text=True, check=False
            )
            for venv in (ours, theirs)
        ]
        assert (said[0].returncode, said[0].stdout) == (said[1].returncode, said[1].stdout)
        assert said[0].stdout


def environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


def tree(venv: Path) -> dict[str, object]:
    """Paths with the executable bit, and content but for scripts; pip's own records left out."""
    own = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "pyvenv.cfg"}
    paths = [path for path in sorted(venv.rglob("*")) if path.is_file() and path.name not in own]
    return {
        str(path.relative_to(venv)): (
            bool(path.stat().st_mode & 0o100),
            None if path.parent.name == "bin" else path.read_text(),
        )
        for path in paths
    }


def test_the_later_of_two_equal_files_stays(tmp_path: Path) -> None:
    """As with pip: many wheels bring a `tests` folder."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    pair = [wheel(tmp_path / "1", {"tests/a.py": "1"}), wheel(tmp_path / "2", {"tests/a.py": "2"})]
    venv = environment(tmp_path / "venv")
    wheelfiles.install(pair, venv)
    assert (venv / PACKAGES / "tests/a.py").read_text() == "2"
