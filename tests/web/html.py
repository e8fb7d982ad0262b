"""Reading pages as a browser without scripts does: forms, fields, ids, text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

from httpx2 import Response
from starlette.testclient import TestClient

_VOID = frozenset({"input", "meta", "link", "br", "img", "hr"})
_UNSEEN = frozenset({"script", "style", "title"})


@dataclass
class Form:
    """A form, its fields with their values, and its buttons as (id, name, value)."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class Element:
    """A start tag: what is asked of pages is mostly asked of single elements."""

    tag: str
    attributes: dict[str, str]


class Page(HTMLParser):
    """A parsed page."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.elements: list[Element] = []
        self._texts: list[str] = []
        self._open: list[str] = []
        assert response.headers["content-type"].startswith("text/html"), response.text
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append(Element(tag, attributes))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "form":
            self.forms.append(Form(attributes["action"], attributes.get("method", "get")))
        if not self.forms or "form" not in self._open or "form" in attributes:
            return
        is_left_out = attributes.get("type") == "checkbox" or (
            attributes.get("type") == "radio" and "checked" not in attributes
        )
        if tag == "input" and not is_left_out and "name" in attributes:
            self.forms[-1].fields[attributes["name"]] = attributes.get("value", "")
        if tag == "button":
            self.forms[-1].buttons.append(
                (attributes.get("id", ""), attributes.get("name", ""), attributes.get("value", ""))
            )

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not _UNSEEN.intersection(self._open):
            self._texts.append(data)

    @property
    def text(self) -> str:
        """What can be read on the page, with single spaces."""
        return " ".join("".join(self._texts).split())

    def element(self, element_id: str) -> Element:
        """The one element with this id."""
        (found,) = [one for one in self.elements if one.attributes.get("id") == element_id]
        return found

    def has(self, element_id: str) -> bool:
        return any(one.attributes.get("id") == element_id for one in self.elements)

    def form(self, *, button: str = "", action: str = "") -> Form:
        """The form with the button of this id, or with this action."""
        found = [
            form
            for form in self.forms
            if (not action or form.action == action)
            and (not button or any(one[0] == button for one in form.buttons))
        ]
        assert found, f"no form with {button or action}"
        return found[0]

    def press(self, browser: TestClient, button: str, **typed: str) -> Response:
        """Sends the form of a button, with what was typed into its fields."""
        form = self.form(button=button)
        (pressed,) = [one for one in form.buttons if one[0] == button]
        values = form.fields | typed
        if pressed[1]:
            values[pressed[1]] = pressed[2]
        return browser.post(form.action, data=values)
