"""Early warnings: what the numbers of a run say before its pictures show it."""

from collections.abc import Sequence

# The discriminator overfits, or wins: the mean sign of real images' logits, r_t of Karras et al. 2020. Its target in
# adaptive augmentation is 0.6; where it is 1 the generator learns little.
REAL_SIGN, ROWS = 0.95, 5
# New data of the same kind has an authenticity of about a half.
AUTHENTICITY = 0.1
# The variance of features that is left of that of the real images.
DIVERSITY = 0.3
# The share of the best recall so far that is left, once that was worth something.
RECALL, WORTH = 0.5, 0.1


def training_alarms(rows: Sequence[dict[str, float]]) -> dict[str, str]:
    """What the log of the training says.

    Args:
      rows: of the log, the newest last; the last `ROWS` are looked at.

    Returns:
      Messages by the name of the alarm; none where all is well.
    """
    signs = [sign for row in rows[-ROWS:] if (sign := _sign(row)) is not None]
    if len(signs) < ROWS or not all(sign > REAL_SIGN for sign in signs):  # NaN is not
        return {}
    return {
        "overfitting": f"the discriminator tells real from generated images with a mean sign of {signs[-1]:.2f}, above "
        f"{REAL_SIGN} in the last {ROWS} rows: it overfits, or wins. --augment ada, a gradient penalty or a smaller "
        "--d-lr may help."
    }


def _sign(row: dict[str, float]) -> float | None:
    """The mean sign of a row; without it that of the side that is told worse, so that no offset of a critic rings."""
    if "real_sign" in row:
        return float(row["real_sign"])
    if "real_accuracy" in row:
        return 2 * min(float(row["real_accuracy"]), float(row["fake_accuracy"])) - 1
    return None


def evaluation_alarms(rows: Sequence[dict[str, float]]) -> dict[str, str]:
    """What evaluations say: of memory and of collapse.

    Args:
      rows: values of the evaluations, the newest last.

    Returns:
      As `training_alarms`.
    """
    alarms, last = {}, rows[-1]
    if last.get("authenticity", 1) < AUTHENTICITY:
        alarms["memorisation"] = (
            f"authenticity is {last['authenticity']:.2f}, below {AUTHENTICITY}: samples are near copies of data. "
            "Look at the pictures in neighbours/; more data or augmentation may help."
        )
    if last.get("diversity", 1) < DIVERSITY:
        alarms["collapse"] = (
            f"the features of samples have {last['diversity']:.2f} of the real images' variance, below {DIVERSITY}: "
            "samples are alike."
        )
    best = max((row["recall"] for row in rows if "recall" in row), default=0)
    if best > WORTH and last.get("recall", best) < RECALL * best:
        alarms["recall"] = (
            f"recall fell to {last['recall']:.2f} from {best:.2f}, by more than a half: the generator leaves out more "
            "and more of the data."
        )
    return alarms
