"""Metrics of a whole set of examples, to be given to `Task(metrics={...})`; each is the one of scikit-learn's name.

A metric is made with the names of the columns of the task's `evaluate` that it reads; n examples, C classes:

- `label`: classes [n], integers from 0 or booleans; where there are two, 1 (or True) is the positive one.
- `prediction`: classes [n] likewise, or scores [n, C], whose largest is the class (the first of equal ones); for a
  regression numbers [n], as `target`.
- `score`: numbers [n], higher for the positive class, or [n, C]. `prob`: probabilities, of the positive class [n] or of
  all [n, C].
- `value`, `nll`, `correct`: numbers [n], or [n, L] of tokens, and `count` how often each counts, of the same shape.

All are computed in float32, also of columns of fewer bits. Equal arguments make equal metrics.
"""

from jaxhp.tasks.metrics.classes import (
    accuracy,
    balanced_accuracy,
    cohen_kappa,
    f1,
    macro_f1,
    matthews_corrcoef,
    precision,
    recall,
    top_k_accuracy,
    weighted_f1,
)
from jaxhp.tasks.metrics.means import perplexity, token_accuracy, weighted_mean
from jaxhp.tasks.metrics.probabilities import brier, ece, log_loss
from jaxhp.tasks.metrics.ranks import average_precision, roc_auc, spearman
from jaxhp.tasks.metrics.regression import mae, mape, mse, pearson, r2, rmse

__all__ = [
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "cohen_kappa",
    "ece",
    "f1",
    "log_loss",
    "macro_f1",
    "mae",
    "mape",
    "matthews_corrcoef",
    "mse",
    "pearson",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "rmse",
    "roc_auc",
    "spearman",
    "token_accuracy",
    "top_k_accuracy",
    "weighted_f1",
    "weighted_mean",
]
