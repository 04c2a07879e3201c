"""The sections of a report, one module each: every claim with the numbers measured in this run."""

__all__: list[str] = []
