"""How a rank's failure reaches the driver: returned as a value, so that its kind and its reason survive the way."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from purchasepath.errors import UserError
from purchasepath.training.ranks import Ranks, RanksLostError

Task = Callable[[Ranks, str], None]


class LostRankError(UserError):
    """A rank's process is gone: a failure of the environment, and its checkpoint is there to go on from."""


@dataclass(frozen=True)
class Failure:
    """Why a rank gave up. `followed` if only because another one had: its collectives fail then."""

    rank: int
    text: str
    by_user: bool = False
    followed: bool = False


def run_task(task: Task, ranks: Ranks, request: str) -> Failure | None:
    """Runs the task on this rank."""
    try:
        task(ranks, request)
    except UserError as error:
        return Failure(ranks.rank, str(error), by_user=True)
    except RanksLostError as error:
        return Failure(ranks.rank, str(error), followed=True)
    except Exception:
        return Failure(ranks.rank, traceback.format_exc())
    return None


def raise_first(failures: Iterable[Failure]) -> None:
    """Raises the failure that the others followed, as UserError if the user can fix it; nothing where all is well."""
    first = min(failures, key=lambda failure: (failure.followed, failure.rank), default=None)
    if first is None:
        return
    if first.by_user:
        raise UserError(first.text)
    raise RuntimeError(f"rank {first.rank} failed:\n{first.text}")


def lost_ranks(num_ranks: int, told: str) -> LostRankError:
    """The error where a rank's process ended without a word: killed, out of memory, its host gone."""
    return LostRankError(
        f"training on {num_ranks} ranks ended because the process of a rank did, without saying why: most likely it "
        "was killed, ran out of memory, or its host went away. Start the same command again, it goes on from its last "
        "checkpoint. Should it happen again: a smaller training.batch_size and fewer ranks need less memory\n" + told
    )
