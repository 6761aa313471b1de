from django.urls import path, re_path

from . import views

urlpatterns = [
    path('products/', views.products),
    path('products/<int:pk>/', views.product),
    path('photos/', views.photos),
    path('csrf/', views.csrf),
    path('me/', views.me),
    path('login/', views.log_in),
    path('logout/', views.log_out),
    path('token/', views.token),
    # Typed by hand and by monitors, with and without the slash.
    re_path(r'^slow/?$', views.slow),
    re_path(r'^error/?$', views.broken),
    re_path(r'^events/?$', views.events),
    re_path(r'^health/?$', views.health),
]
