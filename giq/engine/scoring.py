"""How well the engine predicts published points: fitted on a few of each group, judged on the rest."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from giq.catalog.catalog import Catalog
from giq.engine.calibration import Z90, Calibration, interval_with, prior
from giq.engine.design import spread
from giq.engine.fitting import Expectation, Fit, Subject, calibrated, expectation_from, fit
from giq.engine.observation import Means, Observation
from giq.engine.published import Group, PublishedRow
from giq.engine.spec import EngineSpec
from giq.errors import UsageError

Progress = Callable[[int, int], None]
METRICS = ("ttft", "tpot", "e2e")


@dataclass(frozen=True)
class Judged:
    """One held-out row: observed and predicted means, the latter with their 90 % intervals, in seconds."""

    name: str
    concurrency: int
    input_len: float
    output_len: float
    observed: dict[str, float]
    predicted: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]

    def error(self, metric: str) -> float:
        """The absolute error as a share of what was observed; NaN where nothing was."""
        return abs(self.predicted[metric] / self.observed[metric] - 1.0)

    def covers(self, metric: str) -> bool:
        """Whether the interval holds what was observed."""
        return self.low[metric] <= self.observed[metric] <= self.high[metric]

    def half_width(self, metric: str) -> float:
        """Half of the interval, as a share of the prediction."""
        return (self.high[metric] - self.low[metric]) / 2 / self.predicted[metric]


@dataclass(frozen=True)
class GroupScore:
    """One group: on what it was fitted, what that predicts of the other rows, and what fitting all rows would.

    `ceiling` judges the same rows with the calibration of all rows of the group; `transfer` judges all rows with
    calibrations of the same model on another accelerator of the generation alone.
    """

    group: Group
    calibrated_on: tuple[str, ...]
    judged: tuple[Judged, ...]
    ceiling: tuple[Judged, ...]
    transfer: tuple[Judged, ...]
    transferred_from: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """All groups that could be judged, and the scored rows that could not, with the reason of each."""

    calibration_points: int
    groups: tuple[GroupScore, ...]
    left_out: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class _Members:
    """The usable rows of a group, with which of them are to be fitted."""

    group: Group
    rows: tuple[PublishedRow, ...]
    subjects: tuple[Subject, ...]
    chosen: tuple[int, ...]

    @property
    def training(self) -> list[Subject]:
        return [self.subjects[index] for index in self.chosen]

    @property
    def held_out(self) -> list[int]:
        return [index for index in range(len(self.rows)) if index not in self.chosen]

    def same_model(self, other: _Members) -> bool:
        ours, theirs = self.subjects[0].spec, other.subjects[0].spec
        return ours.model.name == theirs.model.name

    def carries_over(self, other: _Members) -> bool:
        """Whether *other* is the same on another accelerator of the generation."""
        ours, theirs = self.subjects[0].spec, other.subjects[0].spec
        chips = ours.accelerator, theirs.accelerator
        return (
            self.same_model(other)
            and ours.tp == theirs.tp
            and chips[0].name != chips[1].name
            and chips[0].generation == chips[1].generation
        )


def score(
    rows: Sequence[PublishedRow],
    calibration_points: int,
    catalog: Catalog,
    progress: Progress | None = None,
    processes: int = 1,
) -> Score:
    """Judge the scored of *rows* by group; with 0 calibration points by the physics prior alone.

    The points to fit are chosen by `spread`. What other groups of the same model were fitted on says what to expect
    of a group; rows that are judged are in no fit. Calibrations that ship or are the user's are not used.

    Raises:
        UsageError: no row is scored.
    """
    scored = [row for row in rows if row.scored]
    if not scored:
        raise UsageError("no row of the file is scored", hint="Write yes in the column scored of rows that count.")
    left_out = [(row.name, str(row.group), row.reason) for row in scored if row.observation is None]
    usable = [row for row in scored if row.observation is not None]
    subjects = _subjects([row.observation for row in usable if row.observation], catalog, progress, processes)
    members = []
    for group in dict.fromkeys(row.group for row in usable):
        found = _members(
            group,
            [pair for pair in zip(usable, subjects, strict=True) if pair[0].group == group],
            calibration_points,
            left_out,
        )
        if found is not None:
            members.append(found)
    groups = tuple(_group_score(one, members) for one in members)
    return Score(calibration_points, groups, tuple(left_out))


def _members(
    group: Group,
    pairs: Sequence[tuple[PublishedRow, Subject | str]],
    count: int,
    left_out: list[tuple[str, str, str]],
) -> _Members | None:
    """The group, or None where nothing is left to judge; rows that cannot be predicted go to *left_out*."""
    left_out += [(row.name, str(group), found) for row, found in pairs if isinstance(found, str)]
    good = [(row, found) for row, found in pairs if isinstance(found, Subject)]
    if len(good) <= count:
        reason = f"the group has {len(good)} usable rows, no more than the {count} to calibrate on"
        left_out += [(row.name, str(group), reason) for row, _ in good]
        return None
    places = [(float(row.concurrency), row.input_len, row.output_len) for row, _ in good]
    chosen = tuple(spread(places, count))
    return _Members(group, tuple(row for row, _ in good), tuple(found for _, found in good), chosen)


def _subjects(
    observations: Sequence[Observation], catalog: Catalog, progress: Progress | None, processes: int
) -> list[Subject | str]:
    """Each observation with its slopes, or why it cannot be predicted."""
    specs = [_spec(observation, catalog) for observation in observations]
    tasks = list(zip(observations, specs, strict=True))
    found: list[Subject | str] = []
    for result in _mapped(tasks, processes):
        found.append(result)
        if progress is not None:
            progress(len(found), len(tasks))
    return found


def _spec(observation: Observation, catalog: Catalog) -> EngineSpec | str:
    try:
        chip = catalog.accelerator(observation.config.main.accelerator)
        return EngineSpec.of(observation.config, catalog, prior(chip))
    except UsageError as error:
        return error.what


def _mapped(tasks: Sequence[tuple[Observation, EngineSpec | str]], processes: int) -> Iterable[Subject | str]:
    if min(processes, len(tasks)) <= 1:
        yield from map(_subject, tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_subject, tasks, chunksize=4)


def _subject(task: tuple[Observation, EngineSpec | str]) -> Subject | str:
    observation, spec = task
    if isinstance(spec, str):
        return spec
    found = Subject.of(observation, spec)
    return found if found.usable else "requests are longer than the context that is served"


def _group_score(ours: _Members, everyone: Sequence[_Members]) -> GroupScore:
    spec = ours.subjects[0].spec
    ceiling = _fitted(spec, fit(ours.subjects), ours.group)
    expected = _expected(ours, everyone)
    calibration = _fitted(spec, fit(ours.training, expected), ours.group) if ours.chosen else spec.calibration
    sources = [other for other in everyone if other.chosen and ours.carries_over(other)]
    carried = _carried(spec, sources)
    return GroupScore(
        group=ours.group,
        calibrated_on=tuple(ours.rows[index].name for index in ours.chosen),
        judged=_judge(ours, ours.held_out, calibration),
        ceiling=_judge(ours, ours.held_out, ceiling),
        transfer=_judge(ours, range(len(ours.rows)), carried) if carried else (),
        transferred_from=tuple(str(other.group) for other in sources),
    )


def _expected(ours: _Members, everyone: Sequence[_Members]) -> Expectation | None:
    """What the other groups of the model let expect of this one."""
    kin = [other for other in everyone if other is not ours and ours.same_model(other)]
    others = [subject for other in kin for subject in other.training]
    return expectation_from(others) if others else None


def _fitted(spec: EngineSpec, found: Fit, group: Group) -> Calibration:
    return calibrated(spec, found, "score", f"published points of {group}")


def _carried(spec: EngineSpec, sources: Sequence[_Members]) -> Calibration | None:
    training = [subject for other in sources for subject in other.training]
    return None if not training else _fitted(spec, fit(training), sources[0].group)


def _judge(ours: _Members, indexes: Iterable[int], calibration: Calibration) -> tuple[Judged, ...]:
    return tuple(_judged(ours.rows[index], ours.subjects[index], calibration) for index in indexes)


def _judged(row: PublishedRow, subject: Subject, calibration: Calibration) -> Judged:
    observation = subject.observation
    output = observation.workload.output_tokens.mean
    calibration = calibration.at(row.concurrency, observation.workload.input_tokens.mean, output)
    shifts = (calibration, calibration.shifted(Z90), calibration.shifted(-Z90))
    runs = [_values(observation.predicted(replace(subject.spec, calibration=one)), output) for one in shifts]
    low = {metric: min(run[metric] for run in runs) for metric in METRICS}
    high = {metric: max(run[metric] for run in runs) for metric in METRICS}
    low["ttft"], high["ttft"] = interval_with((low["ttft"], runs[0]["ttft"], high["ttft"]), calibration.ttft_sigma)
    return Judged(
        name=row.name,
        concurrency=row.concurrency,
        input_len=row.input_len,
        output_len=row.output_len,
        observed=_values(observation.observed, output),
        predicted=runs[0],
        low=low,
        high=high,
    )


def _values(means: Means, output_tokens: float) -> dict[str, float]:
    """The three metrics; end to end from the means of the other two, as the published rows have no mean of it."""
    return {"ttft": means.ttft_s, "tpot": means.tpot_s, "e2e": means.ttft_s + means.tpot_s * (output_tokens - 1)}


def mape(judged: Sequence[Judged], metric: str) -> float:
    """The mean absolute error of *metric*, in percent; NaN where nothing was observed."""
    return 100 * _mean(np.array([one.error(metric) for one in judged]))


def coverage(judged: Iterable[Judged]) -> float:
    """The share, in percent, of observed TTFT, TPOT and end-to-end means that lie in their 90 % intervals."""
    held = [one.covers(metric) for one in judged for metric in METRICS if one.observed[metric] > 0]
    return 100 * float(np.mean(held)) if held else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
