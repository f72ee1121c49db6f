"""Build networks for transfer learning from ImageNet, by keras.applications."""

from __future__ import annotations

import keras

_BACKBONES = {
    "resnet50": keras.applications.ResNet50,
    "vgg16": keras.applications.VGG16,
    "inceptionv3": keras.applications.InceptionV3,
}
# Inception takes -1…1; its input here is -127.5…127.5.
_SCALES = {"inceptionv3": 1 / 127.5}


def build(name: str, side: int, classes: int, dropout: float, imagenet: bool) -> keras.Model:
    """Builds a network, see `Architecture.build`.

    All layers are in one flat model, with Keras's names, so that weights can be assigned by name.
    """
    image = keras.Input((side, side, 3))
    scaled = keras.layers.Rescaling(_SCALES[name], name="scale")(image) if name in _SCALES else image
    backbone = _BACKBONES[name](
        include_top=False, weights="imagenet" if imagenet else None, input_tensor=scaled, pooling="avg"
    )
    x = keras.layers.Dropout(dropout, name="dropout")(backbone.output)
    x = keras.layers.Dense(classes, name="labels")(x)
    return keras.Model(image, keras.layers.Softmax(dtype="float32", name="probabilities")(x), name=name)
