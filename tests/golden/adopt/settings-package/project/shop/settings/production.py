from shop.settings.base import *

from secret_settings import *

DEBUG = True
if DEBUG:
    CACHES = {}
django_heroku.settings(locals())
