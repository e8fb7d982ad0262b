"""/admin/rules: what holds while the product runs, in words; changed only after a look at whom it hits.

A form first says who would be affected now, and is saved from that page; what was changed since is
looked at again. Of two who change one rule at once the later is shown both. What nobody may do to
themselves by mistake, the API refuses.
"""

from typing import Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from idp import ids
from idp.admin import rules
from idp.admin.answering import dumped, tag_of
from idp.console import names, rooms, rule_forms
from idp.console.people import query, role_choices
from idp.console.rooms import Done
from idp.console.rule_forms import FIELDS
from idp.errors import Refused
from idp.policy import selection
from idp.users.rules import KINDS, rule_id, selectors_for, unfit
from idp.web.http import PageRequest, WebContext
from idp.web.security import instant
from idp.web.visitor import Visitor

PATH = f"{rooms.ADMIN}/rules"
_ONE = f"{PATH}/{{id}}"


def routes(context: WebContext) -> list[Route]:
    """/admin/rules, /admin/rules/new, /admin/rules/{id} and …/remove"""
    return [
        rooms.room(context, PATH, "rules:read", {"GET": show_all}),
        rooms.room(context, f"{PATH}/new", "rules:write", {"GET": ask_new, "POST": create}),
        rooms.room(context, _ONE, "rules:read", {"GET": ask_change}),
        rooms.form(context, f"{_ONE}/change", "rules:write", change, on=_ONE),
        rooms.room(context, f"{_ONE}/remove", "rules:write", {"GET": ask_removal, "POST": remove}),
    ]


def show_all(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/rules"""
    found = rooms.carry_out(context, visitor, rules.list_rules).found.items
    with context.work.read() as unit:
        people = names.of_people(unit, rooms.rights(visitor), [one.changed_by for one in found])
        apps = names.of_apps(unit, [one.applies_to.get("client") for one in found])
    return rooms.page(
        context,
        request,
        visitor,
        "rules.html",
        kinds=KINDS,
        by_kind={kind: [one for one in found if one.kind == kind] for kind in KINDS},
        fields=FIELDS,
        shown=_shown,
        unfit=unfit(found),
        people=people,
        apps=apps,
        is_changed=instant(request.query.get("done")) > 0,
    )


def ask_new(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/rules/new?kind=timeouts"""
    return _form(context, request, visitor, _kind(query(request, "kind")), None, {})


def create(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/rules/new: a look at whom it would hit, or saving what was looked at."""
    kind = _kind(request.form.get("kind", ""))
    held = _held(context, request, visitor, rules.create_rule)
    if held is not None:
        return held
    try:
        value, applies_to = _proposed(kind, request)
        found = _simulated(context, visitor, kind, applies_to, value)
        if not _is_confirmed(request, kind, applies_to, value):
            return _form(context, request, visitor, kind, None, request.form, found=found)
        if not _reason(request):
            return _without_reason(context, request, visitor, kind, None, found)
        said = {"kind": kind, "applies_to": applies_to, "value": value, "reason": _reason(request)}
        new = rooms.taken(rules.NewRule, said)
        done = rooms.carry_out(
            context, visitor, rules.create_rule, new, key=request.form.get("key")
        )
    except Refused as refused:
        standing = None
        if refused.code == "rule_exists":
            # There is one for the same people: it is changed instead, or left.
            per = value.get("per")
            existing = rule_id(kind, applies_to, per if isinstance(per, str) else None)
            standing = rooms.carry_out(context, visitor, rules.get_rule, id=existing).found
        return _form(context, request, visitor, kind, standing, request.form, problem=refused)
    return _saved(done)


def ask_change(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/rules/{id}"""
    rule = _rule(context, request, visitor)
    fields = rule_forms.fields_of(rule.kind, rule.value, rule.applies_to)
    return _form(context, request, visitor, rule.kind, rule, fields)


def change(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/rules/{id}/change"""
    held = _held(context, request, visitor, rules.change_rule)
    if held is not None:
        return held
    rule = _rule(context, request, visitor)
    try:
        value, _ = _proposed(rule.kind, request)
        found = _simulated(context, visitor, rule.kind, rule.applies_to, value)
        if not _is_confirmed(request, rule.kind, rule.applies_to, value):
            return _form(context, request, visitor, rule.kind, rule, request.form, found=found)
        if not _reason(request):
            return _without_reason(context, request, visitor, rule.kind, rule, found)
        wanted = rooms.taken(rules.RuleValue, {"value": value, "reason": _reason(request)})
        done = rooms.carry_out(
            context, visitor, rules.change_rule, wanted, match=request.form.get("tag"), id=rule.id
        )
    except Refused as refused:
        return _form(context, request, visitor, rule.kind, rule, request.form, problem=refused)
    return _saved(done)


def ask_removal(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """GET /admin/rules/{id}/remove"""
    return _removal(context, request, visitor)


def remove(context: WebContext, request: PageRequest, visitor: Visitor) -> Response:
    """POST /admin/rules/{id}/remove"""
    held = rooms.prove(context, request, visitor, rules.remove_rule)
    if held is not None:
        return held
    try:
        removal = rooms.taken(rules.Removal, {"reason": _reason(request)})
        done = rooms.carry_out(
            context,
            visitor,
            rules.remove_rule,
            removal,
            match=request.form.get("tag"),
            id=request.params["id"],
        )
    except Refused as refused:
        if refused.code == "rule_not_found":
            raise
        return _removal(context, request, visitor, refused)
    return _saved(done)


def _held(
    context: WebContext, request: PageRequest, visitor: Visitor, act: rooms.Act
) -> Response | None:
    """The proof is asked for before saving; a look needs none."""
    if request.form.get("act") != "save":
        return None
    return rooms.prove(context, request, visitor, act)


def _without_reason(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    kind: str,
    rule: rules.Rule | None,
    found: rules.Simulation,
) -> Response:
    """What was looked at, once more: only the reason is missing."""
    problem = Refused("invalid_field", "Please fill in “reason”.", 400)
    return _form(context, request, visitor, kind, rule, request.form, found=found, problem=problem)


def _reason(request: PageRequest) -> str:
    return request.form.get("reason", "").strip()


def _saved(done: Done) -> Response:
    return RedirectResponse(f"{PATH}?done={done.at}#{done.found.kind}", 303)


def _kind(text: str) -> str:
    if text not in FIELDS:
        raise rooms.nothing_here()
    return text


def _rule(context: WebContext, request: PageRequest, visitor: Visitor) -> rules.Rule:
    found: rules.Rule = rooms.carry_out(
        context, visitor, rules.get_rule, id=request.params["id"]
    ).found
    if found.kind not in FIELDS:
        raise rooms.nothing_here()  # of a newer version
    return found


def _proposed(kind: str, request: PageRequest) -> tuple[dict[str, Any], dict[str, str]]:
    return rule_forms.value_of(kind, request.form), rule_forms.selectors_of(request.form)


def _simulated(
    context: WebContext,
    visitor: Visitor,
    kind: str,
    applies_to: dict[str, str],
    value: dict[str, Any] | None,
    *,
    per: str | None = None,
) -> rules.Simulation:
    said = {"kind": kind, "applies_to": applies_to, "value": value, "per": per}
    asked = rooms.taken(rules.Proposal, said)
    found: rules.Simulation = rooms.carry_out(context, visitor, rules.simulate, asked).found
    return found


def _is_confirmed(
    request: PageRequest, kind: str, applies_to: dict[str, str], value: dict[str, Any]
) -> bool:
    """Whether this very rule was looked at before it is saved."""
    seen = request.form.get("seen")
    return request.form.get("act") == "save" and seen == _digest(kind, applies_to, value)


def _digest(kind: str, applies_to: dict[str, str], value: dict[str, Any]) -> str:
    return ids.digest(repr((kind, sorted(applies_to.items()), sorted(value.items()))))[:16]


def _shown(rule: rules.Rule) -> dict[str, str]:
    return rule_forms.fields_of(rule.kind, rule.value, {})


def _form(
    context: WebContext,
    request: PageRequest,
    visitor: Visitor,
    kind: str,
    rule: rules.Rule | None,
    typed: Any,
    *,
    found: rules.Simulation | None = None,
    problem: Refused | None = None,
) -> Response:
    is_conflict = problem is not None and problem.code in ("precondition_failed", "rule_exists")
    made_from = request.form.get("tag") if not is_conflict else None
    seen = None
    if found is not None:
        value, said = _proposed(kind, request)
        seen = _digest(kind, rule.applies_to if rule is not None else said, value)
    return rooms.page(
        context,
        request,
        visitor,
        "rule.html",
        status=problem.status if problem is not None else 200,
        kind=kind,
        fields=FIELDS[kind],
        rule=rule,
        shown=_shown,
        typed=typed,
        tag=made_from or (tag_of(dumped(rule)) if rule is not None else ""),
        key=request.form.get("key") or rooms.new_key(),
        found=found,
        seen=seen,
        is_conflict=is_conflict,
        selectors=selectors_for(kind),
        device_types=selection.DEVICE_TYPES,
        choices=role_choices(context, visitor),
        problem=problem.sentence if problem is not None else None,
    )


def _removal(
    context: WebContext, request: PageRequest, visitor: Visitor, problem: Refused | None = None
) -> Response:
    rule = _rule(context, request, visitor)
    return rooms.page(
        context,
        request,
        visitor,
        "rule_remove.html",
        status=problem.status if problem is not None else 200,
        rule=rule,
        fields=FIELDS[rule.kind],
        shown=_shown,
        tag=tag_of(dumped(rule)),
        found=_simulated(
            context, visitor, rule.kind, rule.applies_to, None, per=rule.value.get("per")
        ),
        typed=request.form,
        problem=problem.sentence if problem is not None else None,
    )
