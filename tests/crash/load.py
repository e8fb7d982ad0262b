"""A load of people and apps who go on through every crash, and log what they were told.

Each client is a thread with a browser of its own: it signs in, lets apps have grants in its session,
refreshes and revokes them, looks at anybody's tokens, and ends sessions in every way there is. What
it does not know it treats as unknown, and does again as a good client would.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Iterable

from idp.ids import digest
from tests.bench.wire import Answer
from tests.crash.world import Held, World, token_subject
from tests.harness.deployment import SCOPE, authorize_path
from tests.harness.history import Op, Subject
from tests.harness.load_clients import (
    AppAt,
    Browser,
    Lost,
    NotSent,
    Wire,
    claims_of,
    code_of,
    json_of,
)
from tests.harness.provider import PASSWORD, Flow

API = "/api/v1/users/sessions"
# Seconds between two operations of one client.
THINKING = (0.005, 0.04)
_SIGNED_IN_AS = re.compile(r"Signed in as </span>([^<]*)<")


class TurnedAway(Exception):
    """Answered with a 5xx: whether anything was done is not known."""


class Client(threading.Thread):
    """One person at one device, and the apps they use."""

    def __init__(self, world: World, number: int, seed: int) -> None:
        super().__init__(name=f"client {number}")
        self.world = world
        self.history = world.history
        self.name_ = list(world.people)[number % len(world.people)]
        self.person: Subject = f"person:{self.name_}"
        self.random = random.Random(f"{seed} {number}")
        # Where there are several nodes they take turns: what one did the next must know.
        self.wire = Wire(*world.ports, leaving=world.leaving)
        self.browser = self.new_browser()
        self.session: Subject | None = None
        self.session_id: str | None = None
        self.mine: list[Held] = []
        # A refresh whose answer was lost is asked for again before anything else.
        self.unfinished: Held | None = None
        self.problem: BaseException | None = None
        # The operation this step began last.
        self.last: Op | None = None

    def run(self) -> None:
        try:
            while not self.world.over.is_set():
                self.carry_on(self.step)
                self.world.over.wait(self.random.uniform(*THINKING))
        except BaseException as problem:
            self.problem = problem
        finally:
            self.wire.close()
            self.browser.close()

    def carry_on(self, step: Callable[[], None]) -> None:
        """One step, whatever becomes of the server meanwhile."""
        self.last = None
        try:
            step()
        except NotSent:
            if self.last is not None and self.last.outcome == "unknown":
                self.last.withdraw()
            self.world.answers["not sent"] += 1
            self.world.up.wait(0.2)
        except Lost:
            self.world.answers["lost"] += 1
        except TurnedAway:
            self.world.up.wait(0.2)

    def step(self) -> None:
        if self.unfinished is not None:
            self.refresh_this(self.unfinished)
            return
        if self.session is None:
            self.sign_in()
            return
        held = [one for one in self.mine if not one.is_over]
        if len(held) < 2:
            self.new_grant()
            return
        (choice,) = self.random.choices(_STEPS, weights=_WEIGHTS)
        choice(self)

    # --- the browser --------------------------------------------------------------------------

    def sign_in(self) -> None:
        self.browser.close()
        self.browser = self.new_browser()
        form = self.browser.sign_in_form()
        # At the limit another session of this person gives way.
        pushed_out = [self.person] if self.name_ in self.world.limits else []
        op = self.begin("sign in", may_end=pushed_out)
        answer = self.noted(
            op, self.browser.wire.exchange(self.browser.signing_in(self.name_, PASSWORD, form))
        )
        self.browser.keep(answer)
        secret = self.browser.session_secret
        if answer.status != 303 or secret is None:
            op.answered("refused")
            return
        self.session, self.session_id = f"session:{digest(secret)}", None
        self.world.secrets.add(secret)
        self.mine = []
        self.history.hangs_on(self.session, self.person, since=op.invoked)
        self.world.signed_in[self.person].append(self.session)
        op.facts["session"] = self.session
        op.answered("ok", alive=[self.session])

    def sign_in_anew(self) -> None:
        """With another browser; the session in this one goes on, and nobody comes back to it."""
        self.session = None
        self.sign_in()

    def page(self) -> None:
        op = self.begin("page", belongs_to=self.name_)
        answer = self.noted(op, self.browser.get("/account/sessions"))
        shown = _SIGNED_IN_AS.search(answer.body.decode())
        if answer.status == 200 and shown is not None:
            op.facts["sub"] = shown[1]
        self.saw_session(op, answer.status == 200)

    def saw_session(self, op: Op, is_alive: bool) -> None:
        """Notes that the browser's session was alive, or that it is over and a new one is due."""
        assert self.session is not None
        if is_alive:
            op.answered("ok", alive=[self.session])
        else:
            op.answered("refused", found_dead=[self.session])
            self.session = None

    # --- grants -------------------------------------------------------------------------------

    def new_grant(self) -> None:
        """Single sign-on to an app, and its code's redemption; sometimes the code comes twice."""
        app = self.random.choice(self.world.apps)
        flow = app.flow()
        op = self.begin("authorize")
        answer = self.noted(op, self.browser.get(authorize_path(flow.parameters(scope=SCOPE))))
        code = code_of(answer)
        self.saw_session(op, code is not None)
        if code is None:
            return
        held = self.redeem(app, flow, code)
        if held is not None and self.random.random() < 0.05:
            self.redeem_again(held, flow, code)

    def redeem(self, app: AppAt, flow: Flow, code: str) -> Held | None:
        assert self.session is not None
        grant: Subject = f"grant:{digest(code)}"
        request = app.redeeming(flow, code)
        begun = time.monotonic()
        self.history.hangs_on(grant, self.session, since=begun)
        op = self.begin("redeem", code=grant, app=app.registered.id)
        try:
            answer = self.noted(op, self.wire.exchange(request))
        except (Lost, TurnedAway):
            # It may have been redeemed; if so, asking again ends what nobody received.
            self.world.answers["lost"] += 1
            self.world.up.wait(5)
            op = self.begin("redeem", may_end=[grant], code=grant, app=app.registered.id)
            answer = self.noted(op, self.wire.exchange(request))
        said = json_of(answer)
        if answer.status != 200:
            found = {"dead": [grant]} if op.may_end else {"found_dead": [grant]}
            op.answered("refused", **found)
            return None
        claims = claims_of(str(said["id_token"]))
        op.facts |= {"sub": claims["sub"], "belongs_to": self.world.people[self.name_]}
        held = Held(
            app,
            self.person,
            self.session,
            str(claims["sid"]),
            grant,
            str(said["access_token"]),
            str(said["refresh_token"]),
            str(said["id_token"]),
        )
        self.world.secrets.update(held.tokens(), [held.id_token, code])
        for token in held.tokens():
            self.history.hangs_on(token_subject(token), grant, since=begun)
        op.answered("ok", alive=[grant])
        self.session_id = held.session_id
        self.world.sessions[self.person][held.session_id] = self.session
        self.mine.append(held)
        self.world.grants.append(held)
        return held

    def redeem_again(self, held: Held, flow: Flow, code: str) -> None:
        """AC-01: the second use of a code ends what the first was given."""
        op = self.begin(
            "redeem", may_end=[held.subject], code=held.subject, app=held.app.registered.id
        )
        held.is_over = True
        answer = self.noted(op, self.wire.exchange(held.app.redeeming(flow, code)))
        if answer.status == 200:
            op.answered("ok", alive=[held.subject])
        else:
            op.answered("refused", dead=[held.subject])

    def refresh(self) -> None:
        held = self.one_of_mine()
        if held is not None:
            self.refresh_this(held)

    def refresh_this(self, held: Held) -> None:
        token = token_subject(held.refresh_token)
        first = held.tried_at if held.tried_at is not None else time.monotonic()
        held.tried_at = first
        self.unfinished = held
        op = self.begin("refresh", may_end=[token], token=token)
        answer = self.noted(op, self.wire.exchange(held.app.refreshing(held.refresh_token)))
        self.unfinished = None
        said = json_of(answer)
        if answer.status == 200:
            for name in ("access_token", "refresh_token"):
                made = token_subject(str(said[name]))
                self.history.hangs_on(made, held.subject, since=op.invoked)
            held.access_token = str(said["access_token"])
            held.refresh_token = str(said["refresh_token"])
            self.world.secrets.update(held.tokens())
            held.tried_at = None
            op.facts["successor"] = token_subject(held.refresh_token)
            op.answered("ok", alive=[held.subject])
            return
        held.is_over = True
        if first < op.invoked and time.monotonic() - first > self.world.grace:
            # We came back too late, which looks like a theft: that was us.
            op.answered("refused", dead=[held.subject])
        else:
            op.answered("refused", found_dead=[held.subject])

    def revoke(self) -> None:
        held = self.one_of_mine()
        if held is None:
            return
        whole = self.random.random() < 0.6
        token = held.refresh_token if whole else held.access_token
        ended = held.subject if whole else token_subject(token)
        op = self.begin("revoke", may_end=[ended])
        held.is_over = held.is_over or whole
        answer = self.noted(op, self.wire.exchange(held.app.revoking(token)))
        op.answered("ok" if answer.status == 200 else "refused", dead=[ended])

    # --- looking at tokens --------------------------------------------------------------------

    def introspect(self) -> None:
        if self.world.grants:
            # The last ones mostly, and any of all that ever were.
            recent = self.random.random() < 0.7
            held = self.random.choice(self.world.grants[-40:] if recent else self.world.grants)
            self.introspect_this(held, self.random.choice(held.tokens()))

    def introspect_this(self, held: Held, token: str) -> None:
        op = self.begin("introspect", token=token_subject(token), belongs_to=self.world.owner(held))
        # A refresh token is shown to its own app alone.
        asker = held.app if token == held.refresh_token else self.world.resource
        said = json_of(self.noted(op, self.wire.exchange(asker.introspecting(token))))
        if said.get("active"):
            op.facts["sub"] = said["sub"]
            op.answered("ok", alive=[token_subject(token)])
        else:
            op.answered("ok", found_dead=[token_subject(token)])

    def userinfo(self) -> None:
        if self.world.grants:
            held = self.random.choice(self.world.grants[-40:])
            token = held.access_token
            op = self.begin(
                "userinfo", token=token_subject(token), belongs_to=self.world.owner(held)
            )
            answer = self.noted(op, self.wire.exchange(held.app.asking("GET", "/userinfo", token)))
            if answer.status == 200:
                op.facts["sub"] = json_of(answer)["sub"]
                op.answered("ok", alive=[token_subject(token)])
            else:
                op.answered("refused", found_dead=[token_subject(token)])

    # --- ending sessions ----------------------------------------------------------------------

    def end_by_page(self) -> None:
        """Any session of this person, from the account page in this browser."""
        target = self.some_session()
        found = self.browser.session_form() if target is not None else None
        if target is None or found is None:
            return
        session_id, session = target
        op = self.begin("end by page", may_end=[session], session=session_id)
        answer = self.noted(op, self.browser.post(f"/account/sessions/{session_id}/end", found[0]))
        self.ended_by_page(op, answer, [session])

    def end_everywhere(self) -> None:
        found = self.browser.session_form()
        if found is None:
            return
        ending = list(self.world.signed_in[self.person])
        op = self.begin("end everywhere", may_end=[self.person])
        form = {**found[0], "what": "everywhere", "confirmed": "yes"}
        answer = self.noted(op, self.browser.post("/account/sessions/end", form))
        self.ended_by_page(op, answer, ending)

    def ended_by_page(self, op: Op, answer: Answer, ending: list[Subject]) -> None:
        assert self.session is not None
        onward = answer.header("location") if answer.status == 303 else ""
        if onward.startswith(("/signed-out", "/account/sessions?done=")):
            op.answered("ok", dead=ending)
            if self.session in ending:
                self.session = None
        else:
            self.saw_session(op, not onward.startswith("/account/sign-in"))

    def end_by_api(self) -> None:
        target, held = self.some_session(), self.one_of_mine()
        if target is None or held is None:
            return
        session_id, session = target
        token = held.access_token
        op = self.begin("end by API", may_end=[session], session=session_id)
        request = held.app.asking("DELETE", f"{API}/{session_id}", token)
        answer = self.noted(op, self.wire.exchange(request))
        if answer.status == 200:
            op.answered("ok", dead=[session])
        else:
            op.answered("refused", found_dead=[token_subject(token)])

    def end_by_app(self) -> None:
        """RP-initiated logout, whose proof is an ID token of the session."""
        held = self.one_of_mine()
        if held is None:
            return
        op = self.begin("end by app", may_end=[held.session], session=held.session_id)
        request = self.new_browser().getting(f"/logout?id_token_hint={held.id_token}")
        answer = self.noted(op, self.wire.exchange(request))
        op.answered("ok" if answer.status == 303 else "refused", dead=[held.session])

    # --- small things -------------------------------------------------------------------------

    def begin(self, kind: str, *, may_end: Iterable[Subject] = (), **facts: object) -> Op:
        self.last = self.history.begin(kind, may_end=may_end, **facts)
        return self.last

    def new_browser(self) -> Browser:
        return Browser(*self.world.ports, leaving=self.world.leaving)

    def one_of_mine(self) -> Held | None:
        held = [one for one in self.mine if not one.is_over]
        return self.random.choice(held) if held else None

    def some_session(self) -> tuple[str, Subject] | None:
        known = list(self.world.sessions[self.person].items())[-6:]
        return self.random.choice(known) if known else None

    def noted(self, op: Op, answer: Answer) -> Answer:
        """Counts an answer; raises `TurnedAway` for one that says nothing."""
        op.facts["status"] = answer.status
        self.world.answers[str(answer.status)] += 1
        if answer.status >= 500:
            raise TurnedAway
        return answer


_TABLE = (
    (Client.refresh, 36),
    (Client.introspect, 30),
    (Client.userinfo, 8),
    (Client.new_grant, 9),
    (Client.page, 4),
    (Client.sign_in_anew, 1),
    (Client.revoke, 6),
    (Client.end_by_page, 2),
    (Client.end_by_api, 2),
    (Client.end_by_app, 2),
    (Client.end_everywhere, 1),
)
_STEPS = tuple(step for step, _ in _TABLE)
_WEIGHTS = tuple(weight for _, weight in _TABLE)
