"""The environments, one simulated user at a time: SlateEnv, ItemEnv, ProtoEnv. Skins over simenv.visits."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack, final

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv import rendering
from simenv.actions import ActionKind
from simenv.options import ANYBODY, WHO, Arrival, arrivals, checked_options, drawn
from simenv.protocols import Population
from simenv.rules import STOPS
from simenv.session import StopReason
from simenv.snapshot import Snapshot, generator_at, restore, taken
from simenv.stage import RENDER_MODES, Setting, Stage

_ROW = np.zeros(1, np.int64)


class VisitEnv(Stage, gymnasium.Env[Any, Any]):
    """One visit at a time; the forms of action are its children."""

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # noqa: RUF012

    def __init__(
        self, population: Population | str, *, render_mode: str | None = None, **setting: Unpack[Setting]
    ) -> None:
        """Open the environment.

        population: the users; or the folder of a saved population, or a name of the entry points `simenv.populations`
            (then the spec can be written as JSON).
        render_mode: None, "ansi" (`render` returns the page as text) or "human" (each page is printed).
        setting: see simenv.stage.Setting.

        Raises:
            ConfigError: settings contradict each other or do not exist, or no such population.

        """
        self._open(population, 1, render_mode, setting)
        self.action_space, self.observation_space = self._action.space, self._form.space
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a visit and return (observation, info).

        options: see "Starting State" of SlateEnv; None: a user is drawn.

        Raises:
            UnknownIdError: no such user among those simulated, or a history names an unknown item.
            ConfigError: no such option, or nobody of that persona.

        """
        super().reset(seed=seed)
        self._seeded(seed)
        who: Arrival = arrivals(checked_options(options, WHO), 1)[0] if options else ANYBODY
        user, key = drawn(self._visits.population, self.np_random, who)
        self._visits.start(_ROW, np.array([user]), np.array([key]), [who])
        self._show()
        return self._now()

    def step(self, action: ArrayLike) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act (see Action Space) and return (observation, reward, terminated, truncated, info).

        Raises:
            ActionError: the action is of the wrong type, shape or range.
            gymnasium.error.ResetNeeded: the visit has ended, or none has begun.

        """
        if self._visits.stop[0]:
            raise gymnasium.error.ResetNeeded("there is no visit going on; call reset() first.")
        self._action.act(self._visits, _ROW, self._action.checked(action))
        self._show()
        stop: StopReason | None = STOPS[int(self._visits.stop[0])]
        ended, terminated = stop is not None, stop is not None and stop.terminated
        observation, info = self._now()
        return observation, float(self._visits.reward[0]), terminated, ended and not terminated, info

    def snapshot(self) -> Snapshot:
        """Return all there is to know of the visit and of the generator later visits are drawn from."""
        return taken(self._visits, _ROW, [self.np_random])

    def restore(self, snapshot: Snapshot, *, luck: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Go on from a snapshot of one visit, and return (observation, info) as they were then.

        The same actions then lead to the same answers, bit for bit, in this environment and in any other over the same
        population. luck: a number: what is still to be drawn is drawn anew, from it; None: the same luck. The record
        keeps what was played before, and goes on with a visit of its own that repeats the pages up to the snapshot.

        Raises:
            ConfigError: it holds several visits (`snapshot.take(0)` chooses one), or is of another form of page.

        """
        restore(self._visits, _ROW, snapshot, luck)
        self.np_random = generator_at(snapshot.rng[0])
        return self._now()

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which choices fill a place, flat, for MaskablePPO: bool[K * n] for Slate-v0, bool[n] for Item-v0.

        Raises:
            ConfigError: Proto-v0 has none.

        """
        return np.asarray(self._action.masks(self._visits)[0])

    def render(self) -> str | None:
        """Return the last page as text under "ansi"; under "human" pages were printed already."""
        return rendering.rendered(self._visits, 0) if self.render_mode == "ansi" else None

    def _now(self) -> tuple[Any, dict[str, Any]]:
        return first(self._form.observe(self._visits)), first_info(self._form.info(self._visits))

    def _show(self) -> None:
        if self.render_mode == "human" and self._visits.answered[0]:
            print(rendering.rendered(self._visits, 0))


@final
class SlateEnv(VisitEnv):
    """A recommender shows pages of items to simulated users, who look, take, rate, and sooner or later leave.

    ## Description
    One episode is one visit of one user. On each step the agent fills the K places of a page; the user, a member of a
    Population built from a ratings log, takes some items, rates them, and decides whether to stay for another page.
    The goal is to keep users and to show them what they like, knowing only what a real system would know of them.

    ## Action Space
    `MultiDiscrete([n_items] * slate_size)`: dense item numbers, best place first (`population.items` holds the outside
    ids). With `candidates=C`: `MultiDiscrete([C] * slate_size)`, positions in `observation["candidate"]`; RL agents
    want this for any catalogue of more than some hundred items. -1 leaves a place empty and is always allowed.

    An action of the wrong type, shape or range raises ActionError. Some places are emptied instead, and counted in the
    info, each under the first rule that holds:

    - `duplicates`: the item stands higher up on the same page;
    - `masked`: the user rated the item in the past the agent knows (`training_log`), or the candidate is -1;
    - `repeats`: the item was shown on an earlier page of this visit (with `repeats="answer"` the place is kept and
      counted, and the user answers it again with the same luck).

    A page left without any item is legal; it has reward 0 and costs a page. `action_masks()` tells what fills a place,
    the same for each place: that an item stands twice it cannot forbid (Item-v0 can, place by place).

    `simenv/Item-v0` (one item after another) and `simenv/Proto-v0` (a point among the item features) are the same
    environment under other forms of action: see ItemEnv and ProtoEnv.

    ## Observation Space
    A one-level Dict of fixed shapes; everything in it is known to a real system too.

    | key             | space                          | meaning                                                      |
    |-----------------|--------------------------------|--------------------------------------------------------------|
    | `user`          | Box(-1, 1, (D,), float32)      | habits and tastes in the past (simenv.features.Features.user)|
    | `recent_item`   | Box(-1, I-1, (H,), int64)      | last rated items, this visit included, oldest first; -1: none|
    | `recent_rating` | Box(-1, 1, (H,), float32)      | their ratings, worst 0 to best 1; -1: none                   |
    | `page`          | Box(0, max_pages, (1,), int64) | pages answered so far                                        |
    | `slate`         | Box(-1, I-1, (K,), int64)      | the last page as it was shown; -1: empty place               |
    | `consumed`      | MultiBinary(K)                 | what was taken from it                                       |
    | `rating`        | Box(-1, 1, (K,), float32)      | ratings given, worst 0 to best 1; -1: none                   |
    | `seen`          | MultiBinary(I)                 | without candidates: rated in the past or shown in this visit |
    | `candidate`     | Box(-1, I-1, (C,), int64)      | with candidates: the items on offer now; -1: none left       |
    | `candidate_feature` | Box(-1, 1, (C*F,), float32) | with candidates: their rows of `env.item_feature`, 0: none  |
    | `user_index`    | Discrete(U)                    | with `show_user=True`: who it is                             |
    | `visit`         | Box(0, visits-1, (1,), int64)  | with `visits` above 1: visits of this user before this one   |
    | `text`          | Text                           | with `observation="text"`: the same in words                 |

    `observation="flat"`: one Box(-1, 1, (N,), float32) with all of it, for plain networks: item numbers replaced by the
    items' F features (0: none), pages by their share, the user by a one; `env.layout` tells what stands where.
    `observation="history"`: only `recent_item`, `recent_rating` and what the action needs, for sequence models.

    ## Starting State
    `reset` draws one episode key and a member of the population, evenly, from `np_random`; all luck of the visit hashes
    from the key, so two agents with one seed meet the same users in the same moods. Who comes can be chosen
    with `reset(options=...)`, in vector environments one value for all rows or a list with one per row:

    - `user_id`: raw id; only the key is then drawn. Or `persona`: name; the user is drawn among its members;
    - `history`: {raw item id: rating}, oldest first: what the agent knows of the past instead of the training log. What
      the user is does not change with it.

    `env.snapshot()` and `env.restore(snapshot)` go back to a state in mid-visit, bit for bit, here or in another
    environment: for rollouts that branch, and for other slates from the same state (in a vector environment all at
    once, `env.restore(snapshot.take([0] * 64))`).

    ## Rewards
    By name, or a function (response, slate, scale) -> float64[B]: see simenv.rewards.

    - `"rating"` (default): mean rating given on the page, in units of the scale; 0 if none was given;
    - `"expected"`: mean expected rating per shown place, without luck; only a simulator can pay it;
    - `"consumed"`: share of shown places taken;
    - `"satisfaction"`: mean over shown places of the rating on -1..1, 0 where there is none;
    - `"retention"`: 1 per page on which something was shown, in sum the pages until the user leaves;
    - `"long_term"`: satisfaction and, when the visit ends, what it is worth that the user may come back
      (simenv.rewards.LongTerm); needs users who know when they return.

    Where users come back (a population with a life, `simenv.agents.life`), `visits=N` makes an episode of up to N
    visits: leaving is then no end but the way to the next visit, `info["day"]` tells when it begins, and a page is
    worth `day_discount ** (days since the episode began)` of its reward.

    ## Episode End
    Termination: the user leaves (`stop_reason` "left"), or nothing is left to show ("exhausted").
    Truncation: the visit reached `max_pages` ("page_cap"). Leaving wins over both where they coincide. With `visits`
    above 1 an episode terminates where the user never comes back, and is truncated ("visit_cap") where one would come
    after the last of `visits` or after `days`.

    ## Information
    `reset` and `step` return the same keys, always:

    - `user_id`: raw id (int or str); `user_index`: its number, int;
    - `ratings`: float32[K] in units of the scale; a rating exists only where `rated` (bool[K]), elsewhere 0 stands;
    - `consumed`: bool[K];
    - `stop_reason`: "", "left", "exhausted", "page_cap" or "visit_cap";
    - `duplicates`, `repeats`, `masked`: int, places of the last action that broke the rules above;
    - with `visits` above 1 also `visit`, int, and `day`, float: of the visit that the next page belongs to.

    With `diagnostics=True` also what only the simulator knows, for analysis, never for an agent: `persona` (its name,
    "" without personas), `rating_probs` float32[K, R], `exit_prob` float, `support` float32[K] (ratings the simulator
    learned the item from); 0 at empty places.

    ## Arguments
    ```python
    import gymnasium, simenv  # in this order; "simenv.environment:simenv/Slate-v0" is found without importing simenv

    env = gymnasium.make("simenv/Slate-v0", population="path/to/population", slate_size=5, candidates=50)
    ```
    All arguments stand in simenv.stage.Setting. Besides Gymnasium's interface: `training_log`, `catalogue`,
    `population`, `item_feature`, `session` (for a Policy), `snapshot`, `restore`, `record` (all that was played) and
    `play(recommender)`; through wrappers they are found at `env.unwrapped`.

    ## Version History
    - v0: first version.
    """

    kind: ClassVar[ActionKind] = "slate"


@final
class ItemEnv(VisitEnv):
    """SlateEnv for agents that choose one item at a time.

    ## Action Space
    `Discrete(n_items)`, or `Discrete(C)` with `candidates=C`; -1 leaves the place empty and is always allowed.

    With `slate_size=1`, the default, each action is a page. With `slate_size=K` each action fills the next place; when
    K are filled (or nothing is left that could fill one) the page is shown, answered and rewarded. The steps before
    cost nothing, have reward 0 and no answers in the info; the observation has one key more:

    | key     | space                      | meaning                                                   |
    |---------|----------------------------|-----------------------------------------------------------|
    | `draft` | Box(-1, I-1, (K,), int64)  | the page that is being filled; -1: empty or not yet filled|

    `action_masks()` excludes what stands on the page already: followed, no place is ever dropped. That is exact where
    the mask of Slate-v0 cannot be.

    All else is as in SlateEnv.
    """

    kind: ClassVar[ActionKind] = "item"


@final
class ProtoEnv(VisitEnv):
    """SlateEnv for agents with continuous actions: the items nearest to a point are shown.

    ## Action Space
    `Box(-1, 1, (P * F,), float32)`: P = `protos` points in the space of item features, `env.item_feature` float32[I, F]
    (quality, popularity, genres, collaborative factors; simenv.features.Features.item, or the argument `item_feature`).
    Each point fills K / P places with the items nearest to it (Euclid; the lower number of equally near ones) among
    those that fill a place: not rated in the past, not shown before, and among the candidates where there are such. So
    nothing is ever dropped. Points are rounded to multiples of 1 / 1024, as the features are. See Dulac-Arnold et al.
    2015, "Deep reinforcement learning in large discrete action spaces".

    There is no `action_masks()`. All else is as in SlateEnv.
    """

    kind: ClassVar[ActionKind] = "proto"


def first(batch: Any) -> Any:
    """Return row 0 of an observation."""
    return {name: value[0] for name, value in batch.items()} if isinstance(batch, dict) else batch[0]


def first_info(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return row 0 of an info; numbers become Python ones."""
    row = {}
    for name, many in batch.items():
        value = many[0]
        row[name] = value.item() if isinstance(value, np.generic) else value
    return row
