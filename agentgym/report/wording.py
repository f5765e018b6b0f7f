"""Numbers as people read them: percent, counts, durations, and any value of a curve."""

NBSP = "\N{NO-BREAK SPACE}"


def percent(rate: float) -> str:
    """0.964 as 96.4 %."""
    return f"{100 * rate:.1f}{NBSP}%"


def count(number: int) -> str:
    """1234 as 1,234."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """131 as 2 min 11 s."""
    hours, minutes, rest = round(seconds) // 3600, round(seconds) % 3600 // 60, round(seconds) % 60
    large, small = (f"{hours}{NBSP}h", f"{minutes}{NBSP}min") if hours else (f"{minutes}{NBSP}min", f"{rest}{NBSP}s")
    return f"{large} {small}" if hours or minutes else small


def short(value: float) -> str:
    """A value in three digits: 0.0123, 1.23, 12,300."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
