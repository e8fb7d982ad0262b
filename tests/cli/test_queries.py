"""`idp queries`: searches and reports that are kept under a name."""

from tests.cli.test_cli import Terminal, environment, idp_cli, ready

__all__ = ["environment", "idp_cli", "ready"]


def test_a_query_is_saved_listed_changed_and_removed(ready: Terminal) -> None:
    made = ready.ok("queries", "save", "Phones", "sessions", "device:phone", "country:FR")
    assert made["query"] == "device:phone country:FR"
    assert made["changed_by"] == "cli"
    week = ready.ok("queries", "save", "Week", "usage", "days:7")
    assert ready.ok("queries", "list") == [made, week]
    assert "/admin/reports/usage?q=days%3A7" in ready("queries", "list").out
    changed = ready.ok("queries", "change", week["id"], "--query", "days:30", "--name", "Month")
    assert (changed["name"], changed["query"]) == ("Month", "days:30")
    assert ready.ok("queries", "remove", made["id"], "--yes")["id"] == made["id"]
    assert ready.ok("queries", "list") == [changed]
    assert "There is no colour" in ready.refused("queries", "save", "x", "sessions", "colour:red")
    assert "A kind is one of" in ready.refused("queries", "save", "x", "secrets")
    assert "no such query" in ready.refused("queries", "remove", "qry_none", "--yes")
