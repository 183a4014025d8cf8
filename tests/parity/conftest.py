"""What parity tests share: models of transformers that really compute in float64."""

import pytest
import torch


class OurTables(torch.nn.Module):
    """Our rotary tables in the order of transformers: first halves of heads with second halves."""

    def __init__(self, trunk):
        super().__init__()
        self.cosines, self.sines = trunk.rotary_cosines[:, ::2], trunk.rotary_sines[:, 1::2]

    def forward(self, _, position_ids):
        cosines, sines = self.cosines[position_ids], self.sines[position_ids]
        return torch.cat((cosines, cosines), -1), torch.cat((sines, sines), -1)


def exact_norm(self, x):
    """RMSNorm; that of transformers goes through fp32."""
    return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()


@pytest.fixture
def in_float64(monkeypatch):
    """Return a function that puts our trunk and a model of transformers into float64 in place.

    Both then agree to 1e-10 whatever the kernels of the machine. Transformers keeps two things in
    fp32 all the same: its norm, which is written out here, and its rotary tables, which are
    compared on their own and then taken from our side.
    """

    def convert(trunk, theirs):
        positions = torch.arange(trunk.config.context)[None]
        found = OurTables(trunk)(None, positions)
        # A frequency rounds to 2^-24 of itself and passes through about four operations, so an
        # angle of up to `context` radians is off by context * 2^-22.
        expected = theirs.model.rotary_emb(torch.zeros(1), positions)
        for ours, other in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, other, atol=trunk.config.context * 2**-22, rtol=0)
        trunk.double()
        theirs.double().model.rotary_emb = OurTables(trunk)
        for kind in {type(module) for module in theirs.modules()}:
            if kind.__name__.endswith("RMSNorm"):
                monkeypatch.setattr(kind, "forward", exact_norm)

    return convert
