"""Origins as browsers send them: parse, normalise, deny; patterns that allow many. Pure.

`str(Origin)` is byte for byte what a browser sends in `Origin:` (Fetch standard, "Origin header";
URL standard, "host serializing"). A few harmless spellings are accepted (upper case, a default
port, one trailing slash, blanks around). Everything else is an OriginError of one line: the value,
the part that is wrong, and how to write it. A password is never shown.
"""

from infra.core.origins.addresses import Address as Address
from infra.core.origins.addresses import browser_ipv4 as browser_ipv4
from infra.core.origins.addresses import ends_in_number as ends_in_number
from infra.core.origins.apps import app_origin as app_origin
from infra.core.origins.apps import is_app_origin as is_app_origin
from infra.core.origins.errors import OriginError as OriginError
from infra.core.origins.internet import is_reachable as is_reachable
from infra.core.origins.look_alikes import look_alikes as look_alikes
from infra.core.origins.origin import Origin as Origin
from infra.core.origins.origin import loopback_twin as loopback_twin
from infra.core.origins.origin import origin_notes as origin_notes
from infra.core.origins.parse import parse_origin as parse_origin
from infra.core.origins.patterns import OriginPattern as OriginPattern
from infra.core.origins.patterns import parse_pattern as parse_pattern
from infra.core.origins.ports import BAD_PORTS as BAD_PORTS
from infra.core.origins.ports import DEFAULT_PORTS as DEFAULT_PORTS
from infra.core.origins.suffixes import domain_of as domain_of
from infra.core.origins.suffixes import public_suffixes as public_suffixes
from infra.core.origins.suffixes import site_of as site_of
