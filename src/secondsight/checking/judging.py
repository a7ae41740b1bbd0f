"""From what was heard about a statement to how far it is to be doubted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secondsight.answer import Doubt
from secondsight.checking.calibration import Calibrations, Signals
from secondsight.checking.claims import Claim
from secondsight.methods.checks import Basis


def judge(
    claim: Claim,
    refusals: Sequence[float],
    logs: Sequence[float],
    calibrations: Calibrations,
    basis: Basis = "asking",
) -> Doubt:
    """How far a statement is to be doubted.

    Args:
        claim: The statement.
        refusals: p(no) against p(yes) for the question about it by view, the original first; empty
            where nothing was asked.
        logs: The log-probability of each of its tokens; empty where they are not known.
        calibrations: The model's.
        basis: What the doubt goes by.
    """
    others = refusals[1:]
    signals = Signals(
        refusals[0] if refusals else None,
        sum(others) / len(others) if others else None,
        math.exp(sum(logs)) if logs else None,
    )
    calibration = calibrations.get(claim.kind if basis == "asking" else basis)
    if calibration is not None:
        probability = calibration(signals)
    elif signals.refusal is not None:
        probability = signals.refusal
    else:
        probability = 0.0 if signals.token is None else 1 - signals.token
    return Doubt(
        claim.kind,
        claim.object,
        claim.text,
        claim.start,
        claim.end,
        probability,
        calibration is not None,
        signals.refusal,
        signals.views,
        signals.token,
    )
