from pathlib import Path

import environ

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = env("SECRET_KEY")
DEBUG = env.bool("DEBUG", default=True)
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["django.contrib.auth"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ALLOWED_HOSTS = env("HOSTS", default="a.example.com").split(",")
CORS_ALLOWED_ORIGINS = env.list("ORIGINS", default=["https://a.example.com"])
STATIC_URL = env("STATIC", default="/s/")
SHOP_NAME = env("SHOP_NAME")
STRIPE_SECRET = env("STRIPE_SECRET")
if DEBUG:
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
if env("DATABASE_URL", default=""):
    DATABASES = {"default": env.db("DATABASE_URL")}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": env.str("POSTGRES_DB"),
            "PORT": env.int("POSTGRES_PORT"),
        }
    }
