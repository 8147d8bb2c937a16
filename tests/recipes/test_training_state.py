import torch

from selip_core.recipes.training_state import restore_tensors, state_tensors


def test_another_number_of_gpus_is_told(monkeypatch, caplog):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    tensors = state_tensors(model, optimizer)
    restored = []
    monkeypatch.setattr(
        "torch.cuda.set_rng_state", lambda state, index: restored.append((index, state))
    )

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    restore_tensors(model, optimizer, tensors)
    assert restored == []
    assert "written with 0 GPUs and is resumed with 1" in caplog.text

    caplog.clear()
    restore_tensors(model, optimizer, tensors | {"random.cuda.rank0.0": torch.ones(3)})
    assert [index for index, _ in restored] == [0]
    assert caplog.text == ""
