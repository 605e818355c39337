"""XFetch in closed form: what early refresh costs and saves. Pure: figures in, figures out.

Reads are Poisson with *rate* per second, a load takes *delta* seconds (Vattani, Chierichetti and
Lowenstein, VLDB 2015). With n = rate·delta, a refresh begins beta·delta·Ein(n·beta) before expiry on
average, counting 0 where no draw fires, and none fires with the probability exp(-n·beta)."""

from math import exp, inf, log
from typing import Final

EULER: Final = 0.5772156649015329


def entire_exponential_integral(x: float) -> float:
    """Return Ein(x) = ln(x) + Euler's constant + E1(x), the integral of (1 - exp(-u))/u from 0 to *x* ≥ 0.

    The power series below 1, where the logarithm and E1 cancel; Lentz's continued fraction of E1 above
    (Abramowitz and Stegun 5.1.11 and 5.1.22). Accurate to about 1e-12."""
    return _ein_series(x) if x < 1 else log(x) + EULER + _e1_fraction(x)


def _ein_series(x: float) -> float:
    total, power, k = 0.0, 1.0, 0
    while True:
        k += 1
        power *= -x / k
        term = -power / k
        total += term
        if abs(term) <= 1e-17 * abs(total):
            return total


def _e1_fraction(x: float) -> float:
    b, c, d = x + 1, inf, 1 / (x + 1)
    fraction, k = d, 0
    while True:
        k += 1
        b += 2
        d = 1 / (b - k * k * d)
        c = b - k * k / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            return fraction * exp(-x)


def head_start(*, rate: float, delta: float, beta: float = 1.0) -> float:
    """Return how long before expiry XFetch refreshes on average, in seconds.

    Reads are Poisson with *rate* per second, a load takes *delta* seconds. The closed form
    beta·delta·(ln(n·beta) + 0.5772 + E1(n·beta)), n = rate·delta, counts 0 where no draw fires."""
    return beta * delta * entire_exponential_integral(rate * delta * beta)


def unrefreshed(*, rate: float, delta: float, beta: float = 1.0) -> float:
    """Return the share of expiries that no early refresh comes before."""
    return exp(-rate * delta * beta)


def refreshed_before(lead: float, *, rate: float, delta: float, beta: float = 1.0) -> float:
    """Return the probability that the refresh has begun *lead* seconds before expiry or earlier.

    A read at lead t fires with exp(-t/(beta·delta)); so those that fire are Poisson with the integral
    of rate·exp(-t/(beta·delta)) from *lead* on."""
    if beta == 0:
        return 0.0
    reach = beta * delta
    return 1 - exp(-rate * reach * exp(-lead / reach))


def herd(*, beta: float) -> float:
    """Return how many readers reload on average where nothing coalesces them and a load takes delta.

    Geometric with the mean e^(1/beta), whatever the rate, if nearly every refresh is done by expiry."""
    return exp(1 / beta)
