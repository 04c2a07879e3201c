"""The catalogue on any network, with no test file.

``pytest --pyargs analysis.suite --model package.module:factory``
"""

__all__: list[str] = []
