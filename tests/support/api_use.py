"""Reads from source code which names of TensorRT it touches: `trt.X.Y` and what is asked of objects with a `trt` type.

Types come from annotations (`engine: trt.ICudaEngine`), from calls of a class (`trt.Runtime(...)`), and from subclasses
of its classes. What a TensorRT object returns and is used further must be annotated; where it is not, that is a fault
and not a gap.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TypeAlias

Name: TypeAlias = tuple[str, ...]  # ("Runtime",), ("ICudaEngine", "num_io_tensors"), ("DataType", "UINT8")
ALIAS = "trt"


@dataclass
class ApiUse:
    """What a piece of code touches."""

    names: set[Name] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


def api_use(source: str) -> ApiUse:
    """Return what `source` touches of the module that it imports as `trt`."""
    reader = _Reader()
    reader.visit(ast.parse(source))
    return reader.use


class _Reader(ast.NodeVisitor):
    def __init__(self) -> None:
        self.use = ApiUse()
        self._attributes: dict[str, str] = {}  # self.NAME of the class being read -> TensorRT's class
        self._scopes: list[dict[str, str]] = [{}]  # name -> class; "" is a result whose class nobody named

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        kinds = {item.arg: _annotated(item.annotation) for item in arguments if item.annotation}
        self._scopes.append({name: kind for name, kind in kinds.items() if kind})
        self.generic_visit(node)
        self._scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if (kind := _annotated(base)) and node.name != kind:  # what it overrides is called by TensorRT
                self.use.names |= {
                    (kind, item.name)
                    for item in node.body
                    if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
                }
        outer = self._attributes
        self._attributes = {
            target.attr: kind
            for part in ast.walk(node)
            if isinstance(part, ast.AnnAssign)
            and isinstance(target := part.target, ast.Attribute)
            and (kind := _annotated(part.annotation))
        }
        self.generic_visit(node)
        self._attributes = outer

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        kind = _annotated(node.annotation)
        if kind and isinstance(node.target, ast.Name):
            self._scopes[-1][node.target.id] = kind
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        kind = self._kind(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name) and kind is not None:
                self._scopes[-1][target.id] = kind

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = _chain(node)
        if chain and chain[0] == ALIAS:
            self.use.names.add(tuple(chain[1:]))
            return
        kind = self._kind(node.value)
        if kind:
            self.use.names.add((kind, node.attr))
        elif kind == "":
            self.use.faults.append(f"line {node.lineno}: .{node.attr} of a TensorRT object without an annotation")
        self.generic_visit(node)

    def _kind(self, node: ast.expr) -> str | None:
        """Return the TensorRT class of an expression; "" for a result that nobody annotated; None for all else."""
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self._scopes) if node.id in scope), None)
        if isinstance(node, ast.Attribute):
            chain = _chain(node)
            return self._attributes.get(node.attr) if chain and chain[0] == "self" else None
        if isinstance(node, ast.Call):
            chain = _chain(node.func)
            if chain and chain[0] == ALIAS:
                return chain[1]
            if isinstance(node.func, ast.Attribute) and self._kind(node.func.value) is not None:
                return ""
        return None


def _annotated(node: ast.expr | None) -> str | None:
    """Return X of `trt.X` and of `trt.X | None`."""
    if isinstance(node, ast.BinOp):
        return _annotated(node.left) or _annotated(node.right)
    chain = _chain(node) if node else []
    return chain[1] if chain[:1] == [ALIAS] else None


def _chain(node: ast.AST) -> list[str]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []
