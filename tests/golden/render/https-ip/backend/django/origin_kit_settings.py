"""Written by origin-kit from the stack's contract: a deploy replaces it, so change the stack's config instead.

The project's own settings come first; what follows depends on where it runs.
"""

import os as _os
from pathlib import Path as _Path

_release = _Path(_os.environ.get("ORIGIN_KIT_RELEASE", '/opt/shop/current'))
_data = _Path(_os.environ.get("ORIGIN_KIT_DATA", '/var/lib/shop'))

# A key among the stack's secrets wins; otherwise it is the host's own, which never leaves it. It is in the environment
# before the project's settings are read, because many of them look there.
_key = _os.environ.get("DJANGO_SECRET_KEY") or _os.environ.get("SECRET_KEY")
_key = _key or (_data / "secret_key").read_text().strip()
_os.environ.setdefault("DJANGO_SECRET_KEY", _key)
_os.environ.setdefault("SECRET_KEY", _key)

# A package of the project may read settings while it is imported, which is now, since they are in it. This module is not
# whole yet, so it gets the project's own; afterwards everybody gets this one.
from django.conf import empty as _empty  # noqa: E402
from django.conf import settings as _settings  # noqa: E402

_this = _os.environ.get("DJANGO_SETTINGS_MODULE", __name__)
_os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
try:
    from shop.settings import *  # noqa: F403
finally:
    _os.environ["DJANGO_SETTINGS_MODULE"] = _this
    _settings._wrapped = _empty
SECRET_KEY = _key
DEBUG = False
ALLOWED_HOSTS = [
    '10.213.7.74',
]

# Cross-origin requests: the same list that nginx answers by.
for _old in (
    "CORS_ORIGIN_WHITELIST",
    "CORS_ORIGIN_REGEX_WHITELIST",
    "CORS_ORIGIN_ALLOW_ALL",
    "CORS_REPLACE_HTTPS_REFERER",
    "CORS_MODEL",
):
    globals().pop(_old, None)
CORS_ALLOWED_ORIGINS = [
    'https://10.213.7.10',
]
CORS_ALLOWED_ORIGIN_REGEXES = []
CORS_ALLOW_ALL_ORIGINS = False
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_METHODS = [
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
]
CORS_ALLOW_HEADERS = [
    'DNT',
    'User-Agent',
    'X-Requested-With',
    'If-Modified-Since',
    'Cache-Control',
    'Content-Type',
    'Range',
    'Authorization',
    'X-CSRFToken',
    'X-Cart',
]
CORS_EXPOSE_HEADERS = [
    'X-Cart-Seen',
]
CORS_PREFLIGHT_MAX_AGE = 600
CORS_ALLOW_PRIVATE_NETWORK = False
CORS_URLS_REGEX = r"^.*$"
CSRF_TRUSTED_ORIGINS = [
    'https://10.213.7.10',
]

INSTALLED_APPS = [
    *(_app for _app in globals().get("INSTALLED_APPS", ()) if _app.split(".")[0] != "corsheaders"),
    "corsheaders",
]
# First of all: a redirect or a refusal by a middleware above it would have no headers.
_cors = "corsheaders.middleware.CorsMiddleware"
MIDDLEWARE = [_cors, *(_layer for _layer in globals().get("MIDDLEWARE", ()) if _layer != _cors)]

# How browsers reach it.
# nginx speaks https and says so; it sets this header and never forwards one.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
# The page is on another site than this API: without it browsers keep both cookies back from its requests.
SESSION_COOKIE_SAMESITE = "None"
CSRF_COOKIE_SAMESITE = "None"
# A redirect is nginx's business, which knows who may be redirected: a browser follows none of a preflight, and a page's
# origin would become `null`. The check (W008) knows of no nginx.
SECURE_SSL_REDIRECT = False
# Strict-Transport-Security (W004) is the stack's `hsts`, which is off unless somebody sets it.
SILENCED_SYSTEM_CHECKS = [*globals().get("SILENCED_SYSTEM_CHECKS", ()), "security.W004", "security.W008"]

# Files. A release is replaced as a whole, so what the application writes lies outside of it.
STATIC_URL = '/static/'
STATIC_ROOT = _os.environ.get("ORIGIN_KIT_STATIC") or str(_release / "static")  # elsewhere while they are collected


def _in_release(path):
    """Whether `path` goes with the release; a relative one starts in the project's folder."""
    return not _Path(path).is_absolute() or _Path(path).resolve().is_relative_to(_release.resolve())


def _keep(database):
    """Move an SQLite file from next to the code to where it outlives it."""
    name = str(database.get("NAME") or "")
    on_disk = name and not name.startswith((":", "file:"))
    if database.get("ENGINE", "").endswith(("sqlite3", "spatialite")) and on_disk and _in_release(name):
        return {**database, "NAME": str(_data / _Path(name).name)}
    return database


_before = globals().get("DATABASES", {})
DATABASES = {_alias: _keep(_database) for _alias, _database in _before.items()}
_moved = [_database["NAME"] for _alias, _database in DATABASES.items() if _database is not _before[_alias]]
if len(set(_moved)) < len(_moved):
    raise RuntimeError(f"DATABASES: two SQLite files of one name would become one in {_data}; name them differently")
if _in_release(str(globals().get("MEDIA_ROOT") or "media")):
    MEDIA_ROOT = str(_data / "media")
    MEDIA_URL = '/media/'

# Django's own limit of 2.5 MB (without files) would refuse what nginx lets through. A project's own limit stays.
if "DATA_UPLOAD_MAX_MEMORY_SIZE" not in globals():
    DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

# With DEBUG off and no LOGGING of its own, Django would report to nobody why a request failed: this goes to the journal.
if not globals().get("LOGGING"):
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"journal": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["journal"], "level": "WARNING"},
    }
