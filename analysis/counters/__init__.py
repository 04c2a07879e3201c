"""Three routes to one number, and what other counters make of it: ``tox run -e counters``."""

__all__ = [
    "counting",
    "others",
    "reasons",
    "routes",
    "work",
]
