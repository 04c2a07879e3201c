"""Readable code for a graph."""

import ast
from typing import Any

__all__ = ["readable"]

_LONGEST = 80


def readable(source: str) -> str:
    """The function that torch.fx writes, with nested operators if lines stay short.

    The order of computation is kept: a value moves only into the next line, unless it is an
    attribute of the network.
    """
    tree = ast.parse(source)
    function: Any = tree.body[0]
    # torch.fx frees what is not used any more by setting it to None.
    body = [line for line in function.body if ast.unparse(line).rpartition("= ")[2] != "None"]
    place = 0
    while place < len(body) - 1:
        put = _put(body, place)
        body = put or body
        # A line that took in another one may go into the next, and others into it.
        place = max(place - 1, 0) if put else place + 1
    function.body = body
    return ast.unparse(tree)


def _put(body: list[Any], place: int) -> list[Any] | None:
    """The lines with the value of one inlined where it is read; None if it must not be."""
    line = body[place]
    readers = [other for other in body[place + 1 :] if _reads(other, line.targets[0])]
    is_attribute = isinstance(line.value, ast.Attribute)
    is_next = readers == body[place + 1 : place + 2]
    if not readers or len(readers) > 1 or not (is_attribute or is_next):
        return None
    put = _Put(line.targets[0], line.value)
    written = put.visit(ast.parse(ast.unparse(readers[0])).body[0])
    if put.times > 1 or len(ast.unparse(written)) > _LONGEST:
        return None
    return [written if other is readers[0] else other for other in body if other is not line]


def _reads(line: ast.AST, name: Any) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == name.id and isinstance(node.ctx, ast.Load)
        for node in ast.walk(line)
    )


class _Put(ast.NodeTransformer):
    def __init__(self, name: Any, value: ast.expr) -> None:
        self._name, self._value, self.times = name.id, value, 0

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id != self._name or not isinstance(node.ctx, ast.Load):
            return node
        self.times += 1
        return self._value
