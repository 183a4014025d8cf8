"""Studies: a function each that returns a plan of several variants, trained alike and compared."""

from camelid.plan import Recipe
from camelid.studies.attention import attention
from camelid.studies.context import context

STUDIES: dict[str, Recipe] = {"attention": attention, "context": context}
"""What `camelid study` knows by name."""
