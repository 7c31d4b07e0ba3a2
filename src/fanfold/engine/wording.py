"""Facts as people read them: durations, shares, the first line of a text."""

FAILURE_CHARS = 100
"""Of a failure's message; lines of a log are to stay lines."""


def shortened(text: str, chars: int = FAILURE_CHARS) -> str:
    """Return the first line of a text, without what moves a terminal's cursor."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = "".join(char if char.isprintable() else " " for char in line[: chars + 1]).strip()
    return line if len(line) <= chars else line[: chars - 1].rstrip() + "…"


def span(seconds: float) -> str:
    """Return a duration for people: "12 ms", "4.2 s", "1 min 05 s", "2 h 03 min"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def share(part: int, whole: int) -> str:
    """Return a part as per cent; never 0 % or 100 % where that isn't so."""
    per_cent = 100 * part // whole if whole else 0
    if part and not per_cent:
        return "<1 %"
    return f"{per_cent} %"


def said(error: BaseException) -> str:
    """Return what an exception says of itself; never raises, though its own code may."""
    try:
        return str(error)
    except Exception:  # in the words of Python's own tracebacks
        return "<exception str() failed>"
