"""Every field of every golden child is ours right after we applied it: else each resync would apply it again."""

from mooring_operator.api import names
from mooring_operator.cluster import kinds
from mooring_operator.cluster.kube import APPLY, Call
from mooring_operator.cluster.ownership import fields_of, owns
from mooring_operator.facts import Manifest
from tests.cluster.cluster import Cluster
from tests.support import foreign, golden
from tests.support.world import World


async def test_what_was_applied_is_ours(world: World, control_plane: Cluster) -> None:
    with foreign.definitions(control_plane):
        lost = [
            (case, child["kind"], child["metadata"]["name"])
            for case in golden.case_names()
            for child in golden.case(case, world.namespace).children()
            if not owns(child, fields_of(await applied(world, child), names.FIELD_MANAGER))
        ]
    assert lost == []


async def applied(world: World, child: Manifest) -> Manifest:
    """What the API server would store."""
    path = kinds.CHILD_BY_KIND[child["kind"]].path(world.namespace, child["metadata"]["name"])
    query = (("fieldManager", names.FIELD_MANAGER), ("dryRun", "All"))
    return await world.kube.call(Call("apply", "PATCH", path, query, child, APPLY))
