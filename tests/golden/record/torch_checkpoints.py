"""State dicts of a real PyTorch, as it and safetensors save them; test_checkpoint_formats.py reads them without.

    python tests/golden/record/torch_checkpoints.py                    says what would be written, writes nothing
    python tests/golden/record/torch_checkpoints.py --write            writes checkpoints-torch/ if it is missing
    python tests/golden/record/torch_checkpoints.py --write --force    writes it again

Three training steps of two batch norms, the second without gamma and beta; ``expected.json`` has what PyTorch itself
says their values are.
"""

import argparse
import json
import os

GOLDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(GOLDEN, "checkpoints-torch")
CHANNELS = 4


def network(torch):
    """A model after three steps of training on data whose mean and deviation are not those of the start."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, CHANNELS, 3),
        torch.nn.BatchNorm2d(CHANNELS),
        torch.nn.Sequential(torch.nn.BatchNorm2d(CHANNELS, affine=False)),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        loss = (model(torch.randn(8, 3, 7, 7) * 3 + 1) - 1).square().mean() + (model[1].weight - 2).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, optimizer


def saved(folder):
    """Write every file; returns the names."""
    import torch
    from safetensors.torch import save_file

    model, optimizer = network(torch)
    state = model.state_dict()
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in state.items()}
    wrapped = {f"module.{name}": value for name, value in state.items()}
    averaged = {name: value * 0.9 if value.is_floating_point() else value for name, value in state.items()}
    everything = {"epoch": 3, "state_dict": wrapped, "optimizer": optimizer.state_dict()}

    def path(name):
        return os.path.join(folder, name)

    save_file(state, path("plain.safetensors"))
    save_file(half, path("bfloat16.safetensors"))
    torch.save(state, path("plain.pt"))
    torch.save(half, path("bfloat16.pt"))
    torch.save(state, path("old.pt"), _use_new_zipfile_serialization=False)
    torch.save(everything, path("wrapped.pth"))
    torch.save({"generator": state, "discriminator": averaged}, path("two.pt"))
    torch.save({"model": state, "model_ema": averaged}, path("averages.pt"))
    torch.save(model, path("whole.pt"))
    # Exactly, as hexadecimal.
    values = {name: [float(v).hex() for v in value] for name, value in state.items() if value.shape == (CHANNELS,)}
    with open(path("expected.json"), "w", encoding="ascii") as file:
        json.dump({"torch": torch.__version__, "values": values}, file, indent=1, sort_keys=True)
    return sorted(os.listdir(folder))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--force", action="store_true")
    arguments = parser.parse_args()
    if not arguments.write:
        print(f"would write {FOLDER}; add --write")
    elif os.path.exists(FOLDER) and not arguments.force:
        print(f"{FOLDER} is there already; add --force to write it again")
    else:
        os.makedirs(FOLDER, exist_ok=True)
        print(*saved(FOLDER))


if __name__ == "__main__":
    main()
