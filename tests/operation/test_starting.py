"""Nodes that start together on one new database."""

import threading

import pytest
import sqlalchemy as sa

from idp import app as application
from idp.oauth.model import SigningKey
from idp.storage import migrations
from tests.harness import postgres
from tests.harness.provider import settings_for


@pytest.mark.postgres
def test_nodes_that_start_together_have_one_set_of_keys() -> None:
    with postgres.new_database() as url:
        nodes = [application.assemble(settings_for(url)) for _ in range(3)]
        migrations.upgrade(nodes[0].database)
        together = threading.Barrier(len(nodes))
        rings = []

        def start(number: int) -> None:
            together.wait(20)
            rings.append(application.prepare(nodes[number]))

        threads = [threading.Thread(target=start, args=[number]) for number in range(len(nodes))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with nodes[0].read() as unit:
            found = unit.connection.execute(
                sa.select(SigningKey.alg, SigningKey.state).order_by(
                    SigningKey.alg, SigningKey.state
                )
            ).all()
        expected = [(alg, state) for alg in ("ES256", "RS256") for state in ("active", "next")]
        assert [tuple(row) for row in found] == expected
        assert len({ring.jwks() for ring in rings}) == 1
        token = rings[0].sign("ES256", {"sub": "x"})
        assert all(ring.verify(token, typ=None) == {"sub": "x"} for ring in rings)
        for node in nodes:
            node.database.close()
