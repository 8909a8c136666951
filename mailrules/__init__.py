"""mailrules: rule-based mail automation that can be trusted, understood and measured."""

__version__ = "0.1.0"
