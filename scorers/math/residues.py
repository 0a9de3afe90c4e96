"""Residues of expression trees: exact comparison of formulas, and of numbers too large to be written out.

`Residues` evaluates a tree modulo a prime of 96 bits: sums, products, quotients, integer powers, towers of powers (by
Euler's theorem, applied to the exponents), factorials and the imaginary unit are computed; symbols and π become
fixed pseudo-random residues; everything else (roots, logarithms, unknown functions) becomes a residue derived from
its name and the residues of its operands. Two trees with the same residue have the same value, but for a chance of
2^-90; two trees with different residues differ if nothing but field operations was met (`opaque` is False).
"""

import hashlib
import math
from fractions import Fraction
from typing import Any

from .exact import Budget, Irrational, TooBig, Undefined, rational, whole
from .trees import Node

_LONG_FACTORIAL = 150_000
_NEIGHBOURS = 5000

_CHAINS = (
    (
        46173223350539896994877990997,
        46173223350539896994877990996,
        15381163906425825313597457664,
        5074198402119859897269239808,
        1691361487941463381815853056,
        542355363534440495893708800,
        128208149759233301151744000,
        27831103084666080460800000,
    ),
    (
        40203201012103533148042232993,
        40203201012103533148042232992,
        18855070823810932690587782400,
        4741671208256969817600000000,
        968433999795486720000000000,
        242061559939989504000000000,
        53935142741213184000000000,
        12624317632217088000000000,
    ),
)
"""Two primes that are 1 modulo 4, each with Euler's totient of it, the totient of that, and so on."""


class Residues:
    """Evaluates trees modulo one of two primes; trees of one object share the meaning of what is opaque."""

    def __init__(self, which: int, budget: Budget) -> None:
        self.chain = _CHAINS[which]
        self.prime = self.chain[0]
        self.budget = budget
        self.opaque = False
        self._factorials: dict[int, int] = {}

    def value(self, node: Node) -> int:  # noqa: PLR0911 - a kind, a return
        """The residue of a tree; raises Undefined where a denominator is zero, TooBig when the budget is used up."""
        self.budget.spend()
        kind = node[0]
        if kind in ("num", "dec"):
            return self.fraction(node[1])
        if kind == "sym":
            return self.drawn("sym", node[1])
        if kind == "add":
            return sum(map(self.value, node[1:])) % self.prime
        if kind == "mul":
            product = 1
            for part in node[1:]:
                product = product * self.value(part) % self.prime
            return product
        if kind == "div":
            return self.value(node[1]) * self.inverse(self.value(node[2])) % self.prime
        if kind in ("pow", "root"):
            return self._power(node)
        if kind == "pct":
            return self.value(node[1]) * pow(100, -1, self.prime) % self.prime
        if kind == "deg":
            return self.value(node[1]) * self.drawn("pi") * pow(180, -1, self.prime) % self.prime
        if kind == "fn":
            return self._function(node)
        return self._other(node)

    def _other(self, node: Node) -> int:
        if node[0] == "pi":
            return self.drawn("pi")
        if node[0] == "e":
            self.opaque = True  # whether e and π are independent is not known
            return self.drawn("e")
        if node[0] == "i":
            return _unit(self.prime)
        self.opaque = True
        parts = [self.value(part) if isinstance(part, tuple) else part for part in node[1:]]
        return self.drawn(node[0], *parts)

    def fraction(self, value: Fraction) -> int:
        return value.numerator * self.inverse(value.denominator) % self.prime

    def inverse(self, residue: int) -> int:
        if residue % self.prime == 0:
            raise Undefined
        return 1 if residue == 1 else pow(residue, -1, self.prime)

    def drawn(self, *key: Any) -> int:
        """The residue that a name and operands always have, as good as random."""
        digest = hashlib.blake2b(repr(key).encode("utf-8", "replace"), digest_size=16).digest()
        return int.from_bytes(digest, "big") % self.prime

    def _power(self, node: Node) -> int:
        exponent = self._exact(node[2] if node[0] == "pow" else ("div", ("num", Fraction(1)), node[2]))
        base = self.value(node[1])
        if exponent is None:
            return self._tower(base, node)
        if exponent.denominator == 1:
            if base == 0 and exponent <= 0:
                raise Undefined
            return pow(base, exponent.numerator, self.prime)
        self.opaque = True
        whole_part, rest = divmod(exponent.numerator, exponent.denominator)
        if base == 0 and exponent < 0:
            raise Undefined
        root = self.drawn("root", base, exponent.denominator) if base else 0
        return pow(base, whole_part, self.prime) * pow(root, rest, self.prime) % self.prime if base else 0

    def _exact(self, node: Node) -> Fraction | None:
        try:
            return rational(node, {}, self.budget)
        except (Irrational, TooBig):
            return None

    def _tower(self, base: int, node: Node) -> int:
        """A power whose exponent is too large to be written out, or is not a rational number."""
        if node[0] == "pow" and base and _is_closed_whole(node[2]):
            try:
                return pow(base, self._modulo(node[2], 1), self.prime)
            except (Irrational, IndexError):
                pass
        self.opaque = True
        return self.drawn("pow", base, self.value(node[2]))

    def _modulo(self, node: Node, level: int) -> int:
        """A large integer modulo a number of the chain of totients."""
        modulus = self.chain[level]
        self.budget.spend()
        try:
            return whole(rational(node, {}, self.budget)) % modulus
        except TooBig:
            pass
        if node[0] == "add":
            return sum(self._modulo(part, level) for part in node[1:]) % modulus
        if node[0] == "mul":
            return math.prod(self._modulo(part, level) for part in node[1:]) % modulus
        if node[0] == "pow":
            base = self._modulo(node[1], level)
            try:
                exponent = whole(rational(node[2], {}, self.budget))
            except TooBig:  # by Euler's theorem, in the form for a base that shares factors with the modulus
                totient = self.chain[level + 1]
                exponent = self._modulo(node[2], level + 1) + totient
            if exponent < 0:
                raise Irrational from None
            return pow(base, exponent, modulus)
        raise Irrational

    def _function(self, node: Node) -> int:
        name = node[1]
        if name in ("factorial", "binomial", "permutations") and (product := self._counted(name, node[2:])) is not None:
            return product
        if name in ("mod", "gcd", "lcm", "floor", "ceil", "max", "min") and (exact := self._exact(node)) is not None:
            return self.fraction(exact)
        if name == "exp":
            return self._power(("pow", ("e",), node[2]))
        self.opaque = True
        arguments = [self.value(part) for part in node[2:]]
        if name in ("gcd", "lcm", "max", "min"):
            arguments.sort()
        elif name in _EVEN | _ODD:
            sign = -1 if arguments[0] > self.prime // 2 else 1
            residue = self.drawn(name, arguments[0] * sign % self.prime)
            return residue * sign % self.prime if name in _ODD else residue
        return self.drawn(name, *arguments)

    def _counted(self, name: str, arguments: tuple[Node, ...]) -> int | None:  # noqa: PLR0911
        exact = [self._exact(part) for part in arguments]
        if any(value is None or value.denominator != 1 for value in exact):
            return None
        numbers = [int(value) for value in exact if value is not None]
        if numbers[0] < 0:
            raise Undefined
        if name == "factorial":
            return self.factorial(numbers[0])
        n, k = numbers
        if not 0 <= k <= n:
            return 0
        if name == "binomial":
            few = min(k, n - k)
            if few <= _NEIGHBOURS:
                return self._falling(n, few) * self.inverse(self.factorial(few)) % self.prime
            below = self.factorial(k) * self.factorial(n - k)
            return self.factorial(n) * self.inverse(below % self.prime) % self.prime
        if k <= _NEIGHBOURS:
            return self._falling(n, k)
        return self.factorial(n) * self.inverse(self.factorial(n - k)) % self.prime

    def _falling(self, n: int, count: int) -> int:
        """The falling factorial n (n-1) … of `count` factors."""
        self.budget.spend(count)
        product = 1
        for factor in range(n - count + 1, n + 1):
            product = product * factor % self.prime
        return product

    def factorial(self, n: int) -> int:
        """n! by multiplication, or from a known neighbour; else a pseudo-random residue of its own.

        Factorials of numbers far apart, all beyond 150,000, are taken to have no other relation.
        """
        if n <= _LONG_FACTORIAL:
            return self._falling(n, n)
        for near, residue in self._factorials.items():
            if 0 <= n - near <= _NEIGHBOURS:
                return residue * self._falling(n, n - near) % self.prime
            if 0 < near - n <= _NEIGHBOURS:
                return residue * self.inverse(self._falling(near, near - n)) % self.prime
        self._factorials[n] = self.drawn("factorial", n)
        return self._factorials[n]


_EVEN = {"cos", "cosh", "abs", "sec", "sech"}
_ODD = {"sin", "tan", "arcsin", "arctan", "sinh", "tanh", "cot", "csc", "arsinh", "artanh", "sgn"}


def _unit(prime: int) -> int:
    """A square root of -1 modulo a prime that is 1 modulo 4."""
    if prime not in _UNITS:
        base = 2
        while pow(base, (prime - 1) // 2, prime) == 1:
            base += 1
        _UNITS[prime] = pow(base, (prime - 1) // 4, prime)
    return _UNITS[prime]


_UNITS: dict[int, int] = {}


def _is_closed_whole(node: Node) -> bool:
    """Whether a tree is made of integers, sums, products and powers alone."""
    if node[0] == "num":
        return bool(node[1].denominator == 1)
    return node[0] in ("add", "mul", "pow") and all(map(_is_closed_whole, node[1:]))


def agree(gold: Node, answer: Node, budget: Budget) -> bool | None:
    """Equality by residues of two primes; False only where nothing opaque occurs, else None."""
    for which in (0, 1):
        residues = Residues(which, budget)
        try:
            same = residues.value(gold) == residues.value(answer)
        except (Undefined, TooBig):
            return None
        if not same:
            return None if residues.opaque else False
    return True
