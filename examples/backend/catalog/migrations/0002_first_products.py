from decimal import Decimal

from django.db import migrations

PRODUCTS = [
    ('Cast-iron pan', Decimal('49.00'), 12),
    ('Coffee grinder', Decimal('89.50'), 5),
    ('Linen tea towel', Decimal('9.90'), 40),
]


def add_products(apps, schema_editor):
    Product = apps.get_model('catalog', 'Product')
    for name, price, stock in PRODUCTS:
        Product.objects.create(name=name, price=price, stock=stock)


class Migration(migrations.Migration):
    dependencies = [
        ('catalog', '0001_initial'),
    ]

    # Going back drops nothing: by then the products may be a person's own.
    operations = [
        migrations.RunPython(add_products, migrations.RunPython.noop),
    ]
