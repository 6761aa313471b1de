from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = 'Make sure that a user NAME exists who can log in with PASSWORD. Safe to run again.'

    def add_arguments(self, parser):
        parser.add_argument('name', metavar='NAME')
        parser.add_argument('password', metavar='PASSWORD')

    def handle(self, *, name, password, **options):
        user, created = get_user_model().objects.get_or_create(username=name)
        if not created and user.is_active and user.check_password(password):
            self.stdout.write(f'{name} is there already.')
            return
        user.is_active = True
        user.set_password(password)
        user.save()
        self.stdout.write(f'{name} {"created" if created else "has the new password now"}.')
