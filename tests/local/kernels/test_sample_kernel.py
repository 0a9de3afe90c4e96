"""The sampling kernels against PyTorch."""

import torch


def settings_of(device, rows):
    """temperature, top_p, top_k, min_p, seed and index of each row, as tensors."""
    columns = zip(*rows, strict=True)
    kinds = (torch.float32, torch.float32, torch.int32, torch.float32, torch.int64, torch.int64)
    return [torch.tensor(column, dtype=kind, device=device) for column, kind in zip(columns, kinds, strict=True)]


ROWS = [
    (1.0, 0.9, 0, 0.0, 1, 9),
    (0.0, 0.5, 0, 0.0, 2, 8),  # greedy
    (1.3, 1.0, 40, 0.0, 2**62, 7),
    (1.0, 0.8, 300, 0.0, -4, 6),
    (1.0, 1.0, 0, 0.0, 5, 5),  # no filter
    (0.7, 0.95, 20, 0.01, 6, 4),
    (1.0, 1.0, 1, 0.0, 7, 3),  # greedy
    (1.0, 1.0, 0, 0.05, 8, 2),
]


def edges(plain, scores, row):
    """The cumulative distribution of the kept tokens of one row, and its number."""
    temperature, *_, seed, index = row
    scaled = scores.double() / temperature
    chances = (scaled - scaled.max()).exp().float()[None]
    cut = plain.cutoffs(chances, *settings_of(scores.device, [row])[1:4])
    mass = torch.where(chances >= cut, chances, 0.0)[0].double().cumsum(0)
    return mass / mass[-1], plain.uniform(seed, index)


def test_tokens_are_those_of_pytorch_up_to_rounding_at_an_edge(part, device):
    plain, kernel = part("ops.sample"), part("kernels.sample")
    for scale, chunk in ((3.0, 256), (0.5, 1024)):
        scores = scale * torch.randn(8, 400, generator=torch.Generator().manual_seed(0)).to(device)
        settings = settings_of(device, ROWS)
        actual = kernel.sample(scores, *settings, chunk=chunk).tolist()
        expected = plain.sample.reference(scores, *settings).tolist()
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            if a != b:
                shares, number = edges(plain, scores[i], ROWS[i])
                assert shares[max(a - 1, 0)] - 1e-4 <= number <= shares[a] + 1e-4, (i, a, b)


def test_a_sequence_is_sampled_alone_as_in_a_batch(part, device):
    kernel = part("kernels.sample")
    scores = 2 * torch.randn(8, 200, generator=torch.Generator().manual_seed(1)).to(device)
    together = kernel.sample(scores, *settings_of(device, ROWS), chunk=128).tolist()
    for i in (0, 3):
        assert kernel.sample(scores[i : i + 1], *settings_of(device, ROWS[i : i + 1]), chunk=128).tolist() == [
            together[i]
        ]


def test_greedy_rows_take_the_lowest_of_equal_ids(part, device):
    kernel = part("kernels.sample")
    scores = torch.zeros(2, 700, device=device)
    scores[0, [31, 300, 600]] = 1.0
    scores[1, 699] = 2.0
    rows = settings_of(device, [(0.0, 0.9, 0, 0.0, 1, 1)] * 2)
    assert kernel.sample(scores, *rows, chunk=256).tolist() == [31, 699]
    assert kernel.argmax(scores, chunk=256).tolist() == [31, 699]


def test_logits_that_are_not_finite_give_no_token(part, device):
    kernel = part("kernels.sample")
    scores = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).to(device)
    scores[0, 7] = torch.nan
    scores[1] = -torch.inf
    scores[2, 9] = torch.inf
    for temperature in (0.0, 1.0):
        tokens = kernel.sample(scores, *settings_of(device, [(temperature, 0.9, 5, 0.0, 0, 0)] * 4)).tolist()
        assert tokens[:3] == [-1, -1, -1]
        assert tokens[3] >= 0
    tokens = kernel.argmax(scores).tolist()
    assert tokens[:3] == [-1, -1, -1]
    assert tokens[3] == scores[3].argmax()


def test_tokens_of_zero_probability_are_never_sampled(part, device):
    kernel = part("kernels.sample")
    scores = torch.full((3, 300), -torch.inf, device=device)
    scores[:, [3, 299]] = 0.0
    rows = [(1.0, top_p, top_k, 0.0, seed, 0) for top_p, top_k in ((1.0, 0), (0.99, 0), (1.0, 50)) for seed in (1,)]
    assert set(kernel.sample(scores, *settings_of(device, rows), chunk=128).tolist()) <= {3, 299}


def test_tokens_come_as_often_as_they_are_likely(part, device):
    kernel = part("kernels.sample")
    count = 20000 if device.type == "cuda" else 100
    scores = torch.tensor([[0.0, -1.0, 1.0, -2.0, 0.5]], device=device)
    rows = settings_of(device, [(1.0, 1.0, 0, 0.0, seed, 3) for seed in range(count)])
    tokens = kernel.sample(scores.expand(count, -1).contiguous(), *rows)
    expected = scores[0].softmax(-1) * count
    square = ((torch.bincount(tokens, minlength=5) - expected).square() / expected).sum()
    assert square < 23.5  # chi-square of 4 degrees of freedom: one in ten thousand
