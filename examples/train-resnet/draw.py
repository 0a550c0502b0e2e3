"""Draw an ImageFolder tree: coloured shapes on noise, one folder per class; nothing is downloaded."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle", "cross")
SIDE = 32


def draw(shape: str, dice: random.Random) -> Image.Image:
    """One 32 × 32 RGB picture of ``shape`` at a random place, size and colour."""
    noise = bytes(dice.randrange(0, 70) for _ in range(SIDE * SIDE * 3))
    picture = Image.frombytes("RGB", (SIDE, SIDE), noise)
    pen = ImageDraw.Draw(picture)
    radius = dice.randint(8, 12)
    x, y = (dice.randint(radius + 1, SIDE - radius - 2) for _ in range(2))
    colour = tuple(dice.randint(140, 255) for _ in range(3))
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    else:
        pen.line((x - radius, y, x + radius, y), fill=colour, width=5)
        pen.line((x, y - radius, x, y + radius), fill=colour, width=5)
    return picture


def main() -> None:
    """Write ``train/<class>/*.png`` and ``val/<class>/*.png``; a finished tree is left as it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--train", type=int, default=840, help="pictures to train on")
    parser.add_argument("--val", type=int, default=200, help="pictures to judge by")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    drawn = 0
    for split, count in (("train", options.train), ("val", options.val)):
        for number in range(count):
            shape = CLASSES[number % len(CLASSES)]
            target = options.out / split / shape / f"{number:05}.png"
            picture = draw(shape, dice)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                picture.save(target)
                drawn += 1
    print(f"{options.out}: {options.train + options.val} pictures, {drawn} of them drawn now")


if __name__ == "__main__":
    main()
