"""How good predictions are: accuracy, macro F1, one-vs-rest AUC, and the confusion matrix (Table 3 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata


@dataclass(frozen=True, eq=False)
class Scores:
    """Quality of predictions on one split.

    Args:
        accuracy: Share of right predictions, 0 to 1.
        macro_f1: Mean of the classes' F1, each class counting alike, 0 to 1; classes neither there nor predicted are left out.
        auc: Mean of the classes' areas under the curve, each against the rest; None where no class has both sides.
        confusion: Truth in rows, prediction in columns.
        f1: Of every class; NaN for a class that is neither there nor predicted.
    """

    accuracy: float
    macro_f1: float
    auc: float | None
    confusion: Int[np.ndarray, "c c"]
    f1: Float[np.ndarray, " c"]


def score(truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], shares: Float[np.ndarray, "n c"]) -> Scores:
    """Compare predictions with the truth.

    Args:
        truth: Classes as numbers.
        predicted: The same, as predicted.
        shares: What a classifier gives to every class, larger for more likely; only their order counts, for the AUC.
    """
    classes = shares.shape[1]
    confusion = np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)
    right, involved = np.diag(confusion), confusion.sum(0) + confusion.sum(1)
    f1 = np.divide(2.0 * right, involved, out=np.full(classes, np.nan), where=involved > 0)
    return Scores(float(right.sum() / len(truth)), float(np.nanmean(f1)), auc_of(truth, shares), confusion, f1)


def auc_of(truth: Int[np.ndarray, " n"], shares: Float[np.ndarray, "n c"]) -> float | None:
    """Mean area under the ROC curve of every class against the rest: how often a member gets more than a non-member.

    Equal shares count half (Mann and Whitney). Classes without members, or without others, are left out.
    """
    areas: list[float] = []
    for label in range(shares.shape[1]):
        member = truth == label
        inside, outside = int(member.sum()), int((~member).sum())
        if inside and outside:
            ranks = rankdata(shares[:, label])
            areas.append(float((ranks[member].sum() - inside * (inside + 1) / 2) / (inside * outside)))
    return float(np.mean(areas)) if areas else None
