from django import forms
from django.core.exceptions import ValidationError

from .models import Photo, Product

MAX_PHOTO_BYTES = 5 * 1024 * 1024


class ProductForm(forms.ModelForm):
    class Meta:
        model = Product
        fields = ['name', 'price', 'stock']


class PhotoForm(forms.ModelForm):
    class Meta:
        model = Photo
        fields = ['file']

    def clean_file(self):
        file = self.cleaned_data['file']
        if file.size > MAX_PHOTO_BYTES:
            raise ValidationError(f'A photo has at most {MAX_PHOTO_BYTES // 1024 ** 2} MB.', code='too_large')
        return file
