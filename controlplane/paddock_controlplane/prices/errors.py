"""Errors of the price book."""

from paddock_controlplane.problems import Conflict, Invalid


class PriceInvalid(Invalid):
    code, title = "PriceInvalid", "This is no price"


class CurrencyMixed(Conflict):
    code, title = "CurrencyMixed", "Limits of money count one currency"


class PriceInPast(Conflict):
    code, title = "PriceInPast", "A price cannot begin in the past"
