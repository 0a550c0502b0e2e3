"""A small residual network on an ImageFolder tree; on one process, or on many under torchrun.

Checkpoints are written whole or not at all, and ``--resume`` continues from the last one with the same
weights, optimiser, schedule and data order as a run that was never interrupted.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel


class Block(nn.Module):
    """Two 3 × 3 convolutions around a shortcut; GroupNorm, so that ranks need not agree on statistics."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(8, outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, outside)
        self.shortcut = (
            nn.Identity() if inside == outside and stride == 1 else nn.Conv2d(inside, outside, 1, stride)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inside, H, W) to (N, outside, H / stride, W / stride)."""
        y = functional.relu(self.norm1(self.first(x)))
        return functional.relu(self.norm2(self.second(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """(N, 3, 32, 32) to (N, classes); 78 thousand parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(128, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        features = self.blocks(functional.relu(self.stem(x)))
        return self.head(torch.cat((features.mean((2, 3)), features.amax((2, 3))), 1))


def load(folder: Path) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """An ImageFolder split as (pictures N × 3 × 32 × 32 in [-1, 1], labels N, class names)."""
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    pictures, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("*.png")):
            pictures.append(np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 127.5 - 1)
            labels.append(label)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(labels), classes


def save(path: Path, state: dict[str, object]) -> None:
    """Write a checkpoint under another name, sync it, rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@torch.no_grad()
def judge(model: nn.Module, pictures: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of pictures named rightly."""
    model.eval()
    hits = sum(
        int((model(pictures[i : i + 200]).argmax(1) == labels[i : i + 200]).sum())
        for i in range(0, len(labels), 200)
    )
    model.train()
    return hits / len(labels)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=20, help="pictures per step, over all ranks")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint, if any")
    return parser.parse_args()


def main() -> None:
    """Train, judge after each epoch, keep the last checkpoint."""
    options = read_options()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu"
    )
    if world > 1:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    # so small a network gains little from threads, and waits long for them on a busy computer
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures, labels, classes = load(options.data / "train")
    checks, answers, _ = load(options.data / "val")
    pictures, labels, checks, answers = (t.to(device) for t in (pictures, labels, checks, answers))

    model: nn.Module = ResNet(len(classes)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.5)
    checkpoint = options.out / "checkpoint.pt"
    first = 0
    if options.resume and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
        print(f"resumed after epoch {first}", flush=True)
    network = DistributedDataParallel(model) if world > 1 else model
    if rank == 0:
        where = f"{world} ranks" if world > 1 else "1 process"
        print(f"{len(labels)} pictures, {len(classes)} classes, {where} on {device}", flush=True)

    for epoch in range(first, options.epochs):
        began, total = time.monotonic(), 0.0
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch))
        steps = len(order) // options.batch
        for step in range(steps):
            batch = order[step * options.batch : (step + 1) * options.batch][rank::world]
            loss = functional.cross_entropy(network(pictures[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
        schedule.step()
        if rank == 0:
            accuracy = judge(model, checks, answers)
            seconds = time.monotonic() - began
            print(
                f"epoch {epoch + 1}/{options.epochs}   loss {total / steps:.3f}   accuracy {accuracy:.2f}"
                f"   {seconds:.1f} s",
                flush=True,
            )
            state = {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch + 1,
                "accuracy": accuracy,
            }
            save(checkpoint, state)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
