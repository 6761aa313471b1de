from django.contrib import admin

from .models import Photo, Product, Token


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ['name', 'price', 'stock']
    search_fields = ['name']


@admin.register(Photo)
class PhotoAdmin(admin.ModelAdmin):
    list_display = ['file', 'uploaded_by', 'uploaded_at']


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):
    """Look and revoke; tokens are issued by the API alone."""

    list_display = ['user', 'created_at']

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False
