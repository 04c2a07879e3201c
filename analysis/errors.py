"""What can go wrong, one class per kind of trouble.

Every message is one line that says what was given, what was expected and what to do.
"""

__all__ = ["AnalysisError", "BudgetExceededError", "InputError", "UnsupportedLayerError"]


class AnalysisError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(AnalysisError):
    """The user gave something that cannot be used: a model, an option, an input, an output path."""


class UnsupportedLayerError(AnalysisError):
    """A layer was cut that the masked dense network has no rule for, so nothing can be proved."""


class BudgetExceededError(AnalysisError):
    """The work did not end within its time budget.

    ``step`` names what was running; it is filled in on the way up by `analysis.budgets.step`.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.step = ""
