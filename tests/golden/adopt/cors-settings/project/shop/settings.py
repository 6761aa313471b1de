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

from corsheaders.defaults import default_headers

INSTALLED_APPS += ["corsheaders"]
MIDDLEWARE += [
    "corsheaders.middleware.CorsMiddleware",
    "corsheaders.middleware.CorsPostCsrfMiddleware",
]
CORS_ALLOWED_ORIGINS = [
    "https://shop.example.com",
    "https://App.example.com:443/",
    "localhost:3000",
    "https://x.example.com/login",
]
CORS_ALLOWED_ORIGIN_REGEXES = [
    r"^https://[a-z0-9-]+\.preview\.example\.com$",
    r"^http://203\.0\.113\.7",
]
CORS_ORIGIN_ALLOW_ALL = True
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/api/.*$"
CORS_ALLOW_HEADERS = [*default_headers, "X-Shop"]
CORS_ALLOW_METHODS = ("GET", "POST")
CORS_EXPOSE_HEADERS = ["X-Total"]
CORS_PREFLIGHT_MAX_AGE = 60 * 60
CSRF_TRUSTED_ORIGINS = ["https://admin.example.com", "https://shop.example.com"]
SESSION_COOKIE_SAMESITE = "None"
SESSION_COOKIE_NAME = "__Secure-sessionid"
CSRF_COOKIE_DOMAIN = ".example.com"
