"""The same consent given many times at one moment, as by a double click or two tabs."""

from tests.harness.deployment import Deployment, authorize_path
from tests.harness.load_clients import burst, code_of
from tests.races.conftest import LONGER

ROUNDS = 2 * LONGER


def test_consent_given_in_ten_tabs_at_once_is_remembered_once_and_every_tab_goes_on(
    deployment: Deployment,
) -> None:
    deployment.person("alice")
    for round_ in range(ROUNDS):
        app = deployment.app(f"Stranger {round_}", first_party=0)
        browser = deployment.signed_in("alice")
        forms = []
        for _ in range(10):
            page = browser.get(browser.get(authorize_path(app.flow().parameters())).path())
            forms.append(page.hidden_fields() | {"action": "allow"})

        made = burst(deployment.ports, [browser.posting("/consent", form) for form in forms])

        assert set(made.statuses) == {303}, made.statuses
        onward = [answer.path() for answer in made.answers if answer is not None]
        assert all(code_of(browser.get(path)) for path in onward)
        browser.close()
    assert deployment.scalar("SELECT count(*) FROM consents") == ROUNDS
