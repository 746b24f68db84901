"""A trained network that others begin with: what is known of it before any network is built."""

import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class ParentNetwork:
    """A network with trained weights.

    Attributes:
        name: what messages call it.
        architecture: of its family.
        style: dict of the fields of the family's `Scale` that its weights decide, such as activation, padding, epsilon.
        digest: SHA-256 of its weights, or what else tells them from others.
        load: `load(model)` puts its weights into a `keras.Model` of its architecture and style, at any image size. A
            classifier of other classes is left as it is. It returns in words which weights these are.
        class_names: what its classifier tells apart; None: not known, or of no interest.
        published_path: of the file of weights, if it is a published network with its published weights; else empty.
    """

    name: str
    architecture: object
    style: dict
    digest: str
    load: typing.Callable
    class_names: tuple[str, ...] | None = None
    published_path: str = ""

    def facts(self):
        """Returns a JSON-ready dict of which network it is."""
        return {
            "parent": self.name,
            "parent_digest": self.digest,
            "parent_architecture": str(self.architecture),
        }

    def scale(self, scale):
        """Returns a family's `Scale` in the parent's style."""
        return dataclasses.replace(scale, **self.style)

    def build(self, space, scale):
        """Returns the `keras.Model` of the parent with its weights, at `scale` in its own style."""
        model = space.build(self.architecture, self.scale(scale))
        self.load(model)
        return model
