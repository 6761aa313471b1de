"""One declaration for each config key; schema, docs, checks and contract follow from it. Pure."""

from infra.core.keys import (
    application,
    clouds,
    cors,
    hosts,
    https,
    machines,
    page,
    previews,
)
from infra.core.keys.application import LARGEST_BODY_MB as LARGEST_BODY_MB
from infra.core.keys.https import PAIRS as PAIRS
from infra.core.keys.key import CLOUDS as CLOUDS
from infra.core.keys.key import Effect as Effect
from infra.core.keys.key import Key as Key

GROUPS = {
    "The environment": hosts.KEYS,
    "HTTPS": https.KEYS,
    "The application": application.KEYS,
    "CORS": cors.KEYS,
    "The page": page.KEYS,
    "AWS and Google": clouds.KEYS,
    "Machines": machines.KEYS,
    "Previews": previews.KEYS,
}
# By name, in the order of the schema.
KEYS = {key.name: key for group in GROUPS.values() for key in group}
# What a stack's config may hold as secrets, next to the application's own (env.NAME).
SECRETS = (*https.SECRETS, previews.PASSWORD)
