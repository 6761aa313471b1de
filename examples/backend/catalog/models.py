import hashlib
import secrets

from django.conf import settings
from django.core.validators import FileExtensionValidator, MinValueValidator
from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(0)])
    stock = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ['name', 'pk']

    def __str__(self):
        return self.name

    def as_json(self):
        return {'id': self.pk, 'name': self.name, 'price': f'{self.price:.2f}', 'stock': self.stock}


class Photo(models.Model):
    # No SVG and no HTML: a browser would run the scripts in them as this site's own.
    file = models.FileField(
        upload_to='photos/',
        validators=[FileExtensionValidator(['gif', 'jpeg', 'jpg', 'png', 'webp'])],
    )
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name='photos')
    uploaded_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ['-uploaded_at', '-pk']

    def __str__(self):
        return self.file.name


class Token(models.Model):
    """A login that travels in a header. Only its hash is kept: a stolen database logs nobody in."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name='tokens')
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return f'{self.user}, {self.created_at:%Y-%m-%d}'

    @staticmethod
    def hash(key):
        return hashlib.sha256(key.encode()).hexdigest()

    @classmethod
    def issue(cls, user):
        """Store a new token for the user and return its key, which cannot be had again."""
        key = secrets.token_urlsafe(32)
        cls.objects.create(user=user, digest=cls.hash(key))
        return key

    @classmethod
    def find(cls, key):
        """The token with this key, of a user who may log in, or None."""
        return cls.objects.select_related('user').filter(digest=cls.hash(key), user__is_active=True).first()
