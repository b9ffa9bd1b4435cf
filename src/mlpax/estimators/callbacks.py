"""Each epoch of a fit as a task of scikit-learn's callbacks."""

from typing import Any

import numpy as np

__all__ = ["Tell"]


class Tell:
    """Tells the callbacks of a fit, within its context, of each epoch."""

    def __init__(self, estimator: Any, context: Any, X: Any, y: np.ndarray):
        self.estimator, self.context, self.rows = estimator, context, {"X": X, "y": y}
        context.call_on_fit_task_begin(estimator=estimator, **self.rows)

    def begin(self) -> None:
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.rows)

    def done(self) -> bool:
        """Whether a callback wants the fit to stop."""
        e = self.estimator
        fitted = {"coefs_": e.coefs_, "intercepts_": e.intercepts_}
        return self.task.call_on_fit_task_end(estimator=e, reconstruction_attributes=fitted, **self.rows)

    def end(self) -> None:
        e = self.estimator
        fitted = {"coefs_": e.coefs_, "intercepts_": e.intercepts_}
        self.context.call_on_fit_task_end(estimator=e, reconstruction_attributes=fitted, **self.rows)
