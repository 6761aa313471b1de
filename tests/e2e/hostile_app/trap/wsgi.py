import os
import sys

from django.core.wsgi import get_wsgi_application

from trap import attack

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trap.settings")
application = get_wsgi_application()
if "gunicorn" in sys.argv[0]:
    attack.begin()
