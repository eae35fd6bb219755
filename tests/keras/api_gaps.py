"""Public names of Keras 3.15 that are still missing, without a decision that they stay so. This list only shrinks.

What is absent on purpose stands with its reason in `gradloom/keras/absent.py`.
"""

GAPS = """
preprocessing.image.smart_resize tree.MAP_TO_NONE
tree.assert_same_paths utils.audio_dataset_from_directory wrappers.SKLearnClassifier wrappers.SKLearnRegressor
wrappers.SKLearnTransformer
""".split()
