"""SlateEnv: one simulated user at a time, as a Gymnasium environment. A skin over simenv.visits."""

from __future__ import annotations

from typing import Any, final

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv import rendering
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Population
from simenv.rewards import Reward
from simenv.session import StopReason
from simenv.slates import Repeats, checked_action
from simenv.spaces import ObservationKind
from simenv.stage import Stage, checked_options
from simenv.visits import STOPS

_ROW = np.zeros(1, np.int64)


@final
class SlateEnv(Stage, gymnasium.Env[dict[str, Any], ArrayLike]):
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

    A page left without any item is legal; it has reward 0 and costs a page. `action_masks()` tells what fills a place.

    ## Observation Space
    A one-level Dict of fixed shapes; everything in it is known to a real system too.

    | key             | space                          | meaning                                                      |
    |-----------------|--------------------------------|--------------------------------------------------------------|
    | `user`          | Box(-1, 1, (D,), float32)      | habits and tastes in the past (simenv.spaces.user_embedding) |
    | `recent_item`   | Box(-1, I-1, (H,), int64)      | last rated items, this visit included, oldest first; -1: none|
    | `recent_rating` | Box(-1, 1, (H,), float32)      | their ratings, worst 0 to best 1; -1: none                   |
    | `page`          | Box(0, max_pages, (1,), int64) | pages answered so far                                        |
    | `slate`         | Box(-1, I-1, (K,), int64)      | the last page as it was shown; -1: empty place               |
    | `consumed`      | MultiBinary(K)                 | what was taken from it                                       |
    | `rating`        | Box(-1, 1, (K,), float32)      | ratings given, worst 0 to best 1; -1: none                   |
    | `seen`          | MultiBinary(I)                 | without candidates: rated in the past or shown in this visit |
    | `candidate`     | Box(-1, I-1, (C,), int64)      | with candidates: the items on offer now; -1: none left       |
    | `text`          | Text                           | with `observation="text"`: the same in words                 |

    ## Starting State
    `reset` draws one episode key and a member of the population, evenly, from `np_random`; all luck of the visit hashes
    from the key, so two agents with one seed meet the same users in the same moods. A user is chosen by raw id with
    `reset(options={"user_id": 186})`; only the key is then drawn.

    ## Rewards
    By name, or a function (response, slate, scale) -> float64[B]: see simenv.rewards.

    - `"rating"` (default): mean rating given on the page, in units of the scale; 0 if none was given;
    - `"expected"`: mean expected rating per shown place, without luck; only a simulator can pay it;
    - `"consumed"`: share of shown places taken;
    - `"satisfaction"`: mean over shown places of the rating on -1..1, 0 where there is none.

    ## Episode End
    Termination: the user leaves (`stop_reason` "left"), or nothing is left to show ("exhausted").
    Truncation: the visit reached `max_pages` ("page_cap"). Leaving wins over both where they coincide.

    ## Information
    `reset` and `step` return the same keys, always:

    - `user_id`: raw id (int or str); `user_index`: its number, int;
    - `ratings`: float32[K] in units of the scale; a rating exists only where `rated` (bool[K]), elsewhere 0 stands;
    - `consumed`: bool[K];
    - `stop_reason`: "", "left", "exhausted" or "page_cap";
    - `duplicates`, `repeats`, `masked`: int, places of the last action that broke the rules above.

    With `diagnostics=True` also what only the simulator knows, for analysis, never for an agent: `persona` (its name,
    "" without personas), `rating_probs` float32[K, R], `exit_prob` float, `support` float32[K] (ratings the simulator
    learned the item from); 0 at empty places.

    ## Arguments
    ```python
    import gymnasium, simenv  # in this order; "simenv.environment:simenv/Slate-v0" is found without importing simenv

    env = gymnasium.make("simenv/Slate-v0", population="path/to/population", slate_size=5, candidates=50)
    ```
    Besides Gymnasium's interface: `training_log`, `catalogue`, `population`, `session` (for a Policy), `record` (all
    that was played) and `play(recommender)`; through wrappers they are found at `env.unwrapped`.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "human"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        population: Population | str,
        *,
        slate_size: int = 10,
        max_pages: int = 10,
        reward: str | Reward = "rating",
        observation: ObservationKind = "numeric",
        training_log: InteractionLog | None = None,
        catalogue: Catalogue | None = None,
        candidates: int | None = None,
        repeats: Repeats = "drop",
        history: int = 20,
        diagnostics: bool = False,
        name: str = "policy",
        keep_record: bool = True,
        render_mode: str | None = None,
    ) -> None:
        """Open the environment.

        Args:
            population: the users; or the folder of a saved population, or a name of the entry points
                `simenv.populations` (then the spec can be written as JSON).
            slate_size: K, places of a page.
            max_pages: pages after which a visit is truncated.
            reward: name or function, see Rewards.
            observation: "numeric", or "text" to add the key `text`.
            training_log: what the agent may know of the past. None: `population.training_log` if there is one, else
                an empty log.
            catalogue: titles and genres. None: `population.catalogue` if there is one, else the ids stand as titles.
            candidates: C, items on offer per page, drawn evenly from those not seen; None: the whole catalogue.
            repeats: "drop" or "answer", see Action Space.
            history: H, ratings remembered in the observation.
            diagnostics: add what only the simulator knows to the info.
            name: how the record calls the agent.
            keep_record: False forgets pages, for runs of millions of steps; `record` and `play` then raise.
            render_mode: None, "ansi" (`render` returns the page as text) or "human" (each page is printed).

        Raises:
            ConfigError: settings contradict each other, or no such population.

        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f'render_mode must be None, "ansi" or "human"; got {render_mode!r}.')
        self._open(
            population,
            1,
            {
                "slate_size": slate_size,
                "max_pages": max_pages,
                "reward": reward,
                "observation": observation,
                "training_log": training_log,
                "catalogue": catalogue,
                "candidates": candidates,
                "repeats": repeats,
                "history": history,
                "diagnostics": diagnostics,
                "name": name,
                "keep_record": keep_record,
            },
        )
        self.action_space, self.observation_space = self._form.action_space, self._form.observation_space
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a visit and return (observation, info).

        options: {"user_id": raw id} chooses the user; None: one is drawn.

        Raises:
            UnknownIdError: no such user among those simulated.

        """
        super().reset(seed=seed)
        self._visits.seeded(seed)
        user, key = self._visits.draw(self.np_random, checked_options(options, ("user_id",)).get("user_id"))
        self._visits.start(_ROW, np.array([user]), np.array([key]))
        self._show()
        return first(self._form.observe(self._visits)), first(self._form.info(self._visits))

    def step(self, action: ArrayLike) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Show a page (int[K], see Action Space) and return (observation, reward, terminated, truncated, info).

        Raises:
            ActionError: the action is no page.
            gymnasium.error.ResetNeeded: the visit has ended, or none has begun.

        """
        if self._visits.stop[0]:
            raise gymnasium.error.ResetNeeded("there is no visit going on; call reset() first.")
        page = checked_action(action, (self._visits.rules.slate_size,), *self._slots())
        self._visits.step(_ROW, page[None])
        self._show()
        stop: StopReason | None = STOPS[int(self._visits.stop[0])]
        ended, terminated = stop is not None, stop is not None and stop.terminated
        observation, info = first(self._form.observe(self._visits)), first(self._form.info(self._visits))
        return observation, float(self._visits.reward[0]), terminated, ended and not terminated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return bool[K * n]: for each place in turn, which of the n choices fill it (for MaskablePPO).

        A mask per place cannot forbid showing one item twice on a page; such places are emptied and counted.
        """
        return np.asarray(self._visits.action_mask()[0])

    def render(self) -> str | None:
        """Return the last page as text under "ansi"; under "human" pages were printed already."""
        return rendering.rendered(self._visits, 0) if self.render_mode == "ansi" else None

    def _show(self) -> None:
        if self.render_mode == "human":
            print(rendering.rendered(self._visits, 0))


def first(batch: dict[str, Any]) -> dict[str, Any]:
    """Return row 0 of each entry; numbers become Python ones."""
    row = {name: value[0] for name, value in batch.items()}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
