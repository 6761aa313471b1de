from pathlib import Path

from configurations import Configuration, values


class Common(Configuration):
    BASE_DIR = Path(__file__).resolve().parent.parent
    SECRET_KEY = values.SecretValue()
    ROOT_URLCONF = "shop.urls"
    WSGI_APPLICATION = "shop.wsgi.application"
    INSTALLED_APPS = ["django.contrib.auth"]
    MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    DATABASES = values.DatabaseURLValue("sqlite:///db.sqlite3")
    CORS_ALLOWED_ORIGINS = ["https://page.example.com"]
    MAIL_HOST = values.Value(environ_required=True)
    PAGE_SIZE = values.IntegerValue(20, environ_prefix="SHOP")


class Dev(Common):
    DEBUG = values.BooleanValue(True)
    INSTALLED_APPS = Common.INSTALLED_APPS + ["debug_toolbar"]


class Prod(Common):
    DEBUG = False
    CORS_ALLOWED_ORIGINS = Common.CORS_ALLOWED_ORIGINS + ["https://live.example.com"]
