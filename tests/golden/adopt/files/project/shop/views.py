from django.conf import settings


def count():
    with open(settings.BASE_DIR / "index" / "n", "a") as n:
        n.write("1")


def look():
    return open(settings.BASE_DIR / "n").read()


def elsewhere():
    open("/srv/n", "w")
