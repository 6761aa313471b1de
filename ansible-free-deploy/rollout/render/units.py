"""systemd's part: who holds the sockets, who is started, and the time-outs, none shorter than the
one inside it."""

from __future__ import annotations

from infra.core.contract import Application
from on_host.confined import limits
from rollout.render import places
from rollout.render.generation import File, Link
from rollout.render.templates import fill

# nginx.socket and the `listen` lines both come from here: nginx takes a socket over only if the two
# are the same.
LISTENERS = ("0.0.0.0:80", "[::]:80")
_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)

# Of a request to the backend: bytes of its path and query, and of all before its body (a template
# of nginx's has a pattern of this number). nginx refuses more, readably; gunicorn takes what comes.
LONGEST_URL = 8000
LARGEST_HEAD = 20_000

_NGINX = ("nginx.socket", "nginx.service")


def graceful_timeout(application: Application) -> int:
    """Seconds that gunicorn leaves a request at a restart; `timeout_s` is the slowest allowed."""
    return application.timeout_s + 5


def proxy_timeout(application: Application) -> int:
    """Seconds that nginx waits for gunicorn between two pieces of an answer.

    A worker without threads is ended by gunicorn before that; with threads nginx is who answers.
    """
    return application.timeout_s + (0 if application.threads > 1 else 10)


def stop_timeout(application: Application) -> int:
    """Seconds until systemd ends gunicorn or nginx by force."""
    return application.timeout_s + 15


def names(role: str, application: Application) -> dict[str, tuple[str, ...]]:
    """The units of each service, in starting order."""
    nginx: dict[str, tuple[str, ...]] = {"nginx": _NGINX}
    if role == "frontend":
        return nginx
    return {"gunicorn": (f"{application.name}.socket", f"{application.name}.service")} | nginx


def nginx_files(application: Application) -> tuple[File, ...]:
    """The socket unit, and what changes in Debian's nginx.service."""
    streams = [*LISTENERS, places.STATUS_SOCKET]
    descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + len(streams))
    socket = fill("nginx.socket", streams="\n".join(f"ListenStream={stream}" for stream in streams))
    service = fill(
        "nginx.service",
        descriptors=":".join(map(str, descriptors)),
        main=places.NGINX_MAIN,
        stop_s=stop_timeout(application),
    )
    return (
        File("systemd/nginx.socket", socket, "nginx"),
        File("systemd/nginx.service.d/origin-kit.conf", service, "nginx"),
    )


def nginx_links() -> tuple[Link, ...]:
    """The links also enable the socket: `systemctl enable` would follow them and pin one
    generation."""
    return (
        Link("/etc/systemd/system/nginx.socket", "systemd/nginx.socket"),
        Link(
            "/etc/systemd/system/nginx.service.d/origin-kit.conf",
            "systemd/nginx.service.d/origin-kit.conf",
        ),
        Link("/etc/systemd/system/sockets.target.wants/nginx.socket", "systemd/nginx.socket"),
    )


def gunicorn_files(application: Application) -> tuple[File, ...]:
    """gunicorn's units and its own configuration."""
    app = application.name
    socket = fill("gunicorn.socket", app=app, socket=places.application_socket(app))
    return (
        File(f"systemd/{app}.socket", socket, "gunicorn"),
        File(f"systemd/{app}.service", _gunicorn_service(application), "gunicorn"),
        File(
            "gunicorn/gunicorn.conf.py",
            _gunicorn_configuration(application),
            "gunicorn",
            reports=True,
        ),
        File("bin/manage", _manage(application), mode=0o755),
    )


def gunicorn_links(application: Application) -> tuple[Link, ...]:
    """As `nginx_links`, for the application's units."""
    socket, service = f"{application.name}.socket", f"{application.name}.service"
    return (
        Link(f"/etc/systemd/system/{socket}", f"systemd/{socket}"),
        Link(f"/etc/systemd/system/{service}", f"systemd/{service}"),
        Link(f"/etc/systemd/system/sockets.target.wants/{socket}", f"systemd/{socket}"),
        Link(f"/etc/systemd/system/multi-user.target.wants/{service}", f"systemd/{service}"),
        Link(places.MANAGE, "bin/manage"),
    )


def _gunicorn_service(application: Application) -> str:
    return fill(
        "gunicorn.service",
        app=application.name,
        wsgi=application.wsgi,
        current=places.CURRENT,
        release=places.release(application.name),
        data=places.data(application.name),
        timeout_s=application.timeout_s,
        graceful_timeout_s=graceful_timeout(application),
        stop_s=stop_timeout(application),
    )


def _manage(application: Application) -> str:
    """The command that runs `manage.py` as the service runs: the lines of its unit that say as whom
    and within what."""
    unit = _gunicorn_service(application)
    given = [
        line
        for line in unit.splitlines()
        if line.startswith(("EnvironmentFile=", "WorkingDirectory="))
    ]
    return fill(
        "manage",
        release=repr(places.release(application.name)),
        properties="[\n" + "".join(f"    {line!r},\n" for line in [*given, *limits(unit)]) + "]",
        module=places.SETTINGS_MODULE,
    )


def _gunicorn_configuration(application: Application) -> str:
    return fill(
        "gunicorn.conf.py",
        workers_folder=repr(places.workers(application.name)),
        runtime_folder=repr(f"/run/{application.name}"),
        release=repr(places.release(application.name)),
        workers=application.workers,
        threads=application.threads,
        timeout_s=application.timeout_s,
        graceful_timeout_s=graceful_timeout(application),
        largest_head=LARGEST_HEAD,
        most_headers=LARGEST_HEAD // len("a:\r\n"),
    )
