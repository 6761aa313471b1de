"""Config keys, The application: what is shipped, and how it is served."""

from __future__ import annotations

import re

from infra.core import rules
from infra.core.backup_key import backup
from infra.core.keys import values
from infra.core.keys.key import Effect, Key, on_every_cloud

LARGEST_BODY_MB = 100_000

KEYS = (
    Key(
        name="application",
        type="string",
        rule=rules.application_name,
        effects=on_every_cloud(Effect.RELEASE),
        contract="application.name",
        description=(
            "Short name of the application; also its system user and its folder in /opt "
            "and /var/lib."
        ),
    ),
    Key(
        name="backend_path",
        type="string",
        default="",
        may_be_empty=True,
        rule=values.path,
        effects=on_every_cloud(Effect.RELEASE),
        description=(
            "Folder with manage.py, relative to the repository's root, or inside "
            "`backend_git` when that is set."
        ),
    ),
    Key(
        name="backend_git",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[^\s-]\S*"), "a git URL"),
        effects=on_every_cloud(Effect.RELEASE),
        description="Git URL to ship the backend from instead of a folder here.",
    ),
    Key(
        name="backend_ref",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[^\s-]\S*"), "a branch, tag or commit"),
        effects=on_every_cloud(Effect.RELEASE),
        description="Branch, tag or commit of `backend_git`.",
    ),
    Key(
        name="requirements",
        type="string",
        default="",
        may_be_empty=True,
        rule=values.path,
        effects=on_every_cloud(Effect.RELEASE),
        description=(
            "The file that says what the backend needs, relative to `backend_path`, e.g. "
            "requirements/production.txt. Empty takes the lock or requirements next to "
            "manage.py or above it."
        ),
    ),
    Key(
        name="build_sdists",
        type="array",
        default=(),
        item_rule=values.package,
        effects=on_every_cloud(Effect.RELEASE),
        description=(
            "Packages without a wheel that may be built on your side where no build "
            "machine can be made for the hosts. Building runs their code there as whoever "
            "runs `fab`. On the local cloud a build machine is made and this key is not "
            "needed; packages of the project's own repository are built without being "
            "named here."
        ),
    ),
    Key(
        name="ship_also",
        type="array",
        default=(),
        effects=on_every_cloud(Effect.RELEASE),
        description=(
            "Files that are left out of a release otherwise (.env, keys, databases, "
            "dumps), as paths or patterns, e.g. certs/ca.pem."
        ),
    ),
    Key(
        name="wsgi",
        type="string",
        rule=rules.wsgi,
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.wsgi",
        description="WSGI callable, module:name.",
    ),
    Key(
        name="settings",
        type="string",
        rule=rules.module,
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.settings",
        description=(
            "The project's own settings module. It stays untouched; the kit's module imports it."
        ),
    ),
    Key(
        name="frontend_path",
        type="string",
        rule=values.path,
        effects=on_every_cloud(Effect.RELEASE),
        description="Folder of built files with an index.html, relative to the repository's root.",
    ),
    Key(
        name="static_url",
        type="string",
        default="/static/",
        rule=rules.url_path,
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.static_url",
        description="The project's STATIC_URL, served by nginx.",
    ),
    Key(
        name="media_url",
        type="string",
        default="/media/",
        rule=rules.url_path,
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.media_url",
        description="The project's MEDIA_URL, served by nginx.",
    ),
    Key(
        name="max_body_mb",
        type="integer",
        default=10,
        bounds=(1, LARGEST_BODY_MB),
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.max_body_mb",
        description=(
            "Largest request body in MiB; above it nginx answers 413, readable by the page. Django "
            "reads as much into memory (DATA_UPLOAD_MAX_MEMORY_SIZE) unless the project sets a "
            "limit of its own, as it should where files may be larger than anything else."
        ),
    ),
    Key(
        name="gzip_answers",
        type="boolean",
        default=True,
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.gzip_answers",
        description=(
            "Compress the application's text and JSON. Files are compressed in any case. false "
            "where https answers hold a secret next to text that the request brought (BREACH: "
            "docs/security.md)."
        ),
    ),
    Key(
        name="timeout_s",
        type="integer",
        default=30,
        bounds=(1, 3600),
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.timeout_s",
        description=(
            "Longest a request may take, in seconds; above it the page reads a 504. An answer that"
            " keeps sending may go on."
        ),
    ),
    Key(
        name="workers",
        type="integer",
        default=2,
        bounds=(1, 256),
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.workers",
        description="gunicorn workers per backend host.",
    ),
    Key(
        name="threads",
        type="integer",
        default=4,
        bounds=(1, 256),
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.threads",
        description=(
            "Requests that one worker answers side by side; a slow answer or an open event stream"
            " takes one. 1 is for code that can't run in threads."
        ),
    ),
    Key(
        name="env",
        type="object",
        default={},
        rule=values.environment,
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.env",
        description=(
            "Plain environment values of the application. Secrets go to `pulumi config set "
            "--secret env.NAME`, on the local cloud to stacks/<stack>.secrets."
        ),
    ),
    Key(
        name="backup",
        type="object",
        default={},
        rule=backup,
        effects=on_every_cloud(Effect.CHECK),
        description=(
            "`key`: the public key that `fab backup` encrypts to, age1… of `age-keygen` or an "
            "ssh-ed25519 line. The private one stays with you: nothing here or on a host opens a "
            "backup."
        ),
    ),
    Key(
        name="timers",
        type="object",
        default={},
        rule=values.timers,
        effects=on_every_cloud(Effect.CONFIG),
        contract="application.timers",
        description=(
            "Commands that run by themselves, by name: {nightly: {run: manage.py clearsessions, "
            "at: daily}}. `run` starts with manage.py, a program that the requirements install, or"
            " an absolute path, and runs as the service does; `at` is a calendar event of "
            "systemd's (daily, Mon..Fri 03:30), in the host's time zone."
        ),
    ),
)
