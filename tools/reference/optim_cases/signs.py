"""Rules that step along signs, from pytorch_optimizer."""

from importlib.metadata import version

from pytorch_optimizer import Lion, SignSGD

from .case import Cases

cases = Cases()
case = cases.add
versions = {"pytorch_optimizer": version("pytorch_optimizer")}


def loop(optimizer):
    return lambda params, **options: optimizer(params, foreach=False, **options)


lion, sign_sgd = loop(Lion), loop(SignSGD)
case("lion", "lion", lion)
case("lion_decay", "lion", lion, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1)
case("lion_maximize", "lion", lion, maximize=True)
case("signum", "sign_sgd", sign_sgd)
case("signum_decay", "sign_sgd", sign_sgd, lr=0.01, momentum=0.5, weight_decay=0.1)
case("sign_sgd", "sign_sgd", sign_sgd, momentum=0.0)
case("sign_sgd_maximize", "sign_sgd", sign_sgd, momentum=0.0, maximize=True)
