"""What users call CORS and is not: browsers decide it before they send anything."""

from __future__ import annotations

from infra.core.origins import BAD_PORTS
from rollout.verdict.csp import denying_directive
from rollout.verdict.local_network import is_visibly_local, local_network, mixed_content
from rollout.verdict.reasons import Reason
from rollout.verdict.values import Obstacle, Request, origin_of

CHROMIUM_LOADS = {4190, 6679}  # in the standard's list, not yet in Chromium's


def before(request: Request, url: str, redirected: bool) -> Obstacle | None:
    """What stops a request to `url` before it leaves the browser."""
    page, target = request.page_origin, origin_of(url)
    directive = denying_directive(request.csp, page, url, redirected)
    if directive is not None:
        return Obstacle(Reason.csp, directive)
    obstacle = local_network(request, page, target)
    if obstacle:
        return obstacle
    if mixed_content(page, target):
        prompted = request.permitted and is_visibly_local(target)
        if not prompted:
            return Obstacle(Reason.mixed_content)
    port = target.port_number
    if port in BAD_PORTS and port not in CHROMIUM_LOADS:
        return Obstacle(Reason.unsafe_port, str(port))
    return None
