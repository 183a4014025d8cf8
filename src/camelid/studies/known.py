"""What `camelid study` knows by name."""

from camelid.plan import Recipe
from camelid.studies.attention import attention
from camelid.studies.context import context

STUDIES: dict[str, Recipe] = {"attention": attention, "context": context}
