from __future__ import annotations

import torch

from purchasepath.models.heads import NextItemHead, PointHead


def test_item_scores_are_dot_products_plus_bias_and_special_ids_are_never_chosen() -> None:
    head = NextItemHead(6)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([9.0, 9.0, 9.0, 0.5, 0.0, -0.5]))
    item_ID = torch.arange(12.0).view(6, 2)
    hidden_ND = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    expected = torch.tensor([[6.5, 8.0, 9.5], [14.5, 18.0, 21.5]])
    scores_NI = head(hidden_ND, item_ID)
    assert torch.isneginf(scores_NI[:, :3]).all()
    torch.testing.assert_close(scores_NI[:, 3:], expected)


def test_scores_of_blocks_of_items_are_the_columns_of_all_scores() -> None:
    torch.manual_seed(0)
    head = NextItemHead(11)
    torch.nn.init.normal_(head.bias)
    item_ID, hidden_ND = torch.randn(11, 4), torch.randn(5, 4)
    whole_NI = head(hidden_ND, item_ID)
    blocks = [head(hidden_ND, item_ID[start : start + 2], start) for start in range(0, 11, 2)]
    torch.testing.assert_close(torch.cat(blocks, dim=1), whole_NI)


def test_special_ids_get_no_gradient_from_the_head() -> None:
    head = NextItemHead(6)
    scores_NI = head(torch.randn(4, 2), torch.randn(6, 2))
    torch.nn.functional.cross_entropy(scores_NI, torch.tensor([3, 4, 5, 3])).backward()
    assert head.bias.grad is not None
    assert torch.equal(head.bias.grad[:3], torch.zeros(3))
    assert torch.isfinite(head.bias.grad).all()


def test_the_purchase_head_starts_as_a_logistic_regression_at_zero() -> None:
    head = PointHead(width=4, num_features=3, dropout=0.0)
    head.start_at_zero()
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[0.0, 1.0, -2.0, 0.5]]))
        head.linear.bias.fill_(0.25)
    features_PF = torch.tensor([[1.0, 1.0, 2.0], [0.0, -1.0, 0.0]])
    logit_P = head(torch.randn(2, 4), torch.tensor([3.0, 8.0]), features_PF)
    torch.testing.assert_close(logit_P, torch.tensor([0.25 + 1 - 2 + 1, 0.25 + 2]))
