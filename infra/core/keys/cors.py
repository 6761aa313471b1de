"""Config keys, CORS: which pages may read answers, and what they may send."""

from __future__ import annotations

from infra.core import rules
from infra.core.keys.key import Effect, Key, on_every_cloud
from infra.core.origins.apps import app_origin

KEYS = (
    Key(
        name="extra_origins",
        type="array",
        default=(),
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.allowed_origins",
        description=(
            "Exact origins allowed next to the frontend's, e.g. http://localhost:8080 "
            "in development."
        ),
    ),
    Key(
        name="allowed_patterns",
        former_name="allowed_shapes",
        type="array",
        default=(),
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.allowed_shapes",
        description=(
            "Many origins at once, e.g. https://{branch}.preview.example.com; in "
            "development also http://192.168.1.*:3000, http://localhost:* and "
            "http://127.0.0.1:*."
        ),
    ),
    Key(
        name="app_origins",
        type="array",
        default=(),
        item_rule=app_origin,
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.app_origins",
        description=(
            "Origins of your apps and browser extensions, as they send them: "
            "capacitor://localhost, ionic://localhost, tauri://localhost, "
            "chrome-extension://<id>; of Android's WebView https://localhost, in production too. "
            "Other apps may send the same: any app with that scheme or host can read answers."
        ),
    ),
    Key(
        name="allow_all_origins",
        type="boolean",
        default=False,
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.allowed_shapes",
        description="Allow every origin. Development only; refused in production.",
    ),
    Key(
        name="allow_credentials",
        type="boolean",
        default=False,
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.allow_credentials",
        description=(
            "Let pages send cookies. Over http that needs both names under one domain; over "
            "https two sites do as well, but for Safari and visitors who block third-party "
            "cookies."
        ),
    ),
    Key(
        name="allow_methods",
        type="array",
        default=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
        item_rule=rules.method,
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.allow_methods",
        description="Methods that a page may use.",
    ),
    Key(
        name="allow_headers",
        type="array",
        default=(
            "DNT",
            "User-Agent",
            "X-Requested-With",
            "If-Modified-Since",
            "Cache-Control",
            "Content-Type",
            "Range",
            "Authorization",
            "X-CSRFToken",
        ),
        item_rule=rules.header,
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.allow_headers",
        description="Request headers that a page may set.",
    ),
    Key(
        name="expose_headers",
        type="array",
        default=(),
        item_rule=rules.header,
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.expose_headers",
        description="Response headers that a page may read, in addition to the safelisted ones.",
    ),
    Key(
        name="max_age_s",
        type="integer",
        default=600,
        bounds=(0, 86_400),
        effects=on_every_cloud(Effect.CONFIG),
        contract="cors.max_age_s",
        description=(
            "How long a browser may remember a preflight, in seconds. Long values keep an "
            "answer alive after the list has changed."
        ),
    ),
)
