"""Config keys, HTTPS: where certificates come from, and what browsers have to know of them."""

from __future__ import annotations

import re

from infra.core import rules
from infra.core.keys import values
from infra.core.keys.key import Effect, Key, on_clouds, on_every_cloud

KEYS = (
    Key(
        name="tls",
        type="string",
        default="off",
        rule=values.tls,
        effects=on_every_cloud(Effect.CONFIG),
        contract="tls",
        description=(
            "How browsers reach the hosts. `off`: plain http, for development. `acme`: https with"
            " certificates of Let's Encrypt or of another ACME server, for names and for bare IPs."
            " `files`: your own certificates. `local-ca`: certificates of a CA that the kit makes"
            " for you alone, for development. The scheme is part of every origin (docs/https.md)."
        ),
    ),
    Key(
        name="acme_directory",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(
            # RFC 8555, section 6.1: every request is sent over https.
            re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~%/?=&-]*)?"),
            "the https URL of an ACME server's directory",
        ),
        effects=on_every_cloud(Effect.CONFIG),
        contract="https.directory",
        description="tls: acme: the URL of the ACME server's directory. Empty means Let's Encrypt.",
    ),
    Key(
        name="acme_staging",
        type="boolean",
        default=False,
        effects=on_clouds(Effect.CONFIG),
        contract="https.staging",
        description=(
            "tls: acme: ask Let's Encrypt's staging servers, which have generous rate limits."
            " Browsers don't trust their certificates."
        ),
    ),
    Key(
        name="acme_email",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[!-?A-~]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"), "an address"),
        effects=on_every_cloud(Effect.CONFIG),
        contract="https.email",
        description=(
            "tls: acme: where the CA may write to; some demand one. Let's Encrypt sends no mail"
            " about certificates that expire: `fab status` says it."
        ),
    ),
    Key(
        name="acme_profile",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), "a name, e.g. tlsserver"),
        effects=on_every_cloud(Effect.CONFIG),
        contract="https.profile",
        description=(
            "tls: acme: the CA's certificate profile. Empty means tlsserver for names where the CA"
            " has it, and shortlived for bare IPs, which has to be there."
        ),
    ),
    Key(
        name="acme_eab_kid",
        type="string",
        default="",
        may_be_empty=True,
        rule=rules.text(
            re.compile(r"[A-Za-z0-9._~+/=:@-]+"), "the key identifier that the CA gave you"
        ),
        effects=on_every_cloud(Effect.CONFIG),
        contract="https.eab_kid",
        description=(
            "tls: acme: the key identifier of external account binding (EAB), with which a CA"
            " recognises its customer. Its HMAC key is a secret: acme_eab_hmac."
        ),
    ),
    Key(
        name="hsts",
        type="string",
        default="",
        may_be_empty=True,
        rule=values.hsts,
        effects=on_every_cloud(Effect.CONFIG),
        contract="https.hsts",
        description=(
            "Strict-Transport-Security on every https answer, e.g. max-age=300 to begin with. A"
            " browser that has seen it opens these names over https alone until that time is over,"
            " whatever the kit serves by then (docs/https.md). Empty sends none."
        ),
    ),
)

# Secrets are no keys of the schema: `pulumi config set --secret NAME`, on the local cloud a line
# in stacks/<stack>.secrets with \n for each line end. They never reach contract or application.
EAB_HMAC = "acme_eab_hmac"
# By role: chain, key.
PAIRS = {
    "frontend": ("frontend_chain", "frontend_key"),
    "backend": ("backend_chain", "backend_key"),
}
SECRETS = (EAB_HMAC, *PAIRS["frontend"], *PAIRS["backend"])
