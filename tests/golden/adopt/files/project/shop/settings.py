from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "written here"
DEBUG = False
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["django.contrib.auth"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
    }
}

DATABASES["archive"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": "var/db.sqlite3"}
STATIC_ROOT = BASE_DIR / "static"
STATIC_URL = "https://cdn.example.com/s/"
MEDIA_ROOT = "/srv/media"
LOGGING = {"version": 1, "handlers": {"file": {"filename": BASE_DIR / "logs" / "a.log"}}}
FILES = "django.core.cache.backends.filebased.FileBasedCache"
CACHES = {"default": {"BACKEND": FILES, "LOCATION": str(BASE_DIR / "c")}}
UPLOAD_DIR = BASE_DIR / "uploads"
EXPORT_DIR = "/srv/export"
COMPRESS_OFFLINE = True
(BASE_DIR / "logs").mkdir(exist_ok=True)
