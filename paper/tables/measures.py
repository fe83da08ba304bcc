# %% [markdown]
# # Every measure of every method
#
# One table for each data set and block of measures: as published, then the faithfulness measures in
# the order of docs/measures.md, which says how to read each and how it can mislead. Numbers of one
# column may be compared within a data set and a track only.

# %% tags=["parameters"]
NEEDS = {"table": {"stage": "measures", "files": ["table.csv"]}}

# %%

from paper import blocks, table
from paper.given import given

name, title, scale, out, inputs = given()

found = blocks.entries(table.read(inputs["table"][0]))
blocks.save(found, out, name, title)
