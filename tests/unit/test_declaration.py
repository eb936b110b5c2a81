"""A declared catalogue is right or wrong as a whole, and what is wrong is named with its place and a remedy."""

import msgspec
import pytest

from domain.catalog import Kind
from domain.declaration import MOST_DECLARED, Declaration, check_declaration, models_named
from domain.errors import InvalidInput
from domain.limits import MAX_AMOUNT
from domain.response_cache import CachePolicy
from domain.semantic_cache import SemanticPolicy
from tests.declaring import NOW, declaration, deployment, limits, route

KNOWN: dict[str, Kind] = {"gpt-4o": "chat", "o3": "chat", "embed": "embedding"}
PROVIDERS = frozenset({"openai", "groq"})


def check(declared: Declaration, kept: Declaration | None = None) -> None:
    check_declaration(declared, kept or Declaration(), KNOWN, PROVIDERS)


def similar(embedding_model: str) -> CachePolicy:
    return CachePolicy(ttl_s=60, semantic=SemanticPolicy(embedding_model=embedding_model, threshold=0.9))


def test_what_fits_together_is_taken() -> None:
    check(
        declaration(
            deployment("eu", provider="groq", priority=-1, region="eu", base_url="http://127.0.0.1:8000/v1"),
            route("fast", "eu", fallback_models=("o3", "slow"), cache=CachePolicy(ttl_s=60)),
            route("slow", "eu"),
            deployment("vectors", model="embed"),
            route("near", "eu", cache=similar("embed")),
            route("nearer", "eu", cache=similar("vectors-anywhere")),
            route("vectors-anywhere", "vectors"),
            limits("model", "fast"),
            limits("model", "o3", tokens_per_day=0),
            limits("key", "*", spend_per_day_nanos=MAX_AMOUNT),
            limits("account", "0197f0c2"),
        )
    )


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        (declaration(deployment("a"), deployment("a")), "deployments[1] (a): 'a' is there twice"),
        (declaration(deployment("a"), deployment("b", model="x")), "deployments[1] (b).model: 'x' is not in the"),
        (declaration(deployment("a", provider="azure")), "deployments[0] (a).provider: 'azure' is not known (there"),
        (declaration(deployment("a", upstream_model="a\0")), "deployments[0] (a).upstream_model: a name has"),
        (declaration(deployment("a", region="\n")), "deployments[0] (a).region: a name has"),
        (
            declaration(deployment("a", base_url="http://10.0.0.5/v1")),
            "deployments[0] (a).base_url: keys and prompts are sent over https",
        ),
        (declaration(deployment("a", priority=10**9)), "deployments[0] (a).priority: 1000000000 is out of bounds"),
        (declaration(deployment("a b")), "deployments[0] (a b): a name has 1 to 128"),
        (declaration(deployment("a"), route("r", "a"), route("s", "b")), "routes[1] (s).deployments[0]: there is no"),
        (declaration(deployment("a"), route("r", "a"), route("r", "a")), "routes[1] (r): 'r' is there twice"),
        (
            declaration(
                deployment("a"), route("r", "a", fallback_models=("s",)), route("s", "a", fallback_models=("r",))
            ),
            "its fallbacks lead back to it",
        ),
        (
            declaration(deployment("a"), route("r", "a", cache=similar("embedd"))),
            "routes[0] (r).cache.semantic.embedding_model: 'embedd' is neither a model nor a route",
        ),
        (
            declaration(deployment("a"), route("r", "a", cache=similar("o3"))),
            "routes[0] (r).cache.semantic.embedding_model: 'o3' makes no embeddings",
        ),
        (
            declaration(
                deployment("a"),
                deployment("e", model="embed"),
                route("r", "a", cache=similar("s")),
                route("s", "a", "e"),
            ),
            "routes[0] (r).cache.semantic.embedding_model: 's' makes no embeddings",
        ),
        (declaration(limits(), limits()), "limits[1] (key:*): 'key:*' is there twice"),
        (declaration(limits("model", "x")), "limits[0] (model:x).subject: 'x' is neither a model nor a route"),
        (declaration(limits("key", "")), "limits[0] (key:).subject: it is an id or a name"),
        (declaration(limits(concurrent=None)), "limits[0] (key:*): it limits nothing"),
        (declaration(limits(concurrent=-1)), "limits[0] (key:*).concurrent: -1 is out of bounds"),
        (declaration(limits(tokens_per_day=MAX_AMOUNT + 1)), "limits[0] (key:*).tokens_per_day:"),
    ],
)
def test_what_does_not_fit_is_refused_by_number_name_and_remedy(declared: Declaration, complaint: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check(declared)

    assert complaint in str(refusal.value)
    assert refusal.value.field is not None
    assert refusal.value.field.split("[")[0] in ("deployments", "routes", "limits")


def test_the_place_is_one_that_a_pointer_can_name() -> None:
    with pytest.raises(InvalidInput) as refusal:
        check(declaration(deployment("a"), route("r", "a"), route("s", "b")))

    assert refusal.value.field == "routes[1].deployments[0]"


def test_a_key_in_place_of_its_name_is_not_repeated() -> None:
    with pytest.raises(InvalidInput, match="is never the key itself") as refusal:
        check(declaration(deployment("a", key_ref="sk-proj-hunter2")))

    assert "hunter2" not in str(refusal.value)


def test_what_others_declared_is_part_of_the_whole() -> None:
    kept = declaration(deployment("theirs"), route("r", "theirs", fallback_models=("s",)))

    with pytest.raises(InvalidInput, match="neither a route nor a model"):
        check(declaration(), kept)
    check(declaration(route("s", "theirs")), kept)
    assert models_named(kept) == {"gpt-4o", "s"}


def test_the_route_that_others_embed_with_cannot_be_taken_away() -> None:
    kept = declaration(deployment("theirs"), route("r", "theirs", cache=similar("vectors")))

    check(declaration(deployment("e", model="embed"), route("vectors", "e")), kept)
    with pytest.raises(InvalidInput, match="'vectors' is neither a model nor a route"):
        check(declaration(), kept)
    assert models_named(kept) == {"gpt-4o", "vectors"}


def test_no_more_is_declared_than_one_message_can_name() -> None:
    with pytest.raises(InvalidInput, match=f"at most {MOST_DECLARED}"):
        check(declaration(*(limits("key", f"k{number}") for number in range(MOST_DECLARED + 1))))


def test_a_digest_is_of_what_is_said_and_not_of_when() -> None:
    told = declaration(deployment("a"), limits())
    later = msgspec.structs.replace(told, limits=(msgspec.structs.replace(told.limits[0], at=NOW.replace(year=2027)),))

    assert told.digest == later.digest != declaration(deployment("a")).digest
    assert declaration().digest == ""
