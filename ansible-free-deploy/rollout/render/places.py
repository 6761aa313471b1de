"""Where things lie on a host: one fact, one place."""

from __future__ import annotations

CURRENT = "/etc/origin-kit/current"
CONTRACT = "contract.json"  # in each generation
# What the timer asks an ACME server for, in each generation that has one.
ACME_ORDER = "acme.json"
# The kit's program as a deploy leaves it, for what starts without an operator.
PROGRAM = "/etc/origin-kit/recover.pyz"
NGINX_MAIN = "/etc/nginx/origin-kit-main.conf"
MANAGE = "/usr/local/sbin/origin-kit-manage"
SETTINGS_MODULE = "origin_kit_settings"
# Names the class of settings in a project with django-configurations.
CONFIGURATION = "DJANGO_CONFIGURATION"
TLS = "/etc/origin-kit/tls"  # certificates outlive generations
WEBROOT = "/var/lib/origin-kit/acme"  # root's; a CA's challenges are answered from it
STATUS_SOCKET = "/run/origin-kit-nginx.sock"


def certificate(lineage: str) -> str:
    """The folder of the pair that serves: chain.pem and key.pem. A newer one is a renamed link."""
    return f"{TLS}/{lineage}/current"


def release(application: str) -> str:
    """The link to the release that serves."""
    return f"/opt/{application}/current"


def earlier(application: str) -> str:
    """Links to the releases of a page that served before, named 1 for the last one and so on."""
    return f"/opt/{application}/earlier"


def data(application: str) -> str:
    """What outlives every release: database files, media, the secret key."""
    return f"/var/lib/{application}"


def application_socket(application: str) -> str:
    """Where gunicorn listens; systemd owns it."""
    return f"/run/{application}.sock"


def workers(application: str) -> str:
    """Where each worker records what it loaded, in a file named by its process id."""
    return f"/run/{application}/workers"
