# %% [markdown]
# # The other data sets
#
# Latent score (accuracy or AUROC), FID of unconditional samples and rFID of samples decoded from
# the codes of test images. FD-cls and rFD-cls are the same distances in the features of the data
# set's own small classifier.

# %% tags=["parameters"]
NEEDS = {
    "table": {"stage": "measures", "files": ["table.csv"]},
    # a study of CelebA alone makes no such table
    "about": {"stage": "data", "dataset": ["*", "-celeba"], "files": ["meta.json"]},
}

# %%

from paper import table
from paper.given import given

name, title, scale, out, inputs = given()

measured = table.read(inputs["table"][0])
found = table.entries(measured[measured["dataset"] != "celeba"],
                      ["latent_score", "fid", "rfid", "fd_cls", "rfd_cls"])
table.save(found, out, name, title)
