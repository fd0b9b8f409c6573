"""What results say when they are laid side by side: plain sentences with their numbers, worked out, never assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medfuncta_core.mednf.classifying_results import SPACES, ClassifyResult


def find_findings(results: Sequence[ClassifyResult]) -> list[str]:
    """Sentences on results of one set; what cannot be said from them is left out.

    Args:
        results: Of one set and one test split.
    """
    if not results:
        return []
    sentences = [_against_guessing(results), _latents_against_pixels(results), _same_classifier(results)]
    sentences += [_scalings(results), _modulations(results)]
    return [sentence for sentence in sentences if sentence]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _best(results: Sequence[ClassifyResult]) -> ClassifyResult:
    return max(results, key=lambda result: (result.accuracy, result.macro_f1))


def margin_of(result: ClassifyResult) -> float:
    """How far off a share of so many test signals may be: half a 95 % interval (Agresti and Coull)."""
    n = result.n_test + 4
    share = (result.accuracy * result.n_test + 2) / n
    return 1.96 * math.sqrt(share * (1 - share) / n)


def _against_guessing(results: Sequence[ClassifyResult]) -> str:
    best = _best(results)
    counts = [sum(row) for row in best.confusion]
    common = max(range(len(counts)), key=lambda label: counts[label])
    share = counts[common] / best.n_test
    verdict = "better" if best.accuracy > share + margin_of(best) else "no better than that"
    return (
        f"Always answering {best.class_names[common]} would be right for {_percent(share)} of the test signals; the best result, "
        f"{_percent(best.accuracy)} by {best.request.title} on {best.request.features}, is {verdict}. With {best.n_test:,} test "
        f"signals an accuracy is known to about ± {100 * margin_of(best):.1f} points."
    )


def _latents_against_pixels(results: Sequence[ClassifyResult]) -> str:
    pixels = [result for result in results if result.request.inputs == "pixels"]
    latents = [result for result in results if result.request.inputs != "pixels"]
    if not (pixels and latents):
        return ""
    one, other = _best(latents), _best(pixels)
    points = 100 * (one.accuracy - other.accuracy)
    verdict = "more" if points > 0 else "less"
    if abs(points) <= 100 * max(margin_of(one), margin_of(other)):
        verdict += ", which these test signals cannot tell apart"
    epochs = f" after {other.request.epochs} epochs" if "epochs" in other.request.settings else ""
    return (
        f"Latents reach {_percent(one.accuracy)} ({one.request.title}, F1 {one.macro_f1:.2f}), pixels {_percent(other.accuracy)} "
        f"({other.request.title}{epochs}, F1 {other.macro_f1:.2f}): {abs(points):.1f} points {verdict}."
    )


def _same_classifier(results: Sequence[ClassifyResult]) -> str:
    """The same classifier on latents and on the raw values: what the latents lose, or make easier, whatever the network."""
    pairs: list[str] = []
    for on_pixels in results:
        if on_pixels.request.inputs != "pixels" or on_pixels.request.method not in ("knn", "mlp", "logistic"):
            continue
        twin = on_pixels.request.model_copy(update={"space": "latent"}).key
        for on_latents in results:
            if on_latents.request.key == twin:
                words = f"{on_latents.request.title} {100 * (on_latents.accuracy - on_pixels.accuracy):+.1f}"
                pairs.append(words)
    return f"The same classifier on latents instead of pixels, in points of accuracy: {', '.join(pairs)}." if pairs else ""


def _scalings(results: Sequence[ClassifyResult]) -> str:
    """What scaling does to a classifier that is otherwise the same."""
    groups: dict[str, list[ClassifyResult]] = {}
    for result in results:
        if "scaling" in result.request.settings:
            groups.setdefault(result.request.model_copy(update={"scaling": "raw"}).key, []).append(result)
    parts = [
        f"{alike[0].request.title} on {SPACES[alike[0].request.inputs]} "
        + ", ".join(f"{result.request.scaling} {_percent(result.accuracy)}" for result in alike)
        for alike in groups.values()
        if len(alike) > 1
    ]
    return f"Scaling, accuracies: {'; '.join(parts)}." if parts else ""


def _modulations(results: Sequence[ClassifyResult]) -> str:
    """What it changes to classify what the network makes of a latent."""
    parts: list[str] = []
    for result in results:
        if result.request.inputs != "modulation":
            continue
        twin = result.request.model_copy(update={"space": "latent"}).key
        parts += [
            f"{result.request.title} {100 * (result.accuracy - other.accuracy):+.1f} ({result.request.scaling})"
            for other in results
            if other.request.key == twin
        ]
    return f"Modulations instead of the latents they come from, in points of accuracy: {', '.join(parts)}." if parts else ""
