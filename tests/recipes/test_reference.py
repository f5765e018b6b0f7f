"""docs/recipes.md: every key of every recipe, as the typed models have it."""

from pathlib import Path

import pytest

from agentgym.recipes import KINDS
from agentgym.recipes.meanings import MEANINGS
from agentgym.recipes.reference import TITLES, meaning_of, render, tables_of

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
MODELS = {model for kind in KINDS.values() for _, model in tables_of(kind.recipe)}


def test_the_page_is_what_the_models_say():
    assert PAGE.read_text(encoding="utf-8") == render(), "python -m agentgym.recipes.reference > docs/recipes.md"


def test_every_kind_of_recipe_is_on_the_page():
    assert set(TITLES) == set(KINDS)


@pytest.mark.parametrize("model", sorted(MODELS, key=lambda model: model.__name__), ids=lambda model: model.__name__)
def test_every_key_has_a_meaning_and_every_meaning_a_key(model):
    assert [key for key in model.model_fields if not meaning_of(model, key)] == []
    assert [key for key in MEANINGS.get(model.__name__, {}) if key not in model.model_fields] == []
