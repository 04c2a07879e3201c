"""The command line: options in, exit status out."""

__all__: list[str] = []
