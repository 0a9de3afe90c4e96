"""The transformer of a template's syntax tree that inserts the charges."""

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

_MACRO = 50
"""Units of entering a macro or block, which takes Jinja much longer than a plain call."""


class ChargeInserter(NodeTransformer):
    """Inserts the charges into a template's syntax tree."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        weight = _weight(node.body)
        self.generic_visit(node)
        node.iter = _limit("counted", node.iter, nodes.Const(weight))
        if node.recursive:  # its calls of loop() have an iterable of their own
            node.body.insert(0, nodes.ExprStmt(_limit("charge", nodes.Const(weight))))
        return node

    def visit_Macro(self, node: Any) -> Any:  # noqa: N802
        weight = _MACRO + _weight(node.body)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_limit("charge", nodes.Const(weight))))
        return node

    visit_CallBlock = visit_Macro  # noqa: N815
    visit_Block = visit_Macro  # noqa: N815

    def visit_Assign(self, node: nodes.Assign) -> nodes.Assign:  # noqa: N802
        if isinstance(node.target, nodes.NSRef):
            node.node = _as_appended(node.node, node.target) or node.node
        self.generic_visit(node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _limit("joined", *node.nodes)

    def visit_List(self, node: Any) -> Any:  # noqa: N802
        self.generic_visit(node)
        inside = [part for item in node.iter_child_nodes() for part in (item, *item.find_all(nodes.Expr))]
        stored = getattr(node, "ctx", "load") != "load"
        simple = all(isinstance(part, nodes.Const | nodes.Pair) for part in inside)
        return node if stored or simple else _limit("built", node)

    visit_Dict = visit_List  # noqa: N815

    def visit_Tuple(self, node: nodes.Tuple) -> Any:  # noqa: N802
        return self.visit_List(node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _limit("sliced", node.node)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        first = node.expr
        self.generic_visit(node)
        for operand in node.ops:
            searched = operand.op in ("in", "notin") and not isinstance(operand.expr, nodes.Tuple | nodes.List)
            if searched:
                operand.expr = _limit("scanned", operand.expr)
            elif not (isinstance(first, nodes.Const) or isinstance(operand.expr, nodes.Const)):
                operand.expr = _limit("compared", operand.expr)
        return node


def _as_appended(node: Any, target: nodes.NSRef) -> Any:
    """A chain of `~` and `+` that begins with what the target holds, as calls of `appended`; None for all else."""
    if isinstance(node, nodes.Getattr):
        held = node.attr == target.attr and isinstance(node.node, nodes.Name) and node.node.name == target.name
        return node if held else None
    if isinstance(node, nodes.Concat):
        first, rest = node.nodes[0], node.nodes[1:]
    elif isinstance(node, nodes.Add):
        rest = [node.right]
        first = left = node.left
        while isinstance(left, nodes.Add):
            rest.append(left.right)
            first = left = left.left
        rest.reverse()
    else:
        return None
    begin = _as_appended(first, target)
    return begin and _limit("appended", nodes.Const("~" if isinstance(node, nodes.Concat) else "+"), begin, *rest)


def _weight(body: list[nodes.Node]) -> int:
    """Units of one iteration of a loop body, without nested loops, which are charged themselves."""
    total, stack = 0, list(body)
    while stack:
        node = stack.pop()
        total += 8 + len(node.data) // 2 if isinstance(node, nodes.TemplateData) else 8
        stack.extend(node.iter_child_nodes())
    return 1 + total // 64


def _limit(name: str, *args: Any) -> nodes.Expr:
    return nodes.Call(nodes.EnvironmentAttribute(f"limit_{name}"), list(args), [], None, None)
