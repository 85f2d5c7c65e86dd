"""The client's own error in words."""

from __future__ import annotations

from giq.curve.client_error import ClientCalibration, ClientError
from giq.units import format_rate, format_seconds

LATE_S = 0.005
"""From this on the exact server's own lateness is told beside what was measured with it."""


def client_words(client: ClientCalibration) -> str:
    """What the client adds to the times it measures, at each load where that is known, and since when."""
    how = "at most" if client.upper_bound else "about"
    loads = "; ".join(_at_load(error) for error in client.errors)
    since = f"measured {client.errors[0].measured_at}, kept for a day" if client.cached else "measured just now"
    bound = f" Upper bounds: {client.upper_bound}." if client.upper_bound else ""
    late = max(error.server_late_p99_s for error in client.errors)
    server = f" The exact server was itself up to {format_seconds(late)} late (p99)." if late > LATE_S else ""
    return f"This client itself adds {how} (p50 / p99): {loads} ({since}).{bound}{server}"


def _at_load(error: ClientError) -> str:
    return (
        f"TTFT +{_pair(error.ttft.p50, error.ttft.p99)}, ITL +{format_seconds(error.itl.p99)} at {error.streams} "
        f"streams and {format_rate(error.tokens_per_s, 'tok/s')}"
    )


def _pair(p50: float, p99: float) -> str:
    return f"{format_seconds(p50).removesuffix(' ms')} / {format_seconds(p99)}"
