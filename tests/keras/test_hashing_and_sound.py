"""Hashes give TensorFlow's bins; spectrograms are NumPy's Fourier transforms."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom import keras
from gradloom.keras import layers
from gradloom.keras.layers.fingerprints import fingerprint, joined, keyed

# of TensorFlow 2.21: text, to_hash_bucket_fast and to_hash_bucket_strong with key (133, 137), modulo 2**40 + 7
BINS = [
    ("",
     254130001513, 469353404575),
    ("a",
     436777554197, 1018036201870),
    ("ab",
     353227753244, 348287636434),
    ("abcd",
     954714238451, 320824361872),
    ("hello",
     726592403877, 562018154463),
    ("omar",
     1025456028911, 290169079357),
    ("stringer",
     973689473329, 1032515425482),
    ("marlo",
     175954305807, 414001663415),
    ("wire",
     794436569772, 692317480527),
    ("ec do",
     404346030448, 583312510829),
    ("nolgdoal",
     171606794399, 978651887707),
    ("amdfidjpmpgiioplb",
     277709350254, 651240645471),
    ("ahalebfnpmhpnhpaljmbiegbicciifm ",
     1034198957055, 316710952622),
    ("eabgnfpblgkdgmgodlipoajliafgjejmg d",
     145894477346, 554679305234),
    ("hllfo jh haljmh gcfne npfeenkilhdgicdhljodfbbagbopnj dfdhlhonl",
     810866486975, 974394997246),
    ("fhhinlgn jodgcbaaojliglfeaalebl ecniabbpeb dmcgaoe gnlj  hhbfkmpb",
     986253505037, 932887741843),
    ("kmgmc c fdebgmbbcpopkdjbebnelnap c jciblb je ldidmhpgjjplodenppaifgk",
     428086833814, 391329692098),
    ("i k ibaanbgcjnidhdgageanahofahecaejcp gla k llppn cfolegpapbjehjlbmopcbeml bggilipa gpfhcg"
     "ofbliaedbmofgndlhcejpoopkmhn lklhldfkc",
     842919361323, 521488854542),
    ("amobndhnkpcjb pjefminholap di acjpfhicfnklnodocbba b ifojanjhhkbanpglefhclbfjanpfbmh pngbl"
     "mlpm njacomfmfpppf moiknllihkph ac lf  oa",
     118232376017, 26527096282),
    (" eah oajafg hcmkkgdaljjmj l kcmhokiadpbfhnimlaclegolodmfogibiie ",
     139579424594, 222623013699),
    ("pioemjpjg bipioi fi je lnoflbcgjbpibmdjeakhkpmhpcbjanaf gmifbbold",
     497851181512, 835603538782),
    ("limbhjmogpcjlfhpocmlg aib cf nmidibof geblapialjd fgcflpahlaapmfblmgfhcnj gp lhi e k phgad"
     "g fjhfbhl  g lbbeomiklkgi  oekelbc cog",
     900133787784, 806169553498),
    ("nib jaommmkogmlidcfjkmldlbmgdholfehdkjpnflofbpghed aakigbieecfm ecgfmglofcohgcehge ckckp f"
     "omhedmmkhnljfbbknfnkkengoigehidchmpgiob",
     440163616337, 477519956457),
    ("lgbiigmanjmhdfpblfapookmamlhpabgjbenfnee plcpdclokgbpmhogfhgpjiophgidabjcpfncmebejknglnclk"
     "aigkkadnlifihjjgbbafnjb p chaemk obldimhhpm aaeoekcheelejgeedeb  kaeacnmlielmknkiof aihbob"
     "acnahellh fg",
     563472939435, 1086967753163),
    ("fcjkcdhgjncmkffdkfocnmgcc jlkjmpcgmkpokdnjahimeg pbfibd dfnhnmbeokpilcmephmockpfbggakhhppm"
     "mfhahpbecae hkjed mkbbnbjiililoidadmcgdahocgjgiinnpgnlcacingimfllnhhoai ookddgnlgmbflmkpec"
     "pfbgpniioeanm",
     384169211568, 651982289402),
]  # fmt: skip


@pytest.mark.parametrize(("text", "plain", "strong"), BINS, ids=[str(len(b[0])) for b in BINS])
def test_fingerprints_of_every_length(text, plain, strong):
    assert fingerprint(text) % (2**40 + 7) == plain
    assert keyed(text, (133, 137)) % (2**40 + 7) == strong


def test_hashing():
    words = np.array([["omar"], ["stringer"], ["marlo"], ["wire"], ["skywalker"]])
    assert layers.Hashing(2)(words).numpy().ravel().tolist() == [0, 0, 1, 0, 0]
    salted = layers.Hashing(2, salt=[133, 137])(words).numpy()
    assert salted.ravel().tolist() == [keyed(w, (133, 137)) % 2 for w in words.ravel()]
    masked = layers.Hashing(3, mask_value="omar")(words).numpy().ravel()
    assert masked[0] == 0 and (masked[1:] > 0).all()
    numbers = layers.Hashing(3)(np.array([[0, 1, 2], [10, 11, 12]])).numpy()
    assert numbers.tolist() == [[fingerprint(v) % 3 for v in row] for row in ([0, 1, 2], [10, 11, 12])]
    hot = layers.Hashing(3, output_mode="one_hot")(words)
    assert hot.shape == (5, 3) and hot.numpy().sum() == 5
    again = layers.Hashing.from_config(layers.Hashing(4, salt=3).get_config())
    assert again.salt == [3, 3]
    assert layers.Hashing(3)(keras.Input((2,), dtype="string")).shape == (None, 2)
    with pytest.raises(ValueError, match="salt"):
        layers.Hashing(2, salt="a")
    with pytest.raises(ValueError, match="integer type"):
        layers.Hashing(2, dtype="float32")
    with pytest.raises(ValueError, match="whole numbers"):
        layers.Hashing(2)(np.array([0.5]))


def test_crossings():
    a, b = np.array(["A", "B", "A", "B", "A"]), np.array([101, 101, 101, 102, 102])
    assert [joined(row, 0xDECAFCAFFE) % 5000 for row in zip(a, b)] == [4891, 2754, 4891, 4576, 3523]
    layer = layers.HashedCrossing(5000)
    assert layer([a, b]).numpy().tolist() == [4891, 2754, 4891, 4576, 3523]
    assert layer([a[:, None], b[:, None]]).shape == (5, 1)
    assert layers.HashedCrossing(6, output_mode="one_hot")([a[:, None], b[:, None]]).shape == (5, 6)
    assert layers.HashedCrossing.from_config(layer.get_config()).num_bins == 5000
    for given, text in (([a], "at least two"), ([a, b[:2]], "equal shape"), ([a, b * 0.5], "integer or string"),
                        ([np.zeros((2, 2), int)] * 2, "should have shape")):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            layer(given)


def spectra(x, length, step, size):
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    frames = np.stack([x[k : k + length] * window for k in range(0, len(x) - length + 1, step)])
    return np.fft.rfft(frames, size) / np.sqrt((window**2).sum())


@pytest.mark.parametrize("mode", ["magnitude", "log", "psd", "real", "imag", "angle", "stft"])
def test_stft(mode):
    x = np.random.default_rng(0).normal(size=(2, 60, 1))
    layer = layers.STFTSpectrogram(mode=mode, frame_length=16, frame_step=8, fft_length=16, dtype="float64")
    z = np.stack([spectra(row[:, 0], 16, 8, 16) for row in x])
    wanted = {"magnitude": np.abs(z), "log": np.log(np.abs(z)), "real": z.real, "imag": z.imag, "angle": np.angle(z),
              "psd": np.abs(z) ** 2 * np.r_[1, np.full(7, 2), 1],
              "stft": np.concatenate([z.real, z.imag], -1)}  # fmt: skip
    found = layer(x)
    assert found.shape == layer.compute_output_shape(x.shape)
    if mode == "angle":  # where there is nothing it is anything
        there = np.abs(z.imag) > 1e-6
        found, wanted[mode] = np.where(there, found.numpy(), 0), np.where(there, np.angle(z), 0)
    np.testing.assert_allclose(np.asarray(found), wanted[mode], rtol=1e-3, atol=1e-4)


def test_stft_shapes_and_refusals():
    x = np.random.default_rng(0).normal(size=(2, 60, 3)).astype("float32")
    options = {"mode": "magnitude", "frame_length": 16, "padding": "same", "expand_dims": True}
    last, first = (layers.STFTSpectrogram(**options, data_format=f) for f in ("channels_last", "channels_first"))
    y = last(x)
    assert y.shape == last.compute_output_shape(x.shape) == (2, 8, 9, 3)
    z = first(np.ascontiguousarray(x.transpose(0, 2, 1)))
    assert z.shape == first.compute_output_shape((2, 3, 60)) == (2, 3, 8, 9)
    np.testing.assert_allclose(z.numpy().transpose(0, 2, 3, 1), y.numpy(), rtol=1e-4, atol=1e-5)
    again = layers.STFTSpectrogram.from_config(last.get_config())
    assert again.get_config() == last.get_config() and len(last.weights) == 2
    for options, text in (({"mode": "else"}, "mode"), ({"frame_step": 300}, "frame_step"),
                          ({"scaling": "x"}, "Scaling"), ({"fft_length": 8}, "fft_length"),
                          ({"padding": "full"}, "Padding")):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            layers.STFTSpectrogram(**options)


def test_mel():
    x = np.random.default_rng(0).normal(size=(2, 400)).astype("float32")
    layer = layers.MelSpectrogram(64, 32, num_mel_bins=8, power_to_db=False, sampling_rate=8000)
    n, window = 64, 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    padded = np.pad(x, ((0, 0), (32, 32)), mode="reflect")
    frames = np.stack([padded[:, k : k + n] * window for k in range(0, padded.shape[1] - n + 1, 32)], 1)
    power = np.abs(np.fft.rfft(frames)) ** 2
    bands = layer.linear_to_mel_weight_matrix(8, 33, 8000, 20.0, 4000).numpy()
    assert bands.shape == (33, 8) and (bands >= 0).all() and bands.max() <= 1
    np.testing.assert_allclose(layer(x).numpy(), (power @ bands).transpose(0, 2, 1), rtol=2e-3, atol=1e-3)
    loud = layers.MelSpectrogram(64, 32, num_mel_bins=8, sampling_rate=8000, top_db=10.0)(x).numpy()
    assert loud.max() - loud.min() <= 10.001
    assert layer.compute_output_shape((2, 400)) == layer(x).shape == (2, 8, 13)
    assert layers.MelSpectrogram.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(ValueError, match="fft_length"):
        layers.MelSpectrogram(64, sequence_length=128)
