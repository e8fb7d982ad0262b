"""A device that asks to be let in, and two people at their browsers."""

from dataclasses import dataclass

from tests.harness.device_app import DeviceApp, device_app, open_code
from tests.harness.provider import Idp
from tests.web.conftest import Somebody
from tests.web.html import Page


@dataclass
class Scene:
    """Alice, whose device it may be, and Mallory, whose it is not."""

    idp: Idp
    device: DeviceApp
    alice: Somebody
    mallory: Somebody

    def open(self, one: Somebody) -> Page:
        """This person types the code of the device."""
        return open_code(one.browser, self.device.user_code)


def somebody(idp: Idp, name: str) -> Somebody:
    user = idp.person(name)
    session = idp.session(user)
    return Somebody(idp, user, session, idp.signed_in_browser(session))


def make_scene(idp: Idp) -> Scene:
    device = device_app(idp)
    device.ask(scope="openid profile")
    return Scene(idp, device, somebody(idp, "alice"), somebody(idp, "mallory"))
