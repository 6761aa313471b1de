"""systemd's part: who holds the sockets, who is started, and the time-outs, none shorter than the
one inside it."""

from __future__ import annotations

from infra.core.contract import Application, Contract
from on_host.confined import limits
from rollout.render import places
from rollout.render.generation import File, Link
from rollout.render.templates import fill

# The socket units and the `listen` lines both come from here: nginx takes a socket over only if the
# two are the same. Port 443 has a unit of its own: systemd starts it while nginx restarts, and port
# 80 stays open meanwhile.
PLAIN = ("0.0.0.0:80", "[::]:80")
SECURE = ("0.0.0.0:443", "[::]:443")
_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)

# Of a request to the backend: bytes of its path and query, and of all before its body (a template
# of nginx's has a pattern of this number). nginx refuses more, readably; gunicorn takes what comes.
# HTTP/2 compresses headers, and nginx counts what was sent: there gunicorn refuses a single header
# that is larger, as readably.
LONGEST_URL = 8000
LARGEST_HEAD = 20_000

_HTTPS_SOCKET = "nginx-https.socket"


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


def names(role: str, contract: Contract) -> dict[str, tuple[str, ...]]:
    """The units of each service, in starting order."""
    nginx = {"nginx": (*nginx_sockets(contract), "nginx.service")}
    if role == "frontend":
        return nginx
    app = contract.application.name
    return {"gunicorn": (f"{app}.socket", f"{app}.service")} | nginx


def nginx_sockets(contract: Contract) -> dict[str, tuple[str, ...]]:
    """What each of nginx's socket units listens on, by the unit's name."""
    sockets: dict[str, tuple[str, ...]] = {"nginx.socket": (*PLAIN, places.STATUS_SOCKET)}
    if contract.speaks_https:
        sockets[_HTTPS_SOCKET] = SECURE
    return sockets


def nginx_files(contract: Contract) -> tuple[File, ...]:
    """The socket units, and what changes in Debian's nginx.service."""
    sockets = nginx_sockets(contract)
    held = sum(len(streams) for streams in sockets.values())
    descriptors = range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + held)
    service = fill(
        "nginx.service",
        sockets=" ".join(sockets),
        descriptors=":".join(map(str, descriptors)),
        main=places.NGINX_MAIN,
        stop_s=stop_timeout(contract.application),
    )
    return (
        *(
            File(f"systemd/{unit}", _nginx_socket(streams), "nginx")
            for unit, streams in sockets.items()
        ),
        File("systemd/nginx.service.d/origin-kit.conf", service, "nginx"),
    )


def _nginx_socket(streams: tuple[str, ...]) -> str:
    lines = "\n".join(f"ListenStream={stream}" for stream in streams)
    return fill("nginx.socket", streams=lines)


def nginx_links(contract: Contract) -> tuple[Link, ...]:
    """The links also enable the sockets: `systemctl enable` would follow them and pin one
    generation."""
    links = [
        Link(
            "/etc/systemd/system/nginx.service.d/origin-kit.conf",
            "systemd/nginx.service.d/origin-kit.conf",
        ),
    ]
    for unit in nginx_sockets(contract):
        links += _socket_links(unit)
    return tuple(links)


def nginx_absent(contract: Contract) -> tuple[str, ...]:
    """The places of the links that an earlier generation has and this one has not."""
    if contract.speaks_https:
        return ()
    return tuple(link.place for link in _socket_links(_HTTPS_SOCKET))


def _socket_links(unit: str) -> tuple[Link, Link]:
    return (
        Link(f"/etc/systemd/system/{unit}", f"systemd/{unit}"),
        Link(f"/etc/systemd/system/sockets.target.wants/{unit}", f"systemd/{unit}"),
    )


def gunicorn_files(application: Application) -> tuple[File, ...]:
    """gunicorn's units and its own configuration."""
    app = application.name
    socket = fill(
        "gunicorn.socket",
        app=app,
        socket=places.application_socket(app),
    )
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


def as_the_service(application: Application) -> list[str]:
    """The lines of the service's unit that say as whom it runs, where, and within what."""
    unit = _gunicorn_service(application)
    given = [
        line
        for line in unit.splitlines()
        if line.startswith(("EnvironmentFile=", "WorkingDirectory="))
    ]
    return [*given, *limits(unit)]


def _manage(application: Application) -> str:
    """The command that runs `manage.py` as the service runs."""
    lines = "".join(f"    {line!r},\n" for line in as_the_service(application))
    return fill(
        "manage",
        release=repr(places.release(application.name)),
        properties=f"[\n{lines}]",
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
